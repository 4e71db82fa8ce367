"""The shipped chest model lets images through at the shipped body part model's own points."""

from inference.manifest import read_manifest
from inference.registry import SHIPPED
from inference.training.shipped.chest import gates


def test_the_shipped_gates_are_those_of_the_shipped_body_part_model():
    assert tuple(read_manifest(SHIPPED / "chest-findings").gates) == gates(SHIPPED / "bodypart")
