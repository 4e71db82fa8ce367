"""The structured report: TID 1500 with the text first (PS3.16, PS3.3 Section A.35)."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from highdicom.sr import (
    CodeContentItem,
    CodedConcept,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    LanguageOfContentItemAndDescendants,
    ObservationContext,
    ObserverContext,
    TextContentItem,
)
from highdicom.sr.enum import RelationshipTypeValues
from highdicom.sr.utils import collect_evidence
from pydicom import Dataset
from pydicom.uid import Comprehensive3DSRStorage, ComprehensiveSRStorage

from dicom_node.config.settings import ReportProfile
from dicom_node.report import codes
from dicom_node.report.content import Predecessor, ReportRequest
from dicom_node.report.evidence import element, reference, text_of
from dicom_node.report.frame import new_object, node_uid
from dicom_node.report.groups import Overlays, measurement_groups
from dicom_node.report.image_library import image_library
from dicom_node.report.reading import failed, uids_of
from dicom_node.report.tree import container
from dicom_node.report.wording import summary_lines
from dicom_node.version import MODEL_NAME

_SERIES_DESCRIPTION = "AI body part and findings (not for diagnosis)"


@dataclass(frozen=True, slots=True)
class SrForm:
    """The outer form of a report; the tree below the root is the same in every form."""

    name: str
    """Part of the UIDs."""

    sop_class_uid: str
    title: CodedConcept


FORMS: Mapping[ReportProfile, SrForm] = MappingProxyType(
    {
        ReportProfile.VIEWER: SrForm("viewer", ComprehensiveSRStorage, codes.AI_RESULT),
        ReportProfile.IHE_AIR: SrForm(
            "ihe-air", Comprehensive3DSRStorage, codes.IMAGING_MEASUREMENT_REPORT
        ),
    }
)


def structured_report(request: ReportRequest, form: SrForm, overlays: Overlays) -> Dataset:
    """Return the SR of a report, with file meta information.

    Parameters
    ----------
    request : ReportRequest
        What is known of each image.
    form : SrForm
        SOP class and root title.
    overlays : mapping
        The overlays that findings are illustrated with.
    """
    uids, said = uids_of(request), _said(request)
    source = request.images[0].header
    document = new_object(
        request,
        sop_class_uid=form.sop_class_uid,
        sop_instance_uid=uids.sr_instance(form.name, said),
        series_instance_uid=uids.sr_series(form.name, said),
        series_number=request.sr_series_number,
        series_description=_SERIES_DESCRIPTION,
        instance_number=1,
        modality="SR",
        source=source,
    )
    _describe_document(document, request)
    root = _root(request, form, overlays)
    document.update(root)
    evidence = [reference(image.header) for image in request.images]
    evidence += [reference(overlay) for overlay in overlays.values()]
    for item in evidence:
        item.StudyInstanceUID = request.study_instance_uid
    current, _ = collect_evidence(evidence, root, request.study_instance_uid)
    document.CurrentRequestedProcedureEvidenceSequence = current
    return document


def _said(request: ReportRequest) -> str:
    """Return a digest of what the document says and of what it follows."""
    earlier = request.predecessor.sop_instance_uid if request.predecessor else ""
    text = "\n".join([earlier, *summary_lines(request)])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _describe_document(document: Dataset, request: ReportRequest) -> None:
    """Set the SR Document General Module (PS3.3 Section C.17.2)."""
    failures = sum(failed(image) for image in request.images)
    document.CompletionFlag = "PARTIAL" if failures else "COMPLETE"
    if failures:
        document.CompletionFlagDescription = (
            f"{failures} of {len(request.images)} images not fully analysed"
        )
    document.VerificationFlag = "UNVERIFIED"
    document.PreliminaryFlag = "PRELIMINARY"
    document.ReferencedPerformedProcedureStepSequence = []
    document.PerformedProcedureCodeSequence = []
    requests = _requests(request)
    if requests:
        document.ReferencedRequestSequence = requests
    if request.predecessor is not None:
        document.PredecessorDocumentsSequence = [_predecessor(request.predecessor)]


def _requests(request: ReportRequest) -> list[Dataset]:
    """Return one Referenced Request item for each order among the images."""
    items: dict[str, Dataset] = {}
    for image in request.images:
        accession_number = text_of(image.header, "AccessionNumber")
        if not accession_number or accession_number in items:
            continue
        item = Dataset()
        item.add(element("AccessionNumber", accession_number))
        item.StudyInstanceUID = request.study_instance_uid
        item.ReferencedStudySequence = []
        item.RequestedProcedureID = ""
        item.RequestedProcedureDescription = ""
        item.RequestedProcedureCodeSequence = []
        item.PlacerOrderNumberImagingServiceRequest = ""
        item.FillerOrderNumberImagingServiceRequest = ""
        items[accession_number] = item
    return list(items.values())


def _predecessor(earlier: Predecessor) -> Dataset:
    instance = Dataset()
    instance.ReferencedSOPClassUID = earlier.sop_class_uid
    instance.ReferencedSOPInstanceUID = earlier.sop_instance_uid
    series = Dataset()
    series.SeriesInstanceUID = earlier.series_instance_uid
    series.ReferencedSOPSequence = [instance]
    study = Dataset()
    study.StudyInstanceUID = earlier.study_instance_uid
    study.ReferencedSeriesSequence = [series]
    return study


def _root(request: ReportRequest, form: SrForm, overlays: Overlays) -> ContainerContentItem:
    """Return TID 1500: language, observer, procedure, text, image library, groups."""
    root = ContainerContentItem(form.title, is_content_continuous=False, template_id="1500")
    items: list[ContentItem] = [
        *LanguageOfContentItemAndDescendants(codes.ENGLISH),
        *_observer(request),
        CodeContentItem(
            codes.PROCEDURE_REPORTED,
            codes.IMAGING_PROCEDURE,
            RelationshipTypeValues.HAS_CONCEPT_MOD,
        ),
        container(
            codes.QUALITATIVE_EVALUATIONS,
            [
                TextContentItem(codes.SUMMARY, line, RelationshipTypeValues.CONTAINS)
                for line in summary_lines(request)
            ],
        ),
        image_library(request.images),
    ]
    groups: list[ContentItem] = [
        group for image in request.images for group in measurement_groups(request, image, overlays)
    ]
    if groups:
        items.append(container(codes.IMAGING_MEASUREMENTS, groups))
    root.ContentSequence = ContentSequence(items)
    return root


def _observer(request: ReportRequest) -> ObservationContext:
    return ObservationContext(
        observer_device_context=ObserverContext(
            observer_type=codes.DEVICE,
            observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
                uid=node_uid(request),
                name="AI X-ray analysis",
                manufacturer_name=request.manufacturer[:64],
                model_name=MODEL_NAME,
                serial_number=request.device_serial[:64] or None,
            ),
        )
    )
