"""Print a model card from a manifest: ``python -m inference.evaluation.shipped.card``.

Everything in a card comes from ``model.yaml`` and the fixed words here, so a card cannot say
other numbers than the model it stands beside.
"""

import argparse
from pathlib import Path
from typing import Any

from inference.evaluation.measures.curves import Bin, Curves
from inference.evaluation.reports.evaluate_figures import reliability_figure
from inference.evaluation.shipped.card_bodypart import bodypart_sections
from inference.evaluation.shipped.card_chest import chest_sections
from inference.evaluation.shipped.card_form import table
from inference.evaluation.shipped.card_text import INTRODUCTIONS, LIMITS
from inference.manifest import ModelManifest, read_manifest
from inference.types import Task

PRINTED_BY = "python -m inference.evaluation.shipped.card --model inference/models/{folder}"


def write_card(folder: Path, card: Path) -> None:
    """Write the model card of a model folder to `card`, its figure beside it."""
    card.parent.mkdir(parents=True, exist_ok=True)
    card.write_text(render_card(folder), encoding="utf-8")
    manifest = read_manifest(folder)
    if "reliability" in manifest.metrics:
        figure = card.with_name(f"{manifest.name}-reliability.svg")
        figure.write_text(_reliability_svg(manifest), encoding="utf-8")


def render_card(folder: Path) -> str:
    """Return the model card of a model folder, as Markdown."""
    manifest = read_manifest(folder)
    command = PRINTED_BY.format(folder=folder.name)
    if manifest.task is Task.BODY_PART:
        measured = bodypart_sections(manifest)
    else:
        measured = chest_sections(manifest)
    sections = [
        f"# {manifest.name} {manifest.version}",
        f"<!-- Printed by `{command} --out docs/models/{manifest.name}.md`; do not edit. -->",
        INTRODUCTIONS[manifest.task.value],
        _facts(manifest),
        "## Data",
        _data(manifest.data),
        *measured,
        "## Limits",
        LIMITS[manifest.task.value],
        "## Printed by",
        f"`{command} --out docs/models/{manifest.name}.md`. The metrics were written into "
        "`model.yaml` by the commands above, what simpler methods reach by `python -m "
        f"inference.training.shipped.baselines`; {_checked(manifest)} are recomputed by "
        f"`{manifest.metrics.get('command', '')}`.",
    ]
    return "\n\n".join(sections) + "\n"


def _checked(manifest: ModelManifest) -> str:
    subgroups = " and in subgroups" if "subgroups" in manifest.metrics else ""
    return f"scores on held-out images{subgroups}"


def _facts(manifest: ModelManifest) -> str:
    training, spec = manifest.training, manifest.input
    changed = manifest.metrics.get("float16_difference", "an unmeasured amount")
    by = " (as the training calibrated them)" if "recalibrated" in training else ""
    rows = [
        ("Task", manifest.task.value),
        ("Network", f"{manifest.architecture}, {len(manifest.labels)} outputs"),
        ("Input", f"{spec.size} x {spec.size}, recipe {spec.preprocessing}"),
        ("Weights", f"sha256 `{manifest.weights_sha256}`"),
        (
            "Storage",
            "matrices as float16: on 64 training images probabilities differ by "
            f"{changed} at most{by}",
        ),
        *(("Member", _member(member)) for member in training["members"]),
        ("Trained", f"{training['date']}, seed {training['seed']}, {training['precision']}"),
        (
            "Made again by, with the code of the members",
            " then ".join(_commands(training)),
        ),
        ("Licence", manifest.licence),
    ]
    return table(("", ""), rows)


def _commands(training: dict[str, Any]) -> list[str]:
    commands = [f"`{training['command']}`"]
    if "recalibrated" in training:
        by = f" (code `{training['recalibrated_by']}`)" if "recalibrated_by" in training else ""
        commands.append(f"`{training['recalibrated']}`{by}")
    return commands


def _member(member: dict[str, Any]) -> str:
    return (
        f"{member['network']}; what it started from had learned from "
        f"{member['learned_before']}; first {member['frozen_stages']} stages frozen; "
        f"{'head fitted first, then small rates; ' if _head_first(member) else ''}"
        f"seed {member['seed']}; code `{member['commit']}`"
    )


def _head_first(member: dict[str, Any]) -> bool:
    return bool(member.get("recipe", {}).get("head_first"))


def _data(data: dict[str, Any]) -> str:
    sources = [(s["name"], s["terms"], s["labels"]) for s in data["sources"]]
    counts = ", ".join(f"{name} {count}" for name, count in data["images"].items())
    return "\n\n".join(
        [
            table(("Source", "Terms as stated", "Labels"), sources),
            f"Images: {counts}.",
            f"sha256 of the training list ({data['training_list_form']}): "
            f"`{data['training_list_sha256']}`.",
            *_tables(data.get("tables_sha256", {})),
        ]
    )


def _tables(digests: dict[str, str]) -> list[str]:
    """Return the tables that labels were read from; nothing of a model that does not tell."""
    if not digests:
        return []
    return [
        table(
            ("Read for labels, boxes or answers of teachers", "sha256"),
            [(k, f"`{v}`") for k, v in digests.items()],
        )
    ]


def _reliability_svg(manifest: ModelManifest) -> str:
    findings = manifest.metrics["held_out"]["findings"]
    curves = [
        Curves(
            label=key,
            roc=(),
            precision_recall=(),
            reliability=tuple(Bin(**each) for each in bins),
            calibration_error=findings[key]["calibration_error"],
        )
        for key, bins in manifest.metrics["reliability"].items()
    ]
    return reliability_figure(curves).replace("currentColor", "#333333")


def main() -> None:
    """Print or write a card."""
    parser = argparse.ArgumentParser(prog="python -m inference.evaluation.shipped.card")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.out:
        write_card(arguments.model, arguments.out)
    else:
        print(render_card(arguments.model))


if __name__ == "__main__":
    main()
