"""The published data files: strictly read, complete, and consistent in what they refer to."""

from __future__ import annotations

import json
from collections import Counter
from importlib.resources import files

import pytest

from harness.errors import RecordError
from harness.published.claims import article, paper_claims
from harness.published.history import history, speeds
from harness.published.load import MEASUREMENT_FILES, measurements, remarks, sources, text
from harness.published.schema import ArticleClaim, MeasurementFile, PaperClaim, Source, Speed
from harness.published.tables import tables
from harness.published.targets import targets
from harness.serialization import from_json
from variants.catalog import CATALOG
from variants.layers import BatchNorm, Conv

FILES = {f"targets_{name}": MeasurementFile for name in MEASUREMENT_FILES} | {
    "speeds": tuple[Speed, ...],
    "article": tuple[ArticleClaim, ...],
    "paper_claims": tuple[PaperClaim, ...],
}


def test_every_data_file_is_read_by_something():
    found = {path.name for path in files("harness.published").joinpath("data").iterdir()}
    assert found == {f"{name}.json" for name in (*FILES, "sources")}


@pytest.mark.parametrize("name", FILES)
def test_unknown_field_is_refused_with_its_place(name):
    content = json.loads(text(name))
    (content["measurements"] if isinstance(content, dict) else content)[0]["colour"] = "blue"
    with pytest.raises(RecordError, match=r"colour"):
        from_json(json.dumps(content), FILES[name])


def test_what_is_read_without_pydantic_is_what_the_strict_reader_reads():
    """`list` reads measurements and sources with plain json, to answer at once."""
    read = [from_json(text(f"targets_{name}"), MeasurementFile) for name in MEASUREMENT_FILES]
    assert tuple(measurements().values()) == tuple(item for one in read for item in one.measurements)
    assert remarks() == [item for one in read for item in one.remarks]
    assert sources() == from_json(text("sources"), dict[str, Source])


def test_number_in_quotes_is_refused():
    content = json.loads(text("speeds"))
    content[0]["throughput"]["seconds"] = "12"
    with pytest.raises(RecordError, match=r"0\.throughput\.seconds"):
        from_json(json.dumps(content), tuple[Speed, ...])


def test_unknown_measure_is_refused():
    content = json.loads(text("targets_paper"))
    content["measurements"][0]["values"]["top2_error"] = 1.0
    with pytest.raises(RecordError, match="top2_error"):
        from_json(json.dumps(content), MeasurementFile)


def test_every_quantitative_claim_has_its_place():
    """105 handles: paper, source code, Zeiler, caffenet128, derivatives, LRN, article, throughput, from memory."""
    holders = (*measurements().values(), *remarks(), *speeds(), *article(), *paper_claims())
    handles = {handle for holder in holders for handle in holder.claims}
    counts = Counter(handle[0] for handle in handles)
    assert counts == {"P": 30, "S": 11, "Z": 7, "B": 26, "D": 7, "L": 3, "A": 10, "T": 9, "M": 2}


def test_identities_are_unique():
    assert max(Counter(target.id for target in targets()).values()) == 1
    assert max(Counter(claim.id for claim in paper_claims()).values()) == 1


def test_article_has_67_claims_in_order_and_their_verdicts():
    assert [claim.number for claim in article()] == list(range(1, 68))
    assert Counter(claim.verdict for claim in article()) == {
        "false": 35,
        "true": 15,
        "partly": 15,
        "unclear": 2,
    }


def test_paper_claims_are_numbered_in_order():
    assert [claim.number for claim in paper_claims()] == list(range(1, len(paper_claims()) + 1))


def test_every_variant_named_is_in_the_catalogue():
    tests = [test for claim in paper_claims() for test in claim.tests]
    named = {target.variant for target in targets()} | {remark.variant for remark in remarks()}
    named |= {name for claim in article() for name in claim.tested_by}
    named |= {test.variant for test in tests} | {test.versus for test in tests}
    assert named - {None} <= set(CATALOG)


