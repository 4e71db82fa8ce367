"""What a manifest says of how a shipped model was made, and of what."""

import hashlib
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from inference.evaluation.loaded import Loaded
from inference.training.backbones import BACKBONES
from inference.training.device import choose_device
from inference.training.samples import Squares, list_sha256
from inference.training.shipped.options import Options, command_line
from inference.training.shipped.run import Material, Plan, Trained, start_sha256


def training_section(program: str, plan: Plan, trained: Trained) -> dict[str, Any]:
    """Return the manifest's ``training`` section."""
    device = choose_device(plan.options.device, "auto")
    return {
        "command": command_line(program, plan.options),
        "seed": plan.options.seed,
        "device": device.name,
        "precision": device.precision_name,
        "date": datetime.now(tz=UTC).date().isoformat(),
        "members": [
            {
                "network": member.backbone,
                "learned_before": member.learned_before,
                "frozen_stages": member.frozen,
                "seed": plan.recipe_of(place).seed,
                "start_sha256": start_sha256(member, plan.options.data),
                "commit": commit,
                "recipe": asdict(plan.recipe_of(place)),
            }
            for place, (member, commit) in enumerate(
                zip(plan.options.members, trained.commits, strict=True)
            )
        ],
    }


def terms_of_starts(options: Options) -> str:
    """Return the terms of the weights that the members started from."""
    return "; ".join(f"{start}: {BACKBONES[start].terms}" for start in _starts(options))


def _starts(options: Options) -> list[str]:
    """Return the backbones whose weights members started from, each once."""
    return list(dict.fromkeys(m.backbone for m in options.members if m.pretrained))


def storage_difference(trained: Trained, stored: Loaded, squares: Squares) -> float:
    """Return the largest change of a probability that float16 storage makes, on 64 images."""
    exact = Loaded(manifest=stored.manifest, network=trained.network)
    rows = np.linspace(0, len(squares) - 1, 64).astype(int)
    first = exact.probabilities(exact.logits(squares.pixels[rows]))
    second = stored.probabilities(stored.logits(squares.pixels[rows]))
    return float(np.abs(first - second).max())


def data_section(
    options: Options,
    material: Material,
    sources: list[dict[str, str]],
    tables: tuple[Path, ...],
) -> dict[str, Any]:
    """Return the manifest's ``data`` section: sources, terms, sha256 of images and labels.

    Parameters
    ----------
    options : Options
    material : Material
    sources : list of dict
        Name, terms and labels of each source.
    tables : tuple of Path
        What labels were read from, in the data folder; our own are in the code that the commit
        names.
    """
    used = [s for s in material.samples if s.source != "drawn"]
    counts: dict[str, int] = {}
    for sample in material.samples + material.held_out:
        name = f"{sample.source}{' (held out)' if sample.held_out else ''}"
        counts[name] = counts.get(name, 0) + 1
    started = [
        {
            "name": f"Weights that {start} started from",
            "terms": BACKBONES[start].terms,
            "labels": f"none used here; it had learned from {BACKBONES[start].learned_from}",
        }
        for start in _starts(options)
    ]
    return {
        "sources": [*sources, *started],
        "images": counts,
        "training_list_sha256": list_sha256(options.data, used),
        "tables_sha256": tables_sha256(options.data, tables),
        "training_list_form": "sorted lines of '<sha256 of the file>  <path in the data folder>'",
    }


def tables_sha256(data: Path, tables: tuple[Path, ...]) -> dict[str, str]:
    """Return the sha256 of each of the `tables` in the data folder, by its path there."""
    return {str(table): hashlib.sha256((data / table).read_bytes()).hexdigest() for table in tables}
