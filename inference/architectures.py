"""The networks that a ``model.yaml`` may name, all with one shape of answer.

Every network here ends in feature maps after a ReLU, global average pooling and one
linear layer. For that form Grad-CAM has a closed form that needs no backward pass: the map
of label l is ``relu(sum over c of head.weight[l, c] * maps[:, c])``, up to the constant
1/(h*w) that scaling the map to [0, 1] removes (`closed_form_cam`). The maps must be taken
*after* the last ReLU: DenseNet's last batch norm has its ReLU outside ``features`` in
torchvision, and before it the closed form does not hold.

Constructors never download anything: weights come from the model folder.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from inference.efficientnet_lite import CHANNELS, efficientnet_lite0
from inference.small_cnn import CHANNELS as SMALL_CHANNELS
from inference.small_cnn import small_cnn
from inference.torchvision_compat import torchvision_models


class PooledClassifier(nn.Module):
    """Feature maps, global average pooling, one linear layer.

    Parameters
    ----------
    features : nn.Sequential
        From images (N, 3, H, W) to non-negative maps (N, C, h, w).
    channels : int
        C, the number of maps.
    outputs : int
        L, the number of labels.
    """

    def __init__(self, features: nn.Sequential, *, channels: int, outputs: int) -> None:
        super().__init__()
        self.features = features
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(channels, outputs)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits (N, L) and the last feature maps (N, C, h, w)."""
        maps = self.features(images)
        return self.classify(maps), maps

    def classify(self, maps: Tensor) -> Tensor:
        """Return the logits (N, L) of feature maps (N, C, h, w)."""
        logits: Tensor = self.head(self.dropout(maps.mean(dim=(2, 3))))
        return logits


def closed_form_cam(head: nn.Linear, maps: Tensor) -> Tensor:
    """Return the Grad-CAM of every label from one forward pass.

    Parameters
    ----------
    head : nn.Linear
        The last layer, weights (L, C).
    maps : Tensor, shape (N, C, h, w)
        What the network's `forward` returned beside the logits.

    Returns
    -------
    Tensor, shape (N, L, h, w)
        Grad-CAM before any scaling, as the gradient of each logit gives it: the channel
        weight is the mean gradient over the map, ``head.weight / (h * w)``.
    """
    height, width = maps.shape[-2:]
    weighted = torch.einsum("lc,nchw->nlhw", head.weight, maps) / (height * width)
    return torch.relu(weighted)


def build(name: str, outputs: int) -> PooledClassifier:
    """Return an untrained network.

    Parameters
    ----------
    name : str
        One of `ARCHITECTURES`.
    outputs : int
        Number of labels.

    Raises
    ------
    KeyError
        When no network of that name is known.
    """
    if name not in ARCHITECTURES:
        raise KeyError(f"no architecture of that name; known: {', '.join(sorted(ARCHITECTURES))}")
    features, channels = ARCHITECTURES[name]()
    return PooledClassifier(features, channels=channels, outputs=outputs)


def _mobilenet_v2() -> tuple[nn.Sequential, int]:
    network = torchvision_models().mobilenet_v2(weights=None)
    return network.features, 1280


def _densenet121() -> tuple[nn.Sequential, int]:
    network = torchvision_models().densenet121(weights=None)
    return nn.Sequential(*network.features, nn.ReLU()), 1024


def _resnet18() -> tuple[nn.Sequential, int]:
    network = torchvision_models().resnet18(weights=None)
    return nn.Sequential(*list(network.children())[:-2]), 512


def _efficientnet_lite0() -> tuple[nn.Sequential, int]:
    return efficientnet_lite0(), CHANNELS


def _small_cnn() -> tuple[nn.Sequential, int]:
    return small_cnn(), SMALL_CHANNELS


ARCHITECTURES: dict[str, Callable[[], tuple[nn.Sequential, int]]] = {
    "mobilenet_v2": _mobilenet_v2,
    "densenet121": _densenet121,
    "efficientnet_lite0": _efficientnet_lite0,
    "resnet18": _resnet18,
    "small_cnn": _small_cnn,
}
