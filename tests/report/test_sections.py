"""What the sections say: their numbers are the records', and what isn't known is said in words, never as 0."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from study_records import ENV, ERRORS, Study

from harness.machine.environment import UsedGpu
from harness.published.schema import ClaimTest, PaperClaim
from harness.records.store import RunRecord, Store
from harness.report.build import build, report_data
from harness.report.columns import columns_of
from harness.report.markdown import report_markdown
from harness.report.model import Bullets, Figure, Paragraph, ReportModel, Section
from harness.report.sections import paper, reference
from harness.report.sections.errors import error_table
from harness.report.sections.speed import limited_by
from harness.report.text import NONE, count, listed, number, percent, points, published_points, short
from harness.tables import Table
from variants.catalog import CATALOG


def section(model: ReportModel, title: str) -> Section:
    return next(section for section in model.sections if section.title.startswith(title))


def errors_under(study: Study, protocol: str) -> Table:
    """The table of errors of the study's first setting."""
    report = report_data("test", Store(study.root).records(), ())
    return error_table(report.comparisons, 1, report.evidence.settings[0], protocol)


def tables(section: Section) -> list[Table]:
    return [block for block in section.blocks if isinstance(block, Table)]


def test_the_error_table_holds_the_records_means(finished: Study, model: ReportModel):
    runs = [record for record in Store(finished.root).records() if record.spec.variant == "no_lrn"]
    mean = np.mean([record.summary.results["centre"].top1_error for record in runs])
    row = next(row for row in tables(section(model, "Errors"))[0].rows if row[0] == "no_lrn")
    assert row[1] == "3"
    assert row[2].startswith(f"{100 * mean:.2f} ± ")


def test_one_seed_shows_its_number_no_interval_and_says_so(model: ReportModel):
    row = next(row for row in tables(section(model, "Errors"))[0].rows if row[0] == "ungrouped")
    assert row[2].endswith("(one seed)")
    assert "±" not in row[2]


def test_no_table_mixes_protocols_and_no_number_includes_the_reference(
    finished: Study, model: ReportModel
):
    captions = [table.caption for table in tables(section(model, "Errors"))]
    assert ["(centre)" in captions[0], "(mirror)" in captions[1]] == [True, True]
    without = build("reproduce", Store(finished.root).records())
    assert section(model, "Errors") == section(without, "Errors")
    assert section(model, "Differences") == section(without, "Differences")
    shown = tables(section(model, "Reference"))
    assert [table.caption.startswith("Reference records, not yours.") for table in shown] == [True]


def test_differences_are_shown_with_published_value_and_both_answers(model: ReportModel):
    rows = {row[0]: row for row in tables(section(model, "Differences"))[0].rows}
    assert rows["no_lrn"][4:7] == ("+1.4", "significantly higher (p < 0.001)", "direction agrees")
    assert rows["ungrouped"][2].endswith("(one seed)")
    assert rows["ungrouped"][5:7] == ("unknown with one seed", "inconclusive")
    reasons = [block for block in section(model, "Differences").blocks if isinstance(block, Bullets)]
    assert any("mini geometry" in item for item in reasons[0].items)
    assert any("one seed has no interval" in item and "ungrouped" in item for item in reasons[0].items)


def test_the_findings_name_significant_differences_and_failed_runs(model: ReportModel):
    text = " ".join(model.findings)
    assert "10 runs of 4 variants finished on fashion_mnist" in text
    assert "no_lrn +" in text
    assert "can't decide them" in text
    assert "1 run failed or was interrupted and is not used." in text


def test_several_failed_runs_take_the_plural(study: Study):
    for variant in ("no_lrn", "ungrouped"):
        study.fail(study.spec(variant, 0), "the loss at step 12 is nan")
    assert (
        "2 runs failed or were interrupted and are not used."
        in build("reproduce", Store(study.root).records()).findings
    )


def test_the_table_of_the_reference_keeps_its_notes(finished: Study, monkeypatch: pytest.MonkeyPatch):
    noted = Table(caption="Errors.", columns=(), rows=(), notes=("n is the number of seeds",))
    monkeypatch.setattr(reference, "error_table", lambda *_: noted)
    report = report_data("reproduce", (), Store(finished.root).verified_reference().records)
    (table,) = tables(reference.section(report))
    assert (table.caption, table.notes) == ("Reference records, not yours. Errors.", noted.notes)


