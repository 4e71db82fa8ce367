"""An SR as plain text, the way a viewer's text view shows it (pure)."""

from collections.abc import Callable, Iterator, Mapping

from pydicom import Dataset


def sr_text(ds: Dataset) -> str:
    """Return the content tree of an SR document, one line for each item.

    Parameters
    ----------
    ds : Dataset
        An SR document (PS3.3 Section A.35).
    """
    title = ds.ConceptNameCodeSequence[0].CodeMeaning
    head = f"{title}  [{ds.CompletionFlag}, {ds.VerificationFlag}]"
    return "\n".join([head, *_lines(ds, 1)]) + "\n"


def _lines(item: Dataset, depth: int) -> Iterator[str]:
    for child in item.get("ContentSequence", ()):
        name = _meaning(child, "ConceptNameCodeSequence")
        value = _value(child)
        text = f"{name}: {value}" if name and value else name or value
        if text:
            yield "  " * depth + text
        yield from _lines(child, depth + 1)


def _value(item: Dataset) -> str:
    read = _READERS.get(item.ValueType)
    return read(item) if read is not None else ""


def _number(item: Dataset) -> str:
    measured = item.MeasuredValueSequence
    if not measured:
        return ""
    unit = _meaning(measured[0], "MeasurementUnitsCodeSequence")
    return f"{measured[0].NumericValue} {unit}"


def _meaning(item: Dataset, keyword: str) -> str:
    codes = item.get(keyword, ())
    return str(codes[0].CodeMeaning) if codes else ""


_READERS: Mapping[str, Callable[[Dataset], str]] = {
    "TEXT": lambda item: str(item.TextValue),
    "CODE": lambda item: _meaning(item, "ConceptCodeSequence"),
    "UIDREF": lambda item: str(item.UID),
    "NUM": _number,
    "IMAGE": lambda item: f"image {item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID}",
}
