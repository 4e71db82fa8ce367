"""Frontal chest radiographs of NIH ChestX-ray14 for the findings network."""

import csv
from pathlib import Path

from inference.training.samples import Sample
from inference.training.shipped.labels import FINDING_KEYS, FRONTAL_CHEST
from inference.training.shipped.sources_bodypart import bodypart_samples


def chest_samples(data: Path, *, teacher: float = 0.0) -> list[Sample]:
    """Return the train and eval split of the images stored at 320 pixels or more.

    Parameters
    ----------
    data : Path
        The data folder.
    teacher : float
        Weight, in the targets of training images, of a trained DenseNet-121's probability
        against the report-mined label, where both exist. Images of the eval split keep
        their labels in any case.
    """
    folder = data / "chest" / "nih14"
    taught = _teacher(folder / "chexnet_densenet121_teacher_probs.csv") if teacher else {}
    samples = []
    for row in _rows(folder / "labels.csv"):
        held_out = row["split"] == "eval"
        targets = {key: float(row[key]) for key in FINDING_KEYS}
        soft = taught.get(Path(row["file"]).stem)
        if soft is not None and not held_out:
            targets = {
                key: (1 - teacher) * value + teacher * soft[key] for key, value in targets.items()
            }
        samples.append(
            Sample(
                path=Path("chest/nih14/images") / Path(row["file"]).name,
                targets=targets,
                group=f"nih-{row['patient_id']}",
                source="nih",
                split="test" if held_out else "train",
                attributes={"sex": row["sex"], "age": row["age"], "view": row["view"]},
            )
        )
    return samples


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


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _teacher(path: Path) -> dict[str, dict[str, float]]:
    return {
        Path(row["Image Index"]).stem: {key: float(row[f"prob_{key}"]) for key in FINDING_KEYS}
        for row in _rows(path)
    }