def test_every_record_has_its_checksum_in_the_sources_and_a_failed_run_its_reason(
    finished: Study, model: ReportModel
):
    store = Store(finished.root)
    assert len(model.sources) == len(store.records()) + len(store.verified_reference().records)
    assert all(len(source.checksums) == 64 for source in model.sources)
    assert "the loss at step 12 is nan" in report_markdown(model)


def test_a_machine_without_gpu_has_no_gpu_columns_and_the_reason_below(model: ReportModel):
    speed = tables(section(model, "Speed"))[0]
    headings = [column.heading for column in speed.columns]
    assert not any("GPU" in heading for heading in headings)
    assert any("no GPU" in note for note in speed.notes)
    assert {row[headings.index("Waiting for data, %")] for row in speed.rows} == {"10.0"}


def test_energy_per_image_is_that_after_the_warm_up_and_doubts_are_named(
    study: Study, monkeypatch: pytest.MonkeyPatch
):
    probes = {
        "gpu_j_per_image": 0.25,
        "foreign_process_seen": True,
        "throttled_s": {"gpu_idle": 9.0, "power_cap": 2.5},
    }
    monkeypatch.setattr(RunRecord, "probes", lambda self: probes)
    run = study.run(study.spec("grouped_2gpu", 0, device="cuda"), 0.16)
    speed = tables(section(build("reproduce", Store(study.root).records()), "Speed"))[0]
    told = dict(zip([column.heading for column in speed.columns], speed.rows[0], strict=True))
    assert told["J/image (GPU)"] == "0.25"
    assert speed.notes[-1] == (
        f"{run.run_id}: another process computed on the GPU, so not everything is ours; the GPU's "
        "clocks were below their maximum: power cap 2.5 s."
    )


def test_a_gpu_shows_its_utilisation_energy_and_memory_under_its_name(study: Study):
    env = replace(ENV, used_gpus=(UsedGpu(name="NVIDIA H100", uuid="GPU-1"),), driver="560.35")
    study.run(study.spec("grouped_2gpu", 0, device="cuda"), 0.16, env)
    model = build("reproduce", Store(study.root).records())
    speed = tables(section(model, "Speed"))[0]
    told = dict(zip([column.heading for column in speed.columns], speed.rows[0], strict=True))
    assert (told["GPU kernel running, %"], told["J/image (GPU)"], told["Memory, MiB"]) == (
        "50.0",
        "0.50",
        "900",
    )
    assert "device NVIDIA H100" in speed.notes[0]
    utilisation = next(figure for figure in model.figures if figure.file.startswith("utilisation"))
    assert utilisation.caption.startswith("GPU kernel running")
    assert "NVIDIA H100" in model.findings[0]


def test_speeds_of_two_machines_are_in_two_tables(study: Study):
    study.run(study.spec("grouped_2gpu", 0), 0.16)
    study.run(study.spec("grouped_2gpu", 1), 0.16, replace(ENV, cpu=replace(ENV.cpu, model="another")))
    speed = section(build("reproduce", Store(study.root).records()), "Speed")
    assert [
        len(table.rows) for table in tables(speed) if table.caption.startswith("Training speed")
    ] == [1, 1]


@pytest.mark.parametrize(("wait", "answer"), [(0.05, "computing"), (0.3, "both"), (0.8, "the loader")])
def test_the_fraction_of_time_spent_waiting_shows_what_limits_training(wait: float, answer: str):
    assert limited_by(wait) == answer


def test_figures_say_in_words_what_they_show_and_are_all_there(model: ReportModel):
    kinds = {figure.file.partition("-")[0] for figure in model.figures}
    assert kinds == {"differences.svg", "errors", "curves", "throughput", "utilisation"}
    assert all(figure.alt and figure.content for figure in model.figures)


def test_two_settings_are_separate_in_every_section(study: Study):
    study.run(study.spec("grouped_2gpu", 0), 0.16)
    study.run(
        study.spec("grouped_2gpu", 0, data=replace(study.spec("no_lrn", 0).data, listing="ef" * 32)),
        0.2,
    )
    model = build("reproduce", Store(study.root).records())
    texts = [block.text for block in section(model, "Errors").blocks if isinstance(block, Paragraph)]
    assert [text[:10] for text in texts if text.startswith("Setting")] == ["Setting 1:", "Setting 2:"]
    assert len({figure.file for figure in model.figures}) == len(model.figures)


