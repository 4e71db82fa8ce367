"""Operating points of the outputs that name no region."""

import numpy as np
import pytest

from inference.training.shipped.bodypart import auxiliary_points, with_disguised
from inference.training.shipped.labels import (
    BODYPART_KEYS,
    FRONTAL_CHEST,
    INVERTED,
    NOT_OURS,
    TURNED,
)

IMAGES = 2001


def column(key: str) -> int:
    return BODYPART_KEYS.index(key)


@pytest.fixture
def scored() -> tuple[np.ndarray, np.ndarray]:
    """Images whose every output rises evenly from 0 to 1; the second half are frontal chests."""
    probabilities = np.tile(np.linspace(0.0, 1.0, IMAGES)[:, None], (1, len(BODYPART_KEYS)))
    targets = np.zeros_like(probabilities, dtype=np.float32)
    targets[IMAGES // 2 :, column(FRONTAL_CHEST)] = 1
    return probabilities, targets


def test_few_of_our_own_images_are_called_none_of_ours(scored):
    probabilities, targets = scored
    at = auxiliary_points(probabilities, targets)[NOT_OURS].present_at
    assert at == pytest.approx(0.999)
    assert (probabilities[:, column(NOT_OURS)] >= at).sum() == IMAGES // 1000 + 1

    targets[-200:, column(NOT_OURS)] = 1
    assert auxiliary_points(probabilities, targets)[NOT_OURS].present_at < at


def test_a_gate_is_never_below_one_half_nor_beyond_reach(scored):
    probabilities, targets = scored
    points = auxiliary_points(probabilities, targets)
    assert points[INVERTED].present_at == points[TURNED].present_at == 0.95
    assert points[FRONTAL_CHEST].present_at == pytest.approx(0.505, abs=0.001)

    timid = auxiliary_points(probabilities * 0.4, targets)
    assert {timid[key].present_at for key in (INVERTED, TURNED, FRONTAL_CHEST)} == {0.5}
    middling = auxiliary_points(probabilities * 0.8, targets)
    assert middling[INVERTED].present_at == pytest.approx(0.796, abs=0.001)


def test_disguised_copies_count_for_their_disguise_alone(scored):
    _, targets = scored
    told = np.ones_like(targets)
    logits, wanted = with_disguised(targets, targets + 1, targets, told)
    assert logits.shape == wanted.shape == (2 * IMAGES, len(BODYPART_KEYS))
    assert np.array_equal(wanted[:IMAGES], targets)
    known = ~np.isnan(wanted[IMAGES:])
    assert set(np.flatnonzero(known.any(axis=0))) == {column(INVERTED), column(TURNED)}
