"""What was ordered, and whether an image shows it."""

import warnings
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from inference.manifest import Label, OperatingPoint, read_manifest
from inference.regions import load_regions
from inference.types import (
    Decision,
    Expectation,
    ExpectationSource,
    ImageVerdict,
    LabelOutput,
    ModelIdentity,
    Outcome,
    Prediction,
    Task,
    Verdict,
)
from inference.verify import expectation, judge
from tests.builders import chest_radiograph, part10_bytes

TABLE = load_regions()
POINT = OperatingPoint(present_at=0.5, absent_below=0.1)
LABELS = (
    Label(key="Knee", role="region", body_part_examined="KNEE", operating_point=POINT),
    Label(key="Ankle", role="region", body_part_examined="ANKLE", operating_point=POINT),
    Label(key="Foot", role="region", body_part_examined="FOOT", operating_point=POINT),
    Label(key="Sinus", role="region", operating_point=POINT),
    Label(key="Others", role="auxiliary", operating_point=POINT),
    Label(key="NotOurs", role="not_ours", operating_point=POINT),
)
_MODEL = ModelIdentity(
    name="bodypart",
    version="1.0.0",
    task=Task.BODY_PART,
    weights_sha256="0" * 64,
    configuration_sha256="0" * 64,
    preprocessing="px-1",
    runtime="torch",
    device="cpu",
    precision="float32",
)


def prediction(outcome: Outcome = Outcome.PREDICTED, **probabilities: float) -> Prediction:
    outputs = tuple(
        LabelOutput(
            key=label.key,
            logit=0.0,
            probability=probabilities.get(label.key, 0.01),
            threshold=POINT.present_at,
            decision=Decision.UNDETERMINED,
        )
        for label in LABELS
    )
    return Prediction(model=_MODEL, outcome=outcome, labels=outputs)


def ordered(*regions: str) -> Expectation:
    return Expectation(regions=regions, source=ExpectationSource.STUDY_DESCRIPTION)


def verdict(expected: Expectation | None, seen: Prediction | None) -> ImageVerdict:
    return judge(expected, seen, LABELS, TABLE)


def code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def request(**elements: object) -> Dataset:
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


# ------------------------------------------------------------------ what was ordered


def test_the_study_description_comes_before_a_body_part_examined_that_contradicts_it():
    header = chest_radiograph(StudyDescription="XR KNEE LEFT", BodyPartExamined="CHEST")

    assert expectation(header, TABLE) == Expectation(
        regions=("KNEE",),
        source=ExpectationSource.STUDY_DESCRIPTION,
        matched_words=("knee",),
    )


def test_each_source_speaks_when_the_ones_before_it_are_silent():
    header = chest_radiograph(
        StudyDescription="Ankle",
        SeriesDescription="Foot",
        PerformedProcedureStepDescription="Hand",
        ProtocolName="Wrist",
        BodyPartExamined="SKULL",
        RequestAttributesSequence=[
            request(
                RequestedProcedureDescription="Elbow",
                RequestedProcedureCodeSequence=[code("K1", "99RIS", "Hip right")],
            )
        ],
    )
    told = []
    for step in (
        lambda: delattr(header.RequestAttributesSequence[0], "RequestedProcedureCodeSequence"),
        lambda: delattr(header.RequestAttributesSequence[0], "RequestedProcedureDescription"),
        lambda: delattr(header, "StudyDescription"),
        lambda: delattr(header, "SeriesDescription"),
        lambda: delattr(header, "PerformedProcedureStepDescription"),
        lambda: delattr(header, "ProtocolName"),
        lambda: delattr(header, "BodyPartExamined"),
    ):
        found = expectation(header, TABLE)
        told.append((found.source.value, *found.regions))
        step()

    assert told == [
        ("requested_procedure_code", "HIP"),
        ("requested_procedure_description", "ELBOW"),
        ("study_description", "ANKLE"),
        ("series_description", "FOOT"),
        ("performed_protocol", "HAND", "WRIST"),
        ("performed_protocol", "WRIST"),
        ("body_part_examined", "SKULL"),
    ]
    assert expectation(header, TABLE) is None


def test_a_source_that_names_no_body_part_is_passed_over():
    header = chest_radiograph(StudyDescription="No Finding", SeriesDescription="Genou gauche")

    assert expectation(header, TABLE).source is ExpectationSource.SERIES_DESCRIPTION


