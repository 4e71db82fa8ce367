"""What a collection alone says of its labels is told to the loss, so that it is not learned."""

import functools
from pathlib import Path

import numpy as np
import pytest
import torch

from inference.training.losses import sigmoid_loss
from inference.training.shipped.loop import Schedule, fit, predict
from inference.training.shipped.prevalence import told_by_collection
from tests.unit.test_training import FLOAT32, bank_and_tail, bright_and_dark

HOSPITALS = ["clinic"] * 400 + ["ward"] * 400


def shares(*of_each: float) -> np.ndarray:
    """400 images of each collection, of which these shares show the only label."""
    shown = [np.arange(400) < share * 400 for share in of_each]
    return np.concatenate(shown)[:, None].astype(np.float32)


def test_what_is_common_in_a_collection_speaks_for_the_label_there_and_against_it_elsewhere() -> (
    None
):
    told = told_by_collection(shares(0.5, 0.1), HOSPITALS, np.arange(800))
    common = np.log(0.3 / 0.7)
    assert told[:400] == pytest.approx(np.log(0.5 / 0.5) - common, abs=0.12)
    assert told[400:] == pytest.approx(np.log(0.1 / 0.9) - common, abs=0.12)


def test_collections_that_agree_say_nothing() -> None:
    told = told_by_collection(shares(0.2, 0.2), HOSPITALS, np.arange(800))
    assert told == pytest.approx(0.0, abs=0.01)


def test_a_collection_of_few_images_says_little() -> None:
    targets = np.concatenate([shares(0.1, 0.1), np.ones((3, 1), dtype=np.float32)])
    told = told_by_collection(targets, [*HOSPITALS, *["rare"] * 3], np.arange(803))
    few, many = told[-1, 0], np.log(0.9 / 0.1)
    assert 0 < few < many / 2


def test_only_training_rows_and_known_labels_are_counted() -> None:
    targets = shares(0.5, 0.1)
    known = told_by_collection(targets, HOSPITALS, np.arange(0, 800, 2))
    changed = targets.copy()
    changed[1::2] = 1.0 - changed[1::2]  # of rows that are not learned from
    np.testing.assert_array_equal(
        told_by_collection(changed, HOSPITALS, np.arange(0, 800, 2)), known
    )
    unknown = np.concatenate([targets, np.full((50, 1), np.nan, dtype=np.float32)])
    told = told_by_collection(unknown, [*HOSPITALS, *["ward"] * 50], np.arange(850))
    np.testing.assert_allclose(
        told[:800], told_by_collection(targets, HOSPITALS, np.arange(800)), atol=1e-6
    )


def test_what_is_told_is_not_learned(tmp_path: Path) -> None:
    squares, targets = bright_and_dark(32)
    bank, tail = bank_and_tail(squares, tmp_path)
    schedule = Schedule(epochs=10, head_epochs=0, batch=8, rate=2e-2, head_rate=2e-2, average=0.5)

    def apart(told: np.ndarray | None) -> float:
        trained = fit(
            tail,
            bank,
            targets,
            np.arange(32),
            schedule=schedule,
            weights=np.ones(32),
            objective=functools.partial(sigmoid_loss, positive_weight=torch.ones(1)),
            device=FLOAT32,
            told=told,
            seed=1,
            label="test",
        )
        scores = predict(trained, bank.clean)[:, 0]
        bright = targets[:, 0] > 0.5
        return float(scores[bright].mean() - scores[~bright].mean())

    everything = np.where(targets > 0.5, 6.0, -6.0).astype(np.float32)
    assert apart(everything) < apart(None) / 4
