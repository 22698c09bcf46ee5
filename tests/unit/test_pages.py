"""What is generated in the repository is up to date: README's table, and the pages of published numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli.app import app
from harness.cli.pages import generated

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "path", ["README.md", "targets.md", "article.md", "paper.md", "differences.md"]
)
def test_a_generated_page_is_what_its_command_writes(path: str) -> None:
    wanted = {made.name: (made, text) for made, text in generated(ROOT).items()}
    made, text = wanted[path]
    assert made.read_text() == text, "fix it with: python -m harness pages"


def test_check_names_the_pages_that_are_out_of_date(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("<!-- results:begin -->old<!-- results:end -->\n")
    told = CliRunner().invoke(app, ["pages", "--check", "--root", str(tmp_path)])
    assert told.exit_code == 1
    assert "README.md" in told.output
    assert CliRunner().invoke(app, ["pages", "--root", str(tmp_path)]).exit_code == 0
    assert CliRunner().invoke(app, ["pages", "--check", "--root", str(tmp_path)]).exit_code == 0
