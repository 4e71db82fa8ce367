"""The body part verdict over many images at once, and the thresholds chosen for it."""

from pathlib import Path

import numpy as np

from inference.evaluation.measures.verdict import (
    MOST_FALSE,
    Thresholds,
    Trials,
    choose_thresholds,
    matches,
    mismatches,
)
from inference.manifest import OperatingPoint
from inference.training.samples import Sample
from inference.training.shipped.bodypart_scores import not_ours_section
from inference.training.shipped.labels import BODYPART_KEYS


def test_verdict_rule_on_single_images() -> None:
    pair = Thresholds(present_at=0.5, absent_below=0.1)
    trials = Trials(
        probabilities=np.array(
            [
                [0.9, 0.0],
                [0.9, 0.05],
                [0.9, 0.3],
                [0.9, 0.05],
                [0.4, 0.05],
                [0.2, 0.0],
                [0.09, 0.0],
                [0.9, 0.0],
            ]
        ),
        not_ours=np.array([False, False, False, True, False, False, False, True]),
        expected=np.array([0, 1, 1, 1, 1, 0, 0, 0]),
    )
    assert np.flatnonzero(mismatches(trials, pair)).tolist() == [1]
    assert np.flatnonzero(matches(trials, pair)).tolist() == [0, 5]


def test_a_most_probable_region_that_is_absent_is_no_match() -> None:
    trials = Trials(
        probabilities=np.array([[0.15, 0.0], [0.25, 0.0]]),
        not_ours=np.zeros(2, dtype=bool),
        expected=np.zeros(2, dtype=int),
    )
    assert matches(trials, Thresholds(present_at=0.5, absent_below=0.2)).tolist() == [False, True]


def test_what_is_called_none_of_ours_is_counted_by_source() -> None:
    samples = [
        Sample(path=Path(f"{i}.png"), targets={}, group=str(i), source=source)
        for i, source in enumerate(("dental", "limbs", "limbs", "unifesp"))
    ]
    column = BODYPART_KEYS.index("NotOurs")
    probabilities, targets = np.zeros((2, 4, len(BODYPART_KEYS)))
    probabilities[:, column] = 0.2, 0.1, 0.3, 0.0
    targets[:2, column] = 1.0
    points = {"NotOurs": OperatingPoint(present_at=0.2, absent_below=0.1)}

    found = not_ours_section(probabilities, targets.astype(np.float32), samples, points)

    assert found == {
        "present_at": 0.2,
        "not_ours": {
            "dental": {"images": 1, "called": 1},
            "limbs": {"images": 1, "called": 0},
        },
        "ours": {"limbs": {"images": 1, "called": 1}, "unifesp": {"images": 1, "called": 0}},
    }


def test_chosen_thresholds_keep_the_false_flags_below_the_limit() -> None:
    random = np.random.default_rng(9)
    truth = random.integers(0, 4, 400)
    probabilities = random.random((400, 4)) * 0.2
    probabilities[np.arange(400), truth] = random.random(400)
    none = np.zeros(400, dtype=bool)
    correct = Trials(probabilities=probabilities, not_ours=none, expected=truth)
    wrong = Trials(probabilities=probabilities, not_ours=none, expected=(truth + 1) % 4)
    pair = choose_thresholds(correct, wrong)
    assert mismatches(correct, pair).mean() <= MOST_FALSE
    assert mismatches(wrong, pair).mean() > 0.1
