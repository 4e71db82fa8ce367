"""Exchanges that only the tagged sides speak of."""

from dataclasses import replace
from math import log

from inference.accessions import Basis, ProposalKind, Standing
from inference.assignment import Options
from inference.orders import Side
from inference.reconcile import reconcile
from tests.accessions import TABLE, image, ordered, saw

LEFT_KNEE = ordered("A", "KNEE", side=Side.LEFT)
RIGHT_KNEE = ordered("B", "KNEE", side=Side.RIGHT)
KNEE = saw(KNEE=0.97)


def exchanged() -> list:  # type: ignore[type-arg]
    return [
        image("1", LEFT_KNEE, KNEE, side=Side.RIGHT),
        image("2", RIGHT_KNEE, KNEE, side=Side.LEFT),
    ]


def test_two_knees_whose_tags_contradict_both_orders_are_a_swap_by_tags_alone() -> None:
    result = reconcile([LEFT_KNEE, RIGHT_KNEE], exchanged(), TABLE)

    (proposal,) = result.proposals
    assert proposal.kind is ProposalKind.SWAP
    assert {move.basis for move in proposal.moves} == {Basis.TAGS}
    assert proposal.sentence == (
        "Image 1 of accession A fits accession B (knee, 0.97); swap with image 1 of accession B"
        " (knee, 0.97). Only the sides tagged say so; sides are never read from the pixels."
    )
    assert log(19) <= proposal.margin < 3.0
    assert {each.standing for each in result.accessions} == {Standing.UNCERTAIN}


def test_one_tag_that_contradicts_its_order_may_be_a_wrong_tag_and_proposes_nothing() -> None:
    one, other = exchanged()
    for images in ([one, replace(other, laterality=Side.RIGHT)], [one]):
        assert reconcile([LEFT_KNEE, RIGHT_KNEE], images, TABLE).proposals == ()


def test_images_without_a_tag_prove_nothing() -> None:
    untagged = [replace(each, laterality=Side.UNSAID) for each in exchanged()]
    assert reconcile([LEFT_KNEE, RIGHT_KNEE], untagged, TABLE).proposals == ()


def test_sides_of_different_regions_are_not_exchanged_by_tags() -> None:
    hand = ordered("B", "HAND", side=Side.RIGHT)
    images = [
        image("1", LEFT_KNEE, KNEE, side=Side.RIGHT),
        image("2", hand, saw(HAND=0.97), side=Side.LEFT),
    ]
    assert reconcile([LEFT_KNEE, hand], images, TABLE).proposals == ()


def test_where_a_third_order_could_be_meant_nothing_is_proposed() -> None:
    again = ordered("C", "KNEE", side=Side.RIGHT)
    images = [*exchanged(), image("3", again, KNEE, side=Side.LEFT)]
    assert reconcile([LEFT_KNEE, RIGHT_KNEE, again], images, TABLE).proposals == ()


def test_half_of_an_exchange_by_tags_is_not_proposed_where_a_person_refused_the_other() -> None:
    result = reconcile(
        [LEFT_KNEE, RIGHT_KNEE],
        exchanged(),
        TABLE,
        refused=lambda move: move.image.sop_instance_uid == "1",
    )
    assert result.proposals == ()


def test_a_site_that_wants_longer_odds_gets_no_swap_from_two_tags() -> None:
    options = Options(least_margin=log(100))
    assert reconcile([LEFT_KNEE, RIGHT_KNEE], exchanged(), TABLE, options).proposals == ()


def test_what_the_pixels_say_comes_first() -> None:
    ankle = ordered("C", "ANKLE", side=Side.LEFT)
    images = [*exchanged(), image("3", LEFT_KNEE, saw(ANKLE=0.97), number=2, side=Side.LEFT)]
    proposals = reconcile([LEFT_KNEE, RIGHT_KNEE, ankle], images, TABLE).proposals
    assert [p.moves[0].basis for p in proposals] == [Basis.PIXELS]
