"""UIDs of report objects: valid whatever they are made of, equal only for equal parts."""

import hashlib
from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import UID

from dicom_node.config.settings import ReportProfile
from dicom_node.report.reading import uids_of
from dicom_node.report.sr import FORMS, structured_report
from dicom_node.report.uids import ReportUids, derive_uid, distinct_models, model_device_uid
from inference.types import ModelIdentity, Task, Verdict
from tests.builders import chest_radiograph
from tests.report_requests import CREATED_AT, chest_image, request_for, verdict

ROOTS = st.sampled_from(["", "1.2.3", "1.2.826.0.1.3680043.10.1234", "2." + "9" * 41])
PARTS = st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=5)


@given(root=ROOTS, parts=PARTS)
def test_every_derived_uid_is_valid_and_under_its_root(root, parts):
    derived = derive_uid(root, *parts)

    assert UID(derived).is_valid
    assert len(derived) <= 64
    assert derived.startswith((root or "2.25") + ".")


@given(root=ROOTS, one=PARTS, other=PARTS)
def test_uids_are_equal_exactly_when_their_parts_are(root, one, other):
    assert (derive_uid(root, *one) == derive_uid(root, *other)) == (one == other)


SAID = "5" * 64


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


MODEL = ModelIdentity(
    name="chest",
    version="1.0.0",
    task=Task.CHEST_FINDINGS,
    weights_sha256=_sha("weights"),
    configuration_sha256=_sha("configuration"),
    preprocessing="px-1",
    runtime="torch",
    device="cpu",
    precision="float32",
)
RETRAINED = replace(MODEL, weights_sha256=_sha("other weights"))
RESET = replace(MODEL, configuration_sha256=_sha("other threshold"))
RENAMED = replace(MODEL, name="chest-two")
EVIDENCE = (("1.2.3.4", _sha("one")), ("1.2.3.5", _sha("two")))
UIDS = ReportUids(
    root="",
    device_serial="node-1",
    study_instance_uid="1.2.3",
    revision=1,
    models=(MODEL,),
    evidence=EVIDENCE,
)


def _objects(uids: ReportUids, said: str = SAID) -> list[str]:
    return [
        uids.sr_series("viewer", said),
        uids.sr_instance("viewer", said),
        uids.sr_series("ihe-air", said),
        uids.sr_instance("ihe-air", said),
        uids.sc_series(),
        uids.sc_instance("1.2.3.4", MODEL, "Nodule"),
        uids.sc_instance("1.2.3.4", MODEL, "Mass"),
        uids.sc_instance("1.2.3.5", MODEL, "Nodule"),
        uids.sc_instance("1.2.3.4", RENAMED, "Nodule"),
    ]


def test_each_component_of_a_report_changes_every_uid():
    variants = [
        UIDS,
        replace(UIDS, study_instance_uid="1.2.4"),
        replace(UIDS, revision=2),
        replace(UIDS, models=(RETRAINED,)),
        replace(UIDS, models=(RESET,)),
        replace(UIDS, models=(RENAMED,)),
        replace(UIDS, models=()),
        replace(UIDS, root="1.2.3"),
        replace(UIDS, device_serial="node-2"),
        replace(UIDS, evidence=EVIDENCE[:1]),
        replace(UIDS, evidence=(("1.2.3.4", _sha("one")), ("1.2.3.5", _sha("other bytes")))),
        replace(UIDS, evidence=(("1.2.3.4", _sha("one")), ("1.2.3.6", _sha("two")))),
    ]

    made = [uid for variant in variants for uid in _objects(variant)]

    assert len(set(made)) == len(made)


def test_what_an_sr_says_changes_its_uids_and_those_of_no_overlay():
    first, other = set(_objects(UIDS)), set(_objects(UIDS, _sha("other sentences")))

    assert len(first - other) == 4
    assert {UIDS.sc_series(), UIDS.sc_instance("1.2.3.4", MODEL, "Mass")} <= first & other


def test_the_same_images_under_another_order_are_another_report():
    image = chest_image(chest_radiograph())
    requests = [
        request_for(image),
        request_for(replace(image, verdict=verdict(Verdict.MISMATCH, expected="HAND"))),
        request_for(image, created_at=CREATED_AT + timedelta(days=3)),
    ]

    made = [structured_report(r, FORMS[ReportProfile.VIEWER], {}) for r in requests]

    first, other, retried = [(m.SOPInstanceUID, m.SeriesInstanceUID) for m in made]
    assert set(first).isdisjoint(other)
    assert retried == first


def test_the_same_report_made_again_has_the_same_uids():
    assert _objects(UIDS) == _objects(replace(UIDS))


IMAGES = st.dictionaries(
    st.from_regex(r"1\.2\.[1-9][0-9]{0,5}", fullmatch=True),
    st.text("0123456789abcdef", min_size=64, max_size=64),
    min_size=1,
    max_size=5,
)


@given(images=IMAGES, order=st.randoms(use_true_random=False))
def test_the_order_in_which_images_came_does_not_matter(images, order):
    shuffled = list(images.items())
    order.shuffle(shuffled)

    assert _objects(replace(UIDS, evidence=tuple(shuffled))) == _objects(
        replace(UIDS, evidence=tuple(images.items()))
    )


@given(one=IMAGES, other=IMAGES, serials=st.tuples(st.sampled_from("ab"), st.sampled_from("ab")))
def test_reports_share_uids_exactly_when_node_and_evidence_are_the_same(one, other, serials):
    made = [
        set(_objects(replace(UIDS, device_serial=serial, evidence=tuple(images.items()))))
        for serial, images in zip(serials, (one, other), strict=True)
    ]

    same = one == other and serials[0] == serials[1]
    assert made[0] == made[1] if same else made[0].isdisjoint(made[1])


def test_a_request_lends_its_uids_the_node_and_the_bytes_of_its_images():
    image = chest_image(chest_radiograph())
    request = request_for(image)
    first = uids_of(request)

    others = [
        uids_of(replace(request, device_serial="node-2")),
        uids_of(replace(request, images=(replace(image, content_sha256="f" * 64),))),
    ]

    assert uids_of(replace(request)) == first
    assert len({uids.sr_instance("viewer", SAID) for uids in (first, *others)}) == 3


def test_tracking_follows_a_finding_over_revisions_and_trainings():
    later = replace(UIDS, revision=2, models=(RETRAINED,))

    assert later.tracking("1.2.3.4", RETRAINED, "Nodule") == UIDS.tracking(
        "1.2.3.4", MODEL, "Nodule"
    )
    assert (
        len({UIDS.tracking(i, MODEL, f) for i in ("1.2", "1.3") for f in ("Nodule", "Mass")}) == 4
    )


def test_the_device_uid_of_a_model_changes_with_its_weights_only():
    assert model_device_uid("", MODEL) == model_device_uid("", RESET)
    assert model_device_uid("", MODEL) != model_device_uid("", RETRAINED)


def test_the_order_in_which_models_ran_does_not_matter():
    assert distinct_models([RENAMED, MODEL, RENAMED]) == distinct_models([MODEL, RENAMED])
