"""What people are told of a proposal (pure). By default nothing that names a patient's order."""

from enum import StrEnum
from typing import Any

from inference.accessions import proposal_from_json
from storage.proposals import ProposalRow

_KINDS = {
    "swap": "images of two or more orders seem to have changed places",
    "move": "images seem to belong to another order of the same patient",
    "missing_order": "images seem to fit no order of their patient",
}


class ProposalEvent(StrEnum):
    """What became of a proposal."""

    OPEN = "open"
    REOPENED = "reopened"
    """Superseded before; what is known now leads there again."""

    SUPERSEDED = "superseded"
    ACCEPTED = "accepted"
    REJECTED = "rejected"


_SUBJECTS = {
    ProposalEvent.OPEN: "A new proposal waits for a decision",
    ProposalEvent.REOPENED: "A proposal holds again and waits for a decision",
    ProposalEvent.SUPERSEDED: "A proposal does not hold any more; nothing is to be done",
    ProposalEvent.ACCEPTED: "A proposal was accepted",
    ProposalEvent.REJECTED: "A proposal was rejected",
}
_DECIDED = frozenset({ProposalEvent.ACCEPTED, ProposalEvent.REJECTED})


def webhook_document(
    row: ProposalRow, event: ProposalEvent, *, with_identifiers: bool
) -> dict[str, Any]:
    """Return the JSON that a webhook is sent.

    ``event``, ``proposal_id``, ``kind``, ``state``, ``images``, ``margin``, ``created_at``,
    ``decided_at``, ``decided_by``; with identifiers also ``sentence`` and
    ``accession_numbers``.
    """
    proposal = proposal_from_json(row.document)
    decided = event in _DECIDED
    state = ProposalEvent.OPEN if event is ProposalEvent.REOPENED else event
    document: dict[str, Any] = {
        "event": f"proposal.{event.value}",
        "proposal_id": row.id,
        "kind": row.kind,
        "state": state.value,
        "images": len(proposal.moves),
        "margin": round(proposal.margin, 3),
        "created_at": row.created_at.isoformat(),
        "decided_at": row.decided_at.isoformat() if decided and row.decided_at else None,
        "decided_by": row.decided_by if decided else "",
    }
    if with_identifiers:
        document |= {"sentence": proposal.sentence, "accession_numbers": _numbers(row)}
    return document


def mail_text(row: ProposalRow, event: ProposalEvent, *, with_identifiers: bool) -> tuple[str, str]:
    """Return subject and body of a mail."""
    proposal = proposal_from_json(row.document)
    subject = f"{_SUBJECTS[event]} (number {row.id})"
    lines = [
        f"{_SUBJECTS[event]}: {_KINDS[row.kind]}.",
        "",
        f"Proposal {row.id}, {len(proposal.moves)} "
        f"{'image' if len(proposal.moves) == 1 else 'images'}.",
    ]
    if with_identifiers:
        lines += [proposal.sentence]
    if event in _DECIDED and row.decided_by:
        lines += [f"Decided by {row.decided_by}."]
    lines += [
        "",
        f"To see it: dicom-node accession show {row.id}",
        "AI result. Not verified. Nothing is moved without a person's word.",
    ]
    return subject, "\n".join(lines) + "\n"


def _numbers(row: ProposalRow) -> list[str]:
    moves = proposal_from_json(row.document).moves
    named = [ref for move in moves for ref in (move.origin, move.target) if ref is not None]
    return sorted({ref.accession_number for ref in named} - {""})
