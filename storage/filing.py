"""Filing an instance under its patient, study and series, once.

Rows are found or made by their unique keys, so any number of associations may bring the
same new study at once. The study's row is locked last.
"""

import uuid
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, case, func, literal, or_, select, update

from audit.errors import DatabaseAway
from storage.columns import UtcDateTime
from storage.incoming import NewInstance
from storage.models import Accession, Base, Instance, Patient, Series, Study
from storage.rows import insert

_FILING_TRIES = 5


class FiledKind(StrEnum):
    """What filing made of an instance."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    """The same bytes were here; nothing has changed."""

    REVISION = "revision"
    """The same SOP Instance UID with other bytes; both are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filed:
    """Where an instance was filed."""

    kind: FiledKind
    instance_id: int
    study_id: int
    correlation_id: str
    revision: int
    path: str
    """Of the bytes that the row speaks of: for a duplicate, the earlier file's."""


def file_instance(connection: Connection, new: NewInstance) -> Filed:
    """File `new`, once: bytes that are here already change nothing.

    Raises
    ------
    DatabaseAway
        Others filed revisions of the same UID all the time; try again.
    """
    earlier = _same_bytes(connection, new)
    if earlier is not None:
        return earlier
    study_id, correlation_id = _study_of(connection, new)
    series_id = _found_or_made(
        connection,
        Series,
        {"study_fk": study_id, "series_instance_uid": new.series_instance_uid},
        modality=new.modality,
        body_part_examined=new.body_part_examined,
        series_description=new.series_description,
        series_number=new.series_number,
    )
    accession_id = None
    if new.accession_number:
        accession_id = _found_or_made(
            connection,
            Accession,
            {"accession_number": new.accession_number, "issuer": new.accession_issuer},
        )
    for _ in range(_FILING_TRIES):
        made = _insert_instance(connection, new, study_id, series_id, accession_id)
        if made is not None:
            instance_id, revision = made
            _note_arrival(connection, study_id, new)
            return Filed(
                kind=FiledKind.STORED if revision == 1 else FiledKind.REVISION,
                instance_id=instance_id,
                study_id=study_id,
                correlation_id=correlation_id,
                revision=revision,
                path=new.path,
            )
        earlier = _same_bytes(connection, new)
        if earlier is not None:
            return earlier
    raise DatabaseAway("other revisions of this instance were filed at the same moment")


def _same_bytes(connection: Connection, new: NewInstance) -> Filed | None:
    row = connection.execute(
        select(
            Instance.id.label("instance_id"),
            Instance.study_fk.label("study_id"),
            Study.correlation_id,
            Instance.revision,
            Instance.path,
        )
        .join(Study, Study.id == Instance.study_fk)
        .where(
            Instance.sop_instance_uid == new.sop_instance_uid,
            Instance.content_sha256 == new.content_sha256,
        )
    ).one_or_none()
    return None if row is None else Filed(kind=FiledKind.DUPLICATE, **row._mapping)


def _study_of(connection: Connection, new: NewInstance) -> tuple[int, str]:
    """Return id and correlation id of the study; the first image decides whose it is."""
    wanted = select(Study.id, Study.correlation_id).where(
        Study.study_instance_uid == new.study_instance_uid
    )
    row = connection.execute(wanted).one_or_none()
    if row is None:
        patient_id = _found_or_made(
            connection,
            Patient,
            {"patient_id": new.patient_id, "issuer_of_patient_id": new.issuer_of_patient_id},
            patient_name=new.patient_name,
            birth_date=new.birth_date,
            sex=new.sex,
        )
        connection.execute(
            insert(connection, Study)
            .values(
                study_instance_uid=new.study_instance_uid,
                patient_fk=patient_id,
                study_id=new.study_id,
                study_date=new.study_date,
                study_time=new.study_time,
                study_description=new.study_description,
                correlation_id=str(uuid.uuid4()),
                calling_ae_title=new.calling_ae_title,
                urgent=False,
                revision=0,
                last_received_at=new.received_at,
                changes=0,
                reported_changes=0,
            )
            .on_conflict_do_nothing(index_elements=["study_instance_uid"])
        )
        row = connection.execute(wanted).one()
    return row.id, row.correlation_id


def _found_or_made(
    connection: Connection, table: type[Base], key: dict[str, Any], **others: Any
) -> int:
    """Return the id of the row with `key`, made with `others` when it was not there."""
    columns = table.__table__.c
    wanted = select(columns.id).where(*(columns[name] == value for name, value in key.items()))
    found = connection.execute(wanted).scalar_one_or_none()
    if found is None:
        connection.execute(
            insert(connection, table)
            .values(**key, **others)
            .on_conflict_do_nothing(index_elements=list(key))
        )
        found = connection.execute(wanted).scalar_one()
    return int(found)


def _insert_instance(
    connection: Connection,
    new: NewInstance,
    study_id: int,
    series_id: int,
    accession_id: int | None,
) -> tuple[int, int] | None:
    """Return (id, revision), or None when another took the revision or brought the bytes."""
    next_revision = (
        select(func.coalesce(func.max(Instance.revision), 0) + 1)
        .where(Instance.sop_instance_uid == new.sop_instance_uid)
        .scalar_subquery()
    )
    names = {column.name for column in Instance.__table__.c}
    described = {name: value for name, value in asdict(new).items() if name in names}
    statement = (
        insert(connection, Instance)
        .values(
            **described,
            revision=next_revision,
            series_fk=series_id,
            study_fk=study_id,
            accession_fk=accession_id,
        )
        .on_conflict_do_nothing()
        .returning(Instance.id, Instance.revision)
    )
    row = connection.execute(statement).one_or_none()
    return None if row is None else (row.id, row.revision)


def _note_arrival(connection: Connection, study_id: int, new: NewInstance) -> None:
    received_at = literal(new.received_at, UtcDateTime())
    later = case((Study.last_received_at < received_at, received_at), else_=Study.last_received_at)
    connection.execute(
        update(Study)
        .where(Study.id == study_id)
        .values(
            last_received_at=later,
            urgent=or_(Study.urgent, literal(new.urgent)),
            changes=Study.changes + (1 if new.route else 0),
        )
    )
