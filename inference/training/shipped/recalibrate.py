"""Calibrate the regions of the body part model again; no network is trained.

``python -m inference.training.shipped.recalibrate --version X.Y.Z`` reads the out-of-fold logits
that the training kept and writes manifest and card again: probabilities, thresholds and what is
measured with them. Weights, *FrontalChest*, *Inverted* and *Turned* stay, and with them the gates
of the chest model. Where probabilities change, what needs logits that are not kept (of each
member, of disguised copies) is left out; what float16 storage changes stays as the training
measured it, by its own calibration.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.errors import BrokenModel
from inference.datafolder import data_folder
from inference.evaluation.loaded import load_model
from inference.evaluation.measures.verdict import choose_thresholds
from inference.evaluation.shipped.card import write_card
from inference.evaluation.shipped.heldout import bodypart_held_out
from inference.manifest import Label, ModelManifest, OperatingPoint, read_manifest
from inference.training.calibrate import Calibration, calibrated_apart, fit_calibration
from inference.training.export import plain, write_manifest
from inference.training.provenance import code_commit
from inference.training.samples import FloatArray, target_matrix
from inference.training.shipped.bodypart import (
    ALIKE,
    bodypart_labels,
    not_ours_point,
    training_list,
)
from inference.training.shipped.bodypart_scores import measured
from inference.training.shipped.filing import filing_trials
from inference.training.shipped.labels import BODYPART_KEYS, NOT_OURS
from inference.training.shipped.options import version_of
from inference.training.shipped.outoffold import OUT_OF_FOLD, OutOfFold, load
from inference.training.shipped.sections import tables_sha256
from inference.training.shipped.sources_bodypart import TABLES


def main() -> None:
    """Read the command line, calibrate, measure and write."""
    parser = argparse.ArgumentParser(prog="python -m inference.training.shipped.recalibrate")
    parser.add_argument("--data", type=Path, default=data_folder(), help="the images")
    parser.add_argument("--model", type=Path, default=Path("inference/models/bodypart"))
    parser.add_argument("--card", type=Path, default=Path("docs/models/bodypart.md"))
    parser.add_argument("--out-of-fold", type=Path, default=OUT_OF_FOLD, metavar="FILE")
    parser.add_argument("--version", type=version_of, required=True, help="written to model.yaml")
    options = parser.parse_args()
    try:
        manifest, kept = read_manifest(options.model), load(options.out_of_fold)
        again = recalibrated(manifest, kept, options.data)
    except (BrokenModel, OSError, ValueError) as error:
        parser.error(str(error))
    command = f"{parser.prog} --out-of-fold {options.out_of_fold} --version {options.version}"
    told = {"recalibrated": command, "recalibrated_by": code_commit()}
    training = {**manifest.training, **told}
    again = again.model_copy(update={"version": options.version, "training": training})
    stored = replace(load_model(options.model), manifest=again)
    metrics = {**again.metrics, "held_out": plain(bodypart_held_out(stored, options.data))}
    tables = {**again.data, "tables_sha256": tables_sha256(options.data, TABLES)}
    write_manifest(options.model, again.model_copy(update={"metrics": metrics, "data": tables}))
    write_card(options.model, options.card)


def recalibrated(manifest: ModelManifest, kept: OutOfFold, data: Path) -> ModelManifest:
    """Return the manifest with regions calibrated by out-of-fold logits, and measured so.

    Raises
    ------
    ValueError
        When the logits are of other weights or of another list of images.
    """
    if kept.weights_sha256 != manifest.weights_sha256:
        raise ValueError("the out-of-fold logits are of other weights")
    samples, folds = training_list(data, manifest.training["seed"])
    same = kept.paths == tuple(str(sample.path) for sample in samples)
    if not same or not np.array_equal(kept.folds, folds):
        raise ValueError("the out-of-fold logits are of another list of images")
    targets = target_matrix(samples, BODYPART_KEYS)

    def calibration_of(rows: NDArray[np.bool_]) -> Calibration:
        return regions_calibrated(manifest, kept.logits[rows], targets[rows])

    calibration = calibration_of(np.ones(len(samples), dtype=bool))
    probabilities = calibrated_apart(kept.logits, folds, calibration_of)
    points = {**_points(manifest), NOT_OURS: not_ours_point(probabilities, targets)}
    trials = filing_trials(probabilities, targets, samples, points[NOT_OURS].present_at)
    pair = choose_thresholds(*trials)
    labels = bodypart_labels(calibration, pair, points)
    metrics = manifest.metrics
    if _probabilities_differ(labels, manifest.labels):
        metrics = _without_what_is_stale(metrics)
    measures = measured(probabilities, targets, samples, points, pair)
    return manifest.model_copy(update={"labels": labels, "metrics": {**metrics, **measures}})


def _probabilities_differ(labels: Sequence[Label], before: Sequence[Label]) -> bool:
    """Return whether any output is calibrated in another way than before."""
    return any(
        not np.allclose((one.temperature, one.bias), (other.temperature, other.bias), atol=2e-3)
        for one, other in zip(labels, before, strict=True)
    )


def _without_what_is_stale(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return the metrics but for those that need logits which are not kept."""
    noticed = {k: v for k, v in metrics["disguised"].items() if k != "regions"}
    return {**{k: v for k, v in metrics.items() if k != "members"}, "disguised": noticed}


def regions_calibrated(
    manifest: ModelManifest, logits: FloatArray, targets: FloatArray
) -> Calibration:
    """Return a calibration whose first `ALIKE` outputs are fitted, the others as they were."""
    fitted = fit_calibration(logits[:, :ALIKE], targets[:, :ALIKE], alike=ALIKE)
    rest = manifest.labels[ALIKE:]
    return Calibration(
        temperature=np.append(fitted.temperature, [label.temperature for label in rest]),
        bias=np.append(fitted.bias, [label.bias for label in rest]),
    )


def _points(manifest: ModelManifest) -> dict[str, OperatingPoint]:
    points = {label.key: label.operating_point for label in manifest.labels[ALIKE:]}
    return {key: point for key, point in points.items() if point is not None}


if __name__ == "__main__":
    main()
