"""Held-out images as other stations would send them."""

import numpy as np
import pytest

from inference.evaluation.shipped.disturbed import WAYS, bordered, cropped, cut

PICTURE = np.linspace(0.0, 1.0, 40 * 60, dtype=np.float32).reshape(40, 60)


@pytest.mark.parametrize("way", WAYS)
def test_a_way_leaves_a_picture_in_its_range_and_changes_it_unless_it_says_not(way: str) -> None:
    kept = PICTURE.copy()
    changed = WAYS[way](PICTURE)
    assert changed.dtype == np.float32
    assert changed.min() >= 0.0
    assert changed.max() <= 1.0
    assert np.array_equal(PICTURE, kept)
    same = changed.shape == PICTURE.shape and np.array_equal(changed, PICTURE)
    assert same == (way == "as they are")


def test_borders_and_crops_are_shares_of_each_side() -> None:
    framed = bordered(PICTURE, 0.1, 1.0)
    assert framed.shape == (48, 72)
    assert np.array_equal(framed[4:-4, 6:-6], PICTURE)
    assert framed[:4].min() == framed[:, -6:].min() == 1.0
    assert np.array_equal(cropped(framed, 1 / 12), PICTURE)


def test_greys_outside_a_window_are_black_and_white() -> None:
    greys = cut(np.array([[0.1, 0.5, 0.9]], dtype=np.float32), 0.25, 0.75)
    assert greys.tolist() == [[0.0, 0.5, 1.0]]
