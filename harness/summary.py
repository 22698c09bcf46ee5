"""From a run's events and samples to summary.json: what the tables read, with a reason beside every null."""

from __future__ import annotations

from statistics import median
from typing import Any

import torch

from harness.data.base import LoaderChoice
from harness.events import Evaluated, Event, StepsDone, TrainingDone
from harness.probes.summary import Interval, summarise
from harness.records.schema import ProtocolResult, Summary
from harness.records.writer import Writer
from harness.spec import RunSpec

LAST_STEPS = 100  # over which the final training loss is a mean
WARMUP_WINDOWS = 1  # the first window holds compiling, first touches and the loader's start


class Tally:
    """Listens to a run's events; afterwards `summary` says what the run came to."""

    def __init__(self, writer: Writer, spec: RunSpec) -> None:
        self._writer, self._spec = writer, spec
        self._windows: list[StepsDone] = []
        self._training: list[Interval] = []
        self._done: TrainingDone | None = None
        self._evaluation_s = 0.0

    def __call__(self, event: Event) -> None:
        if isinstance(event, StepsDone):
            now = self._writer.elapsed()
            self._windows.append(event)
            self._training.append((now - event.elapsed_s, now))
        elif isinstance(event, TrainingDone):
            self._done = event
        elif isinstance(event, Evaluated) and event.final:
            self._evaluation_s = event.elapsed_s  # one pass serves all protocols

    def summary(
        self, results: dict[str, ProtocolResult], choice: LoaderChoice, sampler_report: dict[str, Any]
    ) -> Summary:
        """Call after the last event and the last sample; also leaves probes.json."""
        assert self._done is not None
        watched = summarise(self._writer.telemetry(), self._training)
        self._writer.probes(sampler_report | watched["details"])
        missing = dict(watched["missing"])
        rate, warmup_steps = self._rate(missing)
        return Summary(
            run_id=self._writer.run_id,
            spec_digest=self._spec.digest,
            status="ok",
            status_reason=None,
            started_utc=self._writer.started_utc,
            finished_utc=self._writer.utc(),
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
            peak_gpu_mib=self._peak_gpu_mib(missing),
            loader=choice.name,
            loader_reason=choice.reason,
            missing=missing,
            **watched["summary"],
        )

    def _rate(self, missing: dict[str, str]) -> tuple[float | None, int]:
        steady = self._windows[WARMUP_WINDOWS:]
        if not steady:
            missing["images_per_second"] = "the run was too short to leave the warm-up behind"
            return None, self._windows[-1].last_step
        return round(median(w.images / w.elapsed_s for w in steady), 2), self._windows[WARMUP_WINDOWS - 1].last_step

    def _final_loss(self) -> float:
        last = [loss for window in self._windows for loss in window.losses][-LAST_STEPS:]
        return sum(last) / len(last)

    def _peak_gpu_mib(self, missing: dict[str, str]) -> float | None:
        if self._spec.device == "cuda":
            return round(torch.cuda.max_memory_allocated() / 2**20, 1)
        missing["peak_gpu_mib"] = "the run used no GPU"
        return None