def test_nothing_run_is_a_report_that_says_so(tmp_path: Path):
    model = build("reproduce", [])
    assert "No run of study reproduce has finished" in model.findings[0]
    assert model.results_table is None
    assert not any(isinstance(block, Figure) for section in model.sections for block in section.blocks)
    assert report_markdown(model)


def test_a_report_without_runs_gives_the_command_that_starts_its_study():
    model = build("imagenet", [])
    assert model.findings[0].endswith("start with: python -m harness reproduce --study imagenet")
    (paragraph,) = section(model, "Set-up of the runs").blocks
    assert isinstance(paragraph, Paragraph)
    assert paragraph.text.endswith("Start with: python -m harness reproduce --study imagenet")


def test_without_the_papers_net_differences_are_to_the_variant_that_others_are_published_against(
    study: Study,
):
    for seed in range(2):
        for variant, error in (("code_2012", 0.16), ("code_2012_no_norm", 0.22), ("ungrouped", 0.15)):
            study.run(study.spec(variant, seed), error)
    model = build("reproduce", Store(study.root).records())
    assert "Significantly different from code_2012 in top-1 error" in " ".join(model.findings)
    assert model.results_table is not None
    assert "Difference to code_2012, points" in [
        column.heading for column in model.results_table.columns
    ]
    assert {row[0]: row[-1] for row in model.results_table.rows}["code_2012"] == "base"
    assert section(model, "Differences").title == "Differences to code_2012, and what is published"
    assert [row[0] for row in tables(section(model, "Differences"))[0].rows] == [
        "ungrouped",
        "code_2012_no_norm",
    ]


def test_without_any_published_pair_the_first_variant_is_the_base(study: Study):
    for variant in ("no_dropout", "tanh"):
        study.run(study.spec(variant, 0), 0.2)
    assert (
        report_data("reproduce", Store(study.root).records(), [], CATALOG).evidence.settings[0].base
        == "tanh"
    )


def test_the_length_of_a_rows_own_recipe_counts_the_rows_changes():
    epochs = report_data("reproduce", [], [], CATALOG).epochs
    lengths = {
        "cifar_11pct": 520.0,
        "cifar_18pct": 140.0,
        "cifar_4layer_relu": 40.0,
        "grouped_2gpu": 90.0,
    }
    assert {name: epochs[name] for name in lengths} == lengths


def test_the_papers_claims_take_the_verdict_of_their_comparisons(finished: Study):
    given = report_data("reproduce", Store(finished.root).records(), [], CATALOG)
    rows = {row[1]: row[2:4] for row in tables(paper.section(given))[0].rows}
    measured = {claim.id: rows[claim.statement][0] for claim in given.paper}
    verdicts = {claim.id: rows[claim.statement][1] for claim in given.paper}
    assert verdicts["lrn"] == "inconclusive"
    assert verdicts["overlapping_pool"] == "not run"
    assert verdicts["size"] == "reproduced"
    assert measured["size"] == "60,965,224, 659,272"
    assert (measured["conv_share"], verdicts["conv_share"]) == ("1.45 %", "contradicted")
    assert (measured["crops"], verdicts["crops"]) == ("2,178", "contradicted")
    assert measured["lrn"].startswith("top-1 ")
    assert verdicts["ensembles"] == "not run"
    assert {verdicts[name] for name in ("ilsvrc_2010", "ten_views", "ilsvrc_2012")} == {"not run"}


def test_a_claim_with_a_measure_the_records_lack_is_not_run(finished: Study):
    given = report_data("reproduce", Store(finished.root).records(), [], CATALOG)
    test = ClaimTest(
        variant="no_lrn", versus="grouped_2gpu", measure="iterations_to_converge", unit="ratio", protocol="training",
        bound="about", expected=2.0,
    )  # fmt: skip
    claim = PaperClaim(
        number=1, id="x", section="1", statement="s", data="ILSVRC", decided_by="training", tests=(test,), needs="n",
        small_scale=None,
    )  # fmt: skip
    made = tables(paper.section(replace(given, paper=[claim])))[0]
    assert made.rows == (("1", "s", NONE, "not run", "[1]"),)


