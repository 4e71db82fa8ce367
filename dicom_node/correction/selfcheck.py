"""A check of every object of a package, on the bytes that would be sent, before they are.

A broken rule is our bug: what the source had wrong is copied as it is and not judged.
"""

from collections.abc import Iterator, Sequence
from io import BytesIO

from pydicom import Dataset, dcmread
from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag
from pydicom.uid import UID, KeyObjectSelectionDocumentStorage

from audit.errors import Fault
from dicom_node.correction.copies import CORRECT, SIGNATURES, holds, told_by
from dicom_node.correction.order import fits_short
from dicom_node.correction.plan import CopyPlan, CorrectionPlan, NotePlan
from dicom_node.report import codes
from dicom_node.report.evidence import element, text_of

_PATIENT = ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex")
_ADDED = frozenset(
    BaseTag(element(keyword, None).tag)
    for keyword in (
        "InstanceCreationDate",
        "InstanceCreationTime",
        "InstanceCreatorUID",
        "OriginalAttributesSequence",
        "ContributingEquipmentSequence",
        *SIGNATURES,
    )
)


_PIXELS = 0x7FE0


class UnfitCorrection(Fault):
    """An object of a correction package breaks a rule of our own; `rules` names every one."""

    code = "correction.object.unfit"

    def __init__(self, rules: Sequence[str]) -> None:
        super().__init__("; ".join(rules))
        self.rules = tuple(rules)


def check_uids(plan: CorrectionPlan) -> None:
    """Check that new UIDs are new, well formed and each used once.

    Raises
    ------
    UnfitCorrection
        Naming the rules that were broken; never a value.
    """
    planned: list[CopyPlan | NotePlan] = [*plan.copies, *plan.notes]
    new = [each.sop_instance_uid for each in planned]
    old = {text_of(copy.source.header, "SOPInstanceUID") for copy in plan.copies}
    series = {each.series_instance_uid for each in planned}
    old_series = {text_of(copy.source.header, "SeriesInstanceUID") for copy in plan.copies}
    all_new = {*new, *series, *(copy.study_instance_uid for copy in plan.copies)}
    _require(
        {
            "SOP Instance UIDs are new and unique": len({*new} - old) == len(new),
            "Series Instance UIDs are new": not series & old_series,
            "UIDs are well formed (PS3.5 Section 9.1)": all(UID(u).is_valid for u in all_new),
        }
    )


def check_copy(content: bytes, copy: CopyPlan) -> None:
    """Check a copy against its image: pixels, patient and all else as they were.

    Raises
    ------
    UnfitCorrection
    """
    made, source = dcmread(BytesIO(content)), dcmread(copy.source.path)
    changed = {change.tag for change in copy.changes} | _ADDED
    if text_of(made, "SpecificCharacterSet") != text_of(source, "SpecificCharacterSet"):
        changed |= {tag for tag in {*made.keys(), *source.keys()} if tag.group != _PIXELS}
    pixels, pixels_before = made.group_dataset(_PIXELS), source.group_dataset(_PIXELS)
    rules = {
        "what the order does not decide is unchanged": not [*_differing(made, source, changed)],
        "the pixels are the very bytes": not [*_differing(pixels, pixels_before, set())],
        "the transfer syntax is the image's": made.file_meta.TransferSyntaxUID
        == source.file_meta.TransferSyntaxUID,
        "the patient is the image's": all(text_of(made, k) == text_of(source, k) for k in _PATIENT),
        "the Accession Number is the order's": text_of(made, "AccessionNumber")
        == copy.order.accession_number,
        "the Accession Number fits its VR (PS3.5 Section 6.2)": fits_short(
            text_of(made, "AccessionNumber")
        ),
        "the character set holds what the order says": holds(
            text_of(made, "SpecificCharacterSet"), told_by(copy)
        ),
        "the file meta information names the object": made.file_meta.MediaStorageSOPInstanceUID
        == text_of(made, "SOPInstanceUID"),
    }
    for keyword, planned in (
        ("StudyInstanceUID", copy.study_instance_uid),
        ("SeriesInstanceUID", copy.series_instance_uid),
        ("SOPInstanceUID", copy.sop_instance_uid),
    ):
        rules[f"{keyword} is the planned one"] = text_of(made, keyword) == planned
    rules |= _original_attributes(made, source)
    _require(rules)


def check_note(content: bytes, note: NotePlan) -> None:
    """Check that a rejection note rejects the images of its study and nothing else.

    Raises
    ------
    UnfitCorrection
    """
    made = dcmread(BytesIO(content))
    header = note.sources[0].header
    rejected = [text_of(source.header, "SOPInstanceUID") for source in note.sources]
    title = made.ConceptNameCodeSequence[0]
    named = [
        str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for item in made.ContentSequence
        if item.ValueType in {"IMAGE", "COMPOSITE", "WAVEFORM"}
    ]
    studies = made.CurrentRequestedProcedureEvidenceSequence
    evidence = [
        str(sop.ReferencedSOPInstanceUID)
        for study in studies
        for series in study.ReferencedSeriesSequence
        for sop in series.ReferencedSOPSequence
    ]
    _require(
        {
            "a rejection note is a Key Object Selection": made.SOPClassUID
            == KeyObjectSelectionDocumentStorage,
            "its title is Incorrect Modality Worklist Entry": title.CodeValue
            == codes.INCORRECT_WORKLIST_ENTRY.value,
            "it is in the study that it speaks of": made.StudyInstanceUID == note.study_instance_uid
            and [str(study.StudyInstanceUID) for study in studies] == [note.study_instance_uid],
            "it names each rejected image once": sorted(named) == sorted(rejected),
            "its evidence is what it names": sorted(evidence) == sorted(rejected),
            "its patient and order are the study's": all(
                text_of(made, k) == text_of(header, k) for k in ("PatientID", "AccessionNumber")
            ),
        }
    )


def _differing(made: Dataset, source: Dataset, changed: set[BaseTag]) -> Iterator[BaseTag]:
    for tag in {*made.keys(), *source.keys()} - changed:
        if tag.element != 0 and not _same(made, source, tag):  # group lengths are retired
            yield tag


def _same(made: Dataset, source: Dataset, tag: BaseTag) -> bool:
    if tag not in made or tag not in source:
        return False
    one, other = made.get_item(tag), source.get_item(tag)
    if isinstance(one, RawDataElement) and isinstance(other, RawDataElement):
        return _even(one.value) == _even(other.value)
    return _even(made[tag].value) == _even(source[tag].value)


def _even(value: object) -> object:
    """Return a value as it is written: an odd length, which breaks PS3.5 Section 7.1.1, is
    made even."""
    return value + b"\0" if isinstance(value, bytes) and len(value) % 2 else value


def _original_attributes(made: Dataset, source: Dataset) -> dict[str, bool]:
    items = made.get("OriginalAttributesSequence") or ()
    last = items[-1] if items else Dataset()
    [before] = last.get("ModifiedAttributesSequence") or (Dataset(),)
    identity = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "AccessionNumber")
    return {
        "the reason for the change is CORRECT": last.get("ReasonForTheAttributeModification")
        == CORRECT,
        "the values before the change are kept": all(
            text_of(before, k) == text_of(source, k) for k in identity
        ),
        "what earlier systems said of changes is kept": len(items)
        == len(source.get("OriginalAttributesSequence") or ()) + 1,
    }


def _require(rules: dict[str, bool]) -> None:
    broken = [rule for rule, holds in rules.items() if not holds]
    if broken:
        raise UnfitCorrection(broken)
