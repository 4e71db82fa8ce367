"""Everything that is measured of one classifier, as values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.errors import Rejected
from inference.evaluation.bootstrap import ROUNDS
from inference.evaluation.confusion import Confusion, confusion
from inference.evaluation.curves import Curves, class_curves
from inference.evaluation.failures import Failure, failures
from inference.evaluation.operating import OperatingPoint, decide, operating_points, thresholds
from inference.evaluation.predictions import Predictions
from inference.evaluation.rivals import Rival, hold_against
from inference.evaluation.scores import ClassRow, Measure, class_rows, summary
from inference.evaluation.subgroups import SubgroupRow, subgroup_table
from inference.training.dataset import TaskKind

History = Mapping[str, Sequence[float]]
"""Columns of ``history.csv``, a value an epoch; NaN where a cell is empty."""

MANIFEST = "manifest"
"""Thresholds that the model itself states."""


class NothingToMeasure(Rejected):
    """No prediction is there for the images that were asked for."""

    code = "evaluation.nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What `evaluate` found; every part is a table or a figure of the report."""

    name: str
    kind: TaskKind
    classes: tuple[str, ...]
    split: str
    images: int
    patients: int
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
    split: str = "test",
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
    split : str
        What to measure on.
    most_failures : int
        Length of the gallery.
    rounds, seed : int
        Of every bootstrap.

    Raises
    ------
    NothingToMeasure
        When the split holds no image.
    """
    counted = predictions.part(split)
    if not len(counted):
        raise NothingToMeasure("the split that was asked for holds no image with a prediction")
    chooser = _chooser(predictions, counted)
    at = thresholds(chooser) if fixed is None else fixed
    decided = decide(counted, at)
    several = predictions.kind is TaskKind.MULTI_CLASS
    others = [_decided(rival, split) for rival in rivals]
    chosen_on = chooser.splits[0] if fixed is None else MANIFEST
    return Evaluation(
        name=predictions.name,
        kind=predictions.kind,
        classes=predictions.classes,
        split=split,
        images=len(counted),
        patients=len(set(counted.groups)),
        thresholds_chosen_on="" if several else chosen_on,
        points_chosen_on=chooser.splits[0],
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
    return validation if len(validation) else counted


def _decided(rival: Predictions, split: str) -> tuple[Predictions, NDArray[np.bool_]]:
    counted = rival.part(split)
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
