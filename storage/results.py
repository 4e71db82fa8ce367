"""What the models found, one row per (instance, model, configuration)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, update

from storage.models import Result, Study
from storage.rows import columns_of, insert, made_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRow:
    """One model on one instance; see `storage.models.Result`."""

    id: int
    instance_id: int
    model_name: str
    model_version: str
    weights_sha256: str
    configuration_sha256: str
    task: str
    outcome: str
    document: dict[str, Any]
    created_at: datetime


def insert_result(
    connection: Connection,
    *,
    instance_id: int,
    model: Mapping[str, Any],
    outcome: str,
    document: dict[str, Any],
    now: datetime,
) -> bool:
    """Keep one result; False, and nothing changes, when its key is there already.

    Parameters
    ----------
    connection : Connection
        Of the transaction that also appends the audit record.
    instance_id : int
        The instance it is about.
    model : mapping
        `inference.types.ModelIdentity` as JSON: ``name``, ``version``, ``task``,
        ``weights_sha256`` and ``configuration_sha256`` are read.
    outcome : str
        `inference.types.Outcome`.
    document : dict
        What is kept, JSON types only.
    now : datetime
        The present, aware.
    """
    statement = (
        insert(connection, Result)
        .values(
            instance_fk=instance_id,
            model_name=model["name"],
            model_version=model["version"],
            weights_sha256=model["weights_sha256"],
            configuration_sha256=model["configuration_sha256"],
            task=str(model["task"]),
            outcome=str(outcome),
            document=document,
            created_at=now,
        )
        .on_conflict_do_nothing(
            index_elements=[
                "instance_fk",
                "model_name",
                "weights_sha256",
                "configuration_sha256",
            ]
        )
        .returning(Result.id)
    )
    return connection.execute(statement).one_or_none() is not None


def reopen_study(connection: Connection, *, study_id: int) -> None:
    """Note that a report on the study would now say something else.

    Called once in the transaction that keeps an image's results, before the audit records
    (the study's row is locked first, the audit chain last, by everybody). A report that is
    being written meanwhile does not cover the change, so another revision follows it.
    """
    connection.execute(update(Study).where(Study.id == study_id).values(changes=Study.changes + 1))


def results_for(
    connection: Connection, instance_ids: Collection[int]
) -> dict[int, list[ResultRow]]:
    """Return the results of each instance, oldest first; instances without any included."""
    statement = (
        columns_of(ResultRow, Result, instance_id=Result.instance_fk)
        .where(Result.instance_fk.in_(instance_ids))
        .order_by(Result.id)
    )
    found: dict[int, list[ResultRow]] = {instance_id: [] for instance_id in instance_ids}
    for row in made_of(ResultRow, connection.execute(statement)):
        found[row.instance_id].append(row)
    return found
