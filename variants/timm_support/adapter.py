"""`TimmAlexNet`: a spec's net with timm's model interface. The layers are those of modules/alexnet.py.

timm divides a net into features and head. `forward_features` returns the last map (pool5's in the
paper's net); the head consists of the dense layers and the dropout and adaptive pooling before them.
`num_features` is the number of channels of that map, `head_hidden_size` the number of inputs of the
classifier, as in timm's VGG.
"""

# No `from __future__ import annotations` here: torch.fx copies annotations into the code it generates,
# and torch.jit does not understand them as strings.

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from timm.models import checkpoint, register_notrace_module
from timm.models._features import feature_take_indices
from torch import nn
from torch.jit import is_scripting  # type: ignore[attr-defined]  # torch's documentation has it there

from variants.layers import Dropout, Shape
from variants.modules.alexnet import build
from variants.modules.blocks import BatchNorm as BatchNormModule
from variants.spec import AlexNetSpec
from variants.timm_support.parts import (
    averages,
    feature_info,
    head_start,
    last_map,
    layer_groups,
    parts,
    weights_fit_any_channels,
)

# one node for timm's tracer, as torch's own batch normalisation is
register_notrace_module(BatchNormModule)

UNPOOLED = ""  # timm's value for no pooling and no classifier: the output is the last map


