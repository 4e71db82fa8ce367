"""Print a model card from a manifest: ``python -m inference.evaluation.card``.

Everything in a card comes from ``model.yaml`` and the fixed words here, so a card cannot say
other numbers than the model it stands beside.
"""

import argparse
from pathlib import Path
from typing import Any

from inference.evaluation.card_text import INTRODUCTIONS, LIMITS
from inference.manifest import ModelManifest, read_manifest
from inference.types import Task

PRINTED_BY = "python -m inference.evaluation.card --model inference/models/{folder}"


def write_card(folder: Path, card: Path) -> None:
    """Write the model card of a model folder to `card`."""
    card.parent.mkdir(parents=True, exist_ok=True)
    card.write_text(render_card(folder), encoding="utf-8")


def render_card(folder: Path) -> str:
    """Return the model card of a model folder, as Markdown."""
    manifest = read_manifest(folder)
    command = PRINTED_BY.format(folder=folder.name)
    if manifest.task is Task.BODY_PART:
        measured = _bodypart_metrics(manifest.metrics)
    else:
        measured = _chest_metrics(manifest)
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
        f"`model.yaml` by the training command and are recomputed by "
        f"`{manifest.metrics.get('command', '')}`.",
    ]
    return "\n\n".join(sections) + "\n"


def _facts(manifest: ModelManifest) -> str:
    training, spec = manifest.training, manifest.input
    changed = manifest.metrics.get("float16_difference", "an unmeasured amount")
    rows = [
        ("Task", manifest.task.value),
        ("Network", f"{manifest.architecture}, {len(manifest.labels)} outputs"),
        ("Input", f"{spec.size} x {spec.size}, recipe {spec.preprocessing}"),
        ("Weights", f"sha256 `{manifest.weights_sha256}`"),
        ("Storage", f"matrices as float16: probabilities differ by {changed} at most"),
        ("Start", f"{training['backbone']}; first {training['frozen_stages']} stages frozen"),
        ("Trained", f"{training['date']}, seed {training['seed']}, code `{training['commit']}`"),
        ("Command", f"`{training['command']}`"),
        ("Licence", manifest.licence),
    ]
    return _table(("", ""), rows)


def _data(data: dict[str, Any]) -> str:
    sources = [(s["name"], s["terms"], s["labels"]) for s in data["sources"]]
    counts = ", ".join(f"{name} {count}" for name, count in data["images"].items())
    return "\n\n".join(
        [
            _table(("Source", "Terms as stated", "Labels"), sources),
            f"Images: {counts}.",
            f"sha256 of the training list ({data['training_list_form']}): "
            f"`{data['training_list_sha256']}`.",
        ]
    )


def _bodypart_metrics(metrics: dict[str, Any]) -> list[str]:
    cross, verdict, held = metrics["cross_validation"], metrics["verdict"], metrics["held_out"]
    scores = [
        (f"{name}, {cross['folds']}-fold cross-validation", *_region_row(cross[key]))
        for name, key in (
            ("UNIFESP", "unifesp"),
            ("UNIFESP without *Others*-only", "unifesp_without_others"),
            ("Limbs, train split", "limbs"),
        )
    ]
    scores += [
        ("Limbs, eval split (held out)", *_region_row(held["limbs_eval"])),
        ("NIH chests, eval split (held out)", *_region_row(held["nih_eval"])),
    ]
    classes = [
        (key, c["images"], *(f"{c[k]:.2f}" for k in ("precision", "recall", "f1")), _auc(c["auc"]))
        for key, c in cross["classes"].items()
    ]
    return [
        "## Which region",
        "Top-1 counts an image as right when the highest output is one of its labels. Folds "
        "keep a patient's images together.",
        _table(("Images", "Number", "Top-1 (95 %)", "or unlabelled neighbour", "Macro F1"), scores),
        _chest_text(cross["unifesp_chest_recall"]),
        "Per output, cross-validation over all sources, at the region threshold "
        f"{verdict['present_at']}. Classes with few images have wide, unprinted errors:",
        _table(("Output", "Images", "Precision", "Recall", "F1", "AUC"), classes),
        "Confusions, UNIFESP, cross-validation (highest output per true label, most frequent "
        "first; an image that shows several regions is right when it names any of them):",
        _table(("True label", "Highest output"), _confusion_rows(cross["confusion_unifesp"])),
        "## Ordered against shown",
        _verdict_text(verdict),
        "## Gate of the chest model",
        _gate_text(metrics["frontal_gate"]),
    ]


def _region_row(score: dict[str, Any]) -> tuple[str, ...]:
    low, high = score["top1_in_label_set_95"]
    return (
        str(score["images"]),
        f"{score['top1_in_label_set']:.3f} ({low:.3f} to {high:.3f})",
        f"{score['top1_in_label_set_or_neighbour']:.3f}",
        f"{score['macro_f1_of_top1']:.3f} ({score['classes_present']} classes)",
    )


