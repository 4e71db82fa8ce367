"""Hold a chest model against two public networks, on the same held-out images.

``python -m inference.evaluation.shipped.comparison --model MODEL_DIR --data DATA_DIR [--json]``

`inference.evaluation.shipped.comparison_rivals` says what the two networks are and which images
they may have trained on.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from inference.datafolder import data_folder
from inference.evaluation.loaded import Loaded, load_model
from inference.evaluation.measures.bootstrap import interval, resample
from inference.evaluation.measures.metrics import weighted_auc
from inference.evaluation.shipped.comparison_rivals import (
    ONNX_FILES,
    TEACHER_FILE,
    BoolArray,
    FloatArray,
    public,
    teacher,
)
from inference.training.samples import load_squares, target_matrix
from inference.training.shipped.labels import FINDING_KEYS
from inference.training.shipped.sources_chest import chest_samples


def compare(model: Loaded, data: Path) -> list[dict[str, Any]]:
    """Return one comparison for each public network and choice of held-out images.

    Parameters
    ----------
    model : Loaded
        A chest findings model that answers all of `FINDING_KEYS`.
    data : Path
        The data folder, with the teacher's probabilities and the ONNX weights.

    Returns
    -------
    list of dict
        ``rival``, ``images_are``, ``may_have_trained_on``, and what `paired` returns.
    """
    everything = chest_samples(data)
    samples = [s for s in everything if s.held_out]
    squares = load_squares(data, samples, size=model.manifest.input.size)
    keys = [label.key for label in model.manifest.labels]
    columns = [keys.index(key) for key in FINDING_KEYS]
    ours = model.probabilities(model.logits(squares.pixels))[:, columns]
    truth = target_matrix(samples, FINDING_KEYS) >= 0.5
    groups = np.array([sample.group for sample in samples])
    rivals = [teacher(data, samples, everything), *public(data, samples, truth)]
    return [
        {
            "rival": rival.name,
            "images_are": rival.images_are,
            "may_have_trained_on": rival.may_have_trained_on,
            **paired(
                ours[rival.rows], rival.scores, truth[rival.rows], groups[rival.rows].tolist()
            ),
        }
        for rival in rivals
    ]


def paired(
    ours: FloatArray, theirs: FloatArray, truth: BoolArray, groups: Sequence[str]
) -> dict[str, Any]:
    """Return the AUC of two networks and their difference, label by label and on average.

    Parameters
    ----------
    ours, theirs : ndarray of float, shape (N, L)
        Scores of the same images, in the order of `FINDING_KEYS`.
    truth : ndarray of bool, shape (N, L)
    groups : sequence of str, length N
        Patients. Both networks are scored on the same draws of patients, so that what the
        images have in common falls out of the interval of the difference.

    Returns
    -------
    dict
        ``images``, ``patients``, ``mean`` and ``labels``; both hold ``ours``, ``theirs``,
        ``difference`` (ours less theirs) and ``difference_95``. A label that all images or
        none show is left out; ``mean`` is over the others.
    """
    columns = [c for c in range(truth.shape[1]) if truth[:, c].any() and not truth[:, c].all()]

    def both(weights: FloatArray) -> FloatArray:
        """Return AUCs (R, networks, labels)."""
        found = [
            [weighted_auc(scores[:, c], truth[:, c], weights) for c in columns]
            for scores in (ours, theirs)
        ]
        return np.moveaxis(np.array(found), 2, 0)

    exact, drawn = both(np.ones((1, len(truth))))[0], resample(both, groups)
    labels = {
        FINDING_KEYS[column]: {
            "present": int(truth[:, column].sum()),
            **_difference(exact[:, place], drawn[:, :, place]),
        }
        for place, column in enumerate(columns)
    }
    return {
        "images": len(truth),
        "patients": len(set(groups)),
        "mean": _difference(exact.mean(axis=1), np.nanmean(drawn, axis=2)),
        "labels": labels,
    }


def _difference(exact: FloatArray, drawn: FloatArray) -> dict[str, Any]:
    """Return the numbers of (ours, theirs), with the draws (R, 2)."""
    return {
        "ours": float(exact[0]),
        "theirs": float(exact[1]),
        "difference": float(exact[0] - exact[1]),
        "difference_95": list(interval(drawn[:, 0] - drawn[:, 1])),
    }


def table(comparison: dict[str, Any]) -> Table:
    """Return one comparison as a table for the terminal."""
    title = (
        f"{comparison['rival']}, {comparison['images_are']}: {comparison['images']} of "
        f"{comparison['patients']} patients\n"
        f"may be of its training: {comparison['may_have_trained_on']}"
    )
    made = Table("finding", "present", "ours", "theirs", "difference (95 %)", title=title, box=None)
    made.title_justify = "left"
    for key, row in {**comparison["labels"], "mean": comparison["mean"]}.items():
        low, high = row["difference_95"]
        made.add_row(
            key,
            str(row.get("present", "")),
            f"{row['ours']:.3f}",
            f"{row['theirs']:.3f}",
            f"{row['difference']:+.3f} ({low:+.3f} to {high:+.3f})",
        )
    return made


def main() -> None:
    """Print the AUCs side by side."""
    parser = argparse.ArgumentParser(prog="python -m inference.evaluation.shipped.comparison")
    parser.add_argument("--model", type=Path, required=True, help="a chest findings model")
    parser.add_argument("--data", type=Path, default=data_folder())
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    missing = [f for f in (TEACHER_FILE, *ONNX_FILES.values()) if not (arguments.data / f).exists()]
    if missing:
        parser.error(f"the data folder lacks {', '.join(map(str, missing))}")
    torch.set_num_threads(arguments.threads)
    model = load_model(arguments.model)
    if not set(FINDING_KEYS) <= {label.key for label in model.manifest.labels}:
        parser.error("the model does not answer the fourteen findings of ChestX-ray14")
    for comparison in compare(model, arguments.data):
        if arguments.json:
            print(json.dumps(comparison, sort_keys=True))
        else:
            Console().print(table(comparison), "")


if __name__ == "__main__":
    main()
