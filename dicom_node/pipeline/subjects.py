"""Whom an audit record is about: rows and headers become subjects (pure)."""

from pydicom import Dataset

from audit.entries import Subject
from audit.pseudonym import Pseudonyms
from dicom_node.report.evidence import text_of
from storage.index import InstanceRow


def image_subject(
    row: InstanceRow,
    header: Dataset,
    pseudonyms: Pseudonyms,
    *,
    pixel_sha256: str | None = None,
) -> Subject:
    """Return the subject of a record about one image; names nobody."""
    study = study_subject(header, pseudonyms)
    return Subject(
        patient_pseudonym=study.patient_pseudonym,
        accession_pseudonym=study.accession_pseudonym,
        study_instance_uid=study.study_instance_uid,
        series_instance_uid=text_of(header, "SeriesInstanceUID"),
        sop_instance_uid=row.sop_instance_uid,
        sop_class_uid=row.sop_class_uid,
        transfer_syntax_uid=row.transfer_syntax_uid,
        revision=row.revision,
        content_sha256=row.content_sha256,
        pixel_sha256=pixel_sha256 or "",
        modality=text_of(header, "Modality"),
        body_part_examined=text_of(header, "BodyPartExamined"),
        view_position=text_of(header, "ViewPosition"),
        laterality=text_of(header, "ImageLaterality") or text_of(header, "Laterality"),
    )


def row_subject(row: InstanceRow) -> Subject:
    """Return the subject of a record about an image whose file cannot be relied on."""
    return Subject(
        study_instance_uid=row.study_instance_uid,
        series_instance_uid=row.series_instance_uid,
        sop_instance_uid=row.sop_instance_uid,
        sop_class_uid=row.sop_class_uid,
        transfer_syntax_uid=row.transfer_syntax_uid,
        revision=row.revision,
        content_sha256=row.content_sha256,
        modality=row.modality,
        body_part_examined=row.body_part_examined,
    )


def study_subject(
    header: Dataset, pseudonyms: Pseudonyms, *, sop_instance_uid: str = ""
) -> Subject:
    """Return the subject of a record about the study that `header` belongs to."""
    return Subject(
        patient_pseudonym=pseudonyms.patient(
            text_of(header, "PatientID"), text_of(header, "IssuerOfPatientID")
        ),
        accession_pseudonym=pseudonyms.accession(text_of(header, "AccessionNumber")),
        study_instance_uid=text_of(header, "StudyInstanceUID"),
        sop_instance_uid=sop_instance_uid,
    )
