"""Grad-CAM overlays as Secondary Capture Images (PS3.3 Section A.8.1).

The text stands on rows of its own below the picture, so that pixel (0, 0) of the overlay
is still the corner of the image. Nothing that names a patient is drawn.
"""

from collections.abc import Iterable
from datetime import UTC

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import SecondaryCaptureImageStorage
from pydicom.valuerep import DA, DS, TM

from dicom_node.report import codes
from dicom_node.report.content import ReportImage, ReportRequest
from dicom_node.report.evidence import (
    anatomic_region_of,
    code_string_of,
    laterality_of,
    local_moment,
    numbers_of,
    orientation_of,
    text_of,
)
from dicom_node.report.frame import new_object
from dicom_node.report.reading import Finding, uids_of
from dicom_node.report.wording import percent
from dicom_node.version import MODEL_NAME
from inference.overlay import banner, heat_overlay
from inference.reader import DisplayImage
from inference.types import HeatMap

_SERIES_DESCRIPTION = "AI Grad-CAM overlays (not for diagnosis)"
_NOTICE = "AI RESULT - NOT FOR DIAGNOSIS"


def overlay_object(
    request: ReportRequest,
    image: ReportImage,
    finding: Finding,
    heat_map: HeatMap,
    *,
    picture: DisplayImage,
    instance_number: int,
    series_members: tuple[ReportImage, ...],
) -> Dataset:
    """Return one overlay, with file meta information and pixels.

    Parameters
    ----------
    request : ReportRequest
        The report that the overlay belongs to.
    image, finding, heat_map
        What is shown.
    picture : DisplayImage
        The decoded image.
    instance_number : int
        Place in the series, from 1.
    series_members : tuple of ReportImage
        Every image that has an overlay in this series; attributes of the series are
        written only where all of them agree.
    """
    uids = uids_of(request)
    source = image.header
    made: Dataset = new_object(
        request,
        sop_class_uid=SecondaryCaptureImageStorage,
        sop_instance_uid=uids.sc_instance(
            text_of(source, "SOPInstanceUID"), finding.model, finding.output.key
        ),
        series_instance_uid=uids.sc_series(),
        series_number=request.sc_series_number,
        series_description=_SERIES_DESCRIPTION,
        instance_number=instance_number,
        modality="OT",
        source=source,
    )
    heated = heat_overlay(picture.display, heat_map, long_side=request.sc_long_side_pixels)
    _set_pixels(made, banner(heated, _banner_lines(request, image, finding)))
    _set_spacing(made, source, picture, heated.shape[:2])
    _describe_capture(made, request, source)
    _describe_derivation(made, source, finding)
    _describe_anatomy(made, source, series_members)
    return made


def _banner_lines(request: ReportRequest, image: ReportImage, finding: Finding) -> list[str]:
    moment = local_moment(request.created_at, image.header)
    zone = "UTC" if moment.tzinfo is UTC else f"UTC{moment:%z}"
    output = finding.output
    threshold = "" if output.threshold is None else f" (threshold {percent(output.threshold)})"
    return [
        _NOTICE,
        f"Image {image.number}: {finding.code.meaning} {percent(output.probability)}{threshold}",
        f"{finding.model.name} {finding.model.version}, Grad-CAM. {moment:%Y-%m-%d %H:%M} {zone}",
    ]


def _set_pixels(made: Dataset, rgb: NDArray[np.uint8]) -> None:
    """Set the Image Pixel Module: RGB, 8 bits, by pixel."""
    made.SamplesPerPixel = 3
    made.PhotometricInterpretation = "RGB"
    made.PlanarConfiguration = 0
    made.Rows, made.Columns = rgb.shape[:2]
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit = 7
    made.PixelRepresentation = 0
    content = np.ascontiguousarray(rgb, dtype=np.uint8).tobytes()
    made.PixelData = content + b"\0" * (len(content) % 2)
    made["PixelData"].VR = "OB"


def _set_spacing(
    made: Dataset, source: Dataset, picture: DisplayImage, shape: tuple[int, ...]
) -> None:
    """Copy the pixel spacing, scaled as the picture was (PS3.3 Section 10.7.1.3)."""
    scales = picture.rows / shape[0], picture.columns / shape[1]
    for keyword in ("PixelSpacing", "NominalScannedPixelSpacing"):
        spacing = numbers_of(source, keyword, count=2)
        if spacing is not None:
            scaled = [
                DS(value * scale, auto_format=True)
                for value, scale in zip(spacing, scales, strict=True)
            ]
            setattr(made, keyword, scaled)


def _describe_capture(made: Dataset, request: ReportRequest, source: Dataset) -> None:
    moment = local_moment(request.created_at, source)
    made.ConversionType = "WSD"
    made.DateOfSecondaryCapture = DA(moment.date())
    made.TimeOfSecondaryCapture = TM(moment.time())
    made.SecondaryCaptureDeviceManufacturer = request.manufacturer[:64]
    made.SecondaryCaptureDeviceManufacturerModelName = MODEL_NAME
    made.SecondaryCaptureDeviceSoftwareVersions = request.software_version[:64]
    made.BurnedInAnnotation = "YES"
    made.RecognizableVisualFeatures = "NO"


def _describe_derivation(made: Dataset, source: Dataset, finding: Finding) -> None:
    made.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    made.DerivationDescription = (
        f"Grad-CAM of {finding.model.name} {finding.model.version} for {finding.code.meaning} "
        f"(p={finding.output.probability:.3f}) blended on source"
    )
    made.ImageComments = "AI result, not for primary diagnosis"
    item = Dataset()
    item.ReferencedSOPClassUID = text_of(source, "SOPClassUID")
    item.ReferencedSOPInstanceUID = text_of(source, "SOPInstanceUID")
    item.PurposeOfReferenceCodeSequence = [codes.SOURCE_IMAGE]
    made.SourceImageSequence = [item]
    if text_of(source, "LossyImageCompression") == "01":
        _inherit_loss(made, source)


def _inherit_loss(made: Dataset, source: Dataset) -> None:
    """Say that the source was compressed with loss: once lossy, always lossy."""
    made.LossyImageCompression = "01"
    ratio = numbers_of(source, "LossyImageCompressionRatio", count=1)
    if ratio is not None:
        made.LossyImageCompressionRatio = DS(ratio[0], auto_format=True)
    method = code_string_of(source, "LossyImageCompressionMethod")
    if method:
        made.LossyImageCompressionMethod = method


def _describe_anatomy(
    made: Dataset, source: Dataset, series_members: tuple[ReportImage, ...]
) -> None:
    """Copy what the source declares; the SR, not this image, says what is doubted of it."""
    made.PatientOrientation = list(orientation_of(source) or ()) or None
    region = anatomic_region_of(source)
    if region is not None:
        made.AnatomicRegionSequence = [region]
    body_part = _agreed(code_string_of(m.header, "BodyPartExamined") for m in series_members)
    if body_part:
        made.BodyPartExamined = body_part
    if body_part not in codes.UNPAIRED_BODY_PARTS:
        made.Laterality = _agreed(laterality_of(m.header) for m in series_members)


def _agreed(values: Iterable[str]) -> str:
    """Return the one value that all share, or an empty string."""
    distinct = set(values)
    return distinct.pop() if len(distinct) == 1 else ""
