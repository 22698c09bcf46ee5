"""Bytes that GPUs send each other in a training step, by arithmetic from a spec: two towers, and data
parallelism.

Counted are tensors that one GPU sends to another: the maps of crosslinks and their gradients, or the
gradients of the weights. Images come from the host. Losses, flags and the results of evaluations are
some hundred bytes and left out. harness/distributed/data_parallel.py and modules/tower_rank.py count what they
really hand over; tests/distributed compares both.
"""

from __future__ import annotations

from math import prod

from variants.columns import column_rows, crosslinks
from variants.spec import AlexNetSpec
from variants.values import value

FLOAT32 = 4  # bytes of a number


@value
class Link:
    """What each of two GPUs sends at one crosslink in a step, in bytes: (first GPU, second GPU).

    layer: the one that reads the maps of both. forward: half of these maps each, but only the first GPU
    reads those before the classifier. backward: the gradient of the maps that were received.
    """

    layer: str
    forward: tuple[int, int]
    backward: tuple[int, int]


def tower_links(
    spec: AlexNetSpec, batch_size: int, bytes_per_number: int = FLOAT32
) -> tuple[Link, ...]:
    """The crosslinks of a net as two towers.

    Raises SpecError for a net that can't be divided into two columns.
    """
    column_rows(spec)
    half = {
        row.layer.name: batch_size * prod(row.input) // 2 * bytes_per_number for row in crosslinks(spec)
    }
    links = [
        Link(layer=name, forward=(sent, sent), backward=(sent, sent)) for name, sent in half.items()
    ]
    classifier = spec.rows[len(spec.layers) - 1]
    sent = batch_size * prod(classifier.input) // 2 * bytes_per_number
    return (*links, Link(layer=classifier.layer.name, forward=(0, sent), backward=(sent, 0)))


def bytes_per_tower(links: tuple[Link, ...]) -> int:
    """What each GPU sends in a step; it is the same for both."""
    first, second = (sum(link.forward[gpu] + link.backward[gpu] for link in links) for gpu in (0, 1))
    assert first == second
    return first


def gradient_bytes(spec: AlexNetSpec, bytes_per_number: int = FLOAT32) -> int:
    """The gradients of all weights, which each rank of data parallelism hands to all-reduce,
    whatever its batch.
    """
    return spec.parameters * bytes_per_number


def all_reduce_bytes(handed: int, ranks: int) -> float:
    """What each rank sends for a ring all-reduce of `handed` bytes: 2 (n - 1) / n of them
    (reduce-scatter, all-gather).

    Source: Patarasuk and Yuan, J. Parallel Distrib. Comput. 69 (2009), which shows that no algorithm
    sends less.
    """
    return 2 * (ranks - 1) / ranks * handed


def overtaking_batch(spec: AlexNetSpec) -> int:
    """The smallest global batch at which two towers send more than two ranks of data parallelism.

    Raises SpecError.
    """
    per_image = bytes_per_tower(tower_links(spec, 1))
    return int(all_reduce_bytes(gradient_bytes(spec), 2) // per_image) + 1
