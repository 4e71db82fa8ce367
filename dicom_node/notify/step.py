"""The step *notify*: one message about a proposal through one channel."""

from collections.abc import Mapping

import structlog

from audit.errors import Fault
from audit.metrics import Metrics
from dicom_node.config.accession import AccessionSettings
from dicom_node.notify.begin import EMAIL, WEBHOOK, mailbox
from dicom_node.notify.mail import Mail
from dicom_node.notify.message import ProposalEvent
from dicom_node.notify.port import Channel
from dicom_node.notify.webhook import Webhook
from dicom_node.pipeline.work import Work
from storage import proposals
from storage.jobs import JobRow
from storage.session import Database

log = structlog.get_logger()


class UnknownChannel(Fault):
    """A message waits for a channel that the configuration no longer has."""

    code = "config.channel.unknown"


class Notify:
    """Sends what a job ``notify:<proposal id>:<event>:<channel>[:<when>]`` stands
    for."""

    def __init__(
        self, database: Database, work: Work, channels: Mapping[str, Channel], metrics: Metrics
    ) -> None:
        self._database = database
        self._work = work
        self._channels = channels
        self._metrics = metrics

    def __call__(self, job: JobRow) -> None:
        """Tell the channel; a crash before the end of it may tell it twice.

        Raises
        ------
        UnknownChannel
            The channel is not configured any more.
        PeerUnreachable, NotTaken
            See `Channel.tell`.
        """
        _, proposal_id, event, channel = job.key.split(":")[:4]
        if channel not in self._channels:
            raise UnknownChannel("the channel of this message is not configured any more")
        with self._database.reading() as connection:
            row = proposals.get(connection, int(proposal_id))
        self._channels[channel].tell(row, ProposalEvent(event), job.key)
        with self._database.transaction() as connection:
            self._work.finish(connection, job.key)
        kind = channel.partition("-")[0]
        self._metrics.count("notifications_total", channel=kind, event=event)
        log.info("notify.message.sent", proposal_id=row.id, channel=kind, change=event)


def make_channels(settings: AccessionSettings) -> dict[str, Channel]:
    """Return the channels that are configured, by name; that of all recipients of mail is for
    jobs that were begun before each had its own."""
    channels: dict[str, Channel] = {}
    if settings.webhook is not None:
        channels[WEBHOOK] = Webhook(settings.webhook)
    if settings.email is not None:
        channels[EMAIL] = Mail(settings.email)
        for address in settings.email.recipients:
            own = settings.email.model_copy(update={"recipients": (address,)})
            channels[mailbox(address)] = Mail(own)
    return channels
