"""Small DICOM data sets for tests. Every patient here is invented and says so."""

from io import BytesIO
from typing import Any

import numpy as np
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

ROWS = COLUMNS = 64
_WIDEST = 4095
"""Largest stored value: 12 bits."""


def chest_radiograph(**overrides: Any) -> Dataset:
    """Return a complete CR Image of 64 by 64 pixels with file meta information.

    Parameters
    ----------
    **overrides
        DICOM keywords and their values, as ``StudyDescription="XR KNEE"``. ``None``
        removes the element. `SOPInstanceUID` and `SOPClassUID` reach the file meta
        information too. UIDs are new on each call.

    Returns
    -------
    Dataset
        CR Image Storage, Explicit VR Little Endian, MONOCHROME2, 12 bits in 16.
    """
    ds = Dataset()
    _describe_patient_and_study(ds)
    _describe_series_and_equipment(ds)
    _describe_image(ds)
    for keyword, value in overrides.items():
        if value is None:
            if keyword in ds:
                delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", "")
    ds.file_meta.MediaStorageSOPInstanceUID = ds.get("SOPInstanceUID", "")
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds


def part10_bytes(ds: Dataset) -> bytes:
    """Return `ds` as a Part 10 file (PS3.10 Section 7), in its own transfer syntax."""
    buffer = BytesIO()
    dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


def dataset_bytes(ds: Dataset) -> bytes:
    """Return the encoded data set alone, as C-STORE carries it (PS3.8 Annex E)."""
    content = part10_bytes(ds)
    # Preamble, prefix, then (0002,0000), whose value is the length of what follows it.
    length_element = 128 + 4
    group_length = int.from_bytes(content[length_element + 8 : length_element + 12], "little")
    return content[length_element + 12 + group_length :]


def _describe_patient_and_study(ds: Dataset) -> None:
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.PatientName = "Invented^Patient"
    ds.PatientID = "FAKE-0001"
    ds.PatientBirthDate = "19700101"
    ds.PatientSex = "O"
    ds.StudyInstanceUID = generate_uid()
    ds.StudyID = "1"
    ds.StudyDate = "20260102"
    ds.StudyTime = "101500"
    ds.AccessionNumber = "FAKE-ACC-1"
    ds.ReferringPhysicianName = ""
    ds.StudyDescription = "XR CHEST PA"


def _describe_series_and_equipment(ds: Dataset) -> None:
    ds.Modality = "CR"
    ds.SeriesInstanceUID = generate_uid()
    ds.SeriesNumber = 1
    ds.SeriesDate = "20260102"
    ds.SeriesTime = "101500"
    ds.SeriesDescription = "PA"
    ds.BodyPartExamined = "CHEST"
    ds.ViewPosition = "PA"
    ds.Manufacturer = "Test Builders"


def _describe_image(ds: Dataset) -> None:
    ds.SOPClassUID = ComputedRadiographyImageStorage
    ds.SOPInstanceUID = generate_uid()
    ds.InstanceNumber = 1
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    ds.PatientOrientation = ["L", "F"]
    ds.AcquisitionDate = ds.ContentDate = "20260102"
    ds.AcquisitionTime = ds.ContentTime = "101501"
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = ROWS, COLUMNS
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
    ds.PixelRepresentation = 0
    ds.WindowCenter, ds.WindowWidth = 2048, 4096
    ramp = np.linspace(0, _WIDEST, ROWS * COLUMNS).astype("<u2")
    ds.PixelData = ramp.tobytes()
