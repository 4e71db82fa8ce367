"""What a report copies from the images it speaks of, made fit to be written again.

Headers in the field are incomplete and odd. Identity (Patient ID, names, Accession
Number, UIDs) is copied as it is, or the report would be filed under somebody else; what
only describes (dates, times, sex) is copied where it is legal and left empty, the
standard's word for unknown, where it is not. Nothing here raises on what a header holds.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from pydicom import DataElement, Dataset
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag
from pydicom.valuerep import PersonName

_UNREADABLE = (ValueError, TypeError, AttributeError, LookupError, NotImplementedError, OSError)
"""What pydicom raises on an element that breaks the rules of its VR."""

_IDENTITY = (
    "PatientName",
    "PatientID",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
"""Type 2 in every IOD (PS3.3 Sections C.7.1.1 and C.7.2.1): always present, as received."""

_IF_PRESENT = ("IssuerOfPatientID", "StudyDescription")

_SINGLE_BYTE = frozenset(
    f"ISO_IR {number}" for number in (100, 101, 109, 110, 126, 127, 138, 144, 148, 166, 203)
)
"""Character sets whose text has one encoding only, so that a copy has equal bytes."""

_UTF8 = "ISO_IR 192"


def text_of(header: Dataset, keyword: str) -> str:
    """Return the decoded value of a text element, without padding; empty when unreadable."""
    try:
        value = header.get(keyword)
    except _UNREADABLE:
        return ""
    if value is None:
        return ""
    values = value if isinstance(value, MultiValue | list | tuple) else [value]
    return "\\".join(str(item) for item in values).strip(" \0")


def numbers_of(header: Dataset, keyword: str, *, count: int) -> tuple[float, ...] | None:
    """Return exactly `count` positive numbers, or None."""
    try:
        numbers = tuple(float(part) for part in text_of(header, keyword).split("\\"))
    except ValueError:
        return None
    fit = len(numbers) == count and all(0 < number < float("inf") for number in numbers)
    return numbers if fit else None


def element(keyword: str, value: Any) -> DataElement:
    """Return a data element whose value is written as it is, without a validator's remark."""
    tag = BaseTag(tag_for_keyword(keyword) or 0)
    return DataElement(tag, dictionary_VR(tag), value, validation_mode=IGNORE)


def patient_and_study(header: Dataset, *, own_text: str = "") -> Dataset:
    """Return the Patient and General Study attributes for a new object of the same study.

    Parameters
    ----------
    header : Dataset
        An image of the study.
    own_text : str
        Whatever else the new object says; decides the character set too.

    Returns
    -------
    Dataset
        With a (0008,0005) *Specific Character Set* in which every copied text has the
        meaning it had in `header`, and *Timezone Offset From UTC* where `header` has one.
    """
    copy = Dataset()
    for keyword in _IDENTITY:
        copy.add(_verbatim(header, keyword))
    for keyword in _IF_PRESENT:
        if text_of(header, keyword):
            copy.add(_verbatim(header, keyword))
    copy.add(element("StudyInstanceUID", text_of(header, "StudyInstanceUID")))
    copy.add(element("PatientBirthDate", _date(text_of(header, "PatientBirthDate"))))
    copy.add(element("StudyDate", _date(text_of(header, "StudyDate"))))
    copy.add(element("StudyTime", _time(text_of(header, "StudyTime"))))
    sex = text_of(header, "PatientSex").upper()
    copy.add(element("PatientSex", sex if sex in {"M", "F", "O"} else ""))
    if timezone_of(header) is not None:
        copy.add(element("TimezoneOffsetFromUTC", text_of(header, "TimezoneOffsetFromUTC")))
    character_set = _character_set(
        text_of(header, "SpecificCharacterSet"), [str(item.value) for item in copy], own_text
    )
    if character_set:
        copy.add(element("SpecificCharacterSet", character_set))
    return copy


def timezone_of(header: Dataset) -> timezone | None:
    """Return the time zone of the header's dates and times (PS3.3 Section C.12.1.1), if told."""
    match = re.fullmatch(r"([+-])(\d\d)([0-5]\d)", text_of(header, "TimezoneOffsetFromUTC"))
    if match is None or match[0] == "-0000":
        return None
    offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
    offset = -offset if match[1] == "-" else offset
    legal = timedelta(hours=-12) <= offset <= timedelta(hours=14)
    return timezone(offset) if legal else None


def local_moment(moment: datetime, header: Dataset) -> datetime:
    """Return `moment` to the second in the header's time zone; in UTC where it tells none."""
    return moment.astimezone(timezone_of(header) or UTC).replace(microsecond=0)


def laterality_of(header: Dataset) -> str:
    """Return R, L, B or U from Image Laterality or Laterality; empty when not told."""
    for keyword in ("ImageLaterality", "Laterality"):
        value = text_of(header, keyword)
        if value in {"R", "L", "B", "U"}:
            return value
    return ""


def orientation_of(header: Dataset) -> tuple[str, str] | None:
    """Return the two values of (0020,0020) Patient Orientation where they are legal."""
    parts = text_of(header, "PatientOrientation").split("\\")
    if len(parts) == 2 and all(re.fullmatch(r"[APRLHF]{1,3}", part) for part in parts):
        return parts[0], parts[1]
    return None


def code_string_of(header: Dataset, keyword: str) -> str:
    """Return a single legal CS value (PS3.5 Section 6.2), or an empty string."""
    value = text_of(header, keyword)
    return value if re.fullmatch(r"[A-Z0-9_ ]{1,16}", value) else ""


def anatomic_region_of(header: Dataset) -> Dataset | None:
    """Return the one coded (0008,2218) Anatomic Region, without modifiers, where it is whole."""
    try:
        items = list(header.get("AnatomicRegionSequence") or ())
    except _UNREADABLE:
        return None
    if len(items) != 1:
        return None
    keywords = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
    values = [text_of(items[0], keyword) for keyword in keywords]
    if not all(0 < len(value) <= 64 and value.isascii() for value in values):
        return None
    code = Dataset()
    for keyword, value in zip(keywords, values, strict=True):
        code.add(element(keyword, value))
    return code


def reference(header: Dataset) -> Dataset:
    """Return the UIDs by which a document refers to an object (PS3.3 Section 10.8)."""
    copy = Dataset()
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID"):
        copy.add(element(keyword, text_of(header, keyword)))
    return copy


def _verbatim(header: Dataset, keyword: str) -> DataElement:
    value: Any = text_of(header, keyword)
    if dictionary_VR(keyword) == "PN":
        value = PersonName(value, validation_mode=IGNORE)
    return element(keyword, value)


def _date(value: str) -> str:
    digits = value.replace(".", "")
    try:
        datetime.strptime(digits, "%Y%m%d").replace(tzinfo=UTC)
    except ValueError:
        return ""
    return digits if len(digits) == 8 else ""


def _time(value: str) -> str:
    digits = value.replace(":", "")
    legal = r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?"
    return digits if re.fullmatch(legal, digits) else ""


def _character_set(declared: str, copied: Iterable[str], own_text: str) -> str:
    """Choose so that identity stays: as declared where a copy has equal bytes, else UTF-8."""
    if declared == _UTF8 or not own_text.isascii():
        return _UTF8
    if declared in _SINGLE_BYTE:
        return declared
    if all(text.isascii() for text in copied):
        return ""
    # Undeclared bytes were read as Latin-1, a bijection: undeclared, they are written back
    # unchanged, and a reader that knows better than the header still can.
    return "" if declared in {"", "ISO_IR 6"} else _UTF8
