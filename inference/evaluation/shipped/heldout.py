"""Measure a model on images that were held out of its training.

Everywhere, `probabilities` are calibrated, float64 (N, L), or (N,) of one label; `targets` float32
(N, L), NaN where unknown; body part columns are those of `BODYPART_KEYS`.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.evaluation.loaded import Loaded
from inference.evaluation.measures.curves import reliability
from inference.evaluation.measures.metrics import (
    auc,
    auc_interval,
    average_precision,
    calibration_error,
    precision_recall_f1,
    share_interval,
)
from inference.evaluation.measures.subgroups import ATTRIBUTES, MEAN, subgroup_table
from inference.training.samples import Sample, load_squares, target_matrix
from inference.training.shipped.labels import BODYPART_KEYS, FINDING_KEYS, FRONTAL_CHEST
from inference.training.shipped.sources_bodypart import bodypart_samples
from inference.training.shipped.sources_chest import chest_samples

FloatArray = NDArray[np.float64]

NAMED_AT = 0.5
"""Probability at which an image counts as named with a region that is not its likeliest."""


def bodypart_held_out(model: Loaded, data: Path) -> dict[str, Any]:
    """Return what the body part model scores on limbs' own eval split and on eval chests."""
    seed = int(model.manifest.training["seed"])
    samples = [s for s in bodypart_samples(data, seed=seed) if s.held_out]
    squares = load_squares(data, samples, size=model.manifest.input.size)
    probabilities = model.probabilities(model.logits(squares.pixels))
    targets = target_matrix(samples, BODYPART_KEYS)
    sources = np.array([sample.source for sample in samples])
    chest = sources == "nih"
    limbs = sources == "limbs"
    frontal = probabilities[chest, BODYPART_KEYS.index(FRONTAL_CHEST)]
    return {
        "limbs_eval": region_scores(probabilities[limbs], targets[limbs]),
        "nih_eval": {
            **region_scores(probabilities[chest], targets[chest]),
            "frontal_chest_above_half": float((frontal >= 0.5).mean()),
        },
    }


def region_scores(probabilities: FloatArray, targets: NDArray[np.float32]) -> dict[str, Any]:
    """Return top-1 and macro F1 over images that show a region or are not ours.

    An image may show several regions: ``macro_f1_of_top1`` counts the highest output alone,
    ``macro_f1_of_labels`` also every other that reaches `NAMED_AT`.

    Parameters
    ----------
    probabilities : ndarray of float, shape (N, L)
        In the order of `BODYPART_KEYS`.
    targets : ndarray of float32, shape (N, L)
        NaN where unknown.
    """
    classes = BODYPART_KEYS.index(FRONTAL_CHEST)
    scores, known = probabilities[:, :classes], targets[:, :classes]
    present = np.nan_to_num(known) >= 0.5
    rows = np.arange(len(scores))
    chosen = scores.argmax(axis=1)
    hits = int(present[rows, chosen].sum())
    allowed = int((present | np.isnan(known))[rows, chosen].sum())
    low, high = share_interval(hits, len(scores))
    picked = np.zeros_like(present)
    picked[rows, chosen] = True

    def macro_f1(named: NDArray[np.bool_]) -> float:
        named = named & ~np.isnan(known)
        shown = np.flatnonzero(present.any(axis=0))
        return float(np.mean([precision_recall_f1(named[:, k], present[:, k])[2] for k in shown]))

    return {
        "images": len(scores),
        "top1_in_label_set": hits / len(scores),
        "top1_in_label_set_95": [low, high],
        "top1_in_label_set_or_neighbour": allowed / len(scores),
        "macro_f1_of_top1": macro_f1(picked),
        "macro_f1_of_labels": macro_f1(picked | (scores >= NAMED_AT)),
        "classes_present": int(present.any(axis=0).sum()),
    }


def class_table(
    probabilities: FloatArray, targets: NDArray[np.float32], thresholds: Sequence[float]
) -> dict[str, dict[str, float]]:
    """Return precision, recall, F1 and AUC of each body part output at its threshold."""
    table = {}
    for column, key in enumerate(BODYPART_KEYS):
        known = ~np.isnan(targets[:, column])
        truth = targets[known, column] >= 0.5
        if not truth.any():
            continue  # Inverted and Turned: only copies are, and they are counted apart
        scores = probabilities[known, column]
        precision, recall, f1 = precision_recall_f1(scores >= thresholds[column], truth)
        table[key] = {
            "images": int(truth.sum()),
            "precision": precision,
            "recall": recall,
            "f1": f1,
            "auc": auc(scores, truth),
        }
    return table


