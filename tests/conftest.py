"""Fixtures that every test may ask for by name."""

from datetime import UTC, datetime

import pytest

from tests.databases import (
    database,
    empty_database,
    postgresql_server,
    postgresql_template,
    sqlite_template,
)

__all__ = (
    "database",
    "empty_database",
    "postgresql_server",
    "postgresql_template",
    "sqlite_template",
)


@pytest.fixture
def taken_at() -> datetime:
    """When invented images were taken."""
    return datetime(2026, 1, 2, 10, 15, tzinfo=UTC)
