"""Coded concepts of our content tree (PS3.16), each looked up in the standard.

Codes of regions and findings are not here: they belong to the models and to the mapping
table. What no standard scheme names is in our private scheme, which every object that
uses it declares (PS3.3 Section C.12.1.1.6, Coding Scheme Identification Sequence).
"""

from typing import Final

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import CodedConcept

from inference.types import Code, Decision, Verdict

PRIVATE_SCHEME: Final = "99XRAYAI"


def _dcm(value: str, meaning: str) -> CodedConcept:
    return CodedConcept(value, "DCM", meaning)


def _sct(value: str, meaning: str) -> CodedConcept:
    return CodedConcept(value, "SCT", meaning)


def _private(value: str, meaning: str) -> CodedConcept:
    return CodedConcept(value, PRIVATE_SCHEME, meaning)


AI_RESULT = _private("AI-RESULT", "AI X-ray Analysis Result")
IMAGING_MEASUREMENT_REPORT = _dcm("126000", "Imaging Measurement Report")
ENGLISH = CodedConcept("en-US", "RFC5646", "English (United States)")
PROCEDURE_REPORTED = _dcm("121058", "Procedure reported")
IMAGING_PROCEDURE = _sct("363679005", "Imaging procedure")
DEVICE = _dcm("121007", "Device")

QUALITATIVE_EVALUATIONS = CodedConcept("C0034375", "UMLS", "Qualitative Evaluations")
SUMMARY = CodedConcept("55112-7", "LN", "Summary")
IMAGING_MEASUREMENTS = _dcm("126010", "Imaging Measurements")
CERTAINTY = _dcm("111012", "Certainty of Finding")
PERCENT = CodedConcept("%", "UCUM", "Percent")
ARTIFICIAL_INTELLIGENCE = _dcm("123110", "Artificial Intelligence")
TARGET_REGION = _dcm("123014", "Target Region")
PREDICTED_REGION = _private("BP-PREDICTED", "Predicted anatomic region")
REGION_MATCHES = _private("BP-MATCH", "Predicted region matches expected region")
SOURCE_OF_MEASUREMENT = _dcm("121112", "Source of Measurement")
ILLUSTRATION_OF_FINDING = _dcm("125201", "Illustration of Finding")

IMAGE_LIBRARY = _dcm("111028", "Image Library")
IMAGE_LIBRARY_GROUP = _dcm("126200", "Image Library Group")
SOURCE = _sct("260753009", "Source")
MODALITY = _dcm("121139", "Modality")
PIXEL_DATA_ROWS = _dcm("110910", "Pixel Data Rows")
PIXEL_DATA_COLUMNS = _dcm("110911", "Pixel Data Columns")
HORIZONTAL_PIXEL_SPACING = _dcm("111026", "Horizontal Pixel Spacing")
VERTICAL_PIXEL_SPACING = _dcm("111066", "Vertical Pixel Spacing")
ORIENTATION_ROW = _dcm("111044", "Patient Orientation Row")
ORIENTATION_COLUMN = _dcm("111043", "Patient Orientation Column")
IMAGE_LATERALITY = _dcm("111027", "Image Laterality")
PIXELS = CodedConcept("{pixels}", "UCUM", "Pixels")
MILLIMETRE = CodedConcept("mm", "UCUM", "mm")

PROCESSING_EQUIPMENT = _dcm("109102", "Processing Equipment")
MODIFYING_EQUIPMENT = _dcm("109103", "Modifying Equipment")
PERSON = _dcm("121006", "Person")
INCORRECT_WORKLIST_ENTRY = _dcm("113038", "Incorrect Modality Worklist Entry")
SOURCE_IMAGE = _dcm("121322", "Source image for image processing operation")

PRESENCE: Final = {
    Decision.PRESENT: _sct("52101004", "Present"),
    Decision.ABSENT: _sct("272519000", "Absent"),
    Decision.UNDETERMINED: _sct("373068000", "Undetermined"),
}
"""PS3.16 CID 240."""

MATCH: Final = {
    Verdict.MATCH: _sct("373066001", "Yes"),
    Verdict.MISMATCH: _sct("373067005", "No"),
    Verdict.UNCERTAIN: _sct("373068000", "Undetermined"),
    Verdict.NOT_DECLARED: _sct("373068000", "Undetermined"),
}
"""PS3.16 CID 230."""

LATERALITY: Final = {
    "R": _sct("24028007", "Right"),
    "L": _sct("7771000", "Left"),
    "B": _sct("51440002", "Bilateral"),
    "U": _sct("66459002", "Unilateral"),
}
"""PS3.16 CID 244, by the value of (0020,0060) Laterality or (0020,0062) Image Laterality."""

MODALITIES: Final = {
    "CR": _dcm("CR", "Computed Radiography"),
    "DX": _dcm("DX", "Digital Radiography"),
    "RF": _dcm("RF", "Radiofluoroscopy"),
    "RG": _dcm("RG", "Radiographic imaging"),
    "XA": _dcm("XA", "X-Ray Angiography"),
    "MG": _dcm("MG", "Mammography"),
    "IO": _dcm("IO", "Intra-oral Radiography"),
    "PX": _dcm("PX", "Panoramic X-Ray"),
}
"""PS3.16 CID 29, the X-ray part."""

UNPAIRED_BODY_PARTS: Final = frozenset(
    {
        "ABDOMEN",
        "ABDOMENPELVIS",
        "CHEST",
        "CHESTABDOMEN",
        "CHESTABDPELVIS",
        "COCCYX",
        "CSPINE",
        "CTSPINE",
        "FACE",
        "HEAD",
        "JAW",
        "LSPINE",
        "LSSPINE",
        "MANDIBLE",
        "MAXILLA",
        "NECK",
        "NOSE",
        "PELVIS",
        "PHANTOM",
        "SKULL",
        "SPINE",
        "SSPINE",
        "STERNUM",
        "TLSPINE",
        "TSPINE",
        "WHOLEBODY",
    }
)
"""PS3.16 Annex L terms of regions that exist once: these take no Laterality, not even an
empty one (PS3.3 Section C.7.3.1). Of any other, known or not, Laterality is written."""


def concept(code: Code) -> CodedConcept:
    """Return `code` as a DICOM coded concept."""
    return CodedConcept(code.value, code.scheme, code.meaning[:64])


def private_concept(key: str) -> Code:
    """Return a concept of our own scheme for a label or region that declares no code."""
    return Code(scheme=PRIVATE_SCHEME, value=key.upper(), meaning=key.replace("_", " "))


def scheme_declarations() -> list[CodingSchemeIdentificationItem]:
    """Return what the Coding Scheme Identification Sequence says of our private scheme."""
    return [
        CodingSchemeIdentificationItem(
            designator=PRIVATE_SCHEME,
            name="X-ray AI results, private concepts",
            responsible_organization="dicom-node project",
        )
    ]
