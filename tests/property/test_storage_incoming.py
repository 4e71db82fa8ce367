"""Headers of any sender: filed safely or refused, never an error of another kind."""

from io import BytesIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from audit.errors import InvalidDataset
from storage.index import NewInstance, new_instance_from_header
from storage.models import Accession, Instance, Patient, Series, Study
from tests.builders import chest_radiograph, part10_bytes
from tests.filings import NOON

TEXTS = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "IssuerOfPatientID",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "StudyDescription",
    "Modality",
    "BodyPartExamined",
    "SeriesDescription",
    "SeriesNumber",
    "InstanceNumber",
    "SpecificCharacterSet",
    "IssuerOfAccessionNumberSequence",
)
COLUMNS = {
    column.name: column.type.length
    for model in (Patient, Accession, Study, Series, Instance)
    for column in model.__table__.c
    if getattr(column.type, "length", None) is not None
}


def filed(header: Dataset, **others: Any) -> NewInstance:
    if "sop_instance_uid" not in others:
        others["sop_instance_uid"] = str(header.SOPInstanceUID)
    values: dict[str, Any] = {
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.1",
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "content_sha256": "a" * 64,
        "size_bytes": 1,
        "path": "instances/a.dcm",
        "calling_ae_title": "MODALITY",
        "route": "chest",
        "urgent": False,
        "received_at": NOON,
    }
    return new_instance_from_header(header, **{**values, **others})


def as_received(**elements: Any) -> Dataset:
    """Return a header as the parser leaves it: bytes, not yet converted."""
    content = part10_bytes(chest_radiograph(**elements))
    return dcmread(BytesIO(content), stop_before_pixels=True)


def with_bytes(keyword: str, value: bytes, vr: str = "LO") -> Dataset:
    header = as_received()
    tag = Tag(keyword)
    header._dict[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
    return header


@settings(max_examples=300)
@given(
    keyword=st.sampled_from(TEXTS),
    value=st.binary(max_size=400),
    charset=st.sampled_from(
        [b"", b"ISO_IR 192", b"ISO 2022 IR 87", b"\\ISO 2022 IR 149", b"zlib", b"idna", b"nonsense"]
    ),
)
@pytest.mark.filterwarnings("ignore")  # pydicom says that the made-up bytes are bad: they are
def test_any_bytes_in_any_element_fit_the_columns(
    keyword: str, value: bytes, charset: bytes
) -> None:
    header = with_bytes("SpecificCharacterSet", charset, "CS")
    tag = Tag(keyword)
    vr = "SQ" if keyword.endswith("Sequence") else "LO"
    header._dict[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)

    new = filed(header)

    for name in new.__dataclass_fields__:
        text = getattr(new, name)
        if isinstance(text, str):
            assert len(text) <= COLUMNS.get("issuer" if name == "accession_issuer" else name, 1024)
            assert not any(ord(each) < ord(" ") for each in text)
            text.encode("utf-8")


def test_every_column_is_filled_from_its_element() -> None:
    issuer = Dataset()
    issuer.LocalNamespaceEntityID = "HOSPITAL"
    header = as_received(
        PatientName="Yamada^Tarou=山田^太郎",
        IssuerOfPatientID="NORTH",
        IssuerOfAccessionNumberSequence=[issuer],
        SeriesNumber=3,
    )

    new = filed(header)

    assert new.patient_name == "Yamada^Tarou=山田^太郎"
    assert (new.patient_id, new.issuer_of_patient_id) == ("FAKE-0001", "NORTH")
    assert (new.birth_date, new.sex) == ("19700101", "O")
    assert (new.accession_number, new.accession_issuer) == ("FAKE-ACC-1", "HOSPITAL")
    assert (new.study_id, new.study_date, new.study_time) == ("1", "20260102", "101500")
    assert (new.study_description, new.series_description) == ("XR CHEST PA", "PA")
    assert (new.modality, new.body_part_examined) == ("CR", "CHEST")
    assert (new.series_number, new.instance_number) == ("3", "1")
    assert new.study_instance_uid == header.StudyInstanceUID
    assert new.series_instance_uid == header.SeriesInstanceUID


def test_a_header_that_was_already_converted_reads_the_same() -> None:
    header = as_received(ImageType=["ORIGINAL", "PRIMARY"], OtherPatientIDs=None)
    before = filed(header)

    str(header)  # pydicom converts every element

    assert all(
        getattr(filed(header), name) == getattr(before, name)
        for name in NewInstance.__dataclass_fields__
    )


@pytest.mark.parametrize(
    ("charset", "raw", "name"),
    [
        (b"ISO_IR 100", "Müller^Jörg".encode("latin-1"), "Müller^Jörg"),
        (b"ISO_IR 144", "Люкс".encode("iso8859-5"), "Люкс"),
        (b"", b"Invented^Patient", "Invented^Patient"),
        (b"\\ISO 2022 IR 149", b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7", "洪^吉洞"),
    ],
)
def test_names_are_read_in_their_character_set(charset: bytes, raw: bytes, name: str) -> None:
    header = with_bytes("SpecificCharacterSet", charset, "CS")
    tag = Tag("PatientName")
    header._dict[tag] = RawDataElement(tag, "PN", len(raw), raw, 0, False, True)

    assert filed(header).patient_name.endswith(name)


def test_what_a_database_refuses_is_replaced() -> None:
    header = chest_radiograph()
    header.StudyDescription = "a\0b\udc80c"

    assert filed(header).study_description == "ab?c"


def test_without_patient_id_nobody_is_named() -> None:
    new = filed(as_received(PatientID=None, IssuerOfPatientID="NORTH"))

    assert (new.patient_id, new.issuer_of_patient_id, new.patient_name) == ("", "", "")
    assert (new.birth_date, new.sex) == ("", "")


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
@pytest.mark.parametrize(
    "value",
    [b"", b"abc", b"1.2.", b"1..2", b"1.2\\1.3", b"1." + b"2" * 63, b"../../etc", b"1.2 .3"],
)
def test_a_uid_that_is_none_is_refused_without_being_repeated(keyword: str, value: bytes) -> None:
    header = with_bytes(keyword, value, "UI")
    announced = value.decode() if keyword == "SOPInstanceUID" else str(header.SOPInstanceUID)

    with pytest.raises(InvalidDataset) as failure:
        filed(header, sop_instance_uid=announced)

    assert not value or value.decode() not in str(failure.value)


def test_a_uid_with_leading_zeros_is_taken_as_real_modalities_write_it() -> None:
    header = with_bytes("StudyInstanceUID", b"999.999.01.23\0", "UI")

    assert filed(header).study_instance_uid == "999.999.01.23"


def test_a_data_set_under_another_uid_than_announced_is_refused() -> None:
    with pytest.raises(InvalidDataset):
        filed(as_received(), sop_instance_uid="1.2.3")


def test_the_value_shows_nobody_in_a_log() -> None:
    assert "Invented" not in repr(filed(as_received()))
