"""Logits become probabilities that mean what they say, rare labels among the others."""

import numpy as np
import pytest
from numpy.typing import NDArray

from inference.evaluation.measures.metrics import calibration_error
from inference.training.calibrate import Calibration, calibrated_apart, fit_calibration


def test_calibration_undoes_a_known_distortion() -> None:
    random = np.random.default_rng(3)
    true = random.normal(0, 2, 20000)
    present = random.random(20000) < 1 / (1 + np.exp(-true))
    distorted = ((true - 0.5) * 2).astype(np.float32)[:, None]
    calibration = fit_calibration(distorted, present.astype(np.float32)[:, None])
    assert calibration.temperature[0] == pytest.approx(2.0, abs=0.1)
    assert calibration.bias[0] == pytest.approx(0.5, abs=0.1)
    assert calibration_error(calibration(distorted)[:, 0], present) < 0.02


def test_labels_of_a_kind_lend_one_another_what_a_rare_one_cannot_tell() -> None:
    random = np.random.default_rng(5)
    shown = random.integers(0, 6, 1500)
    present = np.eye(6, dtype=np.float32)[shown]
    logits = (8 * present - 5 + random.normal(0, 2, present.shape)).astype(np.float32)
    known = present.copy()
    known[np.flatnonzero(shown == 5)[3:], 5] = np.nan
    known[np.flatnonzero(shown != 5)[3:], 5] = np.nan

    def of_last(calibration: Calibration) -> tuple[float, float]:
        return abs(np.log(calibration.temperature[5] / true.temperature[0])), abs(
            calibration.bias[5] - true.bias[0]
        )

    true = fit_calibration(logits, present)
    alone, together = (of_last(fit_calibration(logits, known, alike=n)) for n in (0, 6))
    assert together[0] < alone[0] / 2
    assert together[1] < alone[1]


@pytest.mark.parametrize("spread", [0.05, 0.1])
def test_where_the_temperature_is_at_its_limit_the_bias_fits_it(spread: float) -> None:
    random = np.random.default_rng(7)
    present = random.random(400) < 0.5
    logits = (1.0 + spread * (random.normal(size=400) + 3 * present)).astype(np.float32)
    calibration = fit_calibration(logits[:, None], present.astype(np.float32)[:, None])
    probabilities = calibration(logits[:, None])[:, 0]
    assert calibration.temperature[0] == 0.2
    assert probabilities.mean() == pytest.approx(0.5, abs=0.03)
    assert ((probabilities >= 0.5) == present).mean() > 0.9


def test_labels_of_another_kind_are_calibrated_alone() -> None:
    random = np.random.default_rng(6)
    logits = random.normal(0, 2, (1000, 3)).astype(np.float32)
    chance = 1 / (1 + np.exp(-logits * [1.0, 1.0, 0.5]))
    targets = (random.random(logits.shape) < chance).astype(np.float32)
    calibration = fit_calibration(logits, targets, alike=2)
    last = fit_calibration(logits[:, 2:], targets[:, 2:])
    assert calibration.temperature[2] == pytest.approx(last.temperature[0], abs=1e-3)
    assert calibration.bias[2] == pytest.approx(last.bias[0], abs=1e-3)
    assert calibration.temperature[0] == pytest.approx(1.0, abs=0.2)


def test_a_fold_has_no_part_in_its_own_calibration() -> None:
    logits = np.zeros((6, 1), dtype=np.float32)
    folds = np.array([0, 0, 1, 1, 2, 2])

    def calibration_of(rows: NDArray[np.bool_]) -> Calibration:
        left_out = float(folds[~rows].mean())
        return Calibration(temperature=np.ones(1), bias=np.array([left_out]))

    found = calibrated_apart(logits, folds, calibration_of)
    np.testing.assert_allclose(found[:, 0], 1 / (1 + np.exp(-folds)))
