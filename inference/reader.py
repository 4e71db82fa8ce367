"""From a stored DICOM file to a picture: the only place that decodes pixels.

Whatever the bytes are, the answer is a picture or `UnreadableImage` with a stable reason;
sizes are checked before anything is decoded or inflated.
"""

import hashlib
import zlib
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, FileDataset, dcmread, uid
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.filereader import read_dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut

from audit.errors import Transient, UndecodablePixels
from inference.attributes import grey_transform, numbers, pixel_aspect, text
from inference.codestream import declared_size, with_whole_spectrum
from inference.pixels import grey_picture, luminance_picture
from inference.square import with_square_pixels

VOI_UNUSABLE = "pixels.voi_unusable"
MIDDLE_FRAME = "pixels.middle_frame_of_several"
MADE_SQUARE = "pixels.resampled_to_square"
SYNTAX_IMPLIED = "pixels.transfer_syntax_implied"

_PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_BYTES_PER_PIXEL = 6
"""RGB in 16 bits: what a deflated data set may grow to, for each pixel allowed."""

_SMALLEST_HEADROOM_BYTES = 4_000_000
_FASTEST_DECODER = {uid.JPEGLSLossless: "pyjpegls", uid.JPEGLSNearLossless: "pyjpegls"}
"""CharLS decodes JPEG-LS four times as fast as libjpeg does; values are equal."""


class PixelProblem(StrEnum):
    """Why a file has no picture; used as `reason_code` in predictions."""

    ABSENT = "pixels.absent"
    DAMAGED = "pixels.damaged"
    SYNTAX_UNSUPPORTED = "pixels.syntax_unsupported"
    FORM_UNSUPPORTED = "pixels.form_unsupported"
    TOO_LARGE = "pixels.too_large"

    @property
    def sentence(self) -> str:
        """The same for a person."""
        return _SENTENCES[self]


_SENTENCES = {
    PixelProblem.ABSENT: "The file holds no pixel data.",
    PixelProblem.DAMAGED: "The pixel data is damaged, or does not fit its description.",
    PixelProblem.SYNTAX_UNSUPPORTED: "No decoder reads the transfer syntax of the file.",
    PixelProblem.FORM_UNSUPPORTED: "The photometric interpretation is none that is read here.",
    PixelProblem.TOO_LARGE: "The image has more pixels than the node is set to decode.",
}


class UnreadableImage(UndecodablePixels):
    """The pixels of a file cannot be read; `problem` says why.

    `cause` is the type of the error that a decoder raised, without its text, which may
    quote the data set.
    """

    def __init__(self, problem: PixelProblem, cause: str = "") -> None:
        super().__init__(problem.sentence)
        self.problem = problem
        self.cause = cause


class StoredFileUnreachable(Transient):
    """The storage did not give the bytes of a file; this says nothing of the image."""

    code = "inference.file.unreachable"


class NoMemoryToDecode(Transient):
    """The machine had too little memory; this says nothing of the image either."""

    code = "inference.decode.no_memory"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class DisplayImage:
    """A decoded image as its sender meant it to be seen."""

    display: NDArray[np.float32]
    """Values in [0, 1], MONOCHROME2 sense, square pixels; its shape differs from (`rows`,
    `columns`) only where the stored pixels were not square."""

    pixel_sha256: str
    """sha256 of the decoded values of the frame shown, little endian, C order; colour
    as RGB."""

    rows: int
    columns: int
    notes: tuple[str, ...]
    """Stable codes of what was unusual."""


