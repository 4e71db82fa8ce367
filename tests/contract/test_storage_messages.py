"""A message that was taken is remembered, on both databases."""

from datetime import UTC, datetime, timedelta

from storage.messages import message_key, note_taken, was_taken
from storage.session import Database

NOW = datetime(2026, 1, 2, tzinfo=UTC)
KEY = message_key("RIS|HOSP", "M1", b"PID|...")


def note(database: Database, key: str, at: datetime = NOW) -> None:
    with database.transaction() as connection:
        note_taken(connection, key, at=at, forget_before=at - timedelta(days=30))


def taken(database: Database, key: str) -> bool:
    with database.reading() as connection:
        return was_taken(connection, key)


def test_a_message_is_remembered_and_may_be_noted_again(database: Database) -> None:
    assert not taken(database, KEY)
    note(database, KEY)
    note(database, KEY)
    assert taken(database, KEY)


def test_messages_are_forgotten_when_later_ones_come(database: Database) -> None:
    later = message_key("RIS|HOSP", "M2", b"")
    note(database, KEY)
    note(database, later, NOW + timedelta(days=31))

    assert (taken(database, KEY), taken(database, later)) == (False, True)


def test_sender_control_id_and_content_each_make_another_message() -> None:
    others = {
        message_key("RIS2|HOSP", "M1", b"PID|..."),
        message_key("RIS|HOSP", "M2", b"PID|..."),
        message_key("RIS|HOSP", "M1", b"PID|...!"),
        message_key("RIS|HOSPM", "1", b"PID|..."),
    }
    assert len(others | {KEY}) == 5
    assert all(len(key) == 64 for key in others)
