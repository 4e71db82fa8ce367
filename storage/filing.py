"""Filing an instance under its patient, study and series, once.

Rows are found or made by their unique keys, so any number of associations may bring the
same new study at once. The study's row is locked last. This runs for every image received,
so each statement is built once: building it costs more than running it.
"""

import uuid
from dataclasses import dataclass, replace
from enum import StrEnum

from sqlalchemy import and_, bindparam, case, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from audit.errors import DatabaseAway
from storage.incoming import NewInstance
from storage.models import Accession, Instance, Patient, Series, Study
from storage.rows import Keyed, table_of

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

    size_bytes: int
    """Of that file."""

    route: str
    """The route that took it; empty where none did."""

    urgent: bool
    """Whether the study is, by this image or by an earlier one."""

    same_patient: bool
    """Whether the image names the study's own patient; one that does not is kept, but no
    report may speak of it."""


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
    place = _place(connection, new)
    accession_id = None
    if new.accession_number:
        accession_id = _ACCESSIONS.found_or_made(
            connection, accession_number=new.accession_number, issuer=new.accession_issuer
        )
    columns = {name: getattr(new, name) for name in _TAKEN_OVER} | {
        "study_fk": place.study_id,
        "series_fk": place.series_id,
        "patient_fk": place.patient_id,
        "accession_fk": accession_id,
        "same_uid": new.sop_instance_uid,
    }
    for _ in range(_FILING_TRIES):
        made = connection.execute(_INSERT_INSTANCE[connection.dialect.name], columns).one_or_none()
        if made is not None:
            is_urgent = connection.execute(
                _NOTE_ARRIVAL,
                {
                    "study": place.study_id,
                    "at": new.received_at,
                    "is_urgent": new.urgent and place.same_patient,
                    "routed": 1 if new.route and place.same_patient else 0,
                },
            ).scalar_one()
            return Filed(
                kind=FiledKind.STORED if made.revision == 1 else FiledKind.REVISION,
                instance_id=made.id,
                study_id=place.study_id,
                correlation_id=place.correlation_id,
                revision=made.revision,
                path=new.path,
                size_bytes=new.size_bytes,
                route=new.route,
                urgent=is_urgent,
                same_patient=place.same_patient,
            )
        # Another took this revision, or brought the same bytes; it has committed by now.
        earlier = _same_bytes(connection, new)
        if earlier is not None:
            return earlier
    raise DatabaseAway("other revisions of this instance were filed at the same moment")


def take_route(connection: Connection, earlier: Filed, new: NewInstance) -> Filed:
    """Give the duplicate `earlier`, which no route had taken, the route that takes `new`.

    Returns it as it was where another has given it one meanwhile.
    """
    values = {"row": earlier.instance_id, "new_route": new.route}
    if connection.execute(_TAKE_ROUTE, values).rowcount != 1:
        return earlier
    is_urgent = connection.execute(
        _NOTE_ARRIVAL,
        {
            "study": earlier.study_id,
            "at": new.received_at,
            "is_urgent": new.urgent,
            "routed": 1,
        },
    ).scalar_one()
    return replace(earlier, route=new.route, urgent=is_urgent)


def replace_file(connection: Connection, earlier: Filed, new: NewInstance) -> bool:
    """Let the row of the duplicate `earlier` speak of the file of `new`, which has the same
    data set; return False when another has replaced that file meanwhile."""
    values = {
        "row": earlier.instance_id,
        "was": earlier.path,
        "new_path": new.path,
        "new_size": new.size_bytes,
    }
    return connection.execute(_REPLACE_FILE, values).rowcount == 1


def _same_bytes(connection: Connection, new: NewInstance) -> Filed | None:
    row = connection.execute(
        _SAME_BYTES, {"uid": new.sop_instance_uid, "sha256": new.content_sha256}
    ).one_or_none()
    return None if row is None else Filed(kind=FiledKind.DUPLICATE, **row._mapping)


@dataclass(frozen=True, slots=True)
class _Place:
    study_id: int
    correlation_id: str
    series_id: int
    patient_id: int
    """Of the image's own patient."""

    same_patient: bool


