"""Orders under which no image has come."""

from dataclasses import replace

from inference.accessions import Standing
from inference.reconcile import reconcile
from tests.accessions import TABLE, image, ordered, saw

KNEE = ordered("A", "KNEE")
ANKLE = replace(ordered("B", "ANKLE"), overdue=True)


def test_an_overdue_order_without_images_is_incomplete_and_names_what_was_ordered() -> None:
    result = reconcile([KNEE, ANKLE], [image("1", KNEE, saw(KNEE=0.97))], TABLE)

    knee, ankle = result.accessions
    assert knee.standing is Standing.MATCH
    assert (ankle.standing, ankle.missing, ankle.images) == (Standing.INCOMPLETE, ("ANKLE",), ())
    assert ankle.sentence == "No image has come under it. Ordered and not imaged: ankle."


def test_an_order_whose_images_may_still_come_is_not_judged() -> None:
    waiting = replace(ANKLE, overdue=False)
    result = reconcile([KNEE, waiting], [image("1", KNEE, saw(KNEE=0.97))], TABLE)
    assert [each.accession.accession_number for each in result.accessions] == ["A"]


def test_an_overdue_order_that_was_cancelled_misses_nothing() -> None:
    cancelled = replace(ANKLE, overdue=False, cancelled=True, expected=None)
    assert reconcile([cancelled], [], TABLE).accessions == ()


def test_an_order_to_which_a_person_sent_an_image_is_not_called_incomplete() -> None:
    sent = replace(image("1", KNEE, saw(ANKLE=0.97)), settled=ANKLE.ref.key)
    result = reconcile([KNEE, ANKLE], [sent], TABLE)
    assert [each.accession.accession_number for each in result.accessions] == ["A"]


def test_a_region_that_no_table_names_is_told_as_it_was_ordered() -> None:
    odd = replace(ordered("B", "TAIL"), overdue=True)
    (verdict,) = reconcile([odd], [], TABLE).accessions
    assert verdict.sentence == "No image has come under it. Ordered and not imaged: tail."
