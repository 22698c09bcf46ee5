"""The published record as Markdown pages."""

from __future__ import annotations

import re

import pytest

from harness.published import pages
from harness.published.claims import article, paper_claims
from harness.published.load import sources
from harness.published.targets import targets


def diff_page() -> str:
    return pages.diff_page(("grouped_2gpu", "one_weird_trick"), ("grouped_2gpu", "code_2012"))


PAGES = {
    "diff": diff_page,
    "targets": pages.targets_page,
    "article": pages.article_page,
    "paper_claims": pages.paper_claims_page,
}


def grids(page: str) -> list[list[str]]:
    """The tables of a page, each as its lines."""
    return [block.splitlines() for block in page.split("\n\n") if block.startswith("|")]


@pytest.mark.parametrize("name", PAGES)
def test_every_line_of_a_table_has_as_many_cells_as_its_head(name):
    for lines in grids(PAGES[name]()):
        counts = {len(re.findall(r"(?<!\\)\|", line)) for line in lines}
        assert len(counts) == 1, lines[0]


@pytest.mark.parametrize("name", PAGES)
def test_page_is_the_same_each_time_and_ends_in_one_line_break(name):
    page = PAGES[name]()
    assert page == PAGES[name]()
    assert page.endswith("\n")
    assert not page.endswith("\n\n")


def test_targets_page_has_every_network_and_every_source():
    page = pages.targets_page()
    assert all(target.net in page for target in targets() if target.measure != "images_per_second")
    assert all(f"**{name}**" in page for name in sources())


def test_diff_page_lists_how_the_rows_of_each_pair_differ():
    torchvision, code = grids(diff_page())
    assert "| network | conv1 | kernels | 96 | 64 |" in torchvision
    assert "| code_2012 |" in code[0]
    assert any("| norm1 |" in line for line in code)


def test_diff_page_finds_nothing_between_a_row_and_itself():
    assert pages.diff_page(("grouped_2gpu", "grouped_2gpu")).endswith("Nothing.\n")


def test_article_page_has_every_claim():
    assert len(grids(pages.article_page())[0]) == len(article()) + 2  # head and rule


def test_paper_claims_page_has_every_claim():
    assert len(grids(pages.paper_claims_page())[0]) == len(paper_claims()) + 2
