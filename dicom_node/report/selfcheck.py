"""A light check of every object before it is sent; full validators run in the tests.

A broken rule is our bug, not the sender's: attributes that were copied as identity are
not judged here.
"""

from collections.abc import Iterable, Iterator, Sequence

from pydicom import DataElement, Dataset
from pydicom.charset import python_encoding
from pydicom.uid import UID

from audit.errors import Fault
from dicom_node.report.content import BuiltObject, ReportRequest
from dicom_node.report.wording import WARNING

_LENGTHS = {"AE": 16, "CS": 16, "DS": 16, "IS": 12, "LO": 64, "SH": 16, "ST": 1024, "LT": 10240}
"""Longest value of each text VR, in characters (PS3.5 Section 6.2)."""

_TEXT = ("LO", "LT", "SH", "ST", "UC", "UT")
"""VRs whose characters (0008,0005) *Specific Character Set* decides (PS3.5 Section 6.1.2.3)."""

_COPIED = frozenset(
    {
        "PatientID",
        "IssuerOfPatientID",
        "StudyID",
        "AccessionNumber",
        "StudyDescription",
        "PatientName",
        "ReferringPhysicianName",
    }
)
"""As received, whatever their length: a cut Accession Number is another order's."""

_OWN_UIDS = frozenset({"UID", "DeviceUID", "InstanceCreatorUID"})

_NEVER_EMPTY = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "InstanceNumber",
    "Modality",
    "Manufacturer",
    "SeriesDescription",
)
_PRESENT = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
_OF_ROLE = {
    "SR": {
        "Modality": "SR",
        "VerificationFlag": "UNVERIFIED",
        "PreliminaryFlag": "PRELIMINARY",
        "ContentQualification": "RESEARCH",
    },
    "SC": {
        "Modality": "OT",
        "ConversionType": "WSD",
        "BurnedInAnnotation": "YES",
        "ContentQualification": "RESEARCH",
    },
}


class UnfitReport(Fault):
    """A report object breaks a rule of our own; `rules` names every one."""

    code = "report.object.unfit"

    def __init__(self, rules: Sequence[str]) -> None:
        super().__init__("; ".join(rules))
        self.rules = tuple(rules)


def check(built: BuiltObject, request: ReportRequest, overlays: Sequence[Dataset] = ()) -> None:
    """Check one object of a report.

    Parameters
    ----------
    overlays : sequence of Dataset
        For an SR: references to the heat maps beside it.

    Raises
    ------
    UnfitReport
        Naming the rules that were broken; never a value.
    """
    broken = {f"{built.role}: {rule}" for rule in _broken(built, request)}
    if built.role == "SR":
        broken |= {f"SR: {rule}" for rule in _broken_references(built.dataset, request, overlays)}
    if broken:
        raise UnfitReport(sorted(broken))


def _broken_references(
    report: Dataset, request: ReportRequest, overlays: Sequence[Dataset]
) -> Iterator[str]:
    uids = [str(overlay.SOPInstanceUID) for overlay in overlays]
    if len({*uids, str(report.get("SOPInstanceUID"))}) != len(uids) + 1:
        yield "SOP Instance UIDs are unique"
    if report.get("SeriesInstanceUID") in {overlay.SeriesInstanceUID for overlay in overlays}:
        yield "a series holds one SOP class"
    known = {str(image.header.get("SOPInstanceUID")) for image in request.images} | {*uids}
    listed = [str(item.ReferencedSOPInstanceUID) for item in _evidence(report)]
    if len(set(listed)) != len(listed):
        yield "evidence lists an instance once"
    if not set(listed) <= known:
        yield "evidence is of this report"
    if not _references(report) <= set(listed):
        yield "every reference is in the evidence"


def _broken(built: BuiltObject, request: ReportRequest) -> Iterator[str]:
    dataset = built.dataset
    for keyword in _NEVER_EMPTY:
        if dataset.get(keyword) in (None, ""):
            yield f"{keyword} has a value"
    yield from (f"{keyword} is present" for keyword in _PRESENT if keyword not in dataset)
    for keyword, value in _OF_ROLE[built.role].items():
        if dataset.get(keyword) != value:
            yield f"{keyword} is {value}"
    if dataset.get("StudyInstanceUID") != request.study_instance_uid:
        yield "the study is the one reported on"
    meta = getattr(dataset, "file_meta", None)
    if meta is None or meta.get("MediaStorageSOPInstanceUID") != dataset.get("SOPInstanceUID"):
        yield "the file meta information names the object"
    own_uids = [str(dataset.get(k, "")) for k in ("SOPInstanceUID", "SeriesInstanceUID")]
    own_uids += [str(i.value) for i in dataset.iterall() if i.keyword in _OWN_UIDS]
    if not all(UID(uid).is_valid for uid in own_uids):
        yield "UIDs are well formed (PS3.5 Section 9.1)"
    codec = python_encoding.get(str(dataset.get("SpecificCharacterSet", "")), "latin-1")
    for item in dataset.iterall():
        yield from _broken_by_element(item)
        own = item.VR in _TEXT and item.keyword not in _COPIED
        if own and not all(_fits(str(value), codec) for value in _values(item)):
            yield f"{item.keyword} can be written in the character set"
    if built.role == "SR":
        texts = [item.value for item in dataset.iterall() if item.keyword == "TextValue"]
        if WARNING not in texts:
            yield "the warning is in the text"


def _fits(text: str, codec: str) -> bool:
    try:
        text.encode(codec)
    except UnicodeError:
        return False
    return True


def _broken_by_element(item: DataElement) -> Iterator[str]:
    if item.tag.is_private:
        yield "no private elements"
        return
    longest = _LENGTHS.get(item.VR)
    if longest is None or item.keyword in _COPIED:
        return
    if any(len(str(value)) > longest for value in _values(item)):
        yield f"{item.keyword} is not longer than its VR allows"


def _values(item: DataElement) -> Iterable[object]:
    if item.value is None:
        return ()
    return item.value if item.VM > 1 else (item.value,)


def _evidence(dataset: Dataset) -> Iterator[Dataset]:
    for study in dataset.get("CurrentRequestedProcedureEvidenceSequence", ()):
        for series in study.ReferencedSeriesSequence:
            yield from series.ReferencedSOPSequence


def _references(item: Dataset) -> set[str]:
    """Return the instances that a content item and all below it refer to."""
    found: set[str] = set()
    if item.get("ValueType") == "IMAGE":
        found = {str(sop.ReferencedSOPInstanceUID) for sop in item.ReferencedSOPSequence}
    for child in item.get("ContentSequence", ()):
        found |= _references(child)
    return found
