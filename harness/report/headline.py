"""The table of README's first screen: each variant's errors, its difference to the base, and the verdict."""

from __future__ import annotations

from harness.published.comparisons import compared_with
from harness.report.claims import Judgement
from harness.report.evidence import Setting
from harness.report.material import Material
from harness.report.sections.differences import judged, seen
from harness.report.text import NONE, percent_with_interval, points_with_interval, published_points
from harness.tables import Column, Table


def headline(given: Material) -> Table | None:
    """Of the setting with the most runs. None without finished runs."""
    if not given.evidence.settings:
        return None
    setting = given.evidence.settings[0]
    protocol, data = setting.protocols[0], setting.key.data
    return Table(
        caption="Results",
        columns=(
            Column(heading="Variant"),
            Column(heading="Seeds", align="right"),
            Column(heading="Top-1 error, %", align="right"),
            Column(heading="Top-5 error, %", align="right"),
            Column(heading=f"Difference to {setting.base}, points", align="right"),
            Column(heading="Published, points", align="right"),
            Column(heading="Verdict"),
        ),
        rows=tuple(_row(given, setting, name, protocol) for name in setting.arms),
        notes=(
            f"{data.name}, {data.val_images:,} validation images, {setting.key.geometry} geometry, "
            f"{setting.key.length}, {protocol} protocol. After ±: half of the 95 % interval over seeds. "
            "Differences are of top-1 error, paired by seed. Published ones are about ILSVRC at full size, which "
            "other images can't decide.",
        ),
    )


def _row(given: Material, setting: Setting, variant: str, protocol: str) -> tuple[str, ...]:
    means = [setting.error(variant, protocol, metric) for metric in ("top1_error", "top5_error")]
    found = None if variant == setting.base else seen(given, setting, variant, setting.base, "top1_error")
    verdict = judged(given, setting, variant, setting.base, "top1_error")
    return (
        variant,
        str(len(setting.arms[variant])),
        *(NONE if mean is None else percent_with_interval(mean) for mean in means),
        NONE if found is None else points_with_interval(found.difference),
        NONE if verdict is None else published_points(verdict.claim.effect, verdict.claim.relation),
        _verdict(given, variant, setting.base, verdict),
    )


def _verdict(given: Material, variant: str, base: str, verdict: Judgement | None) -> str:
    if verdict is not None:
        return verdict.verdict
    if variant == base:
        return "the base"
    versus = compared_with(given.catalog[variant]) if variant in given.catalog else None
    return f"published against {versus}" if versus else "nothing published"
