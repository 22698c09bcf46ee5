"""Bytes sent in a step: what the arithmetic predicts is what is handed to the collectives on gloo."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from calling import Call
from processes import run_ranks
from tasks import gradients_counted, towers_trained
from test_two_towers_run import COLUMNS
from tiny_training import NET, net
from torch.nn import functional as F

from variants.catalog import CATALOG
from variants.catalog.paper import PAPER
from variants.columns import first_column_macs
from variants.communication import (
    all_reduce_bytes,
    bytes_per_tower,
    gradient_bytes,
    overtaking_batch,
    tower_links,
)
from variants.geometry import to_mini
from variants.modules.towers import split
from variants.values import SpecError

STEPS, BATCH = 4, 6


def images() -> torch.Tensor:
    return torch.randn(
        STEPS, BATCH, 3, 8, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64
    )


def alone() -> tuple[list[float], dict[str, Any]]:
    """Losses and final weights of a few steps of two towers in this process."""
    towers = split(net(COLUMNS).double(), ("cpu", "cpu"))
    optimizer, found = torch.optim.SGD(towers.parameters(), lr=0.05, momentum=0.9), []
    for batch in images():
        optimizer.zero_grad()
        loss = F.cross_entropy(towers(batch), torch.arange(BATCH))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        found.append(loss.item())
    return found, {name: weight.detach().numpy() for name, weight in towers.named_parameters()}


@pytest.fixture(scope="module")
def pair() -> list[Any]:
    """(losses, weights, sent forward, sent backward) of each of two processes with a tower each."""
    return run_ranks(2, towers_trained, COLUMNS, images().numpy())


def test_a_tower_per_process_trains_as_both_in_one_process_to_the_bit(pair: list[Any]) -> None:
    losses, weights = alone()
    assert losses[-1] < losses[0]
    (first_losses, first, *_), (_, second, *_) = pair
    assert first_losses == losses
    together = first | second
    assert set(together) == set(weights)
    assert all((together[name] == weight).all() for name, weight in weights.items())


def test_towers_send_the_bytes_of_their_crosslinks(pair: list[Any]) -> None:
    links = tower_links(COLUMNS, BATCH, bytes_per_number=8)
    assert [link.layer for link in links] == ["conv3", "fc6", "fc8"]
    for rank, (_, _, forward, backward) in enumerate(pair):
        assert forward == STEPS * sum(link.forward[rank] for link in links)
        assert backward == STEPS * sum(link.backward[rank] for link in links)
        assert forward + backward == STEPS * bytes_per_tower(links)


@pytest.mark.parametrize("ranks", [2, 3])
def test_data_parallel_hands_over_each_gradient_once_a_step(ranks: int) -> None:
    for handed, calls, steps in run_ranks(ranks, gradients_counted, NET):
        assert handed == steps * gradient_bytes(NET)
        assert calls >= steps


def test_a_ring_sends_two_parts_of_n_minus_one_of_n() -> None:
    """Counted by hand: each of n ranks passes on n - 1 chunks of 1/n in each of the two rounds."""
    for ranks in (2, 4, 8):
        chunks = 2 * (ranks - 1)
        assert all_reduce_bytes(800, ranks) == chunks * 800 / ranks
    assert all_reduce_bytes(800, 1) == 0


def test_alexnets_crosslinks_have_the_papers_maps() -> None:
    """conv3 reads 256 maps of 13 x 13, fc6 256 of 6 x 6, fc7 and fc8 4096 units; half of them come from the other."""
    halves = {"conv3": 128 * 13 * 13, "fc6": 128 * 6 * 6, "fc7": 2048, "fc8": 2048}
    links = tower_links(PAPER, 1)
    assert {link.layer: link.forward[1] for link in links} == {
        name: 4 * half for name, half in halves.items()
    }
    assert [link.forward[0] for link in links] == [
        *(4 * halves[name] for name in ("conv3", "fc6", "fc7")),
        0,
    ]
    assert [link.backward[1] for link in links] == [link.forward[0] for link in links]


@pytest.mark.parametrize("name", ["grouped_2gpu", "code_2012", "one_weird_trick"])
def test_at_the_overtaking_batch_and_not_before_towers_send_more(name: str) -> None:
    for spec in (CATALOG[name].spec, to_mini(CATALOG[name].spec)):
        batch, data_parallel = overtaking_batch(spec), all_reduce_bytes(gradient_bytes(spec), 2)
        assert bytes_per_tower(tower_links(spec, batch)) > data_parallel
        assert batch == 1 or bytes_per_tower(tower_links(spec, batch - 1)) <= data_parallel


def test_the_papers_first_gpu_has_slightly_less_to_compute_than_its_net_for_one_gpu() -> None:
    """By hand, from the MACs of conv1 to fc8; the net for one GPU has half the kernels in conv1 to conv4."""
    both = 105_415_200 + 223_948_800 + 149_520_384 + 112_140_288 + 74_760_192 + 37_748_736 + 16_777_216
    assert first_column_macs(PAPER) == both // 2 + 4_096_000
    assert first_column_macs(PAPER) / CATALOG["single_gpu"].spec.macs == pytest.approx(0.930, abs=5e-4)


def test_a_net_without_two_columns_has_no_crosslinks() -> None:
    with pytest.raises(SpecError, match="norm1"):
        tower_links(CATALOG["ungrouped"].spec, 1)


def test_show_prints_the_bytes_and_the_batch(call: Call) -> None:
    said = call("show", "grouped_2gpu", "--communication")
    assert said.code == 0
    batch = overtaking_batch(PAPER)
    assert f"from a global batch of {batch:,} images on" in " ".join(said.out.split())
    assert f"{bytes_per_tower(tower_links(PAPER, 128)):,}" in said.out
    plain = json.loads(call("show", "grouped_2gpu", "--communication", "--json").out)
    assert plain["overtaking_batch"] == batch
    assert plain["data_parallel"]["2"] == gradient_bytes(PAPER)


def test_show_says_why_a_net_has_no_towers(call: Call) -> None:
    said = call("show", "ungrouped", "--communication")
    assert said.code == 0
    assert "norm1: kind=lrn can't be divided into two columns" in " ".join(said.out.split())
    assert "data parallel" in said.out
