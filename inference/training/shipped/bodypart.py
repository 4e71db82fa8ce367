"""Train the body part network: ``python -m inference.training.shipped.bodypart``."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.datafolder import DATA_FOLDER
from inference.evaluation.loaded import load_model
from inference.evaluation.measures.verdict import Thresholds, choose_thresholds
from inference.evaluation.shipped.card import write_card
from inference.evaluation.shipped.heldout import bodypart_held_out
from inference.manifest import InputSpec, Label, ModelManifest, OperatingPoint
from inference.preprocess import RECIPE
from inference.training.augment import Augmentation, probe
from inference.training.backbones import IMAGENET_MEAN, IMAGENET_STD
from inference.training.calibrate import Calibration, calibrated_apart, fit_calibration
from inference.training.export import (
    LICENCE_RESEARCH,
    plain,
    take_place,
    write_manifest,
    write_weights,
)
from inference.training.folds import NO_FOLD, group_folds
from inference.training.samples import FloatArray, Sample, Squares, load_squares, target_matrix
from inference.training.shipped.bodypart_scores import FOLDS, by_source, disguised_section, measured
from inference.training.shipped.crossval import Recipe
from inference.training.shipped.filing import filing_trials
from inference.training.shipped.labels import (
    BODYPART_KEYS,
    FRONTAL_CHEST,
    INVERTED,
    NOT_OURS,
    OTHERS,
    REGIONS,
    TURNED,
)
from inference.training.shipped.loop import Schedule
from inference.training.shipped.options import Options, parse_options
from inference.training.shipped.outoffold import OUT_OF_FOLD, OutOfFold, keep
from inference.training.shipped.run import Material, Plan, Trained, train
from inference.training.shipped.sections import (
    data_section,
    storage_difference,
    terms_of_starts,
    training_section,
)
from inference.training.shipped.sources_bodypart import (
    SOURCES,
    TABLES,
    bodypart_samples,
    disguised_targets,
    read_samples,
    region_targets,
)
from inference.training.shipped.synthetic import synthetic_squares
from inference.types import Task

SYNTHETIC = 120
ALIKE = BODYPART_KEYS.index(FRONTAL_CHEST)
"""Outputs of which an image mostly shows one: regions, *Others* and *NotOurs*."""

AUGMENTATION = Augmentation(
    rotate_degrees=20,
    zoom=(0.8, 1.35),
    shift=0.1,
    shear_degrees=8,
    quarter_turns=0.08,
    invert=0.25,
    blur=0.2,
    contrast=0.35,
)
CHECK = (
    "python -m inference.evaluation.shipped.check --model inference/models/bodypart "
    f"--data {DATA_FOLDER}"
)


def training_list(data: Path, seed: int) -> tuple[list[Sample], NDArray[np.int64]]:
    """Return what is trained on and scored, drawn images at the end, and the fold of each."""
    samples = [s for s in bodypart_samples(data, seed=seed) if not s.held_out]
    nothing = region_targets({NOT_OURS})
    samples += [
        Sample(path=Path(f"drawn/{i}"), targets=nothing, group=f"drawn-{i}", source="drawn")
        for i in range(SYNTHETIC)
    ]
    return samples, group_folds([s.group for s in samples], folds=FOLDS, seed=seed)


def gather(options: Options) -> Material:
    """Load the images and draw the ones that are no radiograph.

    Those that we read ourselves train with the rest but are never scored.
    """
    held_out = [s for s in bodypart_samples(options.data, seed=options.seed) if s.held_out]
    scored, folds = training_list(options.data, options.seed)
    read = read_samples()
    parts = [
        load_squares(options.data, scored[:-SYNTHETIC], size=options.size),
        synthetic_squares(SYNTHETIC, size=options.size, seed=options.seed),
        load_squares(options.data, read, size=options.size),
    ]
    squares = Squares(
        pixels=np.concatenate([part.pixels for part in parts]),
        boxes=np.concatenate([part.boxes for part in parts]),
    )
    samples = scored + read
    return Material(
        samples=samples,
        squares=squares,
        targets=target_matrix(samples, BODYPART_KEYS),
        folds=np.append(folds, np.full(len(read), NO_FOLD)),
        held_out=held_out,
    )


def main() -> None:
    """Cross-validate, fit on everything that is not held out, and write the model folder."""
    options = parse_options(
        "bodypart",
        model="bodypart",
        members="mobilenet_v2:4,efficientnet_lite0:9",
        size=224,
        epochs=8,
        variants=8,
        version="0.6.1",
    )
    plan = bodypart_plan(options)
    publish(plan, train(plan))


def bodypart_plan(options: Options) -> Plan:
    """Return what the shipped model is trained on and how, by the command line's options."""
    material = gather(options)
    print(f"{len(material.samples)} images, {len(material.held_out)} held out", flush=True)
    recipe = Recipe(
        schedule=Schedule(epochs=options.epochs, fold_norms=True),
        exclusive=ALIKE,
        seed=options.seed,
    )
    return Plan(
        material=material,
        keys=BODYPART_KEYS,
        options=options,
        recipe=recipe,
        augmentation=AUGMENTATION,
        wanted=disguised_targets,
    )


