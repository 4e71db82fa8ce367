"""Wrap a grey picture file as a CR Image, for trials on pictures that are not DICOM."""

from datetime import datetime
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom import Dataset

from dicom_node.demo.radiograph import Identity, computed_radiograph
from inference.regions import load_regions


def wrap(
    picture: Path, identity: Identity, *, taken_at: datetime, body_part_examined: str = ""
) -> Dataset:
    """Return the picture as a CR Image, MONOCHROME2, 8 bits.

    Parameters
    ----------
    picture : Path
        A JPEG, PNG or other file that Pillow reads; colour becomes grey. Bright must be
        where the beam was stopped.
    identity : Identity
        Patient, order, study, series and image.
    taken_at : datetime
        Of the study, the series and the image.
    body_part_examined : str
        As a modality would declare it; empty by default, as often in practice.

    Raises
    ------
    OSError
        When the file cannot be read as a picture.
    """
    with Image.open(picture) as opened:
        pixels = np.asarray(opened.convert("L"), dtype=np.uint8)
        lossy = opened.format == "JPEG"
    declared = load_regions().regions.get(body_part_examined)
    ds = computed_radiograph(
        pixels,
        identity,
        bits_stored=8,
        taken_at=taken_at,
        body_part_examined=body_part_examined,
        laterality=None if declared is not None and not declared.paired else "",
        image_comments="Wrapped from a picture file for a trial",
    )
    if lossy:
        ds.LossyImageCompression = "01"
        ds.LossyImageCompressionMethod = "ISO_10918_1"
        ds.LossyImageCompressionRatio = round(pixels.nbytes / picture.stat().st_size, 2)
    return ds
