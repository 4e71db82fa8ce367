"""What a compressed frame says of itself, read before a decoder trusts it (pure).

A decoder allocates what the codestream declares, not what Rows and Columns declare, so a
small file could ask for any amount of memory. And one old encoder, whose images are
still in archives, writes a scan header that strict decoders refuse.
"""

_NO_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
"""TEM, RSTn and SOI stand alone (ISO/IEC 10918-1 Table B.1)."""

_START_OF_FRAME = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
"""SOF0 to SOF15 without DHT, JPG and DAC, and SOF55 of JPEG-LS."""

_START_OF_SCAN = 0xDA
_JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  "
_LAST_COEFFICIENT = 63


def declared_size(codestream: bytes) -> tuple[int, int] | None:
    """Return (rows, columns) as a JPEG, JPEG-LS or JPEG 2000 codestream declares them.

    None when it is none of these or ends before its header does.
    """
    if codestream.startswith(b"\xff\xd8"):
        return _jpeg_size(codestream)
    start = codestream.find(b"\xff\x4f\xff\x51") if codestream[:8] == _JP2_SIGNATURE else 0
    if start >= 0 and codestream[start : start + 4] == b"\xff\x4f\xff\x51":
        return _jpeg_2000_size(codestream[start:])
    return None


def with_whole_spectrum(codestream: bytes) -> bytes:
    """Return a sequential JPEG whose scan covers the coefficients 0 to 63.

    ISO/IEC 10918-1 Table B.3 fixes Ss = 0 and Se = 63 for sequential DCT; an encoder of
    the 1990s wrote Se = 0 (the 12-bit images of NEMA's WG-04 set have it), and libjpeg
    refuses them. Anything else is returned as it is.
    """
    at = _segment(codestream, frozenset({_START_OF_SCAN}))
    if at is None:
        return codestream
    end = at + 2 + int.from_bytes(codestream[at + 2 : at + 4], "big")
    if codestream[end - 3 : end - 1] != b"\x00\x00":
        return codestream
    return codestream[: end - 2] + bytes([_LAST_COEFFICIENT]) + codestream[end - 1 :]


def _segment(codestream: bytes, markers: frozenset[int]) -> int | None:
    """Return the offset of the first marker of `markers`, or None."""
    at = 2
    while at + 4 <= len(codestream) and codestream[at] == 0xFF:
        marker = codestream[at + 1]
        if marker in markers:
            return at
        if marker == 0xFF:
            at += 1
        elif marker in _NO_LENGTH:
            at += 2
        else:
            at += 2 + max(2, int.from_bytes(codestream[at + 2 : at + 4], "big"))
    return None


def _jpeg_size(codestream: bytes) -> tuple[int, int] | None:
    at = _segment(codestream, _START_OF_FRAME)
    if at is None or at + 9 > len(codestream):
        return None
    rows = int.from_bytes(codestream[at + 5 : at + 7], "big")
    return rows, int.from_bytes(codestream[at + 7 : at + 9], "big")


def _jpeg_2000_size(codestream: bytes) -> tuple[int, int] | None:
    """SIZ marker segment, ISO/IEC 15444-1 Table A.9: the image and tile grids."""
    if len(codestream) < 24:
        return None
    x_size, y_size, x_offset, y_offset = (
        int.from_bytes(codestream[at : at + 4], "big") for at in (8, 12, 16, 20)
    )
    return y_size - y_offset, x_size - x_offset
