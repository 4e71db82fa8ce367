"""The labels of the chest findings model: operating points, which are reported, and its gates."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.evaluation.measures.metrics import auc
from inference.manifest import Gate, Label, OperatingPoint, read_manifest
from inference.training.calibrate import Calibration
from inference.training.samples import FloatArray
from inference.training.shipped.labels import FINDINGS, FRONTAL_CHEST, INVERTED, TURNED
from inference.types import Task

LOWEST_AUC = 0.65
"""A finding whose AUC may lie below this, by its 95 % interval, is not reported."""

FEWEST = 15
"""True images that an interval needs to be believed."""

SENSITIVITY = 0.95
"""Share of true findings that must not fall below ``absent_below``."""

SPECIFICITY = 0.95
"""Share of images without a finding that must stay below ``present_at``."""


def finding_labels(
    probabilities: NDArray[np.float64], truth: FloatArray, calibration: Calibration
) -> tuple[Label, ...]:
    """Return the labels with operating points from out-of-fold probabilities.

    Parameters
    ----------
    probabilities : ndarray of float64, shape (N, L)
        Calibrated, in the order of `FINDINGS`.
    truth : ndarray of float32, shape (N, L)
        Present from one half.
    calibration : Calibration
        What made them of the network's logits.
    """
    labels = []
    for column, finding in enumerate(FINDINGS):
        scores, present = probabilities[:, column], truth[:, column] >= 0.5
        at = float(np.quantile(scores[~present], SPECIFICITY))
        below = min(at, float(np.quantile(scores[present], 1 - SENSITIVITY)))
        labels.append(
            Label(
                key=finding.key,
                role="finding",
                code=finding.code,
                finding_site=finding.site,
                operating_point=OperatingPoint(
                    present_at=round(at, 4), absent_below=min(round(below, 4), round(at, 4))
                ),
                temperature=float(calibration.temperature[column]),
                bias=float(calibration.bias[column]),
            )
        )
        print(f"{finding.key}: out-of-fold AUC {auc(scores, present):.3f}", flush=True)
    return tuple(labels)


def with_reporting(label: Label, held_out: dict[str, Any]) -> Label:
    """Return `label`, not reported where an interval reaches below `LOWEST_AUC`.

    That of all held-out images and that of those with several findings must both lie above it;
    a finding that fewer than `FEWEST` of the latter show is not reported either.
    """
    every, unseen = (part["findings"][label.key] for part in (held_out, held_out["unseen"]))
    low, reason = min(
        (every["auc_95"][0], "on the held-out images"),
        (unseen["auc_95"][0], "on the held-out images with several findings"),
        key=lambda found: np.nan_to_num(found[0], nan=0.0),
    )
    if not low >= LOWEST_AUC:  # NaN is no quality
        reason = f"lower 95 % bound of the AUC {reason} is {low:.2f}, below {LOWEST_AUC}"
    elif unseen["present"] < FEWEST:
        reason = f"only {unseen['present']} held-out images with several findings show it"
    else:
        return label
    return label.model_copy(update={"reported": False, "not_reported_because": reason})


def gates_of(bodypart: Path) -> tuple[Gate, ...]:
    """Return the gates that let upright frontal chests in usual greys through.

    At the thresholds of the body part model in that folder.
    """
    points = {label.key: label.operating_point for label in read_manifest(bodypart).labels}

    def at(key: str) -> float:
        point = points[key]
        assert point is not None
        return point.present_at

    return (
        Gate(
            task=Task.BODY_PART,
            label=FRONTAL_CHEST,
            at_least=at(FRONTAL_CHEST),
            reason_code="gate.not_frontal_chest",
            reason="Not recognised as a frontal chest radiograph.",
        ),
        Gate(
            task=Task.BODY_PART,
            label=INVERTED,
            at_most=at(INVERTED),
            reason_code="gate.inverted",
            reason="The greys look inverted; the photometric interpretation may be wrong.",
        ),
        Gate(
            task=Task.BODY_PART,
            label=TURNED,
            at_most=at(TURNED),
            reason_code="gate.turned",
            reason="The chest looks turned by a quarter or half turn.",
        ),
    )
