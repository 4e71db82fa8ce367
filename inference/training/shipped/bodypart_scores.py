"""What cross-validation says of a body part network: the sections of its manifest.

Everywhere, `probabilities` are calibrated and out of fold, float64 (N, L); `targets` float32 (N, L)
with NaN where unknown; columns are those of `BODYPART_KEYS`, and `samples` are the N images.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.evaluation.measures.metrics import share_interval
from inference.evaluation.measures.verdict import Thresholds, choose_thresholds, verdict_rates
from inference.evaluation.shipped.heldout import class_table, confusion, region_scores
from inference.manifest import OperatingPoint
from inference.training.export import plain
from inference.training.folds import group_folds
from inference.training.samples import FloatArray, Sample
from inference.training.shipped.filing import SOURCES, filing_trials
from inference.training.shipped.labels import (
    BODYPART_KEYS,
    FRONTAL_CHEST,
    INVERTED,
    NOT_OURS,
    OTHERS,
    TURNED,
)

FOLDS = 5


def measured(
    probabilities: NDArray[np.float64],
    targets: FloatArray,
    samples: list[Sample],
    points: dict[str, OperatingPoint],
    pair: Thresholds,
) -> dict[str, Any]:
    """Return the sections of the manifest's metrics that out-of-fold probabilities make."""
    return {
        "cross_validation": {
            "folds": FOLDS,
            **plain(cross_validation(probabilities, targets, samples, points, pair)),
        },
        "verdict": plain(verdict_section(probabilities, targets, samples, points, pair)),
        "not_ours": plain(not_ours_section(probabilities, targets, samples, points)),
        "frontal_gate": plain(gate_section(probabilities, targets, points)),
    }


def cross_validation(
    probabilities: NDArray[np.float64],
    targets: FloatArray,
    samples: list[Sample],
    points: dict[str, OperatingPoint],
    pair: Thresholds,
) -> dict[str, Any]:
    """Return the out-of-fold scores, on UNIFESP alone and on everything."""
    unifesp = np.array([s.source == "unifesp" for s in samples])
    regions = targets[:, : BODYPART_KEYS.index(OTHERS)]
    named = unifesp & (np.nan_to_num(regions) >= 0.5).any(axis=1)
    own = {key: point.present_at for key, point in points.items()}
    thresholds = [own.get(key, pair.present_at) for key in BODYPART_KEYS]
    return {
        **by_source(probabilities, targets, samples),
        "unifesp_without_others": region_scores(probabilities[named], targets[named]),
        "all": region_scores(probabilities, targets),
        "unifesp_chest_recall": chest_recall(probabilities[unifesp], targets[unifesp], pair),
        "classes": class_table(probabilities, targets, thresholds),
        "confusion_unifesp": confusion(probabilities[unifesp], targets[unifesp]),
    }


def by_source(
    probabilities: NDArray[np.float64], targets: FloatArray, samples: list[Sample]
) -> dict[str, Any]:
    """Return the region scores of the two sources whose labels name what is shown."""
    sources = np.array([s.source for s in samples])
    return {
        name: region_scores(probabilities[sources == name], targets[sources == name])
        for name in SOURCES
    }


def chest_recall(
    probabilities: NDArray[np.float64], targets: FloatArray, pair: Thresholds
) -> dict[str, Any]:
    """Return how many chests are recognised as chests: at the threshold, and by top-1."""
    column = BODYPART_KEYS.index("Chest")
    rows = np.nan_to_num(targets[:, column]) >= 0.5
    regions = probabilities[rows, : BODYPART_KEYS.index(FRONTAL_CHEST)]
    found = int((regions[:, column] >= pair.present_at).sum())
    return {
        "images": len(regions),
        "at_threshold": found / len(regions),
        "at_threshold_95": list(share_interval(found, len(regions))),
        "top1": float((regions.argmax(axis=1) == column).mean()),
    }


