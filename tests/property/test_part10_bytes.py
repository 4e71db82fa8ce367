"""Damaged Part 10 files: the parser may refuse, it may not break."""

import contextlib

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.errors import InvalidDataset
from dicom_node.pipeline.part10 import received_file
from tests.builders import chest_radiograph, part10_bytes

GOOD = part10_bytes(chest_radiograph())
HEADER_BYTES = len(GOOD) - 64 * 64 * 2


@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    flips=st.lists(
        st.tuples(st.integers(128, HEADER_BYTES - 1), st.integers(0, 255)), min_size=1, max_size=12
    ),
    cut=st.integers(0, len(GOOD)),
)
def test_a_damaged_file_is_taken_or_refused_and_nothing_else(tmp_path, flips, cut):
    damaged = bytearray(GOOD)
    for position, value in flips:
        damaged[position] = value
    path = tmp_path / "damaged.part"
    path.write_bytes(damaged[:cut])

    with contextlib.suppress(InvalidDataset):
        received = received_file(path)
        assert received.sop_instance_uid
        assert received.size_bytes == cut
