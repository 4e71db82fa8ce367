"""The run folder: what a run writes there, whose it is, and what may be removed from it."""

import contextlib
import json
from pathlib import Path

from audit.errors import InvalidConfiguration

HOG_SVM, SMALL_CNN = "hog-svm", "small-cnn"
BASELINES = (HOG_SVM, SMALL_CNN)
_TRAINED = ("history.csv", "checkpoint.safetensors", "best.safetensors")
_OURS = (
    "task.yaml",
    *_TRAINED,
    f"history-{SMALL_CNN}.csv",
    "predictions.npz",
    *(f"predictions-{name}.npz" for name in BASELINES),
    *(f"{SMALL_CNN}/{name}" for name in _TRAINED),
    "model/model.yaml",
    "model/weights.safetensors",
    "tensorboard/events.out.tfevents.*",
)
"""What a run writes beside its ``run.json``."""


def run_in(folder: Path) -> dict[str, str]:
    """Return what ``run.json`` says of the run in a folder; nothing where there is no run.

    Raises
    ------
    InvalidConfiguration
        When files of a run lie there without a ``run.json``, or that cannot be read.
    """
    file = folder / "run.json"
    if not file.exists():
        names = {Path(pattern).parts[0] for pattern in _OURS}
        taken = sorted(name for name in names if (folder / name).exists())
        if taken:
            raise InvalidConfiguration(
                [
                    f"the run folder holds {', '.join(taken)} but no run.json, so no run of "
                    "this command: take another --out"
                ]
            )
        return {}
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        return {key: str(told[key]) for key in ("identity", "commit")}
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidConfiguration(
            [
                "the run folder's run.json is cut off, or not what `dicom-node train` writes: "
                "take another --out, or remove what you do not need there"
            ]
        ) from error


def forget_run(folder: Path) -> None:
    """Remove what a run leaves, and nothing else; ``run.json`` last, so that a kill is no end."""
    for pattern in (*(f"{name}.partial" for name in (*_OURS, "run.json")), *_OURS, "run.json"):
        for file in folder.glob(pattern):
            file.unlink()
    for name in {Path(pattern).parts[0] for pattern in _OURS if "/" in pattern}:
        with contextlib.suppress(OSError):  # it is not there, or holds something else too
            (folder / name).rmdir()
