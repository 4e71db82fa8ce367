"""The command line that both training commands share."""

import argparse
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from audit.errors import InvalidConfiguration
from inference.architectures import ARCHITECTURES, BESIDE, build
from inference.datafolder import DATA_FOLDER, data_folder
from inference.manifest import VERSION
from inference.training.backbones import BACKBONES
from inference.training.device import choose_device


@dataclass(frozen=True, slots=True)
class Member:
    """One of the networks that are trained alone and answer together."""

    backbone: str
    frozen: int
    """Leading feature stages that stay as they are."""

    @property
    def pretrained(self) -> bool:
        """Whether there are weights to start from; else it starts from random ones."""
        return self.backbone in BACKBONES

    @property
    def learned_before(self) -> str:
        """What the weights that it starts from were learned from."""
        return BACKBONES[self.backbone].learned_from if self.pretrained else "nothing"

    def __str__(self) -> str:
        return f"{self.backbone}:{self.frozen}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a training command was told."""

    data: Path
    out: Path
    card: Path
    size: int
    epochs: int
    variants: int
    members: tuple[Member, ...]
    seed: int
    threads: int
    device: str
    version: str

    @property
    def architecture(self) -> str:
        """The name of the network that the members make together."""
        return BESIDE.join(member.backbone for member in self.members)


def parse_options(
    program: str,
    *,
    members: str,
    size: int,
    epochs: int,
    variants: int,
    model: str = "",
    seed: int = 20261120,
    version: str = "0.0.0",
) -> Options:
    """Read the command line; the arguments here are the defaults.

    Without a `model` nothing is published, and the command line does not say where.
    """
    parser = argparse.ArgumentParser(prog=f"python -m inference.training.shipped.{program}")
    parser.add_argument("--data", type=Path, default=data_folder(), help="folder of the images")
    if model:
        out, card = Path("inference/models") / model, Path("docs/models") / f"{model}.md"
        parser.add_argument("--out", type=Path, default=out, help="folder of the model")
        parser.add_argument("--card", type=Path, default=card, help="file of its card")
        parser.add_argument(
            "--version", type=version_of, default=version, help="written to model.yaml"
        )
    else:
        parser.set_defaults(out=Path(), card=Path(), version=version)
    parser.add_argument("--size", type=at_least(32), default=size, help="side of the input, pixels")
    parser.add_argument("--epochs", type=at_least(1), default=epochs)
    parser.add_argument(
        "--variants", type=at_least(1), default=variants, help="changed copies per image"
    )
    parser.add_argument(
        "--members",
        type=members_of,
        default=members,
        metavar="NAME:N,...",
        help=f"networks that are trained alone and answer together, each with the number of its "
        f"leading stages that stay as they are (default {members})",
    )
    parser.add_argument("--seed", type=int, default=seed)
    parser.add_argument(
        "--threads",
        type=at_least(1),
        default=2,
        help="threads; as many fits are made at once (default 2)",
    )
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="where the fits are made; auto takes CUDA where there is one",
    )
    options = Options(**vars(parser.parse_args()))
    try:
        choose_device(options.device, "auto")
    except InvalidConfiguration as error:
        parser.error(str(error))
    if not options.data.is_dir():
        parser.error(f"--data {options.data}: no such folder")
    torch.set_num_threads(options.threads)
    return options


def command_line(program: str, options: Options) -> str:
    """Return the command that trains the same model again, paths as defaults."""
    return (
        f"python -m inference.training.shipped.{program} --data {DATA_FOLDER} "
        f"--size {options.size} --epochs {options.epochs} --variants {options.variants} "
        f"--members {','.join(map(str, options.members))} --seed {options.seed} "
        f"--version {options.version}"
    )


def at_least(least: int) -> Callable[[str], int]:
    """Return a reader of whole numbers that refuses smaller ones."""

    def number(text: str) -> int:
        if (value := int(text)) < least:
            raise argparse.ArgumentTypeError(f"{value} is less than {least}")
        return value

    return number


def version_of(text: str) -> str:
    """Return the version that `text` is.

    Raises
    ------
    argparse.ArgumentTypeError
        When it is not of the form that a manifest takes.
    """
    if not re.fullmatch(VERSION, text):
        raise argparse.ArgumentTypeError("a version is three numbers, such as 1.0.1")
    return text


def members_of(text: str) -> tuple[Member, ...]:
    """Return the members that ``NAME:N,NAME:N`` names.

    Raises
    ------
    argparse.ArgumentTypeError
        When a name is no architecture, N not a number of its stages that can stay, or the
        networks cannot stand side by side.
    """
    members = []
    for part in text.split(","):
        name, _, frozen = part.partition(":")
        if name not in ARCHITECTURES or not frozen.isdecimal():
            known = ", ".join(sorted(ARCHITECTURES))
            raise argparse.ArgumentTypeError(f"{part!r} is not NAME:N with NAME of {known}")
        member = Member(name, int(frozen))
        most = len(build(name, 1).features) if member.pretrained else 0
        if member.frozen > most:
            raise argparse.ArgumentTypeError(
                f"{part!r}: at most {most} stages can stay as they are"
            )
        members.append(member)
    try:
        build(BESIDE.join(member.backbone for member in members), 1)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return tuple(members)
