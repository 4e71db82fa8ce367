"""Photographs and drawings that libraries bring along, asked as if they were radiographs."""

from pathlib import Path

import numpy as np
import pytest
import skimage
import sklearn.datasets
from PIL import Image

from inference.decide import label_output
from inference.evaluation.loaded import load_model
from inference.preprocess import letterbox
from inference.regions import load_regions
from inference.types import (
    Expectation,
    ExpectationSource,
    ModelIdentity,
    Outcome,
    Prediction,
    Verdict,
)
from inference.verify import judge

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "inference" / "models" / "bodypart"
FOLDERS = [Path(p.__file__).parent for p in (skimage.data, sklearn.datasets)]
PICTURES = sorted(
    file
    for folder in (FOLDERS[0], FOLDERS[1] / "images")
    for file in folder.iterdir()
    if file.suffix in {".png", ".jpg"}
)


def said_of(pictures: list[Path]) -> list[Prediction]:
    model = load_model(SHIPPED)
    greys = [np.asarray(Image.open(file).convert("L"), dtype=np.float32) / 255 for file in pictures]
    squares = [letterbox(grey, size=model.manifest.input.size) for grey in greys]
    logits = model.logits(np.stack([(255 * square).round().astype(np.uint8) for square in squares]))
    identity = ModelIdentity(
        name="bodypart",
        version=model.manifest.version,
        task=model.manifest.task,
        weights_sha256=model.manifest.weights_sha256,
        configuration_sha256="",
        preprocessing=model.manifest.input.preprocessing,
        runtime="torch",
        device="cpu",
        precision="float32",
    )
    return [
        Prediction(
            model=identity,
            outcome=Outcome.PREDICTED,
            labels=tuple(map(label_output, map(float, row), model.manifest.labels)),
        )
        for row in logits
    ]


@pytest.mark.slow
def test_a_picture_is_called_none_of_ours_or_nothing_but_never_what_was_ordered() -> None:
    labels, table = load_model(SHIPPED).manifest.labels, load_regions()
    strange = 0
    for file, prediction in zip(PICTURES, said_of(PICTURES), strict=True):
        for region in table.regions:
            order = Expectation(
                regions=(region,), source=ExpectationSource.STUDY_DESCRIPTION, matched_words=()
            )
            found = judge(order, prediction, labels, table)
            assert found.verdict is Verdict.UNCERTAIN, (file.name, found.reason)
        strange += found.reason.endswith(
            "It does not look like a radiograph this check was made for."
        )
    assert len(PICTURES) >= 25
    assert strange >= 0.8 * len(PICTURES)
