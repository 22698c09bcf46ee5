"""The same records give the same bytes, text stays text, and a report can be checked down to its numbers."""

from __future__ import annotations

import hashlib
import html
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from calling import finished
from markdown_it import MarkdownIt
from study_records import ENV, Study

import harness
from harness.errors import RecordError
from harness.markdown import inline, plain, table_grid
from harness.records import verify
from harness.records.store import Store
from harness.report.build import build
from harness.report.check import check_report
from harness.report.markdown import readme_results
from harness.report.model import Paragraph, ReportModel, Section
from harness.report.render import pdf, render, write_report
from harness.tables import Column, Table

ROOT = Path(__file__).parents[2]
HASHES = """
import hashlib, json, sys
from harness.records.store import Store
from harness.report.build import build
from harness.report.render import render
from pathlib import Path
store = Store(Path(sys.argv[1]))
files = render(build("reproduce", store.records()[::-1], store.verified_reference().records))
print(json.dumps({name: hashlib.sha256(content).hexdigest() for name, content in files.items()}))
"""
NASTY = (
    '#panic("x") $1$ `r` *b* _i_ [l](http://x.y) <script>alert(1)</script> | & ~~s~~ @x \\ "q" &lt; '
    "#set page(width: 1pt)"
)


def odd(text: str) -> ReportModel:
    made = Table(
        caption=text, columns=(Column(heading=text), Column(heading="b", share=1)), rows=((text, text),)
    )
    section = Section(title=text, blocks=(Paragraph(text=text), made))
    return ReportModel(
        study="s", title=text, findings=(text,), sections=(section,), results_table=made, sources=()
    )


def test_another_process_place_zone_locale_style_and_order_give_the_same_bytes(
    finished: Study, model: ReportModel, tmp_path: Path
):
    (tmp_path / "matplotlibrc").write_text("font.size: 30\naxes.xmargin: 0.4\n")
    shutil.copytree(finished.root, tmp_path / "elsewhere")
    env = {
        **os.environ,
        "TZ": "Pacific/Auckland",
        "LC_ALL": "C",
        "PYTHONPATH": str(ROOT),
        "PYTHONHASHSEED": "5",
    }
    made = subprocess.run(
        [sys.executable, "-W", "error", "-c", HASHES, "elsewhere"],
        cwd=tmp_path, env=env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    again = json.loads(made.stdout)
    outputs = json.loads(render(model)["manifest.json"])["outputs"]
    assert {name: digest for name, digest in again.items() if name != "manifest.json"} == outputs


def test_strings_of_users_can_bring_no_markup_into_the_pdf():
    """Read as markup, this text would panic, start a formula or change the page; shown as text, it compiles."""
    assert pdf(odd(NASTY)).startswith(b"%PDF-")
    wide = pdf(odd("#set page(width: 1pt)")).count(b"/MediaBox [0 0 595.276 841.89]")
    assert wide == pdf(odd("plain")).count(b"/MediaBox [0 0 595.276 841.89]")


def test_strings_of_users_can_bring_no_markup_into_the_markdown():
    """Rendered by a Markdown library with GitHub's tables and strike-through: no tag but the table's own, no loss."""
    text = f"{plain(NASTY)}\n\n{table_grid(odd(NASTY).results_table)}\n"  # type: ignore[arg-type]
    page = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text)
    assert re.findall(r"<(?!/|p>|table>|thead>|tbody>|tr>|th[ >]|td[ >])[^>]*>", page) == []
    assert html.unescape(page).count(NASTY) == 4  # the paragraph, a heading and two cells
    assert inline("a | b\nc").count("\n") == 0
    assert inline("a | b") == "a \\| b"
    assert len(table_grid(odd(NASTY + "\n| x |").sections[0].blocks[1]).splitlines()) == 3  # type: ignore[arg-type]


def test_names_of_variants_stay_readable():
    assert inline("grouped_2gpu +1.40 ± 0.35") == "grouped_2gpu +1.40 ± 0.35"
    assert plain("1. first") == "1\\. first"
    assert plain("+1") == "\\+1"


