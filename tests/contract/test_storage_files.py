"""Files: durable under their name or not there, and never outside the store."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from audit.errors import DiskFull, InvalidConfiguration
from storage import files as files_module
from storage.files import FileStore, Orphan, PathOutsideStore

REPOSITORY = Path(__file__).resolve().parents[2]
AN_HOUR_S = 3600.0


class Noon:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.passed_s = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.passed_s)

    def monotonic_s(self) -> float:
        return self.passed_s


@pytest.fixture
def clock() -> Noon:
    return Noon()


@pytest.fixture
def store(tmp_path: Path, clock: Noon) -> Iterator[FileStore]:
    made = FileStore(tmp_path / "root", minimum_free_bytes=0, clock=clock)
    yield made
    made.close()


def received(store: FileStore, content: bytes = b"DICM") -> Path:
    temporary = store.temporary_path()
    temporary.write_bytes(content)
    return temporary


def test_an_adopted_file_has_moved(store: FileStore) -> None:
    temporary = received(store)
    relative = store.new_path("instances")

    target = store.adopt(temporary, relative)

    assert target == store.absolute(relative)
    assert target.read_bytes() == b"DICM"
    assert not temporary.exists()


def test_bytes_then_name_then_folders_reach_the_disk_in_this_order(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = received(store)
    target = store.absolute("instances/ab/x.dcm")
    root = target.parents[2]
    steps: list[tuple[str, Path]] = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(descriptor: int) -> None:
        steps.append(("flush", Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    def noted_replace(source: Path, name: Path) -> Path:
        steps.append(("rename", name))
        return replace(source, name)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    store.adopt(temporary, "instances/ab/x.dcm")

    assert steps == [
        ("flush", temporary),
        ("flush", root),  # holds the new folder instances
        ("flush", root / "instances"),  # holds the new folder ab
        ("rename", target),
        ("flush", target.parent),
    ]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_nothing_behind(
    store: FileStore, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    temporary = received(store)

    def full(_: int) -> None:
        raise OSError(code, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull):
        store.adopt(temporary, "instances/ab/x.dcm")
    with pytest.raises(DiskFull):
        store.write("reports/ab/x.dcm", b"DICM")

    assert [path for path in temporary.parent.iterdir() if path.is_file()] == []
    assert not store.absolute("instances/ab/x.dcm").exists()


def test_another_error_of_the_disk_leaves_nothing_behind_and_is_told(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = received(store)

    def broken(_: int) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="broken"):
        store.adopt(temporary, "instances/ab/x.dcm")

    assert not temporary.exists()


def test_below_the_minimum_nothing_new_is_begun(tmp_path: Path) -> None:
    store = FileStore(tmp_path, minimum_free_bytes=1 << 62)

    with pytest.raises(DiskFull):
        store.temporary_path()
    with pytest.raises(DiskFull):
        store.write("reports/x.dcm", b"DICM")
    store.close()


def test_free_space_is_measured_once_a_second(
    store: FileStore, clock: Noon, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = files_module.shutil.disk_usage
    asked: list[Path] = []

    def counted(path: Path) -> object:
        asked.append(path)
        return usage(path)

    monkeypatch.setattr(files_module.shutil, "disk_usage", counted)
    assert store.free_bytes() > 0
    store.temporary_path()
    assert len(asked) == 1
    clock.passed_s = 1.1
    store.free_bytes()
    again = 2
    assert len(asked) == again


@pytest.mark.parametrize(
    "relative",
    ["../x", "/etc/x", "a/../../x", "", ".", "tmp/x.dcm", "quarantine/x", "instances/.."],
)
def test_a_path_that_leads_out_of_the_store_is_refused(store: FileStore, relative: str) -> None:
    temporary = received(store)

    with pytest.raises(PathOutsideStore):
        store.adopt(temporary, relative)
    with pytest.raises(PathOutsideStore):
        store.remove(relative)
    assert not temporary.exists()


def test_written_bytes_replace_the_old_ones(store: FileStore) -> None:
    store.write("reports/a.dcm", b"old")
    store.write("reports/a.dcm", b"new")

    assert store.absolute("reports/a.dcm").read_bytes() == b"new"


def test_a_file_is_removed_once_and_again(store: FileStore) -> None:
    store.write("reports/a.dcm", b"x")

    store.remove("reports/a.dcm")
    store.remove("reports/a.dcm")

    assert not store.absolute("reports/a.dcm").exists()


def test_patients_files_are_their_owners_alone(store: FileStore) -> None:
    target = store.write(store.new_path("instances"), b"x")

    for folder in (target.parent, target.parents[1], target.parents[2]):
        assert folder.stat().st_mode & 0o077 == 0


def test_a_root_that_cannot_be_made_is_a_mistake_in_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidConfiguration, match=r"storage\.root"):
        FileStore(tmp_path / "file" / "store", minimum_free_bytes=0)


def test_only_old_files_without_a_row_are_orphans(store: FileStore, clock: Noon) -> None:
    known, lost = store.new_path("instances"), store.new_path("reports")
    store.write(known, b"x")
    store.write(lost, b"x")
    rows = {known}

    assert list(store.orphans(rows.intersection, AN_HOUR_S)) == []
    clock.passed_s = AN_HOUR_S + 1
    assert [orphan.path for orphan in store.orphans(rows.intersection, AN_HOUR_S)] == [lost]


def orphan_of(store: FileStore, clock: Noon, relative: str) -> Orphan:
    """Return the file at `relative` as a sweep sees it an hour later."""
    store.write(relative, b"x")
    clock.passed_s += AN_HOUR_S + 1
    [orphan] = store.orphans(lambda _: set(), AN_HOUR_S)
    return orphan


def test_an_orphan_is_set_aside_and_removed_after_its_time(store: FileStore, clock: Noon) -> None:
    orphan = orphan_of(store, clock, "instances/ab/x.dcm")
    original = store.absolute(orphan.path)
    aside = original.parents[2] / "quarantine" / orphan.path

    assert store.quarantine(orphan)

    assert not original.exists()
    assert aside.read_bytes() == b"x"
    assert not store.holds_files()
    assert store.clear_quarantine(AN_HOUR_S) == 0, "its time there begins when it came"
    clock.passed_s += AN_HOUR_S + 1
    assert store.clear_quarantine(AN_HOUR_S) == 1
    assert not aside.exists()


def test_a_file_that_was_written_again_meanwhile_is_no_orphan(
    store: FileStore, clock: Noon
) -> None:
    orphan = orphan_of(store, clock, "reports/7/1/x.dcm")
    store.write(orphan.path, b"again")

    assert not store.quarantine(orphan)

    assert store.absolute(orphan.path).read_bytes() == b"again"
    store.remove(orphan.path)
    assert not store.quarantine(orphan), "nor is one that has gone"


def test_a_store_knows_whether_it_holds_files(store: FileStore) -> None:
    assert not store.holds_files()
    received(store)
    assert not store.holds_files()
    store.write("reports/7/1/x.dcm", b"x")
    assert store.holds_files()


def test_many_orphans_are_looked_up_in_batches(
    store: FileStore, clock: Noon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_module, "ORPHAN_BATCH", 2)
    names = {f"reports/{number}.dcm" for number in range(5)}
    for name in names:
        store.write(name, b"x")
    clock.passed_s = AN_HOUR_S + 1
    asked: list[int] = []

    def nothing_known(paths: list[str]) -> set[str]:
        asked.append(len(paths))
        return set()

    assert {orphan.path for orphan in store.orphans(nothing_known, AN_HOUR_S)} == names
    assert asked == [2, 2, 1]


def test_temporary_files_of_a_dead_process_are_swept_and_of_a_living_one_are_not(
    tmp_path: Path,
) -> None:
    script = (
        "import os, sys; from pathlib import Path; from storage.files import FileStore\n"
        "path = FileStore(Path(sys.argv[1]), minimum_free_bytes=0).temporary_path()\n"
        "path.write_bytes(b'half'); print(path, flush=True); os._exit(9)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    left_over = Path(ended.stdout.strip())
    assert left_over.exists(), ended.stderr
    living = FileStore(tmp_path, minimum_free_bytes=0)
    half = received(living)
    fresh = FileStore(tmp_path, minimum_free_bytes=0)

    assert fresh.sweep_temporary() == 1

    assert not left_over.exists()
    assert half.exists()
    assert fresh.sweep_temporary() == 0
    living.close()
    fresh.close()
    assert list((tmp_path / "tmp").iterdir()) == []
