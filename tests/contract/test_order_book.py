"""The book of orders: how old what it says may be, and which order a cancel means."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection

from audit.errors import PeerUnreachable
from audit.metrics import NullMetrics
from dicom_node.config.accession import AccessionSettings
from dicom_node.orders.book import BookParts, OrderBook
from inference.orders import Order, OrderQuery, PatientKey
from inference.types import ExpectationSource
from storage.orders import KeptOrder
from storage.session import Database

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
PATIENT = PatientKey(patient_id="P1")


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.moment = NOW

    def now(self) -> datetime:
        return self.moment

    def monotonic_s(self) -> float:
        return self.moment.timestamp()


class Ris:
    """A worklist that knows two orders, and may be away."""

    name = "worklist"

    def __init__(self, clock: Clock) -> None:
        self.clock, self.away = clock, False

    def orders_for(self, query: OrderQuery) -> tuple[Order, ...]:
        if self.away:
            raise PeerUnreachable("the worklist did not answer in time")
        return (_order(query.accession_number, "KNEE", received_at=self.clock.now()),)


def _order(accession: str, *regions: str, **changes: Any) -> Order:
    made = Order(
        accession_number=accession,
        patient=PATIENT,
        source=ExpectationSource.WORKLIST,
        regions=regions,
        received_at=NOW,
    )
    return replace(made, **changes)


class Shelf:
    """A book with a clock and a RIS at hand."""

    def __init__(self, database: Database) -> None:
        self.database, self.clock = database, Clock()
        self.ris = Ris(self.clock)
        self.told: list[str] = []
        self.book = OrderBook(
            BookParts(
                database=database,
                settings=AccessionSettings(),
                source=self.ris,
                changed=self._changed,
                clock=self.clock,
                metrics=NullMetrics(),
            )
        )

    def _changed(self, _connection: Connection, order: Order, _kept: KeptOrder) -> None:
        self.told.append(order.accession_number)

    def ask(self, *numbers: str) -> None:
        self.book.ask([OrderQuery(accession_number=number) for number in numbers])

    def known(self, *numbers: str) -> tuple[Order, ...]:
        with self.database.reading() as connection:
            return self.book.known(connection, numbers, PATIENT, None)

    def stale(self) -> dict[str, bool]:
        return {order.accession_number: order.stale for order in self.known("A1", "A2")}


@pytest.fixture
def shelf(database: Database) -> Shelf:
    return Shelf(database)


def test_every_order_of_a_worklist_that_is_away_for_hours_is_stale(shelf: Shelf) -> None:
    shelf.ask("A1", "A2")
    assert shelf.stale() == {"A1": False, "A2": False}

    shelf.ris.away = True
    shelf.clock.moment += timedelta(hours=5)
    shelf.ask("A1", "A2")

    assert shelf.stale() == {"A1": True, "A2": True}
    shelf.ris.away = False
    shelf.clock.moment += timedelta(minutes=1)
    shelf.ask("A1", "A2")
    assert shelf.stale() == {"A1": False, "A2": False}


def test_an_order_that_left_the_worklist_is_fresh_while_the_answer_is(shelf: Shelf) -> None:
    shelf.ask("A1")
    shelf.clock.moment += timedelta(hours=5)
    shelf.ris.orders_for = lambda _query: ()  # type: ignore[method-assign]
    shelf.ask("A1")

    assert shelf.stale() == {"A1": False}
    shelf.clock.moment += timedelta(hours=5)
    assert shelf.stale() == {"A1": True}