def test_a_code_is_understood_without_its_meaning():
    header = chest_radiograph(RequestedProcedureCodeSequence=[code("72696002", "SCT", "whatever")])

    found = expectation(header, TABLE)

    assert found.regions == ("KNEE",)
    assert found.matched_words == ("72696002 SCT",)


def test_the_coded_anatomic_region_counts_as_body_part_examined():
    header = chest_radiograph(
        StudyDescription=None,
        SeriesDescription=None,
        BodyPartExamined=None,
        AnatomicRegionSequence=[code("T-D9200", "SRT", "Knee")],
    )

    found = expectation(header, TABLE)

    assert found.regions == ("KNEE",)
    assert found.source is ExpectationSource.BODY_PART_EXAMINED


def test_an_empty_header_declares_nothing():
    assert expectation(Dataset(), TABLE) is None


@pytest.mark.parametrize("charset", ["ISO_IR 192", "ISO_IR 100", "ISO 2022 IR 87", "NONSENSE"])
def test_text_that_breaks_its_character_set_is_read_as_far_as_it_goes(charset):
    sent = chest_radiograph(StudyDescription="Knie XXXX", SpecificCharacterSet=charset)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = part10_bytes(sent).replace(b"Knie XXXX", b"Knie \xff\xfe\x80 ")

        found = expectation(dcmread(BytesIO(content)), TABLE)

    assert found.regions == ("KNEE",)
    assert found.source is ExpectationSource.STUDY_DESCRIPTION


def test_an_element_that_cannot_be_decoded_at_all_counts_as_absent():
    header = chest_radiograph(StudyDescription=None, BodyPartExamined="KNEE")
    tag = Tag("StudyDescription")
    header[tag] = RawDataElement(tag, "QQ", 4, b"Hand", 0, False, True)

    with pytest.raises(NotImplementedError):
        header.get("StudyDescription")
    assert expectation(header, TABLE).regions == ("KNEE",)


# ------------------------------------------------------------------ the verdict


def test_the_sentence_tells_what_was_ordered_seen_and_concluded():
    found = verdict(ordered("KNEE"), prediction(Ankle=0.97))

    assert found.verdict is Verdict.MISMATCH
    assert found.reason == "Ordered: knee (Study Description). Seen: ankle (97 %). Mismatch."
    assert [(seen.region, seen.probability) for seen in found.seen] == [("ANKLE", 0.97)]


@pytest.mark.parametrize(("knee", "wanted"), [(0.03, Verdict.UNCERTAIN), (0.1, Verdict.MATCH)])
def test_what_is_hardly_likely_is_no_match_for_being_the_most_probable(knee, wanted):
    low = OperatingPoint(present_at=0.5, absent_below=0.005)
    labels = [label.model_copy(update={"operating_point": low}) for label in LABELS]

    found = judge(ordered("KNEE"), prediction(Knee=knee), labels, TABLE)

    assert found.verdict is wanted
    assert found.reason.startswith("Ordered: knee (Study Description). Seen: nothing clearly, ")


