"""What every caller may rely on of the engine, on SQLite and on PostgreSQL."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from audit.errors import DatabaseAway
from storage import engine
from storage.session import Database
from storage.work import EngineMisused, Fate, Handler, WorkEngine

QUEUE = "analyse"


def fate(work: WorkEngine, job_key: str, attempt: int) -> Fate:
    return work.fates([(job_key, attempt)])[job_key, attempt]


class Engines:
    """Starts engines on one database, and stops the one that still runs."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._made: list[WorkEngine] = []

    def make(self, executor_id: str = "one") -> WorkEngine:
        made = WorkEngine(self.database, executor_id=executor_id)
        self._made.append(made)
        return made

    def started(
        self, handler: Handler, queues: dict[str, int] | None = None, executor_id: str = "one"
    ) -> WorkEngine:
        made = self.make(executor_id)
        made.start(handler, queues or {QUEUE: 4})
        return made

    def enqueue(self, work: WorkEngine, *keys: str, **options: Any) -> None:
        for key in keys:
            with self.database.transaction() as connection:
                work.enqueue(
                    connection,
                    **{
                        "job_key": key,
                        "attempt": 1,
                        "queue": QUEUE,
                        "urgent": False,
                        **options,
                    },
                )

    def stop(self) -> None:
        for made in self._made:
            made.stop(0)


class Calls:
    """A handler that remembers."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int]] = []
        self._changed = threading.Condition()

    def __call__(self, job_key: str, attempt: int) -> None:
        with self._changed:
            self.seen.append((job_key, attempt))
            self._changed.notify_all()

    def wait(self, count: int) -> list[tuple[str, int]]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.seen) >= count, timeout=20), self.seen
            return list(self.seen)


class Blocked(Calls):
    """A handler that remembers, and then waits to be let go."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()

    def __call__(self, job_key: str, attempt: int) -> None:
        super().__call__(job_key, attempt)
        assert self.let_go.wait(20)


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.02)


@pytest.fixture
def engines(database: Database) -> Iterator[Engines]:
    engine.migrate(database)
    made = Engines(database)
    yield made
    made.stop()


def test_enqueued_work_reaches_the_handler(engines: Engines) -> None:
    calls = Calls()
    work = engines.started(calls)

    engines.enqueue(work, "analyse:1", attempt=3)

    assert calls.wait(1) == [("analyse:1", 3)]


def test_work_of_a_transaction_that_rolled_back_never_was(engines: Engines) -> None:
    calls = Calls()
    work = engines.started(calls)

    def roll_back() -> None:
        with engines.database.transaction() as connection:
            work.enqueue(connection, job_key="lost", attempt=1, queue=QUEUE, urgent=True)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        roll_back()
    engines.enqueue(work, "kept")

    assert calls.wait(1) == [("kept", 1)]
    assert fate(work, "lost", 1) is Fate.UNKNOWN


def test_an_attempt_that_is_enqueued_twice_runs_once(engines: Engines) -> None:
    calls = Calls()
    work = engines.make()
    engines.enqueue(work, "a", "a", "b", "a")

    work.start(calls, {QUEUE: 1})
    engines.enqueue(work, "a", "last")

    assert calls.wait(3) == [("a", 1), ("b", 1), ("last", 1)]


def test_the_next_attempt_of_a_job_is_other_work(engines: Engines) -> None:
    calls = Calls()
    work = engines.started(calls)

    engines.enqueue(work, "a", attempt=1)
    engines.enqueue(work, "a", attempt=2)

    assert sorted(calls.wait(2)) == [("a", 1), ("a", 2)]


def test_urgent_work_goes_first_and_older_before_newer(engines: Engines) -> None:
    calls = Calls()
    work = engines.make()
    for key in ("r1", "r2", "r3"):
        engines.enqueue(work, key)
        time.sleep(0.003)  # age has a resolution of one millisecond
    engines.enqueue(work, "urgent", urgent=True)

    work.start(calls, {QUEUE: 1})

    assert [key for key, _ in calls.wait(4)] == ["urgent", "r1", "r2", "r3"]


def test_delayed_work_waits_for_its_time(engines: Engines) -> None:
    calls = Calls()
    work = engines.started(calls)
    begun = time.monotonic()

    engines.enqueue(work, "later", delay_s=0.8)
    engines.enqueue(work, "now")

    assert calls.wait(1) == [("now", 1)]
    assert fate(work, "later", 1) is Fate.LIVE
    assert calls.wait(2)[1] == ("later", 1)
    assert time.monotonic() - begun >= 0.8


def test_a_queue_runs_as_many_at_once_as_it_may_and_no_more(engines: Engines) -> None:
    blocked = Blocked()
    work = engines.started(blocked, {QUEUE: 3, "other": 1})

    engines.enqueue(work, *"abcdef")
    blocked.wait(3)
    engines.enqueue(work, "free", queue="other")
    blocked.wait(4)

    first, others = blocked.seen[:3], blocked.seen[3:]
    assert {key for key, _ in first} == {"a", "b", "c"}
    assert others == [("free", 1)]
    blocked.let_go.set()
    assert len(blocked.wait(7)) == 7


