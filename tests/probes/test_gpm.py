"""GPM against a double: fractions between two samples, buffers given back, and reasons where there is none."""

from __future__ import annotations

import pytest
from fake_nvml import FakeNvml, Gpu, NVMLError

from harness.probes.base import Unavailable
from harness.probes.gpm import FIELDS, FIRST, open_gpm


def test_the_second_sample_has_what_the_gpu_did_since_the_first() -> None:
    nvml = FakeNvml([Gpu("GPU-1")])
    with open_gpm("cuda", environ={}, nvml=nvml) as probe:
        (first,) = probe.sample(0.0)
        assert first.missing == dict.fromkeys(FIELDS, FIRST)
        (second,) = probe.sample(1.0)
        assert (second.t_s, second.device, second.missing) == (1.0, "GPU-1", {})
        # the double gives twice the metric's number in percent: DRAM_BW_UTIL is 10
        assert second.values == {
            "sm_active_fraction": 0.04,
            "sm_occupancy_fraction": 0.06,
            "tensor_active_fraction": 0.1,
            "fp32_active_fraction": 0.24,
            "dram_active_fraction": 0.2,
        }
        assert nvml.gpm_buffers == 1
    assert (nvml.gpm_buffers, nvml.started) == (0, 0)


def test_a_metric_that_nvml_refuses_is_null_with_its_error() -> None:
    with open_gpm("cuda", environ={}, nvml=FakeNvml([Gpu("GPU-1", metric_error=3)])) as probe:
        probe.sample(0.0)
        (second,) = probe.sample(1.0)
    assert set(second.missing.values()) == {"NVML gave the error 3 for this metric"}


def test_a_lost_gpu_raises_and_leaves_no_buffer_behind() -> None:
    gpu = Gpu("GPU-1")
    nvml = FakeNvml([gpu])
    with open_gpm("cuda", environ={}, nvml=nvml) as probe:
        probe.sample(0.0)
        gpu.lost = True
        with pytest.raises(NVMLError, match="lost"):
            probe.sample(1.0)
        assert nvml.gpm_buffers == 1
    assert nvml.gpm_buffers == 0


@pytest.mark.parametrize(
    ("device", "gpu", "environ", "reason"),
    [
        ("cpu", Gpu("GPU-1"), {}, "computes on the CPU"),
        ("cuda", Gpu("GPU-1", gpm=False), {}, "NVIDIA Test GPU has no GPM; Hopper and later"),
        ("cuda", Gpu("GPU-1", parts=("MIG-1",)), {"CUDA_VISIBLE_DEVICES": "MIG-1"}, "MIG is on"),
    ],
)
def test_without_gpm_there_is_a_reason(
    device: str, gpu: Gpu, environ: dict[str, str], reason: str
) -> None:
    nvml = FakeNvml([gpu])
    with pytest.raises(Unavailable, match=reason):
        open_gpm(device, environ=environ, nvml=nvml)
    assert nvml.started == 0


def test_an_older_binding_without_gpm_is_a_reason_too() -> None:
    class Older(FakeNvml):
        def nvmlGpmQueryDeviceSupport(self, gpu: Gpu) -> None:
            raise AttributeError("nvmlGpmQueryDeviceSupport")

    with pytest.raises(Unavailable, match="NVML has no GPM here"):
        open_gpm("cuda", environ={}, nvml=Older([Gpu("GPU-1")]))
