"""Whatever is done to a row of the chain, a check finds it at or right after that row."""

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from audit.chain import GENESIS, Head, Link, canonical, columns_of, row_hash, verify

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text("abc"), children),
    max_leaves=3,
)
bodies = st.dictionaries(
    st.sampled_from(["subject", "model", "outcome", "verdict", "labels"]), json_values
)


def build(contents: list[dict[str, Any]]) -> list[Link]:
    links: list[Link] = []
    for seq, body in enumerate(contents, start=1):
        document = {
            "format": 1,
            "seq": seq,
            "audit_id": str(seq),
            "kind": "prediction",
            "key": f"k{seq}",
            "recorded_at": "2026-01-01T00:00:00.000000+00:00",
            "body": body,
        }
        payload = canonical(document)
        prev_hash = links[-1].row_hash if links else GENESIS
        links.append(
            Link(
                seq=seq,
                payload=payload,
                prev_hash=prev_hash,
                row_hash=row_hash(prev_hash, payload),
                columns=columns_of(document),
            )
        )
    return links


@settings(max_examples=40)
@given(st.lists(bodies, max_size=6))
def test_every_chain_that_is_built_by_the_rule_is_sound(contents: list[dict[str, Any]]) -> None:
    links = build(contents)

    report = verify(links)

    assert (report.ok, report.count) == (True, len(contents))
    assert report.head == (Head(len(links), links[-1].row_hash) if links else Head(0, GENESIS))


@settings(max_examples=40)
@given(st.lists(bodies, min_size=2, max_size=6), st.data())
def test_any_change_to_one_row_is_found(
    contents: list[dict[str, Any]], data: st.DataObject
) -> None:
    links = build(contents)
    index = data.draw(st.integers(0, len(links) - 1), label="row")
    row = links[index]
    changed = data.draw(
        st.sampled_from(
            [
                replace(row, payload=row.payload + " "),
                replace(row, payload=row.payload.replace('"format":1', '"format":2')),
                replace(row, seq=row.seq + 1),
                replace(row, prev_hash="f" * 64),
                replace(row, row_hash="f" * 64),
                *(replace(row, columns={**row.columns, name: "x!"}) for name in row.columns),
            ]
        ),
        label="change",
    )
    links[index] = changed

    report = verify(links)

    assert not report.ok
    assert report.first_bad_seq == row.seq


@settings(max_examples=40)
@given(st.lists(bodies, min_size=2, max_size=8), st.data())
def test_any_other_order_or_gap_is_found(
    contents: list[dict[str, Any]], data: st.DataObject
) -> None:
    links = build(contents)
    numbers = data.draw(st.lists(st.integers(0, len(links) - 1), unique=True))
    kept = [links[number] for number in numbers]
    prefix = kept == links[: len(kept)]

    assert verify(kept).ok is prefix
