"""The section on the set-up: images, training length, machine and loader of every setting, in one
table each.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.report.data import ReportData, in_setting
from harness.report.model import Block, Paragraph, Section
from harness.report.setting import Setting
from harness.report.text import count, listed, machine, number, start_command
from harness.tables import Column, Table


def section(report: ReportData) -> Section:
    """One table per setting, or a sentence if no run has finished yet."""
    settings, blocks = report.evidence.settings, list[Block]()
    for place, setting in enumerate(settings, 1):
        blocks += in_setting(settings, place, [_table(setting)])
    if not blocks and not report.evidence.learning_speeds:
        blocks.append(
            Paragraph(
                text=f"No run has finished yet. Start with: {start_command(report.evidence.study)}"
            )
        )
    return Section(title="Set-up of the runs", blocks=tuple(blocks))


def _table(setting: Setting) -> Table:
    return Table(
        caption="One setting. Only runs with equal settings are compared with each other.",
        columns=(Column(heading="What"), Column(heading="In this report", share=1)),
        rows=tuple(_rows(setting)),
    )


def _rows(setting: Setting) -> Iterator[tuple[str, str]]:
    key, records = setting.key, list(setting.records())
    data = key.data
    yield (
        "variants",
        listed([f"{name} ({count(len(runs), 'seed')})" for name, runs in setting.runs.items()]),
    )
    stored = f"stored as {data.store_size}x{data.store_size} {data.store_format}"
    yield "images", f"{data.name}: {data.classes} classes, {stored}"
    yield "", f"{number(data.train_images)} to train on, {number(data.val_images)} to validate on"
    yield (
        "geometry",
        (
            f"{key.geometry}, input {records[0].spec.net.input_size}x{records[0].spec.net.input_size} "
            "pixels"
        ),
    )
    yield "recipe", f"{key.recipe}: {key.length} in batches of {key.batch_size}, {key.precision}"
    yield "machine", listed(_distinct(machine(record) for record in records))
    yield (
        "loader",
        "; ".join(_distinct(f"{r.summary.loader} ({r.summary.loader_reason})" for r in records)),
    )


def _distinct(items: Iterator[str]) -> list[str]:
    return list(dict.fromkeys(items))
