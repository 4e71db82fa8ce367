"""How well a classifier does in each subgroup, and how far that is from all others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from inference.evaluation.measures.bootstrap import ROUNDS, interval, resample
from inference.evaluation.measures.metrics import weighted_auc

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

ATTRIBUTES = ("sex", "age", "view")
MEAN = "mean"
"""The label of a row that averages the AUC of every label that can be compared."""

_BANDS = ((18, "under 18"), (40, "18 to 39"), (65, "40 to 64"), (200, "65 and over"))
_YEARS_PER = {"Y": 1.0, "M": 1 / 12, "W": 1 / 52.18, "D": 1 / 365.25}


@dataclass(frozen=True, slots=True, kw_only=True)
class SubgroupRow:
    """One label in one subgroup; None where too few images allow no statement."""

    attribute: str
    """``sex``, ``age``, ``view``, or another that was asked for."""

    value: str
    """The subgroup: ``F``, ``18 to 39``, ``PA``."""

    label: str
    """A class, or `MEAN`."""

    images: int
    """Images of the subgroup whose label is known."""

    present: int
    """Those among them that show it; for `MEAN`, the number of labels averaged."""

    auc: float | None
    auc_95: tuple[float, float] | None
    gap: float | None
    """AUC here minus AUC on all other images whose attribute is known."""

    gap_95: tuple[float, float] | None
    """An interval without 0 is a difference that chance hardly explains, in one comparison."""


def age_band(age: str) -> str | None:
    """Return the band of an age in years (``60``) or as a DICOM AS (``060Y``, PS3.5 6.2)."""
    text = age.strip().upper()
    unit = text[-1:] if text[-1:] in _YEARS_PER else "Y"
    try:
        years = float(text.removesuffix(unit)) * _YEARS_PER[unit]
    except ValueError:
        return None
    return next((name for limit, name in _BANDS if 0 <= years < limit), None)


def subgroup_of(attributes: Mapping[str, str], attribute: str) -> str | None:
    """Return the subgroup an image belongs to, None where its source does not say."""
    stated = attributes.get(attribute, "").strip()
    return age_band(stated) if attribute == "age" else stated or None


def subgroup_table(
    probabilities: FloatArray,
    targets: NDArray[np.floating],
    attributes: Sequence[Mapping[str, str]],
    groups: Sequence[str],
    *,
    labels: Sequence[str],
    names: Sequence[str] = ATTRIBUTES,
    fewest: int = 10,
    rounds: int = ROUNDS,
    seed: int = 0,
) -> list[SubgroupRow]:
    """Return the AUC of every label in every subgroup, with its gap to all other images.

    Parameters
    ----------
    probabilities : ndarray of float, shape (N, L)
        Or any score that rises with the probability.
    targets : ndarray of float, shape (N, L)
        Present at 0.5 and above, NaN where unknown.
    attributes : sequence of mapping, length N
        What is known of each image; `age` becomes bands.
    groups : sequence of str, length N
        Patient of each image; the intervals draw patients with replacement.
    labels : sequence of str, length L
        Names of the columns.
    names : sequence of str
        Attributes to look at. One that takes a single value gives no rows.
    fewest : int
        With fewer present or fewer absent images, inside or outside, a row says nothing.
    rounds, seed : int
        Of the bootstrap.

    Returns
    -------
    list of SubgroupRow
        For each subgroup the mean over the labels that can be compared, then each label.
    """
    rows: list[SubgroupRow] = []
    for name in names:
        member = np.array([subgroup_of(a, name) or "" for a in attributes])
        values = [str(value) for value in np.unique(member) if value]
        if len(values) < 2:
            continue
        for value in sorted(values, key=band_order):
            comparison = _Comparison(
                scores=probabilities,
                targets=targets,
                inside=member == value,
                outside=(member != value) & (member != ""),
                fewest=fewest,
            )
            measured = comparison.measure(groups, rounds=rounds, seed=seed)
            for column, label in enumerate((MEAN, *labels), start=-1):
                images, present = comparison.counts(column)
                rows.append(
                    SubgroupRow(
                        attribute=name,
                        value=value,
                        label=label,
                        images=images,
                        present=present,
                        **measured.get(column, _UNSAID),
                    )
                )
    return rows


class _Measured(TypedDict):
    """The numbers of a row."""

    auc: float | None
    auc_95: tuple[float, float] | None
    gap: float | None
    gap_95: tuple[float, float] | None


_UNSAID = _Measured(auc=None, auc_95=None, gap=None, gap_95=None)
_MEAN_COLUMN = -1


def band_order(value: str) -> tuple[int, str]:
    """Return a key that sorts bands by age, and other subgroups by name."""
    bands = [name for _, name in _BANDS]
    return (bands.index(value) if value in bands else -1, value)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Comparison:
    """One subgroup against all others."""

    scores: FloatArray
    targets: NDArray[np.floating]
    inside: BoolArray
    outside: BoolArray
    fewest: int

    @property
    def columns(self) -> list[int]:
        """The labels with enough present and absent images inside and outside."""
        return [c for c in range(self.targets.shape[1]) if self._comparable(c)]

    def counts(self, column: int) -> tuple[int, int]:
        """Return images whose label is known and those that show it; labels for the mean."""
        if column == _MEAN_COLUMN:
            return int(self.inside.sum()), len(self.columns)
        known = self.inside & ~np.isnan(self.targets[:, column])
        return int(known.sum()), int((self.targets[known, column] >= 0.5).sum())

    def measure(self, groups: Sequence[str], *, rounds: int, seed: int) -> dict[int, _Measured]:
        """Return the numbers of each comparable label, and of their mean."""
        columns = self.columns
        if not columns:
            return {}
        taken = self.inside | self.outside
        here = [group for group, take in zip(groups, taken, strict=True) if take]
        exact = self._sides(columns, taken, np.ones((1, len(here))))
        drawn = resample(partial(self._sides, columns, taken), here, rounds=rounds, seed=seed)
        measured = {
            column: _measured(exact[0, :, place], drawn[:, :, place])
            for place, column in enumerate(columns)
        }
        measured[_MEAN_COLUMN] = _measured(exact[0].mean(axis=1), drawn.mean(axis=2))
        return measured

    def _sides(self, columns: list[int], taken: BoolArray, weights: FloatArray) -> FloatArray:
        """Return the AUC inside and outside for each column, shape (R, 2, columns)."""
        full = np.zeros((len(weights), len(taken)))
        full[:, taken] = weights
        found = [
            [self._auc(column, side, full) for column in columns]
            for side in (self.inside, self.outside)
        ]
        return np.moveaxis(np.array(found), 2, 0)

    def _auc(self, column: int, side: BoolArray, weights: FloatArray) -> FloatArray:
        rows = side & ~np.isnan(self.targets[:, column])
        truth = self.targets[rows, column] >= 0.5
        return weighted_auc(self.scores[rows, column], truth, weights[:, rows])

    def _comparable(self, column: int) -> bool:
        counts = [
            int((side & which).sum())
            for side in (self.inside, self.outside)
            for which in (self.targets[:, column] >= 0.5, self.targets[:, column] < 0.5)
        ]
        return min(counts) >= self.fewest


def _measured(exact: FloatArray, drawn: FloatArray) -> _Measured:
    """Return AUC and gap of (inside, outside), with the intervals of the draws (R, 2)."""
    return _Measured(
        auc=float(exact[0]),
        auc_95=interval(drawn[:, 0]),
        gap=float(exact[0] - exact[1]),
        gap_95=interval(drawn[:, 0] - drawn[:, 1]),
    )
