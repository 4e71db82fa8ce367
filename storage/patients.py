"""A patient's studies and accessions, for looking at them together.

Every function works in the caller's transaction.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select, tuple_

from storage.models import Accession, Patient, Study
from storage.rows import NoSuchRow, columns_of, made_of


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PatientRow:
    """A patient as the images name them; without a repr, because it names a patient."""

    id: int
    patient_id: str
    issuer_of_patient_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientStudy:
    """A study of a patient; see `storage.models.Study`."""

    id: int
    study_instance_uid: str
    study_date: str
    calling_ae_title: str
    correlation_id: str
    revision: int
    changes: int
    last_received_at: datetime


def patient_of(connection: Connection, study_id: int) -> PatientRow:
    """Return the patient of a study.

    Raises
    ------
    NoSuchRow
        When `study_id` names none.
    """
    statement = (
        columns_of(PatientRow, Patient)
        .join(Study, Study.patient_fk == Patient.id)
        .where(Study.id == study_id)
    )
    rows = made_of(PatientRow, connection.execute(statement))
    if not rows:
        raise NoSuchRow("no study has this id")
    return rows[0]


def lock_patient(connection: Connection, patient_fk: int) -> None:
    """Let nobody else judge the patient's accessions until this transaction ends.

    Images of the patient are filed meanwhile all the same.
    """
    connection.execute(
        select(Patient.id).where(Patient.id == patient_fk).with_for_update(key_share=True)
    )


def studies_of_patient(connection: Connection, patient_fk: int) -> list[PatientStudy]:
    """Return every study of a patient, by id."""
    statement = (
        columns_of(PatientStudy, Study).where(Study.patient_fk == patient_fk).order_by(Study.id)
    )
    return made_of(PatientStudy, connection.execute(statement))


def accession_ids(
    connection: Connection, wanted: Collection[tuple[str, str]]
) -> dict[tuple[str, str], int]:
    """Return the row of each (accession number, issuer) that images were filed under."""
    key = tuple_(Accession.accession_number, Accession.issuer)
    statement = select(Accession.accession_number, Accession.issuer, Accession.id).where(
        key.in_(list(wanted))
    )
    return {(number, issuer): row for number, issuer, row in connection.execute(statement)}
