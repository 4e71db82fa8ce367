"""From the header of a received data set to the columns it is filed under (pure).

Nothing here trusts the sender: a damaged element reads as what is left of it, text is cut
to its column, and what a database refuses (NUL, lone surrogates) is replaced. Only the UIDs
must be right, for filing under a wrong one would mix patients.
"""

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from pydicom import Dataset
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import tag_for_keyword
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.valuerep import PN_DELIMS, TEXT_VR_DELIMS

from audit.errors import InvalidDataset

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LONGEST_TEXT = 1024
_DATA_SET_CHARSET = "SpecificCharacterSet"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class NewInstance:
    """A received instance, ready to be filed. Text fields fit their columns.

    It has no repr, for it names a patient and a repr may end in a log.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    content_sha256: str
    """Of the data set as received, without preamble and file meta information."""

    size_bytes: int
    path: str
    """Relative to the storage root."""

    calling_ae_title: str
    route: str
    """Empty where no route took it: it is stored and nothing more."""

    urgent: bool
    received_at: datetime
    patient_id: str = ""
    issuer_of_patient_id: str = ""
    patient_name: str = ""
    birth_date: str = ""
    sex: str = ""
    accession_number: str = ""
    accession_issuer: str = ""
    study_id: str = ""
    study_date: str = ""
    study_time: str = ""
    study_description: str = ""
    modality: str = ""
    body_part_examined: str = ""
    series_description: str = ""
    series_number: str = ""
    instance_number: str = ""


def new_instance_from_header(
    header: Dataset,
    *,
    sop_class_uid: str,
    sop_instance_uid: str,
    transfer_syntax_uid: str,
    content_sha256: str,
    size_bytes: int,
    path: str,
    calling_ae_title: str,
    route: str,
    urgent: bool,
    received_at: datetime,
) -> NewInstance:
    """Return what `header` says, cut and cleaned; the other arguments are taken over.

    Raises
    ------
    InvalidDataset
        Study, Series or SOP Instance UID is missing or malformed (PS3.5 Section 9.1;
        leading zeros are let pass, because real modalities write them), or the header's
        SOP Instance UID is not `sop_instance_uid`.
    """
    text = _Text(header)
    if text("SOPInstanceUID", 65) != sop_instance_uid:
        raise InvalidDataset("the data set's SOP Instance UID is not the announced one")
    patient_id = text("PatientID", 256)
    return NewInstance(
        study_instance_uid=_uid(text("StudyInstanceUID", 65), "Study Instance UID"),
        series_instance_uid=_uid(text("SeriesInstanceUID", 65), "Series Instance UID"),
        sop_instance_uid=_uid(sop_instance_uid, "SOP Instance UID"),
        sop_class_uid=_uid(sop_class_uid, "SOP Class UID"),
        transfer_syntax_uid=_uid(transfer_syntax_uid, "Transfer Syntax UID"),
        content_sha256=content_sha256,
        size_bytes=size_bytes,
        path=path,
        calling_ae_title=calling_ae_title[:16],
        route=route,
        urgent=urgent,
        received_at=received_at,
        patient_id=patient_id,
        # Without an ID nothing tells two people apart, so the shared row names nobody.
        issuer_of_patient_id=text("IssuerOfPatientID", 256) if patient_id else "",
        patient_name=text("PatientName", _LONGEST_TEXT) if patient_id else "",
        birth_date=text("PatientBirthDate", 8) if patient_id else "",
        sex=text("PatientSex", 16) if patient_id else "",
        accession_number=text("AccessionNumber", 64),
        accession_issuer=_accession_issuer(header),
        study_id=text("StudyID", 64),
        study_date=text("StudyDate", 32),
        study_time=text("StudyTime", 32),
        study_description=text("StudyDescription", _LONGEST_TEXT),
        modality=text("Modality", 16),
        body_part_examined=text("BodyPartExamined", 64),
        series_description=text("SeriesDescription", _LONGEST_TEXT),
        series_number=text("SeriesNumber", 16),
        instance_number=text("InstanceNumber", 16),
    )


def _uid(value: str, name: str) -> str:
    if len(value) > 64 or _UID.fullmatch(value) is None:
        raise InvalidDataset(f"{name} is missing or malformed (PS3.5 Section 9.1)")
    return value


def _accession_issuer(header: Dataset) -> str:
    """Return the local or else the universal entity ID (PS3.3 Table 10-17)."""
    try:
        items = header.get("IssuerOfAccessionNumberSequence") or ()
        item = next(iter(items), Dataset())
        text = _Text(item, parent=header)
        return text("LocalNamespaceEntityID", 256) or text("UniversalEntityID", 256)
    except Exception:  # noqa: BLE001 - pydicom parses it now; what it cannot parse is absent
        return ""


class _Text:
    """Reads elements as text from the bytes that came, without pydicom's conversion:
    that raises on bad values, and its warnings repeat them."""

    def __init__(self, header: Dataset, parent: Dataset | None = None) -> None:
        self._header = header
        self._encodings = ["iso8859"]
        named = self._plain(header, _DATA_SET_CHARSET) or (
            self._plain(parent, _DATA_SET_CHARSET) if parent is not None else ""
        )
        # An unknown character set reads as Latin-1: wrong letters, never an error.
        with suppress(LookupError, ValueError):
            self._encodings = convert_encodings(named.split("\\"))

    def __call__(self, keyword: str, longest: int) -> str:
        """Return the value, clean and at most `longest` characters; several stay joined by
        backslashes."""
        return self._plain(self._header, keyword)[:longest].strip()

    def _plain(self, header: Dataset, keyword: str) -> str:
        tag = tag_for_keyword(keyword)
        assert tag is not None
        element = header.get_item(tag)
        value = getattr(element, "value", None)
        if value is None or isinstance(value, Sequence):
            return ""
        if isinstance(value, bytes):
            value = self._decoded(value[: 4 * _LONGEST_TEXT])
        elif isinstance(value, (MultiValue, list, tuple)):
            value = "\\".join(str(part) for part in value)
        text = str(value).encode("utf-8", "replace").decode("utf-8")
        return _CONTROL.sub("", text).strip()

    def _decoded(self, value: bytes) -> str:
        try:
            return decode_bytes(value, self._encodings, PN_DELIMS | TEXT_VR_DELIMS)
        except (LookupError, ValueError):  # the name of a codec that is not one for text
            return value.decode("iso8859")
