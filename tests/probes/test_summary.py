"""From samples to a summary's numbers: counters over exact intervals, both ways of energy, a reason for each null."""

from __future__ import annotations

from pathlib import Path

import pytest
from replay import ReplayProbe, write_synthetic_trace

from harness.probes.base import Sample
from harness.probes.summary import summarise


def gpu(t_s: float, device: str = "GPU-1", **values: float | None) -> Sample:
    missing = {name: "Not Supported" for name, number in values.items() if number is None}
    return Sample(t_s=t_s, probe="nvml", device=device, values=dict(values), missing=missing)


def host(t_s: float, cpu_s: float) -> Sample:
    return Sample(
        t_s=t_s, probe="host", device="host", values={"cpu_s": cpu_s, "rss_mib": 100 + t_s}, missing={}
    )


def test_energy_is_the_counters_difference_over_the_training_intervals_alone() -> None:
    samples = [
        gpu(t, energy_j=1000 + 200 * t, power_w=200.0, kernel_running_fraction=0.9) for t in range(11)
    ]
    told = summarise(samples, [(1.25, 3.75), (6.0, 9.5)])
    assert told["summary"]["gpu_energy_j"] == pytest.approx(200 * 6)
    assert told["details"]["gpu_energy_integrated_j"] == pytest.approx(200 * 6)
    assert told["details"]["gpu_energy_disagreement"] == 0
    assert told["summary"]["gpu_utilisation"] == 0.9


def test_a_disagreement_between_counter_and_power_is_told() -> None:
    samples = [
        gpu(t, energy_j=100.0 * t, power_w=140.0, kernel_running_fraction=1.0) for t in range(11)
    ]
    assert summarise(samples, [(0, 10)])["details"]["gpu_energy_disagreement"] == pytest.approx(0.4)


def test_utilisation_counts_only_samples_within_training() -> None:
    samples = [gpu(t, kernel_running_fraction=1.0 if t < 5 else 0.0) for t in range(10)]
    assert summarise(samples, [(0, 4.5)])["summary"]["gpu_utilisation"] == 1.0


def test_energies_of_several_gpus_add_up_and_utilisations_are_averaged() -> None:
    samples = [
        gpu(t, name, energy_j=10.0 * t, kernel_running_fraction=f)
        for t in range(5)
        for name, f in (("a", 0), ("b", 1))
    ]
    told = summarise(samples, [(0, 4)])
    assert told["summary"]["gpu_energy_j"] == 80
    assert told["summary"]["gpu_utilisation"] == 0.5


def test_cpu_utilisation_is_cpu_seconds_a_second_of_training() -> None:
    told = summarise([host(t, 1.5 * t) for t in range(11)], [(2, 8)])
    assert told["summary"]["cpu_utilisation"] == 1.5
    assert told["summary"]["peak_rss_mib"] == 110


def test_throttling_is_counted_in_seconds_by_reason() -> None:
    samples = [gpu(t, throttle_mask=4 if 2 <= t < 5 else 0) for t in range(10)]
    assert summarise(samples, [(3.5, 9)])["details"]["throttled_s"] == {"power_cap": 1.5}
    assert summarise(samples, [(0, 2.5), (4.75, 9)])["details"]["throttled_s"] == {"power_cap": 0.75}


def test_every_null_has_the_reason_that_applies() -> None:
    absent = Sample(
        t_s=0,
        probe="nvml",
        device="nvml",
        values={"available": None},
        missing={"available": "no driver"},
    )
    told = summarise([absent, host(0, 0)], [(0, 10)])
    assert told["missing"]["gpu_energy_j"] == "no driver"
    assert told["missing"]["cpu_utilisation"] == "too few samples during training"
    assert "peak_rss_mib" not in told["missing"]
    unsupported = summarise(
        [gpu(t, energy_j=None, kernel_running_fraction=0.5) for t in range(5)], [(0, 4)]
    )
    assert unsupported["missing"]["gpu_energy_j"] == "Not Supported"
    nothing = summarise([], [(0, 1)])
    assert nothing["missing"]["gpu_utilisation"] == "the nvml probe gave no sample"
    assert nothing["missing"]["peak_rss_mib"] == "the host probe gave no sample"


