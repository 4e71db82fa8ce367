"""Rows for tests of what is stored: instances that were never files."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection
from sqlalchemy import insert as plain_insert

from storage.index import Filed, NewInstance, file_instance
from storage.models import Job
from storage.session import Database
from storage.states import JobKind, JobState

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def new_uid() -> str:
    """Return a UID nobody else has (PS3.5 Section B.2)."""
    return f"2.25.{uuid.uuid4().int}"


def new_instance(**changes: Any) -> NewInstance:
    """Return an instance of a study of its own, taken by a route, received at noon."""
    instance = NewInstance(
        study_instance_uid=new_uid(),
        series_instance_uid=new_uid(),
        sop_instance_uid=new_uid(),
        sop_class_uid="1.2.840.10008.5.1.4.1.1.1",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        content_sha256=uuid.uuid4().hex * 2,
        size_bytes=1000,
        path=f"instances/{uuid.uuid4().hex}.dcm",
        calling_ae_title="MODALITY",
        route="chest",
        urgent=False,
        received_at=NOON,
        patient_id="FAKE-0001",
        patient_name="Invented^Patient",
        accession_number="FAKE-ACC-1",
    )
    return replace(instance, **changes)


def filed(database: Database, instance: NewInstance | None = None, **changes: Any) -> Filed:
    """File an instance in a transaction of its own."""
    new = instance if instance is not None else new_instance()
    with database.transaction() as connection:
        return file_instance(connection, replace(new, **changes))


def add_job(
    connection: Connection,
    key: str,
    study_id: int,
    state: JobState = JobState.QUEUED,
    kind: JobKind = JobKind.ANALYSE,
) -> None:
    """Keep a job in `state`."""
    connection.execute(
        plain_insert(Job).values(
            key=key,
            kind=str(kind),
            queue=str(kind),
            study_fk=study_id,
            state=str(state),
            due_at=NOON,
            created_at=NOON,
            updated_at=NOON,
        )
    )
