"""Fixtures that every test may ask for by name."""

import logging
import os
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests.databases import (
    database,
    empty_database,
    postgresql_server,
    postgresql_template,
    sqlite_template,
)

if "PYTEST_XDIST_WORKER" in os.environ:  # a process for each core: threads would wait in line
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# How fast the machine is decides no test of a property.
settings.register_profile("node", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("node")

# A node under test logs where a node logs, so that what a command prints is its own.
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))

__all__ = (
    "database",
    "empty_database",
    "postgresql_server",
    "postgresql_template",
    "sqlite_template",
)


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Undo what a test does to the logging of the whole process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    hooks = sys.excepthook, threading.excepthook
    config = structlog.get_config()
    yield
    root.handlers[:], root.level = handlers, level
    sys.excepthook, threading.excepthook = hooks
    structlog.configure(**config)


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    """Undo what a test does to torch's threads: more of them than cores slow the tests after it."""
    yield
    if "torch" in sys.modules and (threads := os.environ.get("OMP_NUM_THREADS")):
        sys.modules["torch"].set_num_threads(int(threads))


@pytest.fixture
def taken_at() -> datetime:
    """When invented images were taken."""
    return datetime(2026, 1, 2, 10, 15, tzinfo=UTC)
