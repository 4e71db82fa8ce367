"""The book of orders: how old what it says may be, and which order a cancel means."""

from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection
from structlog.testing import capture_logs

from audit.errors import PeerUnreachable
from audit.metrics import NullMetrics
from dicom_node.config.accession import AccessionSettings
from dicom_node.config.orders import Hl7Settings
from dicom_node.orders.book import BookParts, OrderBook
from dicom_node.orders.cancels import NothingToCancel
from dicom_node.orders.er7 import read
from dicom_node.orders.hl7 import orders_of_message
from dicom_node.orders.inbox import Hl7Inbox, InboxParts
from inference.orders import Order, OrderQuery, OrderState, PatientKey, Side, order_from_json
from inference.regions import load_regions
from inference.types import ExpectationSource
from storage.orders import KeptOrder, orders_of_patient
from storage.session import Database
from tests.hl7 import answer_code, fields, order_message

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
TABLE = load_regions()
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
        self.asked: list[OrderQuery] = []

    def orders_for(self, query: OrderQuery) -> tuple[Order, ...]:
        self.asked.append(query)
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

    def _changed(
        self,
        _connection: Connection,
        order: Order,
        _kept: KeptOrder,
        *,
        asking: Collection[int] = (),
    ) -> None:
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
    shelf.ris.orders_for = lambda _query: ()  # type: ignore[method-assign, assignment]
    shelf.ask("A1")

    assert shelf.stale() == {"A1": False}
    shelf.clock.moment += timedelta(hours=5)
    assert shelf.stale() == {"A1": True}


@pytest.mark.parametrize("number", ["*", "A*", "A?1", "A1\\A2"])
def test_a_number_that_a_worklist_takes_for_a_pattern_is_not_asked_for(
    shelf: Shelf, number: str
) -> None:
    shelf.book.ask(
        [
            OrderQuery(patient=PatientKey(patient_id=number), day=NOW.date()),
            OrderQuery(accession_number=number),
            OrderQuery(accession_number="A2"),
        ]
    )

    assert [query.accession_number for query in shelf.ris.asked] == ["A2"]


def hear(shelf: Shelf, message: str, **settings: object) -> None:
    """Keep what a message says of orders."""
    chosen = Hl7Settings.model_validate(settings)
    shelf.clock.moment += timedelta(minutes=1)
    told = orders_of_message(
        read(message.encode(), chosen.charset), chosen, TABLE, shelf.clock.now()
    )
    shelf.book.keep(told)


def states(shelf: Shelf) -> dict[tuple[str, str], str]:
    with shelf.database.reading() as connection:
        rows = orders_of_patient(connection, "P1", "HOSP")
        found = [order_from_json(row.document) for row in rows]
    return {(o.accession_number, o.requested_procedure_id): o.state.value for o in found}


def cancel_by_number(control: str = "CA", number: str = "A1", **changes: Any) -> str:
    """Return an OMI cancel that holds ORC alone."""
    whole = order_message(control=control, accession=number, message_id="M9", **changes)
    return whole[: whole.index("OBR|")]


def test_a_cancel_without_procedure_id_finds_the_order_that_had_one(shelf: Shelf) -> None:
    hear(shelf, order_message())
    hear(shelf, order_message(control="CA", procedure_id="", procedure="", message_id="M2"))

    assert states(shelf) == {("A1", "RP1"): "cancelled"}
    assert shelf.told == ["A1", "A1"], "whoever waits for the order is told"


def test_a_cancel_with_a_procedure_id_finds_the_order_that_had_none(shelf: Shelf) -> None:
    hear(shelf, order_message(procedure_id=""))
    hear(shelf, order_message(control="CA", message_id="M2"))

    assert states(shelf) == {("A1", "PL-A1"): "cancelled"}


def test_a_cancel_without_any_number_of_its_order_cancels_the_accession(shelf: Shelf) -> None:
    hear(shelf, order_message(procedure_id="RP1"))
    hear(shelf, order_message(procedure_id="RP2", message_id="M2"))
    hear(shelf, order_message(accession="A2", message_id="M3"))
    hear(shelf, order_message(patient="P1^^^OTHER^MR", message_id="M4", procedure_id="RP4"))
    bare = order_message(control="CA", procedure_id="", procedure="", message_id="M5")
    hear(shelf, bare.replace("PL-A1^RIS", "").replace("FI-A1^RIS", ""))

    assert states(shelf) == {
        ("A1", "RP1"): "cancelled",
        ("A1", "RP2"): "cancelled",
        ("A2", "RP1"): "scheduled",
    }


