"""A driver that hangs: nothing waits for it longer than a bound, and a run on the CPU hardly at all."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from fake_nvml import FakeNvml, Gpu

from harness.machine import doctor, hardware
from harness.machine.hardware import visible_gpus
from harness.probes import nvml as nvml_module
from harness.probes.base import Unavailable
from harness.probes.nvml import connect, open_nvml

BOUND_S = 0.3


class HungNvml(FakeNvml):
    """The call named `at` doesn't return until the test ends."""

    def __init__(self, at: str, freed: threading.Event) -> None:
        super().__init__([Gpu("GPU-aaaa-1")])
        self.at, self.freed, self.asked, self.closed = at, freed, 0, False

    def nvmlShutdown(self) -> None:
        super().nvmlShutdown()
        self.closed = True

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("nvml") and name == super().__getattribute__("at"):
            self.asked += 1
            self.freed.wait(20)
        return super().__getattribute__(name)


@pytest.fixture
def freed(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    monkeypatch.setattr(nvml_module, "ANSWER_S", BOUND_S)
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.parametrize("at", ["nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex"])
def test_a_driver_that_hangs_is_unavailable_after_a_bound(freed: threading.Event, at: str) -> None:
    started = time.monotonic()
    with pytest.raises(Unavailable, match=r"NVML has not answered for 0\.3 s"):
        connect(nvml=HungNvml(at, freed))
    assert time.monotonic() - started < 5
    with pytest.raises(Unavailable, match="has not answered"):
        open_nvml("cuda", nvml=HungNvml(at, freed))


def test_a_driver_that_hung_once_is_not_asked_again(freed: threading.Event) -> None:
    hung = HungNvml("nvmlInit", freed)
    for _ in range(3):
        with pytest.raises(Unavailable, match="has not answered"):
            connect(nvml=hung)
    assert hung.asked == 1


@pytest.mark.parametrize("at", ["nvmlInit", "nvmlDeviceGetMaxClockInfo", "nvmlSystemGetDriverVersion"])
def test_the_environment_is_described_where_the_driver_hangs(freed: threading.Event, at: str) -> None:
    missing: dict[str, str] = {}
    found, versions = hardware.gpus(missing, HungNvml(at, freed))
    assert (found, versions.driver) == ((), None)
    assert set(missing) == {"gpus", "driver", "driver_cuda", "nvml"}
    assert all("has not answered" in reason for reason in missing.values())


def test_doctor_and_studies_go_on_where_the_driver_hangs(freed: threading.Event) -> None:
    finding = doctor.gpu_probe(HungNvml("nvmlInit", freed))
    assert finding.state == "absent"
    assert "has not answered" in finding.detail
    assert visible_gpus({}, nvml=HungNvml("nvmlInit", freed)) == []


def test_a_run_on_the_cpu_asks_no_driver_for_a_probe(freed: threading.Event) -> None:
    hung = HungNvml("nvmlInit", freed)
    with pytest.raises(Unavailable, match="the run computes on the CPU"):
        open_nvml("cpu", nvml=hung)
    assert hung.asked == 0


def test_a_driver_that_answers_late_is_shut_down(freed: threading.Event) -> None:
    late = HungNvml("nvmlInit", freed)
    with pytest.raises(Unavailable, match="has not answered"):
        connect(nvml=late)
    freed.set()
    until = time.monotonic() + 5
    while not late.closed:
        assert time.monotonic() < until
        time.sleep(0.01)
    assert late.started == 0
