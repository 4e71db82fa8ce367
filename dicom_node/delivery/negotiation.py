"""Which presentation contexts a batch asks for, and which one carries an object (pure).

Each (SOP class, transfer syntax) has a context of its own, so that the peer's answer says
exactly what it takes (PS3.8 Section 9.3.3.2 lets it choose one syntax per context).
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dicom_node.delivery.answers import NO_PRESENTATION_CONTEXT, SOP_CLASS_NOT_SUPPORTED
from dicom_node.delivery.outcome import OutgoingObject

PLAIN_SYNTAXES: tuple[str, ...] = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
"""What any uncompressed little endian object can be written in without loss."""

_REWRITABLE = frozenset({*PLAIN_SYNTAXES, DeflatedExplicitVRLittleEndian})


@dataclass(frozen=True, slots=True, order=True)
class Offer:
    """One presentation context."""

    sop_class_uid: str
    transfer_syntax_uid: str


def offers_for(objects: Iterable[OutgoingObject]) -> list[Offer]:
    """Return the contexts to propose, without repetition and in a stable order.

    An uncompressed object is offered in both little endian syntaxes as well, so that a
    peer which knows only the default one (PS3.5 Section 10.1) can take it.
    """
    wanted = {
        Offer(item.sop_class_uid, syntax)
        for item in objects
        for syntax in (item.transfer_syntax_uid, *_rewritten(item.transfer_syntax_uid))
    }
    return sorted(wanted)


def syntax_for(item: OutgoingObject, accepted: Collection[Offer]) -> str | None:
    """Return the transfer syntax to send `item` in, its own if possible; None if none is."""
    for syntax in (item.transfer_syntax_uid, *_rewritten(item.transfer_syntax_uid)):
        if Offer(item.sop_class_uid, syntax) in accepted:
            return syntax
    return None


def refusal(item: OutgoingObject, unknown_classes: Collection[str]) -> str:
    """Return the word for an object that no accepted context carries.

    Parameters
    ----------
    unknown_classes
        SOP classes of which the peer said "abstract syntax not supported" (PS3.8 Table
        9-18, result 3).

    Notes
    -----
    Who supports a SOP class supports it in Implicit VR Little Endian (PS3.5 Section 10.1);
    so when that was offered too, the class is what was refused, whatever the peer's words.
    """
    default_was_offered = item.transfer_syntax_uid in _REWRITABLE
    if item.sop_class_uid in unknown_classes or default_was_offered:
        return SOP_CLASS_NOT_SUPPORTED
    return NO_PRESENTATION_CONTEXT


def _rewritten(transfer_syntax_uid: str) -> tuple[str, ...]:
    return PLAIN_SYNTAXES if transfer_syntax_uid in _REWRITABLE else ()
