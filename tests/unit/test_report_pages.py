"""The HTML reports: self-contained, harmless, readable, and equal for equal values."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inference.evaluation.measures.predictions import Predictions
from inference.evaluation.reports.evaluate import evaluate
from inference.evaluation.reports.evaluate_page import write_evaluation
from inference.evaluation.reports.explore import explore
from inference.evaluation.reports.explore_page import write_exploration
from inference.evaluation.reports.inventory import inspect
from inference.training.dataset import DataSet, TaskKind
from inference.training.samples import Sample
from tests.predictions import drawn_predictions

pytestmark = pytest.mark.slow

HOSTILE = "<script>alert(1)</script>\"&' $x_1$"
HISTORY = {"epoch": [1.0, 2.0], "train_loss": [1.0, 0.5], "val_auc": [0.6, 0.7], "rate": [1.0, 0.0]}


class Page(HTMLParser):
    """What a browser would find."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.handlers: list[str] = []
        self.words = ""
        self._styled = False
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._styled = tag == "style"
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "xlink:href"):
                self.links.append(value or "")
            if name == "src":
                self.sources.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)

    def handle_data(self, data: str) -> None:
        if not self._styled:
            self.words += data


def evaluation_page(
    folder: Path, predictions: Predictions, root: Path | None = None, **told: object
) -> Page:
    rivals = [replace(predictions, name="baseline")]
    found = evaluate(predictions, rivals=rivals, history=HISTORY, rounds=5, **told)  # type: ignore[arg-type]
    write_evaluation(found, folder / "evaluation.html", root=root)
    return Page(folder / "evaluation.html")


def exploration_page(folder: Path, *, classes: tuple[str, ...] = ("A", "B"), **told: bool) -> Page:
    samples = []
    for row, label in enumerate([*classes, classes[0]]):
        pixels = (
            np.random.default_rng(row % 2).integers(0, 255, (20, 24 + row % 2)).astype(np.uint8)
        )
        Image.fromarray(pixels).save(folder / f"'{row}&.png")
        samples.append(
            Sample(
                path=Path(f"'{row}&.png"),
                targets={name: float(name == label) for name in classes},
                group="p",
                source="drawn",
                split="test" if row == 2 else "train",
                attributes={"sex": "F"},
            )
        )
    samples.append(replace(samples[0], path=Path("<i>absent.png")))
    data = DataSet(
        name="drawn",
        kind=TaskKind.MULTI_LABEL,
        classes=classes,
        samples=tuple(samples),
        root=folder,
        missing=("<i>labels.csv, line 7",),
    )
    facts, unreadable = inspect(folder, [sample.path for sample in samples])
    found = explore(data, facts, unreadable)
    write_exploration(found, data, facts, folder / "report.html", **told)
    return Page(folder / "report.html")


@pytest.mark.parametrize("kind", list(TaskKind))
def test_an_evaluation_page_has_every_section_that_its_contents_name(
    kind: TaskKind, tmp_path: Path
) -> None:
    page = evaluation_page(tmp_path, drawn_predictions(kind))
    inner = [link.removeprefix("#") for link in page.links if link.startswith("#")]
    assert set(inner) <= set(page.ids)
    assert {"summary", "curves", "confusion", "calibration", "baselines", "learning"} <= set(inner)
    assert len(page.ids) == len(set(page.ids))
    assert page.tags.count("svg") == 7


def test_a_class_without_enough_images_leaves_out_figures_and_says_so(tmp_path: Path) -> None:
    predictions = drawn_predictions(TaskKind.BINARY)
    ones = np.tile([0.0, 1.0], (len(predictions), 1))
    page = evaluation_page(tmp_path, replace(predictions, targets=ones))
    assert "curves" not in page.ids
    assert "#curves" not in page.links
    assert "no threshold can be chosen" in page.words


def test_thresholds_that_flatter_are_said_to(tmp_path: Path) -> None:
    predictions = drawn_predictions(TaskKind.BINARY)
    run = {"of_run": True}
    assert "flattered" not in evaluation_page(tmp_path, predictions, **run).words
    alone = evaluation_page(tmp_path, predictions.part("test"), **run).words
    assert "Thresholds were chosen on the images that are counted here" in alone
    for split in ("val", "all"):
        page = evaluation_page(tmp_path, predictions, split=split, **run)
        assert "every number is flattered" in page.words
        assert "every split" not in page.words
    assert "learned from these images" in evaluation_page(tmp_path, predictions).words


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    predictions = drawn_predictions(TaskKind.MULTI_LABEL, classes=(HOSTILE, "B", "C"), name=HOSTILE)
    paths = tuple(f"{path}{HOSTILE}" for path in predictions.paths)
    evaluated = evaluation_page(tmp_path, replace(predictions, paths=paths))
    explored = exploration_page(tmp_path, classes=(HOSTILE, "B"))
    for page in (evaluated, explored):
        assert "script" not in page.tags
        assert page.handlers == []
        assert HOSTILE in page.words
    assert "i" not in explored.tags


def test_pages_ask_nobody_for_anything(tmp_path: Path) -> None:
    exploration_page(tmp_path)
    evaluation_page(tmp_path, drawn_predictions(TaskKind.BINARY))
    for file in tmp_path.glob("*.html"):
        page = Page(file)
        assert all(link.startswith("#") for link in page.links)
        assert all(source.startswith("data:image/jpeg;base64,") for source in page.sources)
        assert not {"link", "script", "iframe", "object"} & set(page.tags)
        assert not re.search(r"url\((?!#)|@import", file.read_text(encoding="utf-8"))


def test_equal_values_give_equal_pages(tmp_path: Path) -> None:
    first = drawn_predictions(TaskKind.BINARY)
    evaluation_page(tmp_path, first)
    before = (tmp_path / "evaluation.html").read_bytes()
    evaluation_page(tmp_path, first)
    assert (tmp_path / "evaluation.html").read_bytes() == before


def test_worst_errors_are_shown_with_their_images_and_a_warning(tmp_path: Path) -> None:
    predictions = drawn_predictions(TaskKind.BINARY, noise=3.0)
    (tmp_path / "images").mkdir()
    for path in predictions.paths[120:]:
        Image.new("L", (20, 24), 90).save(tmp_path / path)
    with_images = evaluation_page(tmp_path, predictions, tmp_path, most_failures=3)
    assert len(with_images.sources) == 3
    assert "handle it as patient data" in with_images.words
    without = evaluation_page(tmp_path, predictions)
    assert without.sources == []
    assert "handle it as patient data" not in without.words


def test_an_exploration_shows_samples_twins_leaks_and_unreadable_files(tmp_path: Path) -> None:
    page = exploration_page(tmp_path)
    inner = [link.removeprefix("#") for link in page.links if link.startswith("#")]
    assert set(inner) <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert {"samples", "greys", "sizes", "subgroups", "twins", "leaks", "files"} <= set(inner)
    assert "Splits leak" in page.words
    assert "<i>absent.png" in page.words
    assert "<i>labels.csv, line 7" in page.words
    assert "Splits without images: val." in page.words
    assert page.sources


def test_an_exploration_says_which_classes_cannot_be_learnt(tmp_path: Path) -> None:
    assert "No training image" not in exploration_page(tmp_path).words
    page = exploration_page(tmp_path, classes=("A", "B", "C"))
    assert "No training image shows: C." in page.words


def test_an_exploration_without_images_holds_none(tmp_path: Path) -> None:
    page = exploration_page(tmp_path, images=False)
    assert page.sources == []
    assert "samples" not in page.ids
    assert "handle it as patient data" not in page.words
