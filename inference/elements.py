"""Reading elements of data sets that strangers wrote (pure).

pydicom decodes on access and raises whatever a broken value provokes; here a broken
value is an absent one.
"""

from collections.abc import Iterator, Sequence

from pydicom import Dataset


def text(ds: Dataset, keyword: str) -> str:
    """Return an element as stripped text, its values joined by spaces.

    Empty where the element is absent, is not text, or cannot be read at all.
    """
    value = _value(ds, keyword)
    parts = [value] if isinstance(value, str) else value if isinstance(value, Sequence) else []
    return " ".join(part for part in parts if isinstance(part, str)).strip()


def items(ds: Dataset, keyword: str) -> Iterator[Dataset]:
    """Yield the items of a sequence; none where it is absent or is not one."""
    value = _value(ds, keyword)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        yield from (item for item in value if isinstance(item, Dataset))


def _value(ds: Dataset, keyword: str) -> object:
    try:
        return ds.get(keyword)
    except Exception:  # noqa: BLE001 - see the head of this module
        return None
