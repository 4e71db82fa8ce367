"""What inference says of one image: plain frozen values, ready for JSON.

Everything here survives a round trip through ``to_json`` and ``analysis_from_json``,
because results are kept in the database between the steps of the pipeline.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import TypeAdapter


class Task(StrEnum):
    """What a model answers."""

    BODY_PART = "body_part"
    CHEST_FINDINGS = "chest_findings"
    OTHER = "other"
    """Whatever a model of the training workbench answers; the node asks none of these."""


class Outcome(StrEnum):
    """What became of one model on one image."""

    PREDICTED = "predicted"
    SKIPPED = "skipped"
    FAILED = "failed"


class Decision(StrEnum):
    """The reading of one label at its operating point."""

    PRESENT = "present"
    ABSENT = "absent"
    UNDETERMINED = "undetermined"
    NOT_REPORTED = "not_reported"


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """A coded concept (PS3.3 Section 8.8)."""

    scheme: str
    value: str
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelIdentity:
    """Which network, exactly, and how it was run."""

    name: str
    version: str
    task: Task
    weights_sha256: str
    configuration_sha256: str
    """sha256 of the canonical JSON of labels, operating points, input and calibration."""

    preprocessing: str
    runtime: str
    device: str
    precision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelOutput:
    """One label of one prediction."""

    key: str
    logit: float
    probability: float
    """Calibrated, 0 to 1."""

    threshold: float | None
    """Present at or above; None where the label has no operating point."""

    decision: Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatMap:
    """Grad-CAM of one label over the letterboxed input square.

    `values` holds rows of floats in [0, 1], row 0 at the top. `content_box` is the part
    of the square that holds the image, as fractions (top, left, bottom, right).
    """

    key: str
    method: str
    values: tuple[tuple[float, ...], ...]
    content_box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One model on one image, also when it was skipped or failed."""

    model: ModelIdentity
    outcome: Outcome
    reason_code: str = ""
    """Why it was skipped or failed: a stable code such as ``gate.not_frontal_chest``."""

    reason: str = ""
    """The same for a person; never holds a value from the data set."""

    labels: tuple[LabelOutput, ...] = ()
    heat_maps: tuple[HeatMap, ...] = ()
    tensor_sha256: str | None = None
    """sha256 of the preprocessed float32 input (C order, little endian)."""

    started_at: str = ""
    """ISO 8601, UTC."""

    duration_ms: float = 0.0

    def label(self, key: str) -> LabelOutput | None:
        """Return the output for `key`, or None when the model did not give it."""
        return next((output for output in self.labels if output.key == key), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageAnalysis:
    """Everything that inference says of one image."""

    pixel_sha256: str | None
    """sha256 of the decoded stored pixel values; None when they could not be decoded."""

    rows: int | None = None
    columns: int | None = None
    predictions: tuple[Prediction, ...] = ()
    notes: tuple[str, ...] = field(default=())
    """Stable codes of what was unusual, such as ``pixels.photometric_doubtful``."""

    def prediction(self, task: Task) -> Prediction | None:
        """Return the prediction for `task`, if a model for it ran, was skipped or failed."""
        return next((p for p in self.predictions if p.model.task is task), None)


_PREDICTION = TypeAdapter(Prediction)


def prediction_to_json(prediction: Prediction) -> dict[str, Any]:
    """Return `prediction` as JSON types only."""
    document: dict[str, Any] = _PREDICTION.dump_python(prediction, mode="json")
    return document


def prediction_from_json(document: dict[str, Any]) -> Prediction:
    """Return the prediction that `prediction_to_json` wrote."""
    return _PREDICTION.validate_python(document)


class Verdict(StrEnum):
    """Does an image show what its accession says?"""

    MATCH = "match"
    MISMATCH = "mismatch"
    UNCERTAIN = "uncertain"
    NOT_DECLARED = "not_declared"


class ExpectationSource(StrEnum):
    """Where the expected body part was read."""

    WORKLIST = "worklist"
    HL7 = "hl7"
    REQUESTED_PROCEDURE_CODE = "requested_procedure_code"
    REQUESTED_PROCEDURE_DESCRIPTION = "requested_procedure_description"
    STUDY_DESCRIPTION = "study_description"
    SERIES_DESCRIPTION = "series_description"
    PERFORMED_PROTOCOL = "performed_protocol"
    BODY_PART_EXAMINED = "body_part_examined"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """The body part that was ordered, and how we know."""

    regions: tuple[str, ...]
    """Region keys of the mapping table; any one of them fulfils the order."""

    source: ExpectationSource
    matched_words: tuple[str, ...] = ()
    """The entries of the mapping table that matched; never the free text itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionProbability:
    """A region of the mapping table and its calibrated probability."""

    region: str
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageVerdict:
    """The body-part check of one image."""

    verdict: Verdict
    expected: Expectation | None
    seen: tuple[RegionProbability, ...]
    """Regions at or above their operating point, most probable first; when there is
    none, the most probable one alone."""

    reason: str
    """One sentence for a technologist; names regions, never patient data."""


_VERDICT = TypeAdapter(ImageVerdict)


def verdict_to_json(verdict: ImageVerdict) -> dict[str, Any]:
    """Return `verdict` as JSON types only."""
    document: dict[str, Any] = _VERDICT.dump_python(verdict, mode="json")
    return document


def verdict_from_json(document: dict[str, Any]) -> ImageVerdict:
    """Return the verdict that `verdict_to_json` wrote."""
    return _VERDICT.validate_python(document)