def test_localisation_errors_get_a_column_where_there_are_boxes_and_none_elsewhere(
    study: Study, finished: Study
):
    study.run(study.spec("article", 0), 0.2, located=0.3)
    study.run(study.spec("grouped_2gpu", 0), 0.2)
    with_boxes, without = (errors_under(one, "centre") for one in (study, finished))
    assert {row[0]: row[-1] for row in with_boxes.rows} == {
        "article": "30.00 (one seed)",
        "grouped_2gpu": NONE,
    }
    assert "IoU" in with_boxes.notes[0]
    assert "Localisation error, %" not in [column.heading for column in without.columns]


def test_only_nets_in_two_columns_show_two():
    assert columns_of(CATALOG["grouped_2gpu"].spec) == 2
    assert columns_of(CATALOG["ungrouped"].spec) == 1


def test_a_protocol_that_only_some_variants_have_leaves_the_others_out(finished: Study):
    assert [row[0] for row in errors_under(finished, "centre").rows] == [
        *list(ERRORS)[:2],
        "ungrouped",
        "no_lrn",
    ]
    assert errors_under(finished, "ten_view").rows == ()


def test_numbers_are_written_for_readers():
    assert [published_points(0.014, "equals"), published_points(0.01, "more_than")] == [
        "+1.4",
        "> +1.0",
    ]
    assert [points(0.014, 1), points(-0.0041), points(0.0, 1), points(-0.00001)] == [
        "+1.4",
        "−0.41",
        "0.0",
        "0.00",
    ]
    assert [percent(0.1234), percent(None), number(1234.5, 1), number(None)] == [
        "12.34",
        "—",
        "1,234.5",
        "—",
    ]
    assert [listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])] == [
        "a",
        "a and b",
        "a, b and c",
    ]
    assert [count(1, "run"), count(1200, "run")] == ["1 run", "1,200 runs"]
    assert [short(None), short("ab" * 32)] == ["—", "ab" * 6]


def test_a_difference_that_does_not_survive_four_comparisons_is_no_finding():
    """Three intervals over seeds exclude zero; by Dunnett's test only single_gpu differs."""
    records = Store(Path(__file__).parents[2] / "results").verified_reference("reproduce").records
    model = build("reproduce", records)
    rows = {row[0]: row for row in tables(section(model, "Differences"))[0].rows}
    excluding = [name for name, row in rows.items() if _half_width(row[2]) < abs(_mean(row[2]))]
    assert excluding == ["single_gpu", "ungrouped", "non_overlapping_pool"]
    (found,) = (
        sentence for sentence in model.findings if sentence.startswith("Significantly different")
    )
    assert "(Dunnett's test, 4 comparisons" in found
    assert [name for name in rows if name in found] == ["single_gpu"]


def test_the_figure_on_the_first_page_has_a_row_for_each_difference(
    finished: Study, model: ReportModel
):
    assert model.overview is not None
    assert model.figures[0] is model.overview
    assert "grouped_2gpu" in model.overview.alt
    one = [record for record in Store(finished.root).records() if record.spec.variant == "no_lrn"]
    assert build("reproduce", one).overview is None


def test_kernels_are_shown_of_networks_that_trained_for_five_epochs(study: Study):
    for epochs, shown in ((4.0, False), (5.0, True)):
        spec = study.spec("grouped_2gpu", 0)
        made = study.run(replace(spec, recipe=replace(spec.recipe, epochs=epochs)), 0.16)
        files = [figure.file for figure in build("reproduce", [made]).figures]
        assert ("kernels-1.png" in files) is shown


def test_needs_that_several_claims_share_are_written_once(model: ReportModel):
    table = next(
        table
        for table in tables(section(model, "What is published"))
        if "paper's claims" in table.caption
    )
    notes = [note for note in table.notes if note.startswith("[")]
    assert len(notes) == len(set(notes)) < len(table.rows)
    assert {row[-1] for row in table.rows} == {note.partition(" ")[0] for note in notes}


def _mean(cell: str) -> float:
    return float(cell.split()[0].replace("\N{MINUS SIGN}", "-"))


def _half_width(cell: str) -> float:
    return float(cell.split()[-1])
