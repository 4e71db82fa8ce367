"""From a plan to the objects that are sent, each encoded and checked."""

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

from pydicom import Dataset, dcmwrite

from dicom_node.correction.copies import copy_of
from dicom_node.correction.plan import CopyPlan, CorrectionPlan, NotePlan
from dicom_node.correction.rejection import rejection_note
from dicom_node.correction.selfcheck import check_copy, check_note, check_uids

COPY = "COPY"
REJECTION_NOTE = "NOTE"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltObject:
    """One object of a package, as the very bytes that are sent."""

    role: str
    """``COPY`` or ``NOTE``."""

    planned: CopyPlan | NotePlan
    dataset: Dataset
    content: bytes
    """The Part 10 file."""


def build(plan: CorrectionPlan) -> Iterator[BuiltObject]:
    """Yield every copy, then every rejection note, each checked; one is in memory at a time.

    Copies come first so that a package that is cut short leaves an image twice, never
    nowhere.

    Raises
    ------
    UnfitCorrection
        An object breaks a rule of our own check.
    InvalidDicomError, OSError
        A stored file cannot be read any more.
    """
    check_uids(plan)
    for copy in plan.copies:
        ds = copy_of(copy, plan.maker)
        content = _encoded(ds)
        check_copy(content, copy)
        yield BuiltObject(role=COPY, planned=copy, dataset=ds, content=content)
    for note in plan.notes:
        ds = rejection_note(note, plan.maker)
        content = _encoded(ds)
        check_note(content, note)
        yield BuiltObject(role=REJECTION_NOTE, planned=note, dataset=ds, content=content)


def _encoded(ds: Dataset) -> bytes:
    buffer = BytesIO()
    dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()
