"""The chain shows every change to its past."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from audit.chain import (
    GENESIS,
    ChainReport,
    Head,
    InvalidRecord,
    Link,
    canonical,
    columns_of,
    row_hash,
    verify,
)

MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).isoformat(timespec="microseconds")


def link(seq: int, prev_hash: str, outcome: str = "predicted") -> Link:
    document = {
        "format": 1,
        "seq": seq,
        "audit_id": f"id-{seq}",
        "kind": "prediction",
        "key": f"predict:{seq}",
        "recorded_at": MOMENT,
        "body": {"outcome": outcome, "model": {"name": "bodypart", "version": "1"}},
    }
    payload = canonical(document)
    return Link(
        seq=seq,
        payload=payload,
        prev_hash=prev_hash,
        row_hash=row_hash(prev_hash, payload),
        columns=columns_of(document),
    )


def chain_of(length: int) -> list[Link]:
    links: list[Link] = []
    for seq in range(1, length + 1):
        links.append(link(seq, links[-1].row_hash if links else GENESIS))
    return links


def test_a_row_hash_is_sha256_of_leaf_mark_previous_hash_and_text() -> None:
    expected = hashlib.sha256(b"\x00" + b"\x00" * 32 + b'{"a":1}').hexdigest()

    assert row_hash(GENESIS, '{"a":1}') == expected


def test_canonical_json_sorts_keys_and_writes_numbers_one_way() -> None:
    assert canonical({"b": 1.0, "a": [True, None, "é"]}) == '{"a":[true,null,"é"],"b":1}'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, 2**60, b"x"])
def test_a_value_without_an_exact_json_form_is_refused(value: object) -> None:
    with pytest.raises(InvalidRecord):
        canonical({"value": value})


def test_an_untouched_chain_is_sound() -> None:
    links = chain_of(4)

    assert verify(links) == ChainReport(ok=True, count=4, head=Head(4, links[-1].row_hash))


def test_an_empty_chain_is_sound() -> None:
    assert verify([]) == ChainReport(ok=True, count=0, head=Head(0, GENESIS))


def test_an_edited_payload_is_found() -> None:
    links = chain_of(4)
    links[1] = replace(links[1], payload=links[1].payload.replace("predicted", "skipped__"))

    report = verify(links)

    assert (report.ok, report.first_bad_seq) == (False, 2)
    assert report.reason == "the payload does not have the row's hash"


def test_an_edit_that_repairs_its_own_hash_is_found_at_the_next_row() -> None:
    links = chain_of(4)
    links[1] = link(2, links[0].row_hash, outcome="skipped")

    report = verify(links)

    assert (report.ok, report.first_bad_seq) == (False, 3)
    assert report.reason == "the row does not continue the row before it"


def test_an_edited_search_column_is_found() -> None:
    links = chain_of(3)
    links[2] = replace(links[2], columns={**links[2].columns, "outcome": "failed"})

    report = verify(links)

    assert (report.ok, report.first_bad_seq) == (False, 3)
    assert report.reason == "a column does not say what the payload says"


def test_a_row_renumbered_with_its_column_is_found() -> None:
    links = chain_of(2)
    forged = link(7, links[0].row_hash)
    links[1] = replace(forged, seq=2)

    assert verify(links).first_bad_seq == 2


def test_a_removed_row_is_found() -> None:
    links = chain_of(5)
    del links[2]

    report = verify(links)

    assert (report.ok, report.first_bad_seq, report.count) == (False, 3, 2)


def test_a_removed_beginning_is_found() -> None:
    assert verify(chain_of(5)[1:]).first_bad_seq == 1


def test_swapped_rows_are_found() -> None:
    links = chain_of(5)
    links[1], links[2] = links[2], links[1]

    assert verify(links).first_bad_seq == 2


def test_swapped_payloads_under_kept_numbers_are_found() -> None:
    links = chain_of(4)
    second, third = links[1], links[2]
    links[1] = replace(second, payload=third.payload, columns=third.columns)
    links[2] = replace(third, payload=second.payload, columns=second.columns)

    assert verify(links).first_bad_seq == 2


def test_a_cut_off_end_is_seen_only_with_an_anchor() -> None:
    links = chain_of(5)
    anchor = Head(5, links[4].row_hash)

    assert verify(links[:3]).ok
    report = verify(links[:3], anchor=anchor)

    assert (report.ok, report.first_bad_seq) == (False, 4)
    assert report.reason == "the chain ends before the anchor"
    assert verify(links, anchor=anchor).ok


def test_a_chain_rewritten_from_the_start_is_seen_with_an_anchor() -> None:
    links = chain_of(3)
    forged = [link(1, GENESIS, outcome="failed")]
    for seq in (2, 3):
        forged.append(link(seq, forged[-1].row_hash))

    assert verify(forged).ok
    report = verify(forged, anchor=Head(2, links[1].row_hash))

    assert (report.ok, report.first_bad_seq) == (False, 2)


def test_a_check_can_go_on_from_an_earlier_head() -> None:
    links = chain_of(6)
    half = verify(links[:3])

    rest = verify(links[3:], after=half.head)

    assert rest == ChainReport(ok=True, count=3, head=Head(6, links[-1].row_hash))
    assert not verify(links[4:], after=half.head).ok


@pytest.mark.parametrize("payload", ["not json", "[]", '{"seq":2}', "null"])
def test_a_well_hashed_row_that_is_no_record_is_found(payload: str) -> None:
    links = chain_of(2)
    links[1] = replace(links[1], payload=payload, row_hash=row_hash(links[0].row_hash, payload))

    assert verify(links).first_bad_seq == 2


def test_a_payload_that_is_no_text_is_a_bad_row() -> None:
    links = chain_of(3)
    links[1] = replace(links[1], payload=links[1].payload.encode())  # type: ignore[arg-type]
    report = verify(links)
    assert (report.ok, report.first_bad_seq) == (False, 2)
