"""Recompute metrics of held-out images: ``python -m inference.evaluation.shipped.check``."""

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from inference.datafolder import data_folder
from inference.evaluation.loaded import Loaded, load_model
from inference.evaluation.shipped.heldout import (
    bodypart_held_out,
    chest_held_out,
    chest_subgroups,
)
from inference.training.export import plain
from inference.types import Task

TOLERANCE = 0.01
"""Runtimes and processors differ in the last bits; a changed network or recipe shows more."""

_MEASURES: dict[Task, dict[str, Callable[[Loaded, Path], Any]]] = {
    Task.BODY_PART: {"held_out": bodypart_held_out},
    Task.CHEST_FINDINGS: {"held_out": chest_held_out, "subgroups": chest_subgroups},
}
"""Sections of a manifest's ``metrics`` and what measures them."""


def recompute(model: Loaded, data: Path) -> dict[str, Any]:
    """Return the sections of ``metrics`` about held-out images as the model scores now."""
    measures = _MEASURES[model.manifest.task]
    return {name: plain(measure(model, data)) for name, measure in measures.items()}


def as_stated(model: Loaded) -> dict[str, Any]:
    """Return the same sections as the manifest states them."""
    return {name: model.manifest.metrics[name] for name in _MEASURES[model.manifest.task]}


def differences(
    stated: dict[str, Any], found: dict[str, Any], *, tolerance: float = TOLERANCE
) -> list[str]:
    """Return one line for each stated number that was not found again."""
    again = dict(_numbers(found))
    return [
        f"{name}: stated {value}, found {again.get(name)}"
        for name, value in _numbers(stated)
        if not abs(again.get(name, math.nan) - value) <= tolerance  # NaN is no number found again
    ]


def _numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _numbers(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _numbers(inner, f"{name}[{index}]")
    elif isinstance(value, int | float):
        yield name, float(value)


def main() -> int:
    """Print the metrics and what differs; return 1 when something does."""
    parser = argparse.ArgumentParser(prog="python -m inference.evaluation.shipped.check")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=data_folder())
    parser.add_argument("--tolerance", type=float, default=TOLERANCE)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = load_model(arguments.model)
    found = recompute(model, arguments.data)
    for name, value in _numbers(found):
        print(f"{name} {value}")
    wrong = differences(as_stated(model), found, tolerance=arguments.tolerance)
    for line in wrong:
        print(f"differs: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
