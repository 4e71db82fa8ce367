"""Read the tensors of a checkpoint without running anything that is in it.

safetensors, or what ``torch.save`` wrote, read with ``weights_only=True``. Older projects saved
the whole network instead of its tensors. Such a file is read too: every class that it may
name is replaced by `_Inert`, which only keeps what it is given, so that the class itself is
neither imported nor called. A name outside `_CLASSES` ends the import, and so does a
whole network in the format before torch 1.6, which carries its source code.
"""

import io
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from audit.errors import Rejected

_CONTAINERS = ("state_dict", "model_state_dict", "model", "net")
"""Under which key a checkpoint with more in it keeps the network."""

_CLASSES = tuple(
    f"{module}.{name}"
    for module, names in {
        "torchxrayvision.models": ("DenseNet", "_DenseBlock", "_DenseLayer", "_Transition"),
        "torchvision.models.densenet": ("DenseNet", "_DenseBlock", "_DenseLayer", "_Transition"),
        "torch.nn.parallel.data_parallel": ("DataParallel",),
        "torch.nn.modules.container": ("Sequential", "ModuleDict"),
        "torch.nn.modules.conv": ("Conv2d",),
        "torch.nn.modules.batchnorm": ("BatchNorm2d",),
        "torch.nn.modules.activation": ("ReLU", "Sigmoid"),
        "torch.nn.modules.pooling": ("MaxPool2d", "AvgPool2d", "AdaptiveAvgPool2d"),
        "torch.nn.modules.dropout": ("Dropout",),
        "torch.nn.modules.linear": ("Linear",),
        "torch.nn.backends.thnn": ("_get_thnn_function_backend",),
        "numpy.core.multiarray": ("scalar",),
        "numpy._core.multiarray": ("scalar",),
        "numpy": ("dtype",),
    }.items()
    for name in names
)


class UnusableCheckpoint(Rejected):
    """The file is not a checkpoint that can be imported, or not the one that was asked for."""

    code = "inference.checkpoint.unusable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What a checkpoint file holds."""

    tensors: Mapping[str, Tensor]
    """By name, as the network that was saved calls them."""

    targets: tuple[str, ...] = ()
    """The names of its outputs, where the file holds the whole network and it knew them."""


class _Inert:
    """In place of any class that a checkpoint names: keeps the state, does nothing."""

    state: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, *_: Any) -> None:
        """Take whatever the class took."""

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.state = state


def read_checkpoint(content: bytes) -> Checkpoint:
    """Return what the bytes of a checkpoint file hold.

    Raises
    ------
    UnusableCheckpoint
        When they are neither safetensors nor a torch file, ask for anything but tensors and
        the classes of known networks, or hold no tensors or tensors of an unknown kind.
    """
    if not _is_safetensors(content) and _is_pickle(content):
        try:
            return _network_of(_unpickled(content))
        except RecursionError as error:
            raise UnusableCheckpoint("the torch file holds itself") from error
    try:
        return Checkpoint(tensors=safetensors.torch.load(content))
    except SafetensorError as error:
        raise UnusableCheckpoint("the file is neither safetensors nor a torch file") from error
    except KeyError as error:  # a kind of number that the format has and torch has not
        raise UnusableCheckpoint("the safetensors hold numbers of a kind not read here") from error


def _is_safetensors(content: bytes) -> bool:
    """Return whether a JSON header of a length that fits begins the bytes.

    The length comes first, and its lowest byte may be the one that pickles begin with.
    """
    return content[8:9] == b"{" and int.from_bytes(content[:8], "little") <= len(content) - 8


def _is_pickle(content: bytes) -> bool:
    return content[:1] == b"\x80" or zipfile.is_zipfile(io.BytesIO(content))


def _unpickled(content: bytes) -> Any:
    allowed = [(_Inert, name) for name in _CLASSES]
    try:
        with torch.serialization.safe_globals(allowed):  # type: ignore[arg-type] # pairs are documented
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UnusableCheckpoint(
            "the file is a pickle that asks for more than tensors, and was not opened; where you "
            "trust it, load it on another machine and save its tensors alone with "
            "torch.save(model.state_dict(), ...)"
        ) from error
    except Exception as error:
        raise UnusableCheckpoint("the torch file is damaged") from error


def _network_of(saved: Any) -> Checkpoint:
    """Find the network in what was saved: itself, its tensors, or either under a known key."""
    if isinstance(saved, _Inert):
        inner = _children(saved, "_modules").get("module")
        if isinstance(inner, _Inert) and len(_children(saved, "_modules")) == 1:
            return _network_of(inner)  # DataParallel
        names = saved.state.get("pathologies", saved.state.get("targets", ()))
        targets = tuple(str(name) for name in names) if isinstance(names, list | tuple) else ()
        return _nonempty(_plain_thresholds(saved) | dict(_tensors_of(saved, "")), targets)
    if isinstance(saved, Mapping):
        for key in _CONTAINERS:
            if isinstance(saved.get(key), Mapping | _Inert):
                return _network_of(saved[key])
        return _nonempty({str(k): v for k, v in saved.items() if isinstance(v, Tensor)})
    return _nonempty({})


def _plain_thresholds(module: _Inert) -> dict[str, Tensor]:
    """Return torchxrayvision's operating points where they are a list and no buffer."""
    points = module.state.get("op_threshs")
    if not isinstance(points, list | tuple):
        return {}
    try:
        return {"op_threshs": torch.tensor([float(point) for point in points])}
    except (TypeError, ValueError) as error:
        raise UnusableCheckpoint("op_threshs must be numbers") from error


def _nonempty(tensors: Mapping[str, Tensor], targets: tuple[str, ...] = ()) -> Checkpoint:
    if not tensors:
        raise UnusableCheckpoint("the file holds no network that can be found in it")
    return Checkpoint(tensors=tensors, targets=targets)


def _tensors_of(module: _Inert, prefix: str) -> Iterator[tuple[str, Tensor]]:
    for kind in ("_parameters", "_buffers"):
        for name, value in _children(module, kind).items():
            if isinstance(value, Tensor):
                yield f"{prefix}{name}", value.detach()
    for name, child in _children(module, "_modules").items():
        if isinstance(child, _Inert):
            yield from _tensors_of(child, f"{prefix}{name}.")


def _children(module: _Inert, kind: str) -> Mapping[str, Any]:
    found = module.state.get(kind)
    return found if isinstance(found, Mapping) else {}
