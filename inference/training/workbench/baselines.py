"""The classical baseline: histograms of oriented gradients and a linear SVM per class."""

from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from audit.errors import InvalidConfiguration
from inference.training.samples import FloatArray, Squares
from inference.training.workbench.progress import Reporter

_SIDE = 128
_C = 0.01
"""Cost of errors: small, because features outnumber images."""


def check_installed() -> None:
    """Raise where the packages are missing, before anything is trained for long.

    Raises
    ------
    InvalidConfiguration
        When scikit-image or scikit-learn is not installed.
    """
    missing = [name for name in ("skimage", "sklearn") if find_spec(name) is None]
    if missing:
        raise InvalidConfiguration(
            [
                f"the HOG baseline needs {' and '.join(missing)}: pip install '.[train]' in the "
                "checkout, or --baseline small-cnn or none"
            ]
        )


def hog_features(squares: Squares, reporter: Reporter) -> FloatArray:
    """Return the features of each square, shape (N, 1764).

    Dalal and Triggs, Histograms of Oriented Gradients for Human Detection (CVPR 2005):
    128 by 128 pixels, cells of 16, blocks of 2 by 2 cells, 9 orientations.
    """
    from skimage.feature import hog  # noqa: PLC0415 - an extra

    rows = []
    with reporter.work("HOG features", len(squares)) as advance:
        for pixels in squares.pixels:
            square = torch.from_numpy(np.array(pixels, dtype=np.float32))[None, None] / 255.0
            small = functional.interpolate(
                square, size=(_SIDE, _SIDE), mode="bilinear", antialias=True
            )
            rows.append(hog(small[0, 0].numpy(), pixels_per_cell=(16, 16), cells_per_block=(2, 2)))
            advance()
    features: FloatArray = np.stack(rows).astype(np.float32)
    return features


def svm_logits(
    learned: FloatArray, targets: FloatArray, others: list[FloatArray], *, seed: int
) -> list[FloatArray]:
    """Return decision values (N, L) for each of `others`, one linear SVM per column.

    Parameters
    ----------
    learned : ndarray of float32, shape (M, F)
        Features of the training images.
    targets : ndarray of float32, shape (M, L)
        Images with an unknown (NaN) target teach nothing about that column; a column
        without both classes answers its only one.
    others : list of ndarray of float32, shape (N, F)
        Features to decide on.
    seed : int
        Of the solver.
    """
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415 - an extra
    from sklearn.svm import LinearSVC  # noqa: PLC0415

    scaler = StandardScaler().fit(learned)
    scaled = scaler.transform(learned)
    unseen = [scaler.transform(features) for features in others]
    columns: list[list[NDArray[np.float64]]] = [[] for _ in others]
    for column in range(targets.shape[1]):
        known = ~np.isnan(targets[:, column])
        truth = targets[known, column] >= 0.5
        if truth.all() or not truth.any():
            only = 1.0 if truth.any() else -1.0
            found = [np.full(len(features), only) for features in unseen]
        else:
            machine = LinearSVC(C=_C, class_weight="balanced", random_state=seed)
            machine.fit(scaled[known], truth)
            found = [machine.decision_function(features) for features in unseen]
        for place, values in zip(columns, found, strict=True):
            place.append(values)
    return [np.stack(values, axis=1).astype(np.float32) for values in columns]
