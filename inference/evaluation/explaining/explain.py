"""Study a model on image files: for each image and label, a map by each method, and numbers.

Nothing here is part of the running node; ``dicom-node explain`` is its front. The model's
gates are not asked: a chest model answers on a knee too, and its maps then mean nothing.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from audit.errors import Rejected
from inference.cam import METHOD as GRAD_CAM
from inference.decide import calibrated, label_output
from inference.evaluation.explaining.measures import agreement, importance_curves, peak
from inference.evaluation.explaining.methods import METHODS, Effort, Map, Scene, scene
from inference.registry import LoadedModel
from inference.types import HeatMap, LabelOutput

CONTROL = "random order"
"""Deletion and insertion by an order that was drawn: what a map must beat."""


class UnknownName(Rejected):
    """A label or method was asked for that does not exist; the message lists what does."""

    code = "explain.name.unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodMap:
    """One method's answer."""

    method: str
    seconds: float
    heat: HeatMap
    numbers: dict[str, Any]
    """``peak``, ``in_margin``, ``deletion_auc``, ``insertion_auc`` and both curves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Every method on one label of one image."""

    label: str
    column: int
    output: LabelOutput
    maps: tuple[MethodMap, ...]
    agreement: list[dict[str, Any]] = field(default_factory=list)
    control: dict[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return everything but the maps themselves, as JSON types."""
        return {
            "label": self.label,
            "probability": round(self.output.probability, 4),
            "decision": self.output.decision.value,
            "methods": {
                found.method: {"seconds": round(found.seconds, 3), **found.numbers}
                for found in self.maps
            },
            "agreement": self.agreement,
            "control": self.control,
        }


def method_names(wanted: Sequence[str]) -> list[str]:
    """Return `wanted` without repetition, all of `METHODS` when it is empty.

    Raises
    ------
    UnknownName
        Listing the known methods.
    """
    unknown = [name for name in wanted if name not in METHODS]
    if unknown:
        raise UnknownName(f"no method of that name; known: {', '.join(METHODS)}")
    return list(dict.fromkeys(wanted)) or list(METHODS)


def label_columns(model: LoadedModel, wanted: Sequence[str]) -> list[int]:
    """Return the columns of the labels, in the order asked for, without repetition.

    Raises
    ------
    UnknownName
        Listing the labels of the model.
    """
    keys = [label.key for label in model.manifest.labels]
    if any(key not in keys for key in wanted):
        raise UnknownName(f"the model has no such label; it has: {', '.join(keys)}")
    return [keys.index(key) for key in dict.fromkeys(wanted)]


def explain(
    model: LoadedModel,
    display: Map,
    *,
    columns: Sequence[int] = (),
    methods: Sequence[str] = (),
    effort: Effort | None = None,
    after_map: Callable[[], None] = lambda: None,
) -> list[Explanation]:
    """Return the maps of one image.

    Parameters
    ----------
    model : LoadedModel
        Any model of a registry: all end in pooling and a linear layer, so each has Grad-CAM.
    display : ndarray of float32, shape (rows, columns)
        Values in [0, 1], as the running node decodes it.
    columns : sequence of int
        Labels by their place; the most probable one when empty.
    methods : sequence of str
        Of `METHODS`; all when empty.
    effort : Effort, optional
    after_map : callable
        Called after each map, for a progress bar.
    """
    spent = effort or Effort()
    seen = scene(display, model.manifest.input, spent)
    with torch.no_grad():
        logits = model.network(seen.image)[0][0].tolist()
    outputs = [
        label_output(logit, label)
        for logit, label in zip(logits, model.manifest.labels, strict=True)
    ]
    likeliest = max(range(len(outputs)), key=lambda column: outputs[column].probability)
    study = _Study(model=model, seen=seen, shape=display.shape, effort=spent)
    return [
        study.explained(column, outputs[column], method_names(methods), after_map)
        for column in columns or [likeliest]
    ]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Study:
    model: LoadedModel
    seen: Scene
    shape: tuple[int, ...]
    effort: Effort

    def explained(
        self,
        column: int,
        output: LabelOutput,
        methods: Sequence[str],
        after_map: Callable[[], None],
    ) -> Explanation:
        size = self.model.manifest.input.size
        raw: dict[str, Map] = {}
        maps = []
        for name in methods:
            began = time.perf_counter()
            raw[name] = METHODS[name](self.model.network, self.seen, column, self.effort)
            seconds = time.perf_counter() - began
            maps.append(self._measured(name, output.key, column, raw[name], seconds))
            after_map()
        random = np.random.default_rng(self.effort.seed).random((size, size), dtype=np.float32)
        return Explanation(
            label=output.key,
            column=column,
            output=output,
            maps=tuple(maps),
            agreement=agreement(raw, self.seen.content, size),
            control=self._curves(random, column),
        )

    def _measured(self, name: str, key: str, column: int, values: Map, seconds: float) -> MethodMap:
        size = self.model.manifest.input.size
        numbers = {**peak(values, self.seen.content, size), **self._curves(values, column)}
        top, left, bottom, right = (edge / size for edge in self.seen.content)
        highest = float(values.max())
        scaled = values / highest if highest > 0 else values
        heat = HeatMap(
            key=key,
            method=GRAD_CAM if name == "grad-cam" else name,
            values=tuple(tuple(row) for row in np.round(scaled, 4).tolist()),
            content_box=(top, left, bottom, right),
        )
        return MethodMap(method=name, seconds=seconds, heat=heat, numbers=numbers)

    def _curves(self, values: Map, column: int) -> dict[str, Any]:
        size = self.model.manifest.input.size
        return importance_curves(values, self.seen.content, size, partial(self._scores, column))

    def _scores(self, column: int, kept: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the label's probability with only `kept` of the image in place."""
        label, found = self.model.manifest.labels[column], []
        with torch.no_grad():
            for start in range(0, len(kept), self.effort.batch):
                weights = torch.from_numpy(kept[start : start + self.effort.batch])[:, None]
                mixed = weights * self.seen.image + (1 - weights) * self.seen.baseline
                found += self.model.network(mixed)[0][:, column].tolist()
        return np.array([calibrated(logit, label) for logit in found])
