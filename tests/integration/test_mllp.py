"""HL7 orders over a real socket: kept before they are acknowledged, whoever else misbehaves."""

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import structlog

from audit.clock import SystemClock
from audit.errors import DatabaseAway, Fault
from audit.metrics import NullMetrics
from dicom_node.config.orders import Hl7Settings
from dicom_node.orders.inbox import Hl7Inbox, InboxParts
from dicom_node.orders.mllp import MllpListener, MllpListenerFailed
from inference.orders import Order, OrderState
from inference.regions import load_regions
from storage.session import Database
from tests.hl7 import END, START, answer_code, fields, mllp_peer, order_message
from tests.nodes import wait_for

TABLE = load_regions()


class Notebook:
    """Keeps orders in memory; may be told to fail or to wait."""

    def __init__(self) -> None:
        self.orders: list[Order] = []
        self.failure: Exception | None = None
        self.held = threading.Event()
        self.held.set()
        self.waits = threading.Event()

    def keep(self, orders: tuple[Order, ...]) -> int:
        if any(order.accession_number == "SLOW" for order in orders):
            self.waits.set()
            assert self.held.wait(20)
        if self.failure is not None:
            raise self.failure
        self.orders += orders
        return len(orders)


@pytest.fixture
def notebook() -> Notebook:
    return Notebook()


@pytest.fixture
def small_database(tmp_path: Path, sqlite_template: Path) -> Iterator[Database]:
    path = tmp_path / "node.db"
    path.write_bytes(sqlite_template.read_bytes())
    database = Database(f"sqlite:///{path}", pool_size=8)
    yield database
    database.close()


Listening = Callable[..., AbstractContextManager[MllpListener]]


@pytest.fixture
def listening(notebook: Notebook, small_database: Database) -> Listening:
    @contextmanager
    def run(**overrides: object) -> Iterator[MllpListener]:
        settings = Hl7Settings.model_validate({"port": 0, "message_timeout_s": 5, **overrides})
        inbox = Hl7Inbox(
            InboxParts(
                settings=settings,
                regions=TABLE,
                sink=notebook,
                database=small_database,
                clock=SystemClock(),
                metrics=NullMetrics(),
            )
        )
        listener = MllpListener(settings, inbox, SystemClock(), NullMetrics())
        listener.start()
        try:
            yield listener
        finally:
            notebook.held.set()
            listener.stop(5)

    return run


def test_an_order_is_kept_before_it_is_acknowledged(
    listening: Listening, notebook: Notebook
) -> None:
    with listening() as listener, mllp_peer(listener.port) as peer:
        answer = peer.ask(order_message(message_id="M77"))

        assert [order.accession_number for order in notebook.orders] == ["A1"]
    assert fields(answer, "MSA") == ["MSA", "AA", "M77"]
    assert fields(answer, "MSH")[4:6] == ["RIS", "HOSP"]


def test_a_message_that_comes_byte_by_byte_is_one_message(
    listening: Listening, notebook: Notebook
) -> None:
    data = START + order_message(name="山田^太郎").encode() + END
    with listening() as listener, mllp_peer(listener.port) as peer:
        for at in range(len(data)):
            peer.write(data[at : at + 1])

        assert answer_code(peer.answer()) == "AA"
    assert len(notebook.orders) == 1


def test_many_messages_in_one_write_are_answered_in_their_order(
    listening: Listening, notebook: Notebook
) -> None:
    ids = [f"M{number}" for number in range(20)]
    with listening() as listener, mllp_peer(listener.port) as peer:
        peer.write(
            b"".join(
                START + order_message(message_id=each, accession=f"A-{each}").encode() + END
                for each in ids
            )
        )

        assert [fields(peer.answer(), "MSA")[2] for _ in ids] == ids
    assert len(notebook.orders) == 20


def test_garbage_between_messages_is_skipped_and_inside_a_block_is_refused(
    listening: Listening, notebook: Notebook
) -> None:
    with listening() as listener, mllp_peer(listener.port) as peer:
        peer.write(b"\r\nGET / HTTP/1.1\r\n")
        assert answer_code(peer.ask(b"\x00\xff\xfe")) == "AE"
        assert answer_code(peer.ask(b"")) == "AE"
        peer.write(START + b"MSH|half a message")
        assert answer_code(peer.ask(order_message())) == "AA"
    assert len(notebook.orders) == 1


