"""Taking HL7 messages: bytes in, acknowledgement out, orders kept in between."""

import re
from dataclasses import dataclass
from datetime import timedelta

import structlog

from audit.clock import Clock
from audit.errors import NodeError
from audit.metrics import Metrics
from dicom_node.config.orders import Hl7Settings
from dicom_node.orders.ack import acknowledgement
from dicom_node.orders.cancels import NothingToCancel
from dicom_node.orders.er7 import Hl7Refused, Message, check_charset, head_of, read
from dicom_node.orders.hl7 import orders_of_message
from dicom_node.orders.ports import OrderSink
from inference.regions import RegionMap
from storage.messages import message_key, note_taken, was_taken
from storage.session import Database

log = structlog.get_logger()

_REMEMBERED = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxParts:
    """What taking a message needs."""

    settings: Hl7Settings
    regions: RegionMap
    sink: OrderSink
    database: Database
    clock: Clock
    metrics: Metrics


class Hl7Inbox:
    """Answers one message at a time; safe to use from several threads.

    Raises
    ------
    InvalidConfiguration
        `hl7.charset` cannot be read.
    """

    def __init__(self, parts: InboxParts) -> None:
        check_charset(parts.settings.charset)
        self._parts = parts

    def take(self, body: bytes, address: str) -> bytes:
        """Return the answer to a message; AA only once its orders are committed.

        Never raises: what goes wrong here is answered AR, upon which the sender tries again.

        Parameters
        ----------
        body : bytes
            The content of one MLLP block.
        address : str
            Who sent it, for the log.
        """
        message: Message | None = None
        problem: Hl7Refused | None = None
        try:
            message = read(body, self._parts.settings.charset)
            self._keep(message, body)
        except Hl7Refused as refusal:
            problem = refusal
        except NothingToCancel as unknown:
            problem = Hl7Refused(str(unknown), error=204)
        except NodeError as error:
            problem = _not_now(error.code)
        except Exception:
            log.exception("orders.message.crashed", address=address)
            problem = _not_now("node.fault")
        return self._answered(message or head_of(body), problem, address)

    def refuse(self, head: bytes, rule: str, address: str) -> bytes:
        """Return the refusal of a message of which only the head was read."""
        return self._answered(head_of(head), Hl7Refused(rule), address)

    def _keep(self, message: Message, body: bytes) -> None:
        now = self._parts.clock.now()
        header = message.header
        key = message_key(
            f"{header.text(3)}|{header.text(4)}", header.text(10), _without_header(body)
        )
        with self._parts.database.reading() as connection:
            if was_taken(connection, key):
                self._parts.metrics.count("hl7_messages_repeated_total")
                return
        orders = orders_of_message(message, self._parts.settings, self._parts.regions, now)
        changed = self._parts.sink.keep(orders) if orders else 0
        with self._parts.database.transaction() as connection:
            note_taken(connection, key, at=now, forget_before=now - _REMEMBERED)
        log.info("orders.message.taken", orders=len(orders), changed=changed)

    def _answered(self, message: Message | None, problem: Hl7Refused | None, address: str) -> bytes:
        answer = problem.answer if problem is not None else "AA"
        self._parts.metrics.count("hl7_messages_total", answer=answer)
        if problem is not None:
            log.warning("orders.message.refused", address=address, rule=str(problem), answer=answer)
        return acknowledgement(
            message,
            application=self._parts.settings.application,
            at=self._parts.clock.now(),
            problem=problem,
        )


def _not_now(code: str) -> Hl7Refused:
    return Hl7Refused(f"not taken now, try again [{code}]", answer="AR", error=207)


def _without_header(body: bytes) -> bytes:
    """Return the message without MSH, whose time a sender may set anew when it repeats it."""
    return b"".join(re.split(rb"[\r\n]", body, maxsplit=1)[1:])
