"""One function owns the side effects of a run: `execute(spec) -> RunRecord`. Here training, probes and records meet."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError

from harness.data.augment.transforms import Pixels, train_view
from harness.data.base import CropRule, Loader, Prepared, Progress, silent
from harness.data.loaders.factory import LoaderName, open_loader
from harness.errors import RecordError, UsageError
from harness.evaluate import Protocol, evaluate
from harness.events import Evaluated, Event
from harness.machine.env import describe, usable_cores
from harness.probes.host import HostProbe
from harness.probes.nvml import open_nvml
from harness.probes.sampler import Sampler
from harness.records.schema import ProtocolResult
from harness.records.store import RunRecord, Store
from harness.spec import RunSpec
from harness.summary import Tally
from harness.train import Trainer
from variants.modules.alexnet import AlexNet, build
from variants.weights import WeightsError, load_weights, save_weights

Listener = Callable[[Event], None]
EVALUATION_BATCH = 250


@dataclass(frozen=True)
class Placement:
    """Where and how a run computes; recorded in env.json, outside the digest.

    threads: torch's intra-op threads. workers: the loader's. concurrent: runs at once on this machine.
    """

    device: str = "cpu"
    threads: int = 1
    workers: int = 1
    loader: LoaderName = "auto"
    concurrent: int = 1


def placement(device: str, threads: int | None, workers: int, loader: LoaderName) -> Placement:
    """The placement a user's words mean. Raises UsageError for a device that is not there."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.partition(":")[0] not in ("cpu", "cuda"):
        raise UsageError(f"no device '{device}'; use cpu, cuda, cuda:1 and so on, or auto")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device '{device}' can't be used: {str(error).splitlines()[0]}; use --device cpu") from error
    return Placement(device, threads or usable_cores(), workers, loader)


def execute(
    spec: RunSpec,
    prepared: Prepared,
    store: Store,
    where: Placement,
    listen: Listener = lambda event: None,
    weights_to: Path | None = None,
) -> RunRecord:
    """Train, evaluate and seal one run; `listen` hears every event.

    Raises RunFailed (sealed as failed), KeyboardInterrupt (sealed as interrupted), AlreadyRunning, RecordError.
    """
    device = torch.device(where.device)
    _make_deterministic(spec.seed, where.threads)
    env = describe(store.root) | {"placement": asdict(where)}
    with store.open(spec, env, clock=time.perf_counter) as writer:
        train, val = open_loaders(spec, prepared, where)
        for sentence in writer.swept:
            print(sentence, file=sys.stderr)
        writer.know(loader=train.choice.name, loader_reason=train.choice.reason)
        model = build(spec.net, generator=torch.Generator().manual_seed(spec.seed)).to(device)
        model = model.to(memory_format=torch.channels_last)
        tally = Tally(writer, spec)
        with Sampler([HostProbe(), *open_nvml(where.device)], writer.sample, writer.elapsed) as sampler:
            found, unsaved = _train_and_evaluate(
                spec, prepared, model, (train, val), [writer.event, tally, listen], weights_to
            )
        for name, protocol in found.items():
            writer.correct(name, protocol.top1, protocol.top5)
        writer.array("conv1", first_kernels(model))
        results = {name: protocol.result() for name, protocol in found.items()}
        path = writer.seal(tally.summary(results, train.choice, sampler.report()))
    if unsaved is not None:
        raise RecordError(f"the run is sealed in {path}, but {unsaved}")
    return RunRecord.load(path)


