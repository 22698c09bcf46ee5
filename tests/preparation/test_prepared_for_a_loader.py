"""Which loader data was prepared for, and what is said where another one is asked for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.data.base import CropRule, LoaderSettings, Prepared
from harness.data.loaders import factory
from harness.data.loaders.factory import open_loader
from harness.errors import UsageError


def test_the_loader_that_can_not_run_says_why(
    ready: Callable[..., Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    why = "ffcv is not installed; fix it with: python -m harness.setup.ffcv"
    monkeypatch.setattr(factory.ffcv, "status", lambda: (False, why))
    prepared = ready(loader="auto")
    loader = open_loader(
        prepared, "val", LoaderSettings(batch_size=2, crop=CropRule(), seed=0, shuffle=False, workers=0)
    )
    assert (loader.choice.name, loader.choice.reason) == ("folder", why)
    with pytest.raises(UsageError, match="the FFCV loader was asked for, but ffcv is not installed"):
        ready(loader="ffcv")


def test_a_loader_not_prepared_for_is_told_with_the_way_out(
    ready: Callable[..., Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(factory.ffcv, "status", lambda: (True, "it works"))
    prepared = ready()
    auto = open_loader(
        prepared, "val", LoaderSettings(batch_size=2, crop=CropRule(), seed=0, shuffle=False, workers=0)
    )
    assert "was prepared for the folder loader only" in auto.choice.reason
    with pytest.raises(UsageError, match="run: python -m harness data prepare folder --loader ffcv"):
        open_loader(
            prepared,
            "val",
            LoaderSettings(batch_size=2, crop=CropRule(), seed=0, shuffle=False, workers=0),
            "ffcv",
        )


def test_the_reason_for_ffcv_is_found_once_and_told(
    ready: Callable[..., Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To find it loads FFCV's C library."""
    pytest.importorskip("ffcv")
    prepared = ready(loader="ffcv")
    asked = list[int]()
    monkeypatch.setattr(factory.ffcv, "status", lambda: (asked.append(1), (True, "it works"))[1])
    opened = open_loader(prepared, "val", LoaderSettings(batch_size=2))
    assert (opened.choice.name, opened.choice.reason, len(asked)) == ("ffcv", "it works", 1)


def test_jpeg_for_the_folder_loader_is_refused(ready: Callable[..., Prepared]) -> None:
    with pytest.raises(UsageError, match="the folder loader reads raw only"):
        ready(store_format="jpeg")


def test_a_jpeg_quality_without_jpeg_is_refused(ready: Callable[..., Prepared]) -> None:
    with pytest.raises(UsageError, match="goes with --format jpeg only"):
        ready(jpeg_quality=80)
