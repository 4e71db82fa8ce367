"""MLLP blocks: ``<VT> message <FS><CR>`` (HL7 Version 2 transport, MLLP release 1) (pure)."""

from collections.abc import Iterator

from audit.errors import Rejected

_START, _END = 0x0B, 0x1C
_CARRIAGE_RETURN = 0x0D
_HEAD_BYTES = 4096


class BlockTooLong(Rejected):
    """More came than a message may hold; `head` is how it begins."""

    code = "hl7.block.too_long"

    def __init__(self, head: bytes) -> None:
        super().__init__("more came than a message may hold")
        self.head = head[:_HEAD_BYTES]


class Blocks:
    """Cuts what comes over a connection into messages.

    Bytes between blocks are skipped. A block that begins inside another makes that one void:
    its sender gave up and began anew.

    Parameters
    ----------
    longest : int
        Most bytes of a message, and most bytes that are skipped in a row.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._held = bytearray()
        self._looked_at = 0
        self._skipped = 0

    @property
    def is_open(self) -> bool:
        """Whether a block has begun and not ended."""
        return bool(self._held)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the messages that `data` completes.

        Raises
        ------
        BlockTooLong
            Nothing further can be read from this connection.
        """
        self._held += data
        while self._begin():
            end = self._held.find(_END, self._looked_at)
            if end < 0:
                self._looked_at = len(self._held)
                if len(self._held) > self._longest + 1:
                    raise BlockTooLong(bytes(self._held[1:]))
                return
            start = self._held.rfind(_START, 0, end)
            message = bytes(self._held[start + 1 : end])
            del self._held[: end + 1]
            self._looked_at = 0
            if len(message) > self._longest:
                raise BlockTooLong(message)
            yield message

    def _begin(self) -> bool:
        """Skip to the beginning of a block; return whether there is one."""
        start = self._held.find(_START)
        outside = len(self._held) if start < 0 else start
        self._skipped = self._skipped + outside if start < 0 else 0
        del self._held[:outside]
        if self._skipped > self._longest:
            raise BlockTooLong(b"")
        return start >= 0


def block(message: bytes) -> bytes:
    """Return `message` as one block."""
    return bytes((_START, *message, _END, _CARRIAGE_RETURN))
