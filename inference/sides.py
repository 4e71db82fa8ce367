"""Which side was ordered, as words and codes tell it (pure).

What is not plainly said stays unsaid. A single letter counts only at the end of a text,
as in "KNEE L" and "JOELHO E", because at its head it may be the lumbar spine. "DX" and "SX",
Italian for right and left, never count: DX is a modality.
"""

from collections.abc import Iterable

from inference.orders import Side
from inference.types import Code
from inference.words import normalised

_WORDS = {
    **dict.fromkeys(
        ("left", "lt", "links", "linke", "linker", "linkes", "linken", "gauche", "izquierda",
         "izquierdo", "izq", "esquerda", "esquerdo", "esq", "sinistra", "sinistro", "lewy",
         "lewa", "lewe", "lewej", "lewego", "venstre", "vanster", "vasen", "leva", "levy"),
        Side.LEFT,
    ),
    **dict.fromkeys(
        ("right", "rt", "rechts", "rechte", "rechter", "rechtes", "rechten", "droit", "droite",
         "derecha", "derecho", "direita", "direito", "destra", "destro", "prawy",
         "prawa", "prawe", "prawej", "prawego", "hojre", "hoyre", "hoger", "oikea",
         "prava", "pravy"),
        Side.RIGHT,
    ),
    **dict.fromkeys(
        ("bilateral", "bilat", "bilaterale", "bilaterales", "beidseits", "bds", "obustronne"),
        Side.BOTH,
    ),
}  # fmt: skip
_BOTH = frozenset({"both", "beide", "ambas", "ambos", "ambe"})
"""Words for two of anything; beside one side they count views."""

_LAST_WORDS = {
    **dict.fromkeys(("l", "li", "g", "e"), Side.LEFT),
    **dict.fromkeys(("r", "re", "d"), Side.RIGHT),
    **dict.fromkeys(("b", "bi"), Side.BOTH),
}
_BEGINNINGS = {"лев": Side.LEFT, "прав": Side.RIGHT}
_IDEOGRAPHS = {"左": Side.LEFT, "右": Side.RIGHT, "両": Side.BOTH, "双": Side.BOTH, "雙": Side.BOTH}
_CODES = {
    ("SCT", "7771000"): Side.LEFT,
    ("SCT", "24028007"): Side.RIGHT,
    ("SCT", "51440002"): Side.BOTH,
    ("SRT", "G-A101"): Side.LEFT,
    ("SRT", "G-A100"): Side.RIGHT,
    ("SRT", "G-A102"): Side.BOTH,
}
"""PS3.16 CID 244."""


def side_of(codes: Iterable[Code], texts: Iterable[str]) -> Side:
    """Return the side that codes, their meanings or texts name; both where they name two.

    Examples
    --------
    >>> side_of((), ["XR KNEE LEFT"])
    <Side.LEFT: 'L'>
    """
    found: set[Side] = set()
    for code in codes:
        found |= {_CODES[key] for key in [(code.scheme, code.value)] if key in _CODES}
        found |= _sides_in(code.meaning)
    for text in texts:
        found |= _sides_in(text)
    if len(found) > 1:
        return Side.BOTH
    return next(iter(found), Side.UNSAID)


def _sides_in(text: str) -> set[Side]:
    tokens = normalised(text).split()
    found = {_WORDS[t] for t in tokens if t in _WORDS}
    for token in tokens:
        found |= {side for head, side in _BEGINNINGS.items() if token.startswith(head)}
        found |= {side for sign, side in _IDEOGRAPHS.items() if sign in token}
    if len(tokens) > 1 and tokens[-1] in _LAST_WORDS:
        found.add(_LAST_WORDS[tokens[-1]])
    return found or ({Side.BOTH} if _BOTH & set(tokens) else set())
