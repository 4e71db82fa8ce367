"""Read what a training run left, and ask a stored model about labelled images."""

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audit.errors import InvalidConfiguration
from inference.evaluation.loaded import Loaded
from inference.evaluation.measures.predictions import Predictions, probabilities_of
from inference.evaluation.reports.evaluate import History
from inference.training.dataset import DataSet, TaskKind
from inference.training.samples import Sample, Squares, target_matrix

FloatArray = NDArray[np.float64]
_NETWORK = "predictions.npz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a run folder holds."""

    network: Predictions
    baselines: tuple[Predictions, ...]
    history: History
    """Empty where the run wrote none."""


def read_run(folder: Path) -> Run:
    """Return the predictions and the history of a run folder.

    Raises
    ------
    InvalidConfiguration
        When the network's predictions are missing, or a file is not what ``dicom-node train``
        writes.
    """
    files = sorted(folder.glob("predictions-*.npz"))
    if not (folder / _NETWORK).is_file():
        raise InvalidConfiguration(
            [f"the run folder holds no {_NETWORK}: `dicom-node train` writes it at the end"]
        )
    return Run(
        network=_read(folder / _NETWORK),
        baselines=tuple(_read(file) for file in files),
        history=_history(folder / "history.csv"),
    )


def ask(
    model: Loaded,
    data: DataSet,
    samples: tuple[Sample, ...],
    load: Callable[[tuple[Sample, ...]], Squares],
) -> Predictions:
    """Return what a stored model says of labelled images.

    Classes that the model has no output for are left out of a multi-label set.

    Parameters
    ----------
    model : Loaded
        The model; its calibrated probabilities are taken as they are.
    data : DataSet
        What the classes are.
    samples : tuple of Sample
        Images of the set.
    load : callable
        Returns images as squares of the model's size.

    Raises
    ------
    InvalidConfiguration
        When the model lacks an output that the set needs.
    """
    keys = [label.key for label in model.manifest.labels]
    classes = _shared_classes(data, keys)
    said = model.probabilities(model.logits(load(samples).pixels))
    if data.kind is TaskKind.BINARY:
        positive = said[:, keys.index(classes[1])]
        probabilities = np.stack([1 - positive, positive], axis=1)
    else:
        probabilities = said[:, [keys.index(name) for name in classes]]
    return Predictions(
        name=model.manifest.name,
        kind=data.kind,
        classes=classes,
        probabilities=probabilities,
        targets=target_matrix(samples, classes).astype(np.float64),
        paths=tuple(sample.path.as_posix() for sample in samples),
        groups=tuple(sample.group for sample in samples),
        splits=tuple(sample.split for sample in samples),
        attributes=tuple(sample.attributes for sample in samples),
    )


def stated_thresholds(model: Loaded, predictions: Predictions) -> FloatArray | None:
    """Return the thresholds (L,) of the manifest, None unless each measured class has one."""
    points = {label.key: label.operating_point for label in model.manifest.labels}
    at = np.full(len(predictions.classes), 0.5)
    for column in predictions.measured:
        point = points.get(predictions.classes[column])
        if point is None:
            return None
        at[column] = point.present_at
    return at


def _shared_classes(data: DataSet, keys: list[str]) -> tuple[str, ...]:
    if data.kind is TaskKind.MULTI_LABEL:
        shared = tuple(name for name in data.classes if name in keys)
        missing = not shared
    else:
        shared = data.classes
        needed = shared[1:] if data.kind is TaskKind.BINARY else shared
        missing = any(name not in keys for name in needed)
    if missing:
        raise InvalidConfiguration(
            [f"the model has no output for the classes of the data; its labels: {', '.join(keys)}"]
        )
    return shared


def _read(file: Path) -> Predictions:
    try:
        with np.load(file) as stored:
            kind = TaskKind(str(stored["kind"]))
            return Predictions(
                name=str(stored["name"]),
                kind=kind,
                classes=tuple(str(name) for name in stored["classes"]),
                probabilities=probabilities_of(stored["logits"], kind),
                targets=stored["targets"].astype(np.float64),
                paths=tuple(str(path) for path in stored["paths"]),
                groups=tuple(str(group) for group in stored["groups"]),
                splits=tuple(str(split) for split in stored["split"]),
                attributes=tuple(json.loads(str(text)) for text in stored["attributes"]),
            )
    except (OSError, KeyError, ValueError) as error:
        raise InvalidConfiguration(
            [f"{file.name}: not the predictions that `dicom-node train` writes"]
        ) from error


def _history(file: Path) -> History:
    if not file.is_file():
        return {}
    with file.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    try:
        return {key: [float(row[key] or "nan") for row in rows] for key in rows[0]} if rows else {}
    except (ValueError, TypeError) as error:
        raise InvalidConfiguration([f"{file.name}: a cell that is no number"]) from error
