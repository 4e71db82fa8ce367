"""The form of ``model.yaml``: what a model folder says of its network.

A model is a folder with ``model.yaml`` and ``weights.safetensors``, nothing else. The
manifest pins the weights by sha256; anything that changes a decision (labels, codes,
operating points, calibration, input) is part of `configuration_sha256`.
"""

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

import rfc8785
import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from audit.errors import BrokenModel
from inference.types import Task

NAME = r"^[a-z][a-z0-9-]{1,40}$"
VERSION = r"^\d+\.\d+\.\d+$"

Probability = Annotated[float, Field(ge=0.0, le=1.0)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CodeEntry(_Section):
    """A coded concept (PS3.3 Section 8.8)."""

    scheme: str
    value: str
    meaning: str


class OperatingPoint(_Section):
    """How a calibrated probability becomes a decision."""

    present_at: Probability
    """Present at or above."""

    absent_below: Probability
    """Absent below; between the two the label is undetermined."""

    @model_validator(mode="after")
    def _ordered(self) -> "OperatingPoint":
        if self.absent_below > self.present_at:
            raise ValueError("absent_below must not exceed present_at")
        return self


class Label(_Section):
    """One output of the network, in the order of its output vector."""

    key: str
    role: Literal["region", "finding", "not_ours", "auxiliary"]
    code: CodeEntry | None = None
    """SNOMED CT concept of the region or finding (PS3.16 CID 4031, CID 6100 and others)."""

    body_part_examined: str | None = None
    """PS3.16 Annex L term for a region."""

    finding_site: CodeEntry | None = None
    reported: bool = True
    """False keeps the label in the audit and out of the report."""

    not_reported_because: str | None = None
    operating_point: OperatingPoint | None = None
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """The calibrated probability is sigmoid(logit / temperature + bias)."""

    bias: Annotated[float, Field(allow_inf_nan=False)] = 0.0


class InputSpec(_Section):
    """What the network is fed."""

    size: Annotated[int, Field(ge=32, le=2048)]
    """Side of the square, in pixels."""

    mean: tuple[Annotated[float, Field(allow_inf_nan=False)], ...]
    std: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...]
    preprocessing: Literal["px-1"]


class Gate(_Section):
    """What another model must have said of the image before this one sees it."""

    task: Task
    label: str
    at_least: Probability = 0.0
    at_most: Probability = 1.0
    reason_code: str
    reason: str


class ModelManifest(_Section):
    """A whole ``model.yaml``."""

    name: Annotated[str, Field(pattern=NAME)]
    version: Annotated[str, Field(pattern=VERSION)]
    task: Task
    architecture: str
    """A name that `inference.architectures.build` knows."""

    description: str
    licence: str
    input: InputSpec
    labels: Annotated[tuple[Label, ...], Field(min_length=1)]
    gates: tuple[Gate, ...] = ()
    data: dict[str, Any]
    """Where the training images came from, their terms, and the sha256 of the list of them."""

    metrics: dict[str, Any]
    """What was measured, on which split, by which command."""

    training: dict[str, Any]
    """Seed and command that made the weights, and what each member came from."""

    weights_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    @model_validator(mode="after")
    def _unique_labels(self) -> "ModelManifest":
        keys = [label.key for label in self.labels]
        if len(set(keys)) != len(keys):
            raise ValueError("label keys must be unique")
        return self

    @property
    def configuration_sha256(self) -> str:
        """sha256 of everything that turns an image into decisions, weights apart."""
        deciding = self.model_dump(
            mode="json", include={"task", "architecture", "input", "labels", "gates"}
        )
        return hashlib.sha256(rfc8785.dumps(deciding)).hexdigest()


def read_manifest(folder: Path) -> ModelManifest:
    """Return the manifest of a model folder.

    Raises
    ------
    BrokenModel
        When ``model.yaml`` is missing, is not YAML, or does not validate.
    """
    try:
        document = yaml.safe_load((folder / "model.yaml").read_text(encoding="utf-8"))
        return ModelManifest.model_validate(document)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise BrokenModel(f"{folder.name}/model.yaml: {error}") from error