def _chest_text(recall: dict[str, Any]) -> str:
    low, high = recall["at_threshold_95"]
    return (
        f"Of {recall['images']} UNIFESP chests of any view, {_percent(recall['at_threshold'])} "
        f"({_percent(low)} to {_percent(high)}) reach the threshold of *Chest*, and for "
        f"{_percent(recall['top1'])} it is the highest output (cross-validation)."
    )


def _confusion_rows(table: dict[str, dict[str, int]]) -> list[tuple[str, str]]:
    return [(key, ", ".join(f"{k} {v}" for k, v in row.items())) for key, row in table.items()]


def _verdict_text(verdict: dict[str, Any]) -> str:
    rows = [("thresholds chosen on the same predictions", *_rates(verdict["chosen_on_all"]))]
    for index, rates in enumerate(verdict["left_out"]):
        rows.append((f"chosen on one half, counted on the other ({index + 1})", *_rates(rates)))
    return "\n\n".join(
        [
            f"Every region is *present* at {verdict['present_at']} and *absent* below "
            f"{verdict['absent_below']}. Out-of-fold predictions of UNIFESP and limbs images, "
            "each filed under every region it shows (correct), then under the region of a "
            "randomly drawn other image (swapped):",
            _table(
                ("", "Correct: flagged (95 %)", "Correct: match", "Swapped: flagged",
                 "Swapped: called match"),
                rows,
            ),
            "What is neither match nor mismatch is *uncertain* and goes to a person.",
        ]
    )  # fmt: skip


def _rates(rates: dict[str, Any]) -> tuple[str, ...]:
    low, high = rates["correctly_filed_flagged_95"]
    return (
        f"{_percent(rates['correctly_filed_flagged'])} of {rates['correctly_filed']} "
        f"({_percent(low)} to {_percent(high)})",
        _percent(rates["correctly_filed_match"]),
        f"{_percent(rates['swapped_flagged'])} of {rates['swapped']}",
        _percent(rates["swapped_called_match"]),
    )


def _gate_text(gate: dict[str, Any]) -> str:
    rows = [
        (
            name.replace("_", " "),
            gate[name]["images"],
            f"{_percent(gate[name]['pass'])} "
            f"({_percent(gate[name]['pass_95'][0])} to {_percent(gate[name]['pass_95'][1])})",
        )
        for name in ("frontal", "chest_other_view", "no_chest")
    ]
    return "\n\n".join(
        [
            f"*FrontalChest* at {gate['at_least']} or above lets an image through. The views of "
            "UNIFESP and limbs chests were read by us from contact sheets, not by a radiologist.",
            _table(("True view", "Images", "Pass (95 %)"), rows),
        ]
    )


def _chest_metrics(manifest: ModelManifest) -> list[str]:
    held, cross = manifest.metrics["held_out"], manifest.metrics["cross_validation"]
    rows = []
    for label in manifest.labels:
        score, inner = held["findings"][label.key], cross["findings"][label.key]
        low, high = score["auc_95"]
        point = label.operating_point
        rows.append(
            (
                label.key,
                score["present"],
                f"{score['auc']:.3f} ({low:.3f} to {high:.3f})",
                f"{inner['auc']:.3f}",
                f"{score['calibration_error']:.3f}",
                f"{point.present_at:.3f}" if point else "",
                "yes" if label.reported else "no",
            )
        )
    held_back = [x for x in manifest.labels if not x.reported]
    reasons = [f"- {label.key}: {label.not_reported_because}." for label in held_back]
    return [
        "## How well",
        f"Mean AUC {held['mean_auc']:.3f} on {held['images']} held-out images of patients that "
        f"no training image shows; {cross['mean_auc']:.3f} in cross-validation over "
        f"{cross['images']} training images. Intervals: 95 %, patients drawn with replacement.",
        _table(
            ("Finding", "Present", "AUC held out (95 %)", "AUC cross-validation",
             "Calibration error", "Present at", "Reported"),
            rows,
        ),
        "Not reported (kept in the audit):" if reasons else "Every finding is reported.",
        "\n".join(reasons),
        "## Heat maps",
        "How often the highest cell of a finding's map lies inside a box that a radiologist drew "
        "(held-out images that have boxes), beside the share of the image that the boxes cover:",
        _table(("Finding", "Images", "Hits (95 %)", "Chance"), _map_rows(manifest.metrics)),
    ]  # fmt: skip


def _map_rows(metrics: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [
        (
            key,
            score["images"],
            f"{_percent(score['hits'])} "
            f"({_percent(score['hits_95'][0])} to {_percent(score['hits_95'][1])})",
            _percent(score["chance"]),
        )
        for key, score in metrics["heat_maps"].items()
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _auc(value: float) -> str:
    return f"{value:.3f}"


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def main() -> None:
    """Print or write a card."""
    parser = argparse.ArgumentParser(prog="python -m inference.evaluation.card")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.out:
        write_card(arguments.model, arguments.out)
    else:
        print(render_card(arguments.model))


if __name__ == "__main__":
    main()
