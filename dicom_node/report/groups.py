"""Measurement groups of a report: the body-part check and each finding (PS3.16 TID 1501)."""

from collections.abc import Mapping, Sequence
from typing import cast

from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    ContainerContentItem,
    FindingSite,
    Measurement,
    MeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    TrackingIdentifier,
)
from pydicom import Dataset

from dicom_node.report import codes
from dicom_node.report.content import ReportImage, ReportRequest
from dicom_node.report.evidence import text_of
from dicom_node.report.reading import Finding, findings, region, uids_of
from dicom_node.report.tree import image_item
from inference.types import Decision, ModelIdentity, Outcome, Task

Overlays = Mapping[tuple[int, str, str], Dataset]
"""By (image number, model name, label key): an overlay, or only the UIDs that name it."""


def measurement_groups(
    request: ReportRequest, image: ReportImage, overlays: Overlays
) -> list[ContainerContentItem]:
    """Return the groups of one image: first the body part, then findings by urgency."""
    body_part = _body_part_group(request, image)
    groups = [body_part] if body_part is not None else []
    for finding in findings(image, request.labels):
        overlay = overlays.get((image.number, finding.model.name, finding.output.key))
        groups.append(_finding_group(request, image, finding, overlay))
    return groups


def _body_part_group(request: ReportRequest, image: ReportImage) -> ContainerContentItem | None:
    """Return the check of expected against predicted region; None when no model ran."""
    prediction = image.analysis.prediction(Task.BODY_PART)
    verdict = image.verdict
    if verdict is None or prediction is None or prediction.outcome is not Outcome.PREDICTED:
        return None
    expected = verdict.expected.regions if verdict.expected else ()
    seen = [codes.concept(region(s.region, request.regions)) for s in verdict.seen]
    evaluations = [
        (codes.TARGET_REGION, codes.concept(region(key, request.regions))) for key in expected
    ]
    evaluations += [(codes.PREDICTED_REGION, predicted) for predicted in seen]
    evaluations.append((codes.REGION_MATCHES, codes.MATCH[verdict.verdict]))
    return _group(
        request,
        image,
        subject="body part",
        title=f"Body part check (image {image.number})",
        model=prediction.model,
        sites=seen,
        certainty=verdict.seen[0].probability if verdict.seen else None,
        evaluations=evaluations,
    )


def _finding_group(
    request: ReportRequest, image: ReportImage, finding: Finding, overlay: Dataset | None
) -> ContainerContentItem:
    """Return one label; only a present finding is named as a Finding.

    A viewer that shows nothing but Finding would else turn every absent one into present.
    """
    name = codes.concept(finding.code)
    output = finding.output
    group = _group(
        request,
        image,
        subject=output.key,
        title=f"{finding.code.meaning} (image {image.number})",
        model=finding.model,
        sites=[codes.concept(finding.site)] if finding.site else [],
        certainty=output.probability,
        evaluations=[(name, codes.PRESENCE[output.decision])],
        finding=name if output.decision is Decision.PRESENT else None,
        parameters=[] if output.threshold is None else [f"threshold={output.threshold:g}"],
    )
    if overlay is not None:
        group.ContentSequence.append(image_item(codes.ILLUSTRATION_OF_FINDING, overlay))
    return group


def _group(
    request: ReportRequest,
    image: ReportImage,
    *,
    subject: str,
    title: str,
    model: ModelIdentity,
    sites: Sequence[CodedConcept],
    certainty: float | None,
    evaluations: Sequence[tuple[CodedConcept, CodedConcept]],
    finding: CodedConcept | None = None,
    parameters: Sequence[str] = (),
) -> ContainerContentItem:
    measurements = []
    if certainty is not None:
        percent = round(100 * certainty, 2)
        measurements.append(Measurement(codes.CERTAINTY, percent, codes.PERCENT))
    tracking = uids_of(request).tracking(text_of(image.header, "SOPInstanceUID"), model, subject)
    sequence = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=tracking, identifier=title),
        finding_type=finding,
        algorithm_id=_algorithm(request, model, parameters),
        finding_sites=[FindingSite(site) for site in sites],
        measurements=measurements,
        qualitative_evaluations=[QualitativeEvaluation(name, value) for name, value in evaluations],
    )
    group = cast("ContainerContentItem", sequence[0])
    group.ContinuityOfContent = "SEPARATE"
    group.ContentSequence.append(image_item(codes.SOURCE_OF_MEASUREMENT, image.header))
    return group


def _algorithm(
    request: ReportRequest, model: ModelIdentity, parameters: Sequence[str]
) -> AlgorithmIdentification:
    """Return TID 4019: which network, exactly, and how it was set."""
    return AlgorithmIdentification(
        name=model.name,
        version=model.version,
        family=codes.ARTIFICIAL_INTELLIGENCE,
        manufacturer=request.manufacturer[:64],
        parameters=[
            *parameters,
            f"weights_sha256={model.weights_sha256}",
            f"configuration_sha256={model.configuration_sha256}",
            f"preprocessing={model.preprocessing}",
        ],
    )