class TimmAlexNet(nn.Module):
    """The net of `cfg`, a catalogue row's spec, as a timm model. Parameters have the names of the
    spec-built net.

    num_classes: 0 leaves the classifier out; the output is then (N, head_hidden_size).
    in_chans, img_size: channels and side of the input; img_size changes the size of dense layers over a
    flattened map.
    global_pool: None is the row's pooling. "" (with num_classes=0) leaves the head out: the output is
    the last map. "avg" is accepted if the row averages over the map. Any other value raises ValueError.
    drop_rate: above 0 it replaces the row's dropout probability in every dropout layer. 0, which timm's
    scripts pass by default, keeps the row's probability; use the row no_dropout for a net without
    dropout.
    box: keep the row's box head, if it has one (see `forward_with_box`). By default it is left out,
    because a loss on the classes alone gives it no gradient.
    device, dtype: of the weights. They are drawn on the CPU in float32, as `build` does.
    """

    # torch.jit reuses the code of one net for another that has the same layers in another order, unless
    # a constant differs.
    __constants__ = ("order", "head_at", "classifier_at")

    def __init__(
        self,
        cfg: AlexNetSpec,
        num_classes: int | None = None,
        in_chans: int | None = None,
        img_size: int | tuple[int, int] | None = None,
        global_pool: str | None = None,
        drop_rate: float = 0.0,
        box: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        classes = cfg.classes if num_classes is None else num_classes
        self.spec = _with_input(cfg, in_chans, img_size)
        self.spec = _with_dropout(self.spec.with_classes(classes or cfg.classes), drop_rate)
        if not box:
            self.spec = replace(self.spec, box=None)
        net = build(self.spec, device=device or torch.get_default_device()).to(dtype)
        for name, layer in net.named_children():
            self.add_module(name, layer)
        self.num_classes = self.spec.classes
        self.in_chans = self.spec.input_channels
        self.drop_rate = next(
            (layer.p for layer in self.spec.layers if isinstance(layer, Dropout)), 0.0
        )
        self.grad_checkpointing = False
        self._describe()
        if cfg.box is not None and not box:
            self.register_load_state_dict_pre_hook(partial(_leave_out, f"{cfg.box.name}."))  # type: ignore[no-untyped-call]
        if global_pool is not None or classes == 0:
            self.reset_classifier(classes, global_pool)
        if not weights_fit_any_channels(self.spec.layers[0]):
            # timm must not adapt the first layer's weights to other channels
            self._traits = {"first_conv": None}

    def _describe(self) -> None:
        """Set the attributes that follow from the spec's layers."""
        layers = self.spec.layers
        self.order = " ".join(layer.name for layer in layers)
        self.head_at = head_start(layers)
        self.classifier_at = len(layers) - 1
        self.feature_info = feature_info(self.spec)
        self.taps: list[int] = [info["at"] for info in self.feature_info]
        self.unpooled = False
        self.global_pool = "avg" if averages(layers) else None
        self.num_features = last_map(self.spec)[0]
        self.head_hidden_size = _inputs(self.spec.rows[self.classifier_at].input)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, in_chans, size, size) -> class scores (N, num_classes), unnormalised; features where
        that is 0.
        """
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """The last map, (N, num_features, height, width)."""
        if self.grad_checkpointing and not is_scripting():
            for part in parts(self.spec):
                x = checkpoint(partial(self._run, part), x)
            return x
        for at, layer in enumerate(self.children()):
            if at < self.head_at:
                x = layer(x)
        return x

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """From the last map to the scores, or with `pre_logits` to the classifier's inputs, (N,
        head_hidden_size).
        """
        for at, layer in enumerate(self.children()):
            if at >= self.head_at and at < self.classifier_at:
                x = layer(x)
        if not self.unpooled:
            x = x.flatten(1)
        if pre_logits:
            return x
        for at, layer in enumerate(self.children()):
            if at == self.classifier_at:
                x = layer(x)
        return x

    def forward_with_box(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As `forward`, with the box head's (N, 4); for nets created with box=True."""
        assert self.spec.box is not None
        features = self.forward_head(self.forward_features(x), pre_logits=True)
        return self.get_classifier()(features), self.get_submodule(self.spec.box.name)(features)

    def forward_intermediates(
        self,
        x: torch.Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[torch.Tensor] | tuple[torch.Tensor, list[torch.Tensor]]:
        """(the last map, the maps of `feature_info`), or only the latter.

        indices: None for all maps, n for the last n, or a list; maps are returned in the net's order.
        stop_early: compute no layer after the last requested map. norm: no effect, as there is no final
        normalisation.
        """
        assert output_fmt == "NCHW", "the output format must be NCHW"
        take, last = feature_take_indices(len(self.taps), indices)
        wanted = [self.taps[index] for index in take]
        made: list[torch.Tensor] = []
        if self.grad_checkpointing and not is_scripting():
            for part in parts(self.spec):
                if not stop_early or part[0] <= self.taps[last]:
                    x = checkpoint(partial(self._run, part), x)
                    if part[-1] in wanted:
                        made.append(x)
        else:
            for at, layer in enumerate(self.children()):
                if at < self.head_at and (not stop_early or at <= self.taps[last]):
                    x = layer(x)
                    if at in wanted:
                        made.append(x)
        if intermediates_only:
            return made
        return x, made

    def get_classifier(self) -> nn.Module:
        """The last layer (fc8 in the paper's net); an identity if the net has no classifier."""
        return self.get_submodule(self.spec.layers[-1].name)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier by one with new initial weights; 0 removes it. global_pool: as in the
        constructor.

        global_pool=None keeps the present value. A classifier after global_pool="" brings back the
        hidden dense layers, with new initial weights.
        """
        if global_pool == UNPOOLED and num_classes > 0:
            raise ValueError(
                'global_pool="" leaves no head for classes; use num_classes=0 with it, or leave it out'
            )
        if global_pool not in (None, UNPOOLED, "avg" if averages(self.spec.layers) else None):
            raise ValueError(
                f'global_pool="{global_pool}" is another net; leave it out for what this one does'
            )
        if num_classes > 0:
            self.spec = self.spec.with_classes(num_classes)
        headless = global_pool == UNPOOLED or (
            self.unpooled and global_pool is None and num_classes == 0
        )
        names = [layer.name for layer in self.spec.layers[self.head_at :]]
        if headless:
            self._put(dict.fromkeys(names))
        elif self.unpooled:
            self._put(self._fresh(self.head_at))
        elif num_classes > 0:
            self._put(self._fresh(self.classifier_at))
        if num_classes == 0:
            self._put({names[-1]: None})
        self._describe()
        self.num_classes = num_classes
        if headless:
            self._leave_head()

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Remove layers that the maps of `indices` don't need. If any layer is removed, so is the head.

        A later `reset_classifier(n)` adds a classifier after the last remaining map.
        """
        take, last = feature_take_indices(len(self.taps), indices)
        end, layers = self.taps[last] + 1, self.spec.layers
        if prune_head or end < self.head_at:
            self.reset_classifier(0, UNPOOLED)
        if end < self.head_at:
            for layer in layers[end:-1]:
                delattr(self, layer.name)
            self.spec = replace(self.spec, layers=(*layers[:end], layers[-1]))
            self._describe()
            self._leave_head()
        return list(take)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute the convolutional part in the backward pass, layer by layer. Outputs stay
        bit-identical.

        As in every timm model, batch normalisation then updates its running averages twice per step.
        """
        self.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> Callable[[str], tuple[int, ...]]:
        """A function from parameter name to group number, in the net's order: one group per layer with
        weights.

        Batch normalisation belongs to the group of the layer before it. coarse: one group for all
        convolutions with the same map size, one for the hidden dense layers and one for the classifier.
        """
        groups = layer_groups(self.spec, coarse)
        return lambda name: (groups[name.partition(".")[0]],)

    def _leave_head(self) -> None:
        """Remove the head, including the box head, so that the output is the last map."""
        self.unpooled, self.global_pool, self.head_hidden_size = True, UNPOOLED, self.num_features
        if self.spec.box is not None:
            delattr(self, self.spec.box.name)
            self.spec = replace(self.spec, box=None)

    def _run(self, part: range, x: torch.Tensor) -> torch.Tensor:
        for at in part:
            x = self.get_submodule(self.spec.layers[at].name)(x)
        return x

    def _fresh(self, start: int) -> dict[str, nn.Module | None]:
        """The layers from position `start` on with new initial weights, on this net's device, in its
        dtype and mode.
        """
        channels, side, _ = self.spec.rows[start - 1].output
        tail = AlexNetSpec(input_size=side, input_channels=channels, layers=self.spec.layers[start:])
        like = next(self.parameters())
        return dict(
            build(tail, device=like.device).to(like.dtype).train(self.training).named_children()
        )

    def _put(self, layers: dict[str, nn.Module | None]) -> None:
        for name, layer in layers.items():
            setattr(self, name, nn.Identity().train(self.training) if layer is None else layer)


def _with_input(
    spec: AlexNetSpec, in_chans: int | None, img_size: int | tuple[int, int] | None
) -> AlexNetSpec:
    height, width = img_size if isinstance(img_size, tuple | list) else (img_size, img_size)
    if height != width:
        raise ValueError(f"img_size={img_size}: the nets take square images; give one side in pixels")
    return replace(
        spec, input_size=height or spec.input_size, input_channels=in_chans or spec.input_channels
    )


def _with_dropout(spec: AlexNetSpec, rate: float) -> AlexNetSpec:
    if not rate:
        return spec
    names = [layer.name for layer in spec.layers if isinstance(layer, Dropout)]
    if not names:
        raise ValueError(f"drop_rate={rate}, but this net has no dropout; leave drop_rate out")
    return spec.but(**{name: {"p": rate} for name in names})


def _inputs(shape: Shape) -> int:
    return shape[0] * shape[1] * shape[2]


def _leave_out(prefix: str, module: nn.Module, state: dict[str, Any], before: str, *_: Any) -> None:
    """Ignore the weights of a head that this net does not have."""
    for key in [key for key in state if key.startswith(before + prefix)]:
        del state[key]