def test_a_probe_that_died_early_gives_null_and_not_a_small_number() -> None:
    samples = [gpu(t, energy_j=100.0 * t, kernel_running_fraction=0.5) for t in range(5)]
    told = summarise(samples, [(0, 60)])
    assert told["summary"]["gpu_energy_j"] is None
    assert told["missing"]["gpu_energy_j"] == "too few samples during training"


def test_a_synthetic_trace_agrees_with_itself(tmp_path: Path) -> None:
    """The trace's counter is the left sum of its power, the integral a trapezoid: they differ at the edges."""
    write_synthetic_trace(tmp_path / "trace", seconds=60)
    probe = ReplayProbe(tmp_path / "trace")
    told = summarise((s for t in range(120) for s in probe.sample(t / 2)), [(0, 59)])
    assert abs(told["details"]["gpu_energy_disagreement"]) < 0.02
    assert 0.7 < told["summary"]["gpu_utilisation"] < 0.9


def energy(*readings: float) -> dict[str, dict[str, float | str | None]]:
    """Of a GPU that takes 200 W, with these readings of its counter, one a second."""
    samples = [gpu(t, energy_j=number, power_w=200.0) for t, number in enumerate(readings)]
    return summarise(samples, [(0, len(readings) - 1)])


def test_an_energy_counter_that_runs_backwards_gives_null_with_the_reason() -> None:
    told = energy(40_000, 40_200, 40_400, 0, 200, 400)
    assert told["summary"]["gpu_energy_j"] is None
    assert (
        told["missing"]["gpu_energy_j"]
        == "the counter of energy_j ran backwards, from 40400 to 0: it was reset or wrapped around"
    )
    assert told["details"]["gpu_energy_integrated_j"] == 1000


def test_an_energy_counter_that_wraps_gives_null_with_the_reason() -> None:
    top = (1 << 32) / 1000  # J: a counter of 32 bits in mJ
    told = energy(top - 300, top - 100, 100, 300)
    assert told["summary"]["gpu_energy_j"] is None
    assert "ran backwards" in str(told["missing"]["gpu_energy_j"])


def test_a_frozen_energy_counter_gives_null_with_the_reason() -> None:
    told = energy(*[40_000.0] * 4)
    assert told["summary"]["gpu_energy_j"] is None
    assert told["missing"]["gpu_energy_j"] == "the counter of energy_j stood still for 3 s of training"


def test_an_energy_counter_that_froze_for_a_while_gives_null_with_the_reason() -> None:
    told = energy(*[200.0 * t for t in range(10)], *[1800.0] * 8, *[200.0 * t for t in range(18, 30)])
    assert told["summary"]["gpu_energy_j"] is None
    assert told["missing"]["gpu_energy_j"] == "the counter of energy_j stood still for 8 s of training"


