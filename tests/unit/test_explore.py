"""What `explore` finds in a data set: balance, twins, leaks, unreadable files."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from inference.evaluation.reports.documents import document
from inference.evaluation.reports.explore import NOT_STATED, Exploration, explore
from inference.evaluation.reports.inventory import inspect
from inference.training.dataset import DataSet, TaskKind
from inference.training.samples import Sample, Split

SIDE = 48


def drawing(seed: int) -> Image.Image:
    """Return smooth blobs, different for each seed."""
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 6)).astype(np.uint8)
    return Image.fromarray(coarse).resize((SIDE, SIDE + 16), Image.Resampling.BICUBIC)


def sample(
    name: str, label: str, split: Split = "train", group: str = "", **attributes: str
) -> Sample:
    targets = {"A": float(label == "A"), "B": float(label == "B")} if label else {}
    return Sample(
        path=Path(name),
        targets=targets,
        group=group or name,
        source="drawn",
        split=split,
        attributes=attributes,
    )


def explored(root: Path, samples: list[Sample]) -> Exploration:
    data = DataSet(
        name="drawn",
        kind=TaskKind.MULTI_CLASS,
        classes=("A", "B"),
        samples=tuple(samples),
        root=root,
    )
    facts, unreadable = inspect(root, [s.path for s in samples])
    return explore(data, facts, unreadable)


def test_classes_are_counted_by_split_and_unknown_labels_apart(tmp_path: Path) -> None:
    samples = [sample("0", "A"), sample("1", "B"), sample("2", "B"), sample("3", "")]
    samples.append(sample("4", "A", "test"))
    found = explored(tmp_path, samples)
    assert found.images == {"train": 4, "test": 1}
    assert found.balance[0].present == {"train": 1, "test": 1}
    assert found.balance[1].share["train"] == pytest.approx(2 / 3)
    assert found.balance[1].unknown == 1
    assert found.together == ((2, 0), (0, 2))


def test_a_file_without_a_picture_is_listed_with_the_reason_and_stops_nothing(
    tmp_path: Path,
) -> None:
    drawing(1).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_text("no picture")
    found = explored(tmp_path, [sample(n, "A") for n in ("good.png", "bad.png", "absent.png")])
    assert [(u.path, u.reason) for u in found.unreadable] == [
        ("bad.png", "no image that can be read"),
        ("absent.png", "the file cannot be read"),
    ]
    assert found.sizes is not None
    assert (found.sizes.rows[3], found.sizes.columns[3]) == (SIDE + 16, SIDE)


def test_empty_splits_and_classes_that_no_training_image_shows_are_found(tmp_path: Path) -> None:
    found = explored(tmp_path, [sample("0", "A"), sample("1", "B", "test")])
    assert (found.empty_splits, found.unlearnable) == (("val",), ("B",))


def test_without_any_picture_there_are_no_sizes(tmp_path: Path) -> None:
    found = explored(tmp_path, [sample("absent.png", "A")])
    assert (found.sizes, found.histograms, found.twins) == (None, {}, [])


def test_equal_files_are_twins_and_leak_when_their_splits_differ(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        drawing(1).save(tmp_path / name)
    drawing(2).save(tmp_path / "c.png")
    found = explored(
        tmp_path, [sample("a.png", "A"), sample("b.png", "B", "test"), sample("c.png", "A")]
    )
    (twins,) = found.twins
    assert twins.paths == ("a.png", "b.png")
    assert (twins.exact, twins.labels_differ) == (True, True)
    assert twins.splits == ("test", "train")
    assert found.leaks


def test_a_resized_brightened_compressed_copy_is_nearly_the_same(tmp_path: Path) -> None:
    original = drawing(1)
    original.save(tmp_path / "a.png")
    changed = ImageEnhance.Brightness(original.resize((90, 120))).enhance(0.8)
    changed.save(tmp_path / "b.jpg", quality=60)
    for seed in range(2, 30):
        drawing(seed).save(tmp_path / f"{seed}.png")
    names = ["a.png", "b.jpg", *(f"{seed}.png" for seed in range(2, 30))]
    (twins,) = explored(tmp_path, [sample(name, "A") for name in names]).twins
    assert twins.paths == ("a.png", "b.jpg")
    assert (twins.exact, twins.labels_differ) == (False, False)


def test_blank_images_are_listed_and_are_nobodys_twins(tmp_path: Path) -> None:
    for name, grey in (("black.png", 0), ("white.png", 255)):
        Image.new("L", (SIDE, SIDE), grey).save(tmp_path / name)
    found = explored(tmp_path, [sample("black.png", "A"), sample("white.png", "A")])
    assert found.blank == ("black.png", "white.png")
    assert found.twins == []


def test_a_patient_in_two_splits_is_a_leak(tmp_path: Path) -> None:
    samples = [sample("0", "A", "train", "p1"), sample("1", "A", "test", "p1")]
    found = explored(tmp_path, [*samples, sample("2", "A", "test", "p2")])
    (shared,) = found.shared_groups
    assert (shared.group, shared.images) == ("p1", {"test": 1, "train": 1})
    assert found.leaks


def test_a_clean_data_set_has_no_leaks(tmp_path: Path) -> None:
    for seed in range(6):
        drawing(seed).save(tmp_path / f"{seed}.png")
    splits: list[Split] = ["train", "val", "test"]
    found = explored(tmp_path, [sample(f"{i}.png", "A", splits[i % 3]) for i in range(6)])
    assert not found.leaks
    assert (found.twins, found.shared_groups, found.unreadable) == ([], [], [])


def test_subgroups_come_with_their_share_of_each_class_and_the_unstated_last(
    tmp_path: Path,
) -> None:
    found = explored(
        tmp_path,
        [
            sample("0", "A", sex="M", age="7"),
            sample("1", "B", sex="M", age="70"),
            sample("2", "B", sex="F"),
            sample("3", "B"),
        ],
    )
    sex = [row for row in found.subgroups if row.attribute == "sex"]
    assert [row.value for row in sex] == ["F", "M", NOT_STATED]
    assert sex[1].share == {"A": 0.5, "B": 0.5}
    age = [row.value for row in found.subgroups if row.attribute == "age"]
    assert age == ["under 18", "65 and over", NOT_STATED]
    assert {row.attribute for row in found.subgroups} == {"sex", "age"}


def test_histograms_hold_all_pixels_of_a_class(tmp_path: Path) -> None:
    Image.new("L", (4, 4), 255).save(tmp_path / "white.png")
    Image.new("L", (4, 4), 0).save(tmp_path / "black.png")
    found = explored(tmp_path, [sample("white.png", "A"), sample("black.png", "B")])
    assert found.histograms["A"][-1] == found.histograms["B"][0] == 1.0
    assert sum(found.histograms["A"]) == pytest.approx(1)


def test_an_exploration_can_be_written_as_strict_json(tmp_path: Path) -> None:
    found = explored(tmp_path, [sample("absent.png", ""), sample("1", "A", "test")])
    read = json.loads(json.dumps(document(found), allow_nan=False))
    assert read["balance"][0]["share"]["train"] is None
    assert read["unreadable"][0]["path"] == "absent.png"
