"""What a destination answered, object by object."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol


class Outcome(StrEnum):
    """What became of one object at one destination."""

    PENDING = "pending"
    DELIVERED = "delivered"
    WARNING = "warning"
    """Stored, with a remark (DIMSE Bxxx and 0111H, STOW-RS 202)."""

    REFUSED = "refused"
    """Will not be stored however often it is sent (SOP class, identity conflict)."""

    FAILED = "failed"
    """Not stored this time (out of resources, link lost); try again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingObject:
    """A stored Part 10 file to send."""

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class SendStatus:
    """The peer's answer for one object."""

    sop_instance_uid: str
    outcome: Outcome
    status: str
    """``0000H``, ``HTTP 200``, or a word such as ``no-presentation-context``."""


class Sender(Protocol):
    """A way to one destination."""

    def send(self, objects: Sequence[OutgoingObject]) -> list[SendStatus]:
        """Send `objects` over one association (or one request); one status for each.

        A link that breaks half way yields the statuses so far and FAILED for the rest.

        Raises
        ------
        PeerUnreachable
            When no association or connection could be made at all.
        """
        ...

    def verify(self) -> None:
        """Ask whether the destination answers (C-ECHO, or a QIDO-RS query of no result).

        Raises
        ------
        PeerUnreachable
            When it does not.
        """
        ...
