"""UNIFESP's images without labels: how we read them, and that none is of a scored examination."""

import csv
from pathlib import Path

import numpy as np
import pytest

from inference.training.folds import NO_FOLD
from inference.training.samples import Sample, Squares, decode
from inference.training.shipped import bodypart
from inference.training.shipped.bodypart import gather, training_list
from inference.training.shipped.labels import NEIGHBOURS, OTHERS
from inference.training.shipped.options import Options, members_of
from inference.training.shipped.sources_bodypart import bodypart_samples, read_samples
from tests.data import data_dir

pytestmark = [pytest.mark.data, pytest.mark.slow]

THUMBNAIL = 32
TWINS = 0.985
"""Correlation of thumbnails that images of one examination may reach, and hardly any others."""


def thumbnails(samples: list[Sample]) -> np.ndarray:
    """Return thumbnails (N, pixels) of mean 0 and length 1."""
    small = [
        decode(data_dir() / sample.path, size=THUMBNAIL)[0].ravel().astype(np.float32)
        for sample in samples
    ]
    centred = np.stack(small) - np.mean(small, axis=1, keepdims=True)
    return centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-6)


def test_an_image_that_we_read_shows_no_examination_that_is_scored():
    read = read_samples()
    scored = [s for s in bodypart_samples(data_dir(), seed=0) if s.source == "unifesp"]
    ours, theirs = thumbnails(read), thumbnails(scored)
    groups = np.array([sample.group for sample in scored])

    among_scored = theirs @ theirs.T
    np.fill_diagonal(among_scored, 0)
    twins = np.argwhere(among_scored > TWINS)

    assert len(twins) >= 10, "the measure would not notice"
    assert np.mean(groups[twins[:, 0]] == groups[twins[:, 1]]) > 0.9
    assert (ours @ theirs.T).max() <= TWINS


def test_what_a_reading_leaves_open_is_neither_present_nor_absent():
    with (data_dir() / "bodypart" / "unifesp" / "labels.csv").open(encoding="utf-8") as file:
        labelled = {row["sop_instance_uid"] for row in csv.DictReader(file)}
    read = read_samples()
    scored, _ = training_list(data_dir(), 0)

    assert len(read) > 700
    assert not {sample.path for sample in scored} & {sample.path for sample in read}
    assert not labelled & {sample.path.stem for sample in read}
    for sample in read:
        shown = {key for key, value in sample.targets.items() if value == 1.0}
        neighbours = {other for key in shown for other in NEIGHBOURS.get(key, set())}
        assert not (neighbours - shown) & set(sample.targets), sample.path.stem
        assert (OTHERS in sample.targets) == (OTHERS in shown), sample.path.stem
        assert not sample.held_out


def test_what_we_read_is_learned_from_and_in_no_fold(monkeypatch):
    def undecoded(data: Path, samples: list[Sample], *, size: int) -> Squares:
        count = len(samples)
        return Squares(
            pixels=np.zeros((count, size, size), np.uint8), boxes=np.zeros((count, 4), np.int64)
        )

    monkeypatch.setattr(bodypart, "load_squares", undecoded)
    nowhere = Path("nowhere")
    options = Options(
        data=data_dir(), out=nowhere, card=nowhere, size=32, epochs=1, variants=1,
        members=members_of("mobilenet_v2:4"), seed=0, threads=1, device="cpu", version="0",
    )  # fmt: skip

    material = gather(options)

    ours = np.array([sample.source == "unifesp-read" for sample in material.samples])
    assert ours.sum() == len(read_samples())
    assert np.array_equal(material.folds == NO_FOLD, ours)
    assert len(material.squares) == len(material.targets) == len(material.samples)
