"""Write docs/configuration.md from the settings themselves.

``python -m dicom_node.config.describe > docs/configuration.md``; a test compares the two.
"""

import re
import sys
import typing
from collections.abc import Iterator
from enum import Enum

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from dicom_node.config.settings import NodeSettings

_HEAD = """# Configuration

`config.yaml` is one mapping of sections. It is validated whole before anything starts:
every problem is reported at once, and a key that is not listed here is an error. Units
are in the names (`_s` seconds, `_ms` milliseconds, `_bytes`). Relative paths are relative
to the folder that the node is started in. `dicom-node check` validates the file and tries
the database, the disk, the ports, the models and every destination.

This page is written by `python -m dicom_node.config.describe`.
"""


def describe() -> str:
    """Return the whole page as Markdown."""
    parts = [_HEAD]
    for title, section in _sections(NodeSettings, ""):
        parts.append(
            f"\n## {title}\n\n{_summary(section)}\n\n| key | default | meaning |\n|---|---|---|"
        )
        parts += [
            _row(name, section) for name in section.model_fields if not _is_group(section, name)
        ]
    return "\n".join(parts) + "\n"


def _sections(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in model.model_fields.items():
        for inner in _models_in(field.annotation):
            repeated = typing.get_origin(field.annotation) is tuple
            title = f"{prefix}{name}{'[]' if repeated else ''}"
            kind = inner.model_fields.get("kind")
            if kind is not None:
                title += f" (kind: {typing.get_args(kind.annotation)[0]})"
            yield title, inner
            yield from _sections(inner, f"{prefix}{name}{'[]' if repeated else ''}.")


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from _models_in(inner)


def _is_group(section: type[BaseModel], name: str) -> bool:
    return any(True for _ in _models_in(section.model_fields[name].annotation))


def _summary(section: type[BaseModel]) -> str:
    return _markdown((section.__doc__ or "").strip())


def _row(name: str, section: type[BaseModel]) -> str:
    field = section.model_fields[name]
    meaning = _markdown(field.description or "")
    choices = [f"`{choice}`" for choice in _choices(field.annotation)]
    if len(choices) > 1 and not all(choice in meaning for choice in choices):
        some = "Some" if typing.get_origin(field.annotation) is tuple else "One"
        meaning += f" {some} of {', '.join(choices)}."
    return f"| `{name}` | {_default(field.default)} | {meaning} |"


def _choices(annotation: object) -> list[str]:
    """Return the words that a field takes, where it takes some words alone."""
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return [str(member.value) for member in annotation]
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is typing.Literal:
        return [str(argument) for argument in arguments]
    return [choice for inner in arguments for choice in _choices(inner)]


def _default(value: object) -> str:
    if value is PydanticUndefined:
        return "required"
    if value is None or value in ("", ()):
        return "none"
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, tuple):
        value = ", ".join(str(item) for item in value)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _markdown(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("``", "`"))


if __name__ == "__main__":
    sys.stdout.write(describe())
