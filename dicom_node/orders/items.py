"""What Modality Worklist items say was ordered (pure)."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime

from pydicom import Dataset

from inference.elements import items, text
from inference.ordered import procedure_codes, procedure_expectation, procedure_texts
from inference.orders import Order, OrderQuery, OrderState, PatientKey, Provenance
from inference.regions import RegionMap
from inference.sides import side_of
from inference.types import Code, Expectation, ExpectationSource

LONGEST_NUMBER = 64
"""Characters of an accession number or a procedure id that are kept."""

LONGEST_ID = 256
_MOST_TEXTS = 8
_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")
_CANCELLED_STATUS = frozenset({"CANCELED", "CANCELLED", "DISCONTINUED"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Orders, and how many items were left out for each reason of a closed set."""

    orders: tuple[Order, ...]
    left_out: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an answer must be about, or it is left out: a worklist may match loosely."""

    query: OrderQuery
    modalities: frozenset[str]
    first_day: date | None = None
    last_day: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Key:
    """Items that agree in it are scheduled steps of one requested procedure."""

    accession_number: str
    issuer: str
    requested_procedure_id: str
    patient: PatientKey


def orders_of_items(
    answer: Iterable[Dataset],
    wanted: Wanted,
    regions: RegionMap,
    *,
    peer: str,
    received_at: datetime,
) -> Reading:
    """Return one order for each requested procedure that `answer` tells of.

    Parameters
    ----------
    answer : iterable of Dataset
        Worklist items as they came; broken values count as absent and never raise.
    wanted : Wanted
        An item about anything else is left out.
    regions : RegionMap
        The table of regions.
    peer : str
        AE title of the worklist.
    """
    groups: dict[_Key, list[Dataset]] = {}
    left_out: dict[str, int] = {}
    for item in answer:
        key = _key(item)
        reason = _unusable(key) or _not_wanted(key, item, wanted)
        if reason:
            left_out[reason] = left_out.get(reason, 0) + 1
        else:
            groups.setdefault(key, []).append(item)
    return Reading(
        orders=tuple(
            _order(key, members, regions, peer, received_at) for key, members in groups.items()
        ),
        left_out=left_out,
    )


def valid_uid(value: str) -> str:
    """Return `value` when it is a UID (PS3.5 Section 9.1), else nothing."""
    return value if len(value) <= LONGEST_NUMBER and _UID.fullmatch(value) else ""


def day_of(value: str) -> date | None:
    """Return the day that a DICOM or HL7 date or time begins with, None where it is none."""
    digits = value.strip()[:8]
    if not (len(digits) == 8 and digits.isascii() and digits.isdigit()):
        return None
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return None


def kept_codes(codes: Iterable[Code]) -> tuple[Code, ...]:
    """Return the codes that have a value, as text that can be kept anywhere."""
    return tuple(
        Code(scheme=clean(code.scheme), value=clean(code.value), meaning=clean(code.meaning))
        for code in codes
        if clean(code.value)
    )


def kept_texts(texts: Iterable[str], expected: Expectation | None) -> tuple[str, ...]:
    """Return what an order is called, cut to what is kept; nothing where a region was found."""
    if expected is not None:
        return ()
    return tuple(dict.fromkeys(words for each in texts if (words := clean(each))))[:_MOST_TEXTS]


def clean(value: str) -> str:
    """Return `value` as text that can be kept anywhere, cut to what is kept."""
    return "".join(sign for sign in value if sign.isprintable())[:LONGEST_ID]


def _key(item: Dataset) -> _Key:
    issuers = items(item, "IssuerOfAccessionNumberSequence")
    issuer = next(issuers, Dataset())
    return _Key(
        accession_number=text(item, "AccessionNumber"),
        issuer=text(issuer, "LocalNamespaceEntityID") or text(issuer, "UniversalEntityID"),
        requested_procedure_id=text(item, "RequestedProcedureID"),
        patient=PatientKey(
            patient_id=text(item, "PatientID"), issuer=text(item, "IssuerOfPatientID")
        ),
    )


def _unusable(key: _Key) -> str:
    """Return why an order cannot be kept under this key, or nothing."""
    if not key.accession_number:
        return "no-accession"
    numbers = (key.accession_number, key.requested_procedure_id)
    ids = (key.issuer, key.patient.patient_id, key.patient.issuer)
    too_long = any(len(number) > LONGEST_NUMBER for number in numbers) or any(
        len(each) > LONGEST_ID for each in ids
    )
    return "malformed" if too_long or not "".join((*numbers, *ids)).isprintable() else ""


def _not_wanted(key: _Key, item: Dataset, wanted: Wanted) -> str:
    """Return in what the item differs from what was asked, or nothing."""
    query = wanted.query
    if query.accession_number and key.accession_number != query.accession_number:
        return "other-accession"
    if _differs(query.issuer, key.issuer):
        return "other-accession"
    if query.patient is not None and (
        key.patient.patient_id != query.patient.patient_id
        or _differs(query.patient.issuer, key.patient.issuer)
    ):
        return "other-patient"
    steps = list(items(item, "ScheduledProcedureStepSequence"))
    modalities = {text(step, "Modality") for step in steps} - {""}
    if modalities and not modalities & wanted.modalities:
        return "other-modality"
    day = _first_day(steps)
    too_early = day is not None and wanted.first_day is not None and day < wanted.first_day
    too_late = day is not None and wanted.last_day is not None and day > wanted.last_day
    return "other-day" if too_early or too_late else ""


def _differs(asked: str, answered: str) -> bool:
    """Tell whether two issuers contradict each other; one that is not told does not."""
    return bool(asked and answered and asked != answered)


def _first_day(steps: Iterable[Dataset]) -> date | None:
    days = (day_of(text(step, "ScheduledProcedureStepStartDate")) for step in steps)
    return min((day for day in days if day is not None), default=None)


def _order(
    key: _Key, members: list[Dataset], regions: RegionMap, peer: str, received_at: datetime
) -> Order:
    codes: dict[Code, None] = {}
    texts: dict[str, None] = {}
    for item in members:
        codes |= dict.fromkeys(procedure_codes(item))
        texts |= dict.fromkeys(procedure_texts(item))
    source = ExpectationSource.WORKLIST
    expected = procedure_expectation(codes, texts, source, regions)
    steps = [step for item in members for step in items(item, "ScheduledProcedureStepSequence")]
    statuses = {text(step, "ScheduledProcedureStepStatus").upper() for step in steps}
    uids = (valid_uid(text(item, "StudyInstanceUID")) for item in members)
    return Order(
        accession_number=key.accession_number,
        issuer=key.issuer,
        requested_procedure_id=key.requested_procedure_id,
        patient=key.patient,
        source=source,
        provenance=Provenance(peer=peer, event="C-FIND"),
        regions=expected.regions if expected is not None else (),
        laterality=side_of(codes, texts),
        codes=kept_codes(codes),
        matched_words=expected.matched_words if expected is not None else (),
        texts=kept_texts(texts, expected),
        state=(
            OrderState.CANCELLED
            if statuses and statuses <= _CANCELLED_STATUS
            else OrderState.SCHEDULED
        ),
        study_instance_uid=next((uid for uid in uids if uid), ""),
        ordered_on=_first_day(steps),
        received_at=received_at,
    )
