"""The metrics port. Names end in their unit (`_total`, `_seconds`, `_bytes`).

Label values come from closed sets (state, error code, configured AE title); never a UID.
"""

from typing import Protocol


class Metrics(Protocol):
    """Where the node counts what it does."""

    def count(self, name: str, value: float = 1, /, **labels: str) -> None: ...
    def observe(self, name: str, value: float, /, **labels: str) -> None: ...
    def gauge(self, name: str, value: float, /, **labels: str) -> None: ...


class NullMetrics:
    """Counts nothing; callers never test for ``None``."""

    def count(self, name: str, value: float = 1, /, **labels: str) -> None: ...
    def observe(self, name: str, value: float, /, **labels: str) -> None: ...
    def gauge(self, name: str, value: float, /, **labels: str) -> None: ...
