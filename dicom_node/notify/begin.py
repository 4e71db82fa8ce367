"""Begins to tell people: one job for each channel, in the transaction of what is told."""

import hashlib
from collections.abc import Collection

from sqlalchemy import Connection

from dicom_node.config.accession import AccessionSettings
from dicom_node.notify.message import ProposalEvent
from dicom_node.pipeline.work import Work, notify_key
from storage import proposals
from storage.proposals import ProposalRow
from storage.states import JobKind

WEBHOOK, EMAIL = "webhook", "email"


class Announcer:
    """Begins the jobs that tell the channels of a proposal."""

    def __init__(self, work: Work, channels: Collection[str]) -> None:
        self._work = work
        self._channels = tuple(channels)

    def announce(
        self, connection: Connection, row: ProposalRow, event: ProposalEvent | None = None
    ) -> None:
        """Have every channel told of what became of the proposal; by default, of the state
        that it is in now. Once each, but a proposal may be superseded and reopen again and
        again."""
        told = event or ProposalEvent(row.state.value)
        again = told in (ProposalEvent.REOPENED, ProposalEvent.SUPERSEDED)
        when = f"{row.updated_at.timestamp():.0f}" if again else ""
        if not self._channels:
            return
        study_id = proposals.studies_of(connection, row.id)[0]
        for channel in self._channels:
            self._work.begin(
                connection,
                key=notify_key(row.id, told.value, channel, when),
                kind=JobKind.NOTIFY,
                queue=JobKind.NOTIFY,
                study_id=study_id,
                urgent=False,
            )


def channels_of(settings: AccessionSettings) -> tuple[str, ...]:
    """Return the channels that are configured: of e-mail, one for each recipient, so that who
    was refused is tried again alone."""
    names = [WEBHOOK] if settings.webhook is not None else []
    if settings.email is not None:
        names += [mailbox(address) for address in settings.email.recipients]
    return tuple(dict.fromkeys(names))


def mailbox(address: str) -> str:
    """Return the channel of one recipient; it stays the same when others come and go."""
    return f"{EMAIL}-{hashlib.sha256(address.encode()).hexdigest()[:8]}"
