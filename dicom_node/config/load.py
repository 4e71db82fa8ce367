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


class _KeyTwice(Exception):
    """A mapping names a key again, which YAML forbids (1.2, Section 3.2.1.1).

    PyYAML would take the last.
    """


class _EachKeyOnce(yaml.SafeLoader):
    """Reads YAML, and refuses what would silently replace something above it."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise _KeyTwice(
                        f"line {line}: {key.value} is there already, at line {seen[key.value]}"
                    )
                seen[key.value] = line
        return super().construct_mapping(node, deep=deep)


def load(path: Path) -> NodeSettings:
    """Return the configuration in `path`, validated whole.

    Raises
    ------
    InvalidConfiguration
        With every problem of the file, each as ``where: what``. No problem repeats a
        value of the file, since a value may be a password.
    """
    try:
        content = path.read_bytes()
        text = content.decode("utf-8")
    except OSError as error:
        raise InvalidConfiguration([f"{path}: cannot be read ({type(error).__name__})"]) from error
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InvalidConfiguration([f"{path.name}: line {line} is not UTF-8"]) from error
    try:
        document = yaml.load(text, _EachKeyOnce)  # noqa: S506 - a SafeLoader
    except _KeyTwice as error:
        raise InvalidConfiguration([f"{path.name}: {error}"]) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = f" at line {mark.line + 1}" if mark is not None else ""
        raise InvalidConfiguration([f"{path.name}: is not valid YAML{at}"]) from error
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
