"""Write a model folder: float16 weights and a manifest that pins them."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save

from inference.architectures import PooledClassifier
from inference.manifest import ModelManifest, read_manifest

LICENCE_RESEARCH = (
    "Weights: research use only, because most of the training images come without a stated "
    "licence (see data.sources). Weights they started from: {backbone_terms}. The code that "
    "trained them is Apache-2.0. Not a medical device."
)
LICENCE_NIH = (
    "Weights: free use with attribution to the NIH Clinical Center, as the images they were "
    "trained on (Wang et al., ChestX-ray8, CVPR 2017). Weights they started from: "
    "{backbone_terms}; teachers: BSD-3-Clause; MIT, as its page says. The code that trained "
    "them is Apache-2.0. For research; not a medical device."
)


def write_weights(folder: Path, network: PooledClassifier) -> str:
    """Write ``weights.safetensors`` and return its sha256.

    Matrices are stored as float16; vectors (biases, batch norm) stay float32, because a
    running variance can leave float16's range and they weigh next to nothing.
    """
    stored = save(_stored(network))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights.safetensors").write_bytes(stored)
    return hashlib.sha256(stored).hexdigest()


def round_as_stored(network: PooledClassifier) -> None:
    """Give `network` the weights that it would have after `write_weights`."""
    network.load_state_dict(_stored(network))


def _stored(network: PooledClassifier) -> dict[str, torch.Tensor]:
    tensors = {}
    for name, value in network.state_dict().items():
        small = value.dim() > 1 and value.dtype is torch.float32
        tensors[name] = (value.half() if small else value).cpu().contiguous()
    return tensors


def write_manifest(folder: Path, manifest: ModelManifest) -> None:
    """Write ``model.yaml`` and read it back, so that a broken one never stays unnoticed.

    Numbers are rounded, those of the labels apart: they decide.
    """
    document = manifest.model_dump(mode="json", exclude_defaults=True)
    document = {**plain(document), "labels": document["labels"]}
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=96)
    (folder / "model.yaml").write_text(text, encoding="utf-8")
    read_manifest(folder)


def take_place(made: Path, folder: Path) -> None:
    """Move a finished model from `made` to `folder`, weights first, and remove `made`.

    Until the manifest follows, the weights do not match the old one and nobody loads them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("weights.safetensors", "model.yaml"):
        (made / name).replace(folder / name)
    shutil.rmtree(made)


def plain(value: Any) -> Any:
    """Return `value` with numpy numbers as Python numbers and floats rounded to 1e-4."""
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if hasattr(value, "item"):
        value = value.item()
    return round(value, 4) if isinstance(value, float) else value
