"""What watching a run costs: events, probes and record against a training step of the mini geometry, in CPU seconds.

The direct costs are timed, not the difference of two trainings: a share below 1 % drowns in the noise of steps.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from harness.events import StepsDone
from harness.machine.collect_env import describe
from harness.optim import make_optimizer
from harness.placement import Placement
from harness.probes.table import open_probes
from harness.records.store import Store
from harness.spec import DataSpec, RunSpec
from harness.train import WINDOW_STEPS
from variants.catalog import CATALOG
from variants.geometry import spec_for
from variants.modules.alexnet import build
from variants.recipes import RECIPES

RECIPE = RECIPES["mini"].recipe
DATA = DataSpec(name="none", listing="0" * 64, classes=10, train_images=1, val_images=1, store_size=36)
HZ = 1.0  # the sampler's rate
ROUNDS = 200


def seconds_each(work: Any, times: int = ROUNDS) -> float:
    start = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - start) / times


@pytest.mark.benchmark(group="watching", timer=time.process_time)
def test_watching_beside_a_mini_step(benchmark: Any, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    net = spec_for(CATALOG["grouped_2gpu"], "mini", 10)
    spec = RunSpec(variant="grouped_2gpu", geometry="mini", net=net, recipe=RECIPE, data=DATA, seed=0)
    model = build(net, generator=torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last)
    optimizer = make_optimizer(model.named_parameters(), RECIPE, model.layer_of)
    images = (
        torch.randn(RECIPE.batch_size, 3, 32, 32).mul_(60).contiguous(memory_format=torch.channels_last)
    )
    labels = torch.randint(0, 10, (RECIPE.batch_size,))

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()

    benchmark.pedantic(step, rounds=1 if benchmark.disabled else 30, warmup_rounds=2)
    losses = tuple([1.234567] * WINDOW_STEPS)
    window = StepsDone(
        last_step=20,
        epoch=0.1,
        losses=losses,
        top1_error=0.5,
        lr=0.01,
        images=1280,
        elapsed_s=1.0,
        wait_s=0.01,
    )
    probes = open_probes("cpu")
    with Store(tmp_path).open(spec, describe(tmp_path, Placement())) as writer:
        event_s = seconds_each(lambda: writer.event(window))
        sample_s = seconds_each(
            lambda: [writer.sample(s) for probe in probes for s in probe.sample(writer.elapsed())]
        )
        start = time.process_time()
        writer.fail("failed", "a benchmark has no result")
        seal_s = time.process_time() - start
    assert event_s > 0
    if benchmark.stats:
        step_s = benchmark.stats.stats.median
        share = event_s / (WINDOW_STEPS * step_s) + sample_s * HZ
        benchmark.extra_info.update(
            event_s=event_s, sample_s=sample_s, seal_s=seal_s, share_of_a_step=share
        )
        print(
            f"\nstep {step_s * 1e3:.1f} ms; an event {event_s * 1e6:.0f} us each {WINDOW_STEPS} steps, both probes "
            f"{sample_s * 1e6:.0f} us a second: {share:.3%} of a step; sealing {seal_s * 1e3:.1f} ms once"
        )