def test_a_claim_of_the_paper_has_the_numbers_of_the_target_it_names_and_repeats_none():
    lrn = next(claim for claim in paper_claims() if claim.id == "lrn")
    assert [(test.measure, test.versus, test.expected, test.bound) for test in lrn.tests] == [
        ("top1_error", "grouped_2gpu", 1.4, "equals"),
        ("top5_error", "grouped_2gpu", 1.2, "equals"),
    ]
    assert lrn.data == "ILSVRC-2012 val"
    for claim in json.loads(text("paper_claims")):
        for test in claim.get("tests", []):
            assert ("target" in test) != ("expected" in test), claim["id"]
            assert test["measure"] not in ("top1_error", "top5_error"), claim["id"]


def test_a_network_that_replaces_a_row_is_not_a_row():
    for item in measurements().values():
        assert item.stands_for is None or (item.variant is None and item.stands_for in CATALOG)


def test_every_source_named_is_described_and_every_one_described_is_named():
    named = {item.source for item in (*measurements().values(), *speeds(), *remarks())}
    assert named <= set(sources())


def test_a_difference_never_crosses_data_sets_splits_or_protocols():
    known = measurements()
    for item in known.values():
        for base in (known[name] for name in item.baselines):
            assert (item.data, item.split, item.protocol) == (base.data, base.split, base.protocol), (
                item.id
            )


def test_no_table_mixes_protocols():
    heads = [table.caption for table in tables(targets())]
    assert len({(t.data, t.split, t.protocol) for t in targets()}) <= len(heads)
    assert max(Counter((t.id.split("/")[0], t.versus, t.measure) for t in targets()).values()) == 1


def test_errors_are_fractions_and_counts_are_not():
    by_id = {target.id: target for target in targets()}
    assert by_id["run_145/top1_error"].value == 0.40664
    assert by_id["run_148/top1_error-run_145"].value == 0.0137
    assert by_id["run_145/log_loss"].value == 1.741473
    assert by_id["arithmetic.grouped_2gpu/parameters"].value == 60_965_224


def test_memory_and_second_hand_are_not_called_verified():
    by_id = {target.id: target for target in targets()}
    assert by_id["run_145/top1_error"].verified
    assert not by_id["you.alexnet/top1_error"].verified
    assert not by_id["tencent.alexnet/top1_error"].verified


def test_errors_lie_between_0_and_100_percent_and_top5_below_top1():
    absolute = {
        target.id: target for target in targets() if target.versus is None and target.unit == "percent"
    }
    assert all(0 < target.published < 100 for target in absolute.values())
    for name, target in absolute.items():
        other = absolute.get(name.replace("top1_error", "top5_error"))
        assert other is None or other is target or other.published < target.published


def test_history_runs_from_2012_to_2019_and_says_what_was_timed():
    years = [row.year for row in history()]
    assert years == sorted(years)
    assert (years[0], years[-1]) == (2012, 2019)
    assert all(row.mode == "training" and row.timed for row in history())


def test_targets_of_a_variant_are_its_own():
    assert {target.variant for target in targets("code_2012_half")} == {"code_2012_half"}


def test_claim_of_1x1_kernels_first_names_only_rows_that_have_them_first():
    """Claim 47; the row article starts with a kernel for each map."""
    convs = [
        layer
        for name in article()[46].tested_by
        for layer in CATALOG[name].spec.layers
        if isinstance(layer, Conv)
    ]
    assert all(conv.separable == "pointwise_first" for conv in convs)


def test_claim_on_gradients_names_a_pair_without_batch_normalisation():
    """Claim 12: batch normalisation would hide what splitting convolutions does to gradients."""
    rows = [CATALOG[name] for name in article()[11].tested_by]
    assert len(rows) == 2
    assert not any(isinstance(layer, BatchNorm) for row in rows for layer in row.spec.layers)


@pytest.mark.parametrize(
    ("number", "fact"),
    [
        (6, "63 definitions of nets besides those for CIFAR-10, 56 of them distinct"),
        (41, "up to run 130, and run 132"),
        (45, "15 million images"),
        (60, "Zhang (ICML 2019"),
    ],
)
def test_claim_of_the_article_is_weighed_against_the_fact_that_decides_it(number, fact):
    assert fact in article()[number - 1].evidence
