"""The NVML probe against a double: which devices, which fields, and the reason for each that is null."""

from __future__ import annotations

import pytest
from fake_nvml import FakeNvml, Gpu

from harness.probes.devices import Unavailable, choose
from harness.probes.nvml import Absent, connect, open_nvml, throttle_words

TWO = [Gpu("GPU-aaaa-1"), Gpu("GPU-bbbb-2")]
SPLIT = Gpu("GPU-cccc-3", parts=("MIG-1111", "MIG-2222"))


def chosen(gpus: list[Gpu], visible: str | None, order: str | None = None) -> list[str]:
    return [device.uuid for device in choose(FakeNvml(gpus), visible, (), order)]


@pytest.mark.parametrize(
    ("visible", "uuids"),
    [
        (None, ["GPU-aaaa-1", "GPU-bbbb-2"]),
        ("0", ["GPU-aaaa-1"]),
        ("1, 0", ["GPU-bbbb-2", "GPU-aaaa-1"]),
        ("GPU-bbbb-2", ["GPU-bbbb-2"]),
        ("GPU-b", ["GPU-bbbb-2"]),
        ("1,7,0", ["GPU-bbbb-2"]),  # as in CUDA, the list ends at what names nothing
        ("0,0", ["GPU-aaaa-1"]),
        ("GPU-,0", None),  # the beginning of two UUIDs names neither
        ("", None),
        ("-1", None),
        ("NoDevFiles", None),
    ],
)
def test_cuda_visible_devices_in_every_form(visible: str | None, uuids: list[str] | None) -> None:
    if uuids is None:
        with pytest.raises(Unavailable, match="leaves no GPU visible"):
            chosen(TWO, visible)
    else:
        assert chosen(TWO, visible) == uuids


def test_mig_instances_are_found_by_their_ids() -> None:
    assert chosen([*TWO, SPLIT], "MIG-2222") == ["MIG-2222"]
    assert chosen([*TWO, SPLIT], "2") == ["GPU-cccc-3"]


def test_cudas_own_uuids_win_over_the_environment() -> None:
    devices = choose(FakeNvml(TWO), "0", ("BBBB-2",), None)
    assert [device.uuid for device in devices] == ["GPU-bbbb-2"]
    with pytest.raises(Unavailable, match="none of the GPUs that CUDA uses"):
        choose(FakeNvml(TWO), "0", ("ffff",), None)


def test_indices_among_unlike_gpus_say_that_cuda_may_count_otherwise() -> None:
    unlike = [Gpu("GPU-1", "small"), Gpu("GPU-2", "large")]
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in choose(FakeNvml(unlike), "0", (), None)[0].chosen_by
    assert choose(FakeNvml(unlike), "0", (), "PCI_BUS_ID")[0].chosen_by == "index in PCI order"


def test_every_field_has_its_unit() -> None:
    nvml = FakeNvml(TWO[:1])
    (sample,) = connect({}, nvml=nvml).sample(1.5)
    assert sample.missing == {}
    assert (sample.t_s, sample.device) == (1.5, "GPU-aaaa-1")
    assert sample.values == {
        "kernel_running_fraction": 0.8,
        "memory_access_fraction": 0.3,
        "memory_used_mib": 2048.0,
        "power_w": 250.5,
        "energy_j": 5000.0,
        "temperature_c": 61,
        "sm_clock_mhz": 1755,
        "memory_clock_mhz": 1755,
        "throttle_mask": 0x24,
        "compute_processes": 1,
    }
    assert throttle_words(0x24) == ("power_cap", "thermal_slowdown_by_driver")
    assert throttle_words(0) == ()


def test_an_unsupported_field_is_null_with_nvmls_words() -> None:
    gpu = Gpu("GPU-1", unsupported=frozenset({"nvmlDeviceGetPowerUsage", "nvmlDeviceGetPowerManagementLimit"}))
    probe = connect({}, nvml=FakeNvml([gpu]))
    (sample,) = probe.sample(0.0)
    assert sample.values["power_w"] is None
    assert sample.missing == {"power_w": "Not Supported"}
    assert sample.values["energy_j"] == 5000.0
    (told,) = probe.describe()
    assert (told["power_limit_w"], told["missing"]) == (None, {"power_limit_w": "Not Supported"})
    assert (told["name"], told["memory_mib"]) == ("NVIDIA Test GPU", 81920)


def test_a_mig_instance_gives_its_memory_and_nothing_of_the_whole_gpu() -> None:
    (sample,) = connect({"CUDA_VISIBLE_DEVICES": "MIG-1111"}, nvml=FakeNvml([SPLIT])).sample(0.0)
    assert {name for name, number in sample.values.items() if number is not None} == {"memory_used_mib"}
    assert "whole GPU only" in sample.missing["energy_j"]
    (whole,) = connect({}, nvml=FakeNvml([SPLIT])).sample(0.0)
    assert set(whole.values.values()) == {None}
    assert "no instance is named" in whole.missing["memory_used_mib"]


def test_a_lost_gpu_raises_so_that_the_sampler_knows() -> None:
    nvml = FakeNvml(TWO)
    probe = connect({}, nvml=nvml)
    nvml.lost = True
    with pytest.raises(nvml.NVMLError, match="lost"):
        probe.sample(0.0)


def test_no_driver_no_gpu_and_the_cpu_are_recorded_facts() -> None:
    for device, nvml, reason in (
        ("cuda", FakeNvml([], missing_driver=True), "NVML does not start: NVML Shared Library Not Found"),
        ("cuda", FakeNvml([]), "the driver is here, but it sees no GPU"),
        ("cpu", FakeNvml(TWO), "the run computes on the CPU"),
    ):
        (probe,) = open_nvml(device, environ={}, nvml=nvml)
        assert isinstance(probe, Absent)
        assert [sample.missing for sample in probe.sample(0.0)] == [{"available": reason}]
        assert probe.sample(1.0) == []  # told once
        assert nvml.started == 0


def test_a_run_on_one_of_several_gpus_watches_that_one() -> None:
    (probe,) = open_nvml("cuda:1", environ={}, nvml=(nvml := FakeNvml(TWO)))
    assert [sample.device for sample in probe.sample(0.0)] == ["GPU-bbbb-2"]
    probe.close()
    assert nvml.started == 0
