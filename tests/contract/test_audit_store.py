"""The audit table: append only, one chain, on SQLite and on PostgreSQL."""

import contextlib
import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from audit import chain, store
from audit.chain import Head, InvalidRecord
from audit.entries import Entry, RecordKind
from audit.store import AuditFilter
from storage.session import Database

MORNING = datetime(2026, 3, 1, 8, tzinfo=UTC)


def entry(number: int, **body: Any) -> Entry:
    return Entry(
        kind=body.pop("kind", RecordKind.PREDICTION),
        key=f"predict:{number}",
        recorded_at=MORNING + timedelta(minutes=number),
        body={"outcome": "predicted", **body},
    )


def fill(database: Database, count: int) -> None:
    with database.transaction() as connection:
        for number in range(1, count + 1):
            store.append(connection, entry(number))


def forge(database: Database, *statements: str) -> None:
    """Change the table as somebody with all rights would: without the triggers."""
    with database.transaction() as connection:
        if database.dialect == "sqlite":
            for trigger in ("update", "delete", "replace"):
                connection.execute(text(f"DROP TRIGGER audit_record_no_{trigger}"))
        else:
            connection.execute(text("ALTER TABLE audit_record DISABLE TRIGGER ALL"))
        for statement in statements:
            connection.execute(text(statement))


def verify(database: Database, **options: Any) -> chain.ChainReport:
    with database.reading() as connection:
        return store.verify(connection, **options)


def test_an_appended_record_is_found_again_whole(database: Database) -> None:
    body = {
        "subject": {"study_instance_uid": "1.2", "sop_instance_uid": "1.2.3"},
        "model": {"name": "bodypart", "version": "1.0.0"},
        "outcome": "predicted",
        "labels": [{"key": "CHEST", "logit": 1.25, "probability": 0.1}],
        "note": "Ångström \u0000 \U0001f9ea",
    }
    given = Entry(
        kind=RecordKind.PREDICTION,
        key="predict:1",
        recorded_at=datetime.fromisoformat("2026-03-01T09:30:00.000250+01:00"),
        body=body,
    )

    with database.transaction() as connection:
        row = store.append(connection, given)
        assert row is not None
    with database.reading() as connection:
        found = store.get(connection, row.audit_id)

    assert found == row
    assert (found.seq, found.prev_hash) == (1, chain.GENESIS)
    assert found.recorded_at == datetime(2026, 3, 1, 8, 30, 0, 250, tzinfo=UTC)
    assert found.body == body
    assert json.loads(found.payload)["body"] == body
    assert verify(database).ok


def test_a_second_record_of_one_key_is_not_written(database: Database) -> None:
    with database.transaction() as connection:
        first = store.append(connection, entry(1))
        again = store.append(connection, entry(1, outcome="failed"))
        assert store.find(connection, "predict:1") == (first.audit_id if first else "")

    assert again is None
    assert verify(database).count == 1


def test_a_record_rolls_back_with_its_transaction(database: Database) -> None:
    def roll_back() -> None:
        with database.transaction() as connection:
            store.append(connection, entry(1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        roll_back()
    fill(database, 2)

    assert verify(database).count == 2


def test_a_record_that_is_not_plain_json_is_refused(database: Database) -> None:
    with database.transaction() as connection, pytest.raises(InvalidRecord):
        store.append(connection, entry(1, probability=float("nan")))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_record SET payload = '{}' WHERE seq = 2",
        "UPDATE audit_record SET outcome = 'failed'",
        "DELETE FROM audit_record WHERE seq = 3",
        "DELETE FROM audit_record",
    ],
)
def test_the_table_refuses_changes(database: Database, statement: str) -> None:
    fill(database, 3)

    def change() -> None:
        with database.transaction() as connection:
            connection.execute(text(statement))

    with pytest.raises(DBAPIError, match="append only"):
        change()
    assert verify(database).count == 3


def test_the_table_refuses_to_be_emptied_or_replaced_in_bulk(database: Database) -> None:
    fill(database, 2)
    columns = ", ".join(f'"{column.name}"' for column in store.audit_record.columns)
    statement = (
        f"INSERT OR REPLACE INTO audit_record ({columns}) SELECT {columns} FROM audit_record"
        if database.dialect == "sqlite"
        else "TRUNCATE audit_record"
    )

    def change() -> None:
        with database.transaction() as connection:
            connection.execute(text(statement))

    with pytest.raises(DBAPIError, match="append only"):
        change()
    assert verify(database).count == 2


@pytest.mark.parametrize(
    ("statement", "first_bad"),
    [
        ("UPDATE audit_record SET payload = replace(payload, 'predicted', 'failed_xx')", 1),
        ("UPDATE audit_record SET payload = payload || ' ' WHERE seq = 3", 3),
        ("UPDATE audit_record SET outcome = 'failed' WHERE seq = 4", 4),
        ("UPDATE audit_record SET recorded_at = '2020' WHERE seq = 5", 5),
        ("UPDATE audit_record SET audit_id = 'x' WHERE seq = 2", 2),
        ("UPDATE audit_record SET idempotency_key = 'x' WHERE seq = 2", 2),
        ("UPDATE audit_record SET patient_pseudonym = 'x' WHERE seq = 2", 2),
        ("UPDATE audit_record SET row_hash = prev_hash WHERE seq = 2", 2),
        ("DELETE FROM audit_record WHERE seq = 3", 3),
        ("DELETE FROM audit_record WHERE seq = 1", 1),
        ("UPDATE audit_record SET seq = 99 WHERE seq = 3", 3),
        ("UPDATE audit_record SET seq = 99 WHERE seq = 5", 5),
    ],
)
def test_a_change_by_somebody_with_all_rights_is_found(
    database: Database, statement: str, first_bad: int
) -> None:
    fill(database, 5)
    assert verify(database).ok

    forge(database, statement)

    report = verify(database)
    assert not report.ok
    assert report.first_bad_seq == first_bad
    assert report.count == first_bad - 1


