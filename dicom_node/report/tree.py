"""The two content items that every part of the tree is made of (PS3.3 Section C.17.3)."""

from collections.abc import Sequence

from highdicom.sr import (
    CodedConcept,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    ImageContentItem,
)
from highdicom.sr.enum import RelationshipTypeValues
from pydicom import Dataset

from dicom_node.report.evidence import text_of


def container(
    name: CodedConcept, items: Sequence[ContentItem], *, template_id: str | None = None
) -> ContainerContentItem:
    """Return a container of separate items: viewers print the names of those only."""
    made = ContainerContentItem(
        name,
        is_content_continuous=False,
        template_id=template_id,
        relationship_type=RelationshipTypeValues.CONTAINS,
    )
    made.ContentSequence = ContentSequence(items)
    return made


def image_item(purpose: CodedConcept, image: Dataset) -> ImageContentItem:
    """Return a reference to `image`, all its frames."""
    return ImageContentItem(
        purpose,
        text_of(image, "SOPClassUID"),
        text_of(image, "SOPInstanceUID"),
        relationship_type=RelationshipTypeValues.CONTAINS,
    )
