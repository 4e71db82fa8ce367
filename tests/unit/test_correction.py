"""What a correction package says, and what it refuses to say."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import RLELossless, generate_uid

from dicom_node.correction import build as building
from dicom_node.correction import copies as copies_module
from dicom_node.correction.build import build
from dicom_node.correction.plan import CorrectionPlan, Move
from dicom_node.correction.port import NotMendable
from dicom_node.correction.preview import preview_of
from dicom_node.correction.selfcheck import UnfitCorrection
from dicom_node.report.evidence import element, text_of
from tests.corrections import MAKER, order, planned, source


def built(plan: CorrectionPlan) -> tuple[list[Dataset], list[Dataset]]:
    """Return copies and rejection notes as a peer would read them."""
    objects = list(build(plan))
    copies = [dcmread(BytesIO(each.content)) for each in objects if each.role == "COPY"]
    notes = [dcmread(BytesIO(each.content)) for each in objects if each.role == "NOTE"]
    return copies, notes


def test_a_copy_is_the_image_under_the_right_order(tmp_path: Path) -> None:
    image = source(tmp_path, RequestedProcedureDescription="XR CHEST PA")
    before = dcmread(image.path)

    [copy], _ = built(planned(Move(source=image, order=order())))

    assert copy.AccessionNumber == "FAKE-ACC-2"
    assert copy.StudyDescription == "XR ANKLE LEFT"
    assert copy.StudyID == "RP-2"
    [request] = copy.RequestAttributesSequence
    assert request.AccessionNumber == "FAKE-ACC-2"
    assert request.RequestedProcedureID == "RP-2"
    assert request.RequestedProcedureCodeSequence[0].CodeValue == "XRANKL"
    assert copy.IssuerOfAccessionNumberSequence[0].LocalNamespaceEntityID == "RIS"
    assert "RequestedProcedureDescription" not in copy
    assert (copy.PatientID, copy.PatientName) == (before.PatientID, before.PatientName)
    assert copy.PixelData == before.PixelData
    assert copy.BodyPartExamined == before.BodyPartExamined
    uids = {"SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"}
    assert all(copy[uid].value != before[uid].value for uid in uids)


def test_what_changed_is_kept_with_who_changed_it_when_and_why(tmp_path: Path) -> None:
    earlier = Dataset()
    earlier.ModifiedAttributesSequence = []
    earlier.ReasonForTheAttributeModification = "COERCE"
    image = source(tmp_path, OriginalAttributesSequence=[earlier])

    [copy], _ = built(planned(Move(source=image, order=order())))

    first, last = copy.OriginalAttributesSequence
    assert first.ReasonForTheAttributeModification == "COERCE"
    assert last.ReasonForTheAttributeModification == "CORRECT"
    assert last.SourceOfPreviousValues == "CR_ROOM_1"
    assert last.ModifyingSystem == "Test Node dicom-node"
    assert last.AttributeModificationDateTime == "20260102123000+0000"
    [kept] = last.ModifiedAttributesSequence
    for keyword in ("AccessionNumber", "SOPInstanceUID", "StudyInstanceUID", "StudyDescription"):
        assert text_of(kept, keyword) == text_of(image.header, keyword)


def test_a_swap_makes_a_copy_of_each_and_a_note_in_each_study(tmp_path: Path) -> None:
    one, other = source(tmp_path), source(tmp_path, AccessionNumber="FAKE-ACC-2")
    back = order(accession_number="FAKE-ACC-1")

    copies, notes = built(planned(Move(source=one, order=order()), Move(source=other, order=back)))

    assert [copy.AccessionNumber for copy in copies] == ["FAKE-ACC-2", "FAKE-ACC-1"]
    assert {note.StudyInstanceUID for note in notes} == {
        text_of(one.header, "StudyInstanceUID"),
        text_of(other.header, "StudyInstanceUID"),
    }
    for note in notes:
        assert note.ConceptNameCodeSequence[0].CodeValue == "113038"
        [study] = note.CurrentRequestedProcedureEvidenceSequence
        assert study.StudyInstanceUID == note.StudyInstanceUID
        assert note.Modality == "KO"


def test_copies_come_before_any_note(tmp_path: Path) -> None:
    one, other = source(tmp_path), source(tmp_path)

    roles = [
        each.role for each in build(planned(*(Move(source=s, order=order()) for s in (one, other))))
    ]

    assert roles == ["COPY", "COPY", "NOTE", "NOTE"]


def test_images_of_one_series_stay_together_in_a_new_series(tmp_path: Path) -> None:
    study, series = generate_uid(), generate_uid()
    images = [source(tmp_path, StudyInstanceUID=study, SeriesInstanceUID=series) for _ in range(2)]

    copies, notes = built(planned(*(Move(source=image, order=order()) for image in images)))

    assert len({copy.SeriesInstanceUID for copy in copies}) == 1
    assert len({copy.SOPInstanceUID for copy in copies}) == 2
    [note] = notes
    named = [i for i in note.ContentSequence if i.ValueType == "IMAGE"]
    assert len(named) == 2


def test_the_same_plan_makes_the_very_same_bytes(tmp_path: Path) -> None:
    plan = planned(Move(source=source(tmp_path), order=order()))

    assert [e.content for e in build(plan)] == [e.content for e in build(plan)]


def test_another_proposal_makes_other_objects(tmp_path: Path) -> None:
    move = Move(source=source(tmp_path), order=order())

    one, other = planned(move), planned(move, proposal_id=8)

    assert one.copies[0].sop_instance_uid != other.copies[0].sop_instance_uid
    assert one.copies[0].study_instance_uid == other.copies[0].study_instance_uid


def test_the_study_of_the_order_is_taken_where_it_is_known(tmp_path: Path) -> None:
    known = order(
        study_instance_uid="1.2.3.4",
        study={"StudyDate": "20260103", "StudyID": "S9", "StudyDescription": "XR ANKLE"},
    )

    [copy], _ = built(planned(Move(source=source(tmp_path), order=known)))

    assert copy.StudyInstanceUID == "1.2.3.4"
    assert (copy.StudyDate, copy.StudyID) == ("20260103", "S9")
    assert copy.StudyDescription == "XR ANKLE"


def test_two_accessions_never_share_a_study(tmp_path: Path) -> None:
    image = source(tmp_path)
    same = order(study_instance_uid=text_of(image.header, "StudyInstanceUID"))

    [copy], [note] = built(planned(Move(source=image, order=same)))

    assert copy.StudyInstanceUID != text_of(image.header, "StudyInstanceUID")
    assert note.StudyInstanceUID == text_of(image.header, "StudyInstanceUID")


def test_compressed_pixels_are_copied_and_not_decoded(tmp_path: Path) -> None:
    from tests.builders import chest_radiograph

    ds = chest_radiograph()
    ds.compress(RLELossless, generate_instance_uid=False)
    image = source(tmp_path, ds)

    [copy], _ = built(planned(Move(source=image, order=order())))

    assert copy.file_meta.TransferSyntaxUID == RLELossless
    assert copy.PixelData == ds.PixelData


def test_an_order_that_the_character_set_cannot_hold_turns_the_copy_to_utf_8(
    tmp_path: Path,
) -> None:
    image = source(tmp_path, SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Ärmel")

    [copy], _ = built(planned(Move(source=image, order=order(description="Лодыжка"))))

    assert copy.SpecificCharacterSet == "ISO_IR 192"
    assert str(copy.PatientName) == "Müller^Ärmel"
    assert copy.StudyDescription == "Лодыжка"


@pytest.mark.parametrize("declared", [None, "ISO_IR 6", ["ISO 2022 IR 6", "ISO 2022 IR 87"]])
def test_letters_beyond_ascii_turn_an_image_that_declares_none_to_utf_8(
    tmp_path: Path, declared: str | list[str] | None
) -> None:
    image = source(tmp_path, SpecificCharacterSet=declared)

    [copy], _ = built(planned(Move(source=image, order=order(description="Röntgen Knöchel"))))

    assert copy.SpecificCharacterSet == "ISO_IR 192"
    assert copy.get_item("StudyDescription").value.decode("utf-8").strip() == "Röntgen Knöchel"


@pytest.mark.parametrize("number", ["A" * 17, "A\\B"])
def test_a_number_that_fits_into_no_image_makes_no_package(tmp_path: Path, number: str) -> None:
    with pytest.raises(NotMendable, match="accession number"):
        planned(Move(source=source(tmp_path), order=order(accession_number=number)))


@pytest.mark.filterwarnings("ignore:The value length")
def test_text_and_numbers_that_do_not_fit_are_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = source(tmp_path, SpecificCharacterSet="ISO_IR 6")
    plan = planned(Move(source=image, order=order(description="Röntgen")))
    [copy] = plan.copies
    told = element("AccessionNumber", "A" * 30)
    changes = tuple(replace(c, after=told) if c.tag == told.tag else c for c in copy.changes)
    unfit = replace(copy, changes=changes, order=replace(copy.order, accession_number="A" * 30))
    monkeypatch.setattr(copies_module, "holds", lambda *_: True)

    with pytest.raises(UnfitCorrection) as raised:
        list(build(replace(plan, copies=(unfit,))))
    assert set(raised.value.rules) == {
        "the Accession Number fits its VR (PS3.5 Section 6.2)",
        "the character set holds what the order says",
    }


_DOCTORS = {
    "ReferringPhysicianName": "Old^Doctor",
    "RequestingPhysician": "Old^Doctor",
    "RequestingService": "OLD WARD",
    "PhysiciansOfRecord": "Old^Doctor",
    "StudyComments": "of the old order",
}


def test_doctors_and_ward_of_the_old_order_are_not_in_the_copy(tmp_path: Path) -> None:
    person = Dataset()
    person.InstitutionName = "Old practice"
    sequences = {
        "ReferringPhysicianIdentificationSequence": [person],
        "RequestingPhysicianIdentificationSequence": [person],
        "PhysiciansOfRecordIdentificationSequence": [person],
    }
    image = source(tmp_path, **_DOCTORS, **sequences)
    plan = planned(Move(source=image, order=order()))

    [copy], _ = built(plan)

    assert copy.ReferringPhysicianName == ""
    assert not [k for k in (*_DOCTORS, *sequences) if k in copy and copy[k].value]
    assert any("Referring Physician" in remark for remark in plan.copies[0].remarks)
    [kept] = copy.OriginalAttributesSequence[-1].ModifiedAttributesSequence
    assert {*_DOCTORS, *sequences} <= {each.keyword for each in kept}


@pytest.mark.parametrize("referring", ["New^Doctor", ""])
def test_who_referred_is_taken_from_the_target_study_even_where_it_says_nobody(
    tmp_path: Path, referring: str
) -> None:
    image = source(tmp_path, **_DOCTORS)
    there = {"StudyDate": "20260102", "StudyID": "", "ReferringPhysicianName": referring}
    known = order(study_instance_uid="1.2.3", study=there)

    [copy], _ = built(planned(Move(source=image, order=known)))

    assert copy.ReferringPhysicianName == referring
    assert copy.StudyID in ("", None)


def test_signatures_do_not_outlive_the_change(tmp_path: Path) -> None:
    image = source(tmp_path, DigitalSignaturesSequence=[], MACParametersSequence=[])

    [copy], _ = built(planned(Move(source=image, order=order())))

    assert "DigitalSignaturesSequence" not in copy
    assert "MACParametersSequence" not in copy


@pytest.mark.parametrize(
    "change",
    [
        {"patient_id": "FAKE-0002"},
        {"patient_id": ""},
        {"accession_number": "FAKE-ACC-1"},
    ],
    ids=["another patient", "no patient", "the order it is under"],
)
def test_no_package_is_made_of_what_must_not_move(tmp_path: Path, change: dict[str, str]) -> None:
    with pytest.raises(NotMendable):
        planned(Move(source=source(tmp_path), order=order(**change)))


def test_issuers_keep_patients_of_the_same_id_apart(tmp_path: Path) -> None:
    image = source(tmp_path, IssuerOfPatientID="HOSPITAL A")

    with pytest.raises(NotMendable):
        planned(Move(source=image, order=order(patient_issuer="HOSPITAL B")))


def test_nothing_or_the_same_image_twice_is_no_package(tmp_path: Path) -> None:
    move = Move(source=source(tmp_path), order=order())

    with pytest.raises(NotMendable):
        planned()
    with pytest.raises(NotMendable):
        planned(move, move)


def test_a_preview_names_every_attribute_that_differs(tmp_path: Path) -> None:
    image = source(tmp_path, ImageLaterality="R")
    plan = planned(Move(source=image, order=order()))
    [copy], [note] = built(plan)

    preview = preview_of(plan, ("pacs",))

    shown, rejection = preview.objects
    before = dcmread(image.path)
    differing = {tag for tag in {*before.keys(), *copy.keys()} if before.get(tag) != copy.get(tag)}
    assert {change.attribute.split(") ")[0] + ")" for change in shown.changes} == {
        str(tag) for tag in differing
    }
    assert rejection.rejects == (str(before.SOPInstanceUID),)
    assert rejection.sop_instance_uid == note.SOPInstanceUID
    assert "FAKE-ACC-1 -> FAKE-ACC-2" in preview.text()
    assert "tagged R, the order is for L" in preview.text()
    assert preview.to_json()["objects"][0]["changes"]


def test_a_package_whose_pixels_differ_is_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(Move(source=source(tmp_path), order=order()))
    honest = building.copy_of

    def damaged(*arguments: object) -> Dataset:
        ds = honest(*arguments)  # type: ignore[arg-type]
        ds.PixelData = b"\0" + ds.PixelData[1:-1] + b"\0"
        ds.PatientName = "Somebody^Else"
        return ds

    monkeypatch.setattr(building, "copy_of", damaged)

    with pytest.raises(UnfitCorrection) as raised:
        list(build(plan))
    assert set(raised.value.rules) == {
        "what the order does not decide is unchanged",
        "the pixels are the very bytes",
        "the patient is the image's",
    }


def test_a_note_of_a_stranger_is_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(Move(source=source(tmp_path), order=order()))
    stranger = replace(plan.notes[0], sources=(source(tmp_path),))
    honest = building.rejection_note
    monkeypatch.setattr(building, "rejection_note", lambda _note, maker: honest(stranger, maker))

    with pytest.raises(UnfitCorrection) as raised:
        list(build(plan))
    assert "it names each rejected image once" in raised.value.rules


def test_who_decided_stands_in_the_note(tmp_path: Path) -> None:
    maker = replace(MAKER, actor="Jo\\hn^Doe=x")

    _, [note] = built(planned(Move(source=source(tmp_path), order=order()), maker=maker))

    names = [str(i.PersonName) for i in note.ContentSequence if i.ValueType == "PNAME"]
    assert names == ["Jo hn Doe x^"]
