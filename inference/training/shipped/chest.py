"""Train the chest findings network: ``python -m inference.training.shipped.chest``."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.datafolder import DATA_FOLDER
from inference.evaluation.loaded import Loaded, load_model
from inference.evaluation.shipped.card import write_card
from inference.evaluation.shipped.comparison import compare
from inference.evaluation.shipped.comparison_rivals import ONNX_FILES, TEACHER_FILE
from inference.evaluation.shipped.heldout import (
    chest_held_out,
    chest_reliability,
    chest_subgroups,
    finding_scores,
    mean_auc,
    several_findings,
)
from inference.evaluation.shipped.localisation import pointing_game
from inference.manifest import Gate, InputSpec, ModelManifest
from inference.preprocess import RECIPE
from inference.registry import SHIPPED
from inference.training.augment import Augmentation
from inference.training.backbones import BACKBONES, IMAGENET_MEAN, IMAGENET_STD
from inference.training.calibrate import fit_calibration
from inference.training.export import LICENCE_NIH, plain, take_place, write_manifest, write_weights
from inference.training.folds import NO_FOLD, group_folds
from inference.training.samples import FloatArray, Sample, Squares, load_squares, target_matrix
from inference.training.shipped.chest_labels import finding_labels, gates_of, with_reporting
from inference.training.shipped.crossval import Recipe
from inference.training.shipped.labels import FINDING_KEYS
from inference.training.shipped.loop import Schedule
from inference.training.shipped.options import Options, parse_options
from inference.training.shipped.outoffold import OUT_OF_FOLD_CHEST, OutOfFold, keep
from inference.training.shipped.run import Material, Plan, Trained, train
from inference.training.shipped.sections import (
    data_section,
    storage_difference,
    terms_of_starts,
    training_section,
)
from inference.training.shipped.sources_chest import (
    chest_samples,
    small_chest_samples,
    training_boxes,
    unlabelled_chest_samples,
)
from inference.training.shipped.teachers import PUBLIC, taught
from inference.types import Task

FOLDS = 3
TABLES = (
    Path("chest/nih14/labels.csv"),
    Path("chest/nih14/boxes.csv"),
    Path("chest/nih14_64px/labels.csv"),
    TEACHER_FILE,
    ONNX_FILES[PUBLIC],
)
"""What labels, boxes and teachers' answers come from."""

CHECK = (
    "python -m inference.evaluation.shipped.check --model inference/models/chest-findings "
    f"--data {DATA_FOLDER}"
)

AUGMENTATION = Augmentation(rotate_degrees=10, zoom=(0.9, 1.2), shift=0.06, contrast=0.3)

