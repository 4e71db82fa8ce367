"""What every object of a report has in common: patient, study, series, equipment, SOP."""

from datetime import UTC

from highdicom import ContributingEquipment, SOPClass
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pydicom.valuerep import DA, DT, TM

from dicom_node.report import codes
from dicom_node.report.content import ReportRequest
from dicom_node.report.evidence import local_moment, patient_and_study, text_of
from dicom_node.report.reading import models_of
from dicom_node.report.uids import model_device_uid, node_device_uid
from dicom_node.version import MODEL_NAME
from inference.types import ModelIdentity


def new_object(
    request: ReportRequest,
    *,
    sop_class_uid: str,
    sop_instance_uid: str,
    series_instance_uid: str,
    series_number: int,
    series_description: str,
    instance_number: int,
    modality: str,
    source: Dataset,
) -> SOPClass:
    """Return a new object of the request's study, without its content.

    Parameters
    ----------
    source : Dataset
        Header of the image whose patient, study and time zone the object takes.

    Returns
    -------
    SOPClass
        Explicit VR Little Endian, with file meta information. All its moments are
        ``request.created_at``.
    """
    moment = local_moment(request.created_at, source)
    made = SOPClass(
        study_instance_uid=request.study_instance_uid,
        series_instance_uid=series_instance_uid,
        series_number=series_number,
        sop_instance_uid=sop_instance_uid,
        sop_class_uid=sop_class_uid,
        instance_number=instance_number,
        modality=modality,
        manufacturer=request.manufacturer[:64],
        transfer_syntax_uid=ExplicitVRLittleEndian,
        content_qualification="RESEARCH",
        coding_schemes=codes.scheme_declarations(),
        series_description=series_description,
        manufacturer_model_name=MODEL_NAME,
        software_versions=request.software_version[:64],
        device_serial_number=request.device_serial[:64],
        content_date=moment.date(),
        content_time=moment.time(),
        series_date=moment.date(),
        series_time=moment.time(),
    )
    made.update(patient_and_study(source, own_text=_own_text(request, source)))
    made.StudyInstanceUID = request.study_instance_uid
    made.InstanceCreationDate = DA(moment.date())
    made.InstanceCreationTime = TM(moment.time())
    made.InstanceCreatorUID = node_uid(request)
    made.ContributingEquipmentSequence = [
        contributing_model(request, model) for model in models_of(request)
    ]
    return made


def node_uid(request: ReportRequest) -> str:
    """Return the UID of this node as a device."""
    return node_device_uid(
        request.uid_root, manufacturer=request.manufacturer, serial=request.device_serial
    )


def contributing_model(request: ReportRequest, model: ModelIdentity) -> ContributingEquipment:
    """Return an item that names a model and, by its Device UID, its very weights.

    PS3.3 Section C.12.1.1.5; purpose from PS3.16 CID 7005.
    """
    item = ContributingEquipment(
        manufacturer=request.manufacturer[:64],
        purpose_of_reference=codes.PROCESSING_EQUIPMENT,
        manufacturer_model_name=model.name,
        software_versions=model.version,
        contribution_datetime=DT(request.created_at.astimezone(UTC).replace(microsecond=0)),
        contribution_description=(
            f"{model.task.value}; weights sha256 {model.weights_sha256}; "
            f"configuration sha256 {model.configuration_sha256}"
        ),
    )
    item.DeviceUID = model_device_uid(request.uid_root, model)
    return item


def _own_text(request: ReportRequest, source: Dataset) -> str:
    """Return what an object may say that is not of `source`."""
    numbers = {text_of(image.header, "AccessionNumber") for image in request.images}
    numbers |= {each.accession.accession_number for each in request.accessions}
    numbers -= {text_of(source, "AccessionNumber")}
    proposed = [each.proposal.sentence for each in request.proposals]
    regions = [code.meaning for code in request.regions.values()]
    labels = [label.code.meaning for label in request.labels.values() if label.code]
    own = [request.manufacturer, request.device_serial, *regions, *labels]
    return "".join([*own, *sorted(numbers), *proposed])
