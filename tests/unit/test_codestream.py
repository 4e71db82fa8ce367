"""What a codestream says of itself."""

import pytest

from inference.codestream import declared_size, with_whole_spectrum

SOI = b"\xff\xd8"
COMMENT = b"\xff\xfe\x00\x04ab"


def frame_header(marker=0xC1, rows=2140, columns=1760):
    size = rows.to_bytes(2, "big") + columns.to_bytes(2, "big")
    return bytes([0xFF, marker]) + b"\x00\x0b\x0c" + size + b"\x01\x01\x11\x00"


def scan_header(last):
    return b"\xff\xda\x00\x08\x01\x01\x00\x00" + bytes([last]) + b"\x00"


def jpeg_2000(width, height, x_offset=0, y_offset=0):
    grid = b"".join(v.to_bytes(4, "big") for v in (width, height, x_offset, y_offset))
    return b"\xff\x4f\xff\x51\x00\x29\x00\x00" + grid + bytes(20)


@pytest.mark.parametrize("marker", [0xC0, 0xC1, 0xC3, 0xF7])
def test_the_size_is_found_behind_other_segments(marker):
    codestream = SOI + COMMENT + b"\xff" + frame_header(marker) + scan_header(63)

    assert declared_size(codestream) == (2140, 1760)


def test_tables_are_not_taken_for_a_frame_header():
    huffman = b"\xff\xc4\x00\x0b" + bytes(9)

    assert declared_size(SOI + huffman + frame_header(rows=3, columns=4)) == (3, 4)


def test_the_size_of_jpeg_2000_leaves_out_the_offset_of_the_grid():
    assert declared_size(jpeg_2000(110, 220, 10, 20)) == (200, 100)


def test_jpeg_2000_may_come_in_its_box():
    box = b"\x00\x00\x00\x0cjP  \r\n\x87\n" + b"\x00\x00\x00\x00jp2c"

    assert declared_size(box + jpeg_2000(100, 200)) == (200, 100)


@pytest.mark.parametrize(
    "codestream",
    [
        b"",
        SOI,
        SOI + COMMENT,
        SOI + frame_header()[:8],
        b"\xff\x4f\xff\x51\x00",
        b"GIF89a",
        SOI * 9,
    ],
)
def test_what_ends_early_declares_no_size(codestream):
    assert declared_size(codestream) is None


def test_a_scan_that_stops_at_its_first_coefficient_gets_all_of_them():
    broken = SOI + frame_header() + scan_header(0) + b"entropy"

    assert with_whole_spectrum(broken) == SOI + frame_header() + scan_header(63) + b"entropy"


@pytest.mark.parametrize("codestream", [SOI + frame_header() + scan_header(63), SOI, b""])
def test_a_sound_scan_is_left_alone(codestream):
    assert with_whole_spectrum(codestream) == codestream
