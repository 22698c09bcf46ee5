"""Two runs side by side."""

from __future__ import annotations

from dataclasses import replace

import pytest
from study_records import ENV, Study

from harness.records.record import RunRecord
from harness.report.compare_runs import compare_runs


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunRecord]:
    study = Study(tmp_path_factory.mktemp("pair") / "results")
    base = study.spec("grouped_2gpu", 0)
    other = replace(ENV, packages={**ENV.packages, "torch": "2.11.0"}, machine_id="f" * 32)
    return {
        "base": study.run(base, 0.2),
        "again": study.run(base, 0.2),
        "variant": study.run(
            replace(study.spec("no_lrn", 0), recipe=replace(base.recipe, lr=0.02)), 0.25
        ),
        "machine": study.run(base, 0.2, other),
    }


def rows(first: RunRecord, second: RunRecord) -> list[dict[str, tuple[str, str]]]:
    return [{row[0]: (row[1], row[2]) for row in table.rows} for table in compare_runs(first, second)]


def test_equal_runs_are_the_same_in_everything(runs: dict[str, RunRecord]) -> None:
    spec, machine, results = rows(runs["base"], runs["again"])
    assert spec == {"spec digest": (runs["base"].spec.digest[:12], "the same")}
    assert machine == {"machine": ("01234567", "the same"), "commit": ("c0ffeec0ffee", "the same")}
    assert results["training losses"] == ("", "identical in all 60 steps")
    assert results["images with the same answer (centre)"] == ("", "2,000 of 2,000")
    assert results["images/s"] == ("320.0", "320.0 (1.0 times)")


def test_another_variant_differs_in_named_fields_and_in_its_losses(runs: dict[str, RunRecord]) -> None:
    spec, _, results = rows(runs["base"], runs["variant"])
    assert spec["variant"] == ("grouped_2gpu", "no_lrn")
    assert any("norm" in name for name in spec)
    assert any(pair == ("0.01", "0.02") for pair in spec.values())
    ours, theirs = (float(text) for text in results["top-1 error, % (centre)"])
    gap = results["second minus first, points (centre)"][1]
    # three rounded numbers
    assert float(gap.split(" ")[0].lstrip("+")) == pytest.approx(theirs - ours, abs=0.011)


def test_another_machine_is_named_and_its_speed_is_not_compared(runs: dict[str, RunRecord]) -> None:
    _, machine, results = rows(runs["base"], runs["machine"])
    assert machine["machine"] == ("01234567", "ffffffff")
    assert machine["packages.torch"] == ("2.14.1", "2.11.0")
    assert results["images/s"][1].startswith("not compared")


def test_the_step_from_which_losses_differ_is_named(
    runs: dict[str, RunRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    events = runs["again"].events()
    changed = [
        replace(event, losses=(*event.losses[:-1], 9.0)) if i == 2 else event
        for i, event in enumerate(events)
    ]  # type: ignore[union-attr, type-var]
    base = runs["base"].events()
    monkeypatch.setattr(
        RunRecord, "events", lambda run: changed if run.run_id == runs["again"].run_id else base
    )
    assert rows(runs["base"], runs["again"])[2]["training losses"][1].startswith(
        "differ from step 20 on: "
    )
