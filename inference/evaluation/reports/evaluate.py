"""Everything that is measured of one classifier, as values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.errors import InvalidConfiguration
from inference.evaluation.measures.bootstrap import ROUNDS
from inference.evaluation.measures.confusion import Confusion, confusion
from inference.evaluation.measures.curves import Curves, class_curves
from inference.evaluation.measures.failures import Failure, failures
from inference.evaluation.measures.operating import (
    OperatingPoint,
    decide,
    operating_points,
    thresholds,
)
from inference.evaluation.measures.predictions import Predictions
from inference.evaluation.measures.rivals import Rival, hold_against
from inference.evaluation.measures.scores import ClassRow, Measure, class_rows, summary
from inference.evaluation.measures.subgroups import SubgroupRow, subgroup_table
from inference.training.dataset import TaskKind

History = Mapping[str, Sequence[float]]
"""Columns of ``history.csv``, a value an epoch; NaN where a cell is empty."""

MANIFEST = "manifest"
"""Thresholds that the model itself states."""


EVERY_SPLIT = "all"
"""Asks for the images of every split together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What `evaluate` found; every part is a table or a figure of the report."""

    name: str
    kind: TaskKind
    classes: tuple[str, ...]
    left_out: tuple[str, ...]
    """Classes of the data that the model has no output for."""

    split: str
    images: int
    patients: int
    of_run: bool
    """Whether these are predictions of a training run: validation and test images, of which the
    first chose epoch and calibration."""

    thresholds_chosen_on: str
    """A split, `MANIFEST`, or empty where the most probable class is taken. When it is the
    split that is counted, the numbers flatter."""

    points_chosen_on: str
    """The split that the thresholds of `operating_points` were chosen on."""

    rounds: int
    seed: int
    summary: dict[str, Measure]
    class_rows: list[ClassRow]
    curves: list[Curves]
    operating_points: list[OperatingPoint]
    confusion: Confusion
    subgroups: list[SubgroupRow]
    rivals: list[Rival]
    failures: list[Failure]
    history: History


def evaluate(
    predictions: Predictions,
    *,
    rivals: Sequence[Predictions] = (),
    fixed: NDArray[np.float64] | None = None,
    history: History | None = None,
    of_run: bool = False,
    split: str = "test",
    left_out: tuple[str, ...] = (),
    most_failures: int = 24,
    rounds: int = ROUNDS,
    seed: int = 0,
) -> Evaluation:
    """Measure a classifier on one split; thresholds come from its validation split.

    Parameters
    ----------
    predictions : Predictions
        Of the classifier, on every split that there is.
    rivals : sequence of Predictions
        Of other classifiers of the same classes; each has its own thresholds.
    fixed : ndarray of float, shape (L,), optional
        Thresholds that the model itself states.
    history : mapping, optional
        Columns of the training's ``history.csv``.
    of_run : bool
        Whether a training run left the predictions.
    split : str
        What to measure on; `EVERY_SPLIT` for all.
    left_out : tuple of str
        Classes of the data that the model has no output for.
    most_failures : int
        Length of the gallery.
    rounds, seed : int
        Of every bootstrap.

    Raises
    ------
    InvalidConfiguration
        When the split holds no image, or a probability is no finite number.
    """
    for said in (predictions, *rivals):
        if not np.isfinite(said.probabilities).all():
            raise InvalidConfiguration(
                [f"{said.name}: some probabilities are no finite numbers: its training diverged"]
            )
    counted = _asked_for(predictions, split)
    if not len(counted):
        raise InvalidConfiguration([f"no image of the {split} split has a prediction"])
    chooser = _chooser(predictions, counted)
    at = thresholds(chooser) if fixed is None else fixed
    decided = decide(counted, at)
    several = predictions.kind is TaskKind.MULTI_CLASS
    others = [_decided(rival, split) for rival in rivals]
    points_on = split if chooser is counted else "val"
    return Evaluation(
        name=predictions.name,
        kind=predictions.kind,
        classes=predictions.classes,
        left_out=left_out,
        split=split,
        of_run=of_run,
        images=len(counted),
        patients=len(set(counted.groups)),
        thresholds_chosen_on="" if several else MANIFEST if fixed is not None else points_on,
        points_chosen_on=points_on,
        rounds=rounds,
        seed=seed,
        summary=summary(counted, decided, rounds=rounds, seed=seed),
        class_rows=class_rows(counted, decided, None if several else at, rounds=rounds, seed=seed),
        curves=_curves(counted),
        operating_points=operating_points(chooser, counted),
        confusion=confusion(counted, decided),
        subgroups=_subgroups(counted, rounds=rounds, seed=seed),
        rivals=hold_against(counted, decided, others, rounds=rounds, seed=seed),
        failures=failures(counted, decided, most=most_failures),
        history=history or {},
    )


def _chooser(predictions: Predictions, counted: Predictions) -> Predictions:
    """Return the images that choose thresholds: validation, else those that are counted."""
    validation = predictions.part("val")
    return validation if len(validation) and len(counted) < len(predictions) else counted


def _asked_for(predictions: Predictions, split: str) -> Predictions:
    return predictions if split == EVERY_SPLIT else predictions.part(split)


def _decided(rival: Predictions, split: str) -> tuple[Predictions, NDArray[np.bool_]]:
    counted = _asked_for(rival, split)
    return counted, decide(counted, thresholds(_chooser(rival, counted)))


def _curves(counted: Predictions) -> list[Curves]:
    found = []
    for column in counted.measured:
        known = counted.known[:, column]
        curves = class_curves(
            counted.classes[column],
            counted.probabilities[known, column],
            counted.truth[known, column],
        )
        if curves is not None:
            found.append(curves)
    return found


def _subgroups(counted: Predictions, *, rounds: int, seed: int) -> list[SubgroupRow]:
    columns = list(counted.measured)
    return subgroup_table(
        counted.probabilities[:, columns],
        counted.targets[:, columns],
        counted.attributes,
        counted.groups,
        labels=[counted.classes[column] for column in columns],
        rounds=rounds,
        seed=seed,
    )
