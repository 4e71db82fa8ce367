"""The order that an image belongs to, as attributes of the image (pure).

Elements follow PS3.3 Section C.7.2.1 (General Study) and Section 10.6 (Request Attributes).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydicom import DataElement, Dataset

from dicom_node.report.evidence import code_string_of, element, text_of
from inference.types import Code

_OID = re.compile(r"\d+(\.\d+)+")

OF_THE_OLD_ORDER = (
    "ReferencedStudySequence",
    "ReferencedPerformedProcedureStepSequence",
    "ProcedureCodeSequence",
    "RequestedProcedureID",
    "RequestedProcedureDescription",
    "RequestedProcedureCodeSequence",
    "RequestedProcedureComments",
    "ReasonForTheRequestedProcedure",
    "ReasonForRequestedProcedureCodeSequence",
    "ReasonForVisit",
    "PlacerOrderNumberImagingServiceRequest",
    "FillerOrderNumberImagingServiceRequest",
    "OrderPlacerIdentifierSequence",
    "OrderFillerIdentifierSequence",
    "ImagingServiceRequestComments",
    "ReferringPhysicianIdentificationSequence",
    "RequestingPhysician",
    "RequestingPhysicianIdentificationSequence",
    "RequestingService",
    "RequestingServiceCodeSequence",
    "PhysiciansOfRecord",
    "PhysiciansOfRecordIdentificationSequence",
    "StudyComments",
)
"""They speak of the order under which the image was filed, or of its doctors and its ward, so
a copy has none of them."""

FROM_THE_STUDY = (
    "StudyID",
    "StudyDate",
    "StudyTime",
    "StudyDescription",
    "ReferringPhysicianName",
)
"""Taken from an image that is in the target study already, where there is one, as it has them:
empty ones, too."""

_LONGEST_DESCRIPTION = 64
_LONGEST_ID = 16
"""Characters of an SH value (PS3.5 Section 6.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetOrder:
    """What is known of the order; an empty value is unknown and is not guessed."""

    accession_number: str
    issuer: str = ""
    """Local name or universal id of the issuer (PS3.3 Table 10-17)."""

    patient_id: str
    patient_issuer: str = ""
    study_instance_uid: str = ""
    requested_procedure_id: str = ""
    description: str = ""
    codes: tuple[Code, ...] = ()
    regions: tuple[str, ...] = ()
    laterality: str = ""
    """L, R, B, or empty where the order says none."""

    study: Mapping[str, str] = field(default_factory=dict)
    """Values of `FROM_THE_STUDY` in the target study; empty when it holds no image yet."""

    undecided: bool = False
    """Several procedures of the order may be meant; what they do not share is left out."""

    stale: bool = False

    def remarks(self, header: Dataset, *, study_is_new: bool) -> tuple[str, ...]:
        """Return what a person should know before accepting."""
        said = []
        if study_is_new:
            said.append("the order's Study Instance UID is not known here: a new one is derived")
        if not (self.study.get("StudyDescription") or self.description):
            said.append("the order's description is not known here: Study Description is removed")
        referred = text_of(header, "ReferringPhysicianName")
        if referred and not self.study.get("ReferringPhysicianName"):
            said.append("who referred is not known here: Referring Physician's Name is emptied")
        if self.stale:
            said.append("the order has not been confirmed lately by its source")
        if self.undecided:
            said.append(
                "the order has several procedures, and which of them the image is for is not "
                "known: procedure id, code and description are left out where they differ"
            )
        body_part = text_of(header, "BodyPartExamined")
        if body_part and self.regions and body_part not in self.regions:
            said.append(f"Body Part Examined stays {body_part}, as the operator left it")
        tagged = code_string_of(header, "ImageLaterality") or code_string_of(header, "Laterality")
        if tagged in {"L", "R"} and self.laterality in {"L", "R"} and tagged != self.laterality:
            said.append(f"the image is tagged {tagged}, the order is for {self.laterality}")
        return tuple(said)


def order_elements(
    order: TargetOrder, header: Dataset, study_instance_uid: str
) -> dict[str, DataElement | None]:
    """Return every attribute that the order decides, by keyword; None removes it.

    Parameters
    ----------
    order : TargetOrder
    header : Dataset
        The image as received.
    study_instance_uid : str
        The study that the copy goes into.
    """
    wanted: dict[str, DataElement | None] = dict.fromkeys(OF_THE_OLD_ORDER)
    wanted["AccessionNumber"] = element("AccessionNumber", order.accession_number)
    wanted["IssuerOfAccessionNumberSequence"] = _issuer(order.issuer)
    for keyword in FROM_THE_STUDY:
        if keyword in order.study:
            wanted[keyword] = element(keyword, order.study[keyword])
    if "StudyID" not in order.study:
        wanted["StudyID"] = element("StudyID", _short(order.requested_procedure_id))
    if "ReferringPhysicianName" not in order.study:
        wanted["ReferringPhysicianName"] = element("ReferringPhysicianName", "")
    if not order.study.get("StudyDescription"):
        wanted["StudyDescription"] = _described(order.description) if order.description else None
    if order.codes:
        wanted["ProcedureCodeSequence"] = element("ProcedureCodeSequence", _coded(order.codes))
    request = _request(order, study_instance_uid)
    wanted["RequestAttributesSequence"] = element("RequestAttributesSequence", [request])
    return wanted


def _request(order: TargetOrder, study_instance_uid: str) -> Dataset:
    """Return the one item of the Request Attributes Sequence (PS3.3 Table 10-9)."""
    item = Dataset()
    item.add(element("AccessionNumber", order.accession_number))
    issuer = _issuer(order.issuer)
    if issuer is not None:
        item.add(issuer)
    item.add(element("StudyInstanceUID", study_instance_uid))
    if order.description:
        item.add(element("RequestedProcedureDescription", order.description[:64]))
    if order.codes:
        item.add(element("RequestedProcedureCodeSequence", _coded(order.codes[:1])))
    if _short(order.requested_procedure_id):
        item.add(element("RequestedProcedureID", order.requested_procedure_id))
    return item


def _issuer(issuer: str) -> DataElement | None:
    """Return the Issuer of Accession Number Sequence (PS3.3 Table 10-17), None if unknown."""
    if not issuer:
        return None
    item = Dataset()
    if _OID.fullmatch(issuer):
        item.add(element("UniversalEntityID", issuer))
        item.add(element("UniversalEntityIDType", "ISO"))
    else:
        item.add(element("LocalNamespaceEntityID", issuer))
    return element("IssuerOfAccessionNumberSequence", [item])


def _coded(codes: Sequence[Code]) -> list[Dataset]:
    """Return code items with the attribute that fits each value (PS3.3 Section 8.1)."""
    items = []
    for code in codes:
        item = Dataset()
        if re.match(r"(urn:|https?:)", code.value):
            item.add(element("URNCodeValue", code.value))
        elif len(code.value) > 16:
            item.add(element("LongCodeValue", code.value))
        else:
            item.add(element("CodeValue", code.value))
        if not re.match(r"(urn:|https?:)", code.value):
            item.add(element("CodingSchemeDesignator", code.scheme[:16]))
        item.add(element("CodeMeaning", (code.meaning or code.value)[:64]))
        items.append(item)
    return items


def _described(text: str) -> DataElement:
    return element("StudyDescription", text[:_LONGEST_DESCRIPTION])


def fits_short(identifier: str) -> bool:
    """Whether an identifier fits the VR SH as one value; a cut one would be another's."""
    return len(identifier) <= _LONGEST_ID and "\\" not in identifier


def _short(identifier: str) -> str:
    """Return an identifier that fits its VR, SH."""
    return identifier if fits_short(identifier) else ""
