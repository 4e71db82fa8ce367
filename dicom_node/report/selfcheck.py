"""A light check of every object before it is sent; full validators run in the tests.

A broken rule is our bug, not the sender's: attributes that were copied as identity are
not judged here.
"""

from collections.abc import Iterable, Iterator, Sequence

from pydicom import DataElement, Dataset
from pydicom.uid import UID

from audit.errors import Fault
from dicom_node.report.content import BuiltObject, ReportRequest
from dicom_node.report.wording import WARNING

_LENGTHS = {"AE": 16, "CS": 16, "DS": 16, "IS": 12, "LO": 64, "SH": 16, "ST": 1024, "LT": 10240}
"""Longest value of each text VR, in characters (PS3.5 Section 6.2)."""

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


def check(objects: Sequence[BuiltObject], request: ReportRequest) -> None:
    """Check the objects of one report, singly and together.

    Raises
    ------
    UnfitReport
        Naming the rules that were broken; never a value.
    """
    broken = [f"{built.role}: {rule}" for built in objects for rule in _broken(built, request)]
    uids = [built.dataset.get("SOPInstanceUID") for built in objects]
    if len(set(uids)) != len(uids):
        broken.append("SOP Instance UIDs are unique")
    series = [(built.dataset.get("SeriesInstanceUID"), built.role) for built in objects]
    if len({uid for uid, _ in series}) != len(set(series)):
        broken.append("a series holds one SOP class")
    evidence = {str(i.header.get("SOPInstanceUID")) for i in request.images} | {*map(str, uids)}
    for built in objects:
        if built.role == "SR":
            listed = [str(item.ReferencedSOPInstanceUID) for item in _evidence(built.dataset)]
            if len(set(listed)) != len(listed):
                broken.append("SR: evidence lists an instance once")
            if not set(listed) <= evidence:
                broken.append("SR: evidence is of this report")
            if not _references(built.dataset) <= set(listed):
                broken.append("SR: every reference is in the evidence")
    if broken:
        raise UnfitReport(sorted(set(broken)))


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
    for item in dataset.iterall():
        yield from _broken_by_element(item)
    if built.role == "SR":
        texts = [item.value for item in dataset.iterall() if item.keyword == "TextValue"]
        if WARNING not in texts:
            yield "the warning is in the text"


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
