"""A training's state in one safetensors file, replaced whole: a kill leaves the old one."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from inference.training.whole import whole

_STATE = "state"


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """Tensors by name, and everything else as JSON."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write `checkpoint`: first beside, on disk, then in the place of the old one."""
    tensors = {
        name: value.detach().cpu().contiguous().clone()
        for name, value in checkpoint.tensors.items()
    }
    with whole(path) as stream:
        stream.write(save(tensors, metadata={_STATE: json.dumps(checkpoint.state)}))


def read_checkpoint(path: Path) -> Checkpoint | None:
    """Return what `write_checkpoint` wrote; None where there is nothing whole."""
    try:
        with safe_open(path, framework="pt") as file:
            state = json.loads((file.metadata() or {})[_STATE])
            return Checkpoint({name: file.get_tensor(name) for name in file.keys()}, state)  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError, KeyError, ValueError):
        return None


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return `tensors` under names that begin with `prefix`."""
    return {f"{prefix}.{name}": value for name, value in tensors.items()}


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors that `prefixed` named, under their own names."""
    return {
        name.removeprefix(f"{prefix}."): value
        for name, value in tensors.items()
        if name.startswith(f"{prefix}.")
    }


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the moments of every parameter as tensors; rates are set anew at each step."""
    return {
        f"{index}.{name}": value
        for index, moments in optimiser.state_dict()["state"].items()
        for name, value in moments.items()
        if isinstance(value, Tensor)
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put the moments back into a new optimiser of the same parameters."""
    document = optimiser.state_dict()
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    optimiser.load_state_dict({"state": state, "param_groups": document["param_groups"]})
