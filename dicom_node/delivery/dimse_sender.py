"""Send by C-STORE: one association for a batch, every answer kept."""

from collections.abc import Sequence
from struct import error as struct_error

import structlog
from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pynetdicom import build_context
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext

from audit.clock import Clock, SystemClock
from dicom_node.config.settings import DimseDestination
from dicom_node.core.outcome import Outcome
from dicom_node.delivery.answers import (
    LINK_LOST,
    TIMED_OUT,
    UNREADABLE,
    store_status,
)
from dicom_node.delivery.negotiation import Offer, offers_for, refusal, syntax_for
from dicom_node.delivery.outcome import OutgoingObject, SendStatus
from dicom_node.dimse.requestor import Requestor

log = structlog.get_logger()

_ABSTRACT_SYNTAX_NOT_SUPPORTED = 0x03  # PS3.8 Table 9-18
_UNREADABLE_ERRORS = (
    InvalidDicomError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    EOFError,
    struct_error,
)
_BROKEN = (LINK_LOST, TIMED_OUT)
"""Answers after which nothing more goes over the association."""

_SLOWEST_BYTES_PER_S = 100_000
"""What a line carries at least on which images are sent at all, about 1 Mbit/s: pynetdicom
awaits the answer from when it begins to send. A line on which nothing moves is given up
sooner, after `timeout_s`."""


class DimseSender:
    """The Storage SCU of one destination; safe to use from several threads.

    Parameters
    ----------
    settings
        The destination. `timeout_s` bounds the connection, the negotiation, each answer
        and the release; the answer to an object is awaited as much longer as its bytes take
        on the slowest line.
    calling_ae_title
        Our own title.

    Raises
    ------
    InvalidConfiguration
        A certificate file cannot be read.
    """

    def __init__(
        self, settings: DimseDestination, calling_ae_title: str, clock: Clock | None = None
    ) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._requestor = Requestor(settings, calling_ae_title, f"destination {settings.name!r}")

    def send(self, objects: Sequence[OutgoingObject]) -> list[SendStatus]:
        """Send `objects` over one association; return one status for each, in order.

        An uncompressed object is written anew in a little endian syntax when the peer does
        not take its own; its UIDs and pixels stay. At most 128 different pairs of SOP class
        and transfer syntax fit into one association (PS3.8 Section 9.3.2.2).

        Raises
        ------
        PeerUnreachable
            When no association could be made.
        """
        if not objects:
            return []
        offers = offers_for(objects)
        contexts = [build_context(o.sop_class_uid, o.transfer_syntax_uid) for o in offers]
        with self._requestor.association(contexts, self._settings.timeout_s) as assoc:
            accepted = {_offer(context) for context in assoc.accepted_contexts}
            unknown = {
                str(context.abstract_syntax)
                for context in assoc.rejected_contexts
                if context.result == _ABSTRACT_SYNTAX_NOT_SUPPORTED
            }
            answers: list[SendStatus] = []
            for item in objects:
                broken = bool(answers) and answers[-1].status in _BROKEN
                answers.append(
                    _status(item, Outcome.FAILED, LINK_LOST)
                    if broken  # pynetdicom may not have noticed yet
                    else self._send_one(assoc, item, accepted, unknown)
                )
            return answers

    def verify(self) -> None:
        """Ask by C-ECHO whether the destination answers.

        Raises
        ------
        PeerUnreachable
            When it does not, or does not offer the Verification SOP Class.
        """
        self._requestor.verify(self._settings.timeout_s)

    def _send_one(
        self, assoc: Association, item: OutgoingObject, accepted: set[Offer], unknown: set[str]
    ) -> SendStatus:
        if syntax_for(item, accepted) is None:
            return _status(item, Outcome.REFUSED, refusal(item, unknown))
        if not assoc.is_established:
            return _status(item, Outcome.FAILED, LINK_LOST)
        started_s = self._clock.monotonic_s()
        try:
            sending_s = item.path.stat().st_size / _SLOWEST_BYTES_PER_S
            assoc.dimse_timeout = self._settings.timeout_s + sending_s
            answer = assoc.send_c_store(dcmread(item.path))
        except RuntimeError:  # the association ended since we looked
            return self._lost(item, LINK_LOST)
        except _UNREADABLE_ERRORS:
            log.error("delivery.object.unreadable", destination=self._settings.name)
            return _status(item, Outcome.FAILED, UNREADABLE)
        if "Status" in answer:
            return store_status(item.sop_instance_uid, int(answer.Status))
        silent_s = self._clock.monotonic_s() - started_s
        return self._lost(item, TIMED_OUT if silent_s >= self._settings.timeout_s else LINK_LOST)

    def _lost(self, item: OutgoingObject, reason: str) -> SendStatus:
        log.warning("delivery.association.lost", destination=self._settings.name, reason=reason)
        return _status(item, Outcome.FAILED, reason)


def _offer(context: PresentationContext) -> Offer:
    return Offer(str(context.abstract_syntax), str(context.transfer_syntax[0]))


def _status(item: OutgoingObject, outcome: Outcome, status: str) -> SendStatus:
    return SendStatus(sop_instance_uid=item.sop_instance_uid, outcome=outcome, status=status)
