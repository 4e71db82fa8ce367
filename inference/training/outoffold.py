"""What networks that never saw an image said of it, kept for later evaluations.

The body part training writes this file. From an earlier run's kept folds it is made by
``python -m inference.training.outoffold --run .work/training-runs/<run>``.
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from inference.manifest import read_manifest
from inference.training.labels import BODYPART_KEYS
from inference.training.options import DEFAULT_DATA

OUT_OF_FOLD = Path(".work/out-of-fold/bodypart.npz")
ABSENT_LOGIT = -12.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfFold:
    """Logits of training images, each by a network that saw neither it nor its group."""

    logits: NDArray[np.float32]
    """Shape (N, L), columns as `keys`."""

    paths: tuple[str, ...]
    """Of the images, relative to the data folder."""

    folds: NDArray[np.int64]
    weights_sha256: str
    """Of the network that was fitted to all of them; empty where that is not known."""

    keys: tuple[str, ...] = BODYPART_KEYS
    """Labels of the network."""

    def as_columns(self, keys: Sequence[str]) -> NDArray[np.float32]:
        """Return the logits, shape (N, len(keys)); a label that the network lacks is absent."""
        column = {key: number for number, key in enumerate(self.keys)}
        absent = np.where(np.isfinite(self.logits[:, :1]), ABSENT_LOGIT, np.nan)
        found = [
            self.logits[:, [column[key]]] if key in column else absent.astype(np.float32)
            for key in keys
        ]
        return np.concatenate(found, axis=1)


def keep(found: OutOfFold, file: Path = OUT_OF_FOLD) -> None:
    """Write out-of-fold logits beside the images they are of."""
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        file,
        logits=found.logits,
        paths=np.array(found.paths),
        folds=found.folds,
        weights_sha256=np.array(found.weights_sha256),
        keys=np.array(found.keys),
    )


def load(file: Path = OUT_OF_FOLD) -> OutOfFold:
    """Return what `keep` wrote.

    Raises
    ------
    FileNotFoundError
        The body part network was not trained on this machine.
    """
    with np.load(file) as stored:
        return OutOfFold(
            logits=stored["logits"],
            paths=tuple(str(path) for path in stored["paths"]),
            folds=stored["folds"],
            weights_sha256=str(stored["weights_sha256"]),
            keys=tuple(str(key) for key in stored["keys"]),
        )


def weights_of(run: Path, model: Path) -> str:
    """Return the sha256 of a model's weights where the run's last fit led to them, else
    nothing."""
    final = run / "final.safetensors"
    if not final.exists():
        return ""
    fitted, stored = load_file(final), load_file(model / "weights.safetensors")
    same = torch.equal(fitted["head.weight"].half(), stored["head.weight"].half())
    return read_manifest(model).weights_sha256 if same else ""


def collect(run: Path, data: Path, seed: int, model: Path) -> OutOfFold:
    """Return the kept folds of a run as one; those of a missing fold are NaN.

    Parameters
    ----------
    run : Path
        Folder with ``fold0.npy`` and so on.
    data : Path
        The data folder, as it was when the run was made.
    seed : int
        Of the run.
    model : Path
        The model folder that the run may have led to.

    Raises
    ------
    ValueError
        The folds are not of these images.
    """
    from inference.training.bodypart import training_list  # noqa: PLC0415 - it imports this one

    samples, folds = training_list(data, seed)
    logits = np.full((len(samples), len(BODYPART_KEYS)), np.nan, dtype=np.float32)
    for fold in range(int(folds.max()) + 1):
        file = run / f"fold{fold}.npy"
        if file.exists():
            logits[folds == fold] = np.load(file)
    return OutOfFold(
        logits=logits,
        paths=tuple(str(sample.path) for sample in samples),
        folds=folds,
        weights_sha256=weights_of(run, model),
    )


def main() -> None:
    """Write the file from a run's folds."""
    parser = argparse.ArgumentParser(prog="python -m inference.training.outoffold")
    data = os.environ.get("XRAY_DATA", DEFAULT_DATA)
    parser.add_argument("--run", type=Path, required=True, help="folder with fold0.npy and so on")
    parser.add_argument("--data", type=Path, default=Path(data))
    parser.add_argument("--seed", type=int, default=20261120)
    parser.add_argument("--model", type=Path, default=Path("inference/models/bodypart"))
    parser.add_argument("--out", type=Path, default=OUT_OF_FOLD)
    told = parser.parse_args()
    found = collect(told.run, told.data, told.seed, told.model)
    keep(found, told.out)
    print(f"{int(np.isfinite(found.logits[:, 0]).sum())} of {len(found.paths)} images, {told.out}")


if __name__ == "__main__":
    main()
