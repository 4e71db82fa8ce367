"""Import ``torchvision.models`` also where torchvision's compiled operators cannot load.

The published torchvision wheels are built against the CUDA torch. Beside a CPU torch
their library of operators does not load, and the plain import ends with ``RuntimeError:
operator torchvision::nms does not exist``, because a fake kernel is registered for an
operator nobody declared. Declaring its schema first makes the models work; detection
operators stay unavailable, and nothing here needs them.
"""

import importlib
import sys
from types import ModuleType

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[torch.library.Library] = []
"""Keeps the declarations alive: a library undoes them when it is collected."""


def torchvision_models() -> ModuleType:
    """Return ``torchvision.models``, after declaring missing operators if it needs that.

    Raises
    ------
    RuntimeError
        When the import fails for any other reason than a missing operator schema.
    """
    try:
        return importlib.import_module("torchvision.models")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
    _forget_half_imported()
    declare_operators()
    return importlib.import_module("torchvision.models")


def declare_operators() -> None:
    """Declare the schemas of the operators that torchvision registers fakes for; once."""
    if _declared:
        return
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for schema in _SCHEMAS:
        library.define(schema)  # type: ignore[no-untyped-call]
    _declared.append(library)


def _forget_half_imported() -> None:
    """Drop what the failed import left in ``sys.modules``, so that it starts afresh."""
    for name in [n for n in sys.modules if n == "torchvision" or n.startswith("torchvision.")]:
        del sys.modules[name]
