"""What both training commands do alike: bank, cross-validation, final fit, network."""

import functools
import hashlib
import inspect
import itertools
import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from importlib import import_module
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from inference.architectures import PooledClassifier, averaged, build
from inference.training.augment import Augmentation
from inference.training.backbones import BACKBONES, IMAGENET_MEAN, IMAGENET_STD, pretrained
from inference.training.device import Device, choose_device
from inference.training.samples import FloatArray, Sample, Squares
from inference.training.shipped.bank import StemBank
from inference.training.shipped.crossval import Fits, Recipe, run_folder
from inference.training.shipped.loop import Tail, Wanted, as_given
from inference.training.shipped.options import Member, Options
from inference.training.shipped.pointing import Boxes

_CODE_OF_COPIES = (
    "inference.architectures",
    "inference.efficientnet_lite",
    "inference.mobilenet_v3",
    "inference.preprocess",
    "inference.small_cnn",
    "inference.training.augment",
    "inference.training.backbones",
    "inference.training.shipped.bank",
)
_CODE_OF_FITS = (
    "inference.training.folds",
    "inference.training.losses",
    "inference.training.norms",
    "inference.training.shipped.crossval",
    "inference.training.shipped.linear",
    "inference.training.shipped.loop",
    "inference.training.shipped.pointing",
    "inference.training.shipped.run",
)
"""What an earlier run left is taken only if it came of the same code."""

BANKS = Path(".work/banks")
_OF_BANK = (
    "pixels", "copies", "size", "variants", "backbone", "frozen", "start", "augmentation", "seed",
    "device",
)  # fmt: skip
"""What makes the maps of two runs the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Everything that is trained on, row by row, and what is held out."""

    samples: list[Sample]
    squares: Squares
    targets: FloatArray
    folds: NDArray[np.int64]
    held_out: list[Sample]
    """Not loaded here: measured after export, by the code that anyone can run again."""

    boxes: Boxes = field(default_factory=dict)
    """Where a radiologist saw a label."""


@dataclass(frozen=True, slots=True, kw_only=True)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be trained, on what and how."""

    material: Material
    keys: tuple[str, ...]
    """Labels, in the order of the network's output."""

    options: Options
    recipe: Recipe
    augmentation: Augmentation
    wanted: Wanted = as_given
    """What the targets of images become by the way they were disguised."""

    gentle: Recipe | None = None
    """For a member whose start had learned from radiographs; the same recipe by default."""

    def recipe_of(self, place: int) -> Recipe:
        """Return how the member at `place` is trained, by a seed of its own.

        Only the first, which heat maps are drawn from, is held to boxes (docs/decisions/0021).
        """
        member = self.options.members[place]
        knows = member.pretrained and BACKBONES[member.backbone].knows_radiographs
        recipe = self.gentle if self.gentle and knows else self.recipe
        if place:
            recipe = replace(recipe, schedule=replace(recipe.schedule, pointing=0.0))
        return replace(recipe, seed=self.options.seed + place)


def train(plan: Plan) -> Trained:
    """Cross-validate, then fit on every row.

    Each member learns alone; together they answer with the mean of their logits.
    """
    _fit_missing(plan, and_everything=True)
    return together([_fitted(network, fits) for network, fits in _each_member(plan)])


def _fit_missing(plan: Plan, *, and_everything: bool) -> None:
    """Make the fits that no earlier run left: one thread each, as many at once as may be.

    The layers of a small network are too small to share out among threads; whole fits are not.
    """
    for place, (_, fits) in enumerate(_each_member(plan)):
        missing = fits.missing(and_everything=and_everything)
        if not missing:
            continue
        fits.bank()  # by all threads, before the processes that read it
        with fitting_processes(plan.options.threads) as pool:
            for fitted in [pool.submit(_fit_one, plan, place, number) for number in missing]:
                fitted.result()


def fitting_processes(count: int) -> ProcessPoolExecutor:
    """Return processes that end as soon as this one does, even if it is killed.

    Else fits that nobody waits for would go on for minutes beside those of the next start.
    """
    return ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_end_with_parent)


def _end_with_parent() -> None:
    parent = parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _fit_one(plan: Plan, place: int, number: int | None) -> None:
    """Make one fit of the member at `place`, in a process of its own."""
    torch.set_num_threads(1)
    _, fits = next(itertools.islice(_each_member(plan), place, None))
    if number is None:
        fits.everything()
    else:
        fits.fold(number)


