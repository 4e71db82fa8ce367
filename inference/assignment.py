"""The most probable true order of every image of a patient: an assignment problem (pure).

Each image belongs to one order or to none. The explanation that is sought is the most
probable one under

* what the network saw: the calibrated probability of the regions that fulfil the order;
* the tagged side, where image and order both name one;
* habit: most images are filed rightly (`Options.misfiled`), and most orders get an image
  (`Options.unimaged`). The second is what ties the images together, and why this is an
  assignment and not a choice for each image alone: an order's first image is worth more
  than its next.

The sum of logarithms is minimised by `scipy.optimize.linear_sum_assignment`, on a matrix
with one row for each image and, as columns, places under each order and places under none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, log

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

NOWHERE = ""
"""The place of an image that belongs to none of the orders."""

LEAST_PROBABILITY = 1e-4
"""No network is surer than this that a region is absent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is believed before any image is looked at."""

    misfiled: float = 0.05
    """Probability that an image belongs to some given other order of the patient."""

    unordered: float = 0.02
    """Probability that an image belongs to no known order of the patient."""

    unordered_unfiled: float = 0.1
    """The same of an image that has no accession number, or whose order was cancelled."""

    shows_anything: float = 0.05
    """Probability that an image that nobody ordered shows just the region that it does."""

    unimaged: float = 0.2
    """Probability that an order has no image here, or not yet."""

    other_side: float = 0.05
    """Probability that the tagged side is not the ordered one, though the order is right."""

    least_margin: float = log(19)
    """A move's margin must reach this, in nats: 19 to 1 against the next best."""

    least_margin_missing: float = log(2)
    """The same where a missing order is proposed, which the verdict mismatch alone says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An image, and how probable it makes each place."""

    key: str
    filed: str
    """Key of an order, or `NOWHERE`."""

    locked: bool
    """It stays where it is filed: it matches there, or nothing is known against it."""

    fits: Mapping[str, float]
    """For each order that it may belong to, the probability of the regions that fulfil it.
    An order that is left out is impossible."""

    best: float
    """Probability of the most probable region of all: of what it shows, ordered or not."""

    sides_differ: frozenset[str] = frozenset()
    """Orders whose side is not the tagged one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """Where an image most probably belongs."""

    place: str
    margin: float
    """How much worse, in nats, the best explanation is in which it belongs elsewhere.
    Zero where that was not asked for: for images that stay."""


def assign(
    candidates: Sequence[Candidate], orders: Sequence[str], options: Options
) -> dict[str, Assigned]:
    """Return the most probable place of every image, by its key.

    Parameters
    ----------
    candidates : sequence of Candidate
        In any order; the answer does not depend on it.
    orders : sequence of str
        Keys of the orders that images may belong to.
    """
    ranked = sorted(candidates, key=lambda candidate: candidate.key)
    places = [*sorted(orders), NOWHERE]
    if not ranked:
        return {}
    matrix = _Matrix(ranked, places, options)
    chosen, least = matrix.solve()
    return {
        candidate.key: Assigned(
            place=places[place],
            margin=0.0
            if places[place] == candidate.filed
            else matrix.solve(without=(row, place))[1] - least,
        )
        for row, (candidate, place) in enumerate(zip(ranked, chosen, strict=True))
    }


def place_cost(candidate: Candidate, place: str, orders: Sequence[str], options: Options) -> float:
    """Return -log of how probable it is that `candidate` belongs at `place`; inf if it cannot.

    The bonus of an order's first image is not in it.
    """
    if candidate.locked:
        return 0.0 if place == candidate.filed else inf
    if place == NOWHERE:
        seen, side = candidate.best * options.shows_anything, 1.0
    elif place in candidate.fits:
        seen = candidate.fits[place]
        side = options.other_side if place in candidate.sides_differ else 1 - options.other_side
    else:
        return inf
    habit = _habit(candidate.filed, place, len(orders), options)
    return -(log(max(seen, LEAST_PROBABILITY)) + log(side) + log(habit))


def first_image_bonus(options: Options) -> float:
    """Return what an explanation gains, in nats, for each order that has an image."""
    return log((1 - options.unimaged) / options.unimaged)


def _habit(filed: str, place: str, orders: int, options: Options) -> float:
    """The prior probability of a place; those of one image add up to 1."""
    if filed == NOWHERE:
        if orders == 0:
            return 1.0
        nowhere = options.unordered_unfiled
        return nowhere if place == NOWHERE else (1 - nowhere) / orders
    others = orders - 1
    each = min(options.misfiled, 0.5 / others) if others else 0.0
    if place == NOWHERE:
        return options.unordered
    return 1 - each * others - options.unordered if place == filed else each


class _Matrix:
    """Costs with a column for each place that an image may take."""

    def __init__(
        self, candidates: Sequence[Candidate], places: Sequence[str], options: Options
    ) -> None:
        self._count = len(candidates)
        orders = [place for place in places if place != NOWHERE]
        costs = np.array(
            [
                [place_cost(candidate, place, orders, options) for place in places]
                for candidate in candidates
            ]
        )
        bonus = first_image_bonus(options)
        columns: list[NDArray[np.float64]] = []
        self._place_of: list[int] = []
        for place, name in enumerate(places):
            for slot in range(self._count):
                gain = bonus if slot == 0 and name != NOWHERE else 0.0
                columns.append(costs[:, place] - gain)
                self._place_of.append(place)
        self._costs = np.stack(columns, axis=1)

    def solve(self, without: tuple[int, int] | None = None) -> tuple[list[int], float]:
        """Return the place of each image and the whole cost; infinite where none is possible.

        `without` names an image (row) and a place that it must not take.
        """
        costs = self._costs
        if without is not None:
            costs = costs.copy()
            costs[without[0], [place == without[1] for place in self._place_of]] = inf
            if np.isinf(costs[without[0]]).all():
                return [], inf
        rows, columns = linear_sum_assignment(costs)
        return [self._place_of[column] for column in columns], float(costs[rows, columns].sum())
