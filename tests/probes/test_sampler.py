"""The sampler: probes that work, fail, hang or die, and a run that notices none of it."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from replay import SYNTHETIC, ReplayProbe, write_synthetic_trace

from harness.errors import UsageError
from harness.probes.base import Probe, Sample
from harness.probes.host import HostProbe, memory_mib, peak_rss_mib
from harness.probes.sampler import Sampler


class Counting(Probe):
    """Gives 1, 2, 3 ...; `fails` holds the rounds that raise."""

    def __init__(self, name: str = "counting", fails: frozenset[int] = frozenset()) -> None:
        self.name, self.fails = name, fails
        self.rounds, self.closed = 0, False

    def sample(self, t_s: float) -> list[Sample]:
        self.rounds += 1
        if self.rounds in self.fails:
            raise OSError(f"round {self.rounds} broke")
        return [
            Sample(t_s=t_s, probe=self.name, device="host", values={"count": self.rounds}, missing={})
        ]

    def close(self) -> None:
        self.closed = True


class Hung(Counting):
    """Does not come back until it is released."""

    def __init__(self) -> None:
        super().__init__("hung")
        self.release = threading.Event()

    def sample(self, t_s: float) -> list[Sample]:
        self.release.wait(20)
        return super().sample(t_s)


def test_a_probe_is_sampled_at_its_rate_and_closed() -> None:
    told: list[Sample] = []
    probe = Counting()
    with Sampler([probe], told.append, hz=50) as sampler:
        time.sleep(0.2)
    assert 3 <= len(told) <= 13  # about 11: the first, ten ticks, the last; fewer on a busy machine
    assert [sample.values["count"] for sample in told] == list(range(1, len(told) + 1))
    assert probe.closed
    report = sampler.report()
    assert report["missing"] == {}
    assert report["requested_hz"] == 50
    assert 5 < report["achieved_hz"]["counting"] < 60


def test_even_a_short_run_has_a_first_and_a_last_sample() -> None:
    told: list[Sample] = []
    with Sampler([Counting()], told.append, hz=0.01):
        time.sleep(0.05)
    assert len(told) == 2


def test_times_are_those_of_the_clock_passed_in() -> None:
    told: list[Sample] = []
    with Sampler([Counting()], told.append, lambda: 42.0, hz=100):
        time.sleep(0.02)
    assert {sample.t_s for sample in told} == {42.0}


def test_a_failing_probe_is_recorded_once_and_given_up_after_three_failures() -> None:
    told: list[Sample] = []
    probe = Counting(fails=frozenset(range(1, 100)))
    with Sampler([probe], told.append, hz=200) as sampler:
        time.sleep(0.2)
    assert [sample.missing for sample in told] == [{"available": "OSError: round 1 broke"}]
    assert probe.rounds == 3
    assert probe.closed
    assert "given up after 3 failures in a row" in sampler.report()["missing"]["counting"]


def test_a_passing_failure_does_not_end_a_probe() -> None:
    told: list[Sample] = []
    with Sampler([Counting(fails=frozenset({2, 3}))], told.append, hz=200) as sampler:
        time.sleep(0.2)
    assert len([sample for sample in told if "count" in sample.values]) > 3
    assert sampler.report()["missing"] == {"counting": "OSError: round 3 broke"}


def test_a_hung_probe_delays_neither_the_run_nor_the_others() -> None:
    told: list[Sample] = []
    hung, working = Hung(), Counting()
    started_s = time.monotonic()
    with Sampler([hung, working], told.append, hz=100) as sampler:
        time.sleep(0.05)
    assert time.monotonic() - started_s < 2.0  # 1 s is waited for it at most
    assert {sample.probe for sample in told} == {"counting"}
    assert "has not answered" in sampler.report()["missing"]["hung"]
    count = len(told)
    hung.release.set()
    time.sleep(0.05)
    assert len(told) == count  # what it says after the block is dropped


def test_a_store_that_refuses_samples_ends_sampling_and_not_the_run() -> None:
    calls: list[Sample] = []

    def full(sample: Sample) -> None:
        calls.append(sample)
        raise OSError("No space left on device")

    with Sampler([Counting()], full, hz=100) as sampler:
        time.sleep(0.05)
    assert len(calls) == 1
    assert "No space left" in sampler.report()["missing"]["samples"]


def test_the_host_probe_reads_this_process() -> None:
    probe = HostProbe()
    (first,) = probe.sample(0.0)
    assert first.missing["cpu_utilisation"].startswith("it takes two samples")
    total = 0
    while time.process_time() < first.values["cpu_s"] + 0.1:  # type: ignore[operator]
        total += 1
    (second,) = probe.sample(1.0)
    # the kernel counts in ticks of 10 ms
    assert second.values["cpu_utilisation"] == pytest.approx(0.1, abs=0.05)
    assert second.values["rss_mib"] > 5  # type: ignore[operator]
    assert 0 <= second.values["system_cpu_fraction"] <= 1  # type: ignore[operator]
    assert set(second.values) == set(first.values)


SIZE_MIB = 64


def mapped_file(folder: Path) -> mmap.mmap:
    """Written without a buffer of its size, whose memory this process might keep."""
    with (folder / "images.beton").open("w+b") as file:
        file.truncate(SIZE_MIB << 20)
        return mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)


def own_memory(folder: Path) -> mmap.mmap:
    """New pages; a bytearray may get those that an earlier test has freed."""
    return mmap.mmap(-1, SIZE_MIB << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def shared_memory(folder: Path) -> mmap.mmap:
    return mmap.mmap(-1, SIZE_MIB << 20)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("make", "counted"), [(mapped_file, False), (own_memory, True), (shared_memory, True)]
)
def test_memory_counts_what_only_the_process_can_free_and_no_pages_of_mapped_files(
    tmp_path: Path, make: Callable[[Path], mmap.mmap], counted: bool
) -> None:
    (before,) = HostProbe().sample(0.0)
    held = make(tmp_path)
    for at in range(0, len(held), 4096):  # of each page a byte
        if counted:
            held[at] = 1
        else:
            assert held[at] == 0
    (after,) = HostProbe().sample(1.0)
    rise = {name: after.values[name] - before.values[name] for name in ("memory_mib", "rss_mib")}  # type: ignore[operator]
    assert rise["rss_mib"] > 0.9 * SIZE_MIB
    assert rise["memory_mib"] > 0.9 * SIZE_MIB if counted else rise["memory_mib"] < 0.1 * SIZE_MIB


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_peak_of_a_process_does_not_count_the_memory_of_the_one_that_started_it(
    tmp_path: Path,
) -> None:
    """ru_maxrss does, where the child starts by a fork. An empty Python has 10 MiB."""
    ballast = b"1" * (200 << 20)
    code = "import sys, os; sys.stdout.write(open(f'/proc/{os.getpid()}/status').read())"
    (tmp_path / "proc/7").mkdir(parents=True)
    (tmp_path / "proc/7/status").write_bytes(
        subprocess.check_output([sys.executable, "-S", "-c", code])
    )
    child, own = peak_rss_mib(7, tmp_path), peak_rss_mib(os.getpid())
    assert child is not None
    assert own is not None
    assert 1 < child < 100 < 200 < own
    assert ballast


@pytest.mark.parametrize("said", ["", "VmRSS:\t 10 kB\n", "RssAnon: ? kB\nRssShmem: 0 kB\n"])
def test_memory_that_the_system_does_not_tell_is_none(tmp_path: Path, said: str) -> None:
    (tmp_path / "proc/7").mkdir(parents=True)
    (tmp_path / "proc/7/status").write_text(said)
    assert memory_mib(7, tmp_path) is None
    assert peak_rss_mib(7, tmp_path) is None


def test_a_replayed_trace_drives_the_sampler(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    write_synthetic_trace(path, seconds=30, hz=2)
    told: list[Sample] = []
    ticks = count()
    with Sampler([ReplayProbe(path)], told.append, lambda: next(ticks) / 100, hz=1000):
        time.sleep(0.05)
    assert told
    assert {(sample.probe, sample.device) for sample in told} == {("replay", SYNTHETIC)}
    assert "not-a-measurement" in SYNTHETIC


def test_replay_gives_the_last_reading_so_far_and_nothing_after_the_end(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    write_synthetic_trace(path, seconds=2, hz=1)
    probe = ReplayProbe(path)
    readings = [probe.sample(t_s) for t_s in (0.0, 0.9, 1.0, 2.0, 2.1)]
    assert [len(reading) for reading in readings] == [1, 1, 1, 1, 0]
    assert readings[0][0].values == readings[1][0].values != readings[2][0].values
    assert readings[1][0].t_s == 0.9


def test_a_trace_that_is_none_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    (tmp_path / "foreign").write_text("{}\n")
    for name, said in (
        ("empty", "no samples"),
        ("foreign", "not a valid Sample"),
        ("none", "No such file"),
    ):
        with pytest.raises(UsageError, match=f"can't be replayed.*{said}"):
            ReplayProbe(tmp_path / name)


def test_the_same_seed_writes_the_same_trace(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_synthetic_trace(tmp_path / name, seconds=5, seed=seed)
    assert (
        (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() != (tmp_path / "c").read_bytes()
    )


def test_two_samples_too_near_to_each_other_give_no_utilisation() -> None:
    probe = HostProbe()
    probe.sample(0.0)
    assert probe.sample(1.0)[0].values["cpu_utilisation"] is not None
    near = probe.sample(1.01)[0]
    assert near.values["cpu_utilisation"] is None
    assert "apart" in near.missing["cpu_utilisation"]