@pytest.mark.parametrize(
    ("expected", "probabilities", "wanted"),
    [
        (("KNEE",), {"Knee": 0.5}, Verdict.MATCH),
        (("KNEE",), {"Knee": 0.5, "Ankle": 0.99}, Verdict.MATCH),
        (("KNEE",), {"Knee": 0.1}, Verdict.MATCH),  # most probable, not absent
        (("KNEE",), {"Knee": 0.0999}, Verdict.UNCERTAIN),  # most probable, but absent
        (("KNEE",), {"Knee": 0.3, "Ankle": 0.4}, Verdict.UNCERTAIN),
        (("KNEE",), {"Knee": 0.1, "Ankle": 0.9}, Verdict.UNCERTAIN),  # not clearly absent
        (("KNEE",), {"Knee": 0.0999, "Ankle": 0.5}, Verdict.MISMATCH),
        (("KNEE",), {"Knee": 0.05, "Ankle": 0.4999}, Verdict.UNCERTAIN),  # nothing clear
        (("KNEE", "ANKLE"), {"Ankle": 0.9}, Verdict.MATCH),
        (("KNEE", "ANKLE"), {"Foot": 0.9}, Verdict.MISMATCH),
        (("KNEE", "ANKLE"), {"Foot": 0.9, "Ankle": 0.2}, Verdict.UNCERTAIN),
        (("TOE",), {"Foot": 0.9}, Verdict.MATCH),  # a toe is seen as a foot
        (("FOOT",), {"Ankle": 0.9}, Verdict.MISMATCH),
        (("LOWERLIMB",), {"Foot": 0.9}, Verdict.MATCH),  # contained
        (("EXTREMITY",), {"Sinus": 0.9}, Verdict.MISMATCH),
        (("SKULL",), {"Knee": 0.9}, Verdict.UNCERTAIN),  # this network names no skull
        (("BREAST",), {"Knee": 0.9}, Verdict.UNCERTAIN),  # no network does
        (("BREAST", "KNEE"), {"Knee": 0.9}, Verdict.MATCH),
        (("BREAST", "KNEE"), {"Foot": 0.9}, Verdict.UNCERTAIN),
        (("KNEE",), {"Knee": 0.9, "NotOurs": 0.9}, Verdict.UNCERTAIN),
        (("KNEE",), {"Foot": 0.9, "NotOurs": 0.4999}, Verdict.MISMATCH),
        (("KNEE",), {"Others": 0.9}, Verdict.UNCERTAIN),
        (("NOSUCHREGION",), {"Knee": 0.9}, Verdict.UNCERTAIN),
    ],
)
def test_the_rule_on_worked_examples(expected, probabilities, wanted):
    assert verdict(ordered(*expected), prediction(**probabilities)).verdict is wanted


def test_without_an_order_nothing_is_judged_but_what_is_seen_is_told():
    found = verdict(None, prediction(Knee=0.9, Ankle=0.6))

    assert found.verdict is Verdict.NOT_DECLARED
    assert found.expected is None
    assert found.reason == (
        "No known body part was ordered. Seen: knee (90 %), ankle (60 %). Nothing to compare with."
    )


def test_an_image_that_is_none_of_ours_is_uncertain_even_without_an_order():
    assert verdict(None, prediction(NotOurs=0.9)).verdict is Verdict.UNCERTAIN


@pytest.mark.parametrize(
    "seen", [None, prediction(Outcome.FAILED), prediction(Outcome.SKIPPED, Ankle=0.99)]
)
def test_an_image_that_the_network_did_not_see_is_uncertain(seen):
    found = verdict(ordered("KNEE"), seen)

    assert found.verdict is Verdict.UNCERTAIN
    assert found.seen == ()
    assert "could not be read from the image" in found.reason


def test_when_nothing_is_clear_the_most_likely_region_is_told():
    found = verdict(ordered("KNEE"), prediction(Ankle=0.3, Knee=0.02))

    assert [seen.region for seen in found.seen] == ["ANKLE"]
    assert "nothing clearly, most likely ankle (30 %)" in found.reason


def test_an_order_that_cannot_be_checked_says_so_plainly():
    found = verdict(ordered("BREAST"), prediction(Knee=0.9))

    assert "cannot recognise what was ordered" in found.reason


def test_a_label_without_an_operating_point_is_never_clear():
    labels = (Label(key="Knee", role="region"), LABELS[1])

    assert judge(ordered("KNEE"), prediction(Ankle=0.9), labels, TABLE).verdict is (
        Verdict.UNCERTAIN
    )


def test_the_rule_holds_on_the_shipped_network_s_labels():
    manifest = read_manifest(Path(__file__).parents[2] / "inference" / "models" / "bodypart")
    outputs = tuple(
        LabelOutput(
            key=label.key,
            logit=0.0,
            probability=0.99 if label.key == "Hand" else 0.0,
            threshold=None,
            decision=Decision.UNDETERMINED,
        )
        for label in manifest.labels
    )
    seen = Prediction(model=_MODEL, outcome=Outcome.PREDICTED, labels=outputs)

    def judged(region: str) -> Verdict:
        return judge(ordered(region), seen, manifest.labels, TABLE).verdict

    assert judged("HAND") is Verdict.MATCH
    assert judged("UPPERLIMB") is Verdict.MATCH
    assert judged("CHEST") is Verdict.MISMATCH
    assert judged("SINUS") is Verdict.MISMATCH
    assert judged("BREAST") is Verdict.UNCERTAIN