def confusion(probabilities: FloatArray, targets: NDArray[np.float32]) -> dict[str, dict[str, int]]:
    """Return the highest output counted per true label; an image counts once per label."""
    classes = BODYPART_KEYS.index(FRONTAL_CHEST)
    chosen = probabilities[:, :classes].argmax(axis=1)
    table: dict[str, dict[str, int]] = {}
    for column in range(classes):
        rows = np.flatnonzero(np.nan_to_num(targets[:, column]) >= 0.5)
        present = np.nan_to_num(targets[rows, :classes]) >= 0.5
        counts: dict[str, int] = {}
        for row, shown in zip(rows, present, strict=True):
            hit = column if shown[chosen[row]] else int(chosen[row])
            key = BODYPART_KEYS[hit]
            counts[key] = counts.get(key, 0) + 1
        if counts:
            table[BODYPART_KEYS[column]] = dict(sorted(counts.items(), key=lambda i: -i[1]))
    return table


def chest_held_out(model: Loaded, data: Path) -> dict[str, Any]:
    """Return what the chest model scores on the eval split of NIH ChestX-ray14.

    ``unseen`` holds the scores on the images with several findings: the only ones that not even
    the weights a member started from can have seen.
    """
    samples, probabilities = held_out_chests(model, data)
    keys = [label.key for label in model.manifest.labels]
    found = finding_scores(probabilities, samples, keys)
    unseen = several_findings(samples)
    rows = [sample for sample, use in zip(samples, unseen, strict=True) if use]
    found["unseen"] = finding_scores(probabilities[unseen], rows, keys)
    for column, label in enumerate(model.manifest.labels):
        if label.operating_point is not None:
            present = np.array([sample.targets[label.key] >= 0.5 for sample in samples])
            decided = probabilities[:, column] >= label.operating_point.present_at
            found["findings"][label.key] |= _at_point(decided, present)
    return found


def several_findings(samples: Sequence[Sample]) -> NDArray[np.bool_]:
    """Return which images (N,) show more than one finding."""
    shown: NDArray[np.bool_] = (target_matrix(samples, FINDING_KEYS) >= 0.5).sum(axis=1) > 1
    return shown


def held_out_chests(model: Loaded, data: Path) -> tuple[list[Sample], FloatArray]:
    """Return the eval split of NIH ChestX-ray14 and the model's probabilities (N, L)."""
    samples = [s for s in chest_samples(data) if s.held_out]
    squares = load_squares(data, samples, size=model.manifest.input.size)
    return samples, model.probabilities(model.logits(squares.pixels))


def chest_subgroups(model: Loaded, data: Path) -> list[dict[str, Any]]:
    """Return the mean AUC by sex, age band, view and collection, with the gap to all others."""
    samples, probabilities = held_out_chests(model, data)
    rows = subgroup_table(
        probabilities,
        target_matrix(samples, FINDING_KEYS),
        [sample.attributes for sample in samples],
        [sample.group for sample in samples],
        labels=FINDING_KEYS,
        names=(*ATTRIBUTES, "collection"),
    )
    return [asdict(row) for row in rows if row.label == MEAN]


def chest_reliability(model: Loaded, data: Path) -> dict[str, list[dict[str, Any]]]:
    """Return, by finding, how often it is there at each level of probability."""
    samples, probabilities = held_out_chests(model, data)
    truth = target_matrix(samples, FINDING_KEYS) >= 0.5
    return {
        key: [asdict(each) for each in reliability(probabilities[:, column], truth[:, column])]
        for column, key in enumerate(FINDING_KEYS)
    }


def _at_point(decided: NDArray[np.bool_], present: NDArray[np.bool_]) -> dict[str, Any]:
    found, passed = int((decided & present).sum()), int((~decided & ~present).sum())
    yes, no = int(present.sum()), int((~present).sum())
    return {
        "sensitivity": found / max(yes, 1),
        "sensitivity_95": list(share_interval(found, yes)),
        "specificity": passed / max(no, 1),
        "specificity_95": list(share_interval(passed, no)),
    }


def finding_scores(
    probabilities: FloatArray, samples: Sequence[Sample], keys: Sequence[str]
) -> dict[str, Any]:
    """Return AUC with interval and calibration error per finding, and their mean."""
    truth = target_matrix(samples, keys) >= 0.5
    groups = [sample.group for sample in samples]
    findings = {}
    for column, key in enumerate(keys):
        scores, present = probabilities[:, column], truth[:, column]
        low, high = auc_interval(scores, present, groups)
        findings[key] = {
            "present": int(present.sum()),
            "auc": auc(scores, present),
            "auc_95": [low, high],
            "average_precision": average_precision(scores, present),
            "calibration_error": calibration_error(scores, present),
        }
    return {
        "images": len(samples),
        "mean_auc": float(np.mean([findings[key]["auc"] for key in FINDING_KEYS])),
        "findings": findings,
    }


def mean_auc(scores: FloatArray, truth: NDArray[np.bool_]) -> float:
    """Return the mean AUC of any scores (N, L) that rise with the probabilities of `truth`."""
    return float(np.mean([auc(scores[:, k], truth[:, k]) for k in range(truth.shape[1])]))
