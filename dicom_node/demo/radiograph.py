"""Grey pixels as a complete CR or DX image, for phantoms and for wrapped files."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
)

from inference.regions import Region


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Whose image it is, and of which order."""

    patient_id: str
    patient_name: str
    accession_number: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    study_description: str
    series_description: str = ""
    series_number: int = 1
    instance_number: int = 1


def computed_radiograph(
    pixels: NDArray[np.uint8] | NDArray[np.uint16],
    identity: Identity,
    *,
    bits_stored: int,
    taken_at: datetime,
    body_part_examined: str = "",
    view_position: str = "",
    laterality: str | None = None,
    patient_orientation: tuple[str, str] = ("L", "F"),
    image_comments: str = "",
) -> Dataset:
    """Return a CR Image (PS3.3 Section A.2) with file meta information.

    Parameters
    ----------
    pixels : ndarray of uint8 or uint16, shape (rows, columns)
        Stored values, bright where the beam was stopped (MONOCHROME2).
    identity : Identity
        Patient, order, study, series and image.
    bits_stored : int
        How many bits of a value are used.
    taken_at : datetime
        Of the study, the series and the image.
    body_part_examined, view_position : str
        As the modality declares them; may be empty (type 2).
    laterality : str, optional
        ``L``, ``R`` or empty (unknown) for a paired or unknown body part; None leaves it
        out, as an unpaired one demands (PS3.3 Section C.7.3.1).
    patient_orientation : tuple of str
        Direction of the rows, then of the columns (PS3.3 Section C.7.6.1.1.1).
    image_comments : str
        Shown by viewers; says what the image is.
    """
    ds = Dataset()
    _describe(ds, identity, taken_at)
    ds.SOPClassUID = ComputedRadiographyImageStorage
    ds.Modality = "CR"
    ds.BodyPartExamined = body_part_examined
    ds.ViewPosition = view_position
    if laterality is not None:
        ds.Laterality = laterality
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    ds.PatientOrientation = list(patient_orientation)
    ds.BurnedInAnnotation = "NO"
    if image_comments:
        ds.ImageComments = image_comments
    _store_pixels(ds, pixels, bits_stored)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds


def as_digital_x_ray(image: Dataset, region: Region) -> Dataset:
    """Turn a CR Image into a DX Image for presentation (PS3.3 Section A.26), in place.

    `region` fills the Anatomic Region Sequence, which DX demands; it must carry a code.
    """
    assert region.code is not None
    image.SOPClassUID = DigitalXRayImageStorageForPresentation
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.Modality = "DX"
    image.PresentationIntentType = "FOR PRESENTATION"
    image.ImageType = ["ORIGINAL", "PRIMARY", ""]
    image.ImageLaterality = (image.get("Laterality") or "L") if region.paired else "U"
    if "Laterality" in image:
        del image.Laterality
    code = Dataset()
    code.CodeValue = region.code.value
    code.CodingSchemeDesignator = region.code.scheme
    code.CodeMeaning = region.code.meaning
    image.AnatomicRegionSequence = [code]
    image.PixelIntensityRelationship = "LOG"
    image.PixelIntensityRelationshipSign = -1
    image.RescaleIntercept, image.RescaleSlope, image.RescaleType = 0, 1, "US"
    image.PresentationLUTShape = "IDENTITY"
    image.LossyImageCompression = "00"
    image.DetectorType = "SCINTILLATOR"
    image.ImagerPixelSpacing = [0.2, 0.2]
    image.PositionerType = ""
    image.AcquisitionContextSequence = []
    return image


def _describe(ds: Dataset, identity: Identity, taken_at: datetime) -> None:
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.PatientName = identity.patient_name
    ds.PatientID = identity.patient_id
    ds.PatientBirthDate = ""
    ds.PatientSex = ""
    ds.StudyInstanceUID = identity.study_instance_uid
    ds.SeriesInstanceUID = identity.series_instance_uid
    ds.SOPInstanceUID = identity.sop_instance_uid
    ds.AccessionNumber = identity.accession_number
    ds.StudyID = "1"
    ds.StudyDescription = identity.study_description
    ds.ReferringPhysicianName = ""
    ds.SeriesNumber = identity.series_number
    if identity.series_description:
        ds.SeriesDescription = identity.series_description
    ds.InstanceNumber = identity.instance_number
    ds.Manufacturer = "Open DICOM AI Node demo"
    date, time = taken_at.strftime("%Y%m%d"), taken_at.strftime("%H%M%S")
    for what in ("Study", "Series", "Acquisition", "Content"):
        setattr(ds, f"{what}Date", date)
        setattr(ds, f"{what}Time", time)


def _store_pixels(
    ds: Dataset, pixels: NDArray[np.uint8] | NDArray[np.uint16], bits_stored: int
) -> None:
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = pixels.shape
    ds.BitsAllocated = 8 * pixels.dtype.itemsize
    ds.BitsStored, ds.HighBit = bits_stored, bits_stored - 1
    ds.PixelRepresentation = 0
    ds.WindowCenter, ds.WindowWidth = 2 ** (bits_stored - 1), 2**bits_stored
    content = np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder("<"))).tobytes()
    ds.PixelData = content + b"\0" * (len(content) % 2)
    ds["PixelData"].VR = "OB" if pixels.dtype.itemsize == 1 else "OW"
