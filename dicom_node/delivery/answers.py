"""The words and outcomes that senders report for one object (pure).

What a C-STORE status means is the table of `core.status`; the Failure Reasons of STOW-RS
(PS3.18 Section 10.5.3) are the same numbers.
"""

from collections.abc import Iterable
from http import HTTPStatus

from dicom_node.core import status as status_table
from dicom_node.core.outcome import Outcome
from dicom_node.core.status import status_text, store_outcome
from dicom_node.delivery.outcome import SendStatus

SOP_CLASS_NOT_SUPPORTED = "sop-class-not-supported"
"""The destination takes no object of this SOP class: another profile may reach it."""

NO_PRESENTATION_CONTEXT = "no-presentation-context"
"""The destination knows the SOP class, but not in the object's transfer syntax."""

LINK_LOST = "link-lost"
"""The association or connection ended before the object was answered."""

TIMED_OUT = "timed-out"
"""The destination was silent for longer than `timeout_s`."""

NOT_ACKNOWLEDGED = "not-acknowledged"
"""The destination answered the request, but said nothing of this object."""

UNREACHABLE = "unreachable"
"""No association or connection could be made."""

UNREADABLE = "unreadable"
"""Our own file could not be read or encoded."""

_PASSING_HTTP = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})


def store_status(sop_instance_uid: str, status: int) -> SendStatus:
    """Return the answer for one object to which the destination gave `status`."""
    unsupported = status == status_table.SOP_CLASS_NOT_SUPPORTED
    return SendStatus(
        sop_instance_uid=sop_instance_uid,
        outcome=store_outcome(status),
        status=SOP_CLASS_NOT_SUPPORTED if unsupported else status_text(status),
    )


def http_outcome(status_code: int) -> Outcome:
    """Return what an HTTP status other than 2xx means for every object of the request."""
    if status_code >= HTTPStatus.INTERNAL_SERVER_ERROR or status_code in _PASSING_HTTP:
        return Outcome.FAILED
    return Outcome.REFUSED


def all_alike(sop_instance_uids: Iterable[str], outcome: Outcome, status: str) -> list[SendStatus]:
    """Return the same answer for every object."""
    return [
        SendStatus(sop_instance_uid=sop_instance_uid, outcome=outcome, status=status)
        for sop_instance_uid in sop_instance_uids
    ]
