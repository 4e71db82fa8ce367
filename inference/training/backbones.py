"""Start a network from an ImageNet backbone that lies in the data folder."""

from pathlib import Path

from safetensors.torch import load_file

from inference.architectures import PooledClassifier, build

STEM = {"mobilenet_v2": 7}
"""Leading feature stages kept frozen: what they see in a photo, they see in a radiograph."""

TERMS = {"mobilenet_v2": "MIT / BSD-3-Clause (torchvision)"}
"""Terms of the ImageNet weights, as their source states them."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def from_imagenet(name: str, outputs: int, weights: Path) -> PooledClassifier:
    """Return `name` with the ImageNet features and a fresh head.

    Parameters
    ----------
    name : str
        A key of `STEM`.
    outputs : int
        Number of labels.
    weights : Path
        Folder that holds ``<name>_imagenet.safetensors``, in torchvision's layout.
    """
    network = build(name, outputs)
    stored = load_file(weights / f"{name}_imagenet.safetensors")
    network.features.load_state_dict(
        {
            key.removeprefix("features."): value
            for key, value in stored.items()
            if key.startswith("features.")
        }
    )
    return network
