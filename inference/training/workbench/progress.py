"""Progress for people: live bars on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_QUIET_S = 10.0
"""Seconds between the plain lines of one piece of work."""


class Advance(Protocol):
    """Called after each piece of the work."""

    def __call__(self, pieces: int = 1, *, note: str = "") -> None:
        """Tell that `pieces` more are done; `note` is shown beside the bar."""


class Reporter:
    """Where a run tells how far it is.

    Parameters
    ----------
    console : Console, optional
        Default: standard error, so that standard output stays for results.
    quiet : bool
        Say nothing.
    """

    def __init__(self, console: Console | None = None, *, quiet: bool = False) -> None:
        self._console = console or Console(stderr=True, quiet=quiet, highlight=False)

    def line(self, text: str) -> None:
        """Print a line, above the bars."""
        self._console.print(text, markup=False, soft_wrap=True)

    @contextmanager
    def work(self, description: str, total: int) -> Iterator[Advance]:
        """Show a piece of work of `total` pieces while it lasts."""
        if not self._console.is_terminal:
            yield self._plain(description, total)
            return
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with Progress(*columns, console=self._console, transient=True) as bars:
            bar = bars.add_task(description, total=total, note="")

            def advance(pieces: int = 1, *, note: str = "") -> None:
                bars.update(bar, advance=pieces, note=note)

            yield advance

    def _plain(self, description: str, total: int) -> Advance:
        done, told = 0, time.monotonic()

        def advance(pieces: int = 1, *, note: str = "") -> None:
            nonlocal done, told
            done += pieces
            now = time.monotonic()
            if now - told >= _QUIET_S:
                told = now
                self.line(f"{description}: {done} of {total} {note}".rstrip())

        return advance
