"""What is audited and logged of accessions and proposals: under pseudonyms, with who and when."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Connection

from audit.entries import Subject
from audit.pseudonym import Pseudonyms
from audit.records import Writer
from audit.store import append
from inference.accessions import AccessionVerdict, proposal_from_json
from inference.orders import PatientKey
from storage.proposals import ProposalRow

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgementRecords:
    """Appends records in the caller's transaction, behind everything else it writes."""

    writer: Writer
    pseudonyms: Pseudonyms

    def checked(
        self,
        connection: Connection,
        patient: PatientKey,
        verdict: AccessionVerdict,
        now: datetime,
    ) -> None:
        """Record how an accession stands to its order."""
        expected = verdict.expected
        subject = self._subject(patient, verdict.accession.accession_number)
        # The key of an order without images is a hash of identifiers, which could be guessed.
        key = verdict.accession.key
        if not verdict.images:
            key = f"order:{subject.accession_pseudonym[:32]}:{subject.patient_pseudonym[:32]}"
        append(
            connection,
            self.writer.accession_checked(
                check_key=key,
                subject=subject,
                standing=verdict.standing.value,
                images={
                    each.image.sop_instance_uid: each.standing.value for each in verdict.images
                },
                order={
                    "source": expected.source.value if expected is not None else "",
                    "regions": list(expected.regions) if expected is not None else [],
                    "missing": list(verdict.missing),
                    "cancelled": verdict.cancelled,
                    "stale": verdict.stale,
                },
                recorded_at=now,
            ),
        )
        log.info(
            "pipeline.accession.checked",
            check=key,
            standing=verdict.standing.value,
            images=len(verdict.images),
        )

    def changed(
        self,
        connection: Connection,
        patient: PatientKey,
        row: ProposalRow,
        *,
        actor: str,
        now: datetime,
    ) -> None:
        """Record what became of a proposal, and by whom; ``node`` where nobody did it."""
        append(
            connection,
            self.writer.proposal_changed(
                proposal_id=row.id,
                change=row.state.value,
                kind=row.kind,
                actor=actor,
                subject=self._subject(patient, ""),
                moves=_moves(row, self.pseudonyms),
                recorded_at=now,
            ),
        )
        log.info(
            "pipeline.proposal.changed", proposal_id=row.id, kind=row.kind, change=row.state.value
        )

    def _subject(self, patient: PatientKey, accession_number: str) -> Subject:
        return Subject(
            patient_pseudonym=self.pseudonyms.patient(patient.patient_id, patient.issuer),
            accession_pseudonym=self.pseudonyms.accession(accession_number),
        )


def _moves(row: ProposalRow, pseudonyms: Pseudonyms) -> list[dict[str, Any]]:
    """Return the moves of a proposal: images by UID, accessions by pseudonym."""
    return [
        {
            "sop_instance_uid": move.image.sop_instance_uid,
            "from": pseudonyms.accession(move.origin.accession_number),
            "to": pseudonyms.accession(move.target.accession_number) if move.target else "",
            "region": move.region,
            "probability": move.probability,
            "margin": move.margin,
            "basis": move.basis.value,
        }
        for move in proposal_from_json(row.document).moves
    ]
