"""Read what a training run left, and ask a stored model about labelled images."""

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from audit.errors import InvalidConfiguration
from inference.evaluation.loaded import Loaded
from inference.evaluation.measures.predictions import Predictions, probabilities_of
from inference.evaluation.reports.evaluate import History
from inference.manifest import Label
from inference.regions import load_regions
from inference.training.dataset import DataSet, TaskKind
from inference.training.samples import Sample, Squares, target_matrix

FloatArray = NDArray[np.float64]
_NETWORK = "predictions.npz"
_table = cache(load_regions)


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

    A class is looked for by its name among the model's outputs, then by the body region that
    both name. Classes that the model has no output for are left out of a multi-label set.

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
    outputs = _outputs(data, model.manifest.labels)
    said = model.probabilities(model.logits(load(samples).pixels))
    if data.kind is TaskKind.BINARY:
        classes = data.classes
        positive = said[:, outputs[classes[1]]]
        probabilities = np.stack([1 - positive, positive], axis=1)
    else:
        classes = tuple(outputs)
        probabilities = said[:, list(outputs.values())]
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
    labels = model.manifest.labels
    at = np.full(len(predictions.classes), 0.5)
    for column in predictions.measured:
        output = _output_of(predictions.classes[column], labels)
        point = None if output is None else labels[output].operating_point
        if point is None:
            return None
        at[column] = point.present_at
    return at


def _outputs(data: DataSet, labels: Sequence[Label]) -> dict[str, int]:
    """Return the column of each class that the model has an output for, in the data's order."""
    found = {name: _output_of(name, labels) for name in data.classes}
    outputs = {name: column for name, column in found.items() if column is not None}
    if data.kind is TaskKind.MULTI_LABEL:
        enough = bool(outputs)
    else:
        needed = data.classes[1:] if data.kind is TaskKind.BINARY else data.classes
        enough = set(needed) <= set(outputs)
    if not enough:
        keys = ", ".join(label.key for label in labels)
        raise InvalidConfiguration(
            [f"the model has no output for the classes of the data; its labels: {keys}"]
        )
    return outputs


def _output_of(name: str, labels: Sequence[Label]) -> int | None:
    keys = [label.key for label in labels]
    if name in keys:
        return keys.index(name)
    table = _table()
    named = table.regions_in_text(name).regions
    if len(named) != 1:
        return None
    return next(
        (
            column
            for column, label in enumerate(labels)
            if label.role == "region" and table.region_of_label(label.key) == named[0]
        ),
        None,
    )


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
    except (OSError, EOFError, BadZipFile, KeyError, ValueError) as error:
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
