"""Frontal chest radiographs of NIH ChestX-ray14 for the findings network."""

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.training.samples import Sample, Squares
from inference.training.shipped.labels import FINDING_KEYS, FRONTAL_CHEST
from inference.training.shipped.pointing import Box, Boxes
from inference.training.shipped.sources_bodypart import bodypart_samples

BOX_SIDE = 1024
"""The boxes are in pixels of the 1024 x 1024 originals, all of them square."""

KEY_OF_BOX = {"Infiltrate": "Infiltration"}


def chest_samples(data: Path) -> list[Sample]:
    """Return the train and eval split of the images stored at 320 pixels or more.

    Parameters
    ----------
    data : Path
        The data folder.

    Returns
    -------
    list of Sample
        The attribute ``collection`` says whether any training image was gathered by the same
        people: each of them chose images for a purpose of their own.
    """
    rows = _rows(data / "chest" / "nih14" / "labels.csv")
    learned = {row["source_repo"] for row in rows if row["split"] != "eval"}
    return [
        Sample(
            path=Path("chest/nih14/images") / Path(row["file"]).name,
            targets={key: float(row[key]) for key in FINDING_KEYS},
            group=f"nih-{row['patient_id']}",
            source="nih",
            split="test" if row["split"] == "eval" else "train",
            attributes={
                "sex": row["sex"],
                "age": row["age"],
                "view": row["view"],
                "collection": "trained on" if row["source_repo"] in learned else "new",
            },
        )
        for row in rows
    ]


def small_chest_samples(data: Path) -> list[Sample]:
    """Return the 64-pixel images, for training only."""
    return [
        Sample(
            path=Path("chest/nih14_64px/images") / row["file"],
            targets={key: float(row[key]) for key in FINDING_KEYS},
            group=f"nih-{row['patient_id']}",
            source="nih64",
        )
        for row in _rows(data / "chest" / "nih14_64px" / "labels.csv")
    ]


def unlabelled_chest_samples(data: Path) -> list[Sample]:
    """Return UNIFESP's frontal chests, of which no finding is known."""
    return [
        Sample(path=s.path, targets={}, group=s.group, source="unifesp")
        for s in bodypart_samples(data, seed=0)
        if s.source == "unifesp" and s.targets.get(FRONTAL_CHEST) == 1.0
    ]


def read_boxes(data: Path) -> Mapping[str, Mapping[str, Sequence[Box]]]:
    """Return the hand-drawn boxes by file and finding, as fractions of the image's sides."""
    found: dict[str, dict[str, list[Box]]] = defaultdict(lambda: defaultdict(list))
    for row in _rows(data / "chest" / "nih14" / "boxes.csv"):
        x, y, w, h = (float(row[k]) / BOX_SIDE for k in ("x", "y", "w", "h"))
        key = KEY_OF_BOX.get(row["finding"], row["finding"])
        found[row["file"]][key].append((x, y, x + w, y + h))
    return found


def placed(box: Box, content: NDArray[np.float64]) -> Box:
    """Return a box of the image as one of the square.

    Parameters
    ----------
    box : Box
    content : ndarray of float, shape (4,)
        Where the image lies: top, left, bottom and right as fractions of the square.
    """
    top, left, bottom, right = (float(edge) for edge in content)
    wide, high = right - left, bottom - top
    x, y, u, v = box
    return left + x * wide, top + y * high, left + u * wide, top + v * high


def training_boxes(data: Path, samples: Sequence[Sample], squares: Squares) -> Boxes:
    """Return the boxes of `samples` (none of which may be held out) by their rows.

    Parameters
    ----------
    data : Path
        The data folder.
    samples : sequence of Sample
    squares : Squares
        The same images, letterboxed.
    """
    boxes = read_boxes(data)
    contents = squares.boxes / squares.pixels.shape[-1]
    return {
        row: [
            (FINDING_KEYS.index(key), placed(box, content))
            for key, drawn in boxes[sample.path.name].items()
            if key in FINDING_KEYS
            for box in drawn
        ]
        for row, (sample, content) in enumerate(zip(samples, contents, strict=True))
        if sample.path.name in boxes
    }


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
