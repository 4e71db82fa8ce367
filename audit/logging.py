"""Logs: one JSON object a line, only events of the catalogue, only fields known to be safe.

An allow-list, not a deny-list: what `audit.events` does not name never reaches the stream,
and the line says how much was left out. Libraries log through the same door with their
text hidden, for pydicom prints the values that it complains about; so do Python warnings
and uncaught exceptions. The text of an exception is hidden too; its type and the places in
the code that it passed through remain.
"""

import contextlib
import logging
import sys
import threading
import traceback
from collections.abc import MutableMapping
from pathlib import PurePath
from types import TracebackType
from typing import Any, Literal, TextIO

import structlog

from audit.events import SAFE_FIELDS, Event

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_TEXT_LIMIT = 300
_FRAMES = 12
_EVENTS = frozenset(str(event) for event in Event)

Fields = MutableMapping[str, Any]


def configure_logging(
    level: str = "info",
    format: Literal["json", "console"] = "json",  # noqa: A002 - the setting's own name
    stream: TextIO | None = None,
) -> None:
    """Send all logs of this process, libraries' included, to `stream` (standard error).

    Parameters
    ----------
    level : str
        ``debug``, ``info``, ``warning`` or ``error``. Libraries are heard from
        ``warning`` on only, whatever it says.
    format : str
        ``json`` for machines, ``console`` for people.
    stream : text file, optional
    """
    stream = stream or sys.stderr
    renderer: Any = (
        structlog.processors.JSONRenderer(ensure_ascii=True)
        if format == "json"
        else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            name_exception,
            keep_catalogued_events,
            keep_safe_fields,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(_Patient(stream)),  # type: ignore[arg-type]
        cache_logger_on_first_use=False,
    )
    _hide_libraries(max(LEVELS[level], logging.WARNING))
    sys.excepthook = _on_uncaught
    threading.excepthook = _on_uncaught_in_thread


def keep_catalogued_events(_logger: Any, _method: str, fields: Fields) -> Fields:
    """Hide an event name that the catalogue does not know: it might be built from data."""
    if fields.get("event") not in _EVENTS:
        fields["event"] = str(Event.EVENT_UNKNOWN)
    return fields


def keep_safe_fields(_logger: Any, _method: str, fields: Fields) -> Fields:
    """Keep allow-listed fields with plain values; count what was removed."""
    removed = [
        name
        for name, value in fields.items()
        if name != "event" and not (name in SAFE_FIELDS and _is_plain(value))
    ]
    for name in removed:
        del fields[name]
    for name, value in fields.items():
        if isinstance(value, str) and len(value) > _TEXT_LIMIT:
            fields[name] = value[:_TEXT_LIMIT] + "…"
    if removed:
        fields["redacted_fields"] = len(removed)
    return fields


def name_exception(_logger: Any, _method: str, fields: Fields) -> Fields:
    """Replace an exception by its type and the code that it passed through."""
    given = fields.pop("exc_info", None)
    fields.pop("stack_info", None)
    if given is True:
        given = sys.exc_info()
    error = given[1] if isinstance(given, tuple) else given
    if isinstance(error, BaseException):
        fields["error_type"] = type(error).__name__
        fields["frames"] = _frames(error.__traceback__)
    return fields


class _Patient:
    """A stream that a broken pipe or a full disk does not break: the line is lost, the work
    that logged it is not."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


class _HiddenText(logging.Handler):
    """Passes a library's record on without its text."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(
            record.levelno,
            Event.LIBRARY_MESSAGE_HIDDEN,
            logger=record.name,
            origin=f"{record.module}:{record.lineno}",
            exc_info=record.exc_info,
        )


def _hide_libraries(level: int) -> None:
    root = logging.getLogger()
    root.handlers[:] = [_HiddenText()]
    root.setLevel(level)
    for logger in list(logging.root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            logger.handlers[:] = []
            logger.propagate = True
    logging.captureWarnings(True)


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(isinstance(item, (str, int, float, bool)) for item in value)
    return value is None or isinstance(value, (str, int, float, bool))


def _frames(trace: TracebackType | None) -> list[str]:
    summary = traceback.extract_tb(trace)[-_FRAMES:]
    return [f"{PurePath(f.filename).name}:{f.lineno} {f.name}" for f in summary]


def _on_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    structlog.get_logger().error(Event.EXCEPTION_UNCAUGHT, exc_info=(kind, error, trace))


def _on_uncaught_in_thread(hook: threading.ExceptHookArgs) -> None:
    if hook.exc_value is not None and not issubclass(hook.exc_type, SystemExit):
        structlog.get_logger().error(Event.EXCEPTION_UNCAUGHT, exc_info=hook.exc_value)
