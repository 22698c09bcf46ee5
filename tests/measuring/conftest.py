"""For measuring: a small run, time that passes only where a test says so, and windows that are very short."""

from __future__ import annotations

import pytest
from fake_time import Clock

from harness.data.base import Prepared
from harness.resolve import RunRequest, prepare_for, run_spec
from harness.spec import RunSpec


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("harness.bench.timing.time", made)
    return made


@pytest.fixture
def measured() -> tuple[RunSpec, Prepared]:
    request = RunRequest(
        "no_lrn", "mini", "synthetic", 0, limits=(160, 8), overrides=("batch_size=16",)
    )
    prepared = prepare_for(request, "folder")
    return run_spec(request, prepared, "cpu"), prepared


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows that are too short for a speed, but are the same code."""
    monkeypatch.setattr("harness.bench.step.WINDOW_S", 0.01)
    monkeypatch.setattr("harness.bench.step_peers.WINDOW_S", 0.01)
    monkeypatch.setattr("harness.bench.pipeline.WINDOW_S", 0.01)
    monkeypatch.setattr("harness.bench.layers.LAYER_WINDOW_S", 0.001)
    monkeypatch.setattr("harness.bench.loader_peers.PEER_WINDOW_S", 0.01)
    monkeypatch.setattr("harness.bench.loader_peers.PEER_IMAGES", 16)
    monkeypatch.setattr("harness.bench.loader.WINDOW_BATCHES", 2)
    monkeypatch.setattr("harness.bench.pipeline.WINDOW_BATCHES", 2)
    monkeypatch.setattr("harness.bench.timing.MOST_WARM_UPS", 1)
    monkeypatch.setattr("harness.bench.ceilings.GEMM_SIDE", 64)
    monkeypatch.setattr("harness.bench.ceilings.COPIED_BYTES", 1 << 16)
    monkeypatch.setattr("harness.bench.ceilings.COPY_WINDOW_BYTES", 1 << 20)
    monkeypatch.setattr("harness.bench.ceilings.COPY_SETS", (1 << 18, 1 << 20))
    monkeypatch.setattr("harness.bench.ceilings.CONV_BATCH", 1)