def publish(plan: Plan, trained: Trained) -> None:
    """Calibrate, choose thresholds, write weights, manifest and card."""
    material, options = plan.material, plan.options
    made = options.out / ".new"
    scored = material.folds != NO_FOLD
    told = disguised_targets(material.targets, probe(material.squares)[1])[scored]
    targets = material.targets[scored]
    samples = [s for s, use in zip(material.samples, scored, strict=True) if use]
    folds, logits, disguised = (
        array[scored] for array in (material.folds, trained.logits, trained.disguised)
    )

    def calibration_of(rows: NDArray[np.bool_]) -> Calibration:
        parts = (array[rows] for array in (logits, disguised, targets, told))
        return fit_calibration(*with_disguised(*parts), alike=ALIKE)

    calibration = calibration_of(np.ones(len(samples), dtype=bool))
    probabilities = calibrated_apart(logits, folds, calibration_of)
    of_disguised = calibrated_apart(disguised, folds, calibration_of)
    points = auxiliary_points(probabilities, targets)
    correct, wrong = filing_trials(probabilities, targets, samples, points[NOT_OURS].present_at)
    pair = choose_thresholds(correct, wrong)
    print(f"thresholds {pair}", flush=True)
    manifest = ModelManifest(
        name="bodypart",
        version=options.version,
        task=Task.BODY_PART,
        architecture=options.architecture,
        description="Which body regions a radiograph shows, or that it is none of ours.",
        licence=LICENCE_RESEARCH.format(backbone_terms=terms_of_starts(options)),
        input=InputSpec(
            size=options.size, mean=IMAGENET_MEAN, std=IMAGENET_STD, preprocessing=RECIPE
        ),
        labels=bodypart_labels(calibration, pair, points),
        data=plain(data_section(options, material, SOURCES, TABLES)),
        metrics={
            **measured(probabilities, targets, samples, points, pair),
            "disguised": plain(disguised_section(of_disguised, targets, told, points)),
        },
        training=plain(training_section("bodypart", plan, trained)),
        weights_sha256=write_weights(made, trained.network),
    )
    write_manifest(made, manifest)
    keep(
        OutOfFold(
            logits=logits,
            paths=tuple(str(sample.path) for sample in samples),
            folds=folds,
            weights_sha256=manifest.weights_sha256,
        ),
        OUT_OF_FOLD,
    )
    stored = load_model(made)
    held_out = plain(bodypart_held_out(stored, options.data))
    difference = round(storage_difference(trained, stored, material.squares), 6)
    metrics = {**manifest.metrics, "held_out": held_out, "command": CHECK}
    metrics["members"] = [
        plain(by_source(calibrated_alone(member.logits[scored], targets, folds), targets, samples))
        for member in trained.members
    ]
    metrics["float16_difference"] = difference
    write_manifest(made, manifest.model_copy(update={"metrics": metrics}))
    take_place(made, options.out)
    write_card(options.out, options.card)
    print(f"held out: {held_out}", flush=True)


def calibrated_alone(
    logits: FloatArray, targets: FloatArray, folds: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return probabilities (N, L) of out-of-fold logits (N, L), by images as they are.

    `targets` are (N, L), NaN where unknown; `folds` (N,) keep what an image is calibrated by apart
    from it.
    """
    return calibrated_apart(
        logits, folds, lambda rows: fit_calibration(logits[rows], targets[rows], alike=ALIKE)
    )


def auxiliary_points(
    probabilities: NDArray[np.float64], targets: FloatArray
) -> dict[str, OperatingPoint]:
    """Return the operating points of NotOurs and the gates, from arrays (N, L).

    Inverted and Turned are present where at most 0.5 % of images that are not so reach,
    FrontalChest where at most 1 % of frontal chests fall short; none of them below one half.
    """

    def of(key: str, quantile: float, highest: float, *, present: bool) -> OperatingPoint:
        column = BODYPART_KEYS.index(key)
        rows = (targets[:, column] >= 0.5) if present else (targets[:, column] < 0.5)
        found = float(np.quantile(probabilities[rows, column], quantile))
        return _point(min(highest, max(0.5, found)))

    return {
        NOT_OURS: not_ours_point(probabilities, targets),
        **{key: of(key, 0.995, 0.95, present=False) for key in (INVERTED, TURNED)},
        FRONTAL_CHEST: of(FRONTAL_CHEST, 0.01, 0.9, present=True),
    }


def not_ours_point(probabilities: NDArray[np.float64], targets: FloatArray) -> OperatingPoint:
    """Return the operating point of NotOurs: about one in a thousand of our images reaches it.

    It may lie far below one half. What is none of ours is more various than what we have of it,
    so less of it than of the training images gets a high probability; a doubt is enough not to
    name a region.
    """
    column = BODYPART_KEYS.index(NOT_OURS)
    ours = targets[:, column] < 0.5
    return _point(float(np.quantile(probabilities[ours, column], 0.999)))


def _point(at: float) -> OperatingPoint:
    present_at = round(at, 4)
    return OperatingPoint(present_at=present_at, absent_below=present_at / 2)


def with_disguised(
    logits: FloatArray, disguised: FloatArray, targets: FloatArray, told: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return logits and targets (2 N, L) to calibrate on: of N images, then of their copies.

    Disguised copies count for what they were disguised by, and for nothing else.
    """
    own = np.full_like(told, np.nan)
    for key in (INVERTED, TURNED):
        own[:, BODYPART_KEYS.index(key)] = told[:, BODYPART_KEYS.index(key)]
    return np.concatenate([logits, disguised]), np.concatenate([targets, own])


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
            reason = "decides whether the chest findings model may see the image; no finding"
            shared |= {"role": "auxiliary", "operating_point": points[key], "reported": False}
            shared["not_reported_because"] = reason
        labels.append(Label(**shared))
    return tuple(labels)


if __name__ == "__main__":
    main()
