"""Leaving a peer alone after it failed again and again."""

import threading

from audit.clock import Clock


class CircuitBreaker:
    """Counts failures in a row; safe to use from several threads.

    Parameters
    ----------
    failures : int
        After this many in a row nobody may ask.
    rest_s : float
        For how long. Then one may ask, and the rest begins anew until that one succeeds.
    """

    def __init__(self, clock: Clock, *, failures: int, rest_s: float) -> None:
        self._clock = clock
        self._limit = failures
        self._rest_s = rest_s
        self._lock = threading.Lock()
        self._failed = 0
        self._rests_until_s = 0.0

    def may_ask(self) -> bool:
        """Tell whether the peer may be asked now; who is told so must report the outcome."""
        with self._lock:
            if self._failed < self._limit:
                return True
            now_s = self._clock.monotonic_s()
            if now_s < self._rests_until_s:
                return False
            self._rests_until_s = now_s + self._rest_s
            return True

    def succeeded(self) -> None:
        """The peer answered."""
        with self._lock:
            self._failed = 0

    def failed(self) -> bool:
        """The peer did not answer; return whether its rest has begun with this failure."""
        with self._lock:
            self._failed += 1
            if self._failed >= self._limit:
                self._rests_until_s = self._clock.monotonic_s() + self._rest_s
            return self._failed == self._limit
