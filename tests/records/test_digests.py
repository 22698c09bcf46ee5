"""A run's digest: records that were sealed before recipes got a field keep theirs; another value is another run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.records.record import RunRecord, sealed_digest
from harness.spec import DEFAULTS
from variants.recipes.recipe import ADDED

(OLD,) = (Path(__file__).parent / "schema_2").iterdir()  # sealed before the fields of ADDED were there
SEALED = RunRecord.load(OLD)


def test_a_record_sealed_before_the_fields_were_added_has_its_digest_still() -> None:
    assert not set(ADDED) & set(json.loads((SEALED.path / "spec.json").read_text())["recipe"])
    assert SEALED.spec.digest == SEALED.summary.spec_digest == sealed_digest(SEALED.path)


@pytest.mark.parametrize(("name", "default"), DEFAULTS.items())
def test_an_added_field_has_a_default_and_any_other_value_is_another_run(
    name: str, default: Any
) -> None:
    assert DEFAULTS.keys() == set(ADDED)
    other = "pages" if name == "order" else not default
    changed = replace(SEALED.spec, recipe=replace(SEALED.spec.recipe, **{name: other}))
    assert changed.digest != SEALED.spec.digest
    assert (
        replace(changed, recipe=replace(changed.recipe, **{name: default})).digest == SEALED.spec.digest
    )
