"""The Image Library of a report (PS3.16 TID 1600, 1602, 1603).

highdicom's own `ImageLibrary` refuses images without Patient Orientation or Imager Pixel
Spacing; in the field those are common, so each descriptor is written only when known.
"""

from highdicom.sr import (
    CodeContentItem,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    ImageContentItem,
    NumContentItem,
    TextContentItem,
)
from highdicom.sr.enum import RelationshipTypeValues
from pydicom.valuerep import DS

from dicom_node.report import codes
from dicom_node.report.content import ReportImage
from dicom_node.report.evidence import laterality_of, numbers_of, orientation_of, text_of
from dicom_node.report.tree import container, image_item

_CONTEXT = RelationshipTypeValues.HAS_ACQ_CONTEXT


def image_library(images: tuple[ReportImage, ...]) -> ContainerContentItem:
    """Return the Image Library with one entry for each image of the report."""
    group = container(codes.IMAGE_LIBRARY_GROUP, [_entry(image) for image in images])
    return container(codes.IMAGE_LIBRARY, [group], template_id="1600")


def _entry(image: ReportImage) -> ImageContentItem:
    header = image.header
    entry = image_item(codes.SOURCE, header)
    items: list[ContentItem] = []
    modality = codes.MODALITIES.get(text_of(header, "Modality"))
    if modality is not None:
        items.append(CodeContentItem(codes.MODALITY, modality, _CONTEXT))
    laterality = codes.LATERALITY.get(laterality_of(header))
    if laterality is not None:
        items.append(CodeContentItem(codes.IMAGE_LATERALITY, laterality, _CONTEXT))
    items += _size(image) + _geometry(image)
    if items:
        entry.ContentSequence = ContentSequence(items)
    return entry


def _size(image: ReportImage) -> list[ContentItem]:
    named = (
        (codes.PIXEL_DATA_ROWS, image.analysis.rows, "Rows"),
        (codes.PIXEL_DATA_COLUMNS, image.analysis.columns, "Columns"),
    )
    items: list[ContentItem] = []
    for name, decoded, keyword in named:
        told = numbers_of(image.header, keyword, count=1)
        value = decoded or (int(told[0]) if told else None)
        if value:
            item = NumContentItem(name, value, codes.PIXELS, relationship_type=_CONTEXT)
            item.MeasuredValueSequence[0].NumericValue = DS(str(value))  # else "1955.0"
            items.append(item)
    return items


def _geometry(image: ReportImage) -> list[ContentItem]:
    items: list[ContentItem] = []
    orientation = orientation_of(image.header)
    if orientation is not None:
        names = (codes.ORIENTATION_ROW, codes.ORIENTATION_COLUMN)
        items += [
            TextContentItem(name, value, _CONTEXT)
            for name, value in zip(names, orientation, strict=True)
        ]
    spacing = numbers_of(image.header, "ImagerPixelSpacing", count=2)
    if spacing is not None:
        named = (
            (codes.HORIZONTAL_PIXEL_SPACING, spacing[1]),
            (codes.VERTICAL_PIXEL_SPACING, spacing[0]),
        )
        items += [
            NumContentItem(name, value, codes.MILLIMETRE, relationship_type=_CONTEXT)
            for name, value in named
        ]
    return items
