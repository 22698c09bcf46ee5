"""Reads the data files beside it, strictly and once. pydantic is imported only when something is read."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.published.schema import Measurement, Remark, Source


SHEETS = ("paper", "run_log", "zfnet", "derivatives", "caffenet128", "arithmetic")


@cache
def read(name: str, cls: Any) -> Any:
    """The file data/`name`.json as a `cls`. Raises RecordError naming the field that doesn't fit."""
    from harness.serialization import from_json

    return from_json(files("harness.published").joinpath("data", f"{name}.json").read_bytes(), cls)


def sources() -> dict[str, Source]:
    """Every source by the short name that measurements, speeds and remarks use."""
    from harness.published.schema import Source

    made: dict[str, Source] = read("sources", dict[str, Source])
    return made


def measurements() -> tuple[Measurement, ...]:
    """Every network evaluated by somebody, in the order of the data files."""
    from harness.published.schema import Sheet

    return tuple(item for name in SHEETS for item in read(f"targets_{name}", Sheet).measurements)


def remarks(variant: str | None = None) -> list[Remark]:
    """What sources say without a number, of `variant` or of all."""
    from harness.published.schema import Sheet

    every = [item for name in SHEETS for item in read(f"targets_{name}", Sheet).remarks]
    return [item for item in every if variant in (None, item.variant)]
