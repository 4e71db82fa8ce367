"""What out-of-fold networks said is kept beside the images it is of."""

from pathlib import Path

import numpy as np

from inference.training.shipped import outoffold


def test_what_is_kept_is_what_is_loaded(tmp_path: Path) -> None:
    kept = outoffold.OutOfFold(
        logits=np.ones((2, 3), dtype=np.float32),
        paths=("a.jpg", "b.jpg"),
        folds=np.array([0, 1]),
        weights_sha256="0" * 64,
    )

    outoffold.keep(kept, tmp_path / "deep" / "kept.npz")

    found = outoffold.load(tmp_path / "deep" / "kept.npz")
    assert (found.paths, found.weights_sha256) == (kept.paths, kept.weights_sha256)
    assert np.array_equal(found.logits, kept.logits)
    assert np.array_equal(found.folds, kept.folds)
