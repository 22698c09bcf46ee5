"""The NVML probe against a double: which devices, which fields, and the reason for each that is null."""

from __future__ import annotations

import pytest
from fake_nvml import ANSWERS, FakeNvml, Gpu

from harness.machine.hardware import visible_gpus
from harness.probes.base import Unavailable
from harness.probes.gpus import choose
from harness.probes.nvml import FIELDS, LostError, connect, open_nvml, throttle_words

TWO = [Gpu("GPU-aaaa-1"), Gpu("GPU-bbbb-2")]
NEEDED = {"nvmlDeviceGetUUID", "nvmlDeviceGetName"}  # without them there is no device
FALLBACKS = {"nvmlDeviceGetTemperatureV", "nvmlDeviceGetComputeRunningProcesses_v2"}
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
    gpu = Gpu(
        "GPU-1", unsupported=frozenset({"nvmlDeviceGetPowerUsage", "nvmlDeviceGetPowerManagementLimit"})
    )
    probe = connect({}, nvml=FakeNvml([gpu]))
    (sample,) = probe.sample(0.0)
    assert sample.values["power_w"] is None
    assert sample.missing == {"power_w": "Not Supported"}
    assert sample.values["energy_j"] == 5000.0
    (found,) = probe.gpus()
    assert (found.power_limit_w, found.missing) == (None, {"power_limit_w": "Not Supported"})
    assert (found.name, found.memory_mib) == ("NVIDIA Test GPU", 81920)


def test_a_mig_instance_gives_its_memory_and_nothing_of_the_whole_gpu() -> None:
    (sample,) = connect({"CUDA_VISIBLE_DEVICES": "MIG-1111"}, nvml=FakeNvml([SPLIT])).sample(0.0)
    assert {name for name, number in sample.values.items() if number is not None} == {"memory_used_mib"}
    assert "whole GPU only" in sample.missing["energy_j"]
    (whole,) = connect({}, nvml=FakeNvml([SPLIT])).sample(0.0)
    assert set(whole.values.values()) == {None}
    assert "no instance is named" in whole.missing["memory_used_mib"]


def test_a_probe_whose_gpus_are_all_lost_raises_so_that_the_sampler_knows() -> None:
    nvml = FakeNvml(TWO)
    probe = connect({}, nvml=nvml)
    nvml.lost = True
    with pytest.raises(LostError, match="lost"):
        probe.sample(0.0)


def test_one_lost_gpu_leaves_the_other_readable() -> None:
    gpus = [Gpu("GPU-1"), Gpu("GPU-2", lost=False)]
    probe = connect({}, nvml=FakeNvml(gpus))
    gpus[0].lost = True
    first, second = probe.sample(0.0)
    assert (first.values["power_w"], first.missing["power_w"]) == (None, "GPU is lost")
    assert second.missing == {}


def test_a_lost_mig_instance_raises_though_most_of_its_fields_are_hidden() -> None:
    nvml = FakeNvml([SPLIT])
    probe = connect({"CUDA_VISIBLE_DEVICES": "MIG-1111"}, nvml=nvml)
    nvml.lost = True
    with pytest.raises(LostError, match="lost"):
        probe.sample(0.0)


def test_a_gpu_that_supports_no_reading_is_not_taken_for_a_lost_one() -> None:
    readings = frozenset(name for name in ANSWERS if name.startswith("nvmlDeviceGet")) - {
        "nvmlDeviceGetUUID", "nvmlDeviceGetName", "nvmlDeviceGetMigMode",
    }  # fmt: skip
    (sample,) = connect({}, nvml=FakeNvml([Gpu("GPU-1", unsupported=readings)])).sample(0.0)
    assert set(sample.missing.values()) == {"Not Supported"}


@pytest.mark.parametrize("lacks", ["binding_lacks", "driver_lacks"])
@pytest.mark.parametrize(
    ("function", "field", "reading"),
    [
        ("nvmlDeviceGetTemperature", "temperature_c", 62),
        ("nvmlDeviceGetCurrentClocksEventReasons", "throttle_mask", 0x20),
        ("nvmlDeviceGetComputeRunningProcesses", "compute_processes", 1),
    ],
)
def test_another_name_of_a_function_serves_where_one_is_lacking(
    lacks: str, function: str, field: str, reading: int
) -> None:
    nvml = FakeNvml(TWO[:1], **{lacks: frozenset({function})})  # type: ignore[arg-type]
    (sample,) = connect({}, nvml=nvml).sample(0.0)
    assert (sample.values[field], sample.missing) == (reading, {})


