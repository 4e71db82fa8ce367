"""What people have decided of a patient's proposals, for when they are compared again.

An accepted move holds for good. A rejected one is not proposed again while the same was
ordered on both sides, in whatever company the image is; nor is a missing order that a
person has agreed on.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from dicom_node.pipeline.gathering import Gathered
from inference.accessions import (
    AccessionRef,
    FiledImage,
    Move,
    Proposal,
    proposal_from_json,
    proposal_to_json,
)
from storage.proposals import ProposalRow
from storage.states import ProposalState

_KEY = "move_keys"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decisions:
    """Moves on which there is a person's word."""

    moves: frozenset[str]
    """`move_key` of each."""

    places: dict[str, tuple[str, str]]
    """Accession number and issuer that each image was accepted for, by SOP Instance UID: one
    that comes again in other bytes is the same image."""

    def refused(self, move: Move, found: Gathered) -> bool:
        """Whether a person has decided on `move`, and the same is ordered as then."""
        return not self.moves.isdisjoint((move_key(move, found), _former_key(move, found)))

    def settled(self, found: Gathered) -> tuple[FiledImage, ...]:
        """Return the images, those of accepted moves with where they belong."""
        keys = {
            (each.ref.accession_number, each.ref.issuer): each.ref.key for each in found.accessions
        }
        return tuple(
            replace(image, settled=keys.get(place, ""))
            if (place := self.places.get(image.ref.sop_instance_uid))
            else image
            for image in found.images
        )


def decisions_of(rows: Iterable[ProposalRow]) -> Decisions:
    """Return what was decided; a later word on an image counts."""
    moves: set[str] = set()
    places: dict[str, tuple[str, str]] = {}
    for row in rows:
        moves.update(row.document.get(_KEY, ()))
        if row.state is not ProposalState.ACCEPTED:
            continue
        for move in proposal_from_json(row.document).moves:
            if move.target is not None:
                target = move.target.accession_number, move.target.issuer
                places[move.image.sop_instance_uid] = target
    return Decisions(moves=frozenset(moves), places=places)


def proposal_document(proposal: Proposal, found: Gathered) -> dict[str, Any]:
    """Return what is kept of a proposal: itself, and by what its moves are known again."""
    keys = [move_key(move, found) for move in proposal.moves]
    return {**proposal_to_json(proposal), _KEY: keys}


def move_key(move: Move, found: Gathered) -> str:
    """Return the key of one move: the image, and what was ordered on both sides."""
    return _hashed(move_parts(move, found))


def move_parts(move: Move, found: Gathered) -> list[str]:
    """Return the image of a move, and what was ordered on both sides."""

    def side(accession: AccessionRef | None) -> list[str]:
        if accession is None:
            return []
        name = accession.accession_number or accession.key
        return [name, *found.ordered(accession.key)]

    return [move.image.sop_instance_uid, *side(move.origin), "->", *side(move.target)]


def _former_key(move: Move, found: Gathered) -> str:
    """Return the key by which a move was kept when images were known by their rows."""
    return _hashed([str(move.image.instance_id), *move_parts(move, found)[1:]])


def _hashed(parts: list[str]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
