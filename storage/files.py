"""Files on disk: complete and durable under their final name, or not there at all.

A file is written in a temporary folder of the same file system, flushed, renamed, and its
folder flushed too: only then does the rename survive a power failure. Names come from
`FileStore.new_path`, never from a peer's strings and never twice: a name that was used once
is never used again, so removing a file that has no row can never hit a newer one.
"""

import errno
import fcntl
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

import structlog

from audit.clock import Clock, SystemClock
from audit.errors import DiskFull, Fault, InvalidConfiguration

log = structlog.get_logger()

TEMPORARY, QUARANTINE = "tmp", "quarantine"
KEPT_FOLDERS = ("instances", "reports", "corrections")
"""The folders of the store whose files have rows."""

FREE_BYTES_AGE_S = 1.0
"""How long a measurement of the free space is trusted."""

ORPHAN_BATCH = 500
_NOT_KEPT = ((), (TEMPORARY,), (QUARANTINE,))
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class PathOutsideStore(Fault):
    """A relative path leads out of the store."""

    code = "storage.path.outside"


@dataclass(frozen=True, slots=True)
class Orphan:
    """A file that no row speaks of, as it was when it was looked at."""

    path: str
    """Relative to the root."""

    stamp: tuple[int, int]
    """When its bytes and its name last changed, in nanoseconds."""


