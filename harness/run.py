"""`execute(spec) -> RunRecord`: trains, evaluates and records one run. All side effects of a run are
here.

With several ranks (harness/distributed/ranks.py) the first one executes the run, and the others call
`follow`.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from harness.checkpoint import Checkpoints, Resumed
from harness.data.augment.transforms import ImageTransform
from harness.data.base import Loader, Prepared
from harness.data.progress import Progress, silent
from harness.device_errors import device_errors
from harness.distributed.ranks import ALONE, Ranks, StopTogether
from harness.distributed.tower_state import is_whole, load_checkpoint, whole_state
from harness.errors import RecordError, UsageError
from harness.evaluate import ImageResults, analysis, evaluate, evaluated, first_kernels
from harness.events import Evaluated, Event, RunResumed, StepsDone, TrainingStarted
from harness.finished import finished_before, raise_unsaved, write_weights
from harness.gpu_memory import peak_gpu_mib, reset_peak_gpu_memory
from harness.loss import check_compiler
from harness.machine.collect_env import describe, used_gpus
from harness.machine.environment import Environment
from harness.pauses import Pauses
from harness.placement import Placement
from harness.precision import float32_precision
from harness.probes.host import memory_mib, peak_rss_mib
from harness.probes.sampler import Sampler
from harness.probes.summary import summarise
from harness.probes.table import open_probes
from harness.records.schema import ProtocolResult
from harness.records.store import RunRecord, Store
from harness.records.summary_fields import steady_intervals, summary_fields, training_intervals
from harness.records.writer import Writer
from harness.set_up import evaluation_loader, set_up, set_up_torch
from harness.signals import stop_requests
from harness.spec import RunSpec
from harness.train import TrainState, total_steps, validation_due
from variants.modules.alexnet import build
from variants.modules.network import Network
from variants.weights import WeightsError, load_weights

Listener = Callable[[Event], None]
CHECKPOINT_S = 600.0


def execute(
    spec: RunSpec,
    prepared: Prepared,
    store: Store,
    where: Placement,
    listen: Listener = lambda event: None,
    weights_to: Path | None = None,
    checkpoint_s: float = CHECKPOINT_S,
    fresh: bool = False,
    sample_s: float = 1.0,
    ranks: Ranks = ALONE,
) -> RunRecord:
    """Train, evaluate and seal one run; `listen` gets every event. All that a run writes is written
    here.

    A run that was stopped resumes from its last checkpoint, with the same bits, unless `fresh`. One
    that was killed after its final evaluation is only sealed. checkpoint_s: the time between two
    checkpoints. sample_s: the time between two samples of the probes. The first Ctrl-C, SIGTERM or
    SIGHUP ends training with a whole step and a checkpoint. ranks: those of the run, of which this is
    the first. Raises RunFailed (sealed as failed), KeyboardInterrupt (sealed as interrupted),
    AlreadyRunning, RecordError.
    """
    device, recipe = torch.device(where.device), spec.recipe
    check_compiler(recipe, device)
    checkpoints = Checkpoints(store.root, spec, checkpoint_s, time.perf_counter)
    finished = None if fresh else finished_before(spec, store, checkpoints, weights_to)
    ranks.of_first(finished is not None)
    if finished is not None:
        return finished
    set_up_torch(spec.seed, where.threads, deterministic=recipe.deterministic)
    with float32_precision(recipe.precision), device_errors(spec, where):
        reset_peak_gpu_memory(*where.devices)
        env = _describe(store.root, where, ranks)
    with (
        float32_precision(recipe.precision),
        store.open(spec, env, clock=time.perf_counter) as writer,
        ranks.one_reason(),
        device_errors(spec, where, env.used_gpus or ()),
    ):
        parts = set_up(spec, prepared, where, ranks)
        state, loader, pixels = parts.state, parts.loader, parts.pixels
        steps = total_steps(recipe, loader)
        for sentence in writer.swept:
            print(sentence, file=sys.stderr)
        writer.add_summary_fields(loader=loader.choice.name, loader_reason=loader.choice.reason)

        def report(event: Event) -> None:
            if isinstance(event, StepsDone):
                event = replace(event, paused_s=min(pauses.take(), event.elapsed_s))
            elif isinstance(event, Evaluated):
                pauses.take()  # no part of the next window
            writer.event(event)
            listen(event)

        if fresh:
            checkpoints.remove()
        elif (found_checkpoint := load_checkpoint(checkpoints, state, recipe)) is not None:
            writer.continue_from(found_checkpoint.past)
            for stamped in found_checkpoint.past:
                if isinstance(stamped.event, TrainingStarted):
                    listen(stamped.event)
            report(_resumed(found_checkpoint, loader))
        ranks.refuse_different_steps(state.done)
        probes = open_probes(where.device)
        with (
            Sampler(probes, writer.sample, writer.elapsed, hz=1 / sample_s) as sampler,
            Pauses() as pauses,
        ):
            with (
                stop_requests() as stop,
                closing(
                    parts.train(recipe, device, together := StopTogether(ranks, stop), ranks)
                ) as events,
            ):
                for event in events:
                    validates = isinstance(event, StepsDone) and validation_due(
                        state.done, steps, recipe, loader
                    )
                    try:
                        report(event)
                    except RecordError:  # the record is lost, but its events are in the checkpoint
                        if is_whole(state) and checkpoints.due(event, validates, at_once=True):
                            _save_checkpoint(checkpoints, state, writer)
                        raise
                    asked = stop.checkpoint or stop() or state.finished or state.done == steps
                    if ranks.of_first(checkpoints.due(event, validates, at_once=asked)):
                        stop.checkpoint = False
                        _save_checkpoint(checkpoints, whole_state(state, recipe), writer)
            together.raise_if_asked()
            trained = whole_state(state, recipe).model
            # before anything else can fail
            unsaved = None if weights_to is None else write_weights(trained, weights_to)
            started_s = time.perf_counter()
            found = _final_evaluation(
                spec, state.model, parts.eval_loaders["val"], pixels, device, ranks=ranks
            )
            elapsed_s = time.perf_counter() - started_s
            # before the events: a killed run's result is recovered with its bits
            for name, results in found.items():
                writer.write_correct(name, results.top1, results.top5)
            first = spec.recipe.evaluation.protocols[0]
            writer.analysis(analysis(first, found[first], prepared.manifest.classes))
            writer.array("conv1", first_kernels(trained))
            for name, results in found.items():
                report(
                    evaluated(
                        results, name, state.done, state.done / loader.batches, elapsed_s, final=True
                    )
                )
        watched = summarise(
            writer.telemetry(),
            training_intervals(writer.past),
            *steady_intervals(writer.past),
            concurrent=where.concurrent,
        )
        sampled = sampler.report()
        sampled["missing"] |= watched["reasons"]
        writer.probes(sampled | watched["details"] | _of_ranks(where, ranks))
        known = summary_fields(writer.past, watched, peak_gpu_mib(*where.devices))
        path = writer.seal(
            writer.finished({name: results.result() for name, results in found.items()}, **known)
        )
        if unsaved is None:
            checkpoints.remove()
    raise_unsaved(unsaved, path, checkpoints)
    return RunRecord.load(path)


def follow(
    spec: RunSpec, prepared: Prepared, store: Store, where: Placement, ranks: Ranks, fresh: bool = False
) -> None:
    """What every rank but the first does: the same training and evaluation, without writing anything.

    Its calls of `ranks` and `whole_state` are those of `execute`, in the same order.
    """
    if ranks.of_first(False):  # it has found that the run had finished
        return
    device, recipe = torch.device(where.device), spec.recipe
    set_up_torch(spec.seed, where.threads, deterministic=recipe.deterministic)
    with float32_precision(recipe.precision), device_errors(spec, where):
        reset_peak_gpu_memory(*where.devices)
        ranks.gather(used_gpus(where.device, {}))
        parts = set_up(spec, prepared, where, ranks)
        state = parts.state
        if not fresh:
            checkpoints = Checkpoints(store.root, spec, CHECKPOINT_S, time.perf_counter)
            load_checkpoint(checkpoints, state, recipe)
        ranks.refuse_different_steps(state.done)
        with (
            stop_requests() as stop,
            closing(
                parts.train(recipe, device, together := StopTogether(ranks, stop), ranks)
            ) as events,
        ):
            for _ in events:
                if ranks.of_first(False):  # it saves a checkpoint
                    whole_state(state, recipe)
        together.raise_if_asked()
        whole_state(state, recipe)
        _final_evaluation(
            spec, state.model, parts.eval_loaders["val"], parts.pixels, device, ranks=ranks
        )
        _of_ranks(where, ranks)


def _describe(results: Path, where: Placement, ranks: Ranks) -> Environment:
    """The environment of the first rank, with the GPUs that all ranks use."""
    env = describe(results, where)
    used = [gpu for each in ranks.gather(env.used_gpus) for gpu in each or ()]
    return env if env.used_gpus is None else replace(env, used_gpus=tuple(used))


def _of_ranks(where: Placement, ranks: Ranks) -> dict[str, Any]:
    """For probes.json: the device and the memory of each rank, peaks but for memory_mib.

    Only the first rank is sampled during the run.
    """
    if ranks.world_size == 1:
        return {}
    mine = {
        "rank": ranks.rank,
        "device": where.device,
        "memory_mib": memory_mib(os.getpid()),
        "peak_rss_mib": peak_rss_mib(os.getpid()),
        "peak_gpu_mib": peak_gpu_mib(*where.devices),
    }
    return {"ranks": ranks.gather(mine)}


def _resumed(found: Resumed, loader: Loader) -> RunResumed:
    saved = datetime.strptime(found.saved_utc, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    paused_s = max(0.0, (datetime.now(UTC) - saved).total_seconds())
    return RunResumed(
        step=found.step, epoch=found.step / loader.batches, run_id=found.run_id, paused_s=paused_s
    )


def _save_checkpoint(checkpoints: Checkpoints, state: TrainState, writer: Writer) -> None:
    """Save a checkpoint. A disk error does not end the run; the previous checkpoint stays."""
    try:
        checkpoints.save(state, writer.past, writer.run_id)
    except RecordError as error:
        print(f"no checkpoint at step {state.done}: {error}; the run goes on", file=sys.stderr)


def _final_evaluation(
    spec: RunSpec,
    model: Network,
    loader: Loader,
    pixels: ImageTransform,
    device: torch.device,
    progress: Progress = silent,
    ranks: Ranks = ALONE,
) -> dict[str, ImageResults]:
    """Evaluate every protocol of the recipe in one pass; boxes are scored if the network and the
    data have them.
    """
    return evaluate(
        model,
        loader,
        pixels,
        spec.recipe.evaluation.protocols,
        device,
        spec.recipe.precision,
        boxed=spec.net.box is not None and spec.data.boxes,
        progress=lambda done, total: progress("evaluating", done, total),
        ranks=ranks,
    )


def evaluate_weights(
    spec: RunSpec, prepared: Prepared, weights: Path, where: Placement, progress: Progress = silent
) -> dict[str, ProtocolResult]:
    """Errors of weights from a file under the recipe's protocols.

    Raises UsageError if the weights don't fit.
    """
    device = torch.device(where.device)
    set_up_torch(spec.seed, where.threads, deterministic=spec.recipe.deterministic)
    model = build(spec.net)
    try:
        load_weights(weights, model)
    except WeightsError as error:
        raise UsageError(str(error)) from error
    model = model.to(device).to(memory_format=torch.channels_last)
    pixels = ImageTransform(prepared, spec.recipe, spec.net.input_size, spec.seed, device)
    with float32_precision(spec.recipe.precision):
        found = _final_evaluation(
            spec, model, evaluation_loader(spec, prepared, where, "val"), pixels, device, progress
        )
    return {name: results.result() for name, results in found.items()}