@pytest.mark.parametrize("lacks", ["binding_lacks", "driver_lacks"])
@pytest.mark.parametrize("function", sorted(set(ANSWERS) - NEEDED - FALLBACKS))
def test_a_function_that_is_lacking_costs_its_own_field_at_most(lacks: str, function: str) -> None:
    family = frozenset(name for name in ANSWERS if name.startswith(function))
    if "Clocks" in function:
        family = frozenset(name for name in ANSWERS if "CurrentClocks" in name)
    nvml = FakeNvml(TWO[:1], **{lacks: family})  # type: ignore[arg-type]
    probe = connect({}, nvml=nvml)
    (sample,) = probe.sample(0.0)
    assert len(sample.missing) <= 2
    assert set(sample.missing) == {name for name, number in sample.values.items() if number is None}
    missing: dict[str, str] = {}
    probe.versions(missing)
    (gpu,) = probe.gpus()
    reasons = [*sample.missing.values(), *missing.values(), *gpu.missing.values()]
    assert all("lacks it: nvml" in reason or reason == "Function Not Found" for reason in reasons)
    assert reasons or function == "nvmlDeviceGetMigMode"


def test_one_unreadable_gpu_hides_no_other_and_moves_none() -> None:
    nvml = FakeNvml(TWO, unreadable=frozenset({0}))
    first, second = connect({}, nvml=nvml).sample(0.0)
    assert set(first.values.values()) == {None}
    assert first.missing == dict.fromkeys(FIELDS, "NVML can't read GPU 0: GPU is lost")
    assert (second.device, second.missing) == ("GPU-bbbb-2", {})
    (only,) = open_nvml("cuda:1", environ={}, nvml=nvml).sample(0.0)
    assert only.device == "GPU-bbbb-2"
    assert [gpu.name for gpu in connect({}, nvml=nvml).gpus()] == [None, "NVIDIA Test GPU"]
    assert visible_gpus({}, nvml=nvml) == ["GPU-bbbb-2"]
    assert chosen_from(nvml, "1") == ["GPU-bbbb-2"]
    with pytest.raises(Unavailable, match="NVML can't read GPU 0: GPU is lost"):
        open_nvml("cuda:0", environ={}, nvml=nvml)


def chosen_from(nvml: FakeNvml, visible: str) -> list[str]:
    return [device.uuid for device in choose(nvml, visible, (), None)]


def test_a_gpu_of_cuda_that_nvml_does_not_know_keeps_its_place() -> None:
    devices = choose(FakeNvml(TWO), None, ("ffff", "BBBB-2"), None)
    assert [(device.uuid, device.unreadable is None) for device in devices] == [
        ("ffff", False),
        ("GPU-bbbb-2", True),
    ]


def test_no_driver_no_gpu_and_the_cpu_are_reasons_to_record() -> None:
    for device, nvml, reason in (
        (
            "cuda",
            FakeNvml([], missing_driver=True),
            "NVML does not start: NVML Shared Library Not Found",
        ),
        ("cuda", FakeNvml([]), "the driver is here, but it sees no GPU"),
        ("cuda:5", FakeNvml(TWO), "there is no GPU number 5 among the 2 that are visible"),
        ("cpu", FakeNvml(TWO), "the run computes on the CPU"),
    ):
        with pytest.raises(Unavailable, match=reason):
            open_nvml(device, environ={}, nvml=nvml)
        assert nvml.started == 0


def test_a_run_on_one_of_several_gpus_watches_that_one() -> None:
    with open_nvml("cuda:1", environ={}, nvml=(nvml := FakeNvml(TWO))) as probe:
        assert [sample.device for sample in probe.sample(0.0)] == ["GPU-bbbb-2"]
    assert nvml.started == 0
