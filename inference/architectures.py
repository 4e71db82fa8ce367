"""The networks that a ``model.yaml`` may name, all with one shape of answer.

Every network here ends in feature maps after an activation, global average pooling and one
linear layer. For that form Grad-CAM has a closed form that needs no backward pass: the map
of label l is ``relu(sum over c of head.weight[l, c] * maps[:, c])``, up to the constant
1/(h*w) that scaling the map to [0, 1] removes (`PooledClassifier.cams`). The maps must be taken
*after* the last activation: DenseNet's last batch norm has its ReLU outside ``features`` in
torchvision, and before it the closed form does not hold.

Several of them side by side are a network of the same form: a name like
``mobilenet_v2+efficientnet_lite0`` lays the maps of its members over one another, and one
linear layer reads them all. Grad-CAM is asked for at one layer: that of the first member, which
is to be the one that looks most closely at places.

Constructors never download anything: weights come from the model folder.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from inference.efficientnet_lite import CHANNELS, efficientnet_lite0
from inference.mobilenet_v3 import CHANNELS as V3_CHANNELS
from inference.mobilenet_v3 import mobilenet_v3_small
from inference.small_cnn import CHANNELS as SMALL_CHANNELS
from inference.small_cnn import small_cnn
from inference.torchvision_compat import torchvision_models

BESIDE = "+"
"""Between the names of the members of one network."""


class Features(NamedTuple):
    """What makes maps of images."""

    stages: nn.Sequential
    channels: int
    """Number of maps."""

    stride: int
    """Side of an image over the side of its maps."""


class PooledClassifier(nn.Module):
    """Feature maps, global average pooling, one linear layer.

    Parameters
    ----------
    features : nn.Sequential
        From images (N, 3, H, W) to maps (N, C, h, w).
    channels : int
        C, the number of maps.
    outputs : int
        L, the number of labels.
    explained : int, optional
        How many of the maps, from the first, Grad-CAM is taken at; all of them by default.
    """

    def __init__(
        self, features: nn.Sequential, *, channels: int, outputs: int, explained: int | None = None
    ) -> None:
        super().__init__()
        self.features = features
        self.explained = explained or channels
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

    def cams(self, maps: Tensor) -> Tensor:
        """Return the Grad-CAM of every label from one forward pass.

        Parameters
        ----------
        maps : Tensor, shape (N, C, h, w)
            What `forward` returned beside the logits.

        Returns
        -------
        Tensor, shape (N, L, h, w)
            Grad-CAM at the `explained` maps before any scaling, as the gradient of each logit
            gives it: the channel weight is the mean gradient over the map,
            ``head.weight / (h * w)``.
        """
        height, width = maps.shape[-2:]
        weight, maps = self.head.weight[:, : self.explained], maps[:, : self.explained]
        return torch.relu(torch.einsum("lc,nchw->nlhw", weight, maps) / (height * width))


class SideBySide(nn.Module):
    """The maps of several feature extractors of one stride, in the order of the members."""

    def __init__(self, members: Sequence[nn.Sequential]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images: Tensor) -> Tensor:
        """Return the maps (N, sum of C, h, w) of images (N, 3, H, W)."""
        return torch.cat([member(images) for member in self.members], dim=1)


def build(name: str, outputs: int) -> PooledClassifier:
    """Return an untrained network.

    Parameters
    ----------
    name : str
        One of `ARCHITECTURES`, or several joined by ``+``.
    outputs : int
        Number of labels.

    Raises
    ------
    KeyError
        When no network of that name is known.
    ValueError
        When the maps of the members have different sizes.
    """
    names = name.split(BESIDE)
    if not set(names) <= set(ARCHITECTURES):
        raise KeyError(f"no architecture of that name; known: {', '.join(sorted(ARCHITECTURES))}")
    members = [ARCHITECTURES[each]() for each in names]
    if len({member.stride for member in members}) > 1:
        raise ValueError(f"{name}: networks side by side need maps of one size")
    stages = [member.stages for member in members]
    features = stages[0] if len(stages) == 1 else nn.Sequential(SideBySide(stages))
    channels = sum(member.channels for member in members)
    return PooledClassifier(
        features, channels=channels, outputs=outputs, explained=members[0].channels
    )


def averaged(members: Sequence[PooledClassifier]) -> PooledClassifier:
    """Return trained networks with the same labels as one, whose logits are the mean of theirs.

    It is what `build` makes of their names joined by ``+``, and keeps their features.
    """
    if len(members) == 1:
        return members[0]
    heads = [member.head for member in members]
    joined = PooledClassifier(
        nn.Sequential(SideBySide([member.features for member in members])),
        channels=sum(head.in_features for head in heads),
        outputs=heads[0].out_features,
        explained=heads[0].in_features,
    )
    with torch.no_grad():
        joined.head.weight.copy_(torch.cat([head.weight for head in heads], dim=1) / len(heads))
        joined.head.bias.copy_(torch.stack([head.bias for head in heads]).mean(dim=0))
    return joined.eval()


def _mobilenet_v2() -> Features:
    network = torchvision_models().mobilenet_v2(weights=None)
    return Features(network.features, 1280, 32)


def _densenet121() -> Features:
    network = torchvision_models().densenet121(weights=None)
    return Features(nn.Sequential(*network.features, nn.ReLU()), 1024, 32)


def _resnet18() -> Features:
    network = torchvision_models().resnet18(weights=None)
    return Features(nn.Sequential(*list(network.children())[:-2]), 512, 32)


def _efficientnet_lite0() -> Features:
    return Features(efficientnet_lite0(), CHANNELS, 32)


def _mobilenet_v3_small() -> Features:
    return Features(mobilenet_v3_small(), V3_CHANNELS, 32)


def _small_cnn() -> Features:
    return Features(small_cnn(), SMALL_CHANNELS, 16)


ARCHITECTURES: dict[str, Callable[[], Features]] = {
    "mobilenet_v2": _mobilenet_v2,
    "densenet121": _densenet121,
    "efficientnet_lite0": _efficientnet_lite0,
    "mobilenet_v3_small": _mobilenet_v3_small,
    "resnet18": _resnet18,
    "small_cnn": _small_cnn,
}
