"""Verdicts per image and accession, and proposals, on cases that a person can check."""

import pytest

from inference.accessions import (
    ProposalKind,
    Standing,
    accession_from_json,
    accession_to_json,
    proposal_from_json,
    proposal_to_json,
)
from inference.assignment import Options
from inference.completeness import parts
from inference.orders import Side
from inference.reconcile import reconcile
from inference.types import Expectation, ExpectationSource, Verdict
from inference.verify import Seen
from tests.accessions import TABLE, image, ordered, saw

KNEE = ordered("A", "KNEE")
ANKLE = ordered("B", "ANKLE")
CHEST = ordered("C", "CHEST")


def test_two_images_that_changed_places_are_one_swap_that_names_both() -> None:
    result = reconcile(
        [KNEE, ANKLE],
        [
            image("1", KNEE, saw(KNEE=0.95), number=1),
            image("2", KNEE, saw(ANKLE=0.97), number=2),
            image("3", ANKLE, saw(KNEE=0.96), number=1),
            image("4", ANKLE, saw(ANKLE=0.98), number=2),
        ],
        TABLE,
    )
    (proposal,) = result.proposals
    assert proposal.kind is ProposalKind.SWAP
    assert proposal.sentence == (
        "Image 2 of accession A fits accession B (ankle, 0.97);"
        " swap with image 1 of accession B (knee, 0.96)."
    )
    assert proposal.margin >= 2.94
    assert [a.standing for a in result.accessions] == [Standing.MISMATCH, Standing.MISMATCH]


def test_an_image_that_left_no_gap_is_a_one_sided_move() -> None:
    result = reconcile(
        [KNEE, ANKLE],
        [
            image("1", KNEE, saw(KNEE=0.95), number=1),
            image("2", KNEE, saw(ANKLE=0.97), number=2),
        ],
        TABLE,
    )
    (proposal,) = result.proposals
    assert proposal.kind is ProposalKind.MOVE
    assert proposal.sentence == "Image 2 of accession A fits accession B (ankle, 0.97)."
    assert proposal.moves[0].target == ANKLE.ref


def test_an_image_that_fits_no_order_says_that_one_may_be_missing() -> None:
    result = reconcile(
        [KNEE, ANKLE],
        [
            image("1", KNEE, saw(KNEE=0.95), number=1),
            image("2", KNEE, saw(CHEST=0.99), number=2),
            image("3", ANKLE, saw(ANKLE=0.99)),
        ],
        TABLE,
    )
    (proposal,) = result.proposals
    assert proposal.kind is ProposalKind.MISSING_ORDER
    assert proposal.moves[0].target is None
    assert proposal.sentence == (
        "Image 2 of accession A (chest, 0.99) fits no order of this patient;"
        " an order may be missing."
    )
    knee = result.accessions[0]
    assert knee.standing is Standing.EXTRA
    assert knee.images[1].standing is Standing.EXTRA


def test_three_accessions_whose_images_went_round_are_one_swap() -> None:
    hand = ordered("C", "HAND")
    result = reconcile(
        [KNEE, ANKLE, hand],
        [
            image("1", KNEE, saw(ANKLE=0.97)),
            image("2", ANKLE, saw(HAND=0.97)),
            image("3", hand, saw(KNEE=0.97)),
        ],
        TABLE,
    )
    (proposal,) = result.proposals
    assert proposal.kind is ProposalKind.SWAP
    assert {(m.origin.accession_number, m.target.accession_number) for m in proposal.moves} == {
        ("A", "B"),
        ("B", "C"),
        ("C", "A"),
    }
    assert proposal.sentence.startswith("These change places: image 1 of accession A fits")


def test_a_hand_order_takes_finger_and_wrist_views_and_proposes_nothing() -> None:
    hand, wrist = ordered("H", "HAND"), ordered("W", "WRIST")
    result = reconcile(
        [hand, wrist],
        [image("1", hand, saw(FINGER=0.9)), image("2", hand, saw(WRIST=0.9), number=2)],
        TABLE,
    )
    assert result.proposals == ()
    assert result.accessions[0].standing is Standing.MATCH


