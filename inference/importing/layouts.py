"""How other projects name the tensors of a DenseNet-121, and what its outputs mean (pure).

Each layout is turned into the ``densenet121`` of `inference.architectures`, tensor by tensor,
without any arithmetic. The one-channel network of torchxrayvision becomes the first of three
channels whose other weights are zero; its input range [-1024, 1024] is a mean of 1/2 and a
deviation of 1/2048. Its zero padding comes after that, as in the original.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from inference.importing.checkpoint import Checkpoint, UnusableCheckpoint
from inference.manifest import InputSpec

TORCHXRAYVISION = "torchxrayvision-densenet121"
CHEXNET = "chexnet"
LAYOUTS = (TORCHXRAYVISION, CHEXNET)

_NIH_ORDER = (
    *("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia"),
    *("Pneumothorax", "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening"),
    "Hernia",
)
_TORCHXRAYVISION_ORDER = (
    *("Atelectasis", "Consolidation", "Infiltration", "Pneumothorax", "Edema", "Emphysema"),
    *("Fibrosis", "Effusion", "Pneumonia", "Pleural_Thickening", "Cardiomegaly", "Nodule"),
    *("Mass", "Hernia", "Lung_Lesion", "Fracture", "Lung_Opacity", "Enlarged_Cardiomediastinum"),
)

_SIZE = 224
_IMAGENET = InputSpec(
    size=_SIZE, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), preprocessing="px-1"
)
_PLUS_MINUS_1024 = InputSpec(
    size=_SIZE, mean=(0.5,) * 3, std=(1.0 / 2048.0,) * 3, preprocessing="px-1"
)

_BEFORE_FEATURES = re.compile(r"^(?:[A-Za-z_]\w*\.)*?(?=features\.|classifier\.|op_threshs$)")
_OLD_NAME = re.compile(r"(\.(?:norm|conv))\.([12])\.")
_CLASSIFIER = re.compile(r"^classifier\.(?:0\.)?(weight|bias)$")
_SHAPES: dict[tuple[tuple[int, ...], tuple[int, ...]], str] = {
    ((64, 1, 7, 7), (len(_TORCHXRAYVISION_ORDER), 1024)): TORCHXRAYVISION,
    ((64, 3, 7, 7), (len(_NIH_ORDER), 1024)): CHEXNET,
}
"""What tells the layouts apart: the weights of the first layer and of the last."""

_STAGES = (
    *("conv0", "norm0", "relu0", "pool0", "denseblock1", "transition1", "denseblock2"),
    *("transition2", "denseblock3", "transition3", "denseblock4", "norm5"),
)
"""The children of torchvision's ``features``, in the order in which ours numbers them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One output of an imported network."""

    key: str
    threshold: float | None = None
    """The operating point that the checkpoint holds for it, a probability."""

    trained: bool = True
    """False where the checkpoint says that this output was never trained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A network in our naming, and what it expects and says."""

    layout: str
    tensors: dict[str, Tensor]
    outputs: tuple[Output, ...]
    input: InputSpec


def recognise(checkpoint: Checkpoint, layout: str = "auto") -> Imported:
    """Return `checkpoint` as a network of ours.

    Parameters
    ----------
    checkpoint : Checkpoint
    layout : str
        One of `LAYOUTS`, or ``auto``.

    Raises
    ------
    UnusableCheckpoint
        When its tensors are not those of a layout, or of another one than was asked for.
    """
    tensors = {_plain(name): tensor for name, tensor in checkpoint.tensors.items()}
    if len(tensors) < len(checkpoint.tensors):
        raise UnusableCheckpoint("the file holds more than one network")
    found = _SHAPES.get((_shape(tensors, r"features\.conv0"), _shape(tensors, r"classifier(\.0)?")))
    if found is None:
        raise UnusableCheckpoint(
            "this is neither a torchxrayvision DenseNet-121 (one channel, 18 outputs) nor a "
            "CheXNet (three channels, 14 outputs)"
        )
    if layout not in ("auto", found):
        raise UnusableCheckpoint(f"this looks like the layout {found}, not {layout}")
    if layout == "auto" and found == CHEXNET and not _names_chexnet(checkpoint):
        raise UnusableCheckpoint(
            "nothing in the file tells whether its 14 outputs are those of ChestX-ray14: others, "
            f"CheXpert's too, are as many. Say --layout {CHEXNET} where they are, in this order: "
            + ", ".join(_NIH_ORDER)
        )
    renamed = _renamed(tensors)
    if found == CHEXNET:
        outputs = tuple(Output(key=key) for key in _NIH_ORDER)
        return Imported(layout=found, tensors=renamed, outputs=outputs, input=_IMAGENET)
    grey = renamed["features.0.weight"]
    renamed["features.0.weight"] = torch.cat([grey, torch.zeros_like(grey).repeat(1, 2, 1, 1)], 1)
    return Imported(
        layout=found,
        tensors=renamed,
        outputs=_torchxrayvision_outputs(checkpoint.targets, tensors.get("op_threshs")),
        input=_PLUS_MINUS_1024,
    )


def _names_chexnet(checkpoint: Checkpoint) -> bool:
    """Return whether tensors are called as CheXNet's common projects call them."""
    return any("densenet121." in name for name in checkpoint.tensors)


def _plain(name: str) -> str:
    """Return a tensor's name without wrappers (``module.densenet121.``) and old spellings."""
    return _OLD_NAME.sub(r"\1\2.", _BEFORE_FEATURES.sub("", name))


def _shape(tensors: Mapping[str, Tensor], layer: str) -> tuple[int, ...]:
    name = re.compile(rf"{layer}\.weight")
    return next((tuple(tensors[each].shape) for each in tensors if name.fullmatch(each)), ())


def _renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under our names; unknown ones are refused."""
    renamed = {}
    for name, tensor in tensors.items():
        if name == "op_threshs":
            continue
        if match := _CLASSIFIER.match(name):
            key = f"head.{match[1]}"
        else:
            stage, _, rest = name.removeprefix("features.").partition(".")
            if not name.startswith("features.") or stage not in _STAGES:
                raise UnusableCheckpoint("the file holds tensors that a DenseNet-121 has not")
            key = f"features.{_STAGES.index(stage)}.{rest}"
        renamed[key] = tensor
        if key.endswith("running_var"):  # torch before 0.4.1 did not count
            counter = key.replace("running_var", "num_batches_tracked")
            renamed.setdefault(counter, torch.tensor(0))
    return renamed


def _torchxrayvision_outputs(
    targets: tuple[str, ...], thresholds: Tensor | None
) -> tuple[Output, ...]:
    names = tuple(name.replace(" ", "_") for name in targets) or _TORCHXRAYVISION_ORDER
    if len(names) != len(_TORCHXRAYVISION_ORDER) or any(
        name and name != key for name, key in zip(names, _TORCHXRAYVISION_ORDER, strict=True)
    ):
        raise UnusableCheckpoint("the outputs of this network are not the 18 of torchxrayvision")
    if thresholds is not None and thresholds.numel() != len(names):
        raise UnusableCheckpoint("op_threshs must have one value for each output")
    points = [math.nan] * len(names) if thresholds is None else thresholds.flatten().tolist()
    return tuple(
        Output(
            key=key,
            threshold=point if 0.0 <= point <= 1.0 else None,
            trained=bool(name) and (thresholds is None or not math.isnan(point)),
        )
        for key, name, point in zip(_TORCHXRAYVISION_ORDER, names, points, strict=True)
    )