def _train_and_evaluate(
    spec: RunSpec,
    prepared: Prepared,
    model: AlexNet,
    loaders: tuple[Loader, Loader],
    listeners: list[Listener],
    weights_to: Path | None,
) -> tuple[dict[str, Protocol], str | None]:
    """The final evaluation by protocol, and why the weights were not written, if they were not."""
    device, recipe, (train, val) = next(model.parameters()).device, spec.recipe, loaders
    pixels = Pixels(prepared, recipe, spec.net.input_size, spec.seed, device)

    def tell(event: Event) -> None:
        for listener in listeners:
            listener(event)

    def validate(step: int, epoch: float) -> Evaluated:
        started_s = time.perf_counter()
        first = recipe.evaluation.protocols[0]
        protocol = evaluate(model, val, pixels, [first], device)[first]
        return _evaluated(first, protocol, step, epoch, final=False, elapsed_s=time.perf_counter() - started_s)

    trainer = Trainer(model, train, pixels, recipe, device, time.perf_counter, validate)
    for event in trainer.events():
        tell(event)
    unsaved = None if weights_to is None else _save(model, weights_to)  # before anything else can go wrong
    started_s = time.perf_counter()
    boxed = spec.net.box is not None and spec.data.boxes
    found = evaluate(model, val, pixels, recipe.evaluation.protocols, device, boxed=boxed)
    elapsed_s = time.perf_counter() - started_s
    for name, protocol in found.items():
        tell(_evaluated(name, protocol, trainer.steps, recipe.epochs, final=True, elapsed_s=elapsed_s))
    return found, unsaved


def open_loaders(spec: RunSpec, prepared: Prepared, where: Placement) -> tuple[Loader, Loader]:
    """Training crops in random order, and whole stored squares of the validation set in the order of the split."""
    train = open_loader(
        prepared,
        "train",
        batch_size=spec.recipe.batch_size,
        view=train_view(spec.recipe, spec.net.input_size),
        seed=spec.seed,
        shuffle=True,
        workers=where.workers,
        loader=where.loader,
    )
    return train, _validation_loader(spec, prepared, where)


def _validation_loader(spec: RunSpec, prepared: Prepared, where: Placement) -> Loader:
    return open_loader(
        prepared,
        "val",
        batch_size=EVALUATION_BATCH,
        view=CropRule(),
        seed=spec.seed,
        shuffle=False,
        workers=where.workers,
        loader=where.loader,
    )


def _evaluated(name: str, protocol: Protocol, step: int, epoch: float, *, final: bool, elapsed_s: float) -> Evaluated:
    result = protocol.result()
    return Evaluated(
        step=step,
        epoch=epoch,
        protocol=name,
        final=final,
        top1_error=result.top1_error,
        top5_error=result.top5_error,
        loss=result.loss,
        images=result.images,
        elapsed_s=elapsed_s,
        localisation_error=result.localisation_error,
    )


def evaluate_weights(
    spec: RunSpec, prepared: Prepared, weights: Path, where: Placement, progress: Progress = silent
) -> dict[str, ProtocolResult]:
    """Errors of weights from a file under the recipe's protocols. Raises UsageError where they don't fit."""
    device = torch.device(where.device)
    _make_deterministic(spec.seed, where.threads)
    model = build(spec.net)
    try:
        load_weights(weights, model)
    except WeightsError as error:
        raise UsageError(str(error)) from error
    model = model.to(device).to(memory_format=torch.channels_last)
    found = evaluate(
        model,
        _validation_loader(spec, prepared, where),
        Pixels(prepared, spec.recipe, spec.net.input_size, spec.seed, device),
        spec.recipe.evaluation.protocols,
        device,
        boxed=spec.net.box is not None and spec.data.boxes,
        progress=lambda done, total: progress("evaluating", done, total),
    )
    return {name: protocol.result() for name, protocol in found.items()}


def weights_place(path: Path) -> None:
    """Refuse a place for weights before hours of training. Raises UsageError."""
    if path.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
        raise UsageError(f"the weights can't be written to {path}; give a file in a folder that exists")


def _save(model: AlexNet, to: Path) -> str | None:
    """Write the weights. A disk that refuses must not end a finished run: said at once, and returned as a clause."""
    try:
        save_weights(model, to)
    except (OSError, SafetensorError) as error:
        unsaved = f"its weights can't be written to {to}: {error}"
        print(unsaved, file=sys.stderr)
        return unsaved
    return None


def first_kernels(model: AlexNet) -> np.ndarray:
    """conv1's kernels for the report's figure, float16 (kernels, channels, height, width)."""
    name = next(row.layer.name for row in model.spec.rows if row.layer.kind == "conv")
    weight = dict(model.named_parameters()).get(f"{name}.weight")
    return np.zeros((0, 3, 1, 1), np.float16) if weight is None else weight.detach().cpu().half().numpy()


def _make_deterministic(seed: int, threads: int) -> None:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS may pick another order of sums
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