def test_an_energy_counter_that_is_updated_slowly_is_no_frozen_one() -> None:
    told = energy(*[400.0 * (t // 2) for t in range(21)])
    assert told["summary"]["gpu_energy_j"] == 4000


def test_a_counter_that_stands_still_between_the_intervals_of_training_is_no_frozen_one() -> None:
    readings = [200.0 * min(t, 10) if t < 40 else 2000.0 + 200 * (t - 40) for t in range(51)]
    samples = [gpu(t, energy_j=number) for t, number in enumerate(readings)]
    assert summarise(samples, [(0, 10), (40, 50)])["summary"]["gpu_energy_j"] == 4000


def test_cpu_seconds_that_run_backwards_give_null_with_the_reason() -> None:
    told = summarise([host(t, seconds) for t, seconds in enumerate((5.0, 6.0, 0.0, 1.0))], [(0, 3)])
    assert told["summary"]["cpu_utilisation"] is None
    assert "the counter of cpu_s ran backwards" in told["missing"]["cpu_utilisation"]


def test_a_process_that_waits_takes_no_cpu_seconds_and_that_is_no_fault() -> None:
    told = summarise([host(t, 5.0 if t < 20 else 5.0 + t - 20) for t in range(30)], [(0, 29)])
    assert told["summary"]["cpu_utilisation"] is not None


def test_a_gauge_that_falls_is_no_counter() -> None:
    samples = [gpu(0, kernel_running_fraction=1.0), gpu(9, kernel_running_fraction=0.1)]
    assert (
        summarise(samples, [(3, 6)])["missing"]["gpu_utilisation"] == "too few samples during training"
    )


def watts(t_s: float, **more: float | None) -> Sample:
    """A GPU that idles at 50 W until 2 s, and then takes 200 W."""
    busy = t_s >= 2
    joules = 50 * min(t_s, 2) + 200 * max(t_s - 2, 0)
    return gpu(
        t_s,
        energy_j=joules,
        power_w=200.0 if busy else 50.0,
        kernel_running_fraction=float(busy),
        **more,
    )


def test_joules_per_image_are_of_the_windows_after_the_warm_up() -> None:
    told = summarise([watts(t) for t in range(21)], [(2, 20)], steady=[(10, 20)], steady_images=400)
    assert told["summary"]["gpu_energy_j"] == 200 * 18
    assert told["details"]["gpu_j_per_image"] == 200 * 10 / 400
    assert "gpu_j_per_image" not in told["reasons"]


def test_the_idle_power_is_that_before_training() -> None:
    samples = [watts(t) for t in range(21)]
    assert summarise(samples, [(3, 20)])["details"]["gpu_idle_w"] == 50
    told = summarise(samples[2:], [(3, 20)])
    assert told["details"]["gpu_idle_w"] is None
    assert told["reasons"]["gpu_idle_w"] == "no sample was taken before training with the GPU idle"


def test_runs_that_share_a_gpu_have_no_energy_of_their_own() -> None:
    samples = [watts(t, compute_processes=2) for t in range(21)]
    told = summarise(samples, [(2, 20)], [(10, 20)], 400, concurrent=2)
    shared = "2 runs at a time shared the GPU, and its energy is that of them all"
    assert told["summary"]["gpu_energy_j"] is None
    assert told["missing"]["gpu_energy_j"] == shared
    for name in ("gpu_energy_integrated_j", "gpu_energy_disagreement", "gpu_j_per_image"):
        assert (told["details"][name], told["reasons"][name]) == (None, shared)
    assert told["details"]["foreign_process_seen"] is False
    # on the CPU the reason stays the one that was there before
    assert summarise([], [(0, 1)], concurrent=2)["missing"]["gpu_energy_j"] != shared


def test_a_foreign_process_on_the_gpu_is_flagged() -> None:
    alone, shared, hidden = (
        summarise([watts(t, compute_processes=n) for t in range(5)], [(0, 4)]) for n in (1, 2, 0)
    )
    assert alone["details"]["foreign_process_seen"] is False
    assert shared["details"]["foreign_process_seen"] is True
    assert hidden["details"]["foreign_process_seen"] is None
    assert "not even this one" in hidden["reasons"]["foreign_process_seen"]


def test_every_null_detail_has_a_reason() -> None:
    for samples in ([], [watts(t) for t in range(5)], [gpu(0, energy_j=None)]):
        told = summarise(samples, [(0, 4)])
        nulls = {name for name, held in told["details"].items() if held is None}
        assert nulls == set(told["reasons"])
        assert all(told["reasons"].values())


def test_activity_of_the_gpu_is_the_mean_over_training() -> None:
    samples = [
        Sample(t_s=t, probe="gpm", device="GPU-1", values={"sm_active_fraction": t / 10}, missing={})
        for t in range(10)
    ]
    assert summarise(samples, [(4, 6)])["details"]["sm_active_fraction"] == 0.5
