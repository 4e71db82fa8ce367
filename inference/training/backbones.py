"""Start a network from an ImageNet backbone that lies in the data folder."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from inference.architectures import PooledClassifier, build
from inference.efficientnet_lite import stored_names

STEM = {"mobilenet_v2": 7, "efficientnet_lite0": 6}
"""Leading feature stages kept frozen: what they see in a photo, they see in a radiograph."""

TERMS = {
    "mobilenet_v2": "MIT / BSD-3-Clause (torchvision)",
    "efficientnet_lite0": "Apache-2.0 (TensorFlow, efficientnet_lite_pytorch)",
}
"""Terms of the ImageNet weights, as their source states them."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_LITE_MEAN, _LITE_STD = 127 / 255, 128 / 255
"""What the EfficientNet-Lite weights were trained with, every channel alike."""


def stem_length(name: str, *, frozen: int, scratch: bool) -> int:
    """Return how many leading stages stay as they are; `frozen` of 0 means the usual cut."""
    return 0 if scratch else frozen or STEM[name]


def from_imagenet(name: str, outputs: int, weights: Path) -> PooledClassifier:
    """Return `name` with the ImageNet features and a fresh head, for ImageNet's mean and std.

    Parameters
    ----------
    name : str
        A key of `STEM`.
    outputs : int
        Number of labels.
    weights : Path
        Folder that holds ``<name>_imagenet.safetensors``, in its source's layout.
    """
    network = build(name, outputs)
    _LAYOUTS[name](network.features, load_file(weights / f"{name}_imagenet.safetensors"))
    return network


def _torchvision(features: nn.Sequential, stored: Mapping[str, Tensor]) -> None:
    features.load_state_dict(
        {
            key.removeprefix("features."): value
            for key, value in stored.items()
            if key.startswith("features.")
        }
    )


def _efficientnet_lite(features: nn.Sequential, stored: Mapping[str, Tensor]) -> None:
    """Load by order; fold the change of normalisation into the first convolution.

    The shift goes into the running mean behind it, which is exact but at the border, where
    the padding stands for another grey.
    """
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


_LAYOUTS: dict[str, Callable[[nn.Sequential, Mapping[str, Tensor]], None]] = {
    "mobilenet_v2": _torchvision,
    "efficientnet_lite0": _efficientnet_lite,
}