def test_an_ordered_part_that_no_image_shows_is_incomplete() -> None:
    both = ordered("A", "KNEE", "HAND")
    (verdict,) = reconcile([both], [image("1", both, saw(KNEE=0.95))], TABLE).accessions
    assert verdict.standing is Standing.INCOMPLETE
    assert verdict.missing == ("HAND",)
    assert verdict.sentence == "The image matches. Ordered and not imaged: hand."


def test_a_part_that_an_uncertain_image_might_show_is_not_called_missing() -> None:
    both = ordered("A", "KNEE", "HAND")
    images = [
        image("1", both, saw(KNEE=0.95)),
        image("2", both, saw(HAND=0.2, CHEST=0.5), number=2),
    ]
    (verdict,) = reconcile([both], images, TABLE).accessions
    assert verdict.missing == ()
    assert verdict.standing is Standing.UNCERTAIN


def test_a_word_for_two_regions_is_one_part() -> None:
    either = Expectation(
        regions=("LOWERLEG", "ANKLE", "HAND"),
        source=ExpectationSource.WORKLIST,
        matched_words=("distal tibia", "hand"),
    )
    assert set(parts(either, TABLE)) == {frozenset({"LOWERLEG", "ANKLE"}), frozenset({"HAND"})}


def test_a_side_tagged_other_than_ordered_is_uncertain_and_says_where_sides_come_from() -> None:
    right = ordered("A", "KNEE", side=Side.RIGHT)
    (verdict,) = reconcile(
        [right], [image("1", right, saw(KNEE=0.95), side=Side.LEFT)], TABLE
    ).accessions
    assert verdict.standing is Standing.UNCERTAIN
    assert verdict.images[0].side_differs
    assert "never from the pixels" in verdict.images[0].sentence


@pytest.mark.parametrize("side", [Side.UNSAID, Side.BOTH, Side.RIGHT])
def test_a_side_that_is_not_said_or_covers_both_never_differs(side: Side) -> None:
    order = ordered("A", "KNEE", side=side)
    filed = image("1", order, saw(KNEE=0.95), side=Side.RIGHT)
    (verdict,) = reconcile([order], [filed], TABLE).accessions
    assert verdict.standing is Standing.MATCH


def test_the_tagged_side_decides_between_two_orders_for_the_same_part() -> None:
    left = ordered("L", "KNEE", side=Side.LEFT)
    right = ordered("R", "KNEE", side=Side.RIGHT)
    filed = image("1", ANKLE, saw(KNEE=0.99), side=Side.LEFT)
    result = reconcile([left, right, ANKLE], [filed], TABLE)
    assert [m.target for p in result.proposals for m in p.moves] in ([], [left.ref])


def test_an_image_without_accession_number_is_offered_the_order_that_waits_for_it() -> None:
    nobodys = ordered("")
    filed = image("1", nobodys, saw(ANKLE=0.97))
    (proposal,) = reconcile([nobodys, ANKLE], [filed], TABLE).proposals
    assert proposal.kind is ProposalKind.MOVE
    assert proposal.sentence == ("Image 1 without accession number fits accession B (ankle, 0.97).")


def test_images_without_accession_number_are_no_place_to_move_to() -> None:
    nobodys = ordered("", "ANKLE", source=ExpectationSource.STUDY_DESCRIPTION)
    result = reconcile(
        [nobodys, KNEE],
        [image("1", KNEE, saw(ANKLE=0.97)), image("2", KNEE, saw(KNEE=0.97), number=2)],
        TABLE,
    )
    assert all(move.target is None for p in result.proposals for move in p.moves)


def test_nothing_moves_to_a_cancelled_order_and_its_images_are_said_to_be_there() -> None:
    cancelled = ordered("B", "ANKLE", cancelled=True)
    result = reconcile(
        [KNEE, cancelled],
        [
            image("1", KNEE, saw(ANKLE=0.97)),
            image("2", KNEE, saw(KNEE=0.97), number=2),
            image("3", cancelled, saw(ANKLE=0.97)),
        ],
        TABLE,
    )
    assert all(move.target is None for p in result.proposals for move in p.moves)
    assert result.accessions[1].images[0].standing is Standing.NOT_DECLARED
    assert result.accessions[1].sentence.startswith("Its order was cancelled.")


