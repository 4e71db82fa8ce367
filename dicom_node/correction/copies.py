"""The re-identified copy of an image: everything but its order and its UIDs as it was.

Pixels are not decoded; they are written back as the bytes they are, in the transfer syntax
they came in.
"""

from copy import deepcopy
from datetime import UTC

from highdicom import ContributingEquipment
from pydicom import DataElement, Dataset, dcmread
from pydicom.charset import convert_encodings
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.uid import UID
from pydicom.valuerep import DT

from dicom_node.correction.plan import CopyPlan, Maker
from dicom_node.report import codes
from dicom_node.report.evidence import element, local_moment, text_of
from dicom_node.report.uids import node_device_uid
from dicom_node.version import MODEL_NAME

CORRECT = "CORRECT"
"""Reason for the Attribute Modification (PS3.3 Section C.12.1.1.9)."""

_UTF8 = "ISO_IR 192"
_ASCII_ONLY = frozenset({"", "ISO_IR 6", "ISO 2022 IR 6"})
"""First values of Specific Character Set that hold nothing but the default repertoire (PS3.5
Section 6.1.2.1), though pydicom writes Latin-1 under them."""

SIGNATURES = ("MACParametersSequence", "DigitalSignaturesSequence")
"""A changed object is not what was signed (PS3.3 Section C.12.1.1.3), and a signature alone
says nothing: they are dropped. The second lies behind the pixels, outside any header."""


def copy_of(copy: CopyPlan, maker: Maker) -> Dataset:
    """Return the copy that `copy` plans, pixels included, with file meta information.

    Raises
    ------
    InvalidDicomError, OSError
        The stored file cannot be read any more.
    """
    ds = dcmread(copy.source.path)
    _fit_character_set(ds, copy)
    before = Dataset()
    for keyword in SIGNATURES:
        ds.pop(keyword, None)
    for change in copy.changes:
        _apply(ds, before, change.tag, change.after)
    _sign(ds, before, copy, maker)
    ds.file_meta = _file_meta(copy, str(ds.SOPClassUID))
    return ds


def _apply(ds: Dataset, before: Dataset, tag: BaseTag, after: DataElement | None) -> None:
    """Put `after` in place of an attribute and keep the old one, as read, in `before`."""
    if tag in ds:
        before[tag] = ds.get_item(tag)
        del ds[tag]
    if after is not None:
        ds[tag] = deepcopy(after)


def _sign(ds: Dataset, before: Dataset, copy: CopyPlan, maker: Maker) -> None:
    """Say who made the copy, when and from what (PS3.3 Sections C.12.1 and C.12.1.1.9)."""
    moment = local_moment(maker.moment, copy.source.header)
    node = node_device_uid(
        maker.uid_root, manufacturer=maker.manufacturer, serial=maker.device_serial
    )
    for keyword, value in (
        ("InstanceCreationDate", moment.strftime("%Y%m%d")),
        ("InstanceCreationTime", moment.strftime("%H%M%S")),
        ("InstanceCreatorUID", node),
    ):
        created = element(keyword, value)
        _apply(ds, before, created.tag, created)
    original = Dataset()
    original.add(element("ModifiedAttributesSequence", [before]))
    original.add(element("AttributeModificationDateTime", _dt(maker)))
    original.add(element("ModifyingSystem", f"{maker.manufacturer} {MODEL_NAME}"[:64]))
    original.add(element("SourceOfPreviousValues", copy.source.sent_by[:64]))
    original.add(element("ReasonForTheAttributeModification", CORRECT))
    _append(ds, "OriginalAttributesSequence", original)
    equipment = ContributingEquipment(
        manufacturer=maker.manufacturer[:64],
        purpose_of_reference=codes.MODIFYING_EQUIPMENT,
        manufacturer_model_name=MODEL_NAME,
        software_versions=maker.software_version[:64],
        device_serial_number=maker.device_serial[:64],
        contribution_datetime=DT(maker.moment.astimezone(UTC).replace(microsecond=0)),
        contribution_description="Filed under the right order, on a person's word",
    )
    _append(ds, "ContributingEquipmentSequence", equipment)


def _append(ds: Dataset, keyword: str, item: Dataset) -> None:
    """Add an item to a sequence; those that earlier systems left stay."""
    present = ds.get(keyword)
    earlier = list(present) if isinstance(present, Sequence) else []
    ds.add(element(keyword, [*earlier, item]))


def _dt(maker: Maker) -> str:
    return maker.moment.astimezone(UTC).strftime("%Y%m%d%H%M%S+0000")


def _file_meta(copy: CopyPlan, sop_class_uid: str) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(copy.sop_instance_uid)
    meta.TransferSyntaxUID = UID(copy.source.transfer_syntax_uid)
    return meta


def _fit_character_set(ds: Dataset, copy: CopyPlan) -> None:
    """Turn the image's texts to UTF-8 where its character set cannot hold the order's."""
    if not holds(text_of(ds, "SpecificCharacterSet"), told_by(copy)):
        ds.decode()
        ds.add(element("SpecificCharacterSet", _UTF8))


def told_by(copy: CopyPlan) -> str:
    """Return all text that the order puts into the copy."""
    return "".join(
        str(item.value)
        for change in copy.changes
        if change.after is not None
        for item in _texts(change.after)
    )


def holds(declared: str, text: str) -> bool:
    """Whether a Specific Character Set can hold `text`, by its first value."""
    first = declared.split("\\", maxsplit=1)[0].strip()
    if text.isascii() or declared == _UTF8:
        return True
    if first in _ASCII_ONLY:
        return False
    try:
        text.encode(convert_encodings(first)[0])
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _texts(item: DataElement) -> list[DataElement]:
    if item.VR != "SQ":
        return [item]
    return [each for part in item.value for each in part.iterall() if each.VR != "SQ"]