def test_a_cancel_by_number_spares_the_other_order_of_its_accession(shelf: Shelf) -> None:
    for number in ("1", "2"):
        text = order_message(procedure_id=f"RP{number}", message_id=f"M{number}")
        hear(shelf, text.replace("L-A1", f"L-{number}").replace("I-A1", f"I-{number}"))
    gone = order_message(control="CA", procedure_id="", procedure="", message_id="M3")
    hear(shelf, gone.replace("L-A1", "L-2").replace("I-A1", "I-2"))

    assert states(shelf) == {("A1", "RP1"): "scheduled", ("A1", "RP2"): "cancelled"}


def test_a_cancel_that_holds_orc_alone_finds_the_order_by_its_number(shelf: Shelf) -> None:
    hear(shelf, order_message())
    hear(shelf, order_message(accession="A2", message_id="M2"))
    hear(shelf, cancel_by_number())

    assert states(shelf) == {("A1", "RP1"): "cancelled", ("A2", "RP1"): "scheduled"}


def test_a_cancel_by_a_number_that_nobody_knows_is_an_error(shelf: Shelf) -> None:
    hear(shelf, order_message())
    for stranger in (cancel_by_number(number="A9"), cancel_by_number(patient="P2^^^HOSP^MR")):
        with pytest.raises(NothingToCancel):
            hear(shelf, stranger)

    assert states(shelf) == {("A1", "RP1"): "scheduled"}


def kept_orders(shelf: Shelf) -> list[Order]:
    with shelf.database.reading() as connection:
        rows = orders_of_patient(connection, "P1", "HOSP")
    assert [row.ordered_on for row in rows] == [
        order_from_json(row.document).ordered_on for row in rows
    ]
    return [order_from_json(row.document) for row in rows]


def change(procedure: str, **more: Any) -> str:
    """Return a change of status that tells neither day nor Study Instance UID."""
    text = order_message(
        kind="ORM^O01", control="SC", status="IP", procedure=procedure, study_uid="", **more
    )
    return text.replace("^^^20260103080000", "")


def test_what_a_change_does_not_tell_stays_as_it_was(shelf: Shelf) -> None:
    hear(shelf, order_message(kind="ORM^O01"))
    [placed] = kept_orders(shelf)
    hear(shelf, change("XKNE^XR KNEE^L"))

    [known] = kept_orders(shelf)
    assert known.state is OrderState.CHANGED
    assert (known.ordered_on, known.study_instance_uid) == (date(2026, 1, 3), "1.2.3")
    assert (known.regions, known.laterality) == (("KNEE",), Side.LEFT)
    assert (placed.ordered_on, placed.study_instance_uid) == (date(2026, 1, 3), "1.2.3")
    assert shelf.told == ["A1"], "it asks for nothing new"


def test_what_a_change_tells_takes_the_place_of_what_was_known(shelf: Shelf) -> None:
    hear(shelf, order_message(kind="ORM^O01"))
    hear(shelf, change("XHAN^XR HAND^L").replace("|IP||", "|IP||^^^20260104"))
    [known] = kept_orders(shelf)
    assert (known.ordered_on, known.study_instance_uid) == (date(2026, 1, 4), "1.2.3")
    assert (known.regions, known.laterality) == (("HAND",), Side.UNSAID)

    hear(shelf, change("XHAN^XR HAND RIGHT^L"))
    [known] = kept_orders(shelf)
    assert (known.ordered_on, known.laterality) == (date(2026, 1, 4), Side.RIGHT)


def test_a_change_of_an_order_that_nobody_knows_is_of_the_day_of_its_arrival(shelf: Shelf) -> None:
    hear(shelf, change("XKNE^XR KNEE LEFT^L"))

    [known] = kept_orders(shelf)
    assert (known.ordered_on, known.study_instance_uid) == (NOW.date(), "")
    assert known.regions == ("KNEE",)


def inbox_of(shelf: Shelf) -> Hl7Inbox:
    return Hl7Inbox(
        InboxParts(
            settings=Hl7Settings(),
            regions=TABLE,
            sink=shelf.book,
            database=shelf.database,
            clock=shelf.clock,
            metrics=NullMetrics(),
        )
    )


def test_the_sender_of_a_cancel_that_finds_nothing_is_told(shelf: Shelf) -> None:
    inbox = inbox_of(shelf)

    unknown = inbox.take(cancel_by_number().encode(), "127.0.0.1")
    inbox.take(order_message().encode(), "127.0.0.1")
    known = inbox.take(cancel_by_number().encode(), "127.0.0.1")

    assert (answer_code(unknown), answer_code(known)) == ("AE", "AA")
    assert fields(unknown, "ERR")[3] == "204^Unknown key identifier^HL70357"
    assert states(shelf) == {("A1", "RP1"): "cancelled"}


