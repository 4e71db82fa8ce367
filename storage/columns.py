"""Column types that mean the same on every database."""

from datetime import UTC, datetime

from sqlalchemy import BigInteger, DateTime, Dialect, Integer, String, TypeDecorator

UID = String(64)
"""A UID (PS3.5 Section 9.1)."""

BigId = BigInteger().with_variant(Integer, "sqlite")
"""64 bits; SQLite counts up by itself only in a column of the type INTEGER."""


class UtcDateTime(TypeDecorator[datetime]):
    """An aware moment in UTC on every database (SQLite itself drops the zone)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment must carry its time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
