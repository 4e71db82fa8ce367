"""What both training commands do alike: bank, cross-validation, final fit, network."""

import functools
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from inference.architectures import PooledClassifier
from inference.evaluation.loaded import Loaded
from inference.training.augment import Augmentation
from inference.training.backbones import IMAGENET_MEAN, IMAGENET_STD, STEM, from_imagenet
from inference.training.bank import StemBank
from inference.training.crossval import Recipe, fit_fold, fit_once, out_of_fold, run_folder
from inference.training.loop import FloatArray, Tail, Wanted, as_given
from inference.training.options import Options, command_line
from inference.training.samples import Sample, Squares, list_sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Everything that is trained on, row by row, and what is held out."""

    samples: list[Sample]
    squares: Squares
    targets: FloatArray
    folds: NDArray[np.int64]
    held_out: list[Sample]
    """Not loaded here: measured after export, by the code that anyone can run again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A network trained on every fold, and what networks without each fold said of it."""

    network: PooledClassifier
    logits: FloatArray
    """Out-of-fold logits (N, L)."""

    disguised: FloatArray
    """Out-of-fold logits (N, L) of the copies that `probe` makes."""

    commit: str
    """Commit of the code that trained."""


def train(
    material: Material,
    keys: tuple[str, ...],
    options: Options,
    recipe: Recipe,
    augmentation: Augmentation,
    *,
    wanted: Wanted = as_given,
) -> Trained | None:
    """Cross-validate, then fit on every row; None when only some fits were asked for.

    Parameters
    ----------
    material : Material
        Images, targets and folds.
    keys : tuple of str
        Labels, in the order of the network's output.
    options : Options
        The command line.
    recipe : Recipe
        Schedule and balance.
    augmentation : Augmentation
        Changes made to the images.
    wanted : callable, optional
        What the targets of images become by the way they were disguised.
    """
    network = from_imagenet(options.backbone, len(keys), options.data / "weights")
    cut = options.frozen or STEM[options.backbone]
    stages = network.features[cut:] if cut < len(network.features) else nn.Identity()

    @functools.cache
    def bank() -> StemBank:
        return StemBank(
            network.features[:cut],
            material.squares,
            augmentation,
            variants=options.variants,
            seed=options.seed,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            kept=kept / "bank",
        )

    kept = run_folder(_told(options, keys, recipe, augmentation, len(material.samples)))
    tail = Tail(stages, network.head)
    rows = np.arange(len(material.samples))
    folds = int(material.folds.max()) + 1
    for fit in options.fits:
        if fit == folds:
            fit_once(tail, bank, material.targets, rows, recipe, kept=kept, wanted=wanted)
        else:
            fit_fold(
                fit, tail, bank, material.targets, material.folds, recipe, kept=kept, wanted=wanted
            )
    if options.fits:
        return None
    logits, disguised = out_of_fold(
        tail, bank, material.targets, material.folds, recipe, kept=kept, wanted=wanted
    )
    trained = fit_once(tail, bank, material.targets, rows, recipe, kept=kept, wanted=wanted)
    stages.load_state_dict(trained.stages.state_dict())
    network.head.load_state_dict(trained.head.state_dict())
    commit = (kept / "commit").read_text(encoding="utf-8")
    return Trained(network=network.eval(), logits=logits, disguised=disguised, commit=commit)


def training_section(program: str, options: Options, recipe: Recipe, commit: str) -> dict[str, Any]:
    """Return the manifest's ``training`` section."""
    return {
        "command": command_line(program, options),
        "commit": commit,
        "seed": options.seed,
        "date": datetime.now(tz=UTC).date().isoformat(),
        "backbone": f"{options.backbone}, ImageNet weights",
        "frozen_stages": options.frozen or STEM[options.backbone],
        "recipe": asdict(recipe),
    }


def storage_difference(trained: Trained, stored: Loaded, squares: Squares) -> float:
    """Return the largest change of a probability that float16 storage makes, on 64 images."""
    exact = Loaded(manifest=stored.manifest, network=trained.network)
    rows = np.linspace(0, len(squares) - 1, 64).astype(int)
    first = exact.probabilities(exact.logits(squares.pixels[rows]))
    second = stored.probabilities(stored.logits(squares.pixels[rows]))
    return float(np.abs(first - second).max())


def data_section(
    options: Options, material: Material, sources: list[dict[str, str]]
) -> dict[str, Any]:
    """Return the manifest's ``data`` section: sources, terms and the list's sha256."""
    used = [s for s in material.samples if s.source != "drawn"]
    counts: dict[str, int] = {}
    for sample in material.samples + material.held_out:
        name = f"{sample.source}{' (held out)' if sample.held_out else ''}"
        counts[name] = counts.get(name, 0) + 1
    return {
        "sources": sources,
        "images": counts,
        "training_list_sha256": list_sha256(options.data, used),
        "training_list_form": "sorted lines of '<sha256 of the file>  <path in the data folder>'",
    }


def _told(
    options: Options,
    keys: tuple[str, ...],
    recipe: Recipe,
    augmentation: Augmentation,
    images: int,
) -> dict[str, Any]:
    """Return what makes two runs the same; where they write and the threads do not count."""
    told: dict[str, Any] = {
        "size": options.size,
        "variants": options.variants,
        "backbone": options.backbone,
        "frozen": options.frozen,
        "keys": keys,
        "images": images,
        "recipe": asdict(recipe),
        "augmentation": asdict(augmentation),
    }
    decoded: dict[str, Any] = json.loads(json.dumps(told))
    return decoded
