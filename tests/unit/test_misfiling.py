"""Mistakes made on purpose are the mistakes they say, and are counted as what they are."""

import numpy as np
import pytest

from inference.accessions import ProposalKind
from inference.reconcile import reconcile
from inference.regions import load_regions
from tests.accessions import saw
from tests.bench.accession_scores import Shares, score
from tests.bench.misfiling import (
    Filing,
    LabelledImage,
    Mistake,
    Part,
    file_patient,
    renamed,
)

TABLE = load_regions()


def part(key: str, region: str, *, images: int = 1, shows: str = "") -> Part:
    """Return an order whose images the network recognises."""
    return Part(
        key=key,
        regions=(region,),
        images=tuple(
            LabelledImage(
                uid=f"{key}-{number}",
                person=key,
                regions=(region,),
                seen=saw(**{shows or region: 0.99}),
            )
            for number in range(images)
        ),
    )


def filing(mistake: Mistake, *parts: Part, seed: int = 0) -> Filing:
    return file_patient(parts, mistake, np.random.default_rng(seed), TABLE)


def counted(found: Filing) -> dict[str, tuple[int, int]]:
    return score(found, reconcile(found.accessions, found.images, TABLE))


KNEE, CHEST = part("a", "KNEE", images=2), part("b", "CHEST")


def test_nothing_wrong_means_every_image_lies_where_it_belongs() -> None:
    found = filing(Mistake.NONE, KNEE, CHEST)

    assert not found.touched
    assert {image.ref.sop_instance_uid: image.accession for image in found.images} == found.truth
    assert counted(found)["false alarms"] == (0, 3)


@pytest.mark.parametrize("seed", range(8))
def test_a_swap_touches_images_of_both_orders(seed: int) -> None:
    found = filing(Mistake.SWAP, KNEE, CHEST, seed=seed)

    lies = {image.ref.sop_instance_uid: image.accession for image in found.images}
    assert {lies[uid] for uid in found.touched} == {"a", "b"}
    assert all(lies[uid] != found.truth[uid] for uid in found.touched)
    assert found.visible
    assert counted(found)["swap found"] == (1, 1)


def test_a_misplaced_image_is_found_and_the_others_raise_no_alarm() -> None:
    found = filing(Mistake.MISPLACE, KNEE, CHEST)

    counts = counted(found)
    assert len(found.touched) == 1
    assert (counts["misplace found"], counts["misplace restored"]) == ((1, 1), (1, 1))
    assert counts["false alarms"] == (0, 2)


def test_a_lost_order_leaves_its_images_nowhere_to_go() -> None:
    found = filing(Mistake.LOST_ORDER, KNEE, CHEST)

    assert {found.truth[uid] for uid in found.touched} == {""}
    assert len(found.accessions) == 1
    proposals = reconcile(found.accessions, found.images, TABLE).proposals
    assert [p.kind for p in proposals] == [ProposalKind.MISSING_ORDER]
    assert counted(found)["lost order restored"] == (1, 1)


def test_a_dropped_part_is_ordered_and_not_imaged() -> None:
    found = filing(Mistake.DROPPED, KNEE, CHEST)

    shown = {region for image in found.images for region in image.seen.present}
    assert found.missing
    assert not shown & {*found.missing}
    assert counted(found)["dropped part found"] == (1, 1)


def test_orders_joined_in_one_accession_are_no_mistake() -> None:
    counts = counted(filing(Mistake.JOINED, KNEE, CHEST))

    assert counts["false alarms"] == (0, 3)
    assert counts["false incomplete"] == (0, 1)


def test_a_swap_that_the_orders_accept_is_counted_apart() -> None:
    hand, finger = part("a", "HAND"), part("b", "HAND")

    counts = counted(filing(Mistake.SWAP, hand, finger))

    assert "swap found" not in counts
    assert counts["swap: accepted by the other order"] == (1, 1)


def test_an_image_that_the_network_misreads_is_a_false_alarm() -> None:
    counts = counted(filing(Mistake.NONE, part("a", "KNEE", shows="CHEST"), CHEST))

    assert counts["false alarms"] == (1, 2)
    assert counts["proposals right"] == (0, 1)
    assert counts["images wrongly moved"] == (1, 2)


def test_intervals_draw_people_and_hold_the_share() -> None:
    shares = Shares()
    for number in range(40):
        one = renamed([part(f"p{number}", "KNEE"), part(f"q{number}", "CHEST")], "x")
        wrong = part(f"w{number}", "KNEE", shows="CHEST")
        made = filing(Mistake.NONE, *(one if number % 4 else (wrong,)))
        shares.add(made, reconcile(made.accessions, made.images, TABLE))

    hits, total = shares.share("false alarms")
    low, high = shares.interval("false alarms")
    assert (hits, total) == (10, 70)
    assert 0 < low < hits / total < high < 0.4
    assert shares.interval("false alarms") == (low, high)