def read_display(path: Path, *, maximum_pixels: int) -> DisplayImage:
    """Return the picture in a DICOM file.

    Parameters
    ----------
    path : Path
        A Part 10 file; a bare data set without file meta information is read too.
    maximum_pixels : int
        Largest Rows x Columns that is decoded.

    Returns
    -------
    DisplayImage
        Of the middle frame, when there are several.

    Raises
    ------
    UnreadableImage
        When the bytes hold no picture that can be read, whatever they are.
    StoredFileUnreachable
        When the file system does not give the bytes.
    NoMemoryToDecode
        When the machine has too little memory now, which says nothing of the bytes.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StoredFileUnreachable("a stored file could not be read") from error
    try:
        return _display(_parsed(content, maximum_pixels), maximum_pixels)
    except UnreadableImage:
        raise
    except MemoryError as error:
        raise NoMemoryToDecode("there is too little memory to decode an image") from error
    except Exception as error:  # noqa: BLE001 - hostile bytes make decoders raise anything
        raise UnreadableImage(PixelProblem.DAMAGED, type(error).__name__) from None


def _parsed(content: bytes, maximum_pixels: int) -> FileDataset:
    """Return the data set; a deflated one (PS3.5 Section A.5) is inflated within bounds."""
    if content[128:132] != b"DICM":
        return dcmread(BytesIO(content), force=True)
    stream = BytesIO(content)
    stream.seek(132)
    meta = read_dataset(stream, False, True, stop_when=lambda tag, *_: tag.group != 2)
    if meta.get("TransferSyntaxUID") != uid.DeflatedExplicitVRLittleEndian:
        return dcmread(BytesIO(content), force=True)
    limit = _BYTES_PER_PIXEL * maximum_pixels + _SMALLEST_HEADROOM_BYTES
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    data_set = inflater.decompress(stream.read(), limit)
    if inflater.unconsumed_tail:
        raise UnreadableImage(PixelProblem.TOO_LARGE)
    ds = dcmread(BytesIO(data_set), force=True)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    return ds


def _display(ds: FileDataset, maximum_pixels: int) -> DisplayImage:
    rows, columns = _checked_size(ds, maximum_pixels)
    frames = max(1, int((numbers(ds, "NumberOfFrames") or (1,))[0]))
    frame = frames // 2
    notes = [MIDDLE_FRAME] if frames > 1 else []
    if _settle_transfer_syntax(ds):
        notes.append(SYNTAX_IMPLIED)
    stored = _decoded(ds, frame, frames)
    if stored.shape[:2] != (rows, columns):
        raise UnreadableImage(PixelProblem.DAMAGED)
    picture, doubts = _picture(ds, stored, frame)
    aspect, aspect_doubts = pixel_aspect(ds)
    notes += [*doubts, *aspect_doubts]
    if aspect != 1.0:
        if max(aspect, 1 / aspect) * rows * columns > maximum_pixels:
            raise UnreadableImage(PixelProblem.TOO_LARGE)
        picture = with_square_pixels(picture, aspect=aspect)
        notes.append(MADE_SQUARE)
    little_endian = stored.astype(stored.dtype.newbyteorder("<"), order="C", copy=False)
    return DisplayImage(
        display=picture,
        pixel_sha256=hashlib.sha256(little_endian.data).hexdigest(),
        rows=rows,
        columns=columns,
        notes=tuple(notes),
    )


def _checked_size(ds: Dataset, maximum_pixels: int) -> tuple[int, int]:
    """Return (rows, columns) after every check that needs no decoding."""
    if not any(keyword in ds and ds[keyword].value for keyword in _PIXEL_KEYWORDS):
        raise UnreadableImage(PixelProblem.ABSENT)
    rows, columns = numbers(ds, "Rows"), numbers(ds, "Columns")
    if len(rows) != 1 or len(columns) != 1 or min(rows[0], columns[0]) < 1:
        raise UnreadableImage(PixelProblem.DAMAGED)
    if rows[0] * columns[0] > maximum_pixels:
        raise UnreadableImage(PixelProblem.TOO_LARGE)
    samples = (numbers(ds, "SamplesPerPixel") or (1.0,))[0]
    colour = not text(ds, "PhotometricInterpretation").startswith(("MONOCHROME", "PALETTE"))
    if samples != (3.0 if colour else 1.0):
        raise UnreadableImage(PixelProblem.FORM_UNSUPPORTED)
    return int(rows[0]), int(columns[0])


def _settle_transfer_syntax(ds: FileDataset) -> bool:
    """Give a data set without file meta information the syntax it was parsed with."""
    meta = getattr(ds, "file_meta", None) or FileMetaDataset()
    if meta.get("TransferSyntaxUID"):
        return False
    implicit, little = ds.original_encoding
    native = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
    meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if implicit else native
    ds.file_meta = meta
    return True


def _decoded(ds: FileDataset, frame: int, frames: int) -> NDArray[Any]:
    """Return the stored values of one frame, (rows, columns) or (rows, columns, 3)."""
    syntax = uid.UID(ds.file_meta.TransferSyntaxUID)
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise UnreadableImage(PixelProblem.SYNTAX_UNSUPPORTED) from None
    if not decoder.is_available:
        raise UnreadableImage(PixelProblem.SYNTAX_UNSUPPORTED)
    if syntax.is_encapsulated:
        _keep_one_frame(ds, syntax, frame, frames)
        frame = 0
    fastest = _FASTEST_DECODER.get(syntax, "")
    try:
        array, _ = decoder.as_array(ds, index=frame, decoding_plugin=fastest)
    except Exception:
        if not fastest:
            raise
        array, _ = decoder.as_array(ds, index=frame)
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))


def _keep_one_frame(ds: FileDataset, syntax: uid.UID, frame: int, frames: int) -> None:
    """Leave only one compressed frame in `ds`, checked against Rows and Columns."""
    offsets = None
    if "ExtendedOffsetTable" in ds and "ExtendedOffsetTableLengths" in ds:
        offsets = (ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths)
    codestream = get_frame(ds.PixelData, frame, number_of_frames=frames, extended_offsets=offsets)
    if syntax != uid.RLELossless and declared_size(codestream) != (ds.Rows, ds.Columns):
        raise UnreadableImage(PixelProblem.DAMAGED)
    if syntax == uid.JPEGExtended12Bit:
        codestream = with_whole_spectrum(codestream)
    for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        if keyword in ds:
            del ds[keyword]
    ds.PixelData = encapsulate([codestream])
    ds.NumberOfFrames = 1


def _picture(
    ds: Dataset, stored: NDArray[Any], frame: int
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Return the picture of decoded values, and notes."""
    if text(ds, "PhotometricInterpretation") == "PALETTE COLOR":
        stored = apply_color_lut(stored, ds)[..., :3]
        return luminance_picture(stored, bits=8 * stored.dtype.itemsize), ()
    if stored.ndim == 3:
        return luminance_picture(stored, bits=_bits_stored(ds, stored)), ()
    transform, notes = grey_transform(ds, frame)
    shown = grey_picture(stored, transform)
    return shown.display, (*notes, VOI_UNUSABLE) if shown.voi_unusable else notes


def _bits_stored(ds: Dataset, stored: NDArray[Any]) -> int:
    most = 8 * stored.dtype.itemsize
    bits = numbers(ds, "BitsStored")
    return int(bits[0]) if len(bits) == 1 and 1 <= bits[0] <= most else most
