"""Which chest images are of a collection that also trains."""

import csv
from pathlib import Path

import pytest

from inference.training.shipped.labels import FINDING_KEYS
from inference.training.shipped.sources_chest import chest_samples

ROWS = (
    # file, who gathered it, split
    ("a.jpg", "north", "train"),
    ("b.jpg", "north", "eval"),
    ("c.jpg", "south", "eval"),
    ("d.jpg", "east", "train"),
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "chest" / "nih14"
    folder.mkdir(parents=True)
    told = {"patient_id": "1", "sex": "F", "age": "40", "view": "PA"}
    rows = [
        {"file": file, "source_repo": who, "split": split, **told} | dict.fromkeys(FINDING_KEYS, 0)
        for file, who, split in ROWS
    ]
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return tmp_path


def test_held_out_images_of_people_who_gathered_no_training_image_are_new(data: Path) -> None:
    told = {s.path.name: s.attributes["collection"] for s in chest_samples(data) if s.held_out}
    assert told == {"b.jpg": "trained on", "c.jpg": "new"}


def test_every_training_image_is_of_a_collection_that_trains(data: Path) -> None:
    learned = [s for s in chest_samples(data) if not s.held_out]
    assert {s.attributes["collection"] for s in learned} == {"trained on"}
    assert len(learned) == 2