def test_a_written_report_is_complete_and_replaces_the_old_one(model: ReportModel, tmp_path: Path):
    write_report(with_stale_figure(model), tmp_path)
    assert (tmp_path / "figures" / "stale.svg").exists()
    paths = write_report(model, tmp_path)
    assert {path.relative_to(tmp_path).as_posix() for path in paths} == set(render(model))
    assert not (tmp_path / "figures" / "stale.svg").exists()
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(paths)
    for line in (tmp_path / "report.md").read_text().splitlines():
        if line.startswith("!["):
            assert (tmp_path / line.rpartition("(")[2].rstrip(")")).is_file()


def with_stale_figure(model: ReportModel) -> ReportModel:
    """The model with one more section, which has a figure of another name."""
    figure = replace(model.figures[0], file="stale.svg")
    return replace(model, sections=(*model.sections, Section(title="More", blocks=(figure,))))


def test_a_report_removes_no_file_that_it_did_not_write(model: ReportModel, tmp_path: Path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "mine.svg").write_text("mine")
    write_report(with_stale_figure(model), tmp_path)
    (tmp_path / "figures" / "stale.svg").write_text("edited by hand")
    write_report(model, tmp_path)
    assert (tmp_path / "figures" / "mine.svg").read_text() == "mine"
    assert (tmp_path / "figures" / "stale.svg").read_text() == "edited by hand"


@pytest.mark.parametrize("name", ["../mine.svg", "figures/../../mine.svg", "figures/.mine.svg"])
def test_a_manifest_can_not_make_a_report_remove_files_elsewhere(
    model: ReportModel, tmp_path: Path, name: str
):
    folder = tmp_path / "report"
    write_report(model, folder)
    target = (folder / name).resolve()
    target.write_text("mine")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["outputs"][name] = hashlib.sha256(b"mine").hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    write_report(model, folder)
    assert target.read_text() == "mine"


def test_a_report_writes_and_removes_nothing_through_a_link(model: ReportModel, tmp_path: Path):
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "theirs.svg").write_text("theirs")
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "figures").symlink_to(tmp_path / "others")
    with pytest.raises(RecordError, match=r"figures is a link.*; use --out DIR"):
        write_report(model, tmp_path / "report")
    assert [path.name for path in (tmp_path / "others").iterdir()] == ["theirs.svg"]