def all_states(shelf: Shelf) -> dict[tuple[str, str], str]:
    """Return the state of each of the orders A1 by its issuer and its patient's."""
    with shelf.database.reading() as connection:
        rows = orders_of_patient(connection, "P1", "")
    return {(row.issuer, row.issuer_of_patient_id): row.state for row in rows}


NAMELESS, HOSP, OTHER = "P1^^^^MR", "P1^^^HOSP^MR", "P1^^^OTHER^MR"


@pytest.mark.parametrize(
    ("placed", "gone", "after"),
    [
        ([HOSP], NAMELESS, {("", "HOSP"): "cancelled"}),
        ([NAMELESS], HOSP, {("", ""): "cancelled"}),
        ([NAMELESS, HOSP], HOSP, {("", ""): "cancelled", ("", "HOSP"): "cancelled"}),
        ([HOSP, OTHER], HOSP, {("", "HOSP"): "cancelled", ("", "OTHER"): "scheduled"}),
        (
            [NAMELESS, HOSP, OTHER],
            NAMELESS,
            {("", ""): "cancelled", ("", "HOSP"): "scheduled", ("", "OTHER"): "scheduled"},
        ),
        (
            [HOSP, OTHER],
            NAMELESS,
            {("", ""): "cancelled", ("", "HOSP"): "scheduled", ("", "OTHER"): "scheduled"},
        ),
    ],
)
def test_a_patient_s_authority_that_one_side_does_not_name_contradicts_no_cancel(
    shelf: Shelf, placed: list[str], gone: str, after: dict[tuple[str, str], str]
) -> None:
    for number, patient in enumerate(placed):
        hear(shelf, order_message(patient=patient, message_id=f"M{number}"))
    hear(shelf, order_message(control="CA", patient=gone, message_id="M9"))

    assert all_states(shelf) == after


@pytest.mark.parametrize(
    ("placed", "gone", "after"),
    [
        (["A1^RIS"], "A1", {("RIS", "HOSP"): "cancelled"}),
        (["A1"], "A1^RIS", {("", "HOSP"): "cancelled"}),
        (["A1^NORTH"], "A1^RIS", {("NORTH", "HOSP"): "scheduled", ("RIS", "HOSP"): "cancelled"}),
        (
            ["A1^NORTH", "A1^RIS"],
            "A1",
            {
                ("NORTH", "HOSP"): "scheduled",
                ("RIS", "HOSP"): "scheduled",
                ("", "HOSP"): "cancelled",
            },
        ),
    ],
)
def test_an_accession_s_issuer_that_one_side_does_not_name_contradicts_no_cancel(
    shelf: Shelf, placed: list[str], gone: str, after: dict[tuple[str, str], str]
) -> None:
    def numbered(accession: str, **more: Any) -> str:
        text = order_message(accession=accession, **more)
        return text.replace(f"PL-{accession}^RIS", "").replace(f"FI-{accession}^RIS", "")

    for number, accession in enumerate(placed):
        hear(shelf, numbered(accession, message_id=f"M{number}"))
    hear(shelf, numbered(gone, control="CA", message_id="M9"))

    assert all_states(shelf) == after


def test_a_cancel_of_an_accession_that_nobody_knows_is_kept(shelf: Shelf) -> None:
    """Its order may have been placed before the node listened."""
    hear(shelf, order_message(control="CA"))
    hear(shelf, cancel_by_number(number="A2"), accession_fields=["ORC-3"])

    assert states(shelf) == {("A1", "RP1"): "cancelled", ("FI-A2", ""): "cancelled"}


def test_a_replaced_order_is_cancelled_and_the_new_one_stands(shelf: Shelf) -> None:
    hear(shelf, order_message(procedure_id=""))
    old = order_message(control="RU", procedure_id="", procedure="", message_id="M2")
    new = order_message(control="RO", procedure_id="").replace("L-A1", "L-2")
    hear(shelf, old + new[new.index("ORC|") :])

    assert states(shelf) == {("A1", "PL-A1"): "cancelled", ("A1", "PL-2"): "scheduled"}


@pytest.mark.parametrize("control", ["RP", "RU"])
def test_what_replaces_an_order_that_nobody_knows_is_kept(shelf: Shelf, control: str) -> None:
    old = cancel_by_number(control=control, number="A9")
    new = order_message(control="RO")

    with capture_logs() as logs:
        answer = inbox_of(shelf).take((old + new[new.index("ORC|") :]).encode(), "127.0.0.1")

    assert answer_code(answer) == "AA"
    assert states(shelf) == {("A1", "RP1"): "scheduled"}
    [left] = [each for each in logs if each["event"] == "orders.cancels.left_aside"]
    assert {key: left[key] for key in left if key not in ("event", "log_level")} == {"count": 1}
