"""The recipes by name: how each AlexNet was trained, its published error and its cost. No torch.

P, S, K1 and K2 are the paper, the 2012 source code and cuda-convnet 1 and 2; see
variants/catalog. An expected error is that of the variant published with the recipe, under the
protocol given. Costs in FLOP count two per multiply-accumulate.
"""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

from variants.recipes.recipe import (
    Augmentation,
    Evaluation,
    EverySteps,
    ExpSteps,
    FixedDrops,
    LateChange,
    Linear,
    Loss,
    ParamGroup,
    Pixels,
    Plateau,
    Recipe,
    RecipeRow,
)

NO_COLOUR = Augmentation(colour_std=0.0)
CODE_COLOUR = Augmentation(images_per_draw=32, colour_scale="std", divide_by=1.1)
# Caffe and cuda-convnet alike
FAST_BIASES = ParamGroup(parameter="bias", lr_factor=2.0, weight_decay_factor=0.0)
# Only the weights' learning rate drops at the end: "Lower learning rates (epsW)",
# layer-params-conv-local-11pct.cfg, steps 5-6
CIFAR_GROUPS = (
    replace(FAST_BIASES, schedule=FixedDrops(at_epochs=())),
    ParamGroup(layer="conv", weight_decay_factor=0.0),
)
# references/classification/presets.py has .485, .456, .406 and .229, .224, .225 for pixels in 0-1
TORCHVISION_MEAN, TORCHVISION_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)

