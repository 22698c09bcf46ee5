"""A results folder as a study leaves it: three variants of three seeds, one of one seed, a failed and a reference run.

Written through the real store, with a counting clock. Errors are drawn per image, so bits and summaries agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.events import Evaluated, StepsDone, TrainingDone, TrainingStarted
from harness.machine.environment import Cpu, Environment, Source, TorchSettings
from harness.placement import Placement
from harness.probes.base import Sample
from harness.records.schema import ProtocolResult, Summary
from harness.records.store import RunRecord, Store
from harness.spec import DataSpec, RunSpec
from variants.catalog import CATALOG
from variants.recipes import RECIPES, apply

Bits = NDArray[np.bool_]
IMAGES = 2000
DATA = DataSpec(
    name="fashion_mnist",
    listing="ab" * 32,
    classes=10,
    train_images=4000,
    val_images=IMAGES,
    store_size=36,
)
RECIPE = replace(RECIPES["mini"].recipe, epochs=1.0)
ERRORS = {"grouped_2gpu": 0.160, "single_gpu": 0.175, "no_lrn": 0.215}
ENV = Environment(
    machine_id="0123456789abcdef0123456789abcdef",
    harness="0.1.0",
    python="3.11.7",
    packages={
        "torch": "2.14.1",
        "torchvision": "0.29.1",
        "timm": "1.0.31",
        "ffcv": None,
        "numpy": "2.4.6",
    },
    os="Linux 6.1.0 x86_64, Debian GNU/Linux 12 (bookworm)",
    cpu=Cpu(
        model="AMD EPYC 9V74 80-Core Processor",
        cores_affinity=2,
        cores_quota=None,
        cores_usable=2,
        memory_mib=24576,
    ),
    gpus=(),
    used_gpus=(),
    driver=None,
    driver_cuda=None,
    nvml=None,
    torch=TorchSettings(
        threads=1,
        interop_threads=2,
        cuda=None,
        cudnn=None,
        cpu_capability="AVX2",
        cudnn_benchmark=False,
        deterministic=True,
        float32_matmul_precision="highest",
        matmul_tf32=False,
        cudnn_tf32=False,
    ),
    variables={},
    source=Source(commit="c0ffee" * 6 + "c0ff", dirty=False, diff=None, diff_cut=False, untracked=()),
    placement=Placement(concurrent=2),
    disk_free_mib=64490,
    missing=dict.fromkeys(
        ("driver", "driver_cuda", "nvml", "torch.cuda", "torch.cudnn"), "there is no GPU"
    ),
)


GPU: dict[str, Any] = {"peak_gpu_mib": 900.0, "gpu_utilisation": 0.5, "gpu_energy_j": 1920.0}


@dataclass
class Study:
    """Writes runs into a results folder, a second apart."""

    root: Path
    minute: int = 0

    def spec(self, variant: str, seed: int, **changes: Any) -> RunSpec:
        net = CATALOG[variant].spec.with_classes(changes.get("data", DATA).classes)
        recipe = apply(RECIPE, CATALOG[variant].recipe_changes)
        made = RunSpec(variant=variant, geometry="mini", net=net, recipe=recipe, data=DATA, seed=seed)
        return replace(made, **changes)

    def run(
        self,
        spec: RunSpec,
        error: float,
        env: Environment = ENV,
        root: Path | None = None,
        located: float | None = None,
        training_errors: Sequence[float] = (),
        right: tuple[Bits, Bits] | None = None,
    ) -> RunRecord:
        """One finished run whose right answers are drawn per image.

        training_errors: on the training images after epochs 1, 2 and so on. right: under every protocol, instead of
        drawn ones; in the top 1 and in the top 5.
        """
        self.minute += 1
        start = datetime(2026, 1, 2, tzinfo=UTC) + timedelta(minutes=self.minute)
        rng = np.random.default_rng([spec.seed, len(spec.variant)])
        hardness = np.random.default_rng(99).random(spec.data.val_images)  # the same images for all
        with Store(root or self.root).open(spec, env, clock=Ticks(), now=lambda: start) as writer:
            results = {}
            for event in (*_training(error)[:-1], *map(_on_training_images, training_errors, count(1))):
                writer.event(event)
            writer.event(_training(error)[-1])
            for sample in _telemetry(spec.device == "cuda"):
                writer.sample(sample)
            for protocol, better in (("centre", 0.0), ("mirror", 0.004)):
                noise = hardness + rng.normal(0, 0.02, len(hardness))
                drawn = noise > error - better, noise > (error - better) / 8
                top1, top5 = right or drawn
                writer.write_correct(protocol, top1, top5)
                results[protocol] = replace(_result(top1, top5), localisation_error=located)
            writer.array("conv1", rng.normal(0, 0.01, (24, 3, 5, 5)).astype(np.float16))
            path = writer.seal(_summary(writer.run_id, spec, results))
        return RunRecord.load(path)

    def fail(self, spec: RunSpec, reason: str) -> RunRecord:
        self.minute += 1
        start = datetime(2026, 1, 2, tzinfo=UTC) + timedelta(minutes=self.minute)
        with Store(self.root).open(spec, ENV, clock=Ticks(), now=lambda: start) as writer:
            path = writer.fail("failed", reason, **_known(spec))
        return RunRecord.load(path)


class Ticks:
    """A clock that gains a second whenever it is read."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 1.0
        return self.now_s


