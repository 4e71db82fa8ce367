"""What simpler methods reach on the same folds: ``python -m inference.training.shipped.baselines``.

Histograms of oriented gradients with a linear SVM per output, and a small CNN from scratch by the
model's own recipe, on smaller squares. The scores are written into the model's manifest and card,
so that these say what the deep network adds.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.datafolder import data_folder
from inference.evaluation.shipped.card import write_card
from inference.evaluation.shipped.heldout import mean_auc, several_findings
from inference.manifest import read_manifest
from inference.training.device import choose_device
from inference.training.export import plain, write_manifest
from inference.training.folds import NO_FOLD
from inference.training.samples import FloatArray, Squares, load_squares, target_matrix
from inference.training.shipped.bodypart import bodypart_plan, calibrated_alone
from inference.training.shipped.bodypart_scores import by_source
from inference.training.shipped.chest import chest_plan
from inference.training.shipped.labels import FINDING_KEYS
from inference.training.shipped.options import Member, Options
from inference.training.shipped.run import Plan, train
from inference.training.workbench.baselines import hog_features, svm_logits
from inference.training.workbench.progress import Reporter
from inference.training.workbench.trainer import logits_of
from inference.types import Task

SIZE = 96
RATE = 2e-3
"""Of all weights of the small CNN: none of them has learned anything before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A way to answer as the model does."""

    name: str
    out_of_fold: Callable[[Plan], FloatArray]
    """Logits (N, L) of the plan's images, each without the images of its fold."""

    of_others: Callable[[Plan, Squares], FloatArray]
    """Logits (M, L) of further images, from all of the plan's."""


def svm_out_of_fold(plan: Plan) -> FloatArray:
    """Return what linear SVMs on histograms of oriented gradients say."""
    material = plan.material
    features = hog_features(material.squares, Reporter())
    logits = np.full(material.targets.shape, np.nan, dtype=np.float32)
    for fold in range(int(material.folds.max()) + 1):
        own = material.folds == fold
        (logits[own],) = svm_logits(
            features[~own], material.targets[~own], [features[own]], seed=plan.options.seed
        )
    return logits


def svm_of_others(plan: Plan, squares: Squares) -> FloatArray:
    """Return what such machines say of further images."""
    learned, others = (hog_features(s, Reporter()) for s in (plan.material.squares, squares))
    (logits,) = svm_logits(learned, plan.material.targets, [others], seed=plan.options.seed)
    return logits


def network_out_of_fold(plan: Plan) -> FloatArray:
    """Return what the plan's network says; its fits are kept."""
    return train(plan).logits


def network_of_others(plan: Plan, squares: Squares) -> FloatArray:
    """Return what it says of further images."""
    return logits_of(train(plan).network, squares, choose_device(plan.options.device, "float32"))


METHODS = (
    Method(
        name=f"small CNN from scratch, {SIZE} px",
        out_of_fold=network_out_of_fold,
        of_others=network_of_others,
    ),
    Method(
        name="HOG + linear SVM",
        out_of_fold=svm_out_of_fold,
        of_others=svm_of_others,
    ),
)


def main() -> None:
    """Train the simpler methods, score them, write manifest and card again."""
    parser = argparse.ArgumentParser(prog="python -m inference.training.shipped.baselines")
    parser.add_argument("--data", type=Path, default=data_folder(), help="the images")
    parser.add_argument("--model", type=Path, required=True, help="folder of a shipped model")
    parser.add_argument("--card", type=Path, help="default: docs/models/NAME.md")
    told = parser.parse_args()
    manifest = read_manifest(told.model)
    card = told.card or Path("docs/models") / f"{manifest.name}.md"
    options = Options(
        data=told.data,
        out=told.model,
        card=card,
        size=SIZE,
        epochs=8,
        variants=4,
        members=(Member("small_cnn", 0),),
        seed=manifest.training["seed"],
        threads=2,
        device="auto",
        version=manifest.version,
    )
    score = {Task.BODY_PART: bodypart_baselines, Task.CHEST_FINDINGS: chest_baselines}
    found = {scores["name"]: scores for scores in manifest.metrics.get("baselines", ())}
    for scores in score[manifest.task](options):
        found[scores["name"]] = plain(scores)  # written as soon as there: the SVMs take long
        metrics = {**manifest.metrics, "baselines": list(found.values())}
        write_manifest(told.model, manifest.model_copy(update={"metrics": metrics}))
        write_card(told.model, card)


def bodypart_baselines(options: Options) -> Iterator[dict[str, Any]]:
    """Yield the region scores of each method in cross-validation."""
    plan = from_chance(bodypart_plan(options))
    material = plan.material
    scored = material.folds != NO_FOLD
    samples = [s for s, use in zip(material.samples, scored, strict=True) if use]
    targets, folds = material.targets[scored], material.folds[scored]
    for method in METHODS:
        probabilities = calibrated_alone(method.out_of_fold(plan)[scored], targets, folds)
        yield {"name": method.name, **by_source(probabilities, targets, samples)}


def chest_baselines(options: Options) -> Iterator[dict[str, Any]]:
    """Yield the mean AUC of each method in cross-validation and on held-out images."""
    plan = from_chance(chest_plan(options))
    own = np.array([sample.source == "nih" for sample in plan.material.samples])
    rows = [s for s, use in zip(plan.material.samples, own, strict=True) if use]
    held = plan.material.held_out
    squares, unseen = load_squares(options.data, held, size=SIZE), several_findings(held)
    truth, shown = _truth(rows), _truth(held)
    several = several_findings(rows)
    for method in METHODS:
        inside = method.out_of_fold(plan)[own].astype(np.float64)
        others = method.of_others(plan, squares).astype(np.float64)
        yield {
            "name": method.name,
            "cross_validation": mean_auc(inside, truth),
            "several": mean_auc(inside[several], truth[several]),
            "held_out": mean_auc(others, shown),
            "unseen": mean_auc(others[unseen], shown[unseen]),
        }


def from_chance(plan: Plan) -> Plan:
    """Return the plan for a network that has learned nothing before, and without boxes."""
    schedule = replace(
        plan.recipe.schedule,
        rate=RATE,
        head_rate=RATE,
        head_epochs=0,
        fold_norms=False,
        pointing=0.0,
    )
    return replace(plan, recipe=replace(plan.recipe, schedule=schedule))


def _truth(samples: list[Any]) -> NDArray[np.bool_]:
    return target_matrix(samples, FINDING_KEYS) >= 0.5


if __name__ == "__main__":
    main()
