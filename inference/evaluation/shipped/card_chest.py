"""The measured sections of a chest findings model's card."""

from typing import Any

from inference.evaluation.shipped.card_form import disturbed, percent, table, three, with_interval
from inference.manifest import Label, ModelManifest


def chest_sections(manifest: ModelManifest) -> list[str]:
    """Return the measured sections of a chest findings model's card."""
    metrics = manifest.metrics
    held = metrics["held_out"]
    return [
        *_how_well(manifest),
        "## At the operating point",
        "*Present* is said at a probability that 5 % of the training images without the finding "
        "reach (cross-validation), *absent* below the one that 5 % of those with it stay under; "
        "between the two the finding is undetermined. What flatters the cross-validation makes "
        "these points look better than they are, too. Held-out images:",
        table(
            ("Finding", "Present at", "Absent below", "Sensitivity (95 %)", "Specificity (95 %)"),
            [_point(label, held["findings"][label.key]) for label in manifest.labels],
        ),
        "## Probabilities",
        "Each dot holds the images of one tenth of the probability scale: how often the finding "
        "is there against how probable it was called; above each plot the expected calibration "
        "error.",
        f"![Reliability of each finding]({manifest.name}-reliability.svg)",
        "## Subgroups",
        "Mean AUC over the findings that can be compared (at least ten images with and without), "
        "and the gap to all other images. Nothing was done to even them out; an interval "
        "without 0 is a difference that chance hardly explains. *Collection new*: gathered by "
        "people who gathered no training image.",
        table(
            ("Subgroup", "Images", "Findings", "Mean AUC (95 %)", "Gap (95 %)"),
            [_subgroup(row) for row in metrics["subgroups"]],
        ),
        "## Beside public networks",
        "The same images, scored by each network; difference: this model less the other, "
        "patients drawn with replacement.",
        table(
            ("Network", "Images", "May be of its training", "Its mean AUC", "Here", "Difference"),
            [_rival(each) for each in metrics["comparison"]],
        ),
        *disturbed(
            metrics.get("disturbed", ()),
            ("Mean AUC, held out, several findings",),
            lambda row: (three(row["unseen"]),),
        ),
        "## Heat maps",
        "Maps are Grad-CAM at the last layer of the first member, "
        f"{manifest.training['members'][0]['network']}. "
        "How often the highest cell of a finding's map lies inside a box that a radiologist drew "
        "(held-out images that have boxes), beside the share of the image that the boxes cover; "
        "and how far the map, cut at a share of the image chosen on training boxes, covers the "
        "box (intersection over union), beside the same with maps and boxes of different images. "
        "The boxes of training images also taught the network where to look, so that share may "
        "be chosen too small:",
        table(
            ("Finding", "Images", "Hits (95 %)", "Chance", "Cut at", "Mean IoU (95 %)", "Chance",
             "IoU 0.1 or more"),
            [_map(key, score) for key, score in metrics["heat_maps"].items()],
        ),
        _all_hits(list(metrics["heat_maps"].values())),
    ]  # fmt: skip


def _how_well(manifest: ModelManifest) -> list[str]:
    metrics = manifest.metrics
    held, cross = metrics["held_out"], metrics["cross_validation"]
    unseen, several = held["unseen"], cross["several"]
    held_back = [x for x in manifest.labels if not x.reported]
    reasons = [f"- {label.key}: {label.not_reported_because}." for label in held_back]
    return [
        "## How well",
        f"Mean AUC **{unseen['mean_auc']:.3f}** on the {unseen['images']} held-out images with "
        "several findings (*unseen* below): of patients that no training image shows, and, since "
        "they show several, images that no network a member started from can have learned from. "
        f"In cross-validation it is {several['mean_auc']:.3f} on the {several['images']} training "
        "images with several findings. "
        f"On all {held['images']} held-out images it is {held['mean_auc']:.3f}, in "
        f"cross-validation on all {cross['images']} training images {cross['mean_auc']:.3f}; "
        "images with at most one finding may be among those that a member's start or teacher "
        "learned from, and these two numbers flatter. "
        "Intervals: 95 %, patients drawn with replacement. What helped a single network and what "
        "did not is in [chest-ablation.md](chest-ablation.md).",
        table(
            ("Finding", "Present", "AUC held out (95 %)", "of them unseen", "AUC unseen (95 %)",
             "AUC cross-validation", "Average precision", "Reported"),
            [_score(label, metrics) for label in manifest.labels],
        ),
        "What the members are worth alone, and what simpler methods reach that learned from the "
        "same images, mean AUC:",
        table(
            (
                "Method",
                "Unseen",
                "Cross-validation, several findings",
                "Held out",
                "Cross-validation",
            ),
            [
                *_members(manifest),
                ("together", *_means(unseen, several, held, cross)),
                *(_alone(other["name"], other) for other in metrics.get("baselines", ())),
            ],
        ),
        "Not reported (kept in the audit):" if reasons else "Every finding is reported.",
        "\n".join(reasons),
    ]  # fmt: skip