SOURCES = [
    {
        "name": "NIH ChestX-ray14 (subset)",
        "terms": "NIH Clinical Center: free use with attribution",
        "labels": "mined from reports by a program; about one in ten is wrong",
    },
    {
        "name": "NIH ChestX-ray14, boxes",
        "terms": "NIH Clinical Center: free use with attribution",
        "labels": "drawn by a radiologist around eight findings; those of training images teach "
        "where to look, those of held-out images judge the heat maps",
    },
    {
        "name": "Probabilities of a DenseNet-121 trained on ChestX-ray14 (reproduce-chexnet)",
        "terms": "BSD-3-Clause",
        "labels": "mixed half and half into the targets of the training images that have them",
    },
    {
        "name": "Probabilities of a small public classifier of ChestX-ray14",
        "terms": BACKBONES["mobilenet_v3_small"].terms,
        "labels": "it is asked about every training image; where both networks answer, their mean "
        "is mixed in",
    },
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """What is trained on beside the labelled images of full size."""

    teacher: float = 0.5
    """Weight of the teachers' probabilities in the targets that have them."""

    public: bool = True
    """The small public classifier as a teacher, beside the DenseNet-121."""

    small: bool = True
    """The labels of the 64-pixel images; without them these are unlabelled."""

    unlabelled: bool = False
    """UNIFESP's frontal chests, for consistency."""


def gather(options: Options, mix: Mix) -> Material:
    """Load the images; those that `mix` adds train with the rest but are never scored."""
    everything = chest_samples(options.data)
    full = [s for s in everything if not s.held_out]
    small = small_chest_samples(options.data)
    if not mix.small:
        small = [replace(sample, targets={}) for sample in small]
    folds = group_folds([s.group for s in full + small], folds=FOLDS, seed=options.seed)
    parts = [full, small]
    if mix.unlabelled:
        parts.append(unlabelled_chest_samples(options.data))
        folds = np.append(folds, np.full(len(parts[-1]), NO_FOLD))
    loaded = [load_squares(options.data, part, size=options.size) for part in parts]
    samples = [sample for part in parts for sample in part]
    squares = Squares(
        pixels=np.concatenate([part.pixels for part in loaded]),
        boxes=np.concatenate([part.boxes for part in loaded]),
    )
    targets = target_matrix(samples, FINDING_KEYS)
    if mix.teacher:
        targets = taught(targets, options.data, samples, weight=mix.teacher, public=mix.public)
    return Material(
        samples=samples,
        squares=squares,
        targets=targets,
        folds=folds,
        held_out=[s for s in everything if s.held_out],
        boxes=training_boxes(options.data, samples, squares),
    )


def main() -> None:
    """Cross-validate, fit on the train split, write the model folder, score the eval split."""
    options = parse_options(
        "chest",
        model="chest-findings",
        members="mobilenet_v2:4,mobilenet_v3_small:4,mobilenet_v2:4",
        size=224,
        epochs=10,
        variants=10,
        seed=20261123,
        version="0.8.0",
    )
    gates = gates_of(bodypart_beside(options.out))
    plan = chest_plan(options)
    publish(plan, train(plan), gates)


def bodypart_beside(model: Path) -> Path:
    """Return the body part model beside a chest model, else the one of the package."""
    beside = model.parent / "bodypart"
    return beside if (beside / "model.yaml").is_file() else SHIPPED / "bodypart"


def chest_plan(options: Options) -> Plan:
    """Return what the shipped model is trained on and how, by the command line's options."""
    material = gather(options, Mix())
    print(f"{len(material.samples)} images, {len(material.held_out)} held out", flush=True)
    return Plan(
        material=material,
        keys=FINDING_KEYS,
        options=options,
        recipe=chest_recipe(options),
        augmentation=AUGMENTATION,
        gentle=gently(chest_recipe(options)),
    )


def chest_recipe(options: Options) -> Recipe:
    """Return the shipped model's recipe, at the command line's number of epochs."""
    return Recipe(
        schedule=Schedule(epochs=options.epochs, batch=32, rate=4e-4, pointing=0.05),
        balance_most=2.0,
        positive_most=3.0,
        seed=options.seed,
    )


def gently(recipe: Recipe) -> Recipe:
    """Return the recipe for a start that knows radiographs: the head first, then small rates."""
    schedule = replace(
        recipe.schedule,
        epochs=max(1, recipe.schedule.epochs // 2),
        head_epochs=0,
        rate=5e-5,
        head_rate=1e-4,
    )
    return replace(recipe, schedule=schedule, head_first=True)


def publish(plan: Plan, trained: Trained, gates: tuple[Gate, ...]) -> None:
    """Calibrate, choose operating points, write weights, manifest and card."""
    material, options = plan.material, plan.options
    made = options.out / ".new"
    scored = np.array([s.source == "nih" for s in material.samples])
    samples = [s for s, use in zip(material.samples, scored, strict=True) if use]
    logits, truth = trained.logits[scored], target_matrix(samples, FINDING_KEYS)
    calibration = fit_calibration(logits, truth)
    probabilities = calibration(logits)
    labels = finding_labels(probabilities, truth, calibration)
    manifest = ModelManifest(
        name="chest-findings",
        version=options.version,
        task=Task.CHEST_FINDINGS,
        architecture=options.architecture,
        description="Fourteen findings of frontal chest radiographs (ChestX-ray14 labels).",
        licence=LICENCE_NIH.format(backbone_terms=terms_of_starts(options)),
        input=InputSpec(
            size=options.size, mean=IMAGENET_MEAN, std=IMAGENET_STD, preprocessing=RECIPE
        ),
        labels=labels,
        gates=gates,
        data=plain(data_section(options, material, SOURCES, TABLES)),
        metrics={"cross_validation": plain(inside(probabilities, samples))},
        training=plain(training_section("chest", plan, trained)),
        weights_sha256=write_weights(made, trained.network),
    )
    write_manifest(made, manifest)
    keep(
        OutOfFold(
            logits=logits,
            paths=tuple(str(sample.path) for sample in samples),
            folds=material.folds[scored],
            weights_sha256=manifest.weights_sha256,
        ),
        OUT_OF_FOLD_CHEST,
    )
    stored = load_model(made)
    held_out = plain(chest_held_out(stored, options.data))
    difference = round(storage_difference(trained, stored, material.squares), 6)
    metrics = {**manifest.metrics, "held_out": held_out, "command": CHECK}
    metrics["float16_difference"] = difference
    metrics["members"] = plain(members_section(trained, scored, truth, stored, options.data))
    metrics["reliability"] = plain(chest_reliability(stored, options.data))
    metrics["subgroups"] = plain(chest_subgroups(stored, options.data))
    metrics["comparison"] = plain(compare(stored, options.data))
    metrics["heat_maps"] = plain(pointing_game(stored, options.data))
    labels = tuple(with_reporting(label, held_out) for label in labels)
    finished = manifest.model_copy(update={"labels": labels, "metrics": metrics})
    write_manifest(made, finished)
    take_place(made, options.out)
    write_card(options.out, options.card)
    print(f"mean AUC on eval {held_out['mean_auc']}", flush=True)


def inside(probabilities: NDArray[np.float64], samples: list[Sample]) -> dict[str, Any]:
    """Return what out-of-fold probabilities (N, L) are worth, on all images and on ``several``.

    The latter show several findings: what the members started from and one of their teachers
    learned from images with at most one.
    """
    several = several_findings(samples)
    truth = target_matrix(samples, FINDING_KEYS)[several] >= 0.5
    return {
        **finding_scores(probabilities, samples, FINDING_KEYS),
        "several": {"images": len(truth), "mean_auc": mean_auc(probabilities[several], truth)},
    }


def members_section(
    trained: Trained, own: NDArray[np.bool_], truth: FloatArray, stored: Loaded, data: Path
) -> list[dict[str, Any]]:
    """Return the mean AUC of each member alone, so that a card can say what joining them adds.

    Parameters
    ----------
    trained : Trained
    own : ndarray of bool, shape (N,)
        The training rows that are scored.
    truth : ndarray of float32, shape (rows scored, L)
    stored : Loaded
        The model that they make together.
    data : Path
    """
    samples = [s for s in chest_samples(data) if s.held_out]
    pixels = load_squares(data, samples, size=stored.manifest.input.size).pixels
    shown, unseen = target_matrix(samples, FINDING_KEYS) >= 0.5, several_findings(samples)
    present = truth >= 0.5
    several = present.sum(axis=1) > 1
    section = []
    for member in trained.members:
        alone = Loaded(manifest=stored.manifest, network=member.network)
        scores = alone.logits(pixels).astype(np.float64)
        out_of_fold = member.logits[own].astype(np.float64)
        section.append(
            {
                "cross_validation": mean_auc(out_of_fold, present),
                "several": mean_auc(out_of_fold[several], present[several]),
                "held_out": mean_auc(scores, shown),
                "unseen": mean_auc(scores[unseen], shown[unseen]),
            }
        )
    return section


if __name__ == "__main__":
    main()
