"""Train the body part network: ``python -m inference.training.bodypart``."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.evaluation.card import write_card
from inference.evaluation.heldout import bodypart_held_out, class_table, confusion, region_scores
from inference.evaluation.loaded import load_model
from inference.evaluation.metrics import share_interval
from inference.evaluation.verdict import Thresholds, choose_thresholds, verdict_rates
from inference.manifest import InputSpec, Label, ModelManifest, OperatingPoint
from inference.preprocess import RECIPE
from inference.training.augment import Augmentation
from inference.training.backbones import IMAGENET_MEAN, IMAGENET_STD, TERMS
from inference.training.calibrate import Calibration, fit_calibration
from inference.training.crossval import Recipe
from inference.training.export import LICENCE_RESEARCH, plain, write_manifest, write_weights
from inference.training.filing import filing_trials
from inference.training.folds import group_folds
from inference.training.labels import (
    BODYPART_KEYS,
    FRONTAL_CHEST,
    NOT_OURS,
    OTHERS,
    REGIONS,
)
from inference.training.loop import FloatArray, Schedule
from inference.training.options import Options, parse_options
from inference.training.outoffold import OutOfFold, keep
from inference.training.samples import Sample, Squares, load_squares, target_matrix
from inference.training.sources_bodypart import SOURCES, bodypart_samples, region_targets
from inference.training.synthetic import synthetic_squares
from inference.training.workbench import (
    Material,
    Trained,
    data_section,
    storage_difference,
    train,
    training_section,
)
from inference.types import Task

FOLDS = 5
SYNTHETIC = 120
AUGMENTATION = Augmentation(
    rotate_degrees=20,
    zoom=(0.8, 1.35),
    shift=0.1,
    quarter_turns=0.08,
    invert=0.25,
    blur=0.2,
    contrast=0.35,
)
CHECK = (
    "python -m inference.evaluation.check --model inference/models/bodypart --data ../shared/data"
)


def training_list(data: Path, seed: int) -> tuple[list[Sample], NDArray[np.int64]]:
    """Return what is trained on, drawn images at the end, and the fold of each."""
    samples = [s for s in bodypart_samples(data, seed=seed) if not s.held_out]
    nothing = region_targets({NOT_OURS})
    samples += [
        Sample(path=Path(f"drawn/{i}"), targets=nothing, group=f"drawn-{i}", source="drawn")
        for i in range(SYNTHETIC)
    ]
    return samples, group_folds([s.group for s in samples], folds=FOLDS, seed=seed)


def gather(options: Options) -> Material:
    """Load the images and draw the ones that are no radiograph."""
    held_out = [s for s in bodypart_samples(options.data, seed=options.seed) if s.held_out]
    samples, folds = training_list(options.data, options.seed)
    loaded = load_squares(options.data, samples[:-SYNTHETIC], size=options.size)
    drawn = synthetic_squares(SYNTHETIC, size=options.size, seed=options.seed)
    squares = Squares(
        pixels=np.concatenate([loaded.pixels, drawn.pixels]),
        boxes=np.concatenate([loaded.boxes, drawn.boxes]),
    )
    targets = target_matrix(samples, BODYPART_KEYS)
    return Material(
        samples=samples, squares=squares, targets=targets, folds=folds, held_out=held_out
    )


def main() -> None:
    """Cross-validate, fit on everything that is not held out, and write the model folder."""
    options = parse_options(
        "bodypart", model="bodypart", size=224, epochs=8, variants=8, version="1.0.0"
    )
    material = gather(options)
    print(f"{len(material.samples)} images, {len(material.held_out)} held out", flush=True)
    recipe = Recipe(schedule=Schedule(epochs=options.epochs), seed=options.seed)
    trained = train(material, BODYPART_KEYS, options, recipe, AUGMENTATION)
    publish(material, trained, options, recipe)


def publish(material: Material, trained: Trained, options: Options, recipe: Recipe) -> None:
    """Calibrate, choose thresholds, write weights, manifest and card."""
    samples, targets = material.samples, material.targets
    calibration = fit_calibration(trained.logits, targets)
    probabilities = calibration(trained.logits)
    points = auxiliary_points(probabilities, targets)
    correct, wrong = filing_trials(probabilities, targets, samples, points[NOT_OURS].present_at)
    pair = choose_thresholds(correct, wrong)
    print(f"thresholds {pair}", flush=True)
    manifest = ModelManifest(
        name="bodypart",
        version=options.version,
        task=Task.BODY_PART,
        architecture=options.backbone,
        description="Which body regions a radiograph shows, or that it is none of ours.",
        licence=LICENCE_RESEARCH.format(backbone_terms=TERMS[options.backbone]),
        input=InputSpec(
            size=options.size, mean=IMAGENET_MEAN, std=IMAGENET_STD, preprocessing=RECIPE
        ),
        labels=bodypart_labels(calibration, pair, points),
        data=plain(data_section(options, material, SOURCES)),
        metrics={
            "cross_validation": plain(cross_validation(probabilities, targets, samples, pair)),
            "verdict": plain(verdict_section(probabilities, targets, samples, points, pair)),
            "frontal_gate": plain(gate_section(probabilities, targets, points[FRONTAL_CHEST])),
        },
        training=plain(training_section("bodypart", options, recipe, trained.commit)),
        weights_sha256=write_weights(options.out, trained.network),
    )
    write_manifest(options.out, manifest)
    keep(
        OutOfFold(
            logits=trained.logits,
            paths=tuple(str(sample.path) for sample in samples),
            folds=material.folds,
            weights_sha256=manifest.weights_sha256,
        )
    )
    stored = load_model(options.out)
    held_out = plain(bodypart_held_out(stored, options.data))
    difference = round(storage_difference(trained, stored, material.squares), 6)
    metrics = {**manifest.metrics, "held_out": held_out, "command": CHECK}
    metrics["float16_difference"] = difference
    write_manifest(options.out, manifest.model_copy(update={"metrics": metrics}))
    write_card(options.out, options.card)
    print(f"held out: {held_out}", flush=True)


def auxiliary_points(
    probabilities: NDArray[np.float64], targets: FloatArray
) -> dict[str, OperatingPoint]:
    """Return the operating points of NotOurs and FrontalChest.

    NotOurs is present where at most 0.5 % of radiographs reach; FrontalChest where at most
    1 % of frontal chests fall short, but never below one half.
    """
    ours = targets[:, BODYPART_KEYS.index(NOT_OURS)] < 0.5
    strange = probabilities[ours, BODYPART_KEYS.index(NOT_OURS)]
    column = BODYPART_KEYS.index(FRONTAL_CHEST)
    frontal = probabilities[np.nan_to_num(targets[:, column]) >= 0.5, column]
    not_ours_at = round(min(0.95, max(0.5, float(np.quantile(strange, 0.995)))), 4)
    frontal_at = round(min(0.9, max(0.5, float(np.quantile(frontal, 0.01)))), 4)
    return {
        NOT_OURS: OperatingPoint(present_at=not_ours_at, absent_below=not_ours_at / 2),
        FRONTAL_CHEST: OperatingPoint(present_at=frontal_at, absent_below=frontal_at / 2),
    }


def bodypart_labels(
    calibration: Calibration, pair: Thresholds, points: dict[str, OperatingPoint]
) -> tuple[Label, ...]:
    """Return the labels of the manifest, in the order of the network's output."""
    regions = {region.key: region for region in REGIONS}
    common = OperatingPoint(present_at=pair.present_at, absent_below=pair.absent_below)
    labels = []
    for column, key in enumerate(BODYPART_KEYS):
        shared: dict[str, Any] = {
            "key": key,
            "temperature": float(calibration.temperature[column]),
            "bias": float(calibration.bias[column]),
        }
        if key in regions:
            region = regions[key]
            shared |= {
                "role": "region",
                "code": region.code,
                "body_part_examined": region.body_part_examined,
                "operating_point": common,
            }
        elif key == OTHERS:
            reason = "a mixed class (contrast studies, bone densitometry, composites), no region"
            shared |= {"role": "auxiliary", "reported": False, "not_reported_because": reason}
        elif key == NOT_OURS:
            shared |= {"role": "not_ours", "operating_point": points[key]}
        else:
            reason = "opens the gate of the chest findings model; no finding of its own"
            shared |= {"role": "auxiliary", "operating_point": points[key], "reported": False}
            shared["not_reported_because"] = reason
        labels.append(Label(**shared))
    return tuple(labels)


