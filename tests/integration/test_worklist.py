"""Asking a RIS what was ordered: one that is right, away, slow, and lying."""

import ssl
import threading
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from pydicom import Dataset
from pynetdicom import evt

from audit.clock import SystemClock
from audit.errors import InvalidConfiguration, PeerUnreachable
from audit.metrics import NullMetrics
from dicom_node.dimse.worklist import WorklistClient, WorklistKeys, WorklistRefused
from dicom_node.orders.worklist_source import RefreshWorklist, WorklistSource
from inference.elements import text
from inference.orders import Order, OrderQuery, OrderState, PatientKey, Side
from inference.regions import load_regions
from tests.archives import silent_listener
from tests.certificates import make_certificates
from tests.nodes import wait_for
from tests.orthanc import free_port
from tests.worklists import (
    code,
    running_wlmscpfs,
    scripted_worklist,
    worklist_item,
    worklist_settings,
)

TABLE = load_regions()
DCMTK = pytest.mark.peer("dcmtk")


def client(port: int, **overrides: object) -> WorklistClient:
    return WorklistClient(worklist_settings(port, **overrides), "AI_NODE", SystemClock())


def source(port: int, **overrides: object) -> WorklistSource:
    settings = worklist_settings(port, **overrides)
    return WorklistSource(
        WorklistClient(settings, "AI_NODE", SystemClock()),
        settings,
        TABLE,
        SystemClock(),
        NullMetrics(),
    )


class Notebook:
    """Keeps orders in memory."""

    def __init__(self) -> None:
        self.orders: list[Order] = []

    def keep(self, orders: tuple[Order, ...]) -> int:
        self.orders += orders
        return len(orders)


def numbers(found: tuple[Order, ...]) -> set[str]:
    return {order.accession_number for order in found}