def test_an_oversize_message_is_refused_and_the_connection_ends(
    listening: Listening, notebook: Notebook
) -> None:
    message = order_message() + "NTE|1||" + "x" * 300_000
    with listening(maximum_message_bytes=20_000) as listener:
        with mllp_peer(listener.port) as peer:
            answer = peer.ask(message)

            assert fields(answer, "MSA")[1:3] == ["AE", "M1"]
            assert peer.ended()
        with mllp_peer(listener.port) as peer:
            assert answer_code(peer.ask(order_message())) == "AA"
    assert len(notebook.orders) == 1


def test_endless_garbage_ends_the_connection(listening: Listening) -> None:
    with listening(maximum_message_bytes=2_000) as listener, mllp_peer(listener.port) as peer:
        peer.write(b"x" * 5_000)

        assert answer_code(peer.answer()) == "AE"
        assert peer.ended()


@pytest.mark.parametrize(
    ("charset", "codec"), [("8859/1", "latin-1"), ("ISO IR87", "iso2022_jp_ext")]
)
def test_an_answer_is_in_the_character_set_of_the_message(
    listening: Listening, charset: str, codec: str
) -> None:
    words = {"latin-1": "Knie äöü", "iso2022_jp_ext": "膝関節"}[codec]
    message = order_message(charset=charset, procedure=f"X^{words}^L")
    with listening() as listener, mllp_peer(listener.port) as peer:
        answer = peer.ask(message, codec)

    assert answer_code(answer) == "AA"
    assert fields(answer, "MSH")[17] == charset


def test_a_cancel_and_a_change_reach_the_book(listening: Listening, notebook: Notebook) -> None:
    with listening() as listener, mllp_peer(listener.port) as peer:
        peer.ask(order_message())
        peer.ask(order_message(control="XO", message_id="M2", procedure="X^XR ANKLE^L"))
        peer.ask(order_message(control="CA", message_id="M3"))

    assert [(order.state, order.regions) for order in notebook.orders] == [
        (OrderState.SCHEDULED, ("KNEE",)),
        (OrderState.CHANGED, ("ANKLE",)),
        (OrderState.CANCELLED, ("KNEE",)),
    ]


def test_a_message_that_comes_again_changes_nothing(
    listening: Listening, notebook: Notebook
) -> None:
    """Else an order that was cancelled since would be placed once more."""
    with listening() as listener:
        with mllp_peer(listener.port) as peer:
            peer.ask(order_message())
            peer.ask(order_message(control="CA", message_id="M2"))
        with mllp_peer(listener.port) as peer:
            answer = peer.ask(order_message().replace("20260102101500", "20260102101700"))

    assert answer_code(answer) == "AA"
    assert [order.state for order in notebook.orders] == [
        OrderState.SCHEDULED,
        OrderState.CANCELLED,
    ]


def test_a_control_id_that_is_used_for_another_order_is_no_repetition(
    listening: Listening, notebook: Notebook
) -> None:
    with listening() as listener, mllp_peer(listener.port) as peer:
        peer.ask(order_message(accession="A1"))
        peer.ask(order_message(accession="A2"))

    assert [order.accession_number for order in notebook.orders] == ["A1", "A2"]


@pytest.mark.parametrize(
    "failure",
    [DatabaseAway("away"), Fault("a bug"), RuntimeError("a bug that nobody thought of")],
)
def test_what_cannot_be_kept_is_refused_for_now_and_taken_later(
    listening: Listening, notebook: Notebook, failure: Exception
) -> None:
    notebook.failure = failure
    with listening() as listener, mllp_peer(listener.port) as peer:
        refused = peer.ask(order_message())
        notebook.failure = None
        taken = peer.ask(order_message())

    assert (answer_code(refused), answer_code(taken)) == ("AR", "AA")
    assert "nobody thought" not in refused.decode()
    assert len(notebook.orders) == 1


