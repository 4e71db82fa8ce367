"""Whatever comes over the wire, a message is read or refused, and always answered."""

from contextlib import suppress
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from audit.clock import SystemClock
from dicom_node.config.orders import Hl7Settings
from dicom_node.orders.ack import acknowledgement
from dicom_node.orders.blocks import Blocks, BlockTooLong, block
from dicom_node.orders.er7 import Hl7Refused, head_of, read, unescape
from dicom_node.orders.hl7 import orders_of_message
from inference.orders import order_from_json, order_to_json
from inference.regions import load_regions
from tests.hl7 import order_message

TABLE = load_regions()
RULES = Hl7Settings()
NOW = SystemClock().now()
GOOD = order_message().encode()
NAMES = ["MSH", "PID", "ORC", "OBR", "IPC", "ZDS", "TQ1", "ZZZ", ""]
PIECES = [
    "|",
    "^",
    "~",
    "&",
    "\\",
    "\r",
    "\n",
    "NW",
    "CA",
    "A1",
    "20260102",
    '""',
    "\\F\\",
    "é",
    " ",
]

lines = st.builds(
    lambda name, rest: name + "|" + "".join(rest),
    st.sampled_from(NAMES),
    st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=60),
)
messages = st.builds(
    lambda rest: (GOOD.decode().split("\r")[0] + "\r" + "\r".join(rest)).encode(
        "utf-8", "surrogatepass"
    ),
    st.lists(lines, max_size=8),
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good message with some of its bytes replaced, removed or repeated."""
    body = bytearray(GOOD)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(body) - 1))
        cut = draw(st.integers(0, 12))
        body[at : at + cut] = draw(st.binary(max_size=12))
        if not body:
            body += b"M"
    return bytes(body)


def taken(body: bytes) -> bytes:
    """Read and answer a message as the inbox does."""
    message, problem = None, None
    try:
        message = read(body, RULES.charset)
        for order in orders_of_message(message, RULES, TABLE, NOW):
            assert order_from_json(order_to_json(order)) == order
            assert len(order.accession_number) <= 64
            assert order.accession_number or order.placer_number or order.filler_number
            assert order.accession_number.isprintable()
            assert order.patient.patient_id
    except Hl7Refused as refused:
        problem = refused
    return acknowledgement(message or head_of(body), application="NODE", at=NOW, problem=problem)


@settings(max_examples=300)
@given(st.binary(max_size=400) | messages | damaged())
def test_a_message_is_read_or_refused_and_always_answered(body: bytes) -> None:
    answer = taken(body)

    assert b"\x0b" not in answer
    assert b"\x1c" not in answer
    assert answer.startswith(b"MSH|^~\\&|NODE|")
    assert b"\rMSA|A" in answer


@settings(max_examples=200)
@given(st.text(max_size=60), st.sampled_from(["ascii", "utf-8", "latin-1", "iso2022_jp_ext"]))
def test_undoing_escapes_never_fails_and_never_grows(text: str, codec: str) -> None:
    assert len(unescape(text, r"|^~\&", codec)) <= len(text)


@given(
    st.lists(st.binary(max_size=40).filter(lambda b: not {0x0B, 0x1C} & set(b)), max_size=6),
    st.lists(st.integers(1, 30), min_size=1, max_size=30),
    st.binary(max_size=10).filter(lambda b: 0x0B not in b),
)
def test_blocks_are_found_however_they_are_cut(
    bodies: list[bytes], sizes: list[int], between: bytes
) -> None:
    stream = b"".join(between + block(body) for body in bodies) + between
    blocks, found, at = Blocks(1000), [], 0
    while at < len(stream):
        size = sizes[len(found) % len(sizes)]
        found += blocks.feed(stream[at : at + size])
        at += size

    assert found == bodies
    assert not blocks.is_open


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_what_is_held_is_bounded_by_the_longest_message(chunks: list[bytes]) -> None:
    blocks = Blocks(300)
    with suppress(BlockTooLong):
        for chunk in chunks:
            for message in blocks.feed(chunk):
                assert len(message) <= 300
            assert len(blocks._held) <= 301


def test_the_time_of_an_answer_is_the_clock_s() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    assert b"|20260102030405+0000|" in acknowledgement(None, application="NODE", at=at)
