"""The byte stream of one association: one buffer, and a deadline on every wait."""

import mmap
import socket

from audit.clock import SystemClock
from dicom_node.dimse.errors import DeadlinePassed, LinkLost

BUFFER_BYTES = 1024 * 1024

_CLOCK = SystemClock()


def deadline_in(seconds: float) -> float:
    """Return the moment `seconds` from now, on the clock that every deadline here uses."""
    return _CLOCK.monotonic_s() + seconds


def left_s(deadline_s: float) -> float:
    """Return the seconds until `deadline_s`, as a socket's timeout takes them.

    Raises
    ------
    DeadlinePassed
        When there are none.
    """
    left = deadline_s - _CLOCK.monotonic_s()
    if left <= 0:
        raise DeadlinePassed("the peer is silent or too slow")
    return left


class Link:
    """Reads from and writes to a connected socket; never waits without a limit.

    What `take` and `take_some` return lies in the buffer itself: it is valid until the next
    call that may receive. The buffer is an anonymous mapping, so that an association costs
    only the pages that it has used.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._view = memoryview(mmap.mmap(-1, BUFFER_BYTES))
        self._start = 0
        self._end = 0

    def fill(self, count: int, deadline_s: float) -> None:
        """Receive until `count` bytes (at most `BUFFER_BYTES`) can be taken.

        Raises
        ------
        DeadlinePassed
            When they have not come at `deadline_s`, however steadily bytes drip in.
        LinkLost
            When the connection ended first.
        """
        if self._start == self._end:
            self._start = self._end = 0
        elif self._start + count > BUFFER_BYTES:
            kept = bytes(self._view[self._start : self._end])
            self._view[: len(kept)] = kept
            self._start, self._end = 0, len(kept)
        while self._end - self._start < count:
            self._end += self._receive(deadline_s)

    def take(self, count: int) -> memoryview:
        """Return the next `count` bytes, which `fill` has made available."""
        start, self._start = self._start, self._start + count
        return self._view[start : self._start]

    def take_some(self, limit: int, deadline_s: float) -> memoryview:
        """Return between 1 and `limit` bytes: those at hand, else those that come next.

        Raises
        ------
        DeadlinePassed, LinkLost
            As `fill`.
        """
        self.fill(1, deadline_s)
        return self.take(min(limit, self._end - self._start))

    def send(self, content: bytes, timeout_s: float) -> None:
        """Send all of `content`.

        Raises
        ------
        DeadlinePassed
            When the peer has not taken it within `timeout_s`.
        LinkLost
            When the connection ended first.
        """
        try:
            self._connection.settimeout(timeout_s)
            self._connection.sendall(content)
        except TimeoutError:
            raise DeadlinePassed("the peer does not read its answers") from None
        except OSError as error:
            raise LinkLost("the connection broke while sending") from error

    def _receive(self, deadline_s: float) -> int:
        try:
            self._connection.settimeout(left_s(deadline_s))
            count = self._connection.recv_into(self._view[self._end :])
        except TimeoutError:
            raise DeadlinePassed("the peer is silent or too slow") from None
        except OSError as error:
            raise LinkLost("the connection broke while receiving") from error
        if count == 0:
            raise LinkLost("the peer closed the connection")
        return count
