"""Proposals and their lives.

Every function works in the caller's transaction and may be repeated. `storage.states`
alone says which changes of a proposal exist.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select, update

from audit.errors import Fault, Transient
from storage.order_models import Proposal, ProposalStudy
from storage.rows import columns_of, insert
from storage.states import ProposalState, check_proposal


class NoSuchProposal(Fault):
    """A proposal id that names no row."""

    code = "storage.proposal.unknown"


class StaleProposal(Transient):
    """Another transaction has just changed the proposal; read it again."""

    code = "storage.proposal.stale"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ProposalRow:
    """A proposal as it stands; see `storage.models.Proposal`. Its document names orders."""

    id: int
    key: str
    patient_fk: int
    kind: str
    state: ProposalState
    document: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    decided_at: datetime | None
    decided_by: str
    note: str


class Proposed(StrEnum):
    """What became of a proposal that was made."""

    FRESH = "fresh"
    REOPENED = "reopened"
    KNOWN = "known"
    """Open already, or decided by a person."""


def propose(
    connection: Connection,
    *,
    key: str,
    kind: str,
    patient_fk: int,
    document: dict[str, Any],
    now: datetime,
) -> tuple[int, Proposed]:
    """Make a proposal, once; one that was superseded opens again. `join` says of which studies.

    An open one takes the new document (margins move when images come); a decided one keeps what
    the person saw.

    Returns
    -------
    tuple
        Its id, and what became of it.
    """
    made = connection.execute(
        insert(connection, Proposal)
        .values(
            key=key,
            kind=kind,
            patient_fk=patient_fk,
            state=str(ProposalState.OPEN),
            document=document,
            created_at=now,
            updated_at=now,
            decided_by="",
            note="",
        )
        .on_conflict_do_nothing(index_elements=["key"])
        .returning(Proposal.id)
    ).scalar_one_or_none()
    if made is not None:
        return made, Proposed.FRESH
    known = _rows(connection.execute(_proposals().where(Proposal.key == key)))[0]
    if known.state is ProposalState.SUPERSEDED:
        _change(connection, known, ProposalState.OPEN, now, {"document": document})
        return known.id, Proposed.REOPENED
    if known.state is ProposalState.OPEN and known.document != document:
        connection.execute(
            update(Proposal)
            .where(Proposal.id == known.id, Proposal.state == str(ProposalState.OPEN))
            .values(document=document, updated_at=now)
        )
    return known.id, Proposed.KNOWN


def join(connection: Connection, proposal_id: int, study_ids: Collection[int]) -> list[int]:
    """Have an open proposal speak of these studies, too; return those that are new to it.

    A decided one keeps what the person saw.
    """
    if get(connection, proposal_id).state is not ProposalState.OPEN:
        return []
    pairs = [{"proposal_fk": proposal_id, "study_fk": each} for each in sorted(set(study_ids))]
    statement = (
        insert(connection, ProposalStudy)
        .values(pairs)
        .on_conflict_do_nothing(index_elements=["proposal_fk", "study_fk"])
    )
    return sorted(connection.scalars(statement.returning(ProposalStudy.study_fk)))


def supersede(
    connection: Connection,
    *,
    patient_fk: int,
    study_ids: Collection[int],
    keep: Collection[str],
    now: datetime,
) -> list[int]:
    """Supersede the open proposals that speak only of `study_ids` and are not in `keep`.

    Returns the ids of those that were superseded.
    """
    outside = select(ProposalStudy.proposal_fk).where(ProposalStudy.study_fk.not_in(study_ids))
    statement = _proposals().where(
        Proposal.patient_fk == patient_fk,
        Proposal.state == str(ProposalState.OPEN),
        Proposal.key.not_in(keep),
        Proposal.id.not_in(outside),
    )
    rows = _rows(connection.execute(statement.order_by(Proposal.id)))
    for row in rows:
        _change(connection, row, ProposalState.SUPERSEDED, now, {})
    return [row.id for row in rows]


def decide(
    connection: Connection,
    proposal_id: int,
    wanted: ProposalState,
    *,
    actor: str,
    note: str,
    now: datetime,
) -> ProposalRow:
    """Accept or reject a proposal on a person's word; return it as it stands now.

    Append the audit record in the same transaction.

    Raises
    ------
    NoSuchProposal
        When `proposal_id` names none.
    IllegalTransition
        When it is not open.
    StaleProposal
        When another transaction has just changed it.
    """
    row = get(connection, proposal_id)
    values = {"decided_at": now, "decided_by": actor[:128], "note": note}
    _change(connection, row, wanted, now, values)
    return get(connection, proposal_id)


def get(connection: Connection, proposal_id: int) -> ProposalRow:
    """Return one proposal.

    Raises
    ------
    NoSuchProposal
        When `proposal_id` names none.
    """
    rows = _rows(connection.execute(_proposals().where(Proposal.id == proposal_id)))
    if not rows:
        raise NoSuchProposal("a proposal id must name a proposal")
    return rows[0]


def listing(
    connection: Connection,
    *,
    state: ProposalState | None = None,
    accession_number: str = "",
    limit: int = 100,
) -> list[ProposalRow]:
    """Return proposals, the newest first.

    Parameters
    ----------
    state : ProposalState, optional
        Only those in it.
    accession_number : str
        Only those that move an image from or to this number; empty means all.
    """
    statement = _proposals().order_by(Proposal.created_at.desc(), Proposal.id.desc())
    if state is not None:
        statement = statement.where(Proposal.state == str(state))
    if not accession_number:
        return _rows(connection.execute(statement.limit(limit)))
    rows = _rows(connection.execute(statement))
    return [row for row in rows if _names(row, accession_number)][:limit]


def counts(connection: Connection) -> dict[tuple[str, ProposalState], int]:
    """Return how many proposals of each kind are in each state."""
    statement = select(Proposal.kind, Proposal.state, func.count()).group_by(
        Proposal.kind, Proposal.state
    )
    return {(kind, ProposalState(state)): n for kind, state, n in connection.execute(statement)}


def of_study(connection: Connection, study_id: int) -> list[ProposalRow]:
    """Return the proposals that speak of images of a study, the oldest first."""
    statement = (
        _proposals()
        .join(ProposalStudy, ProposalStudy.proposal_fk == Proposal.id)
        .where(ProposalStudy.study_fk == study_id)
        .order_by(Proposal.id)
    )
    return _rows(connection.execute(statement))


def decided_of(connection: Connection, patient_fk: int) -> list[ProposalRow]:
    """Return the proposals of a patient that a person has decided, the oldest first."""
    decided = [str(state) for state in (ProposalState.ACCEPTED, ProposalState.REJECTED)]
    statement = _proposals().where(Proposal.patient_fk == patient_fk, Proposal.state.in_(decided))
    return _rows(connection.execute(statement.order_by(Proposal.id)))


def studies_of(connection: Connection, proposal_id: int) -> list[int]:
    """Return the ids of the studies that a proposal speaks of."""
    statement = (
        select(ProposalStudy.study_fk)
        .where(ProposalStudy.proposal_fk == proposal_id)
        .order_by(ProposalStudy.study_fk)
    )
    return list(connection.scalars(statement))


def _names(row: ProposalRow, accession_number: str) -> bool:
    sides = (side for move in row.document["moves"] for side in (move["origin"], move["target"]))
    return any(side["accession_number"] == accession_number for side in sides if side)


def _rows(found: Iterable[Row[Any]]) -> list[ProposalRow]:
    return [
        ProposalRow(**{**row._mapping, "state": ProposalState(row._mapping["state"])})
        for row in found
    ]


def _proposals() -> Select[Any]:
    return columns_of(ProposalRow, Proposal)


def _change(
    connection: Connection,
    row: ProposalRow,
    wanted: ProposalState,
    now: datetime,
    values: dict[str, Any],
) -> None:
    state = check_proposal(row.state, wanted)
    statement = (
        update(Proposal)
        .where(Proposal.id == row.id, Proposal.state == str(row.state))
        .values(state=str(state), updated_at=now, **values)
    )
    if connection.execute(statement).rowcount != 1:
        raise StaleProposal("the proposal has been changed since it was read")
