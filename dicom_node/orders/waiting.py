"""Orders under which no image came: which they are, and when none is awaited any more (pure)."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from dicom_node.config.accession import AccessionSettings, Unimaged
from dicom_node.orders.choice import Number, meant_by
from inference.orders import Order, OrderState, PatientKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """An accession that is known from its orders alone."""

    key: str
    number: Number
    patient: PatientKey
    orders: tuple[Order, ...]

    @property
    def active(self) -> bool:
        """Whether some of its orders still holds."""
        return any(order.state is not OrderState.CANCELLED for order in self.orders)


def by_patient(orders: Iterable[Order]) -> Mapping[PatientKey, list[Order]]:
    """Return orders by whose they are.

    One that names no issuer of its Patient ID is of the patient whom others name, if it is one.
    """
    told = list(orders)
    issuers: dict[str, set[str]] = defaultdict(set)
    for order in told:
        issuers[order.patient.patient_id].add(order.patient.issuer)
    people: dict[PatientKey, list[Order]] = defaultdict(list)
    for order in told:
        patient_id = order.patient.patient_id
        named = issuers[patient_id] - {""}
        issuer = next(iter(named)) if len(named) == 1 else order.patient.issuer
        people[PatientKey(patient_id=patient_id, issuer=issuer)].append(order)
    return people


def waiting_of(patient: PatientKey, orders: Iterable[Order]) -> list[Waiting]:
    """Return the accessions of a patient's orders, by number; `orders` have no images.

    An order that names no issuer of its number is of the one that others name, if it is one.
    """
    own = list(orders)
    found = []
    for number, asked in _numbers(own):
        meant = meant_by(asked, patient, own)
        if meant:
            issuer = next((o.patient.issuer for o in meant if o.patient.issuer), "")
            whose = PatientKey(patient_id=patient.patient_id, issuer=issuer)
            key = _key(whose.patient_id, whose.issuer, number)
            found.append(Waiting(key=key, number=number, patient=whose, orders=meant))
    return found


def keys_of(orders: Iterable[Order]) -> frozenset[str]:
    """Return every key under which a check of these orders may have been kept.

    Of one accession, one order may name the patient's issuer and another the number's.
    """
    told = list(orders)
    return frozenset(
        _key(
            one.patient.patient_id,
            issuer,
            Number(accession_number=one.accession_number, issuer=other.issuer),
        )
        for one in told
        for other in told
        if _accession_of(one) == _accession_of(other)
        for issuer in ("", one.patient.issuer)
    )


def is_overdue(
    orders: Sequence[Order],
    settings: AccessionSettings,
    now: datetime,
    last_image_at: datetime | None,
) -> bool:
    """Whether no image of these orders is awaited any more.

    The patient's last image came `unimaged_after_h` ago, or none came; and either it came on
    their day or later, or their day and `day_window` days more have passed (in UTC).

    Parameters
    ----------
    orders : sequence of Order
        Of one accession. Their day is the latest; of one that names none, the day on which
        its notice came.
    last_image_at : datetime, optional
        When the patient's last image of the same days came; None where there is none.
    """
    wanted = Unimaged.SIBLINGS, Unimaged.ALL
    if settings.unimaged not in (wanted[1:] if last_image_at is None else wanted):
        return False
    day = max(order.ordered_on or order.received_at.date() for order in orders)
    over = now.date() > day + timedelta(days=settings.day_window)
    if last_image_at is None:
        return over
    quiet = now - last_image_at >= timedelta(hours=settings.unimaged_after_h)
    return quiet and (over or last_image_at.date() >= day)


def first_day(settings: AccessionSettings, now: datetime) -> date:
    """Return the first day whose orders are looked at; earlier ones have been, or are history."""
    return now.date() - timedelta(days=settings.day_window + _LOOK_BACK_DAYS)


_LOOK_BACK_DAYS = 7


def _numbers(orders: Sequence[Order]) -> Iterator[tuple[Number, Number]]:
    """Yield each accession, and the number that all of its orders agree with; sorted."""
    issuers: dict[str, set[str]] = {}
    for order in orders:
        issuers.setdefault(order.accession_number, set()).add(order.issuer)
    for accession, told in sorted(issuers.items()):
        named = sorted(told - {""})
        if len(named) <= 1:
            one = Number(accession_number=accession, issuer=next(iter(named), ""))
            yield one, Number(accession_number=accession)
        else:
            several = (Number(accession_number=accession, issuer=issuer) for issuer in named)
            yield from ((number, number) for number in several)


def _accession_of(order: Order) -> tuple[str, str]:
    return order.patient.patient_id, order.accession_number


def _key(patient_id: str, patient_issuer: str, number: Number) -> str:
    name = "\x00".join((patient_id, patient_issuer, number.issuer, number.accession_number))
    return f"order:{hashlib.sha256(name.encode()).hexdigest()[:40]}"
