"""Measured values as JSON."""

import json
import math
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

STANDARD_OUTPUT = Path("-")
_DIGITS = 6


def document(value: Any) -> Any:
    """Return a value as JSON knows it: NaN becomes null, floats keep six digits."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: document(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): document(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [document(inner) for inner in value]
    if isinstance(value, float):
        return round(value, _DIGITS) if math.isfinite(value) else None
    return value


def write_json(value: Any, file: Path) -> None:
    """Write a measured value as indented JSON; equal values give equal bytes.

    Parameters
    ----------
    value : object
        Dataclasses, dictionaries, sequences, texts, numbers and None.
    file : Path
        Its folder is made when it is not there. ``-`` is standard output.
    """
    text = json.dumps(document(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    if file == STANDARD_OUTPUT:
        sys.stdout.write(text)
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8", errors="backslashreplace")
