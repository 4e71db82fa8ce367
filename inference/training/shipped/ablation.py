"""What helped the chest model and what did not: ``python -m inference.training.shipped.ablation``.

Every variant changes one thing of a cheap base recipe (a deep cut, few copies) and is
scored by cross-validation on the training split; the held-out images take no part. Fits are
kept under ``.work``, so that a stopped run goes on.
"""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.evaluation.shipped.comparison import paired
from inference.training.samples import target_matrix
from inference.training.shipped.chest import AUGMENTATION, Mix, chest_recipe, gather
from inference.training.shipped.crossval import Recipe
from inference.training.shipped.labels import FINDING_KEYS
from inference.training.shipped.options import Member, Options, parse_options
from inference.training.shipped.run import Plan, cross_validate

OUT = Path("docs/models/chest-ablation.md")


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One change of the base recipe."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    schedule: dict[str, Any] = field(default_factory=dict)
    mix: dict[str, Any] = field(default_factory=dict)


VARIANTS = (
    Variant(name="base: MobileNetV2, 224 px, last 5 of 19 stages trained"),
    Variant(name="held to the boxes of radiologists, weight 0.05", schedule={"pointing": 0.05}),
    Variant(name="focal loss, gamma 2", recipe={"focal": 2.0}),
    Variant(name="label smoothing 0.1", recipe={"label_smoothing": 0.1}),
    Variant(name="no teacher", mix={"teacher": 0.0}),
    Variant(name="without the 64-pixel images", mix={"small": False}),
    Variant(name="consistency on unlabelled UNIFESP chests", schedule={"consistency": 1.0}),
    Variant(name="DenseNet-121 from random weights (none at hand), 96 px",
            options={"members": (Member("densenet121", 0),), "size": 96}),
    Variant(name="rare labels neither drawn nor weighted more",
            recipe={"balance_most": 1.0, "positive_most": 1.0}),
    Variant(name="EfficientNet-Lite0, last 5 of 18 stages trained",
            options={"members": (Member("efficientnet_lite0", 13),)}),
    Variant(name="teacher's probabilities alone, where they exist", mix={"teacher": 1.0}),
    Variant(name="held to the boxes of radiologists, weight 0.2", schedule={"pointing": 0.2}),
    Variant(name="288 px", options={"size": 288}),
    Variant(name="a small public classifier as a teacher, too", mix={"public": True}),
)  # fmt: skip


def main() -> None:
    """Fit every variant and write the table."""
    base = parse_options(
        "ablation",
        members="mobilenet_v2:14",
        size=224,
        epochs=5,
        variants=2,
    )
    rows: list[dict[str, Any]] = []
    first: NDArray[np.float32] | None = None
    for variant in VARIANTS:
        options = replace(base, **variant.options)
        material = gather(options, Mix(**({"unlabelled": True, "public": False} | variant.mix)))
        logits = cross_validate(
            Plan(
                material=material,
                keys=FINDING_KEYS,
                options=options,
                recipe=_recipe(variant, options),
                augmentation=AUGMENTATION,
            )
        )
        samples = [s for s in material.samples if s.source == "nih"]
        scored = logits[np.array([s.source == "nih" for s in material.samples])]
        truth = target_matrix(samples, FINDING_KEYS) >= 0.5
        first = scored if first is None else first
        found = paired(
            scored.astype(np.float64), first.astype(np.float64), truth, [s.group for s in samples]
        )
        rows.append({"variant": variant.name, "images": found["images"], **found["mean"]})
        print(json.dumps(rows[-1]), flush=True)
    OUT.write_text(_page(rows), encoding="utf-8")


def _recipe(variant: Variant, options: Options) -> Recipe:
    recipe = chest_recipe(options)
    schedule = replace(recipe.schedule, **({"pointing": 0.0} | variant.schedule))
    return replace(recipe, schedule=schedule, **variant.recipe)


def _page(rows: list[dict[str, Any]]) -> str:
    lines = [
        "# Chest findings: what helped and what did not",
        "",
        "<!-- Written by `python -m inference.training.shipped.ablation`; do not edit. -->",
        "",
        f"Mean AUC of the 14 labels by 3-fold cross-validation over {rows[0]['images']} training "
        "images, patients kept together. Each row changes one thing of the first; the "
        "difference has a 95 % interval from draws of patients, the same for both. Held-out "
        "images took no part. Each image is seen in two changed copies, for five epochs. "
        "The base is a cheap form of one shipped member, so that all rows "
        "fit into an hour or two; labels are mined from reports, about one in ten is wrong. What "
        "the boxes do for the heat maps is in [the card](chest-findings.md). A gain here is a "
        "hint: what became of 288 pixels in the whole recipe is in "
        "[0023](../decisions/0023-squares-collections-and-mixing.md).",
        "",
        "| Variant | Mean AUC | Against the base (95 %) |",
        "| --- | --- | --- |",
    ]
    for row in rows:
        low, high = row["difference_95"]
        against = f"{row['difference']:+.3f} ({low:+.3f} to {high:+.3f})" if low < high else ""
        lines.append(f"| {row['variant']} | {row['ours']:.3f} | {against} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
