"""How an image's regions are counted: the likeliest, the others it shows, the unknown ones."""

from pathlib import Path

import numpy as np
import pytest

from inference.evaluation.shipped.heldout import region_scores
from inference.training.samples import Sample
from inference.training.shipped.bodypart_scores import by_source
from inference.training.shipped.labels import BODYPART_KEYS


def rows(*named: dict[str, float]) -> np.ndarray:
    table = np.zeros((len(named), len(BODYPART_KEYS)))
    for row, values in zip(table, named, strict=True):
        for key, value in values.items():
            row[BODYPART_KEYS.index(key)] = value
    return table


def test_every_region_that_is_named_counts_and_unknown_ones_do_not() -> None:
    unknown = float("nan")
    targets = rows(
        {"Hand": 1, "Wrist": 1}, {"Hand": 1, "Wrist": unknown}, {"Knee": 1}, {"Knee": 1}
    ).astype(np.float32)
    said = rows(
        {"Hand": 0.9, "Wrist": 0.6},  # both
        {"Hand": 0.4, "Wrist": 0.8},  # its unlabelled neighbour
        {"Knee": 0.2},  # likeliest, though below one half
        {"Hand": 0.7, "Knee": 0.6},  # right only by its second
    )

    found = region_scores(said, targets)

    assert found["images"] == 4
    assert found["top1_in_label_set"] == 0.5
    assert found["top1_in_label_set_or_neighbour"] == 0.75
    hand, wrist, knee = 0.5, 1.0, 1.0  # F1; hand: one right, one missed, one false
    assert found["macro_f1_of_labels"] == pytest.approx((hand + wrist + knee) / 3)
    knee_of_top1 = 2 / 3
    assert found["macro_f1_of_top1"] == pytest.approx((0.5 + 0.0 + knee_of_top1) / 3)
    assert found["classes_present"] == 3


def test_scores_by_source_leave_out_images_of_other_sources() -> None:
    sources = ("unifesp", "unifesp", "limbs", "nih")
    samples = [Sample(path=Path(s), targets={}, group=s, source=s) for s in sources]
    targets = rows(*[{"Hand": 1}] * 4).astype(np.float32)
    said = rows({"Hand": 0.9}, {"Knee": 0.9}, {"Hand": 0.9}, {"Knee": 0.9})

    found = by_source(said, targets, samples)

    assert {name: score["images"] for name, score in found.items()} == {"unifesp": 2, "limbs": 1}
    assert found["unifesp"]["top1_in_label_set"] == 0.5
    assert found["limbs"]["top1_in_label_set"] == 1.0