def test_a_slow_peer_and_a_slow_order_delay_no_other(
    listening: Listening, notebook: Notebook
) -> None:
    notebook.held.clear()
    with (
        listening() as listener,
        mllp_peer(listener.port) as stuck,
        mllp_peer(listener.port) as dripping,
        mllp_peer(listener.port) as quick,
    ):
        stuck.write(START + order_message(accession="SLOW").encode() + END)
        dripping.write(START + b"MSH|")

        assert answer_code(quick.ask(order_message(accession="A9"))) == "AA"
        assert [order.accession_number for order in notebook.orders] == ["A9"]
        notebook.held.set()
        assert answer_code(stuck.answer()) == "AA"


def test_a_message_that_does_not_end_in_time_ends_the_connection(listening: Listening) -> None:
    with listening(message_timeout_s=0.3) as listener, mllp_peer(listener.port) as peer:
        peer.write(START + b"MSH|")
        assert peer.ended()


def test_dripping_does_not_win_time(listening: Listening) -> None:
    with listening(message_timeout_s=0.5) as listener, mllp_peer(listener.port) as peer:
        peer.write(START)
        stop = threading.Event()

        def drip() -> None:
            while not stop.wait(0.05):
                try:
                    peer.write(b"x")
                except OSError:
                    return

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            assert peer.ended()
        finally:
            stop.set()
            thread.join()


def test_silence_between_messages_has_its_own_limit(listening: Listening) -> None:
    with listening(idle_timeout_s=0.3) as listener, mllp_peer(listener.port) as peer:
        assert answer_code(peer.ask(order_message())) == "AA"
        assert peer.ended()


def test_an_address_that_is_not_listed_is_closed_unheard(
    listening: Listening, notebook: Notebook
) -> None:
    with listening(addresses=["192.0.2.0/24"]) as listener, mllp_peer(listener.port) as peer:
        assert peer.ended()
    assert notebook.orders == []


def test_one_connection_too_many_is_closed_and_its_place_is_given_back(
    listening: Listening,
) -> None:
    with listening(maximum_connections=1) as listener:
        with mllp_peer(listener.port) as first:
            assert answer_code(first.ask(order_message())) == "AA"
            with mllp_peer(listener.port) as second:
                assert second.ended()

        def is_free() -> bool:
            with mllp_peer(listener.port) as peer:
                try:
                    return answer_code(peer.ask(order_message(message_id="M2"))) == "AA"
                except (EOFError, ConnectionError):
                    return False

        wait_for(is_free, 10)


def test_a_stop_waits_for_the_answer_under_way(listening: Listening, notebook: Notebook) -> None:
    notebook.held.clear()
    with listening() as listener, mllp_peer(listener.port) as peer:
        peer.write(START + order_message(accession="SLOW").encode() + END)
        assert notebook.waits.wait(5)
        stopping = threading.Thread(target=listener.stop, args=(10,))
        stopping.start()
        notebook.held.set()

        assert answer_code(peer.answer()) == "AA"
        assert peer.ended()
        stopping.join(10)
        assert not stopping.is_alive()


def test_a_port_in_use_is_a_plain_error(listening: Listening) -> None:
    with (
        listening() as listener,
        pytest.raises(MllpListenerFailed),
        listening(port=listener.port),
    ):
        pass


def test_nothing_of_a_message_is_logged(
    listening: Listening, capfd: pytest.CaptureFixture[str]
) -> None:
    log = io.StringIO()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(log))  # without its filters
    with listening() as listener, mllp_peer(listener.port) as peer:
        peer.ask(order_message(accession="SECRET-1", patient="SECRET-2", name="SECRET^THREE"))
        peer.ask(order_message(control="ZZ", accession="SECRET-1", procedure=r"SECRET\XZZ\ ^x"))
        peer.ask(b"MSH|SECRET")

    captured = capfd.readouterr()
    text = log.getvalue() + captured.out + captured.err
    assert "orders.message.taken" in text
    assert "orders.message.refused" in text
    assert "SECRET" not in text
