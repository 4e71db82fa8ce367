"""What both training commands do alike: bank, cross-validation, final fit, network."""

import functools
import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from inference.architectures import PooledClassifier, averaged, build
from inference.evaluation.loaded import Loaded
from inference.training.augment import Augmentation
from inference.training.backbones import BACKBONES, IMAGENET_MEAN, IMAGENET_STD, pretrained
from inference.training.device import choose_device
from inference.training.samples import FloatArray, Sample, Squares, list_sha256
from inference.training.shipped.bank import StemBank
from inference.training.shipped.crossval import Fits, Recipe, run_folder
from inference.training.shipped.loop import Tail, Wanted, as_given
from inference.training.shipped.options import Member, Options, command_line

BANKS = Path(".work/banks")
_OF_BANK = ("size", "variants", "backbone", "frozen", "scratch", "augmentation", "seed")
"""What makes the maps of two runs the same, beside the images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Everything that is trained on, row by row, and what is held out."""

    samples: list[Sample]
    squares: Squares
    targets: FloatArray
    folds: NDArray[np.int64]
    held_out: list[Sample]
    """Not loaded here: measured after export, by the code that anyone can run again."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A network trained on every fold, and what networks without each fold said of it."""

    network: PooledClassifier
    logits: FloatArray
    """Out-of-fold logits (N, L)."""

    disguised: FloatArray
    """Out-of-fold logits (N, L) of the copies that `probe` makes."""

    commits: tuple[str, ...]
    """Commit of the code that trained each member."""

    members: tuple["Trained", ...] = ()
    """Those it was joined from."""


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

    Each member learns alone; together they answer with the mean of their logits.

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
    fitted = []
    for member in options.members:
        network = _start(member, options, keys)
        fits = _fits(network, member, material, keys, options, recipe, augmentation, wanted)
        if options.fits:
            for number in options.fits:
                fits.fold(number) if number < fits.count else fits.everything()
            continue
        logits, disguised = fits.out_of_fold()
        fits.tail.load_state_dict(fits.everything().state_dict())
        commit = (fits.kept / "commit").read_text(encoding="utf-8")
        fitted.append(Trained(network.eval(), logits, disguised, (commit,)))
    return together(fitted) if fitted else None


def together(members: list[Trained]) -> Trained:
    """Return the members as one network, whose logits are the mean of theirs."""
    return Trained(
        network=averaged([member.network for member in members]),
        logits=np.mean([member.logits for member in members], axis=0),
        disguised=np.mean([member.disguised for member in members], axis=0),
        commits=tuple(commit for member in members for commit in member.commits),
        members=tuple(members),
    )


def cross_validate(
    material: Material,
    keys: tuple[str, ...],
    options: Options,
    recipe: Recipe,
    augmentation: Augmentation,
) -> FloatArray:
    """Return out-of-fold logits (N, L), and fit nothing else; parameters as for `train`."""
    found = []
    for member in options.members:
        network = _start(member, options, keys)
        fits = _fits(network, member, material, keys, options, recipe, augmentation, as_given)
        found.append(fits.out_of_fold()[0])
    logits: FloatArray = np.mean(found, axis=0)
    return logits


def _fits(  # noqa: PLR0917
    network: PooledClassifier,
    member: Member,
    material: Material,
    keys: tuple[str, ...],
    options: Options,
    recipe: Recipe,
    augmentation: Augmentation,
    wanted: Wanted,
) -> Fits:
    """Return the fits of `network`, whose features and head they share."""
    cut = member.frozen
    stages = nn.Identity() if cut == len(network.features) else network.features[cut:]
    told = _told(member, options, keys, recipe, augmentation, material)
    paths = [str(sample.path) for sample in material.samples]
    of_bank = {"paths": paths, **{key: told[key] for key in _OF_BANK}}

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
            kept=BANKS / _digest(of_bank),
        )

    return Fits(
        tail=Tail(stages, network.head),
        bank=bank,
        targets=material.targets,
        folds=material.folds,
        recipe=recipe,
        kept=run_folder(told),
        device=choose_device("cpu", "auto"),
        wanted=wanted,
    )


def _start(member: Member, options: Options, keys: tuple[str, ...]) -> PooledClassifier:
    torch.manual_seed(options.seed)
    if options.scratch:
        return build(member.backbone, len(keys))
    return pretrained(member.backbone, len(keys), options.data / "weights")


def training_section(
    program: str, options: Options, recipe: Recipe, trained: Trained
) -> dict[str, Any]:
    """Return the manifest's ``training`` section."""
    return {
        "command": command_line(program, options),
        "seed": options.seed,
        "date": datetime.now(tz=UTC).date().isoformat(),
        "members": [
            {
                "network": member.backbone,
                "weights_from": "random"
                if options.scratch
                else BACKBONES[member.backbone].learned_from,
                "frozen_stages": member.frozen,
                "commit": commit,
            }
            for member, commit in zip(options.members, trained.commits, strict=True)
        ],
        "recipe": asdict(recipe),
    }


def terms_of_backbones(options: Options) -> str:
    """Return the terms of the weights that the members started from."""
    return "; ".join(
        f"{member.backbone} ({BACKBONES[member.backbone].learned_from}): "
        f"{BACKBONES[member.backbone].terms}"
        for member in options.members
    )


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


def _digest(told: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def _told(  # noqa: PLR0917
    member: Member,
    options: Options,
    keys: tuple[str, ...],
    recipe: Recipe,
    augmentation: Augmentation,
    material: Material,
) -> dict[str, Any]:
    """Return what makes two runs the same; where they write and the threads do not count."""
    told: dict[str, Any] = {
        "size": options.size,
        "variants": options.variants,
        "seed": options.seed,
        "backbone": member.backbone,
        "frozen": member.frozen,
        "scratch": options.scratch,
        "keys": keys,
        "images": len(material.samples),
        "targets": hashlib.sha256(material.targets.tobytes()).hexdigest(),
        "recipe": asdict(recipe),
        "augmentation": asdict(augmentation),
    }
    decoded: dict[str, Any] = json.loads(json.dumps(told))
    return decoded
