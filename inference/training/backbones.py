"""Start a network from a trained backbone that lies in the data folder."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from inference.architectures import PooledClassifier, build
from inference.efficientnet_lite import stored_names

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_LITE_MEAN, _LITE_STD = 127 / 255, 128 / 255
"""What the EfficientNet-Lite weights were trained with, every channel alike."""


@dataclass(frozen=True, slots=True)
class Backbone:
    """Trained features that a network may start from."""

    file: str
    """In the folder of the weights, in its source's layout."""

    learned_from: str
    terms: str
    """Of the weights, as their source states them."""

    load: Callable[[nn.Sequential, Path], None]
    """Puts the file's weights into the features, for input with ImageNet's mean and std."""

    knows_radiographs: bool = False
    """Whether what it had learned from were radiographs."""


def pretrained(name: str, outputs: int, weights: Path) -> PooledClassifier:
    """Return `name` with trained features and a fresh head, for ImageNet's mean and std.

    Parameters
    ----------
    name : str
        A key of `BACKBONES`.
    outputs : int
        Number of labels.
    weights : Path
        Folder that holds the backbone's file.
    """
    network = build(name, outputs)
    backbone = BACKBONES[name]
    backbone.load(network.features, weights / backbone.file)
    return network


def _torchvision(features: nn.Sequential, file: Path) -> None:
    stored = load_file(file)
    features.load_state_dict(
        {
            key.removeprefix("features."): value
            for key, value in stored.items()
            if key.startswith("features.")
        }
    )


def _efficientnet_lite(features: nn.Sequential, file: Path) -> None:
    """Load by order; fold the change of normalisation into the first convolution.

    The shift goes into the running mean behind it, which is exact but at the border, where
    the padding stands for another grey.
    """
    stored = load_file(file)
    stem, shift = "_conv_stem.weight", (torch.tensor(IMAGENET_MEAN) - _LITE_MEAN) / _LITE_STD
    folded = dict(stored)
    folded[stem] = stored[stem] * (torch.tensor(IMAGENET_STD) / _LITE_STD)[None, :, None, None]
    folded["_bn0.running_mean"] = stored["_bn0.running_mean"] - torch.einsum(
        "oikl,i->o", stored[stem], shift
    )
    layers = [m for m in features.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)]
    names = [name for pair in stored_names() for name in pair]
    for name, layer in zip(names, layers, strict=True):
        layer.load_state_dict({key: folded[f"{name}.{key}"] for key in layer.state_dict()})


def _onnx_convolutions(features: nn.Sequential, file: Path) -> None:
    """Load the convolutions of an ONNX graph, in its order.

    Its input is one grey channel, normalised like ImageNet's first, which is the only one that
    the stem then looks at.
    """
    import onnx  # noqa: PLC0415 - of the extra `train` only

    graph = onnx.load(file).graph
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    tensors = [
        [torch.tensor(stored[name]) for name in node.input if name in stored]
        for node in graph.node
        if node.op_type == "Conv"
    ]
    layers = [module for module in features.modules() if isinstance(module, nn.Conv2d)]
    stem = torch.zeros_like(layers[0].weight)
    stem[:, :1] = tensors[0][0]
    tensors[0][0] = stem
    for layer, (weight, bias) in zip(layers, tensors, strict=True):
        layer.load_state_dict({"weight": weight, "bias": bias})


BACKBONES = {
    "mobilenet_v2": Backbone(
        "mobilenet_v2_imagenet.safetensors",
        "ImageNet",
        "MIT / BSD-3-Clause (torchvision)",
        _torchvision,
    ),
    "efficientnet_lite0": Backbone(
        "efficientnet_lite0_imagenet.safetensors",
        "ImageNet",
        "Apache-2.0 (TensorFlow, efficientnet_lite_pytorch)",
        _efficientnet_lite,
    ),
    "mobilenet_v3_small": Backbone(
        "nih15_mobilenetv3s_dequant_fp32.onnx",
        "ChestX-ray14 images with at most one finding",
        "MIT, as its page says",
        _onnx_convolutions,
        knows_radiographs=True,
    ),
}