def cross_validation(
    probabilities: NDArray[np.float64],
    targets: FloatArray,
    samples: list[Sample],
    pair: Thresholds,
) -> dict[str, Any]:
    """Return the out-of-fold scores, on UNIFESP alone and on everything."""
    unifesp = np.array([s.source == "unifesp" for s in samples])
    regions = targets[:, : BODYPART_KEYS.index(OTHERS)]
    named = unifesp & (np.nan_to_num(regions) >= 0.5).any(axis=1)
    limbs = np.array([s.source == "limbs" for s in samples])
    thresholds = [pair.present_at] * len(BODYPART_KEYS)
    return {
        "folds": FOLDS,
        "unifesp": region_scores(probabilities[unifesp], targets[unifesp]),
        "unifesp_without_others": region_scores(probabilities[named], targets[named]),
        "limbs": region_scores(probabilities[limbs], targets[limbs]),
        "all": region_scores(probabilities, targets),
        "unifesp_chest_recall": chest_recall(probabilities[unifesp], targets[unifesp], pair),
        "classes": class_table(probabilities, targets, thresholds),
        "confusion_unifesp": confusion(probabilities[unifesp], targets[unifesp]),
    }


def chest_recall(
    probabilities: NDArray[np.float64], targets: FloatArray, pair: Thresholds
) -> dict[str, Any]:
    """Return how many chests are recognised as chests: at the threshold, and by top-1."""
    column = BODYPART_KEYS.index("Chest")
    rows = np.nan_to_num(targets[:, column]) >= 0.5
    regions = probabilities[rows, : BODYPART_KEYS.index(FRONTAL_CHEST)]
    found = int((regions[:, column] >= pair.present_at).sum())
    return {
        "images": len(regions),
        "at_threshold": found / len(regions),
        "at_threshold_95": list(share_interval(found, len(regions))),
        "top1": float((regions.argmax(axis=1) == column).mean()),
    }


