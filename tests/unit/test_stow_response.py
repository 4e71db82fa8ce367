"""What an archive's answer to a store transaction means for each object."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.core.outcome import Outcome
from dicom_node.delivery.stow_response import read_response

SENT = ["1.2.1", "1.2.2"]
STORED, FAILED = "00081199", "00081198"


def module(**sequences):
    return json.dumps(
        {tag.lstrip("s"): {"vr": "SQ", "Value": items} for tag, items in sequences.items()}
    ).encode()


def entry(uid, **numbers):
    return {"00081155": {"vr": "UI", "Value": [uid]}} | {
        tag.lstrip("t"): {"vr": "US", "Value": [number]} for tag, number in numbers.items()
    }


def told(status_code, body):
    return [(s.outcome, s.status) for s in read_response(SENT, status_code, body)]


def test_each_object_has_the_answer_that_the_lists_give_it():
    body = module(
        s00081199=[entry("1.2.2", t00081196=0xB000)], s00081198=[entry("1.2.1", t00081197=0xA700)]
    )

    assert told(202, body) == [(Outcome.FAILED, "A700H"), (Outcome.WARNING, "B000H")]


def test_a_stored_object_is_delivered():
    body = module(s00081199=[entry("1.2.1"), entry("1.2.2")])

    assert told(200, body) == [(Outcome.DELIVERED, "HTTP 200")] * 2


@pytest.mark.parametrize(
    ("reason", "outcome", "word"),
    [
        (0x0110, Outcome.FAILED, "0110H"),
        (0x0122, Outcome.REFUSED, "sop-class-not-supported"),
        (0xA900, Outcome.REFUSED, "A900H"),
        (0xC000, Outcome.REFUSED, "C000H"),
        (0x0000, Outcome.FAILED, "0000H"),
        (0xB000, Outcome.FAILED, "B000H"),
    ],
)
def test_a_failure_reason_decides_and_is_never_a_success(reason, outcome, word):
    body = module(s00081198=[entry(uid, t00081197=reason) for uid in SENT])

    assert told(409, body) == [(outcome, word)] * 2


def test_a_failure_without_a_reason_is_a_processing_failure():
    assert (
        told(409, module(s00081198=[entry(uid) for uid in SENT])) == [(Outcome.FAILED, "0110H")] * 2
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>log in</html>",
        b"[]",
        b"null",
        b'{"00081199": {"vr": "SQ"}}',
        b"\xff",
        b"[" * 9999,
    ],
)
@pytest.mark.parametrize("status_code", [200, 202, 204])
def test_a_success_that_lists_nothing_is_no_promise(status_code, body):
    assert told(status_code, body) == [(Outcome.FAILED, "not-acknowledged")] * 2


def test_an_object_that_the_lists_leave_out_is_not_stored():
    assert told(200, module(s00081199=[entry("1.2.1")])) == [
        (Outcome.DELIVERED, "HTTP 200"),
        (Outcome.FAILED, "not-acknowledged"),
    ]


def test_a_list_wrapped_in_an_array_is_read():
    body = b"[" + module(s00081199=[entry(uid) for uid in SENT]) + b"]"

    assert told(200, body) == [(Outcome.DELIVERED, "HTTP 200")] * 2


@pytest.mark.parametrize(
    ("status_code", "outcome"),
    [(code, Outcome.REFUSED) for code in (301, 400, 401, 403, 404, 409, 413, 415)]
    + [(code, Outcome.FAILED) for code in (408, 429, 500, 502, 503, 504)],
)
def test_without_lists_the_http_status_decides(status_code, outcome):
    assert told(status_code, b"sorry") == [(outcome, f"HTTP {status_code}")] * 2


def test_the_lists_of_an_error_page_are_not_believed():
    body = module(s00081199=[entry(uid) for uid in SENT])

    assert told(500, body) == [(Outcome.FAILED, "HTTP 500")] * 2


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["1.2.1", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([STORED, FAILED, "00081155", "00081197", "00081196", "Value"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values, st.integers(200, 599))
def test_any_answer_gives_one_status_for_each_object(document, status_code):
    statuses = read_response(SENT, status_code, json.dumps(document).encode())

    assert [s.sop_instance_uid for s in statuses] == SENT
    if status_code >= 300:
        assert all(s.outcome is not Outcome.DELIVERED for s in statuses) or status_code == 409
