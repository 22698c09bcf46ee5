"""The four verdicts on a published claim."""

from __future__ import annotations

from typing import Literal, TypeAlias

Verdict: TypeAlias = Literal["reproduced", "contradicted", "inconclusive", "not run"]
VERDICTS: tuple[Verdict, ...] = ("reproduced", "contradicted", "inconclusive", "not run")
