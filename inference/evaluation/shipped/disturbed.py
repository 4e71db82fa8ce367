"""Images changed as stations differ: ``python -m inference.evaluation.shipped.disturbed``.

Stations differ in grey curves, collimation and compression. Every held-out image is changed in one
way at a time, before the node's own recipe sees it. The scores are written into the manifest and
card of the model.
"""

import argparse
import io
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inference.datafolder import data_folder
from inference.evaluation.loaded import Loaded, load_model
from inference.evaluation.shipped.card import write_card
from inference.evaluation.shipped.heldout import mean_auc, region_scores, several_findings
from inference.preprocess import letterbox
from inference.training.export import plain, write_manifest
from inference.training.images import read_picture
from inference.training.samples import Sample, target_matrix
from inference.training.shipped.bodypart_scores import passes_gates
from inference.training.shipped.labels import (
    BODYPART_KEYS,
    FINDING_KEYS,
    FRONTAL_CHEST,
    INVERTED,
    TURNED,
)
from inference.training.shipped.sources_bodypart import bodypart_samples
from inference.training.shipped.sources_chest import chest_samples
from inference.types import Task

Picture = NDArray[np.float32]
"""Shape (rows, columns), values in [0, 1], bright where the beam was stopped."""

Ways = Mapping[str, Callable[[Picture], Picture]]


def with_gamma(picture: Picture, gamma: float) -> Picture:
    """Return the greys along another curve; darker for a `gamma` above 1."""
    return picture**gamma


def cut(picture: Picture, low: float, high: float) -> Picture:
    """Return the greys of a window; what lies outside `low` to `high` is black or white."""
    return ((picture - low) / (high - low)).clip(0.0, 1.0)


def bordered(picture: Picture, share: float, grey: float) -> Picture:
    """Return the picture with a border; `share` of each side's length on either end of it."""
    wide = [(round(side * share),) * 2 for side in picture.shape]
    return np.pad(picture, wide, constant_values=grey)


def cropped(picture: Picture, share: float) -> Picture:
    """Return the middle; `share` of each side's length is missing on either end of it."""
    inner = tuple(slice(round(n * share), n - round(n * share)) for n in picture.shape)
    return picture[inner]


def leant(picture: Picture, degrees: float) -> Picture:
    """Return the picture turned about its middle, the corners black."""
    image = Image.fromarray(picture)
    return np.array(image.rotate(degrees, resample=Image.Resampling.BILINEAR), dtype=np.float32)


def compressed(picture: Picture, quality: int) -> Picture:
    """Return the picture after JPEG (8 bits, baseline)."""
    stream = io.BytesIO()
    Image.fromarray(np.rint(picture * 255.0).astype(np.uint8)).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream), dtype=np.float32) / 255.0


WAYS: Ways = MappingProxyType(
    {
        "as they are": lambda picture: picture,
        "darker, gamma 2": partial(with_gamma, gamma=2.0),
        "lighter, gamma 0.5": partial(with_gamma, gamma=0.5),
        "darkest third of the greys lost": partial(cut, low=1 / 3, high=1.0),
        "lightest third of the greys lost": partial(cut, low=0.0, high=2 / 3),
        "black border, 15 % on every side": partial(bordered, share=0.15, grey=0.0),
        "white border, 8 % on every side": partial(bordered, share=0.08, grey=1.0),
        "cropped, 10 % on every side": partial(cropped, share=0.1),
        "leant by 10 degrees": partial(leant, degrees=10.0),
        "JPEG of quality 20": partial(compressed, quality=20),
    }
)
"""What is done to the images, by what the card calls it."""


def bodypart_disturbed(model: Loaded, data: Path, ways: Ways = WAYS) -> list[dict[str, Any]]:
    """Return, by way, the top-1 of held-out limbs and the share of held-out chests let through."""
    seed = int(model.manifest.training["seed"])
    samples = [s for s in bodypart_samples(data, seed=seed) if s.held_out]
    limbs, chests = ([s for s in samples if s.source == source] for source in ("limbs", "nih"))
    targets = target_matrix(limbs, BODYPART_KEYS)
    points = {label.key: label.operating_point for label in model.manifest.labels}
    gates = {key: point for key in (FRONTAL_CHEST, INVERTED, TURNED) if (point := points[key])}
    of_limbs, of_chests = (_probabilities(model, data, each, ways) for each in (limbs, chests))
    return [
        {
            "way": way,
            "limbs_top1": region_scores(of_limbs[way], targets)["top1_in_label_set"],
            "frontal_pass": float(passes_gates(of_chests[way], gates).mean()),
        }
        for way in ways
    ]


def chest_disturbed(model: Loaded, data: Path, ways: Ways = WAYS) -> list[dict[str, Any]]:
    """Return, by way, the mean AUC on held-out images with several findings."""
    held = [s for s in chest_samples(data) if s.held_out]
    unseen = [s for s, use in zip(held, several_findings(held), strict=True) if use]
    truth = target_matrix(unseen, FINDING_KEYS) >= 0.5
    found = _probabilities(model, data, unseen, ways)
    return [{"way": way, "unseen": mean_auc(found[way], truth)} for way in ways]


def _probabilities(
    model: Loaded, data: Path, samples: Sequence[Sample], ways: Ways
) -> dict[str, NDArray[np.float64]]:
    """Return the model's probabilities (N, L) of the samples changed in each way."""
    pictures = [read_picture(data / sample.path) for sample in samples]
    size = model.manifest.input.size

    def answered(change: Callable[[Picture], Picture]) -> NDArray[np.float64]:
        squares = [letterbox(change(picture), size=size) for picture in pictures]
        return model.probabilities(model.logits(np.rint(np.stack(squares) * 255).astype(np.uint8)))

    return {way: answered(change) for way, change in ways.items()}


MEASURES = {Task.BODY_PART: bodypart_disturbed, Task.CHEST_FINDINGS: chest_disturbed}


def main() -> None:
    """Score a model on changed images, write manifest and card again."""
    parser = argparse.ArgumentParser(prog="python -m inference.evaluation.shipped.disturbed")
    parser.add_argument("--data", type=Path, default=data_folder(), help="the images")
    parser.add_argument("--model", type=Path, required=True, help="folder of a shipped model")
    parser.add_argument("--card", type=Path, help="default: docs/models/NAME.md")
    told = parser.parse_args()
    model = load_model(told.model)
    manifest = model.manifest
    found = plain(MEASURES[manifest.task](model, told.data))
    metrics = {**manifest.metrics, "disturbed": found}
    write_manifest(told.model, manifest.model_copy(update={"metrics": metrics}))
    write_card(told.model, told.card or Path("docs/models") / f"{manifest.name}.md")


if __name__ == "__main__":
    main()
