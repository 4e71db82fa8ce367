"""The network that a training begins with, and where its weights came from."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from audit.errors import InvalidConfiguration
from inference.architectures import PooledClassifier, build
from inference.training.backbones import BACKBONES, pretrained
from inference.training.workbench.task import TrainingTask


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """A network about to learn."""

    network: PooledClassifier
    pretrained: bool
    told: str
    """Where the weights came from, for the manifest."""


def start(task: TrainingTask, outputs: int, weights: Path | None, folders: list[Path]) -> Start:
    """Return the starting network of a task.

    Parameters
    ----------
    task : TrainingTask
    outputs : int
        Number of outputs.
    weights : Path, optional
        A model folder's ``weights.safetensors`` of the same network (its features are taken,
        not its head), or a folder that holds the network's file of `BACKBONES`.
    folders : list of Path
        Where that file may lie when `weights` is not given.

    Raises
    ------
    InvalidConfiguration
        When `weights` is given and does not hold what the network needs.
    """
    torch.manual_seed(task.seed)
    if not task.pretrained:
        return Start(build(task.network, outputs), pretrained=False, told="random")
    if weights is not None and weights.is_file():
        network = build(task.network, outputs)
        _load_features(network, weights)
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        return Start(network, pretrained=True, told=f"features of a file, sha256 {digest}")
    backbone = BACKBONES.get(task.network)
    for folder in [weights] if weights is not None else folders:
        if backbone is not None and (folder / backbone.file).is_file():
            network = pretrained(task.network, outputs, folder)
            digest = hashlib.sha256((folder / backbone.file).read_bytes()).hexdigest()
            told = f"{backbone.learned_from}, sha256 {digest}"
            return Start(network, pretrained=True, told=told)
    if weights is not None:
        wanted = f"{backbone.file} there" if backbone else f"backbone of {task.network} is known"
        raise InvalidConfiguration([f"--weights: no {wanted}, and no such file"])
    return Start(build(task.network, outputs), pretrained=False, told="random: no others at hand")


def _load_features(network: PooledClassifier, weights: Path) -> None:
    try:
        stored = load_file(weights)
    except (OSError, SafetensorError, KeyError) as error:  # KeyError: kinds torch has not
        raise InvalidConfiguration([f"--weights: {weights.name} is no safetensors file"]) from error
    prefix = "features."
    features = {k.removeprefix(prefix): v for k, v in stored.items() if k.startswith(prefix)}
    try:
        network.features.load_state_dict(features)
    except RuntimeError as error:
        raise InvalidConfiguration(
            [f"--weights: the features of {weights.name} are not those of the task's network"]
        ) from error