def test_a_process_leaves_alone_the_queues_that_it_does_not_serve(engines: Engines) -> None:
    calls = Calls()
    work = engines.started(calls, {"report": 1})

    engines.enqueue(work, "foreign", queue=QUEUE, urgent=True)
    engines.enqueue(work, "mine", queue="report")

    assert calls.wait(1) == [("mine", 1)]
    assert fate(work, "foreign", 1) is Fate.LIVE


@pytest.mark.slow
def test_stopping_waits_for_what_runs_and_takes_nothing_new(engines: Engines) -> None:
    blocked = Blocked()
    work = engines.started(blocked, {QUEUE: 1})
    engines.enqueue(work, "running")
    blocked.wait(1)
    drained: list[bool] = []
    stopping = threading.Thread(target=lambda: drained.append(work.stop(20)))

    stopping.start()
    engines.enqueue(work, "new")
    time.sleep(0.3)  # three polls: were the queue still served, "new" could not be missed
    assert drained == []
    blocked.let_go.set()
    stopping.join(20)

    assert drained == [True]
    assert blocked.seen == [("running", 1)]
    assert (fate(work, "running", 1), fate(work, "new", 1)) == (Fate.ENDED, Fate.LIVE)


def test_what_was_cut_off_runs_again_when_its_executor_returns(engines: Engines) -> None:
    blocked = Blocked()
    work = engines.started(blocked)
    engines.enqueue(work, "cut")
    blocked.wait(1)

    assert work.stop(0) is False
    calls = Calls()
    engines.started(calls)
    blocked.let_go.set()

    assert calls.wait(1) == [("cut", 1)]


def test_a_dead_executors_work_is_adopted_once(engines: Engines) -> None:
    blocked = Blocked()
    dying = engines.started(blocked, executor_id="dying")
    engines.enqueue(dying, "orphan")
    blocked.wait(1)
    dying.stop(0)
    calls = Calls()
    heir = engines.started(calls, executor_id="heir")

    engines.enqueue(heir, "own")
    assert calls.wait(1) == [("own", 1)]
    assert heir.adopt(["dying"]) == 1
    assert calls.wait(2)[1] == ("orphan", 1)
    eventually(lambda: fate(heir, "orphan", 1) is Fate.ENDED)

    assert heir.adopt(["dying"]) == 0
    blocked.let_go.set()


def test_an_engine_never_adopts_its_own_work(engines: Engines) -> None:
    work = engines.started(Calls())

    with pytest.raises(EngineMisused):
        work.adopt(["one"])


def test_an_engine_that_does_not_run_adopts_nothing(engines: Engines) -> None:
    with pytest.raises(EngineMisused):
        engines.make().adopt(["other"])


def test_a_second_engine_in_one_process_is_refused(engines: Engines) -> None:
    calls = Calls()
    first = engines.started(calls)

    with pytest.raises(EngineMisused):
        engines.started(Calls(), executor_id="two")
    engines.enqueue(first, "a")

    assert calls.wait(1) == [("a", 1)]


def test_an_error_let_out_is_logged_without_its_text_and_kept_without_it(
    engines: Engines,
) -> None:
    def broken(_job_key: str, _attempt: int) -> None:
        raise ValueError("DOE^JOHN")

    with capture_logs() as events:
        work = engines.started(broken)
        engines.enqueue(work, "a")
        eventually(lambda: fate(work, "a", 1) is Fate.ENDED)

    [failed] = [each for each in events if each["event"] == "storage.handler.failed"]
    assert (failed["job_key"], failed["error_type"]) == ("a", "ValueError")
    assert "DOE" not in str(events)
    assert "DOE" not in dump(engines.database)


def test_the_engine_keeps_json_never_pickles(engines: Engines) -> None:
    def sometimes(job_key: str, _attempt: int) -> None:
        if job_key == "bad":
            raise ValueError

    work = engines.started(sometimes)
    engines.enqueue(work, "good", "bad")
    engines.enqueue(work, "late", delay_s=60)
    eventually(lambda: (fate(work, "good", 1), fate(work, "bad", 1)) == (Fate.ENDED, Fate.ENDED))

    kept = dump(engines.database)
    assert '"good"' in kept
    assert '"late"' in kept
    assert "portable_json" in kept
    assert "pickle" not in kept
    assert "gAS" not in kept  # how a pickle begins in base 64


