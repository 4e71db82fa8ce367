"""Many threads' units, each durable when its own submit returns."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import IntegrityError

from audit.errors import DatabaseAway, DiskFull, NodeError
from storage import commit
from storage.commit import CommitterClosed, GroupCommitter
from storage.session import Database
from tests.databases import BOTH

THREADS = 8
DEADLINE_S = 20.0
ON_SQLITE = pytest.mark.parametrize("empty_database", ["sqlite"], indirect=True)
ON_POSTGRESQL = pytest.mark.parametrize("empty_database", BOTH[1:], indirect=True)


@pytest.fixture
def notes(empty_database: Database) -> Database:
    with empty_database.transaction() as connection:
        connection.execute(text("CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT)"))
    return empty_database


@pytest.fixture
def committer(notes: Database) -> Iterator[GroupCommitter]:
    made = GroupCommitter(notes)
    yield made
    made.close()


def note(number: int, body: str = "x") -> Callable[[Connection], int]:
    """Return a unit that keeps a note and returns its number."""

    def unit(connection: Connection) -> int:
        connection.execute(
            text("INSERT INTO note (id, body) VALUES (:id, :body)"), {"id": number, "body": body}
        )
        return number

    return unit


def numbers(database: Database) -> list[int]:
    with database.reading() as connection:
        return list(connection.scalars(text("SELECT id FROM note ORDER BY id")))


class Gate:
    """A unit that holds its transaction until it is opened."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()

    def __call__(self, connection: Connection) -> None:
        self.entered.set()
        assert self.opened.wait(DEADLINE_S)


def submitted_together(
    committer: GroupCommitter, units: list[Callable[[Connection], int]]
) -> list[int | BaseException]:
    """Submit `units` so that, where commits are shared, they share one; return what came."""
    gate = Gate()
    with ThreadPoolExecutor(len(units) + 1) as pool:
        first = pool.submit(committer.submit, gate)
        assert gate.entered.wait(DEADLINE_S)
        futures = [pool.submit(committer.submit, unit) for unit in units]
        if isinstance(committer._way, commit._Shared):
            wait_until(lambda: len(committer._way._units) == len(units))  # type: ignore[attr-defined]
        gate.opened.set()
        first.result(DEADLINE_S)
        return [future.exception(DEADLINE_S) or future.result() for future in futures]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_unit_is_kept_when_its_submit_returns(notes: Database, committer: GroupCommitter) -> None:
    assert committer.submit(note(1)) == 1

    assert numbers(notes) == [1]


def test_units_of_many_threads_are_all_kept(notes: Database, committer: GroupCommitter) -> None:
    with ThreadPoolExecutor(THREADS) as pool:
        results = list(pool.map(lambda number: committer.submit(note(number)), range(200)))

    assert results == numbers(notes) == list(range(200))


def test_a_unit_that_fails_takes_no_other_with_it(
    notes: Database, committer: GroupCommitter
) -> None:
    committer.submit(note(1))

    outcomes = submitted_together(committer, [note(2), note(1), note(3)])

    assert [outcomes[0], outcomes[2]] == [2, 3]
    assert isinstance(outcomes[1], IntegrityError)
    assert numbers(notes) == [1, 2, 3]


def test_what_a_unit_did_before_it_failed_is_undone(
    notes: Database, committer: GroupCommitter
) -> None:
    def half(connection: Connection) -> int:
        note(7)(connection)
        raise NodeError("a rule was broken")

    outcomes = submitted_together(committer, [note(1), half, note(2)])

    assert isinstance(outcomes[1], NodeError)
    assert numbers(notes) == [1, 2]


@ON_SQLITE
def test_waiting_units_share_one_commit_on_sqlite(
    notes: Database, committer: GroupCommitter
) -> None:
    commits: list[object] = []
    event.listen(notes.engine, "commit", commits.append)

    submitted_together(committer, [note(number) for number in range(20)])

    gate_and_batch = 2
    assert len(commits) == gate_and_batch
    assert numbers(notes) == list(range(20))


@ON_SQLITE
def test_a_commit_that_fails_fails_for_all_who_shared_it(
    notes: Database, committer: GroupCommitter
) -> None:

    def too_big(connection: Connection) -> int:
        connection.execute(text("PRAGMA max_page_count = 8"))
        return note(7, "x" * 1_000_000)(connection)

    outcomes = submitted_together(committer, [note(1), too_big, note(2)])

    assert [type(outcome) for outcome in outcomes] == [DiskFull] * 3
    assert numbers(notes) == []


@ON_POSTGRESQL
def test_a_unit_that_postgresql_sacrifices_to_a_deadlock_is_run_again(
    notes: Database, committer: GroupCommitter
) -> None:
    committer.submit(note(1))
    committer.submit(note(2))
    both_hold_one = threading.Barrier(2)
    tries: list[int] = []

    def crossing(first: int, second: int) -> Callable[[Connection], int]:
        def unit(connection: Connection) -> int:
            tries.append(first)
            connection.execute(text("SET LOCAL deadlock_timeout = '20ms'"))
            connection.execute(text(f"UPDATE note SET body = 'y' WHERE id = {first}"))
            if tries.count(first) == 1:
                both_hold_one.wait(DEADLINE_S)
            connection.execute(text(f"UPDATE note SET body = 'y' WHERE id = {second}"))
            return first

        return unit

    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(committer.submit, crossing(*pair)) for pair in ((1, 2), (2, 1))]
        assert [future.result(DEADLINE_S) for future in futures] == [1, 2]
    assert len(tries) > len(futures)


def test_more_callers_than_the_limit_are_turned_away_in_time(
    notes: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit, "MAXIMUM_WAITING", 0)
    monkeypatch.setattr(commit, "PARALLEL", 0)
    monkeypatch.setattr(commit, "PLACE_WAIT_S", 0.01)
    committer = GroupCommitter(notes)

    with pytest.raises(DatabaseAway, match="too many"):
        committer.submit(note(1))
    committer.close()


def test_closing_ends_what_was_accepted_and_refuses_the_rest(notes: Database) -> None:
    committer = GroupCommitter(notes)
    gate = Gate()
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(committer.submit, gate)
        assert gate.entered.wait(DEADLINE_S)
        closing = pool.submit(committer.close)
        wait_until(lambda: committer._way._closed)  # type: ignore[attr-defined]
        assert not closing.done()
        with pytest.raises(CommitterClosed):
            committer.submit(note(1))
        gate.opened.set()
        running.result(DEADLINE_S)
        closing.result(DEADLINE_S)

    assert numbers(notes) == []
