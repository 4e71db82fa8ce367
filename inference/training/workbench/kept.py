"""What a run leaves of its classifiers' answers: ``predictions*.npz``."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.training.dataset import DataSet, TaskKind
from inference.training.samples import FloatArray, Sample, target_matrix
from inference.training.whole import whole


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class KeptPredictions:
    """A classifier's logits for the validation and test images of a data set.

    A binary task has two columns, the first of zeros, so that softmax gives both
    probabilities; multi-class logits are softmax's too, and multi-label ones sigmoid's.
    """

    name: str
    """Of the classifier: the network's, or the baseline's."""

    kind: TaskKind
    classes: tuple[str, ...]
    logits: FloatArray
    """Shape (N, L), calibrated on the validation split."""

    targets: FloatArray
    """Shape (N, L), NaN where unknown."""

    samples: tuple[Sample, ...]


def keep_predictions(file: Path, kept: KeptPredictions) -> None:
    """Write predictions as plain arrays: nothing in the file is pickled.

    Arrays: ``name``, ``kind``, ``classes`` (L), ``logits`` (N, L), ``targets`` (N, L),
    ``paths``, ``split``, ``groups`` (N each), and ``attributes`` (N JSON objects).
    """
    samples = kept.samples
    with whole(file) as stream:
        np.savez_compressed(
            stream,
            name=np.array(kept.name),
            kind=np.array(kept.kind.value),
            classes=np.array(kept.classes),
            logits=kept.logits,
            targets=kept.targets,
            paths=_texts(str(sample.path) for sample in samples),
            split=_texts(sample.split for sample in samples),
            groups=_texts(sample.group for sample in samples),
            attributes=_texts(json.dumps(dict(sample.attributes)) for sample in samples),
        )


def output_classes(kind: TaskKind, classes: tuple[str, ...]) -> tuple[str, ...]:
    """Return what a network has outputs for: of two classes the positive one alone."""
    return classes[1:] if kind is TaskKind.BINARY else classes


def output_targets(data: DataSet, samples: tuple[Sample, ...]) -> FloatArray:
    """Return the targets of a network's outputs (N, L), NaN where unknown."""
    classes = output_classes(data.kind, data.classes)
    return target_matrix(samples, classes).reshape(len(samples), len(classes))


def of_outputs(
    name: str, data: DataSet, samples: tuple[Sample, ...], logits: FloatArray
) -> KeptPredictions:
    """Return the predictions that a network's calibrated output logits amount to."""
    if data.kind is TaskKind.BINARY:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    return KeptPredictions(
        name=name,
        kind=data.kind,
        classes=data.classes,
        logits=logits.astype(np.float32),
        targets=target_matrix(samples, data.classes),
        samples=samples,
    )


def _texts(values: Iterable[str]) -> NDArray[np.str_]:
    return np.array(list(values), dtype=np.str_)