def test_an_order_that_no_network_can_check_neither_gives_nor_takes() -> None:
    unknown = ordered("U", "ESOPHAGUS") if "ESOPHAGUS" in TABLE.regions else ordered("U")
    result = reconcile([unknown, ANKLE], [image("1", unknown, saw(ANKLE=0.97))], TABLE)
    assert result.proposals == ()


def test_an_image_that_was_not_read_never_moves() -> None:
    result = reconcile([KNEE, ANKLE], [image("1", KNEE, Seen(ran=False))], TABLE)
    assert result.proposals == ()
    assert result.accessions[0].standing is Standing.UNCERTAIN
    assert result.accessions[0].missing == ()


def test_an_image_that_matches_stays_even_where_mistakes_are_believed_common() -> None:
    options = Options(misfiled=0.5, unimaged=0.01, least_margin=0.01)
    images = [
        image("1", KNEE, saw(KNEE=0.41, ANKLE=0.99), number=1),
        image("2", KNEE, saw(KNEE=0.99), number=2),
    ]
    assert reconcile([KNEE, ANKLE], images, TABLE, options).proposals == ()


def test_two_issuers_of_one_number_are_two_accessions() -> None:
    here, there = ordered("7", "KNEE", issuer="HERE"), ordered("7", "ANKLE", issuer="THERE")
    result = reconcile(
        [here, there],
        [image("1", here, saw(KNEE=0.95)), image("2", there, saw(ANKLE=0.95))],
        TABLE,
    )
    assert [a.standing for a in result.accessions] == [Standing.MATCH, Standing.MATCH]
    assert result.proposals == ()


def test_headers_alone_judge_each_image_by_its_own() -> None:
    source = ExpectationSource.SERIES_DESCRIPTION
    both = ordered("A", "KNEE", "HAND", source=source)
    images = [
        image("1", both, saw(KNEE=0.95), expected=Expectation(regions=("HAND",), source=source)),
        image("2", both, saw(HAND=0.95), expected=Expectation(regions=("HAND",), source=source)),
    ]
    (verdict,) = reconcile([both], images, TABLE).accessions
    assert [each.standing for each in verdict.images][1] is Standing.MATCH
    assert verdict.images[0].verdict.verdict.value == "mismatch"


def test_verdicts_and_proposals_survive_json() -> None:
    result = reconcile(
        [KNEE, ANKLE],
        [image("1", KNEE, saw(ANKLE=0.97)), image("2", ANKLE, saw(KNEE=0.96))],
        TABLE,
    )
    for verdict in result.accessions:
        assert accession_from_json(accession_to_json(verdict)) == verdict
    for proposal in result.proposals:
        assert proposal_from_json(proposal_to_json(proposal)) == proposal


def test_the_verdict_of_an_image_of_the_other_side_is_uncertain_and_names_both_sides() -> None:
    right = ordered("A", "KNEE", side=Side.RIGHT)
    (verdict,) = reconcile(
        [right], [image("1", right, saw(KNEE=0.95), side=Side.LEFT)], TABLE
    ).accessions
    found = verdict.images[0].verdict
    assert found.verdict is Verdict.UNCERTAIN
    assert "The side tagged is left, the side ordered is right" in found.reason
    assert "Match." not in found.reason
    assert verdict.images[0].sentence.count("The side tagged") == 1


def test_what_a_sibling_order_asks_for_is_not_called_something_that_nobody_ordered() -> None:
    filed = [
        image("1", KNEE, saw(KNEE=0.95), number=1),
        image("2", KNEE, saw(CHEST=0.97), number=2),
        image("3", CHEST, saw(CHEST=0.98), number=1),
    ]
    options = Options(least_margin=50.0)
    result = reconcile([KNEE, CHEST], filed, TABLE, options)
    assert all(move.target is None for p in result.proposals for move in p.moves)
    knee = next(a for a in result.accessions if a.accession.accession_number == "A")
    assert knee.images[1].standing is Standing.MISMATCH
    assert "nobody ordered" not in knee.sentence
