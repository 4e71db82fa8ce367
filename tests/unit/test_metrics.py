"""The measures agree with scikit-learn, and their intervals draw patients."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from inference.evaluation.measures.bootstrap import draws, interval, resample
from inference.evaluation.measures.metrics import (
    auc,
    auc_interval,
    average_precision,
    share_interval,
    weighted_auc,
    weighted_average_precision,
    youden_threshold,
)

RANDOM = np.random.default_rng(4)
SCORES = RANDOM.integers(0, 20, 200).astype(np.float64)
TRUTH = RANDOM.random(200) < 0.3
WEIGHTS = RANDOM.integers(0, 4, (3, 200)).astype(np.float64)


def test_average_precision_agrees_with_scikit_learn_also_with_ties_and_weights() -> None:
    assert average_precision(SCORES, TRUTH) == pytest.approx(average_precision_score(TRUTH, SCORES))
    assert weighted_average_precision(SCORES, TRUTH, WEIGHTS) == pytest.approx(
        [average_precision_score(TRUTH, SCORES, sample_weight=row) for row in WEIGHTS]
    )


def test_many_weightings_give_the_auc_of_each() -> None:
    assert weighted_auc(SCORES, TRUTH, WEIGHTS) == pytest.approx(
        [roc_auc_score(TRUTH, SCORES, sample_weight=row) for row in WEIGHTS]
    )


@pytest.mark.parametrize("truth", [np.zeros(3, dtype=bool), np.ones(3, dtype=bool)])
def test_without_both_classes_there_is_no_auc(truth: np.ndarray) -> None:
    assert np.isnan(auc(np.arange(3.0), truth))
    assert np.isnan(auc_interval(np.arange(3.0), truth, ["a", "b", "c"], rounds=5)).all()


def test_without_images_there_is_no_measure() -> None:
    nothing = np.zeros(0)
    assert np.isnan(auc(nothing, nothing.astype(bool)))
    assert np.isnan(average_precision(nothing, nothing.astype(bool)))


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_have_no_measure(odd: float) -> None:
    truth = np.array([False, False, True, True])
    for scores in (np.full(4, odd), np.array([0.1, odd, 0.3, 0.4])):
        assert np.isnan(auc(scores, truth))
        assert np.isnan(average_precision(scores, truth))
    assert np.isnan(youden_threshold(np.array([0.1, np.nan, 0.3, 0.4]), truth))


def test_images_of_one_patient_are_drawn_together() -> None:
    groups = ["a", "b", "a", "c"]
    (weights,) = draws(groups, rounds=50, seed=1)
    assert weights.shape == (50, 4)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()


def test_large_sets_are_drawn_in_blocks_that_add_up_to_the_same_draws(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    groups = [str(i) for i in range(10)]
    whole = np.concatenate(list(draws(groups, rounds=7, seed=3)))
    monkeypatch.setattr("inference.evaluation.measures.bootstrap._CELLS", 30)
    blocks = list(draws(groups, rounds=7, seed=3))
    assert [len(block) for block in blocks] == [3, 3, 1]
    assert (np.concatenate(blocks) == whole).all()


def test_the_interval_of_a_mean_agrees_with_theory() -> None:
    values = np.random.default_rng(0).normal(size=400)
    low, high = interval(
        resample(lambda w: w @ values / w.sum(axis=1), [str(i) for i in range(400)])
    )
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.015)
    assert high == pytest.approx(values.mean() + half, abs=0.015)


def test_auc_agrees_with_scikit_learn_also_with_ties_and_weights() -> None:
    random = np.random.default_rng(2)
    scores = random.integers(0, 20, 300).astype(np.float64)
    truth = random.random(300) < 0.3
    weights = random.integers(0, 4, 300).astype(np.float64)
    assert auc(scores, truth) == pytest.approx(roc_auc_score(truth, scores))
    assert weighted_auc(scores, truth, weights[None]) == pytest.approx(
        roc_auc_score(truth, scores, sample_weight=weights)
    )
    low, high = auc_interval(scores, truth, [str(i // 2) for i in range(300)], rounds=200)
    assert low < auc(scores, truth) < high


def test_share_interval_stays_inside_zero_and_one() -> None:
    assert share_interval(0, 10)[0] == 0.0
    assert share_interval(10, 10)[1] == pytest.approx(1.0)
    assert share_interval(0, 0) == (0.0, 1.0)
