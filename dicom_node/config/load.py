"""Read ``config.yaml``; the only module that reads configuration from outside."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from audit.errors import InvalidConfiguration
from dicom_node.config.settings import NodeSettings

_PLAIN_WORDS = {
    "extra_forbidden": "unknown key",
    "missing": "is required",
}


def load(path: Path) -> NodeSettings:
    """Return the configuration in `path`, validated whole.

    Raises
    ------
    InvalidConfiguration
        With every problem of the file, each as ``where: what``. No problem repeats a
        value of the file, since a value may be a password.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfiguration([f"{path}: cannot be read ({type(error).__name__})"]) from error
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark is not None else ""
        raise InvalidConfiguration([f"{path.name}: is not valid YAML{line}"]) from error
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise InvalidConfiguration([f"{path.name}: must be a mapping of sections"])
    return validate(document)


def validate(document: dict[str, Any]) -> NodeSettings:
    """Return `document` as settings.

    Raises
    ------
    InvalidConfiguration
        With every problem at once.
    """
    try:
        return NodeSettings.model_validate(document)
    except ValidationError as error:
        raise InvalidConfiguration(
            [_problem(e["loc"], e["type"], e["msg"]) for e in error.errors(include_input=False)]
        ) from error


def _problem(location: tuple[int | str, ...], kind: str, message: str) -> str:
    where = ".".join(str(part) for part in location) or "config"
    what = _PLAIN_WORDS.get(kind, message.removeprefix("Value error, "))
    return f"{where}: {what[0].lower()}{what[1:]}"
