"""What the node takes by any service: storage classes and transfer syntaxes (tables).

``docs/conformance.md`` is checked against them.
"""

from pydicom import uid
from pydicom.uid import UID

STORAGE_CLASSES: tuple[UID, ...] = (
    uid.ComputedRadiographyImageStorage,
    uid.DigitalXRayImageStorageForPresentation,
    uid.DigitalXRayImageStorageForProcessing,
    uid.DigitalMammographyXRayImageStorageForPresentation,
    uid.DigitalMammographyXRayImageStorageForProcessing,
    uid.XRayAngiographicImageStorage,
    uid.XRayRadiofluoroscopicImageStorage,
    uid.SecondaryCaptureImageStorage,
    uid.MultiFrameSingleBitSecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
)
"""The Storage SOP Classes that a node accepts unless its settings add others."""

_JPEG_PROCESSES = (*range(50, 67), 70)
_JPEG_LS = (80, 81)
_JPEG_2000 = (90, 91, 92, 93)
_HTJ2K = (201, 202, 203)
_VIDEO = (*(f"{kind}{part}" for kind in range(100, 107) for part in ("", ".1")), "107", "108")

TRANSFER_SYNTAXES: tuple[UID, ...] = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.RLELossless,
    *(
        UID(f"1.2.840.10008.1.2.4.{number}")
        for number in (*_JPEG_PROCESSES, *_JPEG_LS, *_JPEG_2000, *_HTJ2K, *_VIDEO)
    ),
)
"""Every transfer syntax that carries its pixels inside the object; none is converted."""
