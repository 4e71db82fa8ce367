"""Heat maps against hand-drawn boxes: overlap, its cut, its chance; and how boxes are read."""

import numpy as np
import pytest

from inference.evaluation.shipped.localisation import Boxed, covered, highest, overlap

QUARTERS = {
    "upper left": (0.0, 0.0, 0.5, 0.5),
    "upper right": (0.5, 0.0, 1.0, 0.5),
    "lower left": (0.0, 0.5, 0.5, 1.0),
    "lower right": (0.5, 0.5, 1.0, 1.0),
}


def case(box, *, hot=None, held_out=True, group="p"):
    """A map that is hot inside the quarter `hot` (the box itself by default)."""
    left, top, right, bottom = (round(8 * edge) for edge in hot or box)
    cam = np.zeros((8, 8), dtype=np.float32)
    cam[top:bottom, left:right] = 1.0
    return Boxed(held_out=held_out, group=group, cam=cam, boxes=[box])


def everywhere(held_out):
    return [case(box, held_out=held_out, group=name) for name, box in QUARTERS.items()]


def test_a_map_that_fills_its_box_overlaps_and_the_cut_has_its_area():
    found = overlap(everywhere(True) + everywhere(False))

    assert found["share_of_image"] == 0.25
    assert found["chosen_on"] == 4
    assert found["iou"] > 0.8
    assert found["at_least"]["0.25"][0] == 1.0


def test_chance_is_the_overlap_with_maps_of_other_images():
    found = overlap(everywhere(True) + everywhere(False))

    assert found["chance"] < 0.1 < found["iou"]


def test_a_finding_that_always_lies_in_one_place_gains_nothing_over_chance():
    same = [case(QUARTERS["upper left"], held_out=held, group=str(n))
            for n in range(3) for held in (True, False)]  # fmt: skip

    found = overlap(same)

    assert found["chance"] == pytest.approx(found["iou"])


def test_the_cut_is_chosen_on_train_images_alone():
    small = (0.0, 0.0, 0.25, 0.25)
    train = [case(small, held_out=False)]

    found = overlap([*train, *everywhere(True)])

    assert found["share_of_image"] < 0.1


def test_a_map_that_points_elsewhere_or_nowhere_overlaps_nothing():
    left, right = QUARTERS["upper left"], QUARTERS["lower right"]
    nowhere = Boxed(held_out=True, group="b", cam=np.zeros((8, 8), np.float32), boxes=[left])

    found = overlap([case(left, held_out=False), case(left, hot=right, group="a"), nowhere])

    assert found["iou"] == 0.0
    assert found["at_least"]["0.1"][:2] == [0.0, 0.0]


def test_one_patient_s_images_are_drawn_together():
    two = [case(QUARTERS["upper left"], group="a"),
           case(QUARTERS["upper left"], hot=QUARTERS["lower right"], group="a")]  # fmt: skip

    low, high = overlap([case(QUARTERS["upper left"], held_out=False), *two])["iou_95"]

    assert low == high


def test_two_boxes_cover_their_union():
    assert covered([QUARTERS["upper left"], QUARTERS["upper right"]]).mean() == 0.5


def test_the_peak_is_the_centre_of_the_highest_cell():
    cam = np.zeros((4, 2))
    cam[3, 0] = 1.0

    assert highest(cam) == (0.25, 0.875)
