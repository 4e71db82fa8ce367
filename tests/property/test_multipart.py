"""The multipart reader: any content, cut anywhere, comes out as it went in."""

import contextlib
import itertools
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from dicom_node.dicomweb.multipart import MalformedBody, PartWriter

BOUNDARY = b"frontier"
LOOKALIKES = [b"\r", b"\n", b"\r\n", b"-", b"--", b"\r\n--", b"\r\n--frontie", b"--frontier-", b"x"]
contents = st.lists(
    st.one_of(
        st.binary(max_size=60),
        st.lists(st.sampled_from(LOOKALIKES), max_size=12).map(b"".join),
    ).filter(lambda content: b"\r\n--frontier" not in b"\r\n" + content),
    max_size=4,
)


def read(body, cuts):
    """Feed `body`, cut at `cuts`; return the parts, and what was left in the folder."""
    with tempfile.TemporaryDirectory() as folder:
        names = (Path(folder) / f"{n}.part" for n in itertools.count())
        parts = []

        def take(part):
            parts.append(part.path.read_bytes())
            part.path.unlink()

        writer = PartWriter(BOUNDARY, lambda: next(names), 10**6, take)
        try:
            edges = sorted({0, *cuts, len(body)})
            for start, end in itertools.pairwise(edges):
                writer.feed(body[start:end])
            writer.finish()
        finally:
            writer.close()
            left = list(Path(folder).iterdir())
        return parts, left


@given(parts=contents.filter(bool), data=st.data())
def test_parts_come_out_as_they_went_in(parts, data):
    body = b"".join(b"--frontier\r\n\r\n" + part + b"\r\n" for part in parts) + b"--frontier--"
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=15))

    assert read(body, cuts) == (parts, [])


@given(
    body=st.lists(st.sampled_from([*LOOKALIKES, b"--frontier", b":", b"A: b"]), max_size=20).map(
        b"".join
    ),
    data=st.data(),
)
def test_any_bytes_are_read_or_refused_and_leave_nothing(body, data):
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=5))

    with contextlib.suppress(MalformedBody):
        _, left = read(body, cuts)
        assert left == []
