"""For any legal spec, shapes, parameters and MACs by arithmetic are those of the module built from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from variants.layers import (
    LRN,
    Activation,
    AdaptivePool,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Inception,
    Init,
    Layer,
    Local,
    Pool,
    Shape,
    SpatialLRN,
)
from variants.modules import lrn_torch
from variants.modules.alexnet import AlexNet, build
from variants.spec import AlexNetSpec
from variants.values import SpecError

small = st.integers(1, 4)
widths = st.sampled_from([2, 3, 4, 6, 8])
odd = st.sampled_from([1, 3, 5, 7])
rules = st.sampled_from(["floor", "ceil"])
starts = st.builds(Init, scheme=st.sampled_from(["normal", "he_normal", "torch"]))
named = {"name": st.just("_")}
windows = {"kernel": small, "stride": st.integers(1, 3), "padding": st.integers(0, 2)}
convolution = {
    **named,
    **windows,
    "out": widths,
    "rule": rules,
    "use_bias": st.booleans(),
    "init": starts,
}

ON_MAPS: tuple[st.SearchStrategy[Layer], ...] = (
    st.builds(Conv, **convolution, groups=st.integers(1, 3)),
    st.builds(Conv, **convolution, separable=st.sampled_from(["depthwise_first", "pointwise_first"])),
    st.builds(Conv, **{**convolution, "stride": st.just(1)}, residual=st.just(True)),
    st.builds(Local, **named, **windows, out=widths, init=starts),
    st.builds(
        Inception,
        **named,
        one=widths,
        three=widths,
        five=widths,
        separable=st.booleans(),
        batch_norm=st.booleans(),
    ),
    st.builds(LRN, **named, size=odd, beta=st.sampled_from([0.5, 0.75]), groups=st.integers(1, 3)),
    st.builds(SpatialLRN, **named, size=odd),
    st.builds(
        Pool,
        **named,
        function=st.sampled_from(["max", "avg"]),
        size=st.integers(2, 4),
        stride=small,
        padding=st.integers(0, 2),
        rule=rules,
    ),
    st.builds(AdaptivePool, **named, size=st.integers(1, 3)),
)
ANYWHERE: tuple[st.SearchStrategy[Layer], ...] = (
    st.builds(BatchNorm, **named, affine=st.booleans()),
    st.builds(Activation, **named, function=st.sampled_from(["relu", "tanh"])),
    st.builds(Dropout, **named, p=st.sampled_from([0.0, 0.5])),
)
dense = st.builds(
    Dense, **named, out=widths, groups=st.sampled_from([1, 1, 2]), use_bias=st.booleans(), init=starts
)


@st.composite
def specs(draw: Callable[[Any], Any]) -> AlexNetSpec:
    """Up to six layers on maps, three dense ones, a classifier, perhaps a box head; what doesn't fit is left out."""
    drawn = draw(st.lists(st.one_of(*ON_MAPS, *ANYWHERE), max_size=6))
    drawn += draw(st.lists(st.one_of(dense, *ANYWHERE), max_size=3))
    side, channels = draw(st.integers(4, 13)), draw(widths)
    spec = AlexNetSpec(
        input_size=side,
        input_channels=channels,
        layers=(Dense(name="scores", out=draw(widths)),),
        box=draw(st.sampled_from([None, Dense(name="box", out=4)])),
    )
    for at, layer in enumerate(drawn):
        try:
            spec = spec.before("scores", type(layer)(**{**vars(layer), "name": f"layer{at}"}))
        except SpecError as refused:
            if not str(refused).startswith(f"layer{at}: "):  # a refusal names the layer
                raise
    return spec


def shapes_of(net: AlexNet, x: Tensor) -> dict[str, Shape]:
    """What each layer really puts out for one image, padded with ones to (channels, height, width)."""
    seen: dict[str, Shape] = {}

    def watch(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def note(module: nn.Module, given: Any, made: Tensor) -> None:
            seen[name] = (*made.shape[1:], 1, 1)[:3]  # type: ignore[assignment]

        return note

    for row in net.spec.rows:
        net.get_submodule(row.layer.name).register_forward_hook(watch(row.layer.name))
    net.forward_with_box(x) if net.spec.box else net(x)
    return seen


@settings(max_examples=150, deadline=None)
@given(specs())
def test_arithmetic_is_the_modules(spec: AlexNetSpec) -> None:
    net = build(spec, generator=torch.Generator().manual_seed(0)).eval()
    x = torch.randn(1, spec.input_channels, spec.input_size, spec.input_size)
    counter = FlopCounterMode(display=False)
    # norms sum by additions here, not by the banded product of narrow maps, which the counter would see
    with mock.patch.object(lrn_torch, "WIDEST_BAND", 0), torch.no_grad(), counter:
        seen = shapes_of(net, x)
    assert seen == {row.layer.name: row.output for row in spec.rows}
    own = {row.layer.name: net.get_submodule(row.layer.name).parameters() for row in spec.rows}
    assert {name: sum(p.numel() for p in found) for name, found in own.items()} == {
        row.layer.name: row.parameters for row in spec.rows
    }
    assert counter.get_total_flops() == 2 * spec.macs  # a multiply-accumulate is two operations


@settings(max_examples=60, deadline=None)
@given(specs())
def test_gradients_reach_every_parameter(spec: AlexNetSpec) -> None:
    """In training mode, two images, the box head included: no in-place step spoils what the backward pass needs."""
    net = build(spec, generator=torch.Generator().manual_seed(0)).train()
    normed = [row for row in spec.rows if isinstance(row.layer, BatchNorm | Inception)]
    if any(row.output[1:] == (1, 1) for row in normed):
        net.eval()  # torch refuses statistics of a single value, and two images of 1x1 are nearly that
    x = torch.randn(2, spec.input_channels, spec.input_size, spec.input_size)
    heads = net.forward_with_box(x) if spec.box else (net(x),)
    sum(head.square().sum() for head in heads).backward()  # type: ignore[union-attr]
    assert all(parameter.grad is not None for parameter in net.parameters())
