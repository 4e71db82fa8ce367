"""What a package would say, for people: built whole, sent nowhere."""

from io import BytesIO
from typing import Any

from pydicom import DataElement, Dataset, dcmread
from pydicom.datadict import dictionary_description, dictionary_has_tag
from pydicom.tag import BaseTag

from dicom_node.correction.build import BuiltObject, build
from dicom_node.correction.copies import CORRECT
from dicom_node.correction.plan import CopyPlan, CorrectionPlan, NotePlan
from dicom_node.correction.port import AttributeChange, CorrectionPreview, ObjectPreview
from dicom_node.report.evidence import text_of


def preview_of(plan: CorrectionPlan, destinations: tuple[str, ...]) -> CorrectionPreview:
    """Build every object of `plan` and return what it says.

    Raises
    ------
    UnfitCorrection, InvalidDicomError, OSError
        As `build`.
    """
    return CorrectionPreview(
        proposal_id=plan.proposal_id,
        destinations=destinations,
        objects=tuple(_object(built) for built in build(plan)),
    )


def _object(built: BuiltObject) -> ObjectPreview:
    made = dcmread(BytesIO(built.content), stop_before_pixels=True)
    shared: dict[str, Any] = {
        "sop_class_uid": str(made.SOPClassUID),
        "sop_instance_uid": str(made.SOPInstanceUID),
        "series_instance_uid": str(made.SeriesInstanceUID),
        "study_instance_uid": str(made.StudyInstanceUID),
        "transfer_syntax_uid": str(made.file_meta.TransferSyntaxUID),
        "accession_number": text_of(made, "AccessionNumber"),
        "attributes": str(made),
    }
    if isinstance(built.planned, NotePlan):
        return ObjectPreview(
            role="REJECTION NOTE",
            title="(113038, DCM, Incorrect Modality Worklist Entry)",
            rejects=tuple(text_of(s.header, "SOPInstanceUID") for s in built.planned.sources),
            **shared,
        )
    return ObjectPreview(
        role="COPY",
        title=f"of image {text_of(built.planned.source.header, 'SOPInstanceUID')}, {CORRECT}",
        changes=_changes(built.planned, made),
        remarks=built.planned.remarks,
        **shared,
    )


def _changes(copy: CopyPlan, made: Dataset) -> tuple[AttributeChange, ...]:
    """Return every attribute that differs, those of our own trace included."""
    source = dcmread(copy.source.path, stop_before_pixels=True)
    tags = sorted(BaseTag(tag) for tag in {*source.keys(), *made.keys()})
    pairs = ((tag, _shown(source, tag), _shown(made, tag)) for tag in tags if tag.element)
    return tuple(
        AttributeChange(attribute=f"{tag} {_name(tag)}", before=before, after=after)
        for tag, before, after in pairs
        if before != after
    )


def _name(tag: BaseTag) -> str:
    return dictionary_description(tag) if dictionary_has_tag(tag) else "(private)"


def _shown(ds: Dataset, tag: BaseTag) -> str:
    """Return a value on one line; a sequence as its items in brackets."""
    if tag not in ds:
        return ""
    try:
        return _line(ds[tag])
    except Exception:  # noqa: BLE001 - a stranger's broken value is shown as what it is
        return "(unreadable)"


def _line(item: DataElement) -> str:
    if item.VR != "SQ":
        return text_of(Dataset({item.tag: item}), item.keyword) if item.keyword else ""
    parts = ("; ".join(f"{e.name}: {_line(e)}" for e in part) for part in item.value)
    return "[" + " | ".join(parts) + "]"
