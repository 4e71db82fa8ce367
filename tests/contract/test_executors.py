"""Executor ids: one bearer at a time, and the dead are noticed."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from storage import executors
from storage.executors import ExecutorTaken
from storage.session import Database

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
TIMEOUT_S = 30.0


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def register(database: Database, executor_id: str, *, host: str = "a", now: datetime = NOW) -> None:
    with database.transaction() as connection:
        executors.register(connection, executor_id, host=host, pid=1, now=now, timeout_s=TIMEOUT_S)


def beat(database: Database, executor_id: str, now: datetime) -> bool:
    with database.transaction() as connection:
        return executors.beat(connection, executor_id, now)


def dead(database: Database, now: datetime) -> list[str]:
    with database.reading() as connection:
        return executors.dead(connection, now, TIMEOUT_S)


def test_one_that_stops_beating_is_dead_and_one_that_beats_is_not(database: Database) -> None:
    register(database, "one")
    register(database, "two")

    assert beat(database, "two", at(25))

    assert dead(database, at(29)) == []
    assert dead(database, at(31)) == ["one"]
    assert dead(database, at(60)) == ["one", "two"]


def test_the_buried_learn_of_it_at_their_next_beat(database: Database) -> None:
    register(database, "one")
    with database.transaction() as connection:
        assert executors.remove(connection, "one")
        assert not executors.remove(connection, "one")

    assert beat(database, "one", at(1)) is False
    register(database, "one", now=at(2))
    assert beat(database, "one", at(3)) is True


def test_one_that_beats_after_all_is_not_buried(database: Database) -> None:
    register(database, "one")
    beat(database, "one", at(40))

    with database.transaction() as connection:
        assert not executors.remove(connection, "one", unless_beaten_since=at(35))
        assert executors.remove(connection, "one", unless_beaten_since=at(45))


def test_another_host_may_not_take_a_living_id(database: Database) -> None:
    register(database, "one", host="a")

    with pytest.raises(ExecutorTaken):
        register(database, "one", host="b", now=at(20))
    register(database, "one", host="b", now=at(31))
    with pytest.raises(ExecutorTaken):
        register(database, "one", host="a", now=at(32))


def test_the_same_host_restarts_at_once(database: Database) -> None:
    register(database, "one", host="a")

    register(database, "one", host="a", now=at(1))

    assert dead(database, at(30)) == []


def test_an_id_is_held_once_on_a_machine_and_free_again_after(tmp_path: Path) -> None:
    with executors.claim(tmp_path, "node-1"):
        with pytest.raises(ExecutorTaken), executors.claim(tmp_path, "node-1"):
            pass
        with executors.claim(tmp_path, "node-2"):
            pass

    with executors.claim(tmp_path, "node-1"):
        pass


def test_a_killed_process_lets_its_id_go(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib, time\n"
        "from storage.executors import claim\n"
        "with claim(pathlib.Path(sys.argv[1]), 'node-1'):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ExecutorTaken), executors.claim(tmp_path, "node-1"):
            pass
        holder.kill()
        holder.wait(10)

    with executors.claim(tmp_path, "node-1"):
        pass


@pytest.mark.parametrize("name", ["", "../evil", "a/b", ".hidden", "x" * 65, "a b"])
def test_an_id_that_could_be_a_path_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="executor id"), executors.claim(tmp_path, name):
        pass

    assert list(tmp_path.iterdir()) == []
