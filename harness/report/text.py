"""Formats numbers as text. Only this module converts fractions to percent and differences to points."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.published.schema import Bound
from harness.published.tables import BOUNDS
from harness.records.store import RunRecord
from harness.report.learning_speed import LearningSpeed, Ratio
from harness.report.stats import Estimate, Interval
from harness.studies.long import FIGURE_1_SEEDS

NONE = "—"
MINUS = "\N{MINUS SIGN}"
ONE_SEED = "one seed"


def percent(fraction: float | None, digits: int = 2) -> str:
    """A fraction in percent, without the percent sign, since headings have the unit."""
    return NONE if fraction is None else f"{100 * fraction:.{digits}f}"


def points(difference: float | None, digits: int = 2) -> str:
    """A signed difference of two fractions in percentage points."""
    if difference is None:
        return NONE
    text = f"{100 * difference:+.{digits}f}"
    return text.replace("-", MINUS) if float(text) else f"{0:.{digits}f}"


def published_points(difference: float, relation: Bound) -> str:
    """A published difference, `+1.4`; `> +1.0` where the source says "over 1 point"."""
    return f"{BOUNDS[relation]}{points(difference, 1)}"


def percent_with_interval(estimate: Estimate, unit: str = "") -> str:
    """`33.00 ± 2.48`, or with a unit `33.00 ± 2.48 %`."""
    if estimate.half_width is None:
        return f"{percent(estimate.mean)}{unit} ({ONE_SEED})"
    return f"{percent(estimate.mean)} ± {percent(estimate.half_width)}{unit}"


def points_with_interval(estimate: Estimate) -> str:
    """`+1.40 ± 0.35`."""
    spread = f" ({ONE_SEED})" if estimate.half_width is None else f" ± {percent(estimate.half_width)}"
    return f"{points(estimate.mean)}{spread}"


def number_with_interval(estimate: Estimate, digits: int) -> str:
    """`0.412 ± 0.051`."""
    if estimate.half_width is None:
        return f"{number(estimate.mean, digits)} ({ONE_SEED})"
    return f"{number(estimate.mean, digits)} ± {number(estimate.half_width, digits)}"


def points_between(interval: Interval | None) -> str:
    """`+1.05 to +1.75`."""
    return NONE if interval is None else f"{points(interval.low)} to {points(interval.high)}"


def factor(ratio: float) -> str:
    """A ratio with one digit after the point."""
    return f"{ratio:.1f}"


def epochs_to(estimate: Estimate, censored: int) -> str:
    """`6.4 ± 0.3`, or `> 60.0` where a run did not get there."""
    if censored:
        return f"> {estimate.mean:.1f}"
    return f"{estimate.mean:.1f}" + (
        f" ± {estimate.half_width:.1f}" if estimate.half_width is not None else ""
    )


def beyond_grid(speed: LearningSpeed) -> list[str]:
    """A sentence for each network whose best learning rate is an end of its grid."""
    return [
        f"The best learning rate of {variant} is the {edge} of its grid; a "
        f"{'lower' if edge == 'lowest' else 'higher'} one might need fewer epochs."
        for variant in speed.variants
        if (edge := speed.at_the_edge(variant))
    ]


def seeds_so_far(ratio: Ratio) -> str:
    """The planned number of seeds, and how many are finished."""
    return (
        f"{FIGURE_1_SEEDS} seeds of each network are planned; {len(ratio.fast.runs)} with ReLU, "
        f"{len(ratio.slow.runs)} with tanh are finished"
    )


def number(amount: float | None, digits: int = 0) -> str:
    """The number with thousands separators: 1,234.5."""
    return NONE if amount is None else f"{amount:,.{digits}f}".replace("-", MINUS)


def count(amount: int, thing: str) -> str:
    """`1 seed`, `3 seeds`."""
    return f"{amount:,} {thing}{'' if amount == 1 else 's'}"


def listed(items: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def machine(record: RunRecord) -> str:
    """The devices of the run, as text."""
    cpu = record.env.cpu
    cores = f"{cpu.model}, {count(cpu.cores_usable, 'usable core')}"
    if record.spec.device == "cpu":
        return cores
    names = [gpu.name for gpu in record.env.used_gpus or ()] or ["a GPU that the record does not name"]
    return f"{' + '.join(names)} ({cores})"


def machines(records: Iterable[RunRecord]) -> str:
    """The different machines of the runs, by name."""
    return listed(sorted({machine(record) for record in records}))


def start_command(study: str) -> str:
    """The command that runs a study: `python -m harness reproduce --study imagenet`."""
    return f"python -m harness reproduce{'' if study == 'reproduce' else f' --study {study}'}"


def short(digest: str | None) -> str:
    """The first 12 digits, as git shows them."""
    return NONE if not digest else digest[:12]
