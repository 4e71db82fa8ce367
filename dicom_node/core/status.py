"""What the node answers for an error, and what a peer's answer means (pure tables).

C-STORE statuses are those of PS3.4 Table B.2-1 and PS3.7 Annex C; STOW-RS uses the same
numbers as Failure Reason (PS3.18 Annex I, Store Instances Response Module).
"""

from audit.errors import Rejected, Transient
from dicom_node.core.outcome import Outcome

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
"""Refused: Out of Resources (PS3.4 Table B.2-1): the sender should try again."""

CANNOT_UNDERSTAND = 0xC000
"""Error: Cannot Understand (PS3.4 Table B.2-1): sending it again cannot help."""

PROCESSING_FAILURE = 0x0110
"""Processing Failure (PS3.7 Section C.5.12): our side broke."""

INVALID_OBJECT_INSTANCE = 0x0117
"""Invalid SOP Instance (PS3.7 Section C.5.8): the UID breaks the rules of UIDs."""

SOP_CLASS_NOT_SUPPORTED = 0x0122
"""SOP Class Not Supported (PS3.7 Section C.5.16)."""

UNRECOGNIZED_OPERATION = 0x0211
"""Unrecognized Operation (PS3.7 Section C.5.21)."""

DATA_SET_DOES_NOT_MATCH_SOP_CLASS = 0xA900
"""Error: Data Set Does Not Match SOP Class (PS3.4 Table B.2-1)."""

TRANSFER_SYNTAX_NOT_SUPPORTED = 0xC122
"""Referenced Transfer Syntax Not Supported (PS3.18 Table I.2-2)."""

OTHER_STUDY = 0xC409
"""STOW-RS: not the study that the request's address names; of the class that cannot be
understood."""


_BY_KIND = (
    (Transient, OUT_OF_RESOURCES),
    (Rejected, CANNOT_UNDERSTAND),
)
"""Kind of error, status. `DiskFull` and `DatabaseAway` are transient, `InvalidDataset` is
rejected; any other error is ours."""


def dimse_status(error: Exception) -> int:
    """Return the C-STORE status, or STOW-RS Failure Reason, for `error`."""
    return next((s for kind, s in _BY_KIND if isinstance(error, kind)), PROCESSING_FAILURE)


_WARNINGS = frozenset({0x0001, 0x0107, 0x0111, 0x0116})
"""Stored, with a remark: Requested Optional Attributes Not Supported, Attribute List Error,
Attribute Value Out of Range (PS3.7 Annex C), and Duplicate SOP Instance (0111H): the
archive has the object already, which is what a repeated delivery wants."""

_REFUSED = frozenset(
    {
        0x0105,  # No Such Attribute
        0x0106,  # Invalid Attribute Value
        INVALID_OBJECT_INSTANCE,
        0x0118,  # No Such SOP Class
        0x0119,  # Class-Instance Conflict
        0x0120,  # Missing Attribute
        0x0121,  # Missing Attribute Value
        SOP_CLASS_NOT_SUPPORTED,
        0x0124,  # Not Authorized
        UNRECOGNIZED_OPERATION,
        0x0212,  # Mistyped Argument
    }
)
"""PS3.7 Annex C: failures that the same object meets however often it is sent."""


def store_outcome(status: int | None) -> Outcome:
    """Return what a peer's C-STORE response status means for the object sent.

    Parameters
    ----------
    status : int, optional
        (0000,0900) *Status*; None when no answer came (time-out, abort, lost link).

    Returns
    -------
    Outcome
        ``DELIVERED`` for 0000H; ``WARNING`` for Bxxx and the warnings of PS3.7; ``REFUSED``
        for A9xx, Cxxx and the failures that cannot change; ``FAILED`` for A7xx, 0110H,
        0213H (Resource Limitation), no answer and every other value: try again.
    """
    if status == SUCCESS:
        return Outcome.DELIVERED
    if status is None:
        return Outcome.FAILED
    if status in _WARNINGS or status & 0xF000 == 0xB000:
        return Outcome.WARNING
    if status in _REFUSED or status & 0xF000 == 0xC000 or status & 0xFF00 == 0xA900:
        return Outcome.REFUSED
    return Outcome.FAILED


def status_text(status: int | None) -> str:
    """Return a status as people read it: ``A700H``, or ``no-answer``."""
    return "no-answer" if status is None else f"{status:04X}H"
