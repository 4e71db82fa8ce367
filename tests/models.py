"""Small model folders and runtimes for tests; nothing here is trained."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from safetensors.torch import save

from inference.architectures import build
from inference.runtime import RawOutput

ARCHITECTURE = "mobilenet_v2"
SIZE = 64


def label(key: str, **more: Any) -> dict[str, Any]:
    """Return one label of a manifest: a finding, present from 0.5, absent below 0.4."""
    point = {"present_at": 0.5, "absent_below": 0.4}
    return {"key": key, "role": "finding", "operating_point": point, **more}


def model_folder(root: Path, *, head_bias: list[float] | None = None, **changes: Any) -> Path:
    """Write a model folder under `root` and return it.

    The network is random but the same each time. `head_bias` sets the bias of the last
    layer, so that a test decides what the model says; its weights are made small against it
    and positive, so that every label has a heat map.
    """
    labels = changes.pop("labels", [label("effusion"), label("mass")])
    torch.manual_seed(0)
    network = build(ARCHITECTURE, len(labels)).eval()
    if head_bias is not None:
        with torch.no_grad():
            network.head.weight.abs_().mul_(0.01)
            network.head.bias.copy_(torch.tensor(head_bias))
    weights = save(network.state_dict())
    manifest = {
        "name": "test-findings",
        "version": "0.0.1",
        "task": "chest_findings",
        "architecture": ARCHITECTURE,
        "description": "Random weights for tests.",
        "licence": "none",
        "input": {
            "size": SIZE,
            "mean": [0.5, 0.5, 0.5],
            "std": [0.25, 0.25, 0.25],
            "preprocessing": "px-1",
        },
        "labels": labels,
        "data": {},
        "metrics": {},
        "training": {},
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    manifest.update(changes)
    folder = root / str(manifest["name"])
    folder.mkdir(parents=True)
    (folder / "weights.safetensors").write_bytes(weights)
    (folder / "model.yaml").write_text(yaml.safe_dump(manifest), encoding="utf-8")
    return folder


class SumRuntime:
    """A runtime whose one logit is the sum of the input; a negative input makes it fail.

    It keeps the sizes of the batches it was given.
    """

    name, device, precision = "sum", "cpu", "float32"

    def __init__(self) -> None:
        self.batches: list[int] = []

    def run(self, batch: NDArray[np.float32]) -> RawOutput:
        self.batches.append(len(batch))
        if (batch < 0).any():
            raise ValueError("negative")
        logits = batch.sum(axis=(1, 2, 3))[:, np.newaxis]
        return RawOutput(logits, np.ones((len(batch), 1, 2, 2), dtype=np.float32))
