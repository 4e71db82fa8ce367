"""What a destination's answer to one object means (pure).

C-STORE statuses are PS3.4 Annex B.2.3 and PS3.7 Annex C; the Failure Reasons of STOW-RS
(PS3.18 Section 10.5.3) are the same numbers.
"""

from collections.abc import Iterable
from http import HTTPStatus

from dicom_node.delivery.outcome import Outcome, SendStatus

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

UNREADABLE = "unreadable"
"""Our own file could not be read or encoded."""

_SOP_CLASS_NOT_SUPPORTED_STATUS = 0x0122

_OUTCOMES: tuple[tuple[int, int, Outcome], ...] = (
    (0x0000, 0x0000, Outcome.DELIVERED),
    (0x0001, 0x0001, Outcome.WARNING),  # requested optional attributes are not supported
    (0x0105, 0x0106, Outcome.REFUSED),  # no such attribute, invalid attribute value
    (0x0107, 0x0107, Outcome.WARNING),  # attribute list
    (0x0110, 0x0110, Outcome.FAILED),  # processing failure
    (0x0111, 0x0111, Outcome.WARNING),  # duplicate SOP instance: it is there
    (0x0116, 0x0116, Outcome.WARNING),  # attribute value out of range
    (0x0117, 0x0119, Outcome.REFUSED),  # invalid instance, no such class, class conflict
    (0x0122, 0x0124, Outcome.REFUSED),  # SOP class not supported ... not authorised
    (0xA700, 0xA7FF, Outcome.FAILED),  # out of resources
    (0xA900, 0xA9FF, Outcome.REFUSED),  # data set does not match SOP class
    (0xB000, 0xBFFF, Outcome.WARNING),  # coerced, elements discarded, does not match
    (0xC000, 0xCFFF, Outcome.REFUSED),  # cannot understand
)

_PASSING_HTTP = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})


def store_outcome(status: int) -> Outcome:
    """Return what C-STORE status or STOW-RS Failure Reason `status` means for the object.

    A status that the standard does not define counts as a failure that may pass: the
    object is sent again, and parked after the last attempt.
    """
    for first, last, outcome in _OUTCOMES:
        if first <= status <= last:
            return outcome
    return Outcome.FAILED


def store_status(sop_instance_uid: str, status: int) -> SendStatus:
    """Return the answer for one object to which the destination gave `status`."""
    unsupported = status == _SOP_CLASS_NOT_SUPPORTED_STATUS
    return SendStatus(
        sop_instance_uid=sop_instance_uid,
        outcome=store_outcome(status),
        status=SOP_CLASS_NOT_SUPPORTED if unsupported else f"{status:04X}H",
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
