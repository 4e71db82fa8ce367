"""Accessions and proposals as command line and REST show them (pure). They name orders."""

from typing import Any

from dicom_node.report.wording import accession_line
from inference.accessions import accession_from_json, proposal_from_json
from storage.checks import CheckRow
from storage.proposals import ProposalRow

SIDES = "Sides are compared tag against order; they are never read from the pixels."


def accession_view(row: CheckRow) -> dict[str, Any]:
    """Return one accession as JSON types: its standing, its images, its orders."""
    verdict = accession_from_json(row.document["verdict"])
    return {
        "accession_number": verdict.accession.accession_number,
        "issuer": verdict.accession.issuer,
        "standing": verdict.standing.value,
        "sentence": accession_line(verdict),
        "ordered": list(verdict.expected.regions) if verdict.expected is not None else [],
        "ordered_by": verdict.expected.source.value if verdict.expected is not None else None,
        "missing": list(verdict.missing),
        "cancelled": verdict.cancelled,
        "stale": verdict.stale,
        "orders": row.document["orders"],
        "calling_ae_titles": row.document["calling_ae_titles"],
        "checked_at": row.checked_at.isoformat(),
        "images": [
            {
                "number": image.image.number,
                "sop_instance_uid": image.image.sop_instance_uid,
                "study_instance_uid": image.image.study_instance_uid,
                "standing": image.standing.value,
                "side_differs": image.side_differs,
                "sentence": image.sentence,
            }
            for image in verdict.images
        ],
    }


def proposal_view(row: ProposalRow) -> dict[str, Any]:
    """Return one proposal as JSON types: what moves where, how sure, and its life."""
    proposal = proposal_from_json(row.document)
    return {
        "proposal_id": row.id,
        "kind": row.kind,
        "state": row.state.value,
        "sentence": proposal.sentence,
        "margin": proposal.margin,
        "moves": [
            {
                "image": move.image.number,
                "sop_instance_uid": move.image.sop_instance_uid,
                "study_instance_uid": move.image.study_instance_uid,
                "from": move.origin.accession_number,
                "to": move.target.accession_number if move.target is not None else None,
                "region": move.region,
                "probability": move.probability,
                "margin": move.margin,
                "basis": move.basis.value,
            }
            for move in proposal.moves
        ],
        "created_at": row.created_at.isoformat(),
        "updated_at": row.updated_at.isoformat(),
        "decided_at": row.decided_at.isoformat() if row.decided_at is not None else None,
        "decided_by": row.decided_by,
        "note": row.note,
    }
