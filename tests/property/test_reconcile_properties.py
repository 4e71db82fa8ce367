"""What must hold of any assignment and of any reconciliation."""

from itertools import product
from math import inf, isclose

from hypothesis import given, settings
from hypothesis import strategies as st

from inference.accessions import Standing
from inference.assignment import (
    NOWHERE,
    Candidate,
    Options,
    assign,
    first_image_bonus,
    place_cost,
)
from inference.reconcile import reconcile
from tests.accessions import NETWORK, TABLE, image, ordered, saw

OPTIONS = Options()
ORDERS = ("a", "b", "c")
PROBABILITY = st.floats(min_value=0.001, max_value=0.999)


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[Candidate], list[str]]:
    orders = list(ORDERS[: draw(st.integers(1, 3))])
    count = draw(st.integers(1, 5))
    candidates = []
    for number in range(count):
        filed = draw(st.sampled_from([*orders, NOWHERE]))
        possible = draw(st.sets(st.sampled_from(orders))) | ({filed} - {NOWHERE})
        fits = {order: draw(PROBABILITY) for order in sorted(possible)}
        candidates.append(
            Candidate(
                key=str(number),
                filed=filed,
                locked=draw(st.booleans()),
                fits=fits,
                best=draw(PROBABILITY),
                sides_differ=frozenset(draw(st.sets(st.sampled_from(orders)))),
            )
        )
    return candidates, orders


def cost_of(places: tuple[str, ...], candidates: list[Candidate], orders: list[str]) -> float:
    each = [
        place_cost(candidate, place, orders, OPTIONS)
        for candidate, place in zip(candidates, places, strict=True)
    ]
    return sum(each) - first_image_bonus(OPTIONS) * len(set(places) - {NOWHERE})


def least_cost(candidates: list[Candidate], orders: list[str], without: object = None) -> float:
    return min(
        (
            cost_of(places, candidates, orders)
            for places in product([*orders, NOWHERE], repeat=len(candidates))
            if without not in {(c.key, p) for c, p in zip(candidates, places, strict=True)}
        ),
        default=inf,
    )


@given(problems())
@settings(max_examples=150)
def test_no_other_assignment_is_more_probable(problem: tuple[list[Candidate], list[str]]) -> None:
    candidates, orders = problem
    found = assign(candidates, orders, OPTIONS)
    places = tuple(found[candidate.key].place for candidate in candidates)
    least = least_cost(candidates, orders)
    assert isclose(cost_of(places, candidates, orders), least, abs_tol=1e-9)


@given(problems())
@settings(max_examples=100)
def test_a_margin_is_the_distance_to_the_best_that_does_without_the_move(
    problem: tuple[list[Candidate], list[str]],
) -> None:
    candidates, orders = problem
    found = assign(candidates, orders, OPTIONS)
    least = least_cost(candidates, orders)
    for candidate in candidates:
        answer = found[candidate.key]
        if answer.place != candidate.filed:
            other = least_cost(candidates, orders, (candidate.key, answer.place))
            assert isclose(answer.margin, other - least, abs_tol=1e-9)


@given(problems(), st.randoms())
@settings(max_examples=100)
def test_the_order_of_images_and_orders_changes_nothing(
    problem: tuple[list[Candidate], list[str]], random: object
) -> None:
    candidates, orders = problem
    shuffled, turned = list(candidates), list(orders)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    random.shuffle(turned)  # type: ignore[attr-defined]
    assert assign(shuffled, turned, OPTIONS) == assign(candidates, orders, OPTIONS)


CHECKABLE = tuple(region for region in NETWORK if TABLE.showing(region))


@st.composite
def filings(draw: st.DrawFn, *, right: bool) -> tuple[list, list]:
    wanted = draw(st.lists(st.sampled_from(CHECKABLE), min_size=1, max_size=4, unique=True))
    accessions = [ordered(f"N{number}", region) for number, region in enumerate(wanted)]
    images = []
    for number in range(draw(st.integers(1, 6))):
        accession = draw(st.sampled_from(accessions))
        regions = NETWORK
        if right:
            regions = tuple(sorted(TABLE.showing(accession.expected.regions[0])))
        shown = draw(st.sampled_from(regions))
        probability = draw(st.floats(min_value=0.6 if right else 0.01, max_value=0.999))
        images.append(
            image(f"1.{number}", accession, saw(**{shown: probability}), number=number + 1)
        )
    return accessions, images


@given(filings(right=True))
@settings(max_examples=150)
def test_nothing_is_proposed_when_everything_matches(filing: tuple[list, list]) -> None:
    accessions, images = filing
    result = reconcile(accessions, images, TABLE)
    assert {verdict.standing for verdict in result.accessions} == {Standing.MATCH}
    assert result.proposals == ()


@given(filings(right=False), st.randoms())
@settings(max_examples=150)
def test_a_reconciliation_does_not_depend_on_the_order_of_what_it_is_given(
    filing: tuple[list, list], random: object
) -> None:
    accessions, images = filing
    expected = reconcile(accessions, images, TABLE)
    random.shuffle(accessions)  # type: ignore[attr-defined]
    random.shuffle(images)  # type: ignore[attr-defined]
    assert reconcile(accessions, images, TABLE) == expected


@given(filings(right=False))
@settings(max_examples=150)
def test_an_image_that_matches_never_moves_and_every_move_goes_elsewhere(
    filing: tuple[list, list],
) -> None:
    accessions, images = filing
    result = reconcile(accessions, images, TABLE)
    matching = {
        each.image.sop_instance_uid
        for verdict in result.accessions
        for each in verdict.images
        if each.standing is Standing.MATCH
    }
    moves = [move for proposal in result.proposals for move in proposal.moves]
    assert not matching & {move.image.sop_instance_uid for move in moves}
    assert len({move.image.sop_instance_uid for move in moves}) == len(moves)
    for move in moves:
        assert move.target != move.origin
        least = OPTIONS.least_margin if move.target else OPTIONS.least_margin_missing
        assert move.margin >= least