@pytest.fixture(scope="module")
def ris(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A RIS of a small day: knees and ankles, many alphabets, two issuers."""
    foot = worklist_item(accession="A6", patient="P6", description="X 4711")
    foot.RequestedProcedureCodeSequence = [code("56459004", "SCT", "Foot")]
    items = [
        worklist_item(accession="A1", patient="P1", description="XR KNEE LEFT"),
        worklist_item(accession="A2", patient="P1", description="XR ANKLE", day="20260103"),
        worklist_item(accession="A3", patient="P1", description="XR HAND", day="20260109"),
        worklist_item(accession="A4", patient="P2", description="膝関節 左", name="山田^太郎"),
        worklist_item(accession="A5", patient="P3", description="CT HEAD", modality="CT"),
        foot,
        worklist_item(
            accession="A7", patient="P7", description="Рентген колена", name="Иванов^Пётр",
            charset="ISO_IR 144",
        ),
    ]  # fmt: skip
    with running_wlmscpfs(tmp_path_factory.mktemp("ris"), items) as port:
        yield port


@DCMTK
def test_an_order_is_found_by_its_accession_number(ris: int) -> None:
    [order] = source(ris).orders_for(OrderQuery(accession_number="A1"))

    assert order.accession_number == "A1"
    assert order.patient == PatientKey(patient_id="P1")
    assert (order.regions, order.laterality) == (("KNEE",), Side.LEFT)
    assert order.requested_procedure_id == "RP1"
    assert order.ordered_on == date(2026, 1, 2)
    assert order.study_instance_uid
    assert order.provenance.peer == "RIS"


@DCMTK
def test_the_orders_of_a_patient_are_found_by_day(ris: int) -> None:
    patient = PatientKey(patient_id="P1")

    near = source(ris).orders_for(OrderQuery(patient=patient, day=date(2026, 1, 2)))
    all_days = source(ris).orders_for(OrderQuery(patient=patient))

    assert numbers(near) == {"A1", "A2"}
    assert numbers(all_days) == {"A1", "A2", "A3"}


@DCMTK
def test_an_unknown_accession_number_has_no_order(ris: int) -> None:
    assert source(ris).orders_for(OrderQuery(accession_number="A99")) == ()


@DCMTK
@pytest.mark.parametrize(
    ("accession", "regions"), [("A4", ("KNEE",)), ("A7", ("KNEE",)), ("A6", ("FOOT",))]
)
def test_words_of_any_alphabet_and_codes_name_the_region(
    ris: int, accession: str, regions: tuple[str, ...]
) -> None:
    [order] = source(ris).orders_for(OrderQuery(accession_number=accession))

    assert order.regions == regions


@DCMTK
def test_orders_for_other_modalities_are_left_aside(ris: int) -> None:
    assert source(ris).orders_for(OrderQuery(accession_number="A5")) == ()
    assert len(source(ris, modalities=["CT"]).orders_for(OrderQuery(accession_number="A5"))) == 1


@DCMTK
def test_the_name_of_the_patient_is_not_asked_for(ris: int) -> None:
    [item] = client(ris).find(WorklistKeys(accession_number="A4"))

    assert "PatientName" not in item
    assert text(item, "RequestedProcedureDescription") == "膝関節 左"


@DCMTK
def test_a_check_says_that_the_worklist_answers(ris: int) -> None:
    assert client(ris).verify() == 0


@DCMTK
def test_the_days_around_today_are_fetched_and_kept(tmp_path: Path) -> None:
    today = SystemClock().now().strftime("%Y%m%d")
    items = [
        worklist_item(accession="A1", day=today),
        worklist_item(accession="A2", day=today, modality="DX"),
        worklist_item(accession="A3", day="20200101"),
    ]
    notebook = Notebook()
    with running_wlmscpfs(tmp_path, items) as port:
        RefreshWorklist(source(port), notebook)()

    assert numbers(tuple(notebook.orders)) == {"A1", "A2"}


@DCMTK
def test_a_ris_that_hangs_costs_the_wait_and_its_late_answer_is_kept(tmp_path: Path) -> None:
    notebook = Notebook()
    with running_wlmscpfs(tmp_path, [worklist_item()], "--sleep-before", "1") as port:
        slow = source(port, wait_s=0.2)
        slow.deliver_late_answers_to(notebook)
        started = time.monotonic()
        with pytest.raises(PeerUnreachable, match="in time"):
            slow.orders_for(OrderQuery(accession_number="A1"))
        waited_s = time.monotonic() - started
        wait_for(lambda: bool(notebook.orders), 10)
        slow.close()

    assert waited_s < 1
    assert notebook.orders[0].accession_number == "A1"


def test_a_ris_that_is_away_is_left_alone_after_failures() -> None:
    away = source(free_port(), failures_before_rest=2, rest_s=60)
    for _ in range(2):
        with pytest.raises(PeerUnreachable, match="connection"):
            away.orders_for(OrderQuery(accession_number="A1"))

    started = time.monotonic()
    with pytest.raises(PeerUnreachable, match="left alone"):
        away.orders_for(OrderQuery(accession_number="A1"))
    with pytest.raises(PeerUnreachable, match="left alone"):
        away.fetch()
    assert time.monotonic() - started < 0.1


@pytest.mark.slow
def test_a_ris_that_never_says_a_word_costs_the_wait() -> None:
    with silent_listener() as port:
        silent = source(port, wait_s=0.3, timeout_s=1)
        started = time.monotonic()
        with pytest.raises(PeerUnreachable):
            silent.orders_for(OrderQuery(accession_number="A1"))
        assert time.monotonic() - started < 0.9
        silent.close()


def test_a_ris_that_drips_is_cancelled_when_the_time_of_a_query_is_over() -> None:
    cancelled = threading.Event()

    def drip(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        for _ in range(200):
            if event.is_cancelled:
                cancelled.set()
                yield 0xFE00, None
                return
            time.sleep(0.05)
            yield 0xFF00, worklist_item()

    with scripted_worklist(drip) as port:
        started = time.monotonic()
        with pytest.raises(PeerUnreachable, match="in time"):
            client(port, query_limit_s=0.5).find(WorklistKeys())
        assert time.monotonic() - started < 4
        assert cancelled.wait(5)


def test_thousands_of_matches_are_cancelled() -> None:
    cancelled = threading.Event()

    def flood(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        for _ in range(5000):
            if event.is_cancelled:
                cancelled.set()
                yield 0xFE00, None
                return
            time.sleep(0.01)  # or the peer's own reactor never gets to read the C-CANCEL
            yield 0xFF00, worklist_item()

    with scripted_worklist(flood) as port:
        with pytest.raises(WorklistRefused, match="maximum_matches"):
            client(port, maximum_matches=20).find(WorklistKeys())
        assert cancelled.wait(10)


@pytest.mark.slow
def test_a_ris_that_does_not_heed_a_cancel_is_hung_up_on() -> None:
    def deaf(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        for _ in range(400):
            if not event.assoc.is_established:
                return
            time.sleep(0.02)
            yield 0xFF01, worklist_item()

    with scripted_worklist(deaf) as port:
        started = time.monotonic()
        with pytest.raises(WorklistRefused):
            client(port, maximum_matches=1).find(WorklistKeys())
        assert time.monotonic() - started < 5


@pytest.mark.parametrize("status", [0xA700, 0xA900, 0xC001, 0x0122, 0xFE00])
def test_a_query_that_is_refused_is_an_error_and_not_an_empty_answer(status: int) -> None:
    def refuse(_event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        yield status, None

    with scripted_worklist(refuse) as port, pytest.raises(WorklistRefused):
        client(port).find(WorklistKeys())


def test_an_answer_that_breaks_off_is_an_error_and_not_a_short_answer() -> None:
    def break_off(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        yield 0xFF00, worklist_item()
        event.assoc.abort()

    with scripted_worklist(break_off) as port, pytest.raises(PeerUnreachable):
        client(port).find(WorklistKeys())


def test_a_peer_without_a_worklist_is_refused() -> None:
    def never(_event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        yield 0x0000, None

    with scripted_worklist(never, classes=()) as port, pytest.raises(WorklistRefused):
        client(port).find(WorklistKeys())


def test_answers_about_something_else_are_left_out() -> None:
    """A lying RIS: another accession, another patient, another issuer, no number at all."""
    lies = [
        worklist_item(accession="A1", patient="P1", issuer="NORTH"),
        worklist_item(accession="B7", patient="P1"),
        worklist_item(accession="A1", patient="P1", issuer="SOUTH"),
        worklist_item(accession="", patient="P1"),
        worklist_item(accession="A1", patient="P1", modality="MR"),
        worklist_item(accession="A1", patient="P1", issuer="N" * 300),
    ]

    def lie(_event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        yield from ((0xFF00, item) for item in lies)

    with scripted_worklist(lie) as port:
        found = source(port).orders_for(OrderQuery(accession_number="A1", issuer="NORTH"))
        of_patient = source(port).orders_for(
            OrderQuery(patient=PatientKey(patient_id="P2"), day=date(2026, 1, 2))
        )

    assert [(order.accession_number, order.issuer) for order in found] == [("A1", "NORTH")]
    assert of_patient == ()


def test_two_patients_with_one_accession_number_are_two_orders() -> None:
    def answer(_event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        yield 0xFF00, worklist_item(patient="P1", issuer="NORTH", description="XR KNEE")
        yield 0xFF00, worklist_item(patient="P2", issuer="SOUTH", description="XR HAND")

    with scripted_worklist(answer) as port:
        found = source(port).orders_for(OrderQuery(accession_number="A1"))

    assert {(order.issuer, order.patient.patient_id, order.regions) for order in found} == {
        ("NORTH", "P1", ("KNEE",)),
        ("SOUTH", "P2", ("HAND",)),
    }


def test_the_steps_of_one_procedure_are_one_order() -> None:
    def answer(_event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        yield 0xFF00, worklist_item(description="XR KNEE LEFT", step_id="S1")
        yield 0xFF00, worklist_item(description="XR ANKLE LEFT", step_id="S2", day="20260101")

    with scripted_worklist(answer) as port:
        [order] = source(port).orders_for(OrderQuery(accession_number="A1"))

    assert order.regions == ("KNEE", "ANKLE")
    assert order.ordered_on == date(2026, 1, 1)


def test_a_step_that_was_discontinued_is_a_cancelled_order() -> None:
    def answer(_event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        yield 0xFF00, worklist_item(status="DISCONTINUED")

    with scripted_worklist(answer) as port:
        [order] = source(port).orders_for(OrderQuery(accession_number="A1"))

    assert order.state is OrderState.CANCELLED


@pytest.mark.slow
def test_an_association_over_tls_is_made_and_a_stranger_is_refused(tmp_path: Path) -> None:
    made = make_certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate("server"), made.key("server"))
    context.load_verify_locations(made.ca)
    context.verify_mode = ssl.CERT_REQUIRED

    def answer(_event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        yield 0xFF00, worklist_item()

    ours = {
        "tls_ca_file": made.ca,
        "tls_certificate_file": made.certificate("client"),
        "tls_private_key_file": made.key("client"),
    }
    with scripted_worklist(answer, ssl_context=context) as port:
        assert len(client(port, **ours).find(WorklistKeys())) == 1
        with pytest.raises(PeerUnreachable):  # the certificate names another host
            client(port, **ours, host="localhost").find(WorklistKeys())
        with pytest.raises(PeerUnreachable):  # plain where TLS is spoken
            client(port, timeout_s=2).find(WorklistKeys())
        with pytest.raises(PeerUnreachable):  # signed by nobody it knows
            client(port, tls_ca_file=made.certificate("strange")).find(WorklistKeys())
    with pytest.raises(InvalidConfiguration, match="worklist"):
        client(port, tls_ca_file=tmp_path / "none.pem")