def verdict_section(
    probabilities: NDArray[np.float64],
    targets: FloatArray,
    samples: list[Sample],
    points: dict[str, OperatingPoint],
    pair: Thresholds,
) -> dict[str, Any]:
    """Return the two rates of the mismatch verdict, as chosen and on folds left out.

    The pair is chosen on all out-of-fold predictions; ``left_out`` chooses it without one
    half of the groups and counts on that half, which shows how much the choice flatters.
    """
    strange = points[NOT_OURS].present_at
    correct, wrong = filing_trials(probabilities, targets, samples, strange)
    half = group_folds([s.group for s in samples], folds=2, seed=7)
    left_out = []
    for side in (0, 1):
        rows, rest = half == side, half != side
        own = [s for s, use in zip(samples, rest, strict=True) if use]
        chosen = choose_thresholds(*filing_trials(probabilities[rest], targets[rest], own, strange))
        other = [s for s, use in zip(samples, rows, strict=True) if use]
        trials = filing_trials(probabilities[rows], targets[rows], other, strange)
        left_out.append(verdict_rates(*trials, chosen))
    return {
        "present_at": pair.present_at,
        "absent_below": pair.absent_below,
        "chosen_on_all": verdict_rates(correct, wrong, pair),
        "left_out": left_out,
    }


def gate_section(
    probabilities: NDArray[np.float64], targets: FloatArray, point: OperatingPoint
) -> dict[str, Any]:
    """Return how many frontal chests, other chests and other images pass the gate."""
    column = BODYPART_KEYS.index(FRONTAL_CHEST)
    passed = probabilities[:, column] >= point.present_at
    frontal = np.nan_to_num(targets[:, column]) >= 0.5
    other_view = (np.nan_to_num(targets[:, BODYPART_KEYS.index("Chest")]) >= 0.5) & (
        targets[:, column] == 0.0
    )
    elsewhere = (targets[:, column] == 0.0) & ~other_view
    result: dict[str, Any] = {"at_least": point.present_at}
    for name, rows in (
        ("frontal", frontal),
        ("chest_other_view", other_view),
        ("no_chest", elsewhere),
    ):
        count, total = int(passed[rows].sum()), int(rows.sum())
        result[name] = {"images": total, "pass": count / total}
        result[name]["pass_95"] = list(share_interval(count, total))
    return result


if __name__ == "__main__":
    main()
