"""`Recipe`: how a network is trained and evaluated, as a frozen value. rows.py has the named ones.

No torch.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from variants.values import SpecError, value

Geometry: TypeAlias = Literal["full", "mini", "cifar"]
Precision: TypeAlias = Literal["fp32", "tf32", "bf16"]


@value
class FixedDrops:
    """Multiply the learning rate by `factor` at the start of each listed epoch (0-based, fractions
    allowed).
    """

    kind: Literal["fixed_drops"] = "fixed_drops"
    at_epochs: tuple[float, ...]
    factor: float = 0.1


@value
class Plateau:
    """Multiply by `factor` when validation top-1 error has not improved for `patience` epochs, at most
    `drops` times.
    """

    kind: Literal["plateau"] = "plateau"
    patience: int
    drops: int = 3
    factor: float = 0.1


@value
class EverySteps:
    """Multiply by `factor` every `steps` updates (Caffe's stepsize)."""

    kind: Literal["every_steps"] = "every_steps"
    steps: int
    factor: float = 0.1


@value
class ExpSteps:
    """`steps` equal stages that fall geometrically from the learning rate to lr / `divisor`
    (cuda-convnet2: `dexp`).
    """

    kind: Literal["exp_steps"] = "exp_steps"
    steps: int
    divisor: float


@value
class Linear:
    """A linear decrease from the learning rate to zero over the run (Caffe's "poly" with power 1)."""

    kind: Literal["linear"] = "linear"


Schedule: TypeAlias = FixedDrops | Plateau | EverySteps | ExpSteps | Linear


@value
class ParamGroup:
    """Learning rate and weight decay of one type of parameter. The first group that matches applies;
    None matches all.

    layer: a layer's kind ("conv", "local", "dense", "batch_norm", "inception") or a layer's name
    ("fc10").
    schedule: replaces the recipe's schedule for these parameters.
    """

    layer: str | None = None
    parameter: Literal["weight", "bias"] | None = None
    lr_factor: float = 1.0
    weight_decay_factor: float = 1.0
    schedule: Schedule | None = None


@value
class LateChange:
    """A change from epoch `at_epoch` on: one layer's learning rate (0 freezes it), or colour noise
    switched off.

    layer, parameter: the parameters it applies to; None is all. If several changes apply, the last in
    the list counts.
    """

    at_epoch: float
    layer: str | None = None
    parameter: Literal["weight", "bias"] | None = None
    lr: float | None = None
    colour_noise: bool | None = None


@value
class Augmentation:
    """Augmentation of training images. Random numbers depend on (seed, epoch, image), never on the
    number of workers.

    images_per_draw: this many consecutive images have the same random crop and flip (32 in the 2012
    code, 1 in the paper).
    colour_std: PCA colour noise, N(0, colour_std) times `colour_scale` (paper sec. 4.1: eigenvalue;
    code: its root).
    divide_by: in training, an image with colour noise is divided by this. The 2012 code divides by 1.1
    (1 plus the noise's scale) whenever it adds noise (convdata_jpeg.py:155).
    rotate_degrees, scale: uniform in +-degrees and in [low, high] of the net's input side; no 2012 net
    has them.
    """

    crop: Literal["random", "centre"] = "random"
    mirror: bool = True
    images_per_draw: int = 1
    colour_std: float = 0.1
    colour_scale: Literal["eigenvalue", "std"] = "eigenvalue"
    divide_by: float = 1.0
    rotate_degrees: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)


@value
class Pixels:
    """Normalisation of the input. The paper: 0-255 minus the training set's mean image.

    Both fields are on the 0-255 scale. Three numbers (red, green, blue) are constants of the recipe;
    the other values mean statistics of the training set.
    """

    mean: Literal["image", "channel", "none"] | tuple[float, float, float] = "image"
    divide_by_std: bool | tuple[float, float, float] = False  # per channel


@value
class Loss:
    """Cross entropy, optionally with one of three interpretations of "label smoothing" (article,
    A13).
    """

    smoothing: float = 0.0
    reading: Literal["uniform", "target_drop", "scaled_one_hot"] = "uniform"
    box_weight: float = 0.0  # smooth L1 on the box head


@value
class Evaluation:
    """Protocols of the final evaluation.

    "ten_view": mean softmax of 5 crops and their mirror images. "nine_view": 3 x 3 crops, as S and K2
    use on CIFAR-10; K1 has ten views since a2a6af8 (convdata.py:66).
    """

    protocols: tuple[Literal["centre", "mirror", "ten_view", "nine_view"], ...] = (
        "centre",
        "mirror",
        "ten_view",
    )
    every_epochs: float = 1.0  # centre error on the validation set while training; 0 is only at the end
    # at the same times, the error on the whole training set, without augmentation and dropout (paper
    # fig. 1)
    training_error: bool = False


@value
class Recipe:
    """How to train. batch_size: over all devices. Learning rates and weight decays are absolute, except
    in fields named factor. late_changes: what changes at an epoch besides the schedule.
    """

    name: str
    batch_size: int = 128
    epochs: float = 90.0
    lr: float = 0.01
    schedule: Schedule
    momentum: float = 0.9
    weight_decay: float = 5e-4
    nesterov: bool = False
    lr_inside_velocity: bool = True  # paper sec. 5 and weights.cu; False is torch.optim.SGD's rule
    groups: tuple[ParamGroup, ...] = ()
    late_changes: tuple[LateChange, ...] = ()
    clip_norm: float | None = None
    loss: Loss = Loss()
    augmentation: Augmentation = Augmentation()
    pixels: Pixels = Pixels()
    evaluation: Evaluation = Evaluation()
    store_size: int  # side in pixels of the stored square that crops are drawn from (256 in the paper)
    # of training and evaluation; harness/precision.py says what each one sets
    precision: Precision = "fp32"
    # ends training once evaluation.training_error gives less than this fraction
    stop_below: float | None = None
    # Three choices for speed. Each changes the last bits, so each is part of a run's identity.
    # torch.compile the network; training starts after it, seconds to minutes later
    compile: bool = False
    # torch's fused SGD kernel; harness/optim.py says by how much its weights differ
    fused_update: bool = False
    # False: on a GPU the fastest algorithms, whose sums depend on the order of threads
    deterministic: bool = True
    # pages: for files larger than memory. Images are shuffled within groups of the file's pages, which
    # are read one after another (harness/data/page_order.py), so other images meet in a batch.
    order: Literal["random", "pages"] = "random"

    def __post_init__(self) -> None:
        for field in ("batch_size", "epochs", "store_size", "lr"):
            if getattr(self, field) <= 0:
                raise SpecError(
                    f"recipe {self.name}: {field}={getattr(self, field)}, but it must be above 0"
                )
        if self.stop_below is not None and not self.evaluation.training_error:
            raise SpecError(f"recipe {self.name}: stop_below needs evaluation.training_error=true")
        for field in ("momentum", "weight_decay"):
            if getattr(self, field) < 0:
                raise SpecError(
                    f"recipe {self.name}: {field}={getattr(self, field)}, but it must not be below 0"
                )


# Fields that Recipe got when records of runs had been sealed without them, which were trained as their
# defaults say. A digest leaves them out at their default, so that it stays what it was.
ADDED = ("compile", "fused_update", "deterministic", "order")


@value
class RecipeRow:
    """A recipe with its description and source. expected_error and expected_cost are text for readers.

    geometry: the size of the nets that it trains (variants/geometry.py).
    """

    recipe: Recipe
    meaning: str
    expected_error: str
    expected_cost: str
    source: str
    geometry: Geometry = "full"
