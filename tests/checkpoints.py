"""Random DenseNet-121 checkpoints in the layouts of other projects, for tests."""

import io
import re
from collections import OrderedDict
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from inference.torchvision_compat import torchvision_models


@cache
def densenet(*, channels: int, outputs: int) -> nn.Module:
    """Return torchvision's own DenseNet-121 with random weights, statistics that fit them,
    and another first and last layer."""
    torch.manual_seed(7)
    network = torchvision_models().densenet121(weights=None)
    if channels != 3:
        network.features.conv0 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
    network.classifier = nn.Linear(1024, outputs)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        network.train()(1024.0 * torch.randn(2, channels, 64, 64))
    return network.eval()


def torchxrayvision(**more: Tensor) -> dict[str, Tensor]:
    """Return the tensors as torchxrayvision names them; `more` adds ``op_threshs``."""
    return dict(densenet(channels=1, outputs=18).state_dict(), **more)


def chexnet() -> dict[str, Any]:
    """Return a checkpoint as the oldest CheXNet reproductions have it: a parallel network in a
    wrapper, a sigmoid after the classifier, the names of torch 0.3."""
    tensors = {}
    for name, tensor in densenet(channels=3, outputs=14).state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        old = re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", name)
        old = old.replace("classifier.", "classifier.0.")
        tensors[f"module.densenet121.{old}"] = tensor
    return {"epoch": 3, "state_dict": OrderedDict(tensors), "best_loss": 0.15, "optimizer": {}}


def saved(checkpoint: Any, **how: Any) -> bytes:
    """Return what ``torch.save`` writes."""
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer, **how)
    return buffer.getvalue()
