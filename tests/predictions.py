"""Predictions drawn by chance, good but not perfect."""

import numpy as np

from inference.evaluation.measures.predictions import Predictions, probabilities_of
from inference.training.dataset import TaskKind

COUNT = 240


def drawn_predictions(
    kind: TaskKind, *, noise: float = 1.0, name: str = "network", classes: tuple[str, ...] = ()
) -> Predictions:
    """Return predictions of 120 validation and 120 test images; truth does not vary with noise."""
    width = 2 if kind is TaskKind.BINARY else 3
    random = np.random.default_rng(11)
    if kind is TaskKind.MULTI_LABEL:
        targets = (random.random((COUNT, width)) < 0.4).astype(np.float64)
    else:
        targets = np.eye(width)[random.integers(0, width, COUNT)]
    logits = 3 * targets - 1.5 + noise * random.normal(size=targets.shape)
    return Predictions(
        name=name,
        kind=kind,
        classes=classes or ("A", "B", "C")[:width],
        probabilities=probabilities_of(logits, kind),
        targets=targets,
        paths=tuple(f"images/{row}.png" for row in range(COUNT)),
        groups=tuple(str(row // 2) for row in range(COUNT)),
        splits=tuple("val" if row < COUNT // 2 else "test" for row in range(COUNT)),
        attributes=tuple({"sex": "FM"[row % 2], "age": str(row % 90)} for row in range(COUNT)),
    )
