"""Small tools that the modules of this package share for statements and rows."""

from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Row, Select, Table, bindparam, select
from sqlalchemy.dialects import postgresql, sqlite

from audit.errors import Fault
from storage.models import Base

T = TypeVar("T")


class NoSuchRow(Fault):
    """An identifier of ours that names no row."""

    code = "storage.row.unknown"


def insert(connection: Connection, table: type[Base]) -> postgresql.Insert | sqlite.Insert:
    """Return the INSERT of the database at hand, which knows ``ON CONFLICT``."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def columns_of(kind: Any, *tables: type[Base], **named: Any) -> Select[Any]:
    """Return the SELECT whose columns are the fields of the dataclass `kind`.

    A field is the column in `named`, or the one of its own name in the first of `tables`
    that has it. The first table is the one selected from.
    """

    def column(name: str) -> ColumnElement[Any]:
        if name in named:
            return named[name].label(name)  # type: ignore[no-any-return]
        table = next(table for table in tables if name in table.__table__.c)
        return table.__table__.c[name].label(name)

    return select(*(column(field.name) for field in fields(kind))).select_from(tables[0])


def made_of(kind: Callable[..., T], rows: Iterable[Row[Any]]) -> list[T]:
    """Return each row as a `kind`; the names of its columns are the names of the fields."""
    return [kind(**row._mapping) for row in rows]


def table_of(model: type[Base]) -> Table:
    """Return the table that `model` declares."""
    table = model.__table__
    assert isinstance(table, Table)
    return table


class Keyed:
    """A table whose rows are found, or made, by a unique key."""

    def __init__(self, model: type[Base], *key: str) -> None:
        table = table_of(model)
        self._key = key
        self._find = select(table.c.id).where(*(table.c[name] == bindparam(name) for name in key))
        self._make = {
            "postgresql": postgresql.insert(table).on_conflict_do_nothing(index_elements=key),
            "sqlite": sqlite.insert(table).on_conflict_do_nothing(index_elements=key),
        }

    def found_or_made(self, connection: Connection, **columns: Any) -> int:
        """Return the id of the row with this key; `columns` are the key and the rest."""
        key = {name: columns[name] for name in self._key}
        found = connection.execute(self._find, key).scalar_one_or_none()
        if found is None:
            connection.execute(self._make[connection.dialect.name], columns)
            found = connection.execute(self._find, key).scalar_one()
        return int(found)
