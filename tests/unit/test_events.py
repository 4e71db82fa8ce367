"""The source logs what the catalogue says, and the documentation says the same."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from audit.events import REQUIRED_FIELDS, SAFE_FIELDS, Event

ROOT = Path(__file__).parents[2]
PACKAGES = ("audit", "storage", "inference", "dicom_node")
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
FORWARDER = "_log"
"""A method that adds fields of its own and logs the event that it is given."""

SILENT = {Event.EVENT_UNKNOWN, Event.EXCEPTION_UNCAUGHT, Event.LIBRARY_MESSAGE_HIDDEN}
"""Emitted by `audit.logging` in ways that this reading of the source does not follow."""


@dataclass(frozen=True)
class Call:
    where: str
    event: str | None
    fields: frozenset[str]
    is_open: bool
    """Whether it may add fields that cannot be read here (``**fields``)."""


def calls() -> Iterator[Call]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if path != ROOT / "audit" / "logging.py":
                yield from _calls_in(path)


def _calls_in(path: Path) -> Iterator[Call]:
    tree = ast.parse(path.read_text("utf-8"))
    forwarded: set[ast.AST] = set()
    added: frozenset[str] = frozenset()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == FORWARDER:
            inner = [each for each in ast.walk(node) if _is_log_call(each)]
            forwarded.update(inner)
            added = frozenset().union(*(_fields(each) for each in inner))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or node in forwarded:
            continue
        through = isinstance(node.func, ast.Attribute) and node.func.attr == FORWARDER
        if through or _is_log_call(node):
            yield Call(
                where=f"{path.relative_to(ROOT)}:{node.lineno}",
                event=_event(node),
                fields=_fields(node) | (added if through else frozenset()),
                is_open=any(keyword.arg is None for keyword in node.keywords),
            )


def _is_log_call(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in LEVELS
        and re.fullmatch(r"(self\.)?_?log(ger)?", ast.unparse(node.func.value)) is not None
    )


def _event(node: ast.Call) -> str | None:
    first = node.args[0] if node.args else None
    if isinstance(first, ast.Constant) and isinstance(first.value, str):
        return first.value
    if isinstance(first, ast.Attribute) and ast.unparse(first.value) == "Event":
        return str(Event[first.attr])
    return None


def _fields(node: ast.AST) -> frozenset[str]:
    assert isinstance(node, ast.Call)
    return frozenset(keyword.arg for keyword in node.keywords if keyword.arg is not None)


CALLS = list(calls())


def test_the_reading_of_the_source_finds_the_calls() -> None:
    assert len(CALLS) > 30
    assert {"storage.engine.started", "dimse.association.accepted"} <= {c.event for c in CALLS}


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.where)
def test_a_call_logs_a_catalogued_event_with_its_fields_and_safe_ones_only(call: Call) -> None:
    assert call.event in set(Event), "add the event to audit/events.py and docs/events.md"
    assert call.fields - {"exc_info"} <= SAFE_FIELDS
    if not call.is_open:
        assert REQUIRED_FIELDS[Event(call.event)] <= call.fields


@pytest.mark.parametrize("event", sorted(set(Event) - SILENT))
def test_every_catalogued_event_is_logged_somewhere(event: Event) -> None:
    assert event in {call.event for call in CALLS}, "remove it from the catalogue"


@pytest.mark.parametrize("event", list(Event))
def test_every_event_is_documented_with_its_fields(event: Event) -> None:
    page = (ROOT / "docs" / "events.md").read_text("utf-8")
    [row] = [line for line in page.splitlines() if line.startswith(f"| `{event}` |")]

    documented = set(re.findall(r"`([a-z_0-9]+)`", row.split("|")[2]))

    assert documented == REQUIRED_FIELDS[event]


def test_nothing_is_documented_that_does_not_exist() -> None:
    page = (ROOT / "docs" / "events.md").read_text("utf-8")

    assert set(re.findall(r"^\| `([a-z_.]+)` \|", page, re.MULTILINE)) == set(Event)
