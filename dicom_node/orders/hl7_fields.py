"""Where HL7 v2 order messages keep what an order needs (pure)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date

from dicom_node.config.orders import Hl7Settings
from dicom_node.orders.er7 import Hl7Refused, Message, Segment
from dicom_node.orders.items import LONGEST_ID, LONGEST_NUMBER, day_of, valid_uid
from inference.orders import PatientKey
from inference.types import Code

_ORDER_NUMBERS = frozenset({"ORC-2", "ORC-3", "OBR-2", "OBR-3"})
"""Where the numbers of an order are; a site may use one of them as accession number."""

_SIDE_CODES = {
    **dict.fromkeys(("L", "LT"), "left"),
    **dict.fromkeys(("R", "RT"), "right"),
    **dict.fromkeys(("B", "BIL"), "bilateral"),
}
"""HL7 Tables 0163 and 0495 and what is sent instead, as words that `inference.sides` knows."""


@dataclass(slots=True)
class Group:
    """The segments of one order."""

    orc: Segment | None = None
    obr: Segment | None = None
    ipcs: list[Segment] = field(default_factory=list)
    zds: Segment | None = None
    tq1: Segment | None = None


def groups_of(message: Message) -> list[Group]:
    """Return the orders of the message; an OBR without an ORC of its own shares the last."""
    groups: list[Group] = []
    for segment in message.segments[1:]:
        current = groups[-1] if groups else None
        if segment.name == "ORC":
            groups.append(Group(orc=segment))
        elif segment.name == "OBR":
            if current is None or current.obr is not None:
                groups.append(Group(orc=current.orc if current else None, obr=segment))
            else:
                current.obr = segment
        elif current is not None and segment.name == "IPC":
            current.ipcs.append(segment)
        elif current is not None and segment.name == "ZDS":
            current.zds = segment
        elif current is not None and segment.name == "TQ1" and current.tq1 is None:
            current.tq1 = segment
    if not groups:
        raise Hl7Refused("an order needs ORC or OBR", error=100)
    return groups


def patient_of(message: Message, settings: Hl7Settings) -> PatientKey:
    """Return PID-3, of the preferred type, with its assigning authority (CX-4)."""
    pid = next(message.named("PID"), None)
    if pid is None:
        raise Hl7Refused("PID is required", error=100)
    found = [
        (pid.text(3, 5, repetition=n), pid.text(3, repetition=n), n)
        for n in range(1, pid.repetitions(3) + 1)
        if pid.text(3, repetition=n)
    ]
    if not found:
        raise Hl7Refused("PID-3 is required", error=101)
    preferred = settings.patient_id_types
    _, patient_id, repetition = min(
        found, key=lambda each: preferred.index(each[0]) if each[0] in preferred else len(preferred)
    )
    issuer = _issuer([pid.text(3, 4, sub, repetition=repetition) for sub in (1, 2)], settings)
    _check_text(patient_id, LONGEST_ID, "PID-3")
    _check_text(issuer, LONGEST_ID, "PID-3")
    return PatientKey(patient_id=patient_id, issuer=issuer)


def codes_of(group: Group) -> tuple[Code, ...]:
    """Return the procedure as coded: requested (OBR-44), ordered (OBR-4), protocol (IPC-6)."""
    found: dict[Code, None] = {}
    if group.obr is not None:
        places = [(group.obr, 44, 1), (group.obr, 4, 1), (group.obr, 4, 4)]
    else:
        places = []
    places += [(ipc, 6, 1) for ipc in group.ipcs]
    for segment, number, first in places:
        for repetition in range(1, segment.repetitions(number) + 1):
            value, scheme = (
                segment.text(number, first + part, repetition=repetition) for part in (0, 2)
            )
            meaning = segment.whole(number, first + 1, repetition=repetition)
            if value or meaning:
                found[Code(scheme=scheme, value=value, meaning=meaning)] = None
    return tuple(found)


def sides_of(group: Group) -> tuple[str, ...]:
    """Return what OBR-15 says of the side, codes as words: body site and modifiers (4 to 6),
    each by its identifier and its text, which are subcomponents there."""
    if group.obr is None:
        return ()
    told = (group.obr.text(15, part, sub) for part in (4, 5, 6) for sub in (1, 2))
    return tuple(_SIDE_CODES.get(each.upper(), each) for each in told if each)


def numbers_of(group: Group) -> tuple[str, str]:
    """Return the placer's and the filler's number of the order: ORC-2 and 3, OBR-2 and 3."""
    told = [
        next((s.text(field) for s in (group.orc, group.obr) if s is not None and s.text(field)), "")
        for field in (2, 3)
    ]
    for number in told:
        _check_text(number, LONGEST_ID, "the placer's or filler's number")
    return told[0], told[1]


def identities_of(
    group: Group, settings: Hl7Settings, *, cancels: bool = False
) -> Iterable[tuple[str, str, str, str]]:
    """Return accession number, issuer, procedure id and Study Instance UID, each set once.

    Where no procedure id is told, the order's own number stands for it: two orders of one
    accession stay two. A cancel has no procedure id but what it tells, and an accession number
    only where it is no placer or filler number that stands in for one; see `cancels`.

    Raises
    ------
    Hl7Refused
        When none of `hl7.accession_fields` says a number, or one is too long.
    """
    found: dict[tuple[str, str, str], str] = {}
    steps: list[Segment | None] = [*group.ipcs] or [None]
    for ipc in steps:
        accession, issuer = _accession(group, ipc, settings, cancels=cancels)
        places = [(ipc, 2), (group.obr, 19)]
        if not cancels:
            places += [(group.orc, 2), (group.obr, 2), (group.orc, 3)]
        procedure = next((s.text(n) for s, n in places if s is not None and s.text(n)), "")
        _check_text(procedure, LONGEST_NUMBER, "the requested procedure id")
        uid = valid_uid(ipc.text(3)) if ipc is not None else ""
        if not uid and group.zds is not None:
            uid = valid_uid(group.zds.text(1))
        key = (accession, issuer, procedure)
        found[key] = found.get(key, "") or uid
    return [(*key, uid) for key, uid in found.items()]


def _accession(
    group: Group, ipc: Segment | None, settings: Hl7Settings, *, cancels: bool
) -> tuple[str, str]:
    segments = {"IPC": ipc, "OBR": group.obr, "ORC": group.orc}
    for name in settings.accession_fields:
        segment, number = segments[name[:3]], int(name[4:])
        if segment is None or not segment.text(number):
            continue
        if cancels and name in _ORDER_NUMBERS and name != settings.accession_fields[0]:
            return "", ""  # it finds its order by that number
        accession = segment.text(number)
        issuer = _issuer([segment.text(number, part) for part in (2, 3)], settings)
        _check_text(accession, LONGEST_NUMBER, "the accession number")
        _check_text(issuer, LONGEST_ID, "the issuer of the accession number")
        return accession, issuer
    if cancels and any(numbers_of(group)):
        return "", ""
    raise Hl7Refused("none of hl7.accession_fields holds an accession number", error=101)


def _issuer(names: Sequence[str], settings: Hl7Settings) -> str:
    """Return the namespace or else the universal id, nothing for an authority of the house."""
    if any(name in settings.local_authorities for name in names):
        return ""
    return next((name for name in names if name), "")


def scheduled_day(group: Group, message: Message, *, changes: bool = False) -> date | None:
    """Return the scheduled day, else the day of the order, else that of the message.

    Of a change the scheduled day alone: its order has a day already, and the others are of
    the change.
    """
    texts: list[str] = []
    if group.tq1 is not None:
        texts.append(group.tq1.text(7))
    if group.obr is not None:
        texts += [group.obr.text(36), group.obr.text(27, 4)]
    if group.orc is not None:
        texts.append(group.orc.text(7, 4))
    if not changes:
        texts += [group.orc.text(15), group.orc.text(9)] if group.orc is not None else []
        texts.append(message.header.text(7))
    return next((day for day in map(day_of, texts) if day is not None), None)


def _check_text(value: str, longest: int, name: str) -> None:
    if len(value) > longest or not value.isprintable():
        raise Hl7Refused(f"{name} is too long or holds what is no text")
