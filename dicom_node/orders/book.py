"""The book of orders: what every source told, kept; and who is asked again when."""

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import structlog
from sqlalchemy import Connection

from audit.clock import Clock
from audit.errors import PeerUnreachable
from audit.metrics import Metrics
from dicom_node.config.accession import AccessionSettings, OrderedBy
from dicom_node.orders.cancels import NothingToCancel, cancelled_by, is_cancel
from dicom_node.orders.changes import completed, is_change
from dicom_node.orders.ports import OrderSource
from inference.orders import Order, OrderQuery, PatientKey, content_of, order_from_json
from inference.orders import order_to_json as to_json
from inference.types import ExpectationSource
from storage import orders as rows
from storage.session import Database

log = structlog.get_logger()

_RETRY_S = 30.0
"""A source that was away is not asked anything again within this time."""

_KEEP_LOOKUPS = timedelta(days=7)


class Changed(Protocol):
    """Called in the transaction in which an order was new or changed."""

    def __call__(
        self,
        connection: Connection,
        order: Order,
        kept: rows.KeptOrder,
        /,
        *,
        asking: Collection[int] = (),
    ) -> None:
        """Tell whoever waits for the order, but not the studies that are `asking`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BookParts:
    """What the book works with; built by the composition root."""

    database: Database
    settings: AccessionSettings
    source: OrderSource | None
    """The worklist; None where none is configured."""

    changed: Changed
    clock: Clock
    metrics: Metrics


class OrderBook:
    """Keeps orders, and finds them again; an `OrderSink`. Safe to use from several threads."""

    def __init__(self, parts: BookParts) -> None:
        self._parts = parts

    def keep(self, orders: tuple[Order, ...]) -> int:
        """Keep notices of orders; whoever waits for a changed one is told.

        Returns how many said something new. A cancel that means no order is left aside where
        other notices came with it. See `OrderSink.keep`.

        Raises
        ------
        NothingToCancel
            Nothing was kept: none of the notices is more than a cancel of an unknown order.
        """
        return self._keep(orders)

    def ask(self, queries: Sequence[OrderQuery], *, asking: Collection[int] = ()) -> None:
        """Put the questions whose answers are not fresh any more; keep what comes.

        An answer about a patient answers for the accessions in it, too. A source that is
        away costs one time-out: the remaining questions are left for another time, and what
        is known then counts as stale. A number that would match others is not asked for.

        Parameters
        ----------
        asking : collection of int
            Studies that are compared with the answers anyway; other studies that an order
            is about are told.
        """
        parts = self._parts
        if parts.source is None or OrderedBy.WORKLIST not in parts.settings.sources:
            return
        anything = rows.lookup_key(parts.source.name)
        for query in queries:
            key = _lookup_key(parts.source.name, query)
            if query.is_pattern or not (self._due(anything) and self._due(key)):
                continue
            now = parts.clock.now()
            try:
                found = parts.source.orders_for(query)
            except PeerUnreachable as error:
                log.warning("orders.source.away", source=parts.source.name, error_code=error.code)
                self._note((key, anything), now, answered=False)
                return
            self._keep(found, asking)
            numbers = (OrderQuery(accession_number=each.accession_number) for each in found)
            answered = {key, *(_lookup_key(parts.source.name, number) for number in numbers)}
            self._note(sorted(answered), now, answered=True)

    def known(
        self,
        connection: Connection,
        accession_numbers: Sequence[str],
        patient: PatientKey,
        days: tuple[datetime, datetime] | None,
    ) -> tuple[Order, ...]:
        """Return every kept order of these numbers, and the patient's of these days."""
        found = {
            row.id: row
            for number in accession_numbers
            for row in rows.orders_of_accession(connection, number)
        }
        if patient.patient_id and days is not None:
            first, last = (day.date() for day in days)
            for row in rows.orders_of_patient(
                connection, patient.patient_id, patient.issuer, first, last
            ):
                found[row.id] = row
        return tuple(self._order(connection, found[key]) for key in sorted(found))

    def forget(self) -> None:
        """Remove notes of questions that nobody will ask again."""
        with self._parts.database.transaction() as connection:
            rows.forget_lookups(connection, self._parts.clock.now() - _KEEP_LOOKUPS)

    def _keep(self, orders: tuple[Order, ...], asking: Collection[int] = ()) -> int:
        new = 0
        if not orders:
            return new
        taken: list[Order] = []
        with self._parts.database.transaction() as connection:
            for told in orders:
                meant = self._meant(connection, told)
                taken += [told] if meant else []
                for order in meant:
                    kept = rows.keep_order(connection, self._row(order))
                    if kept.kept in (rows.Kept.NEW, rows.Kept.CHANGED):
                        new += 1
                        self._parts.changed(connection, order, kept, asking=asking)
        if not taken:
            raise NothingToCancel
        for told in taken:
            self._parts.metrics.count("orders_kept_total", source=told.source.value)
        if left_aside := len(orders) - len(taken):
            self._parts.metrics.count("orders_cancels_left_aside_total", left_aside)
            log.warning("orders.cancels.left_aside", count=left_aside)
        return new

    def _meant(self, connection: Connection, told: Order) -> tuple[Order, ...]:
        """Return what to keep of a notice: itself, a change with what it leaves as it was, or
        of a cancel the orders that it means."""
        if not (is_cancel(told) or is_change(told)):
            return (told,)
        patient = told.patient
        found = rows.orders_of_patient(connection, patient.patient_id, patient.issuer)
        known = [order_from_json(row.document) for row in found]
        return cancelled_by(told, known) if is_cancel(told) else (completed(told, known),)

    def _row(self, order: Order) -> rows.NewOrder:
        from_worklist = order.source is ExpectationSource.WORKLIST
        holds = timedelta(seconds=self._parts.settings.worklist_cache_s)
        return rows.NewOrder(
            source=order.source.value,
            accession_number=order.accession_number,
            issuer=order.issuer,
            requested_procedure_id=order.requested_procedure_id,
            patient_id=order.patient.patient_id,
            issuer_of_patient_id=order.patient.issuer,
            state=order.state.value,
            ordered_on=order.ordered_on,
            content_sha256=_sha256(content_of(order)),
            document=to_json(order),
            received_at=order.received_at,
            stale_after=order.received_at + holds if from_worklist else None,
        )

    def _order(self, connection: Connection, row: rows.OrderRow) -> Order:
        order = order_from_json(row.document)
        overdue = row.stale_after is not None and row.stale_after < self._parts.clock.now()
        if not overdue or self._parts.source is None:
            return order
        query = OrderQuery(accession_number=row.accession_number)
        last = rows.lookup(connection, _lookup_key(self._parts.source.name, query))
        fresh = last is not None and last.answered and self._age_s(last) <= self._cache_s
        return order if fresh else order.as_stale()

    def _due(self, key: str) -> bool:
        with self._parts.database.reading() as connection:
            last = rows.lookup(connection, key)
        if last is None:
            return True
        return self._age_s(last) >= (self._cache_s if last.answered else _RETRY_S)

    @property
    def _cache_s(self) -> float:
        return self._parts.settings.worklist_cache_s

    def _age_s(self, last: rows.Lookup) -> float:
        return (self._parts.clock.now() - last.asked_at).total_seconds()

    def _note(self, keys: Sequence[str], at: datetime, *, answered: bool) -> None:
        with self._parts.database.transaction() as connection:
            for key in keys:
                rows.note_lookup(connection, key, at=at, answered=answered)


def _lookup_key(source: str, query: OrderQuery) -> str:
    patient = query.patient or PatientKey(patient_id="")
    day = query.day.isoformat() if query.day is not None else ""
    return rows.lookup_key(
        source, query.accession_number, query.issuer, patient.patient_id, patient.issuer, day
    )


def _sha256(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
