"""The layers of AlexNets as frozen values: output shape, parameters and MACs of each kind. No torch.

A shape is (channels, height, width); after the first dense layer it is (units, 1, 1).
MACs are multiply-accumulates of one image's forward pass; only layers with weights count, biases don't.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from variants.values import SpecError, value

Shape: TypeAlias = tuple[int, int, int]
Rule: TypeAlias = Literal["floor", "ceil"]


@value
class Init:
    """Initial values of a layer: weights from normal(0, std) and constant biases, unless `scheme`
    says otherwise.
    """

    scheme: Literal["normal", "he_normal", "torch"] = "normal"
    std: float = 0.01  # used by "normal" only
    bias: float = 0.0  # unused by "torch"


def window_count(size: int, kernel: int, stride: int, padding: int, rule: Rule, who: str) -> int:
    """Number of positions of a sliding window along one side of `size` pixels.

    "ceil" is the 2012 code's rule (layer.py: 1 + ceil((size - kernel) / stride)): the last window may
    extend beyond the right and bottom edge. As in torch's ceil_mode, a window that would start in the
    right padding is left out.
    """
    if kernel < 1 or stride < 1 or not 0 <= padding < kernel:
        raise SpecError(
            f"{who}: kernel={kernel}, stride={stride}, padding={padding}; use a kernel and a stride of "
            "at least 1, and a padding from 0 to below the kernel"
        )
    reach = size + 2 * padding - kernel
    if reach < 0 and not (rule == "ceil" and reach > -stride):
        raise SpecError(
            f"{who}: kernel={kernel} does not fit a map of {size}x{size} with padding={padding}; use "
            f"kernel <= {size + 2 * padding} or a larger input"
        )
    count = 1 + (reach // stride if rule == "floor" else -(-reach // stride))
    if rule == "ceil" and count > 1 and (count - 1) * stride >= size + padding:
        count -= 1
    return count


@value
class Conv:
    """A convolution. `groups=2` is the two-GPU layout. `separable` selects the article's depthwise
    separable one.
    """

    kind: Literal["conv"] = "conv"
    name: str
    out: int
    kernel: int
    stride: int = 1
    padding: int = 0
    rule: Rule = "floor"
    groups: int = 1
    separable: Literal["no", "depthwise_first", "pointwise_first"] = "no"
    residual: bool = False  # adds the layer's input to its output; shapes must agree
    use_bias: bool = True
    init: Init = Init()

    def output(self, shape: Shape) -> Shape:
        channels, height, width = shape
        if self.separable != "no" and self.groups != 1:
            raise SpecError(
                f"{self.name}: groups={self.groups} with separable={self.separable}; use groups=1"
            )
        for field, count in (("input channels", channels), ("out", self.out)):
            if count % self.groups:
                raise SpecError(
                    f"{self.name}: groups={self.groups} does not divide {field}={count}; use a divisor "
                    f"of {count}"
                )
        sides = [
            window_count(s, self.kernel, self.stride, self.padding, self.rule, self.name)
            for s in (height, width)
        ]
        made = (self.out, sides[0], sides[1])
        if self.residual and made != shape:
            raise SpecError(
                f"{self.name}: residual=True needs equal shapes, but {shape} becomes {made}; use "
                f"out={channels}, stride=1 and a padding that keeps {height}x{width}"
            )
        return made

    def parameters(self, shape: Shape) -> int:
        channels, area = shape[0], self.kernel**2
        bias = self.out if self.use_bias else 0
        if self.separable == "depthwise_first":
            return channels * area + channels * self.out + bias
        if self.separable == "pointwise_first":
            return channels * self.out + self.out * area + bias
        return self.out * (channels // self.groups) * area + bias

    def macs(self, shape: Shape) -> int:
        channels, area = shape[0], self.kernel**2
        out, height, width = self.output(shape)
        if self.separable == "depthwise_first":
            return height * width * (channels * area + channels * out)
        if self.separable == "pointwise_first":
            return shape[1] * shape[2] * channels * out + height * width * out * area
        return out * height * width * (channels // self.groups) * area


@value
class Local:
    """A locally connected layer: a convolution with different weights and biases at each position
    (CIFAR nets).
    """

    kind: Literal["local"] = "local"
    name: str
    out: int
    kernel: int
    stride: int = 1
    padding: int = 0
    init: Init = Init()

    def output(self, shape: Shape) -> Shape:
        sides = [
            window_count(s, self.kernel, self.stride, self.padding, "floor", self.name)
            for s in shape[1:]
        ]
        return (self.out, sides[0], sides[1])

    def parameters(self, shape: Shape) -> int:
        out, height, width = self.output(shape)
        return out * height * width * (shape[0] * self.kernel**2 + 1)

    def macs(self, shape: Shape) -> int:
        out, height, width = self.output(shape)
        return out * height * width * shape[0] * self.kernel**2


@value
class Dense:
    """A fully connected layer over the flattened input; with `groups=2` each column reads only its
    own half.
    """

    kind: Literal["dense"] = "dense"
    name: str
    out: int
    groups: int = 1
    use_bias: bool = True
    init: Init = Init()

    def output(self, shape: Shape) -> Shape:
        for field, count in (("inputs", shape[0]), ("out", self.out)):
            if count % self.groups:
                raise SpecError(
                    f"{self.name}: groups={self.groups} does not divide {field}={count}; use a divisor "
                    f"of {count}"
                )
        return (self.out, 1, 1)

    def parameters(self, shape: Shape) -> int:
        return self.macs(shape) + (self.out if self.use_bias else 0)

    def macs(self, shape: Shape) -> int:
        return shape[0] * shape[1] * shape[2] * self.out // self.groups


@value
class Inception:
    """Three branches (1x1, 3x3, 5x5 convolution, ReLU, 3x3/1 max pooling), concatenated: the article's
    claims 17, 43.

    separable: the 3x3 and 5x5 convolutions become one kernel per map and a 1x1 convolution, as in the
    article's net.
    """

    kind: Literal["inception"] = "inception"
    name: str
    one: int
    three: int
    five: int
    separable: bool = False
    batch_norm: bool = True
    init: Init = Init()

    def branches(self) -> tuple[tuple[int, int], ...]:
        """(kernel size, number of kernels) of each branch."""
        return ((1, self.one), (3, self.three), (5, self.five))

    def output(self, shape: Shape) -> Shape:
        return (self.one + self.three + self.five, shape[1], shape[2])

    def parameters(self, shape: Shape) -> int:
        total = self.one + self.three + self.five
        # scale and shift replace the bias
        return self._weights(shape[0]) + total * (2 if self.batch_norm else 1)

    def macs(self, shape: Shape) -> int:
        return shape[1] * shape[2] * self._weights(shape[0])

    def _weights(self, channels: int) -> int:
        """Multiply-accumulates of all branches; each branch works once per position."""
        if self.separable:
            return channels * sum((k * k if k > 1 else 0) + out for k, out in self.branches())
        return channels * sum(k * k * out for k, out in self.branches())


@value
class BatchNorm:
    """Batch normalisation over (N, H, W) per channel. No net of 2012 has it."""

    kind: Literal["batch_norm"] = "batch_norm"
    name: str
    eps: float = 1e-5
    momentum: float = 0.1
    affine: bool = True

    def output(self, shape: Shape) -> Shape:
        return shape

    def parameters(self, shape: Shape) -> int:
        return 2 * shape[0] if self.affine else 0

    def macs(self, shape: Shape) -> int:
        return 0


@value
class Plain:
    """Base class of layers without weights: no parameters and, by convention, no MACs."""

    name: str

    def output(self, shape: Shape) -> Shape:
        return shape

    def parameters(self, shape: Shape) -> int:
        return 0

    def macs(self, shape: Shape) -> int:
        return 0


@value
class Activation(Plain):
    """An elementwise activation function."""

    kind: Literal["activation"] = "activation"
    function: Literal["relu", "tanh"] = "relu"


@value
class LRN(Plain):
    """Response normalisation across `size` adjacent maps: x / (k + a * sum x^2)^beta, a = alpha or
    alpha / size.

    The paper uses alpha as it is (divide_by_size=False); the 2012 code, Caffe and torch divide it by
    the window size. Each of the `groups` is normalised separately, since each GPU of 2012 had only its
    own maps.
    """

    kind: Literal["lrn"] = "lrn"
    size: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 2.0
    divide_by_size: bool = False
    groups: int = 1

    def output(self, shape: Shape) -> Shape:
        if self.size % 2 == 0:
            raise SpecError(
                f"{self.name}: size={self.size} has no centre; use an odd size such as {self.size + 1}"
            )
        if shape[0] % self.groups:
            raise SpecError(
                f"{self.name}: groups={self.groups} does not divide channels={shape[0]}; use a divisor "
                f"of {shape[0]}"
            )
        return shape


@value
class SpatialLRN(Plain):
    """Response normalisation within each map over size x size neighbours (`rnorm` in the 2012 code;
    alpha / size^2).
    """

    kind: Literal["spatial_lrn"] = "spatial_lrn"
    size: int = 5
    alpha: float = 1e-3
    beta: float = 0.75
    k: float = 1.0

    def output(self, shape: Shape) -> Shape:
        if self.size % 2 == 0:
            raise SpecError(
                f"{self.name}: size={self.size} has no centre; use an odd size such as {self.size + 1}"
            )
        return shape


@value
class Pool(Plain):
    """Pooling within each map.

    An average divides by the number of pixels inside the map, as in 2012.
    """

    kind: Literal["pool"] = "pool"
    function: Literal["max", "avg"] = "max"
    size: int = 3
    stride: int = 2
    padding: int = 0
    rule: Rule = "ceil"

    def output(self, shape: Shape) -> Shape:
        if 2 * self.padding > self.size:
            raise SpecError(
                f"{self.name}: padding={self.padding} of size={self.size}; use at most {self.size // 2}"
            )
        sides = [
            window_count(s, self.size, self.stride, self.padding, self.rule, self.name)
            for s in shape[1:]
        ]
        return (shape[0], sides[0], sides[1])


@value
class AdaptivePool(Plain):
    """Average pooling to `size` x `size` (torchvision's 6x6; size=1 is global average pooling)."""

    kind: Literal["adaptive_pool"] = "adaptive_pool"
    size: int

    def output(self, shape: Shape) -> Shape:
        return (shape[0], self.size, self.size)


@value
class Dropout(Plain):
    """Inverted dropout.

    The 2012 code halves outputs at test time instead, which is equivalent up to the factor.
    """

    kind: Literal["dropout"] = "dropout"
    p: float = 0.5

    def output(self, shape: Shape) -> Shape:
        if not 0.0 <= self.p < 1.0:
            raise SpecError(f"{self.name}: p={self.p} is not a probability below 1; the paper uses 0.5")
        return shape


Layer: TypeAlias = (
    Conv
    | Local
    | Dense
    | Inception
    | BatchNorm
    | Activation
    | LRN
    | SpatialLRN
    | Pool
    | AdaptivePool
    | Dropout
)