def test_swapped_rows_are_found(database: Database) -> None:
    fill(database, 4)

    forge(
        database,
        "UPDATE audit_record SET seq = 100 WHERE seq = 2",
        "UPDATE audit_record SET seq = 2 WHERE seq = 3",
        "UPDATE audit_record SET seq = 3 WHERE seq = 100",
    )

    assert verify(database).first_bad_seq == 2


def test_a_cut_off_end_is_found_with_an_anchor_only(database: Database) -> None:
    fill(database, 5)
    with database.reading() as connection:
        anchor = store.head(connection)

    forge(database, "DELETE FROM audit_record WHERE seq > 3")

    assert verify(database).ok
    report = verify(database, anchor=anchor)
    assert (report.ok, report.first_bad_seq) == (False, 4)


def test_a_check_goes_on_from_an_earlier_head(database: Database) -> None:
    fill(database, 3)
    earlier = verify(database).head
    fill(database, 7)

    report = verify(database, after=earlier)

    assert (report.ok, report.count, report.head.seq) == (True, 4, 7)
    assert not verify(database, after=Head(earlier.seq, "f" * 64)).ok


def test_a_long_chain_is_checked_in_batches(database: Database) -> None:
    fill(database, 1203)

    report = verify(database)

    assert (report.ok, report.count) == (True, 1203)


def test_appends_from_many_threads_keep_one_chain(database: Database) -> None:
    threads, each = 8, 12
    ready = threading.Barrier(threads)

    def write(writer: int) -> None:
        ready.wait(10)
        for number in range(each):
            with database.transaction() as connection:
                store.append(connection, entry(writer * 1000 + number))
                store.append(connection, entry(7))  # all of them compete for this one

    running = [threading.Thread(target=write, args=(writer,)) for writer in range(1, threads + 1)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(60)

    report = verify(database)
    assert report.ok, report
    assert report.count == threads * each + 1


def test_the_filter_finds_by_every_column(database: Database) -> None:
    wanted = {
        "subject": {
            "patient_pseudonym": "p1",
            "accession_pseudonym": "a1",
            "study_instance_uid": "1.2",
            "sop_instance_uid": "1.2.3",
        },
        "model": {"name": "bodypart", "version": "2.0"},
        "outcome": "failed",
        "verdict": {"verdict": "mismatch"},
    }
    fill(database, 3)
    with database.transaction() as connection:
        store.append(connection, entry(4, **wanted))
        store.append(connection, entry(5, kind=RecordKind.ACCESS))

    def seqs(**options: Any) -> list[int]:
        with database.reading() as connection:
            return [row.seq for row in store.query(connection, AuditFilter(**options))]

    assert seqs() == [1, 2, 3, 4, 5]
    for name, value in {
        "patient_pseudonym": "p1",
        "accession_pseudonym": "a1",
        "study_instance_uid": "1.2",
        "sop_instance_uid": "1.2.3",
        "model_name": "bodypart",
        "model_version": "2.0",
        "outcome": "failed",
        "verdict": "mismatch",
    }.items():
        assert seqs(**{name: value}) == [4], name
        assert seqs(**{name: "other"}) == [], name
    assert seqs(kinds=(RecordKind.ACCESS,)) == [5]
    assert seqs(since=MORNING + timedelta(minutes=4)) == [4, 5]
    assert seqs(until=MORNING + timedelta(minutes=2)) == [1]
    assert seqs(after_seq=3, newest_first=True) == [5, 4]
    assert seqs(limit=2) == [1, 2]


@pytest.mark.parametrize("seq", [0, -7])
def test_a_row_before_the_first_breaks_the_chain(database: Database, seq: int) -> None:
    fill(database, 3)
    forge(
        database,
        f"INSERT INTO audit_record SELECT {seq}, 'x', 'predict:9', kind, recorded_at, "
        "patient_pseudonym, accession_pseudonym, study_instance_uid, sop_instance_uid, "
        "model_name, model_version, outcome, verdict, payload, prev_hash, row_hash "
        "FROM audit_record WHERE seq = 1",
    )
    report = verify(database)
    assert (report.ok, report.first_bad_seq) == (False, 1)


def test_whether_anything_is_recorded_is_told_before_the_table_is_there(
    database: Database, tmp_path: Path
) -> None:
    empty = Database(f"sqlite:///{tmp_path}/empty.db", pool_size=1)
    with contextlib.closing(empty), empty.reading() as connection:
        assert not store.holds_records(connection)
    with database.reading() as connection:
        assert not store.holds_records(connection)
    fill(database, 1)
    with database.reading() as connection:
        assert store.holds_records(connection)
