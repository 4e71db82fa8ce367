"""The chest model's calibration and cross-validation are what its kept out-of-fold logits make."""

from pathlib import Path

import numpy as np
import pytest

from inference.evaluation.shipped.check import differences
from inference.manifest import read_manifest
from inference.training.calibrate import fit_calibration
from inference.training.export import plain
from inference.training.folds import group_folds
from inference.training.samples import target_matrix
from inference.training.shipped.chest import FOLDS, inside
from inference.training.shipped.labels import FINDING_KEYS
from inference.training.shipped.outoffold import load
from inference.training.shipped.sources_chest import chest_samples, small_chest_samples
from tests.data import data_dir

pytestmark = pytest.mark.data

SHIPPED = Path(__file__).parents[2] / "inference" / "models" / "chest-findings"
KEPT = Path(__file__).parents[1] / "bench" / "chest_out_of_fold.npz"


def training_samples():
    return [sample for sample in chest_samples(data_dir()) if not sample.held_out]


def test_the_kept_logits_are_of_the_shipped_weights_and_of_the_training_images_alone():
    kept, samples = load(KEPT), training_samples()
    assert kept.weights_sha256 == read_manifest(SHIPPED).weights_sha256
    assert kept.paths == tuple(str(sample.path) for sample in samples)
    assert kept.logits.shape == (len(samples), len(FINDING_KEYS))


def test_the_folds_keep_patients_together():
    kept, samples = load(KEPT), training_samples()
    groups = [sample.group for sample in samples]
    everyone = groups + [sample.group for sample in small_chest_samples(data_dir())]
    seed = read_manifest(SHIPPED).training["seed"]
    assert np.array_equal(kept.folds, group_folds(everyone, folds=FOLDS, seed=seed)[: len(groups)])
    fold_of = dict(zip(groups, kept.folds, strict=True))
    assert [fold_of[group] for group in groups] == kept.folds.tolist()


def test_they_make_the_calibration_and_the_cross_validation_of_the_card():
    kept, samples = load(KEPT), training_samples()
    manifest = read_manifest(SHIPPED)
    calibration = fit_calibration(kept.logits, target_matrix(samples, FINDING_KEYS))
    temperatures = [label.temperature for label in manifest.labels]
    biases = [label.bias for label in manifest.labels]
    assert calibration.temperature == pytest.approx(temperatures, abs=2e-3)
    assert calibration.bias == pytest.approx(biases, abs=2e-3)
    found = plain(inside(calibration(kept.logits), samples))
    assert differences(manifest.metrics["cross_validation"], found, tolerance=1e-3) == []
