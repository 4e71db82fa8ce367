"""What accepting a proposal may set off: the port that commands and services call.

Nothing is sent without `Mender.mend`, and nobody calls that but a person who accepts.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from audit.errors import Fault, Rejected


class NotMendable(Rejected):
    """The proposal asks for nothing that a correction package could do."""

    code = "correction.proposal.not_mendable"


class NotAccepted(Fault):
    """A correction was asked for before a person had accepted the proposal."""

    code = "correction.proposal.not_accepted"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeChange:
    """One attribute of an image, as it is and as its copy has it."""

    attribute: str
    """Tag and name, such as ``(0008,0050) Accession Number``."""

    before: str
    """Empty where the image lacks it or holds nothing."""

    after: str
    """Empty where the copy lacks it or holds nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectPreview:
    """One object that would be sent. It names a patient's order: for authorised eyes."""

    role: str
    """``COPY`` or ``REJECTION NOTE``."""

    title: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    transfer_syntax_uid: str
    accession_number: str
    changes: tuple[AttributeChange, ...] = ()
    """Of a copy: every attribute that differs from the image."""

    rejects: tuple[str, ...] = ()
    """Of a rejection note: SOP Instance UIDs of the images that it takes out of use."""

    remarks: tuple[str, ...] = ()
    """What a person should know before accepting; never a guess."""

    attributes: str = ""
    """The whole object, attribute by attribute, without bulk data; kept out of `text`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectionPreview:
    """Exactly what accepting would send, and where."""

    proposal_id: int
    destinations: tuple[str, ...]
    objects: tuple[ObjectPreview, ...]
    """In the order of sending: every copy before any rejection note."""

    def to_json(self) -> dict[str, Any]:
        """Return the preview as JSON types only."""
        document: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return document

    def text(self, *, whole: bool = False) -> str:
        """Return the preview for a terminal; `whole` adds every attribute of every object."""
        where = ", ".join(self.destinations) or "nowhere: no destination is configured"
        lines = [f"Proposal {self.proposal_id}: {len(self.objects)} objects to {where}"]
        for number, each in enumerate(self.objects, start=1):
            lines += ["", f"{number}. {each.role}: {each.title}", *_object_lines(each)]
            if whole and each.attributes:
                lines += ["", each.attributes]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mended:
    """What `Mender.mend` set off."""

    correction_id: int
    destinations: tuple[str, ...]
    objects: int
    fresh: bool
    """False when this proposal had been mended before: nothing was begun twice."""


class Mender(Protocol):
    """Builds correction packages and begins to send them."""

    def preview(self, proposal_id: int) -> CorrectionPreview:
        """Return what `mend` would send; writes nothing and sends nothing.

        Raises
        ------
        NoSuchRow
            No proposal has this id.
        NotMendable
            The proposal moves no image, a stored file is gone, or an object would break a
            rule of our own check.
        """
        ...

    def mend(self, proposal_id: int, actor: str) -> Mended:
        """Build, check and keep the package of an accepted proposal, and begin to send it.

        May be called again: a proposal is mended once.

        Parameters
        ----------
        actor : str
            Who accepted it; recorded in the audit and in the rejection note.

        Raises
        ------
        NoSuchRow, NotMendable
            As `preview`.
        NotAccepted
            The proposal is open, rejected or superseded.
        """
        ...


def _object_lines(each: ObjectPreview) -> list[str]:
    lines = [
        f"   SOP Class {each.sop_class_uid}, transfer syntax {each.transfer_syntax_uid}",
        f"   Study    {each.study_instance_uid}",
        f"   Series   {each.series_instance_uid}",
        f"   Instance {each.sop_instance_uid}",
        f"   Accession Number {each.accession_number or '(empty)'}",
    ]
    lines += [f"   takes out of use {uid}" for uid in each.rejects]
    lines += [
        f"   {change.attribute}: {change.before or '(nothing)'} -> {change.after or '(nothing)'}"
        for change in each.changes
    ]
    lines += [f"   note: {remark}" for remark in each.remarks]
    return lines
