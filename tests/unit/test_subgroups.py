"""Subgroups: who is in which, how well the classifier does there, and how far off the rest."""

import numpy as np
import pytest

from inference.evaluation.measures.metrics import auc
from inference.evaluation.measures.subgroups import MEAN, SubgroupRow, age_band, subgroup_table

COUNT = 400
SEX = ["F" if i % 2 else "M" for i in range(COUNT)]
AGES = [str(10 + i % 80) for i in range(COUNT)]
GROUPS = [str(i // 4) for i in range(COUNT)]


def worse_in_women() -> tuple[np.ndarray, np.ndarray]:
    """Return scores and targets of two labels; the first is a coin toss for women."""
    random = np.random.default_rng(1)
    targets = (random.random((COUNT, 2)) < 0.4).astype(np.float64)
    scores = targets * 2 + random.normal(size=targets.shape)
    women = np.array(SEX) == "F"
    scores[women, 0] = random.normal(size=int(women.sum()))
    return scores, targets


def table(**changes: object) -> list[SubgroupRow]:
    scores, targets = worse_in_women()
    attributes = [{"sex": s, "age": a} for s, a in zip(SEX, AGES, strict=True)]
    told = {"attributes": attributes, "groups": GROUPS, "labels": ("A", "B"), "rounds": 200}
    told |= {"probabilities": scores, "targets": targets} | changes
    return subgroup_table(**told)  # type: ignore[arg-type]


def row(rows: list[SubgroupRow], value: str, label: str) -> SubgroupRow:
    (found,) = [r for r in rows if (r.value, r.label) == (value, label)]
    return found


def test_a_label_that_fails_in_one_subgroup_shows_a_gap_whose_interval_leaves_out_zero() -> None:
    rows = table()
    women = row(rows, "F", "A")
    assert women.gap is not None
    assert women.gap_95 is not None
    assert women.gap < -0.25
    assert women.gap_95[1] < 0
    fair = row(rows, "F", "B")
    assert fair.gap_95 is not None
    assert fair.gap_95[0] < 0 < fair.gap_95[1]


def test_the_numbers_of_a_row_are_those_of_the_subgroup_alone() -> None:
    scores, targets = worse_in_women()
    women = np.array(SEX) == "F"
    found = row(table(), "F", "A")
    here = auc(scores[women, 0], targets[women, 0] >= 0.5)
    others = auc(scores[~women, 0], targets[~women, 0] >= 0.5)
    assert (found.images, found.present) == (women.sum(), targets[women, 0].sum())
    assert found.auc == pytest.approx(here)
    assert found.gap == pytest.approx(here - others)


def test_the_first_row_of_a_subgroup_is_the_mean_over_its_labels() -> None:
    rows = table()
    mean = row(rows, "F", MEAN)
    aucs = [row(rows, "F", label).auc for label in ("A", "B")]
    assert mean.auc == pytest.approx(np.mean([a for a in aucs if a is not None]))
    assert (mean.images, mean.present) == (200, 2)


def test_a_label_with_too_few_images_says_nothing_and_stays_out_of_the_mean() -> None:
    _, targets = worse_in_women()
    targets[:, 1] = 0
    targets[:5, 1] = 1
    rows = table(targets=targets)
    rare = row(rows, "M", "B")
    assert (rare.auc, rare.auc_95, rare.gap, rare.gap_95) == (None, None, None, None)
    assert row(rows, "M", MEAN).auc == row(rows, "M", "A").auc


def test_an_unknown_target_is_left_out_of_the_count() -> None:
    _, targets = worse_in_women()
    targets[1::4, 0] = np.nan
    assert row(table(targets=targets), "F", "A").images == 100


def test_images_that_do_not_state_the_attribute_belong_nowhere() -> None:
    attributes = [{"sex": s} if i % 4 else {} for i, s in enumerate(SEX)]
    rows = table(attributes=attributes)
    assert {r.value for r in rows} == {"F", "M"}
    assert row(rows, "M", MEAN).images == 100


def test_an_attribute_with_one_value_gives_no_rows() -> None:
    assert table(attributes=[{"view": "PA"}] * COUNT) == []


def test_age_bands_come_in_the_order_of_life() -> None:
    bands = list(dict.fromkeys(r.value for r in table(names=("age",))))
    assert bands == ["under 18", "18 to 39", "40 to 64", "65 and over"]


@pytest.mark.parametrize(
    ("age", "band"),
    [
        ("60", "40 to 64"),
        ("060Y", "40 to 64"),
        ("018M", "under 18"),
        ("006W", "under 18"),
        ("18", "18 to 39"),
        ("065y ", "65 and over"),
        ("", None),
        ("old", None),
        ("411", None),
        ("-1", None),
    ],
)
def test_an_age_falls_into_its_band(age: str, band: str | None) -> None:
    assert age_band(age) == band
