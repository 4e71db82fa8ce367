"""How a data folder is laid out: the ``data`` section of a task file."""

import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from audit.errors import InvalidConfiguration
from inference.training.dataset import TaskKind

Share = Annotated[float, Field(ge=0.0, le=0.5)]
SEED = 20261120
UNIFESP_CLASSES = (
    "Abdomen",
    "Ankle",
    "Cervical Spine",
    "Chest",
    "Clavicles",
    "Elbow",
    "Feet",
    "Finger",
    "Forearm",
    "Hand",
    "Hip",
    "Knee",
    "Lower Leg",
    "Lumbar Spine",
    "Others",
    "Pelvis",
    "Shoulder",
    "Sinus",
    "Skull",
    "Thigh",
    "Thoracic Spine",
    "Wrist",
)
"""In the order of the competition's class numbers, 0 to 21."""


class _Common(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = "."
    """The set's folder, relative to the data folder."""

    classes: tuple[str, ...] = ()
    """Names of the classes as the data writes them, in the order of the network's output;
    none: those found, sorted."""

    other_classes: Literal["refuse", "ignore"] = "refuse"
    """What becomes of a label that is none of `classes`. Ignored, a folder's images are left
    out, and a table's row keeps its other labels."""

    val_share: Share = 0.15
    test_share: Share = 0.15
    """Shares of the patients, used where the data set brings no such split itself."""

    seed: Annotated[int, Field(ge=0)] = SEED
    """Of the split."""

    leaks: Literal["refuse", "drop", "keep"] = "refuse"
    """What becomes of a patient on both sides of a split that the data set brings: an error;
    the patient's training images are left out (for test before validation); or nothing."""

    @field_validator("path", "images", "table", check_fields=False)
    @classmethod
    def _inside(cls, value: str) -> str:
        if PurePosixPath(value).is_absolute() or ".." in PurePosixPath(value).parts:
            raise ValueError("must be relative to the data folder and stay inside it")
        return value


class FolderLayout(_Common):
    """One folder per class, below ``train``, ``val`` and ``test`` or directly."""

    form: Literal["folder"] = "folder"
    kind: Literal[TaskKind.BINARY, TaskKind.MULTI_CLASS] | None = None
    """None: binary where there are two classes."""

    patient_pattern: str | None = None
    """Regular expression searched in the file's name; what its groups match is the patient.
    Without it, or where it does not match, a DICOM file's Patient ID counts, and every other
    image is a patient of its own."""

    @field_validator("patient_pattern")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from error
        return value


class TableLayout(_Common):
    """A CSV with one line per image.

    Labels are one 0/1 column per class (blank or -1: unknown), or one column with the names
    of the present ones.
    """

    form: Literal["csv"] = "csv"
    table: str = "labels.csv"
    """Relative to `path`."""

    images: str = "."
    """Folder of the images, relative to `path`; searched with its sub-folders."""

    separator: str = "|"
    nothing: str = "No Finding"
    """What the table writes where no class is present."""

    kind: TaskKind = TaskKind.MULTI_LABEL


class UnifespLayout(_Common):
    """UNIFESP's body parts: the competition's ``SOPInstanceUID,Target`` with numbers of the
    classes, or a table with their names."""

    form: Literal["unifesp"] = "unifesp"
    table: str = "labels.csv"
    images: str = "."
    classes: tuple[str, ...] = UNIFESP_CLASSES
    separator: str = "|"
    nothing: str = ""
    kind: TaskKind = TaskKind.MULTI_LABEL


Layout = FolderLayout | TableLayout | UnifespLayout
_LAYOUT: TypeAdapter[Layout] = TypeAdapter(Annotated[Layout, Field(discriminator="form")])


def parse_layout(document: dict[str, Any]) -> Layout:
    """Return the layout of a mapping such as ``{"form": "folder", "path": "chest_xray"}``.

    Raises
    ------
    InvalidConfiguration
        With every reason.
    """
    try:
        return _LAYOUT.validate_python(document)
    except ValidationError as error:
        raise InvalidConfiguration(
            [f"layout: {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        ) from error
