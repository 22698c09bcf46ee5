"""Figure 1: epochs to a training error, the ratio of two networks, and the verdicts decided before the first run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from study_records import Study

from harness.records.learning_curve import Reached
from harness.records.store import RunRecord
from harness.report.build import build
from harness.report.learning_speed import AtOneRate, LearningSpeed, Ratio, TimedRun, learning_speeds
from harness.report.markdown import readme_results, report_markdown
from harness.report.model import ReportModel, Section
from harness.report.stats import ratio_of_means, ratio_of_means_by_t
from harness.resolve import RunRequest, check_request
from harness.spec import CIFAR_10_JPEG, DataSpec
from harness.studies.rows import STUDIES
from harness.studies.study import SEARCH_SEED
from harness.tables import Table
from variants.catalog import CATALOG
from variants.recipes.recipe import Recipe

CIFAR = DataSpec(
    name="cifar10", listing="cd" * 32, classes=10, train_images=50_000, val_images=10_000, store_size=32,
    contents=CIFAR_10_JPEG,
)  # fmt: skip
RELU, TANH = STUDIES["figure1"].variants


def recipe(variant: str, rate: float) -> Recipe:
    settings = (*STUDIES["figure1"].settings, f"lr={rate:g}")
    return check_request(RunRequest(variant, "cifar_2012", "synthetic", 0, overrides=settings))[1]


def train(
    study: Study, variant: str, rate: float, seed: int, errors: Sequence[float], data: DataSpec = CIFAR
) -> RunRecord:
    net = CATALOG[variant].spec.with_classes(10)
    spec = study.spec(variant, seed, net=net, geometry="cifar", data=data, recipe=recipe(variant, rate))
    return study.run(spec, 0.3, training_errors=errors)


def falling(epochs: float) -> list[float]:
    """Training errors that fall in a straight line from 90 % to 25 % at `epochs`, and end below it."""
    return [0.9 - 0.65 * epoch / epochs for epoch in range(1, int(epochs) + 2)]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[RunRecord]:
    """A search of two rates each, then five seeds at the best rates and one at a neighbour."""
    study = Study(tmp_path_factory.mktemp("figure1") / "results")
    made = [
        train(study, RELU, rate, SEARCH_SEED, falling(epochs))
        for rate, epochs in ((0.001, 9.0), (0.002, 6.0))
    ]
    made += [
        train(study, TANH, rate, SEARCH_SEED, errors)
        for rate, errors in ((0.004, falling(36.0)), (0.008, [0.5, 0.4]))
    ]
    for seed, (relu, tanh) in enumerate(
        ((5.5, 35.0), (6.0, 36.5), (6.5, 38.0), (6.0, 36.5), (6.0, 36.5))
    ):
        made += [
            train(study, RELU, 0.002, seed, falling(relu)),
            train(study, TANH, 0.004, seed, falling(tanh)),
        ]
    made.append(train(study, TANH, 0.008, 0, [0.5, 0.4, 0.3]))
    return made


@pytest.fixture(scope="module")
def model(records: list[RunRecord]) -> ReportModel:
    return build("figure1", records)


@pytest.fixture(scope="module")
def section(model: ReportModel) -> Section:
    return next(one for one in model.sections if "figure 1" in one.title)


def table(section: Section, caption: str) -> Table:
    return next(
        block for block in section.blocks if isinstance(block, Table) and caption in block.caption
    )


def test_the_epochs_are_those_of_the_records(section: Section) -> None:
    rows = table(section, "Epochs to 25 %").rows
    # t(4) * 0.354 / sqrt(5)
    assert rows[0] == (
        RELU,
        "0.002",
        "best of the search",
        "5",
        "6.0 ± 0.4",
        "5.5, 6.0, 6.5, 6.0, 6.0",
    )
    assert rows[1][:4] == (TANH, "0.004", "best of the search", "5")
    # censored, and shown
    assert rows[2] == (
        TANH,
        "0.008",
        "neighbour in the grid",
        "1",
        "> 3.0",
        "> 3",
    )


def test_the_search_is_shown_and_never_counted(section: Section) -> None:
    rows = table(section, "search of learning rates").rows
    assert [row[:3] for row in rows] == [
        (RELU, "0.001", "9.0"), (RELU, "0.002", "6.0"), (TANH, "0.004", "36.0"), (TANH, "0.008", "> 2"),
    ]  # fmt: skip


def test_a_best_rate_at_the_end_of_its_grid_is_said(model: ReportModel, tmp_path: Path) -> None:
    said = [finding for finding in model.findings if "of its grid" in finding]
    assert said == [
        f"The best learning rate of {RELU} is the highest of its grid; a higher one might need fewer "
        "epochs.",
        f"The best learning rate of {TANH} is the lowest of its grid; a lower one might need fewer "
        "epochs.",
    ]
    study = Study(tmp_path / "results")
    searched = ((0.001, 9.0), (0.002, 6.0), (0.004, 7.0))
    (inside,) = learning_speeds(
        [train(study, RELU, rate, SEARCH_SEED, falling(epochs)) for rate, epochs in searched]
    )
    assert inside.at_the_edge(RELU) is None


def test_the_ratio_and_its_verdicts(section: Section, model: ReportModel) -> None:
    several, six = table(section, "tanh over ReLU").rows
    assert several[0] == six[0] == "6.1"  # 36.5 / 6
    assert (several[-1], six[-1]) == ("reproduced", "reproduced")
    assert any("6.1 (" in sentence and "is reproduced" in sentence for sentence in model.findings)


def test_the_claims_table_has_both_claims(model: ReportModel) -> None:
    claims = next(one for one in model.sections if one.title.startswith("What is published"))
    found = [row[2:4] for row in table(claims, "The paper's claims").rows[:2]]
    assert found == [("6.1 times", "reproduced"), ("6.1 times", "reproduced")]


def test_the_plan_is_in_the_report_and_no_section_speaks_of_missing_runs(model: ReportModel) -> None:
    text = report_markdown(model)
    assert STUDIES["figure1"].plan[-1] in text
    assert "No run" not in text
    assert "No finished" not in text
    assert "No two variants" not in text


def test_the_curves_are_on_the_first_page_once_and_in_readme(model: ReportModel) -> None:
    assert model.overview is not None
    assert [figure.file for figure in model.figures] == [f"training-error-{RELU}-{TANH}.svg"]
    text = readme_results([model])
    assert f"](reports/reference/figure1/figures/{model.overview.file})" in text
    assert 'several times" is reproduced' in text


def test_no_verdict_before_the_planned_number_of_seeds(records: list[RunRecord]) -> None:
    early = [one for one in records if (one.spec.variant, one.spec.seed) != (TANH, 4)]
    (speed,) = learning_speeds(early)
    assert (speed.several(), speed.six()) == ("inconclusive", "inconclusive")
    text = report_markdown(build("figure1", early))
    assert "no verdicts yet: 5 seeds of each network are planned; 5 with ReLU, 4 with tanh" in text
    (whole,) = learning_speeds(records)
    assert (whole.several(), whole.six()) == ("reproduced", "reproduced")


def test_a_search_alone_is_not_in_readme(records: list[RunRecord]) -> None:
    searched = build("figure1", [one for one in records if one.spec.seed == SEARCH_SEED])
    assert searched.overview is None
    assert "No finished run yet." in readme_results([searched])


def test_other_images_decide_nothing(tmp_path: Path) -> None:
    study, other = Study(tmp_path / "results"), replace(CIFAR, contents="", name="folder")
    made = [train(study, RELU, 0.002, seed, falling(5.0 + seed / 9), other) for seed in range(5)]
    made += [train(study, TANH, 0.004, seed, falling(30.0 + seed), other) for seed in range(5)]
    (speed,) = learning_speeds(made)
    assert (speed.several(), speed.six()) == ("inconclusive", "inconclusive")


def ratio(slow: Sequence[float], fast: Sequence[float], censored: int = 0) -> Ratio:
    sides = [
        AtOneRate(variant=name, rate=0.1, runs=tuple(
            TimedRun(variant=name, rate=0.1, seed=seed, run_id=str(seed), curve=(),
                     reached=Reached(epochs=None if seed < lost else epochs, last_epoch=epochs, last_error=0.3))
            for seed, epochs in enumerate(side)))
        for name, side, lost in (("slow", slow, censored), ("fast", fast, 0))
    ]  # fmt: skip
    value, interval = ratio_of_means(slow, fast)
    by_t = ratio_of_means_by_t(slow, fast)
    return Ratio(slow=sides[0], fast=sides[1], value=value, bootstrap=interval, by_t=by_t)


def test_a_censored_run_makes_the_ratio_a_lower_bound() -> None:
    found = ratio([60.0, 60.0, 58.0], [10.0, 10.5, 9.5], censored=2)
    assert found.is_in(2.0, float("inf")) == "reproduced"
    assert found.is_in(4.0, 9.0) == "inconclusive"  # it may be any number above 6
    assert found.is_in(0.0, 4.0) == "contradicted"


def test_one_seed_decides_nothing() -> None:
    assert ratio([60.0], [10.0]).is_in(2.0, float("inf")) == "inconclusive"


def test_fewer_than_one_in_twenty_ratios_at_the_limit_are_called_reproduced() -> None:
    """True ratio 2.0, sd of 8 % between seeds. Welch's interval alone is exact here, with 2.5 % on this side."""
    rng = np.random.default_rng(7)
    for n in (2, 3, 5, 10):
        verdicts = [
            ratio(rng.normal(20, 1.6, n), rng.normal(10, 0.8, n)).is_in(2.0, float("inf"))  # type: ignore[arg-type]
            for _ in range(300)
        ]
        # 300 draws at a rate of 2.5 %: 15 or more have a probability of 0.6 %
        assert verdicts.count("reproduced") < 15


def test_without_a_search_the_only_rate_counts(records: list[RunRecord]) -> None:
    counted = [one for one in records if one.spec.seed != SEARCH_SEED and one.spec.recipe.lr != 0.008]
    (speed,) = learning_speeds(counted)
    assert isinstance(speed, LearningSpeed)
    assert speed.several() == "reproduced"
