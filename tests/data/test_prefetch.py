"""Batches one ahead: what is copied when, with a copier in place of a GPU's stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from harness.data.base import Batch
from harness.data.prefetch import ahead

CPU = torch.device("cpu")


def batch(number: int) -> Batch:
    return Batch(torch.full((1, 3, 2, 2), number), torch.tensor([number]), torch.tensor([number]))


class Source:
    """Batches 0, 1, 2 ..., and what happened to them."""

    def __init__(self, count: int, fails: bool = False) -> None:
        self.happened: list[str] = []
        self.closed = False
        self._count, self._fails = count, fails

    def batches(self) -> Iterator[Batch]:
        try:
            for number in range(self._count):
                self.happened.append(f"read {number}")
                yield batch(number)
            if self._fails:
                raise RuntimeError("the disk is gone")
        finally:
            self.closed = True

    def copy(self, made: Batch) -> Callable[[], Batch]:
        number = int(made.labels)
        self.happened.append(f"begin {number}")

        def finished() -> Batch:
            self.happened.append(f"finish {number}")
            return made

        return finished


def test_the_copy_of_each_batch_begins_before_the_one_before_is_computed_with() -> None:
    source = Source(3)
    for given in ahead(source.batches(), CPU, source.copy):
        source.happened.append(f"compute {int(given.labels)}")
    assert source.happened == [
        "read 0", "begin 0", "read 1", "begin 1", "finish 0", "compute 0",
        "read 2", "begin 2", "finish 1", "compute 1", "finish 2", "compute 2",
    ]  # fmt: skip


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_every_batch_comes_once_and_in_order(count: int) -> None:
    source = Source(count)
    assert [int(given.labels) for given in ahead(source.batches(), CPU, source.copy)] == list(
        range(count)
    )


def test_a_cpu_gets_the_batches_themselves_and_not_one_ahead() -> None:
    source = Source(2)
    for given in ahead(source.batches(), CPU):
        source.happened.append(f"compute {int(given.labels)}")
    assert source.happened == ["read 0", "compute 0", "read 1", "compute 1"]
    made = batch(0)
    (given,) = ahead(iter([made]), CPU)
    assert given is made


def test_an_error_of_the_loader_is_passed_on() -> None:
    source = Source(1, fails=True)
    with pytest.raises(RuntimeError, match="the disk is gone"):
        list(ahead(source.batches(), CPU, source.copy))
