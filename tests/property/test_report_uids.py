"""UIDs of report objects: valid whatever they are made of, equal only for equal parts."""

import hashlib
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import UID

from dicom_node.report.uids import ReportUids, derive_uid, distinct_models, model_device_uid
from inference.types import ModelIdentity, Task

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
UIDS = ReportUids(root="", study_instance_uid="1.2.3", revision=1, models=(MODEL,))


def _objects(uids: ReportUids) -> list[str]:
    return [
        uids.sr_series("viewer"),
        uids.sr_instance("viewer"),
        uids.sr_series("ihe-air"),
        uids.sr_instance("ihe-air"),
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
    ]

    made = [uid for variant in variants for uid in _objects(variant)]

    assert len(set(made)) == len(made)


def test_the_same_report_made_again_has_the_same_uids():
    assert _objects(UIDS) == _objects(replace(UIDS))


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
