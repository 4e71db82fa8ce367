"""What a radiologist reads at a glance, and the same as JSON."""

import json
from dataclasses import replace

import pytest

from dicom_node.report.content import Predecessor
from dicom_node.report.summary import summary_document
from dicom_node.report.wording import percent, summary_lines
from inference.types import Outcome, Task, Verdict
from tests.builders import chest_radiograph
from tests.report_requests import (
    chest_image,
    damaged_image,
    not_run,
    other_image,
    request_for,
    verdict,
)


def _mixed():
    return request_for(
        chest_image(chest_radiograph()),
        other_image(chest_radiograph(AccessionNumber="FAKE-ACC-2"), 2),
        damaged_image(chest_radiograph(), 3),
    )


def test_the_report_warns_then_judges_then_goes_through_the_images_then_the_findings():
    assert summary_lines(_mixed()) == [
        "AI result. Not verified. Not for diagnosis.",
        "1 of 3 images does not show the ordered body part. 1 of 3 images could not be read. "
        "1 of 3 images shows the ordered body part. Findings: Pneumothorax (image 1).",
        "Image 1: MATCH. Expected Chest (from Body Part Examined); shows Chest (99.8 %).",
        "Image 2: MISMATCH. Expected Chest (from Body Part Examined); shows Hand (99.8 %).",
        "Image 3: NOT CHECKED. Could not be decoded (pixels.damaged).",
        "Image 1: Pneumothorax PRESENT (91.3 %, threshold 45.0 %); Pleural effusion undetermined "
        "(41.0 %). Absent: Cardiomegaly, Nodule. Not assessed: Diaphragmatic hernia.",
        "Image 2: Findings model not run: not a frontal chest.",
    ]


def test_a_later_revision_says_that_it_replaces_the_earlier_one():
    image = chest_image(chest_radiograph())
    earlier = Predecessor(
        study_instance_uid="1.2",
        series_instance_uid="1.2.3",
        sop_instance_uid="1.2.3.4",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.88.33",
    )

    first = summary_lines(request_for(image))
    second = summary_lines(request_for(image, revision=2, predecessor=earlier))

    told = "Revision 2: replaces the earlier AI report on this study."
    assert second == [*first[:2], told, *first[2:]]


def test_a_finding_of_a_model_without_threshold_names_none():
    image = chest_image(chest_radiograph())
    without = tuple(
        replace(told, labels=tuple(replace(output, threshold=None) for output in told.labels))
        for told in image.analysis.predictions
    )
    silent = replace(image, analysis=replace(image.analysis, predictions=without))
    (line,) = [line for line in summary_lines(request_for(silent)) if "PRESENT" in line]
    assert "Pneumothorax PRESENT (91.3 %); " in line


@pytest.mark.parametrize(
    ("kinds", "sentence"),
    [
        ([Verdict.MATCH], "The image shows the ordered body part."),
        ([Verdict.MISMATCH], "The image does not show the ordered body part."),
        ([Verdict.MATCH] * 2, "Both images show the ordered body part."),
        ([Verdict.MISMATCH] * 3, "All 3 images do not show the ordered body part."),
        ([Verdict.NOT_DECLARED] * 2, "Both images declare no ordered body part."),
        (
            [Verdict.MATCH, Verdict.UNCERTAIN, Verdict.MATCH],
            "1 of 3 images shows an uncertain body part. 2 of 3 images show the ordered body part.",
        ),
    ],
)
def test_the_overall_sentence_counts_what_needs_attention_first(kinds, sentence):
    images = [other_image(chest_radiograph(), number, kind) for number, kind in enumerate(kinds, 1)]

    assert summary_lines(request_for(*images))[1] == sentence


def test_an_image_without_a_declared_body_part_says_so():
    lines = summary_lines(request_for(other_image(chest_radiograph(), 1, Verdict.NOT_DECLARED)))

    assert lines[2] == (
        "Image 1: NOTHING DECLARED. No order or tag names a body part; shows Hand (99.8 %)."
    )


def test_a_model_that_failed_on_a_readable_image_is_named():
    image = chest_image(chest_radiograph())
    failed = tuple(not_run(task, Outcome.FAILED, "model.out_of_memory") for task in Task)
    image = replace(image, verdict=None, analysis=replace(image.analysis, predictions=failed))

    lines = summary_lines(request_for(image))

    assert lines[1] == "The image was not checked for the body part."
    assert "Body-part model failed (model.out_of_memory)." in lines[2]
    assert "Findings model failed (model.out_of_memory)." in lines[3]


def test_a_region_that_the_table_does_not_name_is_shown_by_its_key():
    image = replace(
        chest_image(chest_radiograph()), verdict=verdict(Verdict.MISMATCH, seen="LEFT_WING")
    )

    assert "shows LEFT WING (99.8 %)" in summary_lines(request_for(image))[2]


@pytest.mark.parametrize(
    ("probability", "text"),
    [
        (0.0, "0.0 %"),
        (0.0001, "under 0.1 %"),
        (0.45, "45.0 %"),
        (0.9994, "99.9 %"),
        (0.9996, "over 99.9 %"),
        (1.0, "100.0 %"),
    ],
)
def test_a_probability_is_never_rounded_to_certainty(probability, text):
    assert percent(probability) == text


def test_the_summary_document_is_json_and_counts_what_the_text_says():
    document = summary_document(_mixed())

    assert json.loads(json.dumps(document)) == document
    assert document["counts"] == {
        "images": 3,
        "match": 1,
        "mismatch": 1,
        "uncertain": 0,
        "not_declared": 0,
        "not_checked": 1,
        "failed": 1,
        "findings_present": 1,
    }
    first, second, third = document["images"]
    assert first["findings"][0] == {
        "key": "Pneumothorax",
        "meaning": "Pneumothorax",
        "probability": 0.913,
        "decision": "present",
    }
    assert [finding["key"] for finding in first["findings"]] == [
        "Pneumothorax",
        "Effusion",
        "Cardiomegaly",
        "Nodule",
    ]
    assert second["accession_number"] == "FAKE-ACC-2"
    assert (second["verdict"], second["seen"][0]["key"]) == ("mismatch", "HAND")
    assert second["not_run"][0]["reason_code"] == "gate.not_frontal_chest"
    assert (third["verdict"], third["decoded"], third["findings"]) == (None, False, [])
