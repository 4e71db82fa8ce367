"""Calibrations of the body part network's out-of-fold logits, each fold's fitted to the others.

``python -m tests.bench.bench_calibration --data ../shared/data`` prints the table of
docs/decisions/0022 (half a minute): log loss over all outputs, top-1 and macro F1 on UNIFESP.
``--beside FILE``, logits of another training, prints which mistakes both make (0024).
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.datafolder import data_folder
from inference.evaluation.shipped.heldout import region_scores
from inference.training.calibrate import Calibration, calibrated_apart, fit_calibration
from inference.training.samples import target_matrix
from inference.training.shipped.bodypart import ALIKE, training_list
from inference.training.shipped.labels import BODYPART_KEYS
from inference.training.shipped.outoffold import OutOfFold, load
from tests.bench.bench_accession import COMMITTED

PULLS = [(t, b) for t in (10.0, 50.0, 200.0) for b in (5.0, 10.0, 50.0)]
AS_ONE = (1e6, 1e6)
SEED = 20261120


def main() -> None:
    """Print a row per calibration."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=data_folder())
    parser.add_argument("--beside", type=Path, metavar="FILE", help="logits of another training")
    told = parser.parse_args()
    data: Path = told.data
    kept = load(COMMITTED)
    samples, _ = training_list(data, SEED)
    assert kept.paths == tuple(str(sample.path) for sample in samples), "other training list"
    targets = target_matrix(samples, BODYPART_KEYS)
    unifesp = np.array([sample.source == "unifesp" for sample in samples])
    print("| Calibration | Log loss | Top-1 | Macro F1 |\n| --- | --- | --- | --- |")
    as_they_are = Calibration(
        temperature=np.ones(len(BODYPART_KEYS)), bias=np.zeros(len(BODYPART_KEYS))
    )
    print_row("none", as_they_are(kept.logits), targets, unifesp)
    ways = {"each label alone": (0, AS_ONE), "one for all": (ALIKE, AS_ONE)}
    ways |= {f"pulled {t:g} and {b:g}": (ALIKE, (t, b)) for t, b in PULLS}
    for name, (alike, pull) in ways.items():

        def calibration_of(
            rows: NDArray[np.bool_], alike: int = alike, pull: tuple[float, float] = pull
        ) -> Calibration:
            return fit_calibration(kept.logits[rows], targets[rows], alike=alike, pull=pull)

        found = calibrated_apart(kept.logits, kept.folds, calibration_of)
        print_row(name, found, targets, unifesp)
    if told.beside:
        print_shared_mistakes([kept, load(told.beside)], targets, unifesp)


def print_shared_mistakes(
    trainings: list[OutOfFold], targets: NDArray[np.float32], scored: NDArray[np.bool_]
) -> None:
    """Print how many scored images each of two trainings gets wrong, and both."""
    highest = []
    for kept in trainings:

        def calibration_of(rows: NDArray[np.bool_], kept: OutOfFold = kept) -> Calibration:
            return fit_calibration(kept.logits[rows], targets[rows], alike=ALIKE)

        found = calibrated_apart(kept.logits, kept.folds, calibration_of)
        highest.append(found[scored, :ALIKE].argmax(axis=1))
    rows = np.arange(int(scored.sum()))
    one, other = (targets[scored][rows, top] < 0.5 for top in highest)
    same = one & other & (highest[0] == highest[1])
    print(
        f"wrong: {one.sum()} and {other.sum()} of {len(rows)}, both {(one & other).sum()}, "
        f"of these with the same answer {same.sum()}"
    )


def print_row(
    name: str,
    probabilities: NDArray[np.float64],
    targets: NDArray[np.float32],
    scored: NDArray[np.bool_],
) -> None:
    """Print the log loss of all rows, top-1 and macro F1 of the scored ones."""
    scores = region_scores(probabilities[scored], targets[scored])
    print(
        f"| {name} | {log_loss(probabilities, targets):.5f} | {scores['top1_in_label_set']:.3f} "
        f"| {scores['macro_f1_of_labels']:.3f} |",
        flush=True,
    )


def log_loss(probabilities: NDArray[np.float64], targets: NDArray[np.float32]) -> float:
    """Return the mean binary cross-entropy over the known targets."""
    known = ~np.isnan(targets)
    said = np.where(targets >= 0.5, probabilities, 1 - probabilities)
    return float(-np.log(said[known].clip(1e-12)).mean())


if __name__ == "__main__":
    main()
