"""What the acceptor takes, as tables, and the negotiation over them (PS3.8 Section 9.3.2.2).

``docs/conformance.md`` is checked against the same tables.
"""

from collections.abc import Collection, Sequence

from pydicom import uid
from pydicom.uid import UID
from pynetdicom.presentation import PresentationContext, negotiate_as_acceptor

VERIFICATION_CLASS = UID("1.2.840.10008.1.1")

STORAGE_CLASSES: tuple[UID, ...] = (
    uid.ComputedRadiographyImageStorage,
    uid.DigitalXRayImageStorageForPresentation,
    uid.DigitalXRayImageStorageForProcessing,
    uid.DigitalMammographyXRayImageStorageForPresentation,
    uid.DigitalMammographyXRayImageStorageForProcessing,
    uid.XRayAngiographicImageStorage,
    uid.XRayRadiofluoroscopicImageStorage,
    uid.SecondaryCaptureImageStorage,
    uid.MultiFrameSingleBitSecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
)
"""The Storage SOP Classes that a node accepts unless its settings add others."""

_JPEG_PROCESSES = (*range(50, 67), 70)
_JPEG_LS = (80, 81)
_JPEG_2000 = (90, 91, 92, 93)
_HTJ2K = (201, 202, 203)
_VIDEO = (*(f"{kind}{part}" for kind in range(100, 107) for part in ("", ".1")), "107", "108")

TRANSFER_SYNTAXES: tuple[UID, ...] = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.RLELossless,
    *(
        UID(f"1.2.840.10008.1.2.4.{number}")
        for number in (*_JPEG_PROCESSES, *_JPEG_LS, *_JPEG_2000, *_HTJ2K, *_VIDEO)
    ),
)
"""Every transfer syntax that carries its pixels inside the object; none is converted."""

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