def _fitted(network: PooledClassifier, fits: Fits) -> Trained:
    logits, disguised = fits.out_of_fold()
    fits.tail.load_state_dict(fits.everything().state_dict())
    commit = (fits.kept / "commit").read_text(encoding="utf-8")
    return Trained(network=network.eval(), logits=logits, disguised=disguised, commits=(commit,))


def together(members: list[Trained]) -> Trained:
    """Return the members as one network, whose logits are the mean of theirs."""
    return Trained(
        network=averaged([member.network for member in members]),
        logits=np.mean([member.logits for member in members], axis=0),
        disguised=np.mean([member.disguised for member in members], axis=0),
        commits=tuple(commit for member in members for commit in member.commits),
        members=tuple(members),
    )


def cross_validate(plan: Plan) -> FloatArray:
    """Return out-of-fold logits (N, L), and fit nothing else."""
    _fit_missing(plan, and_everything=False)
    found = [fits.out_of_fold()[0] for _, fits in _each_member(plan)]
    logits: FloatArray = np.mean(found, axis=0)
    return logits


def _each_member(plan: Plan) -> Iterator[tuple[PooledClassifier, Fits]]:
    """Yield each member's network and its fits, whose tail is a part of that network.

    Each has a seed of its own, and so its own copies and draws of the images: what members get
    wrong together, their mean does, too.
    """
    options, outputs = plan.options, len(plan.keys)
    for place, member in enumerate(options.members):
        recipe = plan.recipe_of(place)
        torch.manual_seed(recipe.seed)
        if member.pretrained:
            network = pretrained(member.backbone, outputs, options.data / "weights")
        else:
            network = build(member.backbone, outputs)
        yield network, _fits(plan, member, network, recipe)


def _fits(plan: Plan, member: Member, network: PooledClassifier, recipe: Recipe) -> Fits:
    options, material = plan.options, plan.material
    cut = member.frozen
    stages = nn.Identity() if cut == len(network.features) else network.features[cut:]
    device = choose_device(options.device, "auto")
    told = _told(plan, member, recipe, device)
    of_bank = {key: told[key] for key in _OF_BANK}

    @functools.cache
    def bank() -> StemBank:
        return StemBank(
            network.features[:cut],
            material.squares,
            plan.augmentation,
            variants=options.variants,
            seed=recipe.seed,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            device=device,
            kept=BANKS / _digest(of_bank),
        )

    return Fits(
        name=str(member),
        tail=Tail(stages, network.head),
        bank=bank,
        targets=material.targets,
        folds=material.folds,
        recipe=recipe,
        kept=run_folder(told),
        device=device,
        wanted=plan.wanted,
        boxes=material.boxes,
    )


def _digest(told: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def _code_of(modules: tuple[str, ...]) -> str:
    """Return what changes when the code of `modules` does."""
    code = "".join(inspect.getsource(import_module(module)) for module in modules)
    return hashlib.sha256(code.encode()).hexdigest()


def start_sha256(member: Member, data: Path) -> str:
    """Return the sha256 of the weights that a member starts from; nothing where it has none."""
    if not member.pretrained:
        return ""
    file = data / "weights" / BACKBONES[member.backbone].file
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _told(plan: Plan, member: Member, recipe: Recipe, device: Device) -> dict[str, Any]:
    """Return what makes two runs the same: data, options, processor and the code of the numbers.

    Where they write and the threads do not count.
    """
    options, material = plan.options, plan.material
    told: dict[str, Any] = {
        "size": options.size,
        "variants": options.variants,
        "seed": recipe.seed,
        "backbone": member.backbone,
        "frozen": member.frozen,
        "start": start_sha256(member, options.data),
        "keys": plan.keys,
        "images": [str(sample.path) for sample in material.samples],
        "pixels": hashlib.sha256(material.squares.pixels.data).hexdigest(),
        "copies": _code_of(_CODE_OF_COPIES),
        "folds": hashlib.sha256(material.folds.tobytes()).hexdigest(),
        "fits": _code_of((*_CODE_OF_FITS, plan.wanted.__module__)),
        "targets": hashlib.sha256(material.targets.tobytes()).hexdigest(),
        "boxes": material.boxes if recipe.schedule.pointing else {},
        "recipe": asdict(recipe),
        "device": [device.name, device.precision_name],
        "augmentation": asdict(plan.augmentation),
    }
    decoded: dict[str, Any] = json.loads(json.dumps(told))
    return decoded
