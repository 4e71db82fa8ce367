"""A training task as one file: what is learned, from which data, by which recipe."""

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from audit.errors import InvalidConfiguration
from inference.architectures import ARCHITECTURES
from inference.training.augment import Augmentation
from inference.training.dataset import TaskKind
from inference.training.datasets.layout import SEED, Layout

Positive = Annotated[float, Field(gt=0)]
_SHIPPED = files("inference.training.workbench") / "tasks"
_DESCRIBED_ABOVE = ("kind", "classes")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Loss(_Section):
    """What is made small; `inference.training.losses` has the formulas."""

    name: Literal["bce", "focal", "cross_entropy"] = "bce"
    """Cross-entropy is softmax's, for multi-class tasks; the others count each output alone."""

    gamma: Annotated[float, Field(ge=0)] = 2.0
    """Focusing of the focal loss."""

    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the target spread evenly over the possible answers."""


class Balance(_Section):
    """How rare classes are made up for; 1 turns a part off."""

    drawn_most: Annotated[float, Field(ge=1)] = 1.0
    """Most often that an image of a rare class is drawn, relative to the commonest class's."""

    weight_most: Annotated[float, Field(ge=1)] = 1.0
    """Largest weight of a rare class in the loss."""


class Optimiser(_Section):
    """AdamW or SGD, with one rate for the new head and one for the rest."""

    name: Literal["adamw", "sgd"] = "adamw"
    rate: Positive = 3e-4
    head_rate: Positive = 2e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Of SGD."""


class RateSchedule(_Section):
    """The course of the rates; the formula is `objective.rate_factor` of this package."""

    name: Literal["cosine", "one_cycle", "step"] = "cosine"
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.5
    step_epochs: Annotated[int, Field(ge=1)] = 10
    step_factor: Annotated[float, Field(gt=0, lt=1)] = 0.1


class Stopping(_Section):
    """When training ends early."""

    monitor: Literal["auc", "accuracy", "loss"] = "auc"
    """Measured on the validation split after every epoch; the best epoch's weights are kept."""

    patience: Annotated[int, Field(ge=1)] = 5
    """Epochs without a better one."""


class TrainingTask(_Section):
    """A whole task file."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{1,40}$")]
    description: str
    kind: TaskKind
    classes: tuple[str, ...] = ()
    """As the data writes them; a binary task's are (negative, positive). None: those found."""

    data: Layout = Field(discriminator="form")
    """Layout; `kind` and `classes` are taken from the task."""

    terms: str = "not stated: for research only"
    """Terms of the training images, for the model's licence note."""

    network: str = "mobilenet_v2"
    pretrained: bool = True
    """Begin with the features of a trained backbone, where its weights are at hand."""

    frozen_stages: Annotated[int, Field(ge=0)] = 0
    """Leading feature stages that never learn, where the features are trained ones."""

    size: Annotated[int, Field(ge=32, le=1024)] = 224
    """Side of the network's square input, in pixels."""

    epochs: Annotated[int, Field(ge=1)] = 20
    head_epochs: Annotated[int, Field(ge=0)] = 1
    """First epochs, in which only the head learns."""

    batch: Annotated[int, Field(ge=2)] = 32
    average: Annotated[float, Field(ge=0, lt=1)] = 0.98
    """Decay of the running average of the weights, which is what is measured and kept."""

    loss: Loss = Loss()
    balance: Balance = Balance()
    optimiser: Optimiser = Optimiser()
    schedule: RateSchedule = RateSchedule()
    stopping: Stopping = Stopping()
    augmentation: Augmentation = Augmentation()
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the forward pass; weights stay float32. `auto` takes the fastest that is safe."""

    seed: Annotated[int, Field(ge=0)] = SEED

    @model_validator(mode="before")
    @classmethod
    def _describe_data(cls, document: Any) -> Any:
        """Hand the task's kind and classes to the layout, so that a file says them once."""
        if not isinstance(document, dict) or not isinstance(document.get("data"), dict):
            return document
        shared = {key: document[key] for key in _DESCRIBED_ABOVE if document.get(key)}
        return {**document, "data": {**document["data"], **shared}}

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.network not in ARCHITECTURES:
            raise ValueError(f"network must be one of {', '.join(sorted(ARCHITECTURES))}")
        if (self.loss.name == "cross_entropy") and self.kind is not TaskKind.MULTI_CLASS:
            raise ValueError("cross_entropy is for multi_class tasks; take bce or focal")
        if self.kind is TaskKind.BINARY and len(self.classes) not in (0, 2):
            raise ValueError("a binary task has two classes: negative, positive")
        if self.augmentation.zoom[0] > self.augmentation.zoom[1]:
            raise ValueError("augmentation.zoom: the smaller factor comes first")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes must differ")
        return self

    def document(self) -> dict[str, Any]:
        """Return the task as a file holds it, every value written out."""
        document = self.model_dump(mode="json")
        for key in _DESCRIBED_ABOVE:
            del document["data"][key]
        return document


def shipped_tasks() -> dict[str, Path]:
    """Return the task files that come with the package, by name."""
    found = sorted(Path(str(_SHIPPED)).glob("*.yaml"))
    return {path.stem: path for path in found}


def read_task(name: str, changes: dict[str, Any] | None = None) -> TrainingTask:
    """Return a task.

    Parameters
    ----------
    name : str
        A shipped task's name, or the path of a task file.
    changes : dict, optional
        Dotted keys and the values that take their place, as ``{"data.path": "nih"}``.

    Raises
    ------
    InvalidConfiguration
        When there is no such task, or the file does not validate, with every reason.
    """
    path = shipped_tasks().get(name, Path(name))
    if not path.is_file():
        known = ", ".join(shipped_tasks())
        raise InvalidConfiguration([f"no task file of that name; shipped tasks: {known}"])
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        for key, value in (changes or {}).items():
            _put(document, key, value)
        return TrainingTask.model_validate(document)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise InvalidConfiguration([f"{path.name}: {problem}" for problem in problems]) from error
    except (OSError, yaml.YAMLError, UnicodeDecodeError, TypeError) as error:
        raise InvalidConfiguration([f"{path.name}: no task file that can be read"]) from error


def _put(document: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    try:
        for section in sections:
            document = document.setdefault(section, {})
        document[last] = value
    except (AttributeError, TypeError) as error:
        raise InvalidConfiguration([f"{key}: the task has no such section"]) from error
