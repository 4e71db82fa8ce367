"""Correction packages, their objects, and where those were sent.

One package per proposal; one delivery per (object, destination). Every function works in
the caller's transaction and may be repeated.
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select, update
from sqlalchemy import insert as plain_insert

from storage.models import Accession, Instance, Study
from storage.order_models import Correction, CorrectionDelivery, CorrectionObject, Proposal
from storage.reports import ARRIVED
from storage.rows import columns_of, insert, made_of


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCorrectionObject:
    """An object of a package whose file is durable."""

    role: str
    """``COPY`` or ``NOTE``."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    sha256: str
    path: str
    """Relative to the storage root."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectionRow:
    """A package as it stands."""

    id: int
    proposal_fk: int
    actor: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectionDeliveryRow:
    """One object of a package on its way to one destination, with what is sent."""

    correction_object_id: int
    destination: str
    outcome: str
    status: str
    attempts: int
    delivered_at: datetime | None
    role: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    sha256: str
    path: str

    @property
    def arrived(self) -> bool:
        """Whether the peer has stored it."""
        return self.outcome in ARRIVED


def keep_correction(
    connection: Connection,
    *,
    proposal_id: int,
    actor: str,
    objects: Sequence[NewCorrectionObject],
    destinations: Collection[str],
    created_at: datetime,
) -> int | None:
    """Keep the package of a proposal with its objects and their deliveries, all pending.

    Returns
    -------
    int or None
        Its id; None, and nothing changes, when the proposal has one.
    """
    made = connection.execute(
        insert(connection, Correction)
        .values(proposal_fk=proposal_id, actor=actor[:128], created_at=created_at)
        .on_conflict_do_nothing(index_elements=["proposal_fk"])
        .returning(Correction.id)
    ).scalar_one_or_none()
    if made is None:
        return None
    for each in objects:
        object_id = connection.execute(
            plain_insert(CorrectionObject)
            .values(correction_fk=made, **asdict(each))
            .returning(CorrectionObject.id)
        ).scalar_one()
        connection.execute(
            plain_insert(CorrectionDelivery),
            [
                {
                    "correction_object_fk": object_id,
                    "destination": name,
                    "outcome": "pending",
                    "status": "",
                    "attempts": 0,
                }
                for name in destinations
            ],
        )
    return made


def correction_of(connection: Connection, proposal_id: int) -> CorrectionRow | None:
    """Return the package of a proposal, None where it has none."""
    statement = columns_of(CorrectionRow, Correction).where(Correction.proposal_fk == proposal_id)
    return next(iter(made_of(CorrectionRow, connection.execute(statement))), None)


def corrected_by_others(
    connection: Connection, *, patient_id: int, proposal_id: int
) -> list[dict[str, Any]]:
    """Return the documents of a patient's other proposals that have their packages.

    Parameters
    ----------
    patient_id : int
        Row of the patient.
    """
    statement = (
        select(Proposal.document)
        .join(Correction, Correction.proposal_fk == Proposal.id)
        .where(Proposal.patient_fk == patient_id, Proposal.id != proposal_id)
    )
    return list(connection.scalars(statement))


def correction_deliveries(
    connection: Connection, proposal_id: int, destination: str | None = None
) -> list[CorrectionDeliveryRow]:
    """Return what is sent for a proposal, in the order of sending."""
    statement = (
        columns_of(
            CorrectionDeliveryRow,
            CorrectionDelivery,
            CorrectionObject,
            correction_object_id=CorrectionDelivery.correction_object_fk,
        )
        .join(CorrectionObject, CorrectionObject.id == CorrectionDelivery.correction_object_fk)
        .join(Correction, Correction.id == CorrectionObject.correction_fk)
        .where(Correction.proposal_fk == proposal_id)
        .order_by(CorrectionDelivery.destination, CorrectionObject.id)
    )
    if destination is not None:
        statement = statement.where(CorrectionDelivery.destination == destination)
    return made_of(CorrectionDeliveryRow, connection.execute(statement))


def record_correction_delivery(
    connection: Connection,
    row: CorrectionDeliveryRow,
    *,
    outcome: str,
    status: str,
    at: datetime,
) -> None:
    """Keep what the peer answered for one object; one that has arrived stays arrived."""
    connection.execute(
        update(CorrectionDelivery)
        .where(
            CorrectionDelivery.correction_object_fk == row.correction_object_id,
            CorrectionDelivery.destination == row.destination,
            CorrectionDelivery.outcome.not_in(ARRIVED),
        )
        .values(
            outcome=str(outcome),
            status=status[:32],
            attempts=CorrectionDelivery.attempts + 1,
            delivered_at=at if outcome in ARRIVED else None,
        )
    )


def filed_under(
    connection: Connection, *, patient_id: int, accession_number: str, issuer: str
) -> int | None:
    """Return an instance of a patient that is filed under an accession, the oldest; None
    where there is none.

    One of the very issuer comes before others. An issuer that one side does not name
    contradicts nothing; but where images of several issuers remain, none is meant.

    Parameters
    ----------
    patient_id : int
        Row of the patient.
    """
    rows = connection.execute(
        select(Accession.issuer, func.min(Instance.id))
        .join(Study, Study.id == Instance.study_fk)
        .join(Accession, Accession.id == Instance.accession_fk)
        .where(Study.patient_fk == patient_id, Accession.accession_number == accession_number)
        .group_by(Accession.issuer)
    )
    oldest = {row[0]: int(row[1]) for row in rows}
    if issuer in oldest:
        return oldest[issuer]
    agreeing = [found for each, found in oldest.items() if not (each and issuer)]
    return agreeing[0] if len(agreeing) == 1 else None
