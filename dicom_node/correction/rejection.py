"""The rejection note: a Key Object Selection that takes images of one study out of use.

PS3.3 Section A.35.4, PS3.16 TID 2010; title (113038, DCM, "Incorrect Modality Worklist
Entry") of PS3.16 CID 7010; IHE RAD TF-3 Section 4.66, Rejection Note Stored.
"""

from datetime import UTC

from highdicom import ContributingEquipment
from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from highdicom.sr import (
    DeviceObserverIdentifyingAttributes,
    ObserverContext,
    PersonObserverIdentifyingAttributes,
)
from pydicom import Dataset
from pydicom.valuerep import DA, DT, TM

from dicom_node.correction.plan import Maker, NotePlan, Source
from dicom_node.report import codes
from dicom_node.report.evidence import (
    element,
    local_moment,
    patient_and_study,
    reference,
    text_of,
)
from dicom_node.report.uids import node_device_uid
from dicom_node.version import MODEL_NAME

_DESCRIPTION = (
    "Filed under the wrong order. Copies under the right order have been sent; "
    "their Original Attributes Sequence names these images."
)


def rejection_note(note: NotePlan, maker: Maker) -> Dataset:
    """Return the rejection note of one study, in Explicit VR Little Endian."""
    evidence = [_evidence(source) for source in note.sources]
    moment = local_moment(maker.moment, note.sources[0].header)
    made = KeyObjectSelectionDocument(
        evidence=evidence,
        content=KeyObjectSelection(
            document_title=codes.INCORRECT_WORKLIST_ENTRY,
            referenced_objects=evidence,
            observer_person_context=_person(maker),
            observer_device_context=_device(maker),
            description=_DESCRIPTION,
        ),
        series_instance_uid=note.series_instance_uid,
        series_number=maker.series_number,
        sop_instance_uid=note.sop_instance_uid,
        instance_number=1,
        manufacturer=maker.manufacturer[:64],
        manufacturer_model_name=MODEL_NAME,
        software_versions=maker.software_version[:64],
        device_serial_number=maker.device_serial[:64],
        series_description="Rejection note: wrong order",
        content_date=moment.date(),
        content_time=moment.time(),
        series_date=moment.date(),
        series_time=moment.time(),
    )
    # As received: the constructor reads identity, so it is written over what it made of it.
    made.update(patient_and_study(note.sources[0].header, own_text=maker.actor))
    made.InstanceCreationDate = DA(moment.date())
    made.InstanceCreationTime = TM(moment.time())
    made.InstanceCreatorUID = _node(maker)
    # highdicom names itself here with the time of day: two equal notes would differ.
    made.ContributingEquipmentSequence = [_equipment(maker)]
    return made


def _evidence(source: Source) -> Dataset:
    """Return what the note needs of an image; never its odd values."""
    item = patient_and_study(source.header)
    item.update(reference(source.header))
    item.add(element("PatientName", None))  # highdicom's warnings repeat what they read
    item.add(element("ReferringPhysicianName", None))
    for keyword in ("Rows", "Columns"):  # highdicom writes IMAGE references where they are
        value = text_of(source.header, keyword)
        if value.isdecimal():
            item.add(element(keyword, int(value)))
    return item


def _person(maker: Maker) -> ObserverContext:
    plain = "".join(" " if letter in "\\^=" else letter for letter in maker.actor)
    name = f"{plain[:63].strip() or 'unknown'}^"  # a family name, whatever it is
    return ObserverContext(
        observer_type=codes.PERSON,
        observer_identifying_attributes=PersonObserverIdentifyingAttributes(name=name),
    )


def _device(maker: Maker) -> ObserverContext:
    return ObserverContext(
        observer_type=codes.DEVICE,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=_node(maker),
            name="Accession reconciliation",
            manufacturer_name=maker.manufacturer[:64],
            model_name=MODEL_NAME,
            serial_number=maker.device_serial[:64] or None,
        ),
    )


def _equipment(maker: Maker) -> ContributingEquipment:
    return ContributingEquipment(
        manufacturer=maker.manufacturer[:64],
        purpose_of_reference=codes.PROCESSING_EQUIPMENT,
        manufacturer_model_name=MODEL_NAME,
        software_versions=maker.software_version[:64],
        contribution_datetime=DT(maker.moment.astimezone(UTC).replace(microsecond=0)),
        contribution_description="Accession reconciliation, on a person's word",
    )


def _node(maker: Maker) -> str:
    return node_device_uid(
        maker.uid_root, manufacturer=maker.manufacturer, serial=maker.device_serial
    )
