"""Nets made from AlexNet by others: Caffe's two, torchvision's, cuda-convnet2's, batch-normalised,
CNN-F, ZFNet.
"""

from __future__ import annotations

from dataclasses import replace

from variants.catalog.code_2012 import CODE
from variants.catalog.edits import WITH_WEIGHTS, each, named, ungroup, with_init
from variants.catalog.paper import PAPER
from variants.catalog.row import Variant
from variants.layers import LRN, AdaptivePool, BatchNorm, Init, Pool
from variants.spec import AlexNetSpec

BIASED = ("conv2", "conv4", "conv5", "fc6", "fc7")  # layers whose biases start at 1 in the paper

_FROM_227 = replace(PAPER, input_size=227).but(conv1={"rule": "floor"})

CAFFE_ALEXNET = with_init(
    with_init(
        each(_FROM_227, named(PAPER, LRN), k=1.0, divide_by_size=True, groups=1),
        ("fc6", "fc7"),
        std=0.005,
    ),
    BIASED,
    bias=0.1,
)

ONE_WEIRD_TRICK = (
    each(
        each(ungroup(PAPER), named(PAPER, Pool), rule="floor"),
        named(PAPER, WITH_WEIGHTS),
        init=Init(scheme="torch"),
    )
    .without("norm1", "norm2")
    .but(conv1={"out": 64, "padding": 2, "rule": "floor"}, conv2={"out": 192}, conv4={"out": 256})
    .after("pool5", AdaptivePool(name="avgpool", size=6))
    .move("drop6", after="avgpool")
    .move("drop7", after="relu6")
)


def _batch_normalised() -> AlexNetSpec:
    net = each(_FROM_227, named(PAPER, WITH_WEIGHTS), init=Init(scheme="he_normal"))
    net = net.without("norm1", "norm2", "drop6", "drop7").before("conv1", BatchNorm(name="bn_data"))
    for name in named(PAPER, WITH_WEIGHTS)[:-1]:
        net = net.after(name, BatchNorm(name=f"bn{name[-1]}", affine=False))
    return net


ZFNET = (
    with_init(ungroup(PAPER), BIASED, bias=0.0)
    .but(
        conv1={"kernel": 7, "stride": 2, "padding": 1, "rule": "floor"},
        conv2={"stride": 2, "padding": 0},
    )
    .move("norm1", after="pool1")
    .move("norm2", after="pool2")
)


DERIVATIVE_ROWS = (
    Variant(
        name="caffe_alexnet",
        family="derivative",
        meaning="Caffe's bvlc_alexnet: 227 pixels, biases of .1, response norm with k = 1 across both "
        "columns",
        source="CF models/bvlc_alexnet/train_val.prototxt",
        expects="about the error of run 145 on the centre crop",
        spec=CAFFE_ALEXNET,
        recipe="caffe",
        published=("caffe.alexnet",),
        readings=(
            "Caffe has groups in convolutions but not in norms, so its norms read the maps of both "
            "columns",
        ),
    ),
    Variant(
        name="caffenet",
        family="derivative",
        meaning="Caffe's reference CaffeNet: caffe_alexnet with pools before norms and biases of 1",
        source="CF models/bvlc_reference_caffenet/train_val.prototxt",
        expects="the same error as caffe_alexnet, with smaller maps to normalise",
        spec=with_init(CAFFE_ALEXNET, BIASED, bias=1.0)
        .move("norm1", after="pool1")
        .move("norm2", after="pool2"),
        recipe="caffe",
        published=("caffe.caffenet",),
    ),
    Variant(
        name="one_weird_trick",
        family="derivative",
        meaning="torchvision's alexnet: no columns, no norms, dropout before fc6 and fc7",
        source="arXiv 1404.5997; torchvision models/alexnet.py",
        expects="about one point more error than run 145 on the centre crop",
        spec=ONE_WEIRD_TRICK,
        recipe="torchvision",
        published=("torchvision.alexnet",),
        readings=(
            "torchvision's widths, layer order and initialisation; the net of arXiv 1404.5997 itself "
            "is owt_2014",
        ),
    ),
    Variant(
        name="owt_2014",
        family="derivative",
        meaning="cuda-convnet2's one-GPU net: 64-192-384-256-256, norm before ReLU in layer 1, fc8 "
        "biases of -7",
        source="K2 layers/layers-imagenet-1gpu.cfg; arXiv 1404.5997",
        expects="run 145's error without columns and with fewer kernels",
        spec=with_init(ungroup(CODE).without("rnorm2"), ("fc8",), bias=-7.0).but(
            conv1={"out": 64}, conv2={"out": 192}, conv4={"out": 256}
        ),
        recipe="owt_2014",
        published=("owt_2014.ten_view",),
    ),
    Variant(
        name="alexnet_bn",
        family="derivative",
        meaning="cvjena's AlexNet: batch norm on the data and before each ReLU, no LRN, no dropout",
        source="cvjena/cnn-models@a0ade4d AlexNet_cvgj/train.prototxt",
        expects="lower error than Caffe's AlexNet",
        spec=_batch_normalised(),
        recipe="cvgj",
        published=("cvjena.alexnet_bn",),
        readings=("only the batch norm on the data has scale and shift; the other ones have neither",),
    ),
    Variant(
        name="cnn_f",
        family="derivative",
        meaning="Chatfield's fast net (VGG-F): 64-256-256-256-256, no columns",
        source="arXiv 1405.3531, table 1; MatConvNet pretrained.md (vgg-f)",
        expects="lower error than Caffe's AlexNet with fewer kernels in conv1, conv3 and conv4",
        spec=with_init(ungroup(PAPER), BIASED, bias=0.0).but(
            conv1={"out": 64, "rule": "floor"}, conv3={"out": 256}, conv4={"out": 256}
        ),
        published=("matconvnet.vgg_f",),
        readings=(
            "conv1 gives 54 positions by the floor rule; pools by the ceil rule give 27, 13 and 6",
            "trained by the paper's recipe here; the initial weights and biases are our choice",
        ),
    ),
    Variant(
        name="zfnet",
        family="derivative",
        meaning="Zeiler and Fergus' net: 7x7 conv1 with stride 2, conv2 with stride 2, no columns, "
        "pools before norms",
        source="ZF fig. 3, sec. 3; table 3 (our model)",
        expects="lower error: smaller kernels and strides in conv1 keep more detail of the image",
        spec=ZFNET,
        published=("zf.zfnet",),
        readings=(
            "conv1 is padded by 1 (224 gives 110), conv2 isn't (55 gives 26); the norms have the "
            "paper's constants",
            "trained by the paper's recipe here; their recipe had ten fixed crops and rescaled kernels "
            "of large norm",
        ),
    ),
)
