"""Submits runs as jobs, through submitit: to Slurm, or to processes of this machine. A job that ends
early goes on.

submitit is optional, and imported when jobs are submitted. Jobs' files are in results/.jobs/:
submitit's own, with the logs, and one <job>.json each, which `status` reads.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import psutil

from harness.errors import AlreadyRunning, DeviceLost, HarnessError, RunFailed, UsageError
from harness.files import write_atomically
from harness.records.files import writing
from harness.records.store import Store, run_id_start, utc_now
from harness.serialization import from_json
from harness.signals import handle_ending
from harness.spec import RunSpec
from harness.studies.runs import Task, work

FOLDER = ".jobs"
WARNING_S = 120  # from the signal to the end of a job: a step, a checkpoint and a seal fit
RESTARTS = 1000  # submitit's own limit of time-outs is 3, and a run may take many jobs
Executor = Literal["local", "slurm"]


@dataclass(frozen=True)
class JobOptions:
    """What a job asks for.

    minutes: its time limit; a run that needs longer goes on in a new job. array: one Slurm array
    instead of single jobs, with `at_once` of them running. partition, gpus: of Slurm.
    """

    executor: Executor
    partition: str | None
    minutes: int
    gpus: int
    cpus: int
    jobs: int
    array: bool
    at_once: int | None


class RunJob:
    """What a job calls with its runs, one after another; submitit pickles it, and a requeued job calls
    it again.

    since: when it was submitted, as a run's name begins; runs that have finished since are not
    repeated.

    The signal that submitit reserves (USR2; Slurm sends it before the time limit) and SIGTERM stop the
    run after its step, with a checkpoint. After submitit's signal the job is requeued; after SIGTERM
    Slurm does that if it was pre-emption, and nobody after scancel. SIGUSR1 saves a checkpoint.
    """

    def __init__(self, since: str) -> None:
        self.since = since

    def __call__(self, tasks: Sequence[Task]) -> None:
        number = getattr(signal, "SIG" + os.environ.get("SUBMITIT_PREEMPT_SIGNAL", "USR2"))
        requeue = signal.getsignal(number)
        asked: list[int] = []

        def stop(given: int, frame: FrameType | None) -> None:
            asked.append(given)
            os.kill(os.getpid(), signal.SIGTERM)  # which ends a run in order, wherever it is

        signal.signal(number, stop)
        handle_ending()  # between two runs
        try:
            failures = [reason for task in tasks if (reason := self._failure(task)) is not None]
        except KeyboardInterrupt:
            if asked and callable(requeue):
                requeue(number, None)  # submitit's handler: it requeues the job, and exits
            raise
        if failures:
            ended = f"{len(failures)} of {len(tasks)} runs ended without a result"
            raise RunFailed(f"{ended}; first: {failures[0]}")

    def _failure(self, task: Task) -> str | None:
        """Do a task that has not finished. The sentence of a failure that concerns this run only."""
        if Store(task.results).finished_since(from_json(task.spec, RunSpec).digest, self.since):
            return None
        try:
            work(task, lambda event: None)
        except DeviceLost:  # the job's other runs would fail, too
            raise
        except (RunFailed, AlreadyRunning) as error:
            return str(error)
        return None

    def checkpoint(self, tasks: Sequence[Task]) -> Any:
        """What submitit calls after a requeue: the same, since each run has its own checkpoint."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, tasks)


def submit(tasks: Sequence[Task], results: Path, options: JobOptions) -> list[str]:
    """Submit the runs; the ids of the jobs.

    Raises HarnessError without submitit, UsageError for a wrong option.
    """
    try:
        import submitit
    except ImportError as error:
        raise HarnessError(
            "jobs are submitted through submitit; install it with: pip install submitit"
        ) from error
    folder = results / FOLDER
    if options.executor == "slurm" and shutil.which("sbatch") is None:
        raise UsageError(
            "there is no sbatch on this machine; use --executor local, or submit from a login node"
        )
    executor = submitit.AutoExecutor(
        folder=folder / "%j",
        cluster=options.executor,
        slurm_max_num_timeout=RESTARTS,
        local_max_num_timeout=RESTARTS,
    )
    given: dict[str, Any] = {
        "timeout_min": options.minutes,
        "cpus_per_task": options.cpus,
        "name": "alexnet",
    }
    given |= {"slurm_signal_delay_s": WARNING_S}
    if options.gpus:
        given["gpus_per_node"] = options.gpus
    if options.partition is not None:
        given["slurm_partition"] = options.partition
    if options.at_once is not None:
        given["slurm_array_parallelism"] = options.at_once
    executor.update_parameters(**given)
    since = run_id_start(utc_now())
    dealt = [list(tasks[first :: options.jobs]) for first in range(min(options.jobs, len(tasks)))]
    job_of = RunJob(since)
    with _detached():
        jobs = (
            executor.map_array(job_of, dealt)
            if options.array
            else [executor.submit(job_of, its) for its in dealt]
        )
    for job, its in zip(jobs, dealt, strict=True):
        runs = [_described(task) for task in its]
        plain = {"executor": options.executor, "job": job.job_id, "since": since, "runs": runs}
        with writing(folder):
            write_atomically(folder / f"{job.job_id}.json", json.dumps(plain, indent=1).encode())
    return [job.job_id for job in jobs]


@contextmanager
def _detached() -> Iterator[None]:
    """Processes started in the block outlive this one: they neither hold its streams nor end with its
    terminal.

    submitit writes their output to files of its own.
    """
    before, null = signal.signal(signal.SIGHUP, signal.SIG_IGN), os.open(os.devnull, os.O_RDWR)
    kept = [os.dup(stream) for stream in (0, 1, 2)]
    try:
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        yield
    finally:
        for stream, copy in enumerate(kept):
            os.dup2(copy, stream)
            os.close(copy)
        os.close(null)
        signal.signal(signal.SIGHUP, before)


def _described(task: Task) -> dict[str, str]:
    spec = from_json(task.spec, RunSpec)
    return {
        "digest": spec.digest,
        "name": f"{spec.variant} {spec.recipe.name} {spec.data.name} s{spec.seed}",
    }


@dataclass(frozen=True)
class Queued:
    """A run of a job that has not ended, and is neither running nor finished."""

    job: str
    name: str


def queued(root: Path) -> list[Queued]:
    """The runs under a results folder that wait in a job. This only reads."""
    store = Store(root)
    living = store.living() if (root / ".open").is_dir() else {}
    found = list[Queued]()
    for path in sorted((root / FOLDER).glob("*.json")):
        plain = json.loads(path.read_text())
        if not _is_alive(plain["executor"], plain["job"]):
            continue
        found += [
            Queued(plain["job"], run["name"])
            for run in plain["runs"]
            if run["digest"] not in living and not store.finished_since(run["digest"], plain["since"])
        ]
    return found


def _is_alive(executor: str, job: str) -> bool:
    """Whether the job runs or waits. A local job's id is that of its process."""
    if executor == "local":
        return psutil.pid_exists(int(job)) and psutil.Process(int(job)).status() != psutil.STATUS_ZOMBIE
    asked = ["squeue", "--noheader", "--jobs", job, "--format", "%T"]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return bool(said.stdout.strip())
