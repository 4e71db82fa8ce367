"""Descriptions as the images bring them, counted, for whoever keeps the table of regions."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from storage.models import Instance, Series, Study
from storage.order_models import UnmappedText, WorkOrder
from storage.rows import insert


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenText:
    """One description and how often it came."""

    attribute: str
    """The keyword of a DICOM attribute; of orders ``worklist`` or ``hl7``."""

    text: str
    """Of orders: the code, as ``value^meaning^scheme``; words that came without a code."""

    count: int
    """Images, or orders, that bear it."""


def note_texts(connection: Connection, texts: Collection[tuple[str, str]]) -> None:
    """Count one more image for each (attribute, text); call it once for each image."""
    if not texts:
        return
    statement = insert(connection, UnmappedText)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["attribute", "text"], set_={"images": UnmappedText.images + 1}
        ),
        # In one order, so that two images never wait for each other.
        [{"attribute": a, "text": t, "images": 1} for a, t in sorted(set(texts))],
    )


def seen_texts(connection: Connection) -> list[SeenText]:
    """Return every description of the images, and the codes and words of orders in which no
    region was found, most frequent first; empty ones are left out."""
    columns = (
        ("StudyDescription", Study.study_description),
        ("SeriesDescription", Series.series_description),
        ("BodyPartExamined", Series.body_part_examined),
    )
    found: Counter[tuple[str, str]] = Counter()
    for row in connection.execute(select(UnmappedText)).mappings():
        found[row["attribute"], row["text"]] += row["images"]
    for attribute, column in columns:
        statement = (
            select(column, func.count())
            .select_from(Instance)
            .join(Study, Study.id == Instance.study_fk)
            .join(Series, Series.id == Instance.series_fk)
            .where(column != "")
            .group_by(column)
        )
        for text, images in connection.execute(statement):
            found[attribute, text] += images
    for source, document in connection.execute(select(WorkOrder.source, WorkOrder.document)):
        if document["regions"]:
            continue
        for words in document.get("texts", ()):
            found[source, words] += 1
        for code in document["codes"]:
            found[source, f"{code['value']}^{code['meaning']}^{code['scheme']}"] += 1
    return [
        SeenText(attribute=attribute, text=text, count=count)
        for (attribute, text), count in sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))
    ]