def _members(manifest: ModelManifest) -> list[tuple[str, ...]]:
    return [
        _alone(f"{told['network']}, seed {told['seed']}", score)
        for told, score in zip(
            manifest.training["members"], manifest.metrics["members"], strict=True
        )
    ]


def _alone(name: str, score: dict[str, float]) -> tuple[str, ...]:
    parts = ("unseen", "several", "held_out", "cross_validation")
    return (name, *(three(score[part]) for part in parts))


def _means(*parts: dict[str, Any]) -> tuple[str, ...]:
    return tuple(three(part["mean_auc"]) for part in parts)


def _score(label: Label, metrics: dict[str, Any]) -> tuple[Any, ...]:
    score = metrics["held_out"]["findings"][label.key]
    inner = metrics["cross_validation"]["findings"][label.key]
    unseen = metrics["held_out"]["unseen"]["findings"][label.key]
    return (
        label.key,
        score["present"],
        with_interval(score["auc"], score["auc_95"]),
        unseen["present"],
        with_interval(unseen["auc"], unseen["auc_95"]),
        f"{inner['auc']:.3f}",
        f"{score['average_precision']:.3f}",
        "yes" if label.reported else "no",
    )


def _point(label: Label, score: dict[str, Any]) -> tuple[Any, ...]:
    point = label.operating_point
    assert point is not None, "training gives every finding one"
    return (
        label.key,
        f"{point.present_at:.3f}",
        f"{point.absent_below:.3f}",
        with_interval(score["sensitivity"], score["sensitivity_95"]),
        with_interval(score["specificity"], score["specificity_95"]),
    )


def _subgroup(row: dict[str, Any]) -> tuple[Any, ...]:
    if row["auc"] is None:
        return (f"{row['attribute']} {row['value']}", row["images"], row["present"], "too few", "")
    low, high = row["gap_95"]
    return (
        f"{row['attribute']} {row['value']}",
        row["images"],
        row["present"],
        with_interval(row["auc"], row["auc_95"]),
        f"{row['gap']:+.3f} ({low:+.3f} to {high:+.3f})",
    )


def _rival(each: dict[str, Any]) -> tuple[Any, ...]:
    mean = each["mean"]
    low, high = mean["difference_95"]
    return (
        each["rival"],
        f"{each['images']}, {each['images_are']}",
        each["may_have_trained_on"],
        f"{mean['theirs']:.3f}",
        f"{mean['ours']:.3f}",
        f"{mean['difference']:+.3f} ({low:+.3f} to {high:+.3f})",
    )


def _all_hits(scores: list[dict[str, Any]]) -> str:
    images = sum(score["images"] for score in scores)
    hits = sum(round(score["hits"] * score["images"]) for score in scores)
    return f"In all, {hits} of {images} boxed findings are hit ({percent(hits / images)})."


def _map(key: str, score: dict[str, Any]) -> tuple[Any, ...]:
    overlap = score["overlap"]
    share, low, high = overlap["at_least"]["0.1"]
    return (
        key,
        score["images"],
        f"{percent(score['hits'])} "
        f"({percent(score['hits_95'][0])} to {percent(score['hits_95'][1])})",
        percent(score["chance"]),
        percent(overlap["share_of_image"]),
        with_interval(overlap["iou"], overlap["iou_95"]),
        "" if overlap["chance"] is None else f"{overlap['chance']:.3f}",
        f"{percent(share)} ({percent(low)} to {percent(high)})",
    )
