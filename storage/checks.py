"""How accessions stand to their orders.

Every function works in the caller's transaction and may be repeated.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, delete, or_

from storage.models import Accession
from storage.order_models import AccessionCheck
from storage.rows import columns_of, insert, made_of


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class CheckRow:
    """How one accession stands to its order; see `storage.order_models.AccessionCheck`."""

    key: str
    patient_fk: int | None
    """None for an order of somebody of whom no image of the same days came."""

    accession_fk: int | None
    verdict: str
    document: dict[str, Any]
    checked_at: datetime


def keep_check(connection: Connection, row: CheckRow) -> bool:
    """Keep how an accession stands; False, and nothing changes, when it stood so already."""
    known = check_of(connection, row.key)
    if known is not None and known.document == row.document:
        return False
    values = {
        "patient_fk": row.patient_fk,
        "accession_fk": row.accession_fk,
        "verdict": row.verdict,
        "document": row.document,
        "checked_at": row.checked_at,
    }
    connection.execute(
        insert(connection, AccessionCheck)
        .values(key=row.key, **values)
        .on_conflict_do_update(index_elements=["key"], set_=values)
    )
    return True


def forget_checks(connection: Connection, keys: Collection[str]) -> list[str]:
    """Remove how these accessions stood; return the keys of those that there were."""
    statement = delete(AccessionCheck).where(AccessionCheck.key.in_(keys))
    return list(connection.scalars(statement.returning(AccessionCheck.key)))


def check_of(connection: Connection, key: str) -> CheckRow | None:
    """Return how an accession stands, None when it was never checked."""
    statement = columns_of(CheckRow, AccessionCheck).where(AccessionCheck.key == key)
    return next(iter(made_of(CheckRow, connection.execute(statement))), None)


def listing(
    connection: Connection,
    *,
    verdicts: Collection[str] = (),
    accession_number: str = "",
    limit: int = 100,
) -> list[CheckRow]:
    """Return how accessions stand, the most recently changed first.

    Parameters
    ----------
    verdicts : collection of str
        Only these; empty means all.
    accession_number : str
        Only those of this number, of whatever issuer; empty means all.
    """
    statement = (
        columns_of(CheckRow, AccessionCheck)
        .order_by(AccessionCheck.checked_at.desc(), AccessionCheck.key)
        .limit(limit)
    )
    if verdicts:
        statement = statement.where(AccessionCheck.verdict.in_(verdicts))
    if accession_number:
        told = AccessionCheck.document["verdict"]["accession"]["accession_number"].as_string()
        statement = statement.join(
            Accession, Accession.id == AccessionCheck.accession_fk, isouter=True
        ).where(
            or_(
                Accession.accession_number == accession_number,
                and_(AccessionCheck.accession_fk.is_(None), told == accession_number),
            )
        )
    return made_of(CheckRow, connection.execute(statement))
