"""How numbers and tables are written in a model card."""

from collections.abc import Callable, Sequence
from typing import Any


def percent(share: float) -> str:
    """Return a share in per cent."""
    return f"{100 * share:.1f} %"


def three(value: float) -> str:
    """Return a number with three decimals."""
    return f"{value:.3f}"


def table(head: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def with_interval(value: float, interval: Sequence[float]) -> str:
    """Return a number and its interval: ``0.812 (0.770 to 0.851)``."""
    low, high = interval
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def disturbed(
    rows: Sequence[dict[str, Any]],
    head: tuple[str, ...],
    measured: Callable[[dict[str, Any]], tuple[str, ...]],
) -> list[str]:
    """Return the section on images changed as other stations might; nothing if not measured."""
    if not rows:
        return []
    return [
        "## As other stations would send them",
        "Stations differ in grey curves, collimation and compression. Held-out images, changed in "
        "one way at a time before the node's own recipe sees them (`python -m "
        "inference.evaluation.shipped.disturbed`):",
        table(("Images", *head), [(row["way"], *measured(row)) for row in rows]),
    ]
