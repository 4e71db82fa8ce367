"""What a correction package will say: which images, under which order, changed how (pure).

The rules, with their reasons in ``docs/decisions``:

* what the order decides changes; what the modality measured stays (PS3.3 Section C.7.2.1,
  C.7.3.1);
* the patient never changes: an order of somebody else is refused;
* every changed or removed value is kept in the Original Attributes Sequence, with reason
  CORRECT, "incorrect worklist item was chosen" (PS3.3 Section C.12.1.1.9);
* new UIDs derive from what is moved and where to, so that a repeated step makes the same
  objects.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydicom import DataElement, Dataset
from pydicom.tag import BaseTag

from dicom_node.correction.order import TargetOrder, fits_short, order_elements
from dicom_node.correction.port import NotMendable
from dicom_node.report.evidence import element, text_of
from dicom_node.report.uids import derive_uid

SAME_PATIENT = ("PatientID", "IssuerOfPatientID")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A wrongly filed image."""

    header: Dataset
    """Its data set without Pixel Data, as received."""

    path: Path
    """The stored Part 10 file."""

    content_sha256: str
    """Of the data set in that file."""

    transfer_syntax_uid: str
    sent_by: str
    """AE title that sent it to us: the Source of Previous Values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One image and the order that it belongs to."""

    source: Source
    order: TargetOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class Maker:
    """Who makes the package, and when; nothing else is read, the clock included."""

    moment: datetime
    """Aware; of every object."""

    actor: str
    """The person on whose word it is made."""

    uid_root: str
    manufacturer: str
    software_version: str
    device_serial: str
    series_number: int
    """(0020,0011) Series Number of the rejection notes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One attribute of an image; None where it is absent before or after."""

    tag: BaseTag
    after: DataElement | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyPlan:
    """How one image is copied."""

    source: Source
    order: TargetOrder
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    changes: tuple[Change, ...]
    """In the order of their tags; only of attributes that differ."""

    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NotePlan:
    """The rejection note of one study."""

    sources: tuple[Source, ...]
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectionPlan:
    """A whole package: every copy, then every rejection note."""

    proposal_id: int
    maker: Maker
    copies: tuple[CopyPlan, ...]
    notes: tuple[NotePlan, ...]


def plan(proposal_id: int, moves: Sequence[Move], maker: Maker) -> CorrectionPlan:
    """Return what to make of a proposal; equal arguments give equal plans.

    Parameters
    ----------
    proposal_id : int
        Goes into the UIDs of the new objects.
    moves : sequence of Move
        Each image once.
    maker : Maker

    Raises
    ------
    NotMendable
        Nothing moves, an image moves twice, an order is another patient's or its number fits
        into no image, or an image is under its order already.
    """
    if not moves:
        raise NotMendable("the proposal moves no image")
    uids = [text_of(move.source.header, "SOPInstanceUID") for move in moves]
    if len(set(uids)) != len(uids):
        raise NotMendable("the proposal moves an image twice")
    copies = tuple(_copy(str(proposal_id), move, maker) for move in moves)
    by_study: dict[str, list[Source]] = {}
    for move in moves:
        study = text_of(move.source.header, "StudyInstanceUID")
        by_study.setdefault(study, []).append(move.source)
    notes = tuple(
        _note(str(proposal_id), study, sources, maker) for study, sources in by_study.items()
    )
    return CorrectionPlan(proposal_id=proposal_id, maker=maker, copies=copies, notes=notes)


def target_study_uid(order: TargetOrder, source: Dataset, uid_root: str) -> str:
    """Return the study that a copy goes into.

    The order's own, where it is known and is not the very study that the image leaves (a
    study has one Accession Number, PS3.3 Section C.7.2.1); else one derived from patient
    and accession.
    """
    known = order.study_instance_uid
    if known and known != text_of(source, "StudyInstanceUID"):
        return known
    patient = [text_of(source, keyword) for keyword in SAME_PATIENT]
    return derive_uid(
        uid_root, "correction", "study", *patient, order.accession_number, order.issuer
    )


def _copy(proposal: str, move: Move, maker: Maker) -> CopyPlan:
    header, order = move.source.header, move.order
    _require_same_patient(header, order)
    if text_of(header, "AccessionNumber") == order.accession_number:
        raise NotMendable("an image is filed under its order already")
    if not fits_short(order.accession_number):
        raise NotMendable("the order's accession number is too long, or has a backslash")
    study = target_study_uid(order, header, maker.uid_root)
    old_series = text_of(header, "SeriesInstanceUID")
    old_instance = text_of(header, "SOPInstanceUID")
    series = derive_uid(maker.uid_root, "correction", proposal, "series", old_series, study)
    instance = derive_uid(
        maker.uid_root,
        "correction",
        proposal,
        "instance",
        old_instance,
        move.source.content_sha256,
        study,
    )
    wanted = {
        "SOPInstanceUID": element("SOPInstanceUID", instance),
        "SeriesInstanceUID": element("SeriesInstanceUID", series),
        "StudyInstanceUID": element("StudyInstanceUID", study),
        **order_elements(order, header, study),
    }
    return CopyPlan(
        source=move.source,
        order=order,
        study_instance_uid=study,
        series_instance_uid=series,
        sop_instance_uid=instance,
        changes=_changes(header, wanted),
        remarks=order.remarks(header, study_is_new=study != order.study_instance_uid),
    )


def _require_same_patient(header: Dataset, order: TargetOrder) -> None:
    if text_of(header, "PatientID") != order.patient_id or not order.patient_id:
        raise NotMendable("the order is not of the image's patient")
    issuer = text_of(header, "IssuerOfPatientID")
    if issuer and order.patient_issuer and issuer != order.patient_issuer:
        raise NotMendable("the order is not of the image's patient")


def _changes(header: Dataset, wanted: dict[str, DataElement | None]) -> tuple[Change, ...]:
    changes = []
    for keyword, after in wanted.items():
        tag = BaseTag(element(keyword, None).tag)
        if tag not in header and after is None:
            continue
        if tag in header and after is not None and _equal(header, keyword, after):
            continue
        changes.append(Change(tag=tag, after=after))
    return tuple(sorted(changes, key=lambda change: change.tag))


def _equal(header: Dataset, keyword: str, after: DataElement) -> bool:
    if after.VR == "SQ":
        return False
    return text_of(header, keyword) == str(after.value or "")


def _note(proposal: str, study: str, sources: list[Source], maker: Maker) -> NotePlan:
    def derive(level: str) -> str:
        return derive_uid(maker.uid_root, "correction", proposal, "note", level, study)

    return NotePlan(
        sources=tuple(sources),
        study_instance_uid=study,
        series_instance_uid=derive("series"),
        sop_instance_uid=derive("instance"),
    )
