"""Which HL7 messages were taken, so that one that is sent again changes nothing."""

import hashlib
from datetime import datetime

from sqlalchemy import Connection, delete, select

from storage.order_models import OrderMessage
from storage.rows import insert


def message_key(sender: str, control_id: str, content: bytes) -> str:
    """Return the key of a message; it tells neither its sender nor its content.

    Senders begin counting anew at times, so the control id alone names no message.
    """
    parts = (sender.encode(), control_id.encode(), content)
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def was_taken(connection: Connection, key: str) -> bool:
    """Tell whether a message was taken before."""
    statement = select(OrderMessage.key).where(OrderMessage.key == key)
    return connection.execute(statement).one_or_none() is not None


def note_taken(connection: Connection, key: str, *, at: datetime, forget_before: datetime) -> None:
    """Note that a message was taken, and forget those that were before a moment."""
    connection.execute(delete(OrderMessage).where(OrderMessage.taken_at < forget_before))
    connection.execute(
        insert(connection, OrderMessage).values(key=key, taken_at=at).on_conflict_do_nothing()
    )