def edit(path: Path, old: str, new: str) -> None:
    path.chmod(0o644)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_an_edited_record_is_left_out_of_the_report_with_its_reason(study: Study, tmp_path: Path):
    records = [study.run(study.spec("grouped_2gpu", seed), 0.16) for seed in range(3)]
    edited = records[1]
    error = edited.summary.results["centre"].top1_error
    edit(edited.path / "summary.json", f'"top1_error":{error}', '"top1_error":0.0123')
    store = Store(study.root)
    own = store.verified()
    assert [record.run_id for record in own.records] == [records[0].run_id, records[2].run_id]
    model = build("reproduce", own.records, refused=own.refused)
    write_report(model, tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "1.23" not in text
    (line,) = (line for line in text.replace("\\", "").splitlines() if edited.run_id in line)
    assert "summary.json has changed since it was sealed" in line
    assert str(tmp_path) not in text
    assert check_report(tmp_path, store) == []
    assert edited.spec.digest not in finished(store, edited.env.machine_id)


@pytest.mark.parametrize("name", ["telemetry.jsonl", "conv1.npy", "events.jsonl"])
def test_a_record_of_which_any_file_changed_is_neither_reported_nor_counted_as_finished(
    study: Study, name: str
):
    whole, damaged = (study.run(study.spec("grouped_2gpu", seed), 0.16) for seed in range(2))
    file = damaged.path / name
    file.chmod(0o644)
    file.write_bytes(file.read_bytes() + b" ")
    store = Store(study.root)
    assert [record.run_id for record in store.verified().records] == [whole.run_id]
    assert finished(store, whole.env.machine_id) == {whole.spec.digest}


def test_one_bad_record_hides_no_other(study: Study):
    records = [study.run(study.spec("grouped_2gpu", seed), 0.16) for seed in range(4)]
    (records[0].path / "spec.json").unlink()
    (records[1].path / "SHA256SUMS").unlink()
    edit(records[2].path / "env.json", '"machine_id"', '"machine"')
    own = Store(study.root).verified()
    assert own.records == [records[3]]
    assert [one.run_id for one in own.refused] == [record.run_id for record in records[:3]]
    assert not any(str(study.root) in one.reason for one in own.refused)
    with pytest.warns(UserWarning, match="is left out: ") as warned:
        runs = harness.load_runs(study.root)
    assert len(warned) == 3
    assert set(runs["run_id"]) == {records[3].run_id}


def test_a_folder_that_refuses_is_one_sentence_with_a_way_out(model: ReportModel, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match=r"can't write the report to .*; use --out DIR"):
        write_report(model, tmp_path / "file")


def test_a_table_of_unequal_rows_is_refused():
    with pytest.raises(ValueError, match="2 cells under 1 headings"):
        Table(caption="c", columns=(Column(heading="a"),), rows=(("1", "2"),))


def test_columns_without_any_entry_can_be_left_out():
    columns = (Column(heading="a"), Column(heading="b"))
    made = Table(caption="c", columns=columns, rows=(("1", "—"), ("2", "—"))).without_empty("—")
    assert [column.heading for column in made.columns] == ["a"]
    assert made.rows == (("1",), ("2",))


def test_a_report_checks_out_until_a_file_a_record_or_a_number_is_changed(study: Study, tmp_path: Path):
    for seed in range(2):
        study.run(study.spec("grouped_2gpu", seed), 0.16)
    store, folder = Store(study.root), tmp_path / "out"
    own = store.records()
    write_report(build("reproduce", own), folder)
    assert check_report(folder, store) == []

    text = (folder / "report.md").read_text()
    (folder / "report.md").write_text(text.replace("16", "15", 1))
    assert check_report(folder, store) == ["report.md: differs from what was written"]

    lie = replace(build("reproduce", own), title="Something else")
    write_report(lie, folder)
    assert [problem.partition(":")[0] for problem in check_report(folder, store)] == [
        "report.md",
        "report.pdf",
    ]

    write_report(build("reproduce", own), folder)
    (own[0].path / "summary.json").chmod(0o644)
    (own[0].path / "summary.json").write_bytes((own[0].path / "summary.json").read_bytes() + b"\n")
    assert any("summary.json" in problem for problem in check_report(folder, store))

    shutil.rmtree(own[1].path)
    assert any("is not under" in problem for problem in check_report(folder, store))


def test_the_check_of_a_report_reads_each_record_for_its_checksums_once(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for seed in range(2):
        study.run(study.spec("grouped_2gpu", seed), 0.16)
    store, summed = Store(study.root), list[Path]()
    write_report(build("reproduce", store.records()), tmp_path)
    true_sum = verify.sha256_of
    monkeypatch.setattr(verify, "sha256_of", lambda path: summed.append(path) or true_sum(path))
    assert check_report(tmp_path, store) == []
    assert (
        len(summed)
        == len(set(summed))
        == sum(len(list(path.iterdir())) - 1 for path in store.folders())
    )


def test_a_folder_without_a_manifest_is_one_sentence(tmp_path: Path):
    with pytest.raises(RecordError, match="holds no report that can be checked"):
        check_report(tmp_path, Store(tmp_path))


def test_readmes_table_stands_between_its_markers_with_one_row_a_variant(model: ReportModel):
    lines = readme_results([model]).splitlines()
    assert (lines[0], lines[-1]) == ("<!-- results:begin -->", "<!-- results:end -->")
    rows = [line for line in lines if line.startswith("| ") and "±" in line]
    assert [row.split("|")[1].strip() for row in rows] == ["grouped_2gpu", "single_gpu", "no_lrn"]
    assert all("significantly higher" in row and "direction agrees" in row for row in rows[1:])
    assert not any("Top-5" in line for line in lines)  # among ten classes it says little


def test_a_data_set_named_like_markup_goes_through(study: Study, tmp_path: Path):
    data = replace(study.spec("grouped_2gpu", 0).data, name="#evil|<b>")
    env = replace(ENV, cpu=replace(ENV.cpu, model="$x$ `y`"))
    study.run(study.spec("grouped_2gpu", 0, data=data), 0.2, env)
    write_report(build("reproduce", Store(study.root).records()), tmp_path)
    assert "<b>" not in (tmp_path / "report.md").read_text()
