"""Computes a run's Summary from its events and samples, with a reason for every null field."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch

from harness.data.base import LoaderChoice
from harness.events import Evaluated, Event, StepsDone, TrainingDone
from harness.probes.summary import Interval
from harness.records.schema import ProtocolResult, Summary
from harness.spec import RunSpec

LAST_STEPS = 100  # the final training loss is the mean over these


class SummaryBuilder:
    """Collects a run's events in order; then `build` makes the summary. It writes nothing.

    clock: seconds on the samples' clock (Writer.elapsed).
    """

    def __init__(self, spec: RunSpec, clock: Callable[[], float]) -> None:
        self._spec, self._clock = spec, clock
        self._windows: list[StepsDone] = []
        self._warmups = [0]  # indices of the windows with warm-up
        self.training: list[Interval] = []  # the windows' starts and ends on the samples' clock
        self._done: TrainingDone | None = None
        self._evaluation_s = 0.0

    def continue_from(self, past: Sequence[Event]) -> None:
        """Count the windows of the stopped run. Its samples are in its own record, so its intervals are not used."""
        self._windows += [event for event in past if isinstance(event, StepsDone)]
        self._warmups.append(len(self._windows))

    def event(self, event: Event) -> None:
        if isinstance(event, StepsDone):
            now = self._clock()
            self._windows.append(event)
            self.training.append((now - event.elapsed_s, now))
        elif isinstance(event, TrainingDone):
            self._done = event
        elif isinstance(event, Evaluated) and event.final:
            self._evaluation_s = event.elapsed_s  # one pass for all protocols

    def build(
        self,
        *,
        run_id: str,
        started_utc: str,
        finished_utc: str,
        results: dict[str, ProtocolResult],
        loader: LoaderChoice,
        watched: dict[str, dict[str, Any]],
        peak_gpu_mib: float | None,
    ) -> Summary:
        """The summary, after the run's last event. watched: the result of probes.summary.summarise."""
        assert self._done is not None
        missing = dict(watched["missing"])
        if peak_gpu_mib is None:
            missing["peak_gpu_mib"] = "the run used no GPU"
        rate, warmup_steps = self._rate(missing)
        return Summary(
            run_id=run_id,
            spec_digest=self._spec.digest,
            status="ok",
            status_reason=None,
            started_utc=started_utc,
            finished_utc=finished_utc,
            parameters=self._spec.net.parameters,
            macs=self._spec.net.macs,
            steps=self._done.steps,
            images_seen=self._done.images,
            results=results,
            final_train_loss=self._final_loss(),
            train_s=round(self._done.elapsed_s, 3),
            wait_s=round(self._done.wait_s, 3),
            images_per_second=rate,
            warmup_steps=warmup_steps,
            evaluation_s=round(self._evaluation_s, 3),
            peak_gpu_mib=peak_gpu_mib,
            loader=loader.name,
            loader_reason=loader.reason,
            missing=missing,
            **watched["summary"],
        )

    def _rate(self, missing: dict[str, str]) -> tuple[float | None, int]:
        steady = [window for place, window in enumerate(self._windows) if place not in self._warmups]
        if not steady:
            missing["images_per_second"] = "the run ended during the warm-up"
            return None, self._windows[-1].last_step
        return round(median(w.images / w.elapsed_s for w in steady), 2), self._windows[0].last_step

    def _final_loss(self) -> float:
        last = [loss for window in self._windows for loss in window.losses][-LAST_STEPS:]
        return sum(last) / len(last)


def reset_peak_gpu_memory(device: torch.device) -> None:
    """Reset torch's peak memory, so that it counts from the start of the run."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_gpu_mib(device: torch.device) -> float | None:
    """The most memory in MiB that torch's tensors held on the run's own GPU since the reset; None on a CPU."""
    return round(torch.cuda.max_memory_allocated(device) / 2**20, 1) if device.type == "cuda" else None
