"""What a destination answered, object by object."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dicom_node.core.outcome import Outcome


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
