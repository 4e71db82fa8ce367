"""What the analyses of a report's images amount to, in the order a reader wants it (pure)."""

from collections.abc import Mapping
from dataclasses import dataclass

from dicom_node.report.codes import private_concept
from dicom_node.report.content import ReportImage, ReportRequest
from dicom_node.report.evidence import text_of
from dicom_node.report.uids import ReportUids, distinct_models
from inference.manifest import CodeEntry, Label
from inference.types import (
    Code,
    Decision,
    HeatMap,
    LabelOutput,
    ModelIdentity,
    Outcome,
    Prediction,
    Task,
)

_ORDER = (Decision.PRESENT, Decision.UNDETERMINED, Decision.ABSENT)

Labels = Mapping[tuple[str, str], Label]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One reported label of one findings model on one image."""

    model: ModelIdentity
    output: LabelOutput
    code: Code
    site: Code | None
    heat_map: HeatMap | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Illustration:
    """A heat map to be drawn: of a finding on an image."""

    image: ReportImage
    finding: Finding
    heat_map: HeatMap

    @property
    def subject(self) -> tuple[int, str, str]:
        """What it shows: image number, model name, label key."""
        return self.image.number, self.finding.model.name, self.finding.output.key


@dataclass(frozen=True, slots=True, kw_only=True)
class Illustrations:
    """Which heat maps a report gets."""

    shown: tuple[Illustration, ...]
    """In the order of the images; of one image, the likeliest first."""

    left_out: int
    """How many more there would be without the limit."""


def findings(image: ReportImage, labels: Labels) -> tuple[Finding, ...]:
    """Return the reported labels: present, then doubtful, then absent; likeliest first."""
    found = [
        _finding(prediction, output, labels)
        for prediction in findings_predictions(image)
        for output in prediction.labels
        if prediction.outcome is Outcome.PREDICTED and output.decision in _ORDER
    ]
    found.sort(key=lambda f: (_ORDER.index(f.output.decision), -f.output.probability))
    return tuple(found)


def illustrations(request: ReportRequest) -> Illustrations:
    """Return a heat map for each present finding that has one, the likeliest of them where
    there are more than `ReportRequest.maximum_heat_maps`."""
    possible = [
        Illustration(image=image, finding=finding, heat_map=finding.heat_map)
        for image in request.images
        for finding in findings(image, request.labels)
        if finding.output.decision is Decision.PRESENT and finding.heat_map is not None
    ]
    likeliest = sorted(possible, key=lambda each: -each.finding.output.probability)
    chosen = {each.subject for each in likeliest[: request.maximum_heat_maps]}
    shown = tuple(each for each in possible if each.subject in chosen)
    return Illustrations(shown=shown, left_out=len(possible) - len(shown))


def withheld(image: ReportImage, labels: Labels) -> tuple[Code, ...]:
    """Return the findings that a model knows but is not good enough at to be reported."""
    return tuple(
        _label_code(prediction.model.name, output.key, labels)
        for prediction in findings_predictions(image)
        for output in prediction.labels
        if output.decision is Decision.NOT_REPORTED
        and (label := labels.get((prediction.model.name, output.key))) is not None
        and label.role == "finding"
    )


def findings_predictions(image: ReportImage) -> tuple[Prediction, ...]:
    """Return what every findings model made of `image`."""
    return tuple(p for p in image.analysis.predictions if p.model.task is Task.CHEST_FINDINGS)


def decoded(image: ReportImage) -> bool:
    """Tell whether the pixels of `image` could be read."""
    return image.analysis.pixel_sha256 is not None


def failed(image: ReportImage) -> bool:
    """Tell whether anything that should have run on `image` did not come to an end."""
    return not decoded(image) or any(
        prediction.outcome is Outcome.FAILED for prediction in image.analysis.predictions
    )


def region(key: str, regions: Mapping[str, Code]) -> Code:
    """Return the concept of a region key; of our own scheme where the table has none."""
    return regions.get(key) or private_concept(key)


def models_of(request: ReportRequest) -> tuple[ModelIdentity, ...]:
    """Return every model that the report speaks of, also those that were skipped."""
    return distinct_models(
        prediction.model for image in request.images for prediction in image.analysis.predictions
    )


def uids_of(request: ReportRequest) -> ReportUids:
    """Return the UIDs of the report."""
    return ReportUids(
        root=request.uid_root,
        device_serial=request.device_serial,
        study_instance_uid=request.study_instance_uid,
        revision=request.revision,
        models=models_of(request),
        evidence=tuple(
            (text_of(image.header, "SOPInstanceUID"), image.content_sha256)
            for image in request.images
        ),
    )


def _finding(prediction: Prediction, output: LabelOutput, labels: Labels) -> Finding:
    label = labels.get((prediction.model.name, output.key))
    return Finding(
        model=prediction.model,
        output=output,
        code=_label_code(prediction.model.name, output.key, labels),
        site=_code(label.finding_site) if label and label.finding_site else None,
        heat_map=next((m for m in prediction.heat_maps if m.key == output.key), None),
    )


def _label_code(model_name: str, key: str, labels: Labels) -> Code:
    label = labels.get((model_name, key))
    return _code(label.code) if label and label.code else private_concept(key)


def _code(entry: CodeEntry) -> Code:
    return Code(scheme=entry.scheme, value=entry.value, meaning=entry.meaning)
