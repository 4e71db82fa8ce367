"""What ends an association or refuses a message."""

import traceback
from enum import IntEnum
from pathlib import Path

from audit.errors import Rejected, Transient


class LinkLost(Transient):
    """The peer closed or broke the connection."""

    code = "dimse.link.lost"


class DeadlinePassed(LinkLost):
    """The peer did not send, or did not take, what was due in time."""

    code = "dimse.link.deadline"


class AbortReason(IntEnum):
    """Reason/Diag. of an A-ABORT by the service provider (PS3.8 Table 9-26)."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNIZED_PARAMETER = 4
    UNEXPECTED_PARAMETER = 5
    INVALID_PARAMETER = 6


class ProtocolError(Rejected):
    """The peer broke PS3.8 or PS3.7; the association is aborted with `reason`."""

    code = "dimse.protocol.broken"

    def __init__(self, reason: AbortReason, rule: str) -> None:
        super().__init__(rule)
        self.reason = reason


class MessageRefused(Rejected):
    """A well formed request is answered with a failure; the association goes on."""

    code = "dimse.message.refused"

    def __init__(self, status: int, rule: str) -> None:
        super().__init__(rule)
        self.status = status


def origin(error: BaseException) -> str:
    """Return where `error` was raised, as ``file.py:line``.

    For logs: a whole traceback carries messages of libraries, and those carry values.
    """
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
