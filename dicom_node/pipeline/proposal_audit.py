"""A proposal as the audit tells it: images by UID, accessions by pseudonym (pure)."""

from typing import Any

from audit.pseudonym import Pseudonyms
from inference.accessions import proposal_from_json
from storage.proposals import ProposalRow


def moves_for_audit(row: ProposalRow, pseudonyms: Pseudonyms) -> list[dict[str, Any]]:
    """Return the moves of a proposal without naming an order."""
    return [
        {
            "sop_instance_uid": move.image.sop_instance_uid,
            "from": pseudonyms.accession(move.origin.accession_number),
            "to": pseudonyms.accession(move.target.accession_number) if move.target else "",
            "region": move.region,
            "probability": move.probability,
            "margin": move.margin,
        }
        for move in proposal_from_json(row.document).moves
    ]