ROWS = (
    RecipeRow(
        recipe=Recipe(name="paper", schedule=Plateau(patience=5), store_size=256),
        meaning="the paper's recipe: batch size 128, learning rate .01, three drops on a plateau, "
        "about 90 epochs; the authors dropped it by hand, which we replace by a patience of 5 epochs",
        expected_error="top-1 40.7 %, top-5 18.2 % (ILSVRC-2012 val, ten views)",
        expected_cost="5-6 days on two GTX 580 in 2012; 0.5 EFLOP for 90 epochs of 1.28 million images",
        source="P sec. 2, 4, 5, 6",
    ),
    RecipeRow(
        recipe=Recipe(
            name="code_2012",
            epochs=91.0,
            schedule=FixedDrops(at_epochs=(25.0, 51.0, 79.0)),
            groups=(replace(FAST_BIASES, schedule=FixedDrops(at_epochs=())),),
            late_changes=(
                LateChange(
                    at_epoch=67.0, layer="conv1", parameter="weight", lr=1e-5, colour_noise=False
                ),
                LateChange(at_epoch=72.0, layer="conv1", lr=0.0),
            ),
            augmentation=CODE_COLOUR,
            store_size=256,
        ),
        meaning="run 145 of the author's log: biases at learning rate .02 without weight decay or "
        "drops; a lower learning rate of conv1's weights from epoch 67 on, conv1 frozen from 72 on, no "
        "colour noise from 67 on. Uncertain: whether the stored colour axes are scaled by roots of "
        "eigenvalues (as names of variables suggest), and each drop by one epoch, since the log counts "
        "from 1",
        expected_error="top-1 40.66 %, top-5 18.21 % (ILSVRC-2012 val, ten views)",
        expected_cost="about 6 days on two GTX 580 in 2012; 0.5 EFLOP",
        source="S layer-params-145.cfg (log at its end), convdata_jpeg.py, weights.cu, layer.cu:565",
    ),
    RecipeRow(
        recipe=Recipe(
            name="code_2012_dexp",
            epochs=95.0,
            schedule=ExpSteps(steps=4, divisor=1000.0),
            groups=(replace(FAST_BIASES, schedule=ExpSteps(steps=2, divisor=10.0)),),
            late_changes=(
                LateChange(at_epoch=63.0, colour_noise=False),
                LateChange(at_epoch=73.0, layer="conv1", lr=0.0),
            ),
            augmentation=CODE_COLOUR,
            store_size=256,
        ),
        meaning="run 167 of the author's log: learning rate from .01 to 1e-5 in four equal stages, "
        "that of biases from .02 to .002 in two, no colour noise from epoch 63 on, conv1 frozen from "
        "73 on; the 95 epochs are those of run 169, since the log of run 167 gives no number",
        expected_error="top-1 40.49 %, top-5 18.12 % (ILSVRC-2012 val, ten views)",
        expected_cost="as code_2012",
        source="S layer-params-167.cfg and layer-params-169.cfg:204 (logs at their ends)",
    ),
    RecipeRow(
        recipe=Recipe(
            name="caffe",
            batch_size=256,
            schedule=EverySteps(steps=100_000),
            groups=(FAST_BIASES,),
            augmentation=NO_COLOUR,
            evaluation=Evaluation(protocols=("centre",)),
            store_size=256,
        ),
        meaning="Caffe's solver: batch size 256, learning rate divided by 10 every 100,000 updates, "
        "biases at twice the learning rate without weight decay, no colour noise; Caffe resizes images "
        "to 256x256 without keeping the aspect ratio, here the short side becomes 256 and the centre "
        "is cropped",
        expected_error="top-1 42.9 %, top-5 19.8 % (ILSVRC-2012 val, centre)",
        expected_cost="450,000 updates of 256; 193 images/s on a K40 in 2014 is 6.9 days",
        source="CF models/bvlc_alexnet/solver.prototxt, readme.md",
    ),
    RecipeRow(
        recipe=Recipe(
            name="cvgj",
            batch_size=256,
            epochs=64.0,
            lr=0.05,
            schedule=Linear(),
            groups=(FAST_BIASES,),
            augmentation=NO_COLOUR,
            pixels=Pixels(mean="none"),
            evaluation=Evaluation(protocols=("centre",)),
            store_size=256,
        ),
        meaning="cvjena's recipe for nets with batch norm: learning rate from .05 linearly to zero in "
        "320,000 updates at batch size 256, raw pixels",
        expected_error="top-1 39.9 %, top-5 18.1 % (ILSVRC-2012 val, centre)",
        expected_cost="320,000 updates of 256; 0.36 EFLOP",
        source="cvjena/cnn-models@a0ade4d AlexNet_cvgj/train.solver, train.prototxt",
    ),
    RecipeRow(
        recipe=Recipe(
            name="torchvision",
            batch_size=256,
            schedule=FixedDrops(at_epochs=(30.0, 60.0)),
            weight_decay=1e-4,
            lr_inside_velocity=False,
            # RandomResizedCrop takes 8-100 % of the area: 0.283-1 of the stored 256, in units of the
            # input's 224
            augmentation=Augmentation(colour_std=0.0, scale=(0.323, 1.142)),
            pixels=Pixels(mean=TORCHVISION_MEAN, divide_by_std=TORCHVISION_STD),
            evaluation=Evaluation(protocols=("centre",)),
            store_size=256,
        ),
        meaning="torchvision's reference script: weight decay 1e-4, learning rate divided by 10 every "
        "30 epochs, its constants for mean and std, crops of random size (here the side is uniform and "
        "the crop is square; there the area is uniform and the aspect ratio is 3/4 to 4/3)",
        expected_error="top-1 43.478 %, top-5 20.934 % (ILSVRC-2012 val, centre)",
        expected_cost="90 epochs on 8 GPUs of 32 images each; 0.5 EFLOP",
        source="torchvision references/classification/README.md, AlexNet_Weights.IMAGENET1K_V1",
    ),
    RecipeRow(
        recipe=Recipe(
            name="owt_2014",
            schedule=ExpSteps(steps=4, divisor=250.0),
            groups=(replace(FAST_BIASES, schedule=ExpSteps(steps=2, divisor=10.0)),),
            augmentation=Augmentation(colour_scale="std", divide_by=1.1),
            store_size=256,
        ),
        meaning="cuda-convnet2's training on one GPU: learning rate from .01 to 4e-5 in four stages, "
        "that of biases from .02 to .002 in two; colour noise of .1 and the division by 1.1 "
        "throughout, as in 2012, but one crop per image",
        expected_error="top-1 40.42 %, top-5 18.15 % (ILSVRC-2012 val, ten views); 42.55 %, 19.81 % "
        "(centre)",
        expected_cost="90 epochs at about 365 images/s, 3.7 days on one Kepler GPU",
        source="K2 layers/layer-params-imagenet-1gpu.cfg, convdata.py:183, wiki TrainingExample "
        "(--color-noise 0.1)",
    ),
    RecipeRow(
        recipe=Recipe(
            name="article",
            lr=1.0 / sqrt(128),
            schedule=EverySteps(steps=100_000),
            nesterov=True,
            clip_norm=1.0,
            loss=Loss(smoothing=0.1, box_weight=1.0),
            augmentation=Augmentation(
                mirror=False, colour_std=0.0, rotate_degrees=15.0, scale=(0.5, 1.0)
            ),
            store_size=256,
        ),
        meaning="the article's recipe: learning rate 1/sqrt(batch size), divided by 10 every 100,000 "
        "updates, Nesterov momentum, gradient clipping, label smoothing, rotation and scaling, no "
        "flips; the article does not give these, we chose them: +-15 degrees, scale from half to the "
        "full side, momentum .9, clip norm 1, box weight 1, 90 epochs",
        expected_error="none: the article's 57.1 % top-5 accuracy is really Caffe's top-1 accuracy",
        expected_cost="0.13 EFLOP for 90 epochs; nine drops, so the learning rate is negligible from "
        "epoch 50 on",
        source="the article, sec. 2.2, 3.4 and 4",
    ),
    RecipeRow(
        recipe=Recipe(
            name="cifar_2012",
            epochs=520.0,
            lr=0.001,
            schedule=FixedDrops(at_epochs=(500.0, 510.0)),
            weight_decay=0.004,
            groups=CIFAR_GROUPS,
            augmentation=NO_COLOUR,
            evaluation=Evaluation(protocols=("centre", "nine_view", "ten_view"), every_epochs=10.0),
            store_size=32,
        ),
        meaning="cuda-convnet's recipe for CIFAR-10: 24x24 crops and flips; learning rate of weights "
        ".001 for 500 epochs, .0001 for 10 and .00001 for 10, of biases always .002; weight decay on "
        "local and dense layers only; all 50,000 images from the start (in 2012 the first 350 epochs "
        "left a fifth out)",
        expected_error="top-1 13 % without and 11 % with response normalisation (CIFAR-10 test, views "
        "not stated)",
        expected_cost="520 epochs of 50,000 images; minutes to hours on any GPU",
        source="K1 example-layers/layer-params-conv-local-11pct.cfg",
        geometry="cifar",
    ),
    RecipeRow(
        recipe=Recipe(
            name="mini",
            batch_size=64,
            epochs=1.0,
            schedule=FixedDrops(at_epochs=(0.8,)),
            evaluation=Evaluation(protocols=("centre", "mirror"), every_epochs=0.25),
            store_size=36,
        ),
        meaning="the paper's update rule, momentum, weight decay and colour noise for the mini "
        "geometry, in a short training that takes a minute or two on one core: one pass over the "
        "training set, with a tenth of the learning rate in the last fifth",
        expected_error="see reports/reference (fashion_mnist, centre); the nets are far from converged",
        expected_cost="60,000 images of fashion_mnist at 0.09 GFLOP each, forward; three times that in "
        "training",
        source="this project",
        geometry="mini",
    ),
)
