"""The side of an order is what its words plainly say, and nothing else."""

import pytest

from inference.orders import Side
from inference.sides import side_of
from inference.types import Code


@pytest.mark.parametrize(
    ("text", "side"),
    [
        ("XR KNEE LEFT", Side.LEFT),
        ("Left knee, two views", Side.LEFT),
        ("XR KNEE RT 2 VIEWS", Side.RIGHT),
        ("Kniegelenk rechts 2 Ebenen", Side.RIGHT),
        ("Radiographie du genou gauche", Side.LEFT),
        ("RADIOGRAFIA DE JOELHO E", Side.LEFT),
        ("RX RODILLA DERECHA", Side.RIGHT),
        ("Рентген левого колена", Side.LEFT),
        ("左膝", Side.LEFT),
        ("両手", Side.BOTH),
        ("Hands, right and left", Side.BOTH),
        ("XR KNEES BILATERAL", Side.BOTH),
        ("Both knees", Side.BOTH),
        ("Beide Hände", Side.BOTH),
        ("AMBAS RODILLAS", Side.BOTH),
        ("XR KNEE RIGHT BOTH VIEWS", Side.RIGHT),
        ("Kniegelenk links beide Ebenen", Side.LEFT),
        ("RODILLA IZQUIERDA AMBAS PROYECCIONES", Side.LEFT),
        ("JOELHO DIREITO AMBOS OS PERFIS", Side.RIGHT),
        ("GENOU DROIT DEUX INCIDENCES", Side.RIGHT),
        ("THORAX DEUX INCIDENCES", Side.UNSAID),
        ("XR KNEE BILATERAL, RIGHT FIRST", Side.BOTH),
        ("Both knees, left and right", Side.BOTH),
        ("KNEE L", Side.LEFT),
        ("L-SPINE AP", Side.UNSAID),
        ("DX CHEST", Side.UNSAID),
        ("XR CHEST", Side.UNSAID),
        ("L", Side.UNSAID),
        ("", Side.UNSAID),
    ],
)
def test_a_side_is_read_from_words(text: str, side: Side) -> None:
    assert side_of((), [text]) is side


def test_a_coded_side_counts_and_so_does_the_meaning_of_a_code() -> None:
    left = Code(scheme="SCT", value="7771000", meaning="")
    knee = Code(scheme="L", value="K1", meaning="Knee right")

    assert side_of([left], []) is Side.LEFT
    assert side_of([knee], []) is Side.RIGHT
    assert side_of([left, knee], []) is Side.BOTH
