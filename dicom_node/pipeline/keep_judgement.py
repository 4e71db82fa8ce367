"""Keeps how a patient's accessions stand and what is proposed, in one transaction.

What changes for another study of the patient opens that study for a new report revision.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from audit.clock import Clock
from audit.metrics import Metrics
from dicom_node.notify.begin import Announcer
from dicom_node.notify.message import ProposalEvent
from dicom_node.pipeline.decided import move_parts, proposal_document
from dicom_node.pipeline.gathering import Gathered
from dicom_node.pipeline.judgement_records import JudgementRecords
from dicom_node.pipeline.patient_images import PatientImages, patient_key
from inference.accessions import (
    AccessionVerdict,
    Proposal,
    ProposalKind,
    Reconciliation,
    accession_to_json,
)
from storage import checks, proposals
from storage.checks import CheckRow
from storage.proposals import ProposalRow, Proposed
from storage.results import reopen_study


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What was found of a patient's images and orders of some days."""

    seen: PatientImages
    found: Gathered
    result: Reconciliation
    coming: frozenset[int]
    """Studies that have not settled: what is said of them is left for their own reports."""

    def holds(self, verdict: AccessionVerdict) -> bool:
        """Whether enough of an accession is here to say how it stands."""
        return not (verdict.images and self.found.studies_of(verdict.accession.key) <= self.coming)

    def proposes(self, proposal: Proposal) -> bool:
        """Whether a proposal rests on settled studies alone."""
        if proposal.kind is ProposalKind.MISSING_ORDER and self.coming:
            return False  # the order may come with the images
        return not (self.found.studies_of_proposal(proposal) & self.coming)


class JudgementKeeper:
    """Writes judgements; only what changed."""

    def __init__(
        self,
        *,
        announcer: Announcer,
        records: JudgementRecords,
        devices: Callable[[str, str], Mapping[str, str]],
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._announcer = announcer
        self._records = records
        self._devices = devices
        self._clock = clock
        self._metrics = metrics

    def keep(self, connection: Connection, judged: Judgement, *, own: int | None) -> None:
        """Keep what changed; open the other studies that it speaks of for a new report.

        Studies' rows are written before any audit record, as everybody does.

        Parameters
        ----------
        own : int, optional
            The study on which the caller is writing a report just now.
        """
        now = self._clock.now()
        seen, found = judged.seen, judged.found
        changed = [
            verdict
            for verdict in judged.result.accessions
            if judged.holds(verdict) and self._keep_check(connection, judged, verdict, now)
        ]
        known = {verdict.accession.key for verdict in judged.result.accessions}
        imaged = checks.forget_checks(connection, found.waiting_keys - known)
        moved, joined = self._keep_proposals(connection, judged, now)
        touched = {
            study for verdict in changed for study in found.studies_of(verdict.accession.key)
        }
        touched |= joined
        touched |= {study for row in moved for study in proposals.studies_of(connection, row.id)}
        if imaged:  # reports on the siblings called an order incomplete
            touched |= {study.id for study in seen.studies}
        for study in seen.studies:
            if study.id in touched and study.id != own:
                reopen_study(connection, study_id=study.id)
        patient = patient_key(seen.patient)
        for verdict in changed:
            self._records.checked(connection, patient, verdict, now)
        for row in moved:
            self._records.changed(connection, patient, row, actor="node", now=now)

    def _keep_check(
        self, connection: Connection, judged: Judgement, verdict: AccessionVerdict, now: datetime
    ) -> bool:
        found, key = judged.found, verdict.accession.key
        known = checks.check_of(connection, key)
        document = found.check_document(key, accession_to_json(verdict))
        changed = checks.keep_check(
            connection,
            CheckRow(
                key=key,
                patient_fk=judged.seen.patient.id,
                accession_fk=found.accession_rows.get(key),
                verdict=verdict.standing.value,
                document=document,
                checked_at=now,
            ),
        )
        if not changed:
            return False
        self._count(found, verdict, known)
        return known is None or _lasting(known.document) != _lasting(document)

    def _count(self, found: Gathered, verdict: AccessionVerdict, known: CheckRow | None) -> None:
        """Count each image once for every standing that it comes to, and an order without."""
        if not verdict.images and known is None:
            self._metrics.count("orders_unimaged_total")
        before = {
            each["image"]["instance_id"]: each["standing"]
            for each in (known.document["verdict"]["images"] if known is not None else ())
        }
        for image in verdict.images:
            if before.get(image.image.instance_id) == image.standing.value:
                continue
            of = found.by_instance[image.image.instance_id]
            self._metrics.count(
                "accession_images_total",
                standing=image.standing.value,
                **self._devices(of.row.calling_ae_title, of.header.station),
            )

    def _keep_proposals(
        self, connection: Connection, judged: Judgement, now: datetime
    ) -> tuple[list[ProposalRow], set[int]]:
        """Return the proposals that were opened or superseded, and have people told; and the
        studies of which open ones have come to speak."""
        found, patient = judged.found, judged.seen.patient.id
        moved: list[ProposalRow] = []
        joined: set[int] = set()
        for proposal in filter(judged.proposes, judged.result.proposals):
            row_id, became = proposals.propose(
                connection,
                key=proposal_key(patient, proposal, found),
                kind=proposal.kind.value,
                patient_fk=patient,
                document=proposal_document(proposal, found),
                now=now,
            )
            speaks_of = found.studies_of_proposal(proposal)
            joined.update(proposals.join(connection, row_id, speaks_of))
            if became is not Proposed.KNOWN:
                row = proposals.get(connection, row_id)
                moved.append(row)
                again = became is Proposed.REOPENED
                event = ProposalEvent.REOPENED if again else ProposalEvent.OPEN
                self._announcer.announce(connection, row, event)
        for row in self._superseded(connection, judged, now):
            moved.append(row)
            self._announcer.announce(connection, row, ProposalEvent.SUPERSEDED)
        return moved, joined

    def _superseded(
        self, connection: Connection, judged: Judgement, now: datetime
    ) -> list[ProposalRow]:
        """Return the proposals that hold no more; while images come, nobody knows."""
        if judged.coming:
            return []
        patient = judged.seen.patient.id
        gone = proposals.supersede(
            connection,
            patient_fk=patient,
            study_ids=[study.id for study in judged.seen.studies],
            keep=[proposal_key(patient, each, judged.found) for each in judged.result.proposals],
            now=now,
        )
        return [proposals.get(connection, row_id) for row_id in gone]


def proposal_key(patient: int, proposal: Proposal, found: Gathered) -> str:
    """Return the key of a proposal: its moves, and what was ordered on both sides.

    Moves that a person rejected come again only where the orders became others.
    """
    moves = sorted(move_parts(move, found) for move in proposal.moves)
    return hashlib.sha256(json.dumps([patient, proposal.kind.value, moves]).encode()).hexdigest()


def _lasting(document: dict[str, Any]) -> dict[str, Any]:
    """Return a check without what may change by the mere passing of time."""
    verdict = {key: value for key, value in document["verdict"].items() if key != "stale"}
    return {"verdict": verdict}