def test_each_attempt_has_its_fate(engines: Engines) -> None:
    calls = Calls()
    work = engines.started(calls)
    engines.enqueue(work, "ended")
    calls.wait(1)
    eventually(lambda: fate(work, "ended", 1) is Fate.ENDED)
    engines.enqueue(work, "delayed", delay_s=60)

    pairs = [("ended", 1), ("delayed", 1), ("delayed", 2), ("never", 1)]

    assert work.fates(pairs) == {
        ("ended", 1): Fate.ENDED,
        ("delayed", 1): Fate.LIVE,
        ("delayed", 2): Fate.UNKNOWN,
        ("never", 1): Fate.UNKNOWN,
    }
    assert work.fates([]) == {}


def test_an_attempt_whose_end_could_not_be_written_down_is_lost_and_the_next_one_runs(
    engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise ConnectionError

    monkeypatch.setattr("storage.work.BEGIN_S", 0.0)
    blocked = Blocked()
    work = engines.started(blocked)
    beside = engines.make()
    with monkeypatch.context() as outage:
        outage.setattr("dbos._sys_db.SystemDatabase.update_workflow_outcome", away)
        engines.enqueue(work, "stranded")
        blocked.wait(1)
        assert fate(work, "stranded", 1) is Fate.LIVE, "its handler runs"
        blocked.let_go.set()
        eventually(lambda: fate(work, "stranded", 1) is Fate.LOST)
    assert fate(beside, "stranded", 1) is Fate.LIVE, "only the process itself knows"

    engines.enqueue(work, "stranded", attempt=2)

    assert blocked.wait(2)[1] == ("stranded", 2)
    eventually(lambda: fate(work, "stranded", 2) is Fate.ENDED)


def test_an_attempt_that_was_taken_a_moment_ago_is_not_lost_yet(
    engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = threading.Event()

    def away(*_: Any, **__: Any) -> None:
        left.set()
        raise ConnectionError

    monkeypatch.setattr("dbos._sys_db.SystemDatabase.update_workflow_outcome", away)
    work = engines.started(Calls())
    engines.enqueue(work, "young")

    assert left.wait(20)
    assert fate(work, "young", 1) is Fate.LIVE


def test_what_was_under_way_before_a_start_is_not_lost_right_after_it(
    engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = Blocked()
    work = engines.started(blocked)
    engines.enqueue(work, "cut")
    blocked.wait(1)
    work.stop(0)
    monkeypatch.setattr("storage.engine.DBOS.launch", lambda: None)  # nothing is taken again
    monkeypatch.setattr("time.time", lambda: datetime.now(UTC).timestamp() + 60)

    again = engines.started(Calls())

    assert fate(again, "cut", 1) is Fate.LIVE
    blocked.let_go.set()


def test_collection_removes_what_ended_and_nothing_else(engines: Engines) -> None:
    calls = Calls()
    work = engines.started(calls)
    engines.enqueue(work, "ended")
    engines.enqueue(work, "delayed", delay_s=60)
    eventually(lambda: fate(work, "ended", 1) is Fate.ENDED)
    now = datetime.now(UTC)

    assert work.garbage_collect(now - timedelta(hours=1)) == 0
    assert fate(work, "ended", 1) is Fate.ENDED
    assert work.garbage_collect(now + timedelta(seconds=5)) == 1

    assert fate(work, "ended", 1) is Fate.UNKNOWN
    assert fate(work, "delayed", 1) is Fate.LIVE
    assert '"ended"' not in dump(engines.database)


def test_migrating_twice_changes_nothing(engines: Engines) -> None:
    engine.migrate(engines.database)
    calls = Calls()

    engines.enqueue(engines.started(calls), "a")

    assert calls.wait(1) == [("a", 1)]


def test_a_start_that_fails_can_be_tried_again(
    engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> None:
        raise DatabaseAway("the database cannot be reached or is locked")

    work = engines.make()
    with monkeypatch.context() as broken:
        broken.setattr("storage.engine.DBOS.launch", away)
        with pytest.raises(DatabaseAway):
            work.start(Calls(), {QUEUE: 1})
    calls = Calls()
    work.start(calls, {QUEUE: 1})
    engines.enqueue(work, "a")

    assert calls.wait(1) == [("a", 1)]


def test_the_engine_calls_nobody_outside(engines: Engines, monkeypatch: pytest.MonkeyPatch) -> None:
    reached: list[object] = []
    monkeypatch.setattr(socket.socket, "connect", lambda _self, address: reached.append(address))
    monkeypatch.setattr(socket.socket, "bind", lambda _self, address: reached.append(address))
    calls = Calls()

    engines.enqueue(engines.started(calls), "a")
    calls.wait(1)

    assert reached == []  # libpq speaks to PostgreSQL without Python's sockets


def dump(database: Database) -> str:
    schema = f"{engine.SCHEMA}." if database.dialect == "postgresql" else ""
    with database.reading() as connection:
        rows = [
            str(dict(row))
            for table in ("workflow_status", "workflow_input", "workflow_output")
            for row in connection.execute(text(f"SELECT * FROM {schema}{table}")).mappings()
        ]
    return "\n".join(rows)
