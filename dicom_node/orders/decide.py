"""A person's word on a proposal: accept or reject, recorded, told, and mended if configured."""

from dataclasses import dataclass

from audit.clock import Clock
from audit.errors import Rejected
from dicom_node.config.accession import AcceptAction
from dicom_node.correction.port import CorrectionPreview, Mended, Mender
from dicom_node.notify.begin import Announcer
from dicom_node.pipeline.judgement_records import JudgementRecords
from dicom_node.pipeline.patient_images import patient_key
from storage import proposals
from storage.patients import patient_of
from storage.proposals import ProposalRow
from storage.results import reopen_study
from storage.session import Database
from storage.states import ProposalState


class NobodyDecided(Rejected):
    """A decision must name the person who made it."""

    code = "orders.decision.nameless"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What became of a decision."""

    proposal: ProposalRow
    mended: Mended | None
    """None where nothing is sent: rejected, or only notified."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecideParts:
    """What the use case works with; built by the composition root."""

    database: Database
    on_accept: AcceptAction
    mender: Mender
    announcer: Announcer
    records: JudgementRecords
    clock: Clock


class Decide:
    """Takes a person's word; the same for command line and REST."""

    def __init__(self, parts: DecideParts) -> None:
        self._parts = parts

    @property
    def corrects(self) -> bool:
        """Whether accepting sends a correction package."""
        return self._parts.on_accept is AcceptAction.CORRECT

    def get(self, proposal_id: int) -> ProposalRow:
        """Return a proposal as it stands.

        Raises
        ------
        NoSuchProposal
            When `proposal_id` names none.
        """
        with self._parts.database.reading() as connection:
            return proposals.get(connection, proposal_id)

    def preview(self, proposal_id: int) -> CorrectionPreview | None:
        """Return what accepting would send; None where it would send nothing.

        Raises
        ------
        NoSuchProposal
            When `proposal_id` names none.
        NotMendable
            Accepting is configured to correct, and the proposal moves no image.
        """
        self.get(proposal_id)
        return self._parts.mender.preview(proposal_id) if self.corrects else None

    def accept(self, proposal_id: int, *, actor: str, note: str = "") -> Decided:
        """Accept a proposal. Where accepting corrects, the package is on its way on return.

        Accepting again a proposal that was accepted, but whose package was never built
        (the process died in between), builds it now; otherwise nothing is done twice.

        Raises
        ------
        NoSuchProposal, IllegalTransition, StaleProposal
            See `storage.proposals.decide`.
        NotMendable
            Nothing was accepted or sent: a correction would be impossible.
        NobodyDecided
            `actor` is empty.
        """
        _require_name(actor)
        parts = self._parts
        if self.corrects:
            parts.mender.preview(proposal_id)  # raises before anything is decided
        known = self.get(proposal_id)
        if not (self.corrects and known.state is ProposalState.ACCEPTED):
            known = self._decide(proposal_id, ProposalState.ACCEPTED, actor, note)
        mended = parts.mender.mend(proposal_id, actor) if self.corrects else None
        return Decided(proposal=known, mended=mended)

    def reject(self, proposal_id: int, *, actor: str, note: str = "") -> Decided:
        """Reject a proposal: it is not made again while the orders stay as they are.

        Raises as `accept`.
        """
        _require_name(actor)
        row = self._decide(proposal_id, ProposalState.REJECTED, actor, note)
        return Decided(proposal=row, mended=None)

    def _decide(
        self, proposal_id: int, wanted: ProposalState, actor: str, note: str
    ) -> ProposalRow:
        parts = self._parts
        now = parts.clock.now()
        with parts.database.transaction() as connection:
            row = proposals.decide(connection, proposal_id, wanted, actor=actor, note=note, now=now)
            for study_id in proposals.studies_of(connection, proposal_id):
                reopen_study(connection, study_id=study_id)
            parts.announcer.announce(connection, row)
            owner = patient_of(connection, proposals.studies_of(connection, proposal_id)[0])
            patient = patient_key(owner)
            parts.records.changed(connection, patient, row, actor=actor, now=now)
        return row


def _require_name(actor: str) -> None:
    if not actor.strip():
        raise NobodyDecided("a decision must name the person who made it")
