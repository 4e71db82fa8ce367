"""Fixtures that every test may ask for by name."""

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
