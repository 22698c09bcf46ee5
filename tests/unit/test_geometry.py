"""The mini geometry shrinks a net and keeps its design choices; CIFAR nets have one size of their own."""

from __future__ import annotations

from math import sqrt

import pytest

from variants.catalog import CATALOG, PAPER, Variant
from variants.geometry import spec_for, to_mini
from variants.layers import LRN, BatchNorm, Conv, Dense, Dropout, Inception, Init, Layer, Pool
from variants.values import SpecError

MINI = [row for row in CATALOG.values() if "mini" in row.geometries]


def choice(layer: Layer) -> tuple[object, ...]:
    """What must survive shrinking: everything but widths, stem, paddings and the std of a normal start."""
    match layer:
        case Conv():
            return (
                layer.name,
                layer.groups,
                layer.separable,
                layer.residual,
                layer.use_bias,
                layer.init.bias,
            )
        case Dense():
            return layer.name, layer.groups, layer.init.bias, layer.init.scheme
        case Pool():
            return layer.name, layer.function, layer.size, layer.stride
        case Inception():
            return layer.name, layer.batch_norm, layer.separable
        case LRN() | Dropout() | BatchNorm():
            return (layer,)
        case _:
            return layer.name, layer.kind


@pytest.mark.parametrize("row", MINI, ids=lambda row: row.name)
def test_mini_keeps_every_design_choice(row: Variant) -> None:
    mini = spec_for(row, "mini", 10)
    assert [choice(layer) for layer in mini.layers] == [choice(layer) for layer in row.spec.layers]
    assert (mini.box is None) == (row.spec.box is None)


@pytest.mark.parametrize("row", MINI, ids=lambda row: row.name)
def test_mini_halves_the_map_at_each_pool(row: Variant) -> None:
    mini = spec_for(row, "mini", 10)
    pools = [r.output[1:] for r in mini.rows if isinstance(r.layer, Pool)]
    assert pools == [(16, 16), (8, 8), (4, 4)][: len(pools)]


@pytest.mark.parametrize("row", MINI, ids=lambda row: row.name)
def test_mini_starts_every_normal_layer_with_the_full_nets_gain(row: Variant) -> None:
    """std * sqrt(fan-in) agrees to rounding; for a separable pair std^2 * sqrt(both fan-ins) does."""
    for full, small in zip(row.spec.rows, spec_for(row, "mini", 10).rows, strict=True):
        if isinstance(full.layer, Conv | Dense) and full.layer.init.scheme == "normal":
            assert gain(small.layer, small.input[0]) == pytest.approx(
                gain(full.layer, full.input[0]), rel=1e-12
            )


def gain(layer: Layer, channels: int) -> float:
    if isinstance(layer, Dense):
        return layer.init.std * sqrt(channels / layer.groups)
    assert isinstance(layer, Conv)
    spread = sqrt(channels / layer.groups * layer.kernel**2)
    return layer.init.std**2 * spread if layer.separable != "no" else layer.init.std * spread


def test_mini_has_the_quarter_widths() -> None:
    mini = to_mini(PAPER)
    assert [r.output for r in mini.rows if r.layer.kind in ("conv", "dense")] == [
        (24, 32, 32),
        (64, 16, 16),
        (96, 8, 8),
        (96, 8, 8),
        (64, 8, 8),
        (512, 1, 1),
        (512, 1, 1),
        (10, 1, 1),
    ]


def test_non_overlapping_pool_keeps_every_map_size_in_both_geometries() -> None:
    row = CATALOG["non_overlapping_pool"]
    assert [r.output for r in row.spec.rows] == [r.output for r in PAPER.rows]
    assert [r.output for r in to_mini(row.spec).rows] == [r.output for r in to_mini(PAPER).rows]


def test_mini_leaves_starts_alone_that_scale_themselves() -> None:
    conv2 = to_mini(CATALOG["one_weird_trick"].spec).layer("conv2")
    assert isinstance(conv2, Conv)
    assert conv2.init == Init(scheme="torch")


def test_every_geometry_takes_another_number_of_classes() -> None:
    assert spec_for(CATALOG["grouped_2gpu"], "full", 7).classes == 7
    assert spec_for(CATALOG["grouped_2gpu"], "mini", 7).classes == 7
    assert spec_for(CATALOG["cifar_13pct"], "cifar", 7).classes == 7


def test_a_cifar_net_has_no_other_size() -> None:
    with pytest.raises(
        SpecError, match=r"cifar_13pct: geometry=mini does not exist for this net; use cifar"
    ):
        spec_for(CATALOG["cifar_13pct"], "mini", 10)
