"""What a person sees first: the newest studies and how far each has come."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, func, select

from storage.models import Accession, Delivery, Instance, Job, Patient, Report, ReportObject, Study
from storage.reports import ARRIVED, sr_replaced
from storage.states import JobState


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class StudyListing:
    """A study on a list for people; without a repr, because it names a patient."""

    study_id: int
    study_instance_uid: str
    patient_id: str
    patient_name: str
    accession_numbers: tuple[str, ...]
    study_date: str
    study_description: str
    calling_ae_title: str
    urgent: bool
    last_received_at: datetime
    instances: int
    other_patient_instances: int
    """Of these, how many name another patient: kept, but left out of every report."""

    waiting_jobs: int
    parked_jobs: int
    routed: bool
    """Whether a route took any of its images; one without is only stored."""

    revision: int
    report: dict[str, Any] | None
    """The newest report's document; None before the first."""

    deliveries: int
    """Objects of the newest report that have a destination; without an SR that was refused
    there and arrived in another profile."""

    delivered: int
    """Of these, how many arrived."""


def study_listing(connection: Connection, limit: int) -> list[StudyListing]:
    """Return at most `limit` studies, the newest first."""
    rows = connection.execute(_listing().limit(limit)).all()
    numbers = _accession_numbers(connection, [row.study_id for row in rows])
    return [
        StudyListing(**row._mapping, accession_numbers=numbers.get(row.study_id, ()))
        for row in rows
    ]


def _listing() -> Select[Any]:
    return (
        select(
            Study.id.label("study_id"),
            Study.study_instance_uid,
            Patient.patient_id,
            Patient.patient_name,
            Study.study_date,
            Study.study_description,
            Study.calling_ae_title,
            Study.urgent,
            Study.last_received_at,
            _instances().scalar_subquery().label("instances"),
            _instances()
            .where(Instance.patient_fk != Study.patient_fk)
            .scalar_subquery()
            .label("other_patient_instances"),
            _jobs(JobState.QUEUED).label("waiting_jobs"),
            _jobs(JobState.PARKED).label("parked_jobs"),
            (Study.changes > 0).label("routed"),
            Study.revision,
            Report.document.label("report"),
            _deliveries().scalar_subquery().label("deliveries"),
            _deliveries().where(Delivery.outcome.in_(ARRIVED)).scalar_subquery().label("delivered"),
        )
        .join(Patient, Patient.id == Study.patient_fk)
        .join(
            Report,
            (Report.study_fk == Study.id) & (Report.revision == Study.revision),
            isouter=True,
        )
        .order_by(Study.last_received_at.desc(), Study.id.desc())
    )


def _instances() -> Select[Any]:
    return select(func.count()).select_from(Instance).where(Instance.study_fk == Study.id)


def _jobs(state: JobState) -> Any:
    return (
        select(func.count())
        .select_from(Job)
        .where(Job.study_fk == Study.id, Job.state == str(state))
        .scalar_subquery()
    )


def _deliveries() -> Select[Any]:
    return (
        select(func.count())
        .select_from(Delivery)
        .join(ReportObject, ReportObject.id == Delivery.report_object_fk)
        .where(ReportObject.report_fk == Report.id, ~sr_replaced())
        .correlate(Report)
    )


def _accession_numbers(connection: Connection, study_ids: list[int]) -> dict[int, tuple[str, ...]]:
    statement = (
        select(Instance.study_fk, Accession.accession_number)
        .join(Accession, Accession.id == Instance.accession_fk)
        .where(Instance.study_fk.in_(study_ids))
        .distinct()
        .order_by(Instance.study_fk, Accession.accession_number)
    )
    numbers: dict[int, tuple[str, ...]] = {}
    for study_id, number in connection.execute(statement):
        numbers[study_id] = (*numbers.get(study_id, ()), number)
    return numbers
