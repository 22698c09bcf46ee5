"""Two runs side by side: what differs in spec and machine, from which step their losses part, and
their errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from harness.events import StepsDone
from harness.records.record import RunRecord
from harness.records.tables import runs_table
from harness.report.stats import over_images
from harness.report.text import NONE, factor, percent, points, points_between
from harness.tables import Column, Table
from harness.variant_diff import differences

# not compared as such
OWN = (
    "machine_id",
    "source",
    "disk_free_mib",
    "missing",
    "schema_version",
)


def compare_runs(a: RunRecord, b: RunRecord) -> tuple[Table, ...]:
    """Tables of the differences in spec, of those in machine and software, and of the results."""
    columns = (
        Column(heading="What", share=1),
        Column(heading="First run", share=1),
        Column(heading="Second run", share=1),
    )
    made = (
        ("Spec: what differs", _spec(a, b)),
        ("Machine and software: what differs", _environment(a, b)),
        ("Results", _results(a, b)),
    )
    return tuple(Table(caption=caption, columns=columns, rows=tuple(rows)) for caption, rows in made)


def _spec(a: RunRecord, b: RunRecord) -> Iterator[tuple[str, str, str]]:
    if a.spec.digest == b.spec.digest:
        yield "spec digest", a.spec.digest[:12], "the same"
        return
    for name in ("variant", "geometry", "seed", "device"):
        ours, theirs = getattr(a.spec, name), getattr(b.spec, name)
        if ours != theirs:
            yield name, str(ours), str(theirs)
    for path, ours, theirs in _unequal(a.spec.data, b.spec.data, "data"):
        yield path, ours, theirs
    for one in differences((a.spec.net, a.spec.recipe), (b.spec.net, b.spec.recipe)):
        yield f"{one.part}: {one.place} {one.what}".rstrip(), one.a, one.b


def _environment(a: RunRecord, b: RunRecord) -> Iterator[tuple[str, str, str]]:
    yield (
        "machine",
        a.env.machine_id[:8],
        "the same" if a.env.machine_id == b.env.machine_id else b.env.machine_id[:8],
    )
    commits = [
        env.source.commit[:12] if env.source and env.source.commit else NONE for env in (a.env, b.env)
    ]
    yield "commit", commits[0], "the same" if commits[0] == commits[1] else commits[1]
    for field in fields(a.env):
        if field.name not in OWN:
            yield from _unequal(getattr(a.env, field.name), getattr(b.env, field.name), field.name)


def _unequal(a: Any, b: Any, path: str) -> Iterator[tuple[str, str, str]]:
    """The leaves of two values that differ, with their dotted names."""
    if type(a) is type(b) and is_dataclass(a):
        for field in fields(a):
            yield from _unequal(getattr(a, field.name), getattr(b, field.name), f"{path}.{field.name}")
    elif isinstance(a, dict) and isinstance(b, dict):
        for name in sorted(a.keys() | b.keys()):
            yield from _unequal(a.get(name), b.get(name), f"{path}.{name}")
    elif a != b:
        yield path, str(a), str(b)


def _results(a: RunRecord, b: RunRecord) -> Iterator[tuple[str, str, str]]:
    yield "status", a.summary.status, b.summary.status
    yield "training losses", "", _losses(a, b)
    for protocol, ours in a.summary.results.items():
        theirs = b.summary.results.get(protocol)
        yield (
            f"top-1 error, % ({protocol})",
            percent(ours.top1_error),
            percent(theirs.top1_error) if theirs else NONE,
        )
        if theirs is not None and a.spec.data == b.spec.data:
            interval = over_images([b.correct(protocol, 1)], [a.correct(protocol, 1)])
            same = int((a.correct(protocol, 1) == b.correct(protocol, 1)).sum())
            gap = points(theirs.top1_error - ours.top1_error)
            yield (
                f"second minus first, points ({protocol})",
                "",
                f"{gap} (95 % over images: {points_between(interval)})",
            )
            yield f"images with the same answer ({protocol})", "", f"{same:,} of {ours.images:,}"
    yield from _speed(a, b)


def _losses(a: RunRecord, b: RunRecord) -> str:
    """From which step on the losses differ."""
    ours, theirs = (
        [loss for event in run.events() if isinstance(event, StepsDone) for loss in event.losses]
        for run in (a, b)
    )
    steps = min(len(ours), len(theirs))
    first = next((step for step in range(steps) if ours[step] != theirs[step]), None)
    if first is not None:
        return f"differ from step {first + 1} on: {ours[first]:g}, {theirs[first]:g}"
    return (
        f"identical in all {steps:,} steps"
        if len(ours) == len(theirs)
        else f"identical in the first {steps:,} steps"
    )


def _speed(a: RunRecord, b: RunRecord) -> Iterator[tuple[str, str, str]]:
    """The speeds, if a comparison means anything."""
    keys = runs_table([a, b]).drop_duplicates("run_id")["bench_key"].tolist()
    speeds = [run.summary.images_per_second for run in (a, b)]
    if keys[0] == keys[-1] and speeds[0] and speeds[1]:
        yield (
            "images/s",
            f"{speeds[0]:,.1f}",
            f"{speeds[1]:,.1f} ({factor(speeds[1] / speeds[0])} times)",
        )
    else:
        yield "images/s", "", "not compared: device, software or loader differ, or one has no speed"