def _place(connection: Connection, new: NewInstance) -> _Place:
    """Return where `new` belongs, in rows that are made where they were not there.

    The first image decides whose study it is. An image of the same Patient ID that names no
    issuer where the study does, or the other way round, is taken as the same patient's.
    """
    uids = {"study": new.study_instance_uid, "series": new.series_instance_uid}
    row = connection.execute(_PLACE, uids).one_or_none()
    if row is None:
        _make_study(connection, new)
        row = connection.execute(_PLACE, uids).one()
    issuers = {row.issuer_of_patient_id, new.issuer_of_patient_id} - {""}
    same_patient = row.patient_id == new.patient_id and len(issuers) <= 1
    series_id = row.series_id or _SERIES.found_or_made(
        connection,
        study_fk=row.study_id,
        series_instance_uid=new.series_instance_uid,
        modality=new.modality,
        body_part_examined=new.body_part_examined,
        series_description=new.series_description,
        series_number=new.series_number,
    )
    patient_id = row.patient_fk if same_patient else _patient(connection, new)
    return _Place(row.study_id, row.correlation_id, series_id, patient_id, same_patient)


def _patient(connection: Connection, new: NewInstance) -> int:
    return _PATIENTS.found_or_made(
        connection,
        patient_id=new.patient_id,
        issuer_of_patient_id=new.issuer_of_patient_id,
        patient_name=new.patient_name,
        birth_date=new.birth_date,
        sex=new.sex,
    )


def _make_study(connection: Connection, new: NewInstance) -> None:
    _STUDIES.found_or_made(
        connection,
        study_instance_uid=new.study_instance_uid,
        patient_fk=_patient(connection, new),
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


_PATIENTS = Keyed(Patient, "patient_id", "issuer_of_patient_id")
_ACCESSIONS = Keyed(Accession, "accession_number", "issuer")
_STUDIES = Keyed(Study, "study_instance_uid")
_SERIES = Keyed(Series, "study_fk", "series_instance_uid")

_study, _series, _instance = table_of(Study).c, table_of(Series).c, table_of(Instance).c
_patient_of = table_of(Patient).c

_TAKEN_OVER = (
    "sop_instance_uid",
    "sop_class_uid",
    "transfer_syntax_uid",
    "instance_number",
    "content_sha256",
    "size_bytes",
    "path",
    "calling_ae_title",
    "route",
    "received_at",
)

_SAME_BYTES = (
    select(
        _instance.id.label("instance_id"),
        _study.id.label("study_id"),
        _study.correlation_id,
        _instance.revision,
        _instance.path,
        _instance.size_bytes,
        _instance.route,
        _study.urgent,
        (_instance.patient_fk == _study.patient_fk).label("same_patient"),
    )
    .join_from(table_of(Instance), table_of(Study), _instance.study_fk == _study.id)
    .where(
        _instance.sop_instance_uid == bindparam("uid"),
        _instance.content_sha256 == bindparam("sha256"),
    )
)

_REPLACE_FILE = (
    update(table_of(Instance))
    .where(_instance.id == bindparam("row"), _instance.path == bindparam("was"))
    .values(path=bindparam("new_path"), size_bytes=bindparam("new_size"))
)

_TAKE_ROUTE = (
    update(table_of(Instance))
    .where(_instance.id == bindparam("row"), _instance.route == "")
    .values(route=bindparam("new_route"))
)

_PLACE = (
    select(
        _study.id.label("study_id"),
        _study.correlation_id,
        _series.id.label("series_id"),
        _study.patient_fk,
        _patient_of.patient_id,
        _patient_of.issuer_of_patient_id,
    )
    .join_from(table_of(Study), table_of(Patient), _study.patient_fk == _patient_of.id)
    .join_from(
        table_of(Study),
        table_of(Series),
        and_(_series.study_fk == _study.id, _series.series_instance_uid == bindparam("series")),
        isouter=True,
    )
    .where(_study.study_instance_uid == bindparam("study"))
)

_NEXT_REVISION = (
    select(func.coalesce(func.max(_instance.revision), 0) + 1)
    .where(_instance.sop_instance_uid == bindparam("same_uid"))
    .scalar_subquery()
)
_INSERT_INSTANCE = {
    name: dialect.insert(table_of(Instance))
    .values(revision=_NEXT_REVISION)
    .on_conflict_do_nothing()
    .returning(_instance.id, _instance.revision)
    for name, dialect in (("postgresql", postgresql), ("sqlite", sqlite))
}

_at = bindparam("at", type_=_study.last_received_at.type)
_NOTE_ARRIVAL = (
    update(table_of(Study))
    .where(_study.id == bindparam("study"))
    .values(
        last_received_at=case((_study.last_received_at < _at, _at), else_=_study.last_received_at),
        urgent=or_(_study.urgent, bindparam("is_urgent", type_=_study.urgent.type)),
        changes=_study.changes + bindparam("routed", type_=_study.changes.type),
    )
    .returning(_study.urgent)
)
