"""Which contexts a batch asks for, and what becomes of an object without one."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
)

from dicom_node.delivery.negotiation import Offer, offers_for, refusal, syntax_for
from dicom_node.delivery.outcome import OutgoingObject

SR, SC = "1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.5.1.4.1.1.7"
PLAIN = {ExplicitVRLittleEndian, ImplicitVRLittleEndian}
SYNTAXES = [
    *PLAIN,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    JPEGBaseline8Bit,
    RLELossless,
]


def item(sop_class, syntax):
    return OutgoingObject(
        sop_instance_uid="1.2.3",
        sop_class_uid=sop_class,
        transfer_syntax_uid=syntax,
        path=Path("x"),
    )


def test_an_uncompressed_object_is_offered_in_both_little_endian_syntaxes():
    offered = offers_for([item(SR, ExplicitVRLittleEndian), item(SC, JPEGBaseline8Bit)])

    assert offered == sorted(
        [
            Offer(SR, ExplicitVRLittleEndian),
            Offer(SR, ImplicitVRLittleEndian),
            Offer(SC, JPEGBaseline8Bit),
        ]
    )


def test_its_own_syntax_is_preferred():
    accepted = {Offer(SR, ExplicitVRLittleEndian), Offer(SR, ImplicitVRLittleEndian)}

    for syntax in PLAIN:
        assert syntax_for(item(SR, syntax), accepted) == syntax


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, RLELossless, ExplicitVRBigEndian])
def test_what_cannot_be_rewritten_goes_as_it_is_or_not_at_all(syntax):
    accepted = {Offer(SC, ExplicitVRLittleEndian), Offer(SC, ImplicitVRLittleEndian)}

    assert syntax_for(item(SC, syntax), accepted) is None


def test_a_context_of_another_class_carries_nothing():
    assert syntax_for(item(SR, ImplicitVRLittleEndian), {Offer(SC, ImplicitVRLittleEndian)}) is None


@pytest.mark.parametrize(
    ("syntax", "unknown", "word"),
    [
        (ExplicitVRLittleEndian, set(), "sop-class-not-supported"),
        (ExplicitVRLittleEndian, {SR}, "sop-class-not-supported"),
        (JPEGBaseline8Bit, {SR}, "sop-class-not-supported"),
        (JPEGBaseline8Bit, {SC}, "no-presentation-context"),
        (JPEGBaseline8Bit, set(), "no-presentation-context"),
    ],
)
def test_the_word_says_whether_the_class_or_the_syntax_was_refused(syntax, unknown, word):
    assert refusal(item(SR, syntax), unknown) == word


objects = st.lists(
    st.builds(item, st.sampled_from([SR, SC]), st.sampled_from(SYNTAXES)), max_size=20
)


@given(objects, st.data())
def test_only_what_was_offered_and_accepted_is_used(batch, data):
    offered = offers_for(batch)
    accepted = set(data.draw(st.lists(st.sampled_from(offered)))) if offered else set()

    assert len(offered) == len(set(offered))
    for one in batch:
        assert Offer(one.sop_class_uid, one.transfer_syntax_uid) in offered
        chosen = syntax_for(one, accepted)
        if chosen is None:
            assert Offer(one.sop_class_uid, one.transfer_syntax_uid) not in accepted
        else:
            assert Offer(one.sop_class_uid, chosen) in accepted
            assert chosen == one.transfer_syntax_uid or chosen in PLAIN
