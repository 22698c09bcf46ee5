"""A run that computes nothing, for the tests of records; run as a program it writes until it is stopped."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from harness.events import StepsDone
from harness.machine.environment import Cpu, Environment
from harness.placement import Placement
from harness.probes.base import Sample
from harness.records.schema import ProtocolResult, Summary
from harness.records.store import Store, Writer
from harness.spec import DataSpec, RunSpec
from variants.layers import Conv, Dense
from variants.recipes.recipe import FixedDrops, Recipe
from variants.spec import AlexNetSpec

IMAGES = 9
MACHINE = "a" * 32
NOON = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
SPEC = RunSpec(
    variant="tiny",
    geometry="mini",
    net=AlexNetSpec(
        input_size=8, layers=(Conv(name="conv1", out=2, kernel=3), Dense(name="fc8", out=2))
    ),
    recipe=Recipe(name="mini", schedule=FixedDrops(at_epochs=()), store_size=8),
    data=DataSpec(
        name="synthetic", listing="0", classes=2, train_images=8, val_images=IMAGES, store_size=8
    ),
    seed=0,
)
ENV = Environment(
    machine_id=MACHINE,
    harness="0.1.0",
    python="3.11.7",
    packages={"torch": "2"},
    os="Linux",
    cpu=Cpu(model="X", cores_affinity=2, cores_quota=None, cores_usable=2, memory_mib=24576),
    gpus=(),
    used_gpus=(),
    driver=None,
    driver_cuda=None,
    nvml=None,
    torch=None,
    variables={},
    source=None,
    placement=Placement(),
    disk_free_mib=None,
    missing=dict.fromkeys(
        ("driver", "driver_cuda", "nvml", "torch", "source", "disk_free_mib"), "a test's value"
    ),
)
STEPS = StepsDone(
    last_step=2,
    epoch=0.5,
    losses=(0.7, 0.6),
    top1_error=0.5,
    lr=0.01,
    images=8,
    elapsed_s=0.2,
    wait_s=0.1,
)
RIGHT = np.array([True, False, True, True, False, False, True, False, True])


def summary_of(writer: Writer) -> Summary:
    result = ProtocolResult(top1_error=4 / 9, top5_error=0.0, loss=0.6, images=IMAGES)
    numbers = dict.fromkeys(("peak_gpu_mib", "gpu_utilisation", "gpu_energy_j"))
    return Summary(
        run_id=writer.run_id, spec_digest=writer.spec.digest, status="ok", status_reason=None,
        started_utc=writer.started_utc, finished_utc=writer.utc(), parameters=202, macs=2088, steps=2, images_seen=8,
        results={"centre": result}, final_train_loss=0.6, train_s=0.2, wait_s=0.1, images_per_second=40.0,
        warmup_steps=0, evaluation_s=0.1, peak_rss_mib=100.0, cpu_utilisation=1.0, loader="synthetic",
        loader_reason="asked for", missing=dict.fromkeys(numbers, "the run computes on the CPU"), **numbers,
    )  # fmt: skip


def write_run(root: Path, spec: RunSpec = SPEC, now: Callable[[], datetime] = lambda: NOON) -> Path:
    with Store(root).open(spec, ENV, now=now) as writer:
        writer.event(STEPS)
        writer.sample(Sample(t_s=0.5, probe="host", device="host", values={"cpu_s": 1.5}, missing={}))
        writer.write_correct("centre", RIGHT, np.ones(IMAGES, dtype=np.bool_))
        writer.array("conv1", np.arange(6, dtype=np.float32).reshape(2, 3))
        writer.probes({"requested_hz": 1.0})
        return writer.seal(summary_of(writer))


def write_until_stopped(root: Path, seal_again_and_again: bool) -> None:
    """Tells on stdout when the block is entered."""
    number = 0
    while True:
        with Store(root).open(replace(SPEC, seed=number), ENV) as writer:
            print("open", flush=True)
            for _ in range(5) if seal_again_and_again else iter(int, 1):
                writer.event(STEPS)
                time.sleep(0.001)
            writer.write_correct("centre", RIGHT, RIGHT)
            writer.seal(summary_of(writer))
        number += 1


if __name__ == "__main__":
    write_until_stopped(Path(sys.argv[1]), seal_again_and_again=sys.argv[2] == "sealing")
