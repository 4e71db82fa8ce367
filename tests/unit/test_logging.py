"""Nothing reaches the log but catalogued events with fields known to be safe."""

import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from structlog.contextvars import bound_contextvars

from audit.events import REQUIRED_FIELDS, SAFE_FIELDS, Event
from audit.logging import configure_logging


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = (root.handlers[:], root.level, sys.excepthook, threading.excepthook)
    text = io.StringIO()
    configure_logging("info", "json", text)
    yield text
    logging.captureWarnings(False)
    root.handlers[:], root.level, sys.excepthook, threading.excepthook = before
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_json_with_time_level_event_and_fields(stream: io.StringIO) -> None:
    structlog.get_logger().info(Event.ORPHAN_QUARANTINED)

    [line] = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "reconcile.orphan.quarantined", "level": "info"}


def test_an_unknown_field_is_dropped_and_counted(stream: io.StringIO) -> None:
    structlog.get_logger().info(
        Event.STUDY_SETTLED, revision=2, correlation_id="c", patient_name="DOE^JOHN", mrn="77"
    )

    [line] = lines(stream)
    assert (line["revision"], line["redacted_fields"]) == (2, 2)
    assert "DOE" not in stream.getvalue()


def test_a_safe_field_with_an_object_for_a_value_is_dropped(stream: io.StringIO) -> None:
    structlog.get_logger().info(Event.STUDY_SETTLED, revision={"name": "DOE^JOHN"})

    assert "DOE" not in stream.getvalue()
    assert lines(stream)[0]["redacted_fields"] == 1


def test_an_event_name_outside_the_catalogue_is_hidden(stream: io.StringIO) -> None:
    structlog.get_logger().info("received DOE^JOHN")

    assert lines(stream)[0]["event"] == "audit.event.unknown"
    assert "DOE" not in stream.getvalue()


def test_a_long_text_is_cut(stream: io.StringIO) -> None:
    structlog.get_logger().info(Event.LINK_LOST, destination="pacs", reason="x" * 5000)

    assert len(lines(stream)[0]["reason"]) == 301


def test_a_line_break_in_a_value_makes_no_second_line(stream: io.StringIO) -> None:
    structlog.get_logger().info(Event.LINK_LOST, destination="a\n{}", reason="\u2028")

    assert len(stream.getvalue().splitlines()) == 1


def test_the_context_adds_its_correlation_id(stream: io.StringIO) -> None:
    with bound_contextvars(correlation_id="abc", patient_id="123456"):
        structlog.get_logger().warning(Event.ORPHAN_QUARANTINED)

    [line] = lines(stream)
    assert (line["correlation_id"], line["redacted_fields"]) == ("abc", 1)


def test_a_library_cannot_log_a_value(stream: io.StringIO) -> None:
    logging.getLogger("pydicom").warning("Invalid value for VR DA: %r", "DOE^JOHN^19500101")

    [line] = lines(stream)
    assert (line["event"], line["logger"]) == ("library.message.hidden", "pydicom")
    assert line["level"] == "warning"
    assert "DOE" not in stream.getvalue()


def test_a_library_with_its_own_handler_is_brought_to_heel(stream: io.StringIO) -> None:
    loud = logging.getLogger("loud.library")
    own = io.StringIO()
    loud.addHandler(logging.StreamHandler(own))
    loud.propagate = False
    configure_logging("info", "json", stream)

    loud.error("DOE^JOHN")

    assert own.getvalue() == ""
    assert lines(stream)[0]["logger"] == "loud.library"


def test_libraries_are_silent_below_warning(stream: io.StringIO) -> None:
    logging.getLogger("pydicom").info("chatter")

    assert stream.getvalue() == ""


def test_a_python_warning_is_hidden_too(stream: io.StringIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("The value DOE^JOHN is invalid", stacklevel=1)

    assert lines(stream)[-1]["logger"] == "py.warnings"
    assert "DOE" not in stream.getvalue()


def test_an_exception_shows_its_type_and_way_but_not_its_text(stream: io.StringIO) -> None:
    try:
        raise ValueError("DOE^JOHN")
    except ValueError:
        structlog.get_logger().exception(Event.STEP_CRASHED, job_key="analyse:1")

    [line] = lines(stream)
    assert line["error_type"] == "ValueError"
    assert line["frames"][-1].startswith("test_logging.py:")
    assert "DOE" not in stream.getvalue()


def test_a_crashed_thread_is_logged_without_its_text(stream: io.StringIO) -> None:
    def crash() -> None:
        raise RuntimeError("DOE^JOHN")

    thread = threading.Thread(target=crash)
    thread.start()
    thread.join()

    assert lines(stream)[0]["event"] == "audit.exception.uncaught"
    assert lines(stream)[0]["error_type"] == "RuntimeError"
    assert "DOE" not in stream.getvalue()


def test_the_level_is_obeyed(stream: io.StringIO) -> None:
    configure_logging("error", "json", stream)

    structlog.get_logger().warning(Event.ORPHAN_QUARANTINED)
    structlog.get_logger().error(Event.ORPHAN_QUARANTINED)

    assert [line["level"] for line in lines(stream)] == ["error"]


def test_the_console_form_is_for_people_and_as_silent(stream: io.StringIO) -> None:
    configure_logging("info", "console", stream)

    structlog.get_logger().info(Event.STUDY_SETTLED, revision=3, patient_name="DOE^JOHN")

    assert "pipeline.study.settled" in stream.getvalue()
    assert "revision=3" in stream.getvalue()
    assert "DOE" not in stream.getvalue()


def test_every_event_says_which_fields_it_needs() -> None:
    assert set(REQUIRED_FIELDS) == set(Event)


def test_no_safe_field_is_a_patients() -> None:
    suspicious = ("patient", "accession", "birth", "study_instance", "sop_instance", "series_")

    assert [name for name in SAFE_FIELDS if any(word in name for word in suspicious)] == []


def test_a_log_that_cannot_be_written_breaks_nobody() -> None:
    closed = io.StringIO()
    configure_logging("info", "json", closed)
    closed.close()

    structlog.get_logger().info(Event.MODEL_LOADED, model_name="m")
    logging.getLogger("pydicom").warning("text")