class FileStore:
    """The files under one root folder, which several processes may share.

    Parameters
    ----------
    root : Path
        Made, private to its owner, when it does not exist.
    minimum_free_bytes : int
        Below this nothing new is begun.
    clock : Clock, optional
        The system's own when left out.
    """

    def __init__(self, root: Path, *, minimum_free_bytes: int, clock: Clock | None = None) -> None:
        self._root = root.absolute()
        self._minimum_free_bytes = minimum_free_bytes
        self._clock = clock if clock is not None else SystemClock()
        self._lock = threading.Lock()
        self._free: tuple[float, int] | None = None
        self._durable_folders: set[Path] = set()
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidConfiguration(
                [f"storage.root: {self._root} cannot be made or written ({error.strerror})"]
            ) from error
        self._claim = _Claim(self._root / TEMPORARY)

    def free_bytes(self) -> int:
        """Return the space left for us, in bytes, at most a second old."""
        now = self._clock.monotonic_s()
        with self._lock:
            if self._free is None or now - self._free[0] > FREE_BYTES_AGE_S:
                self._free = (now, shutil.disk_usage(self._root).free)
            return self._free[1]

    def temporary_path(self) -> Path:
        """Return a new path, not yet a file, on the file system of the store.

        Raises
        ------
        DiskFull
            Less than the configured space is left.
        """
        if self.free_bytes() < self._minimum_free_bytes:
            raise DiskFull("less free space is left than the configured minimum")
        return self._claim.folder / f"{uuid.uuid4().hex}.part"

    def new_path(self, folder: str, suffix: str = ".dcm") -> str:
        """Return a relative path in `folder` that never was and never will be used otherwise."""
        name = uuid.uuid4().hex
        return f"{folder}/{name[:2]}/{name}{suffix}"

    def adopt(self, temporary: Path, relative: str) -> Path:
        """Make the file `temporary` durable under `relative`; return its absolute path.

        On any error `temporary` is removed.

        Raises
        ------
        DiskFull
            The file system has no room left.
        PathOutsideStore
            `relative` leads out of the store.
        """
        try:
            target = self.absolute(relative)
            _flush(temporary)
            self._make_folder(target.parent)
            temporary.replace(target)
            _flush(target.parent)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            if error.errno in _NO_ROOM:
                raise DiskFull("the file system has no room left") from error
            raise
        except Fault:
            temporary.unlink(missing_ok=True)
            raise
        return target

    def write(self, relative: str, content: bytes) -> Path:
        """Make `content` durable under `relative`, replacing what was there.

        Raises
        ------
        DiskFull
            The file system has no room left, or less than the configured minimum.
        PathOutsideStore
            `relative` leads out of the store.
        """
        temporary = self.temporary_path()
        try:
            temporary.write_bytes(content)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            if error.errno in _NO_ROOM:
                raise DiskFull("the file system has no room left") from error
            raise
        return self.adopt(temporary, relative)

    def absolute(self, relative: str) -> Path:
        """Return where `relative` lies.

        Raises
        ------
        PathOutsideStore
            It is absolute, empty, in the temporary folder or the quarantine, or climbs out
            of the root.
        """
        path = PurePosixPath(relative)
        if path.is_absolute() or ".." in path.parts or path.parts[:1] in _NOT_KEPT:
            raise PathOutsideStore("a stored path must lie inside the store")
        return self._root / path

    def remove(self, relative: str) -> None:
        """Remove the file at `relative`, if it is there."""
        self.absolute(relative).unlink(missing_ok=True)

    def sweep_temporary(self) -> int:
        """Remove what processes that ended left in the temporary folder; return how many
        such processes. Those that still run hold a lock and are left alone."""
        return self._claim.sweep()

    def orphans(
        self, known: Callable[[list[str]], set[str]], older_than_s: float
    ) -> Iterator[Orphan]:
        """Yield the old files that no row speaks of.

        Parameters
        ----------
        known : callable
            Given relative paths, returns those that have a row.
        older_than_s : float
            Younger files may belong to a transaction under way.
        """
        files = self._older_files(KEPT_FOLDERS, older_than_s)
        while batch := list(islice(files, ORPHAN_BATCH)):
            with_row = known([file.path for file in batch])
            yield from (file for file in batch if file.path not in with_row)

    def quarantine(self, orphan: Orphan) -> bool:
        """Move `orphan` to the quarantine; return False when it has changed since."""
        path = self.absolute(orphan.path)
        target = self._root / QUARANTINE / orphan.path
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            if _stamp(path) != orphan.stamp:
                return False
            path.replace(target)
        except FileNotFoundError:
            return False
        now = self._clock.now().timestamp()
        os.utime(target, (now, now))  # its time there begins
        return True

    def clear_quarantine(self, older_than_s: float) -> int:
        """Remove what has been in the quarantine for longer; return how many files."""
        old = list(self._older_files((QUARANTINE,), older_than_s))
        for file in old:
            (self._root / file.path).unlink(missing_ok=True)
        return len(old)

    def holds_files(self) -> bool:
        """Whether there is any file that should have a row."""
        return any(names for folder in KEPT_FOLDERS for _, _, names in os.walk(self._root / folder))

    def close(self) -> None:
        """Remove our temporary files and give up the claim on their folder."""
        self._claim.release()

    def _older_files(self, folders: tuple[str, ...], older_than_s: float) -> Iterator[Orphan]:
        before_ns = (self._clock.now().timestamp() - older_than_s) * 1e9
        for folder in folders:
            for parent, _, names in os.walk(self._root / folder):
                for name in names:
                    path = Path(parent, name)
                    with suppress(FileNotFoundError):
                        stamp = _stamp(path)
                        if stamp[0] < before_ns:
                            yield Orphan(path.relative_to(self._root).as_posix(), stamp)

    def _make_folder(self, folder: Path) -> None:
        """Make `folder` and its parents, each durable in the one above."""
        if folder in self._durable_folders or folder == self._root:
            return
        self._make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        _flush(folder.parent)
        self._durable_folders.add(folder)


class _Claim:
    """A temporary folder of this process alone, held by a lock that dies with it."""

    def __init__(self, parent: Path) -> None:
        parent.mkdir(mode=0o700, exist_ok=True)
        self._parent = parent
        self.folder = parent / uuid.uuid4().hex
        # The lock before the folder: whoever sweeps looks for folders and tries their locks.
        self._lock = os.open(_lock_of(self.folder), os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.folder.mkdir(mode=0o700)

    def release(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        _lock_of(self.folder).unlink(missing_ok=True)
        os.close(self._lock)

    def sweep(self) -> int:
        swept = 0
        for folder in self._parent.iterdir():
            if folder == self.folder or not folder.is_dir():
                continue
            lock = os.open(_lock_of(folder), os.O_CREAT | os.O_RDWR, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            else:
                shutil.rmtree(folder, ignore_errors=True)
                _lock_of(folder).unlink(missing_ok=True)
                swept += 1
            finally:
                os.close(lock)
        if swept:
            log.info("storage.temporary.swept", processes=swept)
        return swept


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_ctime_ns


def _flush(path: Path) -> None:
    """Bring the file or folder at `path` to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
