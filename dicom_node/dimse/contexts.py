"""The negotiation of presentation contexts (PS3.8 Section 9.3.2.2), pure."""

from collections.abc import Collection, Sequence

from pydicom.uid import UID
from pynetdicom.presentation import PresentationContext, negotiate_as_acceptor

from dicom_node.core.accepted import TRANSFER_SYNTAXES

VERIFICATION_CLASS = UID("1.2.840.10008.1.1")

_KNOWN_SYNTAXES = frozenset(TRANSFER_SYNTAXES)


def negotiate(
    proposed: Sequence[PresentationContext], storage_classes: Collection[str]
) -> list[PresentationContext]:
    """Answer each proposed presentation context.

    Of the transfer syntaxes that we know, the one that the requestor names first is taken:
    it is most likely the one in which its files lie, so nobody converts pixels.

    Parameters
    ----------
    proposed : sequence of PresentationContext
        Each with a context id, an abstract syntax and at least one transfer syntax.
    storage_classes : collection of str
        The Storage SOP Class UIDs to accept, beside Verification.

    Returns
    -------
    list of PresentationContext
        In order of context id, with `result` 0 (acceptance), 3 (abstract syntax not
        supported) or 4 (transfer syntaxes not supported), PS3.8 Table 9-18.
    """
    answers = []
    for context in proposed:
        known = context.abstract_syntax
        supported = []
        if known == VERIFICATION_CLASS or known in storage_classes:
            ours = PresentationContext()
            ours.abstract_syntax = known
            ours.transfer_syntax = [s for s in context.transfer_syntax if s in _KNOWN_SYNTAXES]
            supported.append(ours)
        answers += negotiate_as_acceptor([context], supported)[0]
    return sorted(answers, key=lambda context: context.context_id or 0)
