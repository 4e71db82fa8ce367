"""From files to pictures: made-up files, one oddity each."""

import hashlib
import zlib
from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import (
    MPEG4HP41,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

from audit.errors import Disposition
from inference import reader
from inference.reader import PixelProblem, StoredFileUnreachable, UnreadableImage, read_display
from tests.builders import chest_radiograph, dataset_bytes, part10_bytes

LIMIT = 1_000_000


@pytest.fixture
def read(tmp_path):
    def read_bytes(content, *, maximum_pixels=LIMIT):
        path = tmp_path / "image.dcm"
        path.write_bytes(content)
        return read_display(path, maximum_pixels=maximum_pixels)

    return read_bytes


@pytest.fixture
def problem_of(read):
    def problem(content, **options):
        with pytest.raises(UnreadableImage) as refused:
            read(content, **options)
        return refused.value.problem

    return problem


def stored_values(ds):
    return np.frombuffer(ds.PixelData, dtype="<u2").reshape(ds.Rows, ds.Columns)


def with_values(values, **overrides):
    rows, columns = values.shape[:2]
    return chest_radiograph(Rows=rows, Columns=columns, PixelData=values.tobytes(), **overrides)


def test_a_radiograph_is_shown_through_its_window(read):
    ds = chest_radiograph()

    image = read(part10_bytes(ds))

    assert (image.rows, image.columns) == image.display.shape == (64, 64)
    assert image.display.dtype == np.float32
    np.testing.assert_allclose(image.display, stored_values(ds) / 4095, atol=1e-6)
    assert image.pixel_sha256 == hashlib.sha256(ds.PixelData).hexdigest()
    assert image.notes == ()


def test_monochrome1_is_shown_the_other_way_round(read):
    ds = chest_radiograph(PhotometricInterpretation="MONOCHROME1")

    assert read(part10_bytes(ds)).display[0, 0] == 1.0


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
def test_compression_changes_neither_picture_nor_hash(read, syntax):
    ds = chest_radiograph()
    plain = read(part10_bytes(ds))
    ds.compress(syntax, generate_instance_uid=False)

    packed = read(part10_bytes(ds))

    assert packed.pixel_sha256 == plain.pixel_sha256
    np.testing.assert_array_equal(packed.display, plain.display)


def test_the_fast_decoder_may_fail_where_another_can_read(read, monkeypatch):
    ds = chest_radiograph()
    ds.compress(JPEGLSLossless, generate_instance_uid=False)
    monkeypatch.setitem(reader._FASTEST_DECODER, JPEGLSLossless, "no such decoder")

    assert read(part10_bytes(ds)).display.shape == (64, 64)


def test_byte_order_changes_neither_picture_nor_hash(read):
    ds = chest_radiograph()
    plain = read(part10_bytes(ds))
    ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    ds.PixelData = stored_values(ds).astype(">u2").tobytes()
    swapped = BytesIO()
    ds.save_as(swapped, implicit_vr=False, little_endian=False)

    image = read(swapped.getvalue())

    assert image.pixel_sha256 == plain.pixel_sha256
    np.testing.assert_array_equal(image.display, plain.display)


def test_a_bare_data_set_is_read_and_noted(read):
    ds = chest_radiograph()
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian

    image = read(dataset_bytes(ds))

    assert image.notes == (reader.SYNTAX_IMPLIED,)
    np.testing.assert_allclose(image.display, stored_values(ds) / 4095, atol=1e-6)


def test_the_middle_frame_of_several_is_shown(read):
    frames = np.repeat(np.array([100, 200, 300], dtype="<u2"), 64 * 64).tobytes()
    ds = chest_radiograph(NumberOfFrames=3, PixelData=frames, WindowCenter=200.5, WindowWidth=401)

    image = read(part10_bytes(ds))

    assert image.notes == (reader.MIDDLE_FRAME,)
    assert image.display[0, 0] == pytest.approx(0.5)


def test_oblong_pixels_are_made_square(read):
    values = np.tile(np.array([[0], [4095]], dtype="<u2"), (8, 16))
    image = read(part10_bytes(with_values(values, ImagerPixelSpacing=[0.2, 0.1])))

    assert image.notes == (reader.MADE_SQUARE,)
    assert (image.rows, image.columns) == (16, 16)
    assert image.display.shape == (32, 16)
    np.testing.assert_allclose(image.display[:4, 0], [0, 0.25, 0.75, 0.75], atol=0.01)


@pytest.mark.parametrize(
    ("colour", "allocated", "stored", "luminance"),
    [((0, 255, 0), 8, 8, 0.587), ((4095, 4095, 4095), 16, 12, 1.0)],
)
def test_colour_is_shown_as_luminance_of_its_stored_bits(
    *, read, colour, allocated, stored, luminance
):
    pixels = np.full((8, 8, 3), colour, dtype=f"<u{allocated // 8}")
    ds = with_values(
        pixels,
        SamplesPerPixel=3,
        PhotometricInterpretation="RGB",
        PlanarConfiguration=0,
        BitsAllocated=allocated,
        BitsStored=stored,
        HighBit=stored - 1,
    )

    assert read(part10_bytes(ds)).display[0, 0] == pytest.approx(luminance, abs=1e-4)


def test_too_little_memory_says_nothing_of_the_image(read, monkeypatch):
    def no_memory(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(reader, "_decoded", no_memory)

    with pytest.raises(reader.NoMemoryToDecode) as raised:
        read(part10_bytes(chest_radiograph()))
    assert raised.value.disposition is Disposition.RETRY


def test_a_palette_is_looked_up(read):
    indices = np.array([[0, 1], [1, 0]], dtype=np.uint8)
    ds = with_values(
        indices, PhotometricInterpretation="PALETTE COLOR", BitsAllocated=8, BitsStored=8, HighBit=7
    )
    for colour in ("Red", "Green", "Blue"):
        ds.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [2, 0, 8])
        ds.add_new(f"{colour}PaletteColorLookupTableData", "OW", bytes([0, 255]))

    np.testing.assert_allclose(read(part10_bytes(ds)).display, indices, atol=1e-6)


def test_an_unusable_window_is_noted(read):
    image = read(part10_bytes(chest_radiograph(WindowCenter=2048, WindowWidth=0)))

    assert image.notes == (reader.VOI_UNUSABLE,)


def test_a_file_without_pixels_says_so(problem_of):
    assert problem_of(part10_bytes(chest_radiograph(PixelData=None))) is PixelProblem.ABSENT
    assert problem_of(b"<html>not an image</html>") is PixelProblem.ABSENT
    assert problem_of(b"") is PixelProblem.ABSENT


def test_a_file_that_stops_half_way_is_damaged(problem_of):
    whole = part10_bytes(chest_radiograph())

    assert problem_of(whole[:-1000]) is PixelProblem.DAMAGED


@pytest.mark.parametrize("overrides", [{"Rows": None}, {"Columns": 0}, {"BitsAllocated": 12}])
def test_a_description_that_does_not_fit_is_damage(problem_of, overrides):
    assert problem_of(part10_bytes(chest_radiograph(**overrides))) is PixelProblem.DAMAGED


def test_a_video_has_no_decoder(problem_of):
    ds = chest_radiograph()
    ds.compress(RLELossless, generate_instance_uid=False)
    ds.file_meta.TransferSyntaxUID = MPEG4HP41

    assert problem_of(part10_bytes(ds)) is PixelProblem.SYNTAX_UNSUPPORTED


def test_an_unknown_photometric_interpretation_is_not_guessed(problem_of):
    ds = chest_radiograph(PhotometricInterpretation="CMYK")

    assert problem_of(part10_bytes(ds)) is PixelProblem.FORM_UNSUPPORTED


def test_the_size_is_checked_before_anything_is_decoded(problem_of, monkeypatch):
    def decoding(*_arguments):
        raise AssertionError("the pixels were decoded")

    monkeypatch.setattr(reader, "_decoded", decoding)
    huge = chest_radiograph(Rows=65535, Columns=65535)

    assert problem_of(part10_bytes(huge)) is PixelProblem.TOO_LARGE
    assert problem_of(part10_bytes(chest_radiograph()), maximum_pixels=4095) is (
        PixelProblem.TOO_LARGE
    )


def test_a_codestream_larger_than_the_header_says_is_never_decoded(problem_of, monkeypatch):
    handed_on = []
    monkeypatch.setattr(reader, "encapsulate", handed_on.append)
    ds = chest_radiograph()
    ds.compress(JPEGLSLossless, generate_instance_uid=False)
    ds.Rows = ds.Columns = 32

    assert problem_of(part10_bytes(ds)) is PixelProblem.DAMAGED
    assert handed_on == []


def test_a_stretched_image_may_not_grow_past_the_limit(problem_of):
    ds = chest_radiograph(ImagerPixelSpacing=[0.5, 0.1])

    assert problem_of(part10_bytes(ds), maximum_pixels=5000) is PixelProblem.TOO_LARGE


def deflated(ds):
    """Encode by hand: the meta information plain, the rest through zlib (PS3.5 Section A.5)."""
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    content = part10_bytes(ds)
    assert dcmread(BytesIO(content)).Rows == ds.Rows
    return content


def test_a_deflated_file_is_inflated(read):
    ds = chest_radiograph()
    plain = read(part10_bytes(ds))

    assert read(deflated(ds)).pixel_sha256 == plain.pixel_sha256


def test_a_deflated_file_may_not_inflate_without_end(problem_of):
    content = deflated(chest_radiograph())
    start = content.index(DeflatedExplicitVRLittleEndian.encode()) + 22
    squeezer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = squeezer.compress(bytes(30_000_000)) + squeezer.flush()

    assert problem_of(content[:start] + bomb, maximum_pixels=10_000) is PixelProblem.TOO_LARGE


def test_a_disk_that_fails_is_not_blamed_on_the_image(tmp_path):
    with pytest.raises(StoredFileUnreachable):
        read_display(tmp_path / "gone.dcm", maximum_pixels=LIMIT)


def test_no_value_of_the_file_is_in_the_error(read):
    ds = chest_radiograph(PatientName="Secret^Name")

    with pytest.raises(UnreadableImage) as refused:
        read(part10_bytes(ds)[:-1000])

    assert "Secret" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.cause == "ValueError"


@pytest.mark.filterwarnings("ignore")  # pydicom warns of what it finds
def test_any_byte_may_be_wrong(read):
    content = bytearray(part10_bytes(chest_radiograph()))
    random = np.random.default_rng(7)
    outcomes = set()
    for _ in range(150):
        damaged = bytearray(content)
        for at in random.integers(128, len(content) - 8192, 3):
            damaged[at] = random.integers(256)
        try:
            read(bytes(damaged))
            outcomes.add("read")
        except UnreadableImage as refused:
            outcomes.add(refused.problem)

    assert {"read", PixelProblem.ABSENT} <= outcomes


def test_every_problem_has_a_sentence():
    assert all(problem.sentence.endswith(".") for problem in PixelProblem)