def verdict_section(
    probabilities: NDArray[np.float64],
    targets: FloatArray,
    samples: list[Sample],
    points: dict[str, OperatingPoint],
    pair: Thresholds,
) -> dict[str, Any]:
    """Return the two rates of the mismatch verdict, as chosen and on folds left out.

    The pair is chosen on all out-of-fold predictions; ``left_out`` chooses it without one
    half of the groups and counts on that half, which shows how much the choice flatters.
    """
    strange = points[NOT_OURS].present_at
    correct, wrong = filing_trials(probabilities, targets, samples, strange)
    half = group_folds([s.group for s in samples], folds=2, seed=7)
    left_out = []
    for side in (0, 1):
        rows, rest = half == side, half != side
        own = [s for s, use in zip(samples, rest, strict=True) if use]
        chosen = choose_thresholds(*filing_trials(probabilities[rest], targets[rest], own, strange))
        other = [s for s, use in zip(samples, rows, strict=True) if use]
        trials = filing_trials(probabilities[rows], targets[rows], other, strange)
        left_out.append(verdict_rates(*trials, chosen))
    return {
        "present_at": pair.present_at,
        "absent_below": pair.absent_below,
        "chosen_on_all": verdict_rates(correct, wrong, pair),
        "as_labelled": verdict_rates(
            *filing_trials(probabilities, targets, samples, strange, as_labelled=True), pair
        ),
        "left_out": left_out,
    }


def not_ours_section(
    probabilities: NDArray[np.float64],
    targets: FloatArray,
    samples: list[Sample],
    points: dict[str, OperatingPoint],
) -> dict[str, Any]:
    """Return what is called none of ours, by source: of images that are not, and that are."""
    column = BODYPART_KEYS.index(NOT_OURS)
    at = points[NOT_OURS].present_at
    called = probabilities[:, column] >= at
    sources = np.array([sample.source for sample in samples])
    strange = targets[:, column] >= 0.5

    def by_kind(rows: NDArray[np.bool_]) -> dict[str, dict[str, int]]:
        return {
            str(name): {
                "images": int((rows & (sources == name)).sum()),
                "called": int((rows & (sources == name) & called).sum()),
            }
            for name in np.unique(sources[rows])
        }

    return {"present_at": at, "not_ours": by_kind(strange), "ours": by_kind(~strange)}


def passes_gates(
    probabilities: NDArray[np.float64], points: dict[str, OperatingPoint]
) -> NDArray[np.bool_]:
    """Return which images the chest model may see."""
    scores = {key: probabilities[:, BODYPART_KEYS.index(key)] for key in points}
    passed: NDArray[np.bool_] = scores[FRONTAL_CHEST] >= points[FRONTAL_CHEST].present_at
    for key in (INVERTED, TURNED):
        passed = passed & (scores[key] <= points[key].present_at)
    return passed


def gate_section(
    probabilities: NDArray[np.float64], targets: FloatArray, points: dict[str, OperatingPoint]
) -> dict[str, Any]:
    """Return how many frontal chests, other chests and other images pass the gates."""
    column = BODYPART_KEYS.index(FRONTAL_CHEST)
    passed = passes_gates(probabilities, points)
    frontal = np.nan_to_num(targets[:, column]) >= 0.5
    other_view = (np.nan_to_num(targets[:, BODYPART_KEYS.index("Chest")]) >= 0.5) & (
        targets[:, column] == 0.0
    )
    elsewhere = (targets[:, column] == 0.0) & ~other_view
    result: dict[str, Any] = {"at_least": points[FRONTAL_CHEST].present_at}
    for name, rows in (
        ("frontal", frontal),
        ("chest_other_view", other_view),
        ("no_chest", elsewhere),
    ):
        count, total = int(passed[rows].sum()), int(rows.sum())
        result[name] = {"images": total, "pass": count / total}
        result[name]["pass_95"] = list(share_interval(count, total))
    return result


def disguised_section(
    probabilities: NDArray[np.float64],
    targets: FloatArray,
    told: FloatArray,
    points: dict[str, OperatingPoint],
) -> dict[str, Any]:
    """Return what is noticed on disguised copies, and how many frontal chests still pass."""
    result: dict[str, Any] = {}
    for key in (INVERTED, TURNED):
        column = BODYPART_KEYS.index(key)
        noticed = probabilities[:, column] >= points[key].present_at
        done, left = told[:, column] >= 0.5, told[:, column] < 0.5
        result[key] = {
            "present_at": points[key].present_at,
            "noticed": float(noticed[done].mean()),
            "images": int(done.sum()),
            "false": float(noticed[left].mean()),
            "images_not_so": int(left.sum()),
        }
    frontal = np.nan_to_num(targets[:, BODYPART_KEYS.index(FRONTAL_CHEST)]) >= 0.5
    changed = np.nan_to_num(told[:, [BODYPART_KEYS.index(k) for k in (INVERTED, TURNED)]])
    rows = frontal & (changed >= 0.5).any(axis=1)
    result["frontal_pass"] = float(passes_gates(probabilities, points)[rows].mean())
    result["frontal_images"] = int(rows.sum())
    result["regions"] = region_scores(probabilities, targets)
    return result
