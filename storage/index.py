"""What was received, found again. Every function reads in the caller's transaction."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, bindparam, exists, func, select, text
from sqlalchemy.orm import aliased

from storage.filing import Filed, FiledKind, file_instance, replace_file, take_route
from storage.incoming import NewInstance, new_instance_from_header
from storage.models import UNREPORTED, Accession, Instance, Job, ReportObject, Series, Study
from storage.order_models import CorrectionObject
from storage.rows import NoSuchRow, columns_of, made_of
from storage.states import JobKind, JobState

__all__ = (
    "NewInstance",
    "new_instance_from_header",
    "FiledKind",
    "Filed",
    "file_instance",
    "replace_file",
    "take_route",
    "InstanceRow",
    "instance",
    "current_instances",
    "reading_order",
    "StudyRow",
    "study",
    "study_by_uid",
    "SettlingStudy",
    "settling",
    "is_report_object",
    "known_paths",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceRow:
    """A received instance with the identifiers above it."""

    id: int
    study_id: int
    correlation_id: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    revision: int
    sop_class_uid: str
    transfer_syntax_uid: str
    modality: str
    body_part_examined: str
    series_number: str
    instance_number: str
    accession_number: str
    accession_issuer: str
    content_sha256: str
    size_bytes: int
    path: str
    calling_ae_title: str
    route: str
    received_at: datetime
    same_patient: bool
    """Whether the image names the study's own patient; else no report may speak of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRow:
    """A study; see `storage.models.Study`."""

    id: int
    study_instance_uid: str
    correlation_id: str
    calling_ae_title: str
    urgent: bool
    revision: int
    last_received_at: datetime
    changes: int
    reported_changes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlingStudy:
    """A study of which something is in no report yet."""

    study_id: int
    study_instance_uid: str
    correlation_id: str
    calling_ae_title: str
    urgent: bool
    revision: int
    """Of its newest report; 0 before the first."""

    last_received_at: datetime
    changes: int
    waiting: int
    """How many of its images wait for their analysis or are in it."""

    retrying: int
    """Of those that wait, how many have failed before and are tried again later."""


def instance(connection: Connection, instance_id: int) -> InstanceRow:
    """Return one instance.

    Raises
    ------
    NoSuchRow
        When `instance_id` names none.
    """
    rows = made_of(InstanceRow, connection.execute(_instances().where(Instance.id == instance_id)))
    if not rows:
        raise NoSuchRow("no instance has this id")
    return rows[0]


def current_instances(connection: Connection, study_id: int) -> list[InstanceRow]:
    """Return the newest revision of each image of a study, in the order of Series Number and
    Instance Number (numbers before words, then by UID).

    An image that names another patient replaces none of the study's own.
    """
    newer = aliased(Instance)
    replaced = exists().where(
        newer.study_fk == Instance.study_fk,
        newer.patient_fk == Instance.patient_fk,
        newer.sop_instance_uid == Instance.sop_instance_uid,
        newer.revision > Instance.revision,
    )
    statement = _instances().where(Instance.study_fk == study_id, ~replaced)
    rows = made_of(InstanceRow, connection.execute(statement))
    return sorted(rows, key=reading_order)


def study(connection: Connection, study_id: int) -> StudyRow:
    """Return one study.

    Raises
    ------
    NoSuchRow
        When `study_id` names none.
    """
    rows = made_of(StudyRow, connection.execute(_studies().where(Study.id == study_id)))
    if not rows:
        raise NoSuchRow("no study has this id")
    return rows[0]


def study_by_uid(connection: Connection, study_instance_uid: str) -> StudyRow | None:
    """Return the study with this Study Instance UID, if it is here."""
    statement = _studies().where(Study.study_instance_uid == study_instance_uid)
    return next(iter(made_of(StudyRow, connection.execute(statement))), None)


def settling(connection: Connection) -> list[SettlingStudy]:
    """Return the studies of which something is in no report yet, the quietest first."""

    def jobs(state: JobState, *more: ColumnElement[bool]) -> Any:
        return (
            select(func.count())
            .select_from(Job)
            .where(
                Job.study_fk == Study.id,
                Job.kind == str(JobKind.ANALYSE),
                Job.state == str(state),
                *more,
            )
            .scalar_subquery()
        )

    statement = (
        select(
            Study.id.label("study_id"),
            Study.study_instance_uid,
            Study.correlation_id,
            Study.calling_ae_title,
            Study.urgent,
            Study.revision,
            Study.last_received_at,
            Study.changes,
            jobs(JobState.QUEUED).label("waiting"),
            jobs(JobState.QUEUED, Job.attempt > Job.first_attempt).label("retrying"),
        )
        .where(text(UNREPORTED))
        .order_by(Study.last_received_at)
    )
    return made_of(SettlingStudy, connection.execute(statement))


def is_report_object(connection: Connection, sop_instance_uid: str) -> bool:
    """Return whether an object of a report of ours has this SOP Instance UID."""
    found = connection.execute(_REPORT_OBJECT, {"uid": sop_instance_uid})
    return found.first() is not None


def known_paths(connection: Connection, paths: Collection[str]) -> set[str]:
    """Return those of `paths` (relative, at most some hundreds) that a row speaks of."""
    received = select(Instance.path).where(Instance.path.in_(paths))
    reported = select(ReportObject.path).where(ReportObject.path.in_(paths))
    corrected = select(CorrectionObject.path).where(CorrectionObject.path.in_(paths))
    return {path for each in (received, reported, corrected) for path in connection.scalars(each)}


_REPORT_OBJECT = select(ReportObject.id).where(ReportObject.sop_instance_uid == bindparam("uid"))
"""Built once: it is asked for every image received."""


def _studies() -> Select[Any]:
    return columns_of(StudyRow, Study)


def _instances() -> Select[Any]:
    return (
        columns_of(
            InstanceRow,
            Instance,
            Series,
            Study,
            study_id=Instance.study_fk,
            same_patient=Instance.patient_fk == Study.patient_fk,
            accession_number=func.coalesce(Accession.accession_number, ""),
            accession_issuer=func.coalesce(Accession.issuer, ""),
        )
        .join(Study, Study.id == Instance.study_fk)
        .join(Series, Series.id == Instance.series_fk)
        .join(Accession, Accession.id == Instance.accession_fk, isouter=True)
    )


def reading_order(row: InstanceRow) -> tuple[Any, ...]:
    """Return the sort key of an image within its study: series number, instance number."""

    def ranked(number: str) -> tuple[int, int, str]:
        try:
            return (0, int(number), "")
        except ValueError:
            return (1, 0, number)

    return (
        ranked(row.series_number),
        row.series_instance_uid,
        ranked(row.instance_number),
        row.sop_instance_uid,
    )
