"""Start a network from an ImageNet backbone that lies in the data folder."""

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from inference.architectures import PooledClassifier, build

STEM = {"mobilenet_v2": 7, "efficientnet_lite0": 6}
"""Leading feature stages kept frozen: what they see in a photo, they see in a radiograph."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def from_imagenet(name: str, outputs: int, weights: Path) -> PooledClassifier:
    """Return `name` with the ImageNet features and a fresh head.

    Parameters
    ----------
    name : str
        ``mobilenet_v2`` or ``efficientnet_lite0``.
    outputs : int
        Number of labels.
    weights : Path
        Folder that holds ``<name>_imagenet.safetensors``.
    """
    network = build(name, outputs)
    stored = load_file(weights / f"{name}_imagenet.safetensors")
    if name == "mobilenet_v2":
        features = {
            key.removeprefix("features."): value
            for key, value in stored.items()
            if key.startswith("features.")
        }
    else:
        features = _lite_names(stored)
    network.features.load_state_dict(features)
    return network


def _lite_names(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """Translate the names of the public EfficientNet-lite0 file to ours."""
    blocks = 1 + max(int(key.split(".")[1]) for key in stored if key.startswith("_blocks."))
    parts = {"_conv_stem": "0.1", "_bn0": "0.2", "_conv_head": f"{blocks + 1}.1"}
    parts["_bn1"] = f"{blocks + 1}.2"
    inner = {
        "_expand_conv": "expand.1",
        "_bn0": "expand.2",
        "_depthwise_conv": "depthwise.1",
        "_bn1": "depthwise.2",
        "_project_conv": "project.1",
        "_bn2": "project.2",
    }
    renamed: dict[str, Tensor] = {}
    for key, value in stored.items():
        pieces = key.split(".")
        if pieces[0] == "_fc":
            continue
        if pieces[0] == "_blocks":
            renamed[f"{int(pieces[1]) + 1}.{inner[pieces[2]]}.{pieces[3]}"] = value
        else:
            renamed[f"{parts[pieces[0]]}.{pieces[1]}"] = value
    return renamed
