"""`data list` and `data prepare`: every row is shown, and preparing ends with one line of what is where."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from harness.cli.data import app
from harness.cli.progress import counting
from harness.data.sources import sources
from harness.errors import DataError, UsageError


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    for name in ("train/a/1.png", "train/b/2.png", "val/a/3.png"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20), (len(name), 0, 0)).save(path)
    return tmp_path / "images"


def run(*words: str) -> str:
    """The last line but the digest's that the command printed; what it raised, raised again."""
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    *_, last, digest = result.stdout.strip().splitlines()
    assert digest.startswith("digest of the images: ")
    return last


def test_list_shows_every_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    shown = CliRunner().invoke(app, ["list"]).stdout
    assert [name for name in sources() if f"\n{name} " not in shown] == []


def test_list_loads_no_torch() -> None:
    command = (
        "import sys; from typer.testing import CliRunner; from harness.cli.data import app; "
        "CliRunner().invoke(app, ['list']); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", command]).returncode == 0


def test_prepare_ends_with_what_is_where(tree: Path, tmp_path: Path) -> None:
    last = run("prepare", "folder", "--path", str(tree), "--size", "16", "--loader", "folder")
    assert last.startswith("folder: 2 training and 1 validation images, 2 classes, 16x16 raw: ")
    assert (Path(last.rsplit(": ")[-1]) / "manifest.json").is_file()
    assert last.rsplit(": ")[-1].startswith(str(tmp_path / "cache/data/folder-"))


def test_prepare_counts_what_it_left_out(tree: Path) -> None:
    (tree / "train/a/broken.png").write_text("no image")
    words = ("prepare", "folder", "--path", str(tree), "--size", "16", "--loader", "folder")
    with pytest.raises(DataError, match=r"1 of 4 files can't be read as images, .*--skip-bad-images"):
        run(*words)
    shown = CliRunner().invoke(app, [*words, "--skip-bad-images"]).stdout
    assert (
        "folder: 1 unreadable images are left out, since it was prepared with --skip-bad-images\n"
        in shown
    )
    assert "1 unreadable images" in CliRunner().invoke(app, list(words)).stdout  # remembered


def test_synthetic_needs_no_files(tree: Path) -> None:
    last = run("prepare", "synthetic", "--limit-train", "20", "--limit-val", "10", "--size", "8")
    assert (
        last == "synthetic: 20 training and 10 validation images, 10 classes, 8x8 raw: made in memory"
    )


def test_one_limit_alone_is_refused(tree: Path) -> None:
    with pytest.raises(UsageError, match="give both --limit-train and --limit-val"):
        run("prepare", "synthetic", "--limit-train", "20")


def test_in_a_log_a_line_every_15_s_has_the_speed_and_the_time_left(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Work that goes on at image 1000 of 5000: its speed is that of what is done now."""
    ticks = iter([0.0, 0.0, 0.0, 0.0, 10.0, 10.0, 20.0, 20.0, 20.0])
    with counting(lambda: next(ticks)) as progress:
        for done in (1000, 1500, 2000):
            progress("preparing train images", done, 5000)
    said = capfd.readouterr().err
    assert "preparing train images: 2,000 of 5,000, 50 images/s, 0:01:00 left" in said
    assert said.count("preparing train images: ") == 1


def test_a_terminal_of_80_columns_has_room_for_the_speed_and_the_time_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, width=80)
    monkeypatch.setattr("harness.cli.progress.console", terminal)
    seconds = iter(range(1000))
    with counting(lambda: float(next(seconds))) as progress:
        for done in range(0, 1_200_000, 200_000):
            progress("preparing train images", done, 1_281_167)
    assert isinstance(terminal.file, io.StringIO)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.file.getvalue())
    assert re.search(r"1000000/1281167 [0-9,]+ images/s +[0-9-]+:[0-9-]+:[0-9-]+", shown), shown
