"""What a report copies from a header, and what it leaves empty."""

from datetime import UTC, datetime, timedelta
from io import BytesIO

import pytest
from pydicom import Dataset, dcmread, dcmwrite

from dicom_node.report.evidence import (
    anatomic_region_of,
    element,
    laterality_of,
    local_moment,
    numbers_of,
    orientation_of,
    patient_and_study,
    text_of,
    timezone_of,
)
from tests.builders import chest_radiograph, part10_bytes


def _reread(dataset: Dataset) -> Dataset:
    buffer = BytesIO()
    dcmwrite(
        buffer,
        dataset,
        little_endian=True,
        implicit_vr=False,
        force_encoding=True,
    )
    buffer.seek(0)
    return dcmread(buffer, force=True)


def test_missing_type_2_attributes_are_written_empty():
    header = Dataset()
    header.StudyInstanceUID = "1.2.3"

    copied = patient_and_study(header)

    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID"):
        assert keyword in copied
        assert text_of(copied, keyword) == ""


@pytest.mark.parametrize(
    ("keyword", "received", "written"),
    [
        ("PatientSex", "?", ""),
        ("PatientSex", "f", "F"),
        ("PatientBirthDate", "00000000", ""),
        ("StudyDate", "2004.08.26", "20040826"),
        ("StudyDate", "200408", ""),
        ("StudyTime", "18:50:59", "185059"),
        ("StudyTime", "185059.25", "185059.25"),
        ("StudyTime", "9999", ""),
    ],
)
def test_what_only_describes_is_copied_where_legal(keyword, received, written):
    header = chest_radiograph()
    header.add(element(keyword, received))

    assert text_of(patient_and_study(header), keyword) == written


def test_identity_is_copied_whatever_its_length():
    header = chest_radiograph()
    header.add(element("AccessionNumber", "A" * 30))
    header.add(element("PatientID", "with\\backslash"))

    copied = patient_and_study(header)

    assert text_of(copied, "AccessionNumber") == "A" * 30
    assert text_of(copied, "PatientID") == "with\\backslash"


@pytest.mark.parametrize(
    ("declared", "name", "written_as"),
    [
        ("ISO_IR 144", "Люксембург", "ISO_IR 144"),
        ("ISO_IR 100", "Buc^Jérôme", "ISO_IR 100"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎", "ISO_IR 192"),
        ("GB18030", "Wang^XiaoDong=王^小东", "ISO_IR 192"),
        (["ISO 2022 IR 6", "ISO 2022 IR 87"], "Plain^Name", None),
        ("ISO_IR 192", "Plain^Name", "ISO_IR 192"),
        (None, "Plain^Name", None),
    ],
)
def test_names_keep_their_meaning_in_the_character_set_chosen(declared, name, written_as):
    header = dcmread(
        BytesIO(part10_bytes(chest_radiograph(SpecificCharacterSet=declared, PatientName=name)))
    )

    copied = patient_and_study(header)

    assert copied.get("SpecificCharacterSet") == written_as
    assert str(_reread(copied).PatientName) == name


def test_undeclared_bytes_of_a_name_are_written_back_unchanged():
    shift_jis = "ﾔﾏﾀﾞ^ﾀﾛｳ".encode("shift_jis")
    content = part10_bytes(chest_radiograph(SpecificCharacterSet=None, PatientName="ABCDEFGHIJ"))
    header = dcmread(BytesIO(content.replace(b"ABCDEFGHIJ", shift_jis.ljust(10))))

    copied = patient_and_study(header)
    buffer = BytesIO()
    dcmwrite(buffer, copied, little_endian=True, implicit_vr=False, force_encoding=True)

    assert shift_jis in buffer.getvalue()
    assert "SpecificCharacterSet" not in copied


def test_our_own_words_outside_ascii_make_the_object_utf_8():
    copied = patient_and_study(
        chest_radiograph(SpecificCharacterSet="ISO_IR 100"), own_text="Ústav"
    )

    assert copied.SpecificCharacterSet == "ISO_IR 192"


def test_moments_are_told_in_the_time_zone_of_the_source():
    header = chest_radiograph(TimezoneOffsetFromUTC="-0330")
    moment = datetime(2026, 1, 2, 1, 0, 0, 999, tzinfo=UTC)

    local = local_moment(moment, header)

    assert local == moment.replace(microsecond=0)
    assert (local.day, local.hour, local.minute) == (1, 21, 30)
    assert patient_and_study(header).TimezoneOffsetFromUTC == "-0330"


@pytest.mark.parametrize("told", [None, "", "-0000", "+1500", "UTC", "0400"])
def test_a_time_zone_that_is_not_told_is_not_invented(told):
    header = chest_radiograph(TimezoneOffsetFromUTC=told)

    assert timezone_of(header) is None
    assert "TimezoneOffsetFromUTC" not in patient_and_study(header)
    assert local_moment(datetime(2026, 1, 1, tzinfo=UTC), header).utcoffset() == timedelta(0)


def test_descriptors_are_read_only_where_legal():
    header = chest_radiograph(ImageLaterality="L", Laterality="R", ImagerPixelSpacing=[0.1, 0.2])

    assert laterality_of(header) == "L"
    assert orientation_of(header) == ("L", "F")
    assert numbers_of(header, "ImagerPixelSpacing", count=2) == (0.1, 0.2)
    assert numbers_of(header, "ImagerPixelSpacing", count=1) is None
    assert numbers_of(header, "PixelSpacing", count=2) is None
    assert orientation_of(chest_radiograph(PatientOrientation=None)) is None


def test_an_anatomic_region_is_copied_only_whole():
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator = "816094009", "SCT"
    header = chest_radiograph()
    header.AnatomicRegionSequence = [code]

    assert anatomic_region_of(header) is None

    code.CodeMeaning = "Chest"
    assert anatomic_region_of(header) == code