def _training(error: float) -> list[Any]:
    events: list[Any] = [TrainingStarted(steps=60, images_per_epoch=4000, parameters=1000)]
    for i in range(1, 7):
        fit = 0.9 ** (2 * i)
        events.append(
            StepsDone(
                last_step=10 * i,
                epoch=i / 6,
                losses=(2.3 * fit,) * 10,
                top1_error=error + (0.9 - error) * fit,
                lr=0.01,
                images=640,
                elapsed_s=2.0,
                wait_s=0.2,
            )
        )
        if i in (3, 6):
            events.append(
                Evaluated(
                    step=10 * i,
                    epoch=i / 6,
                    protocol="centre",
                    final=i == 6,
                    top1_error=min(1.0, error + 0.3 * (6 - i) / 3),
                    top5_error=error / 8,
                    loss=0.9,
                    images=IMAGES,
                    elapsed_s=1.0,
                )
            )
    return [*events, TrainingDone(steps=60, images=3840, elapsed_s=12.0, wait_s=1.2)]


def _on_training_images(error: float, epoch: int) -> Evaluated:
    return Evaluated(
        step=60 * epoch, epoch=float(epoch), protocol="centre", final=False, top1_error=error, top5_error=0.0,
        loss=0.9, images=4000, elapsed_s=1.0, split="train",
    )  # fmt: skip


def _telemetry(gpu: bool) -> list[Sample]:
    nvml = [
        Sample(
            t_s=0.5 * i,
            probe="nvml",
            device="GPU-0",
            values={"kernel_running_fraction": 0.5},
            missing={},
        )
        for i in range(30 if gpu else 0)
    ]
    return nvml + [
        Sample(t_s=0.5 * i, probe="host", device="host", missing={},
               values={"cpu_utilisation": 0.9 + 0.05 * (i % 3), "rss_mib": 500.0 + i})
        for i in range(30)
    ]  # fmt: skip


def _result(top1: Any, top5: Any) -> ProtocolResult:
    return ProtocolResult(
        top1_error=float(1 - top1.mean()), top5_error=float(1 - top5.mean()), loss=0.8, images=len(top1)
    )


def _known(spec: RunSpec) -> dict[str, Any]:
    return {
        "parameters": spec.net.parameters, "macs": spec.net.macs, "warmup_steps": 5,
        "loader": "folder", "loader_reason": "FFCV is not installed; python -m harness.setup.ffcv fixes it",
    }  # fmt: skip


def _summary(run_id: str, spec: RunSpec, results: dict[str, ProtocolResult]) -> Summary:
    gpu = GPU if spec.device == "cuda" else dict.fromkeys(GPU)
    return Summary(
        run_id=run_id, spec_digest=spec.digest, status="ok", status_reason=None,
        started_utc="2026-01-02T00:00:00Z", finished_utc="2026-01-02T00:01:00Z", steps=60, images_seen=3840,
        results=results, final_train_loss=0.7, train_s=12.0, wait_s=1.2, images_per_second=320.0 + spec.seed,
        evaluation_s=2.0, peak_rss_mib=512.0, cpu_utilisation=0.97,
        missing={name: "no GPU" for name, held in gpu.items() if held is None}, **gpu, **_known(spec),
    )  # fmt: skip
