"""Which words of images and orders are listed for whoever keeps the table of regions."""

from datetime import UTC, datetime

from pydicom import Dataset

from dicom_node.config.orders import Hl7Settings
from dicom_node.orders.er7 import read
from dicom_node.orders.hl7 import orders_of_message
from dicom_node.orders.items import Wanted, orders_of_items
from inference.ordered import unmapped_words
from inference.orders import Order, OrderQuery, order_to_json
from inference.regions import load_regions
from storage.orders import NewOrder, keep_order
from storage.session import Database
from storage.unmapped import SeenText, note_texts, seen_texts
from tests.hl7 import order_message
from tests.worklists import code, worklist_item

TABLE = load_regions()
NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)


def from_worklist(description: str, accession: str = "A1") -> Order:
    wanted = Wanted(query=OrderQuery(), modalities=frozenset({"CR"}))
    item = worklist_item(accession=accession, description=description)
    [order] = orders_of_items([item], wanted, TABLE, peer="RIS", received_at=NOW).orders
    return order


def from_hl7(procedure: str) -> Order:
    message = read(order_message(procedure=procedure).encode(), "UNICODE UTF-8")
    [order] = orders_of_message(message, Hl7Settings(), TABLE, NOW)
    return order


def keep(database: Database, order: Order) -> None:
    with database.transaction() as connection:
        keep_order(
            connection,
            NewOrder(
                source=order.source.value,
                accession_number=order.accession_number,
                issuer="",
                requested_procedure_id="",
                patient_id="P1",
                issuer_of_patient_id="",
                state="scheduled",
                ordered_on=None,
                content_sha256="a" * 64,
                document=order_to_json(order),
                received_at=NOW,
                stale_after=None,
            ),
        )


def seen(database: Database) -> set[SeenText]:
    with database.reading() as connection:
        return set(seen_texts(connection))


def text(attribute: str, words: str, count: int = 1) -> SeenText:
    return SeenText(attribute=attribute, text=words, count=count)


def test_the_words_of_an_order_without_a_known_region_are_listed(database: Database) -> None:
    keep(database, from_worklist("Odd words"))
    keep(database, from_worklist("Odd words", "A2"))
    keep(database, from_hl7("^Strange words"))

    assert seen(database) == {
        text("worklist", "Odd words", 2),
        text("worklist", "2 views", 2),
        text("hl7", "Strange words"),
    }


def test_words_of_an_order_whose_region_is_known_are_not_kept(database: Database) -> None:
    keep(database, from_worklist("XR KNEE"))
    keep(database, from_hl7("X^XR ANKLE^L"))

    assert seen(database) == set()


def test_a_code_is_listed_once_and_long_words_are_cut(database: Database) -> None:
    keep(database, from_hl7("X1^Strange^L"))
    keep(database, from_worklist("w" * 5000))

    assert seen(database) == {
        text("hl7", "X1^Strange^L"),
        text("worklist", "w" * 256),
        text("worklist", "2 views"),
    }
    many = from_hl7("~".join(f"^odd {chr(97 + n)}" for n in range(20)))
    assert len(many.texts) == 8


def test_words_of_images_that_no_other_table_holds_are_counted(database: Database) -> None:
    ds = Dataset()
    ds.ProtocolName, ds.PerformedProcedureStepDescription = "Odd protocol", "XR KNEE"
    ds.RequestedProcedureDescription = "Odd request"
    request = Dataset()
    request.RequestedProcedureDescription = "Odd request"
    request.RequestedProcedureCodeSequence = [
        code("X7", "99LOC", "Odd code"),
        code("X8", "99LOC", "Knee"),
    ]
    ds.RequestAttributesSequence = [request]

    for _ in range(2):
        with database.transaction() as connection:
            note_texts(connection, unmapped_words(ds, TABLE))

    assert seen(database) == {
        text("ProtocolName", "Odd protocol", 2),
        text("RequestedProcedureDescription", "Odd request", 2),
        text("RequestedProcedureCodeSequence", "X7^Odd code^99LOC", 2),
    }


def test_a_header_whose_words_are_all_known_or_empty_adds_nothing(database: Database) -> None:
    ds = Dataset()
    ds.ProtocolName, ds.RequestedProcedureDescription = "", "XR CHEST PA"
    assert unmapped_words(ds, TABLE) == ()
    with database.transaction() as connection:
        note_texts(connection, ())
    assert seen(database) == set()
