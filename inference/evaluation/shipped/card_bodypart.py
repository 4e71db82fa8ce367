"""The measured sections of a body part model's card."""

from typing import Any

from inference.evaluation.measures.metrics import share_interval
from inference.evaluation.shipped.card_form import disturbed, percent, table, three
from inference.evaluation.shipped.heldout import NAMED_AT
from inference.manifest import ModelManifest


def bodypart_sections(manifest: ModelManifest) -> list[str]:
    """Return the measured sections of a body part model's card."""
    metrics = manifest.metrics
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
        (key, c["images"], *(f"{c[k]:.2f}" for k in ("precision", "recall", "f1")), three(c["auc"]))
        for key, c in cross["classes"].items()
    ]
    return [
        "## Which region",
        "Top-1 counts an image as right when the highest output is one of its labels. Folds "
        "keep a patient's images together. Macro F1 names an image with its highest output and "
        f"with every other at {NAMED_AT} or above, since one image may show several regions.",
        table(
            (
                "Images",
                "Number",
                "Top-1 (95 %)",
                "or unlabelled neighbour",
                "Macro F1",
                "of top-1 alone",
            ),
            scores,
        ),
        *_members(manifest),
        _chest_text(cross["unifesp_chest_recall"]),
        "Per output, cross-validation over all sources, where it is *present*: regions and "
        f"*Others* at {verdict['present_at']}, *NotOurs* at {metrics['not_ours']['present_at']}, "
        f"*FrontalChest* at {metrics['frontal_gate']['at_least']}. Classes with few images have "
        "wide, unprinted errors:",
        table(("Output", "Images", "Precision", "Recall", "F1", "AUC"), classes),
        "Confusions, UNIFESP, cross-validation (highest output per true label, most frequent "
        "first; an image that shows several regions is right when it names any of them):",
        table(("True label", "Highest output"), _confusion_rows(cross["confusion_unifesp"])),
        "## Ordered against shown",
        _verdict_text(verdict),
        "## None of ours",
        _not_ours_text(metrics["not_ours"]),
        "## Gates of the chest model",
        _gate_text(metrics["frontal_gate"]),
        _disguised_text(metrics["disguised"]),
        *disturbed(
            metrics.get("disturbed", ()),
            ("Limbs, top-1", "Frontal chests that pass the gates"),
            lambda row: (three(row["limbs_top1"]), percent(row["frontal_pass"])),
        ),
    ]


def _members(manifest: ModelManifest) -> list[str]:
    """What each member is worth; nothing of a model that was calibrated again without them."""
    if "members" not in manifest.metrics:
        return []
    told = zip(manifest.training["members"], manifest.metrics["members"], strict=True)
    alone = [(member["network"], *_alone(scores)) for member, scores in told]
    simpler = [(other["name"], *_alone(other)) for other in manifest.metrics.get("baselines", ())]
    return [
        "What the members are worth alone, and what simpler methods reach on the same folds, "
        "cross-validation:",
        table(
            ("Method", "UNIFESP, top-1", "Macro F1", "Limbs, top-1"),
            [*alone, ("together", *_alone(manifest.metrics["cross_validation"])), *simpler],
        ),
    ]


def _alone(scores: dict[str, Any]) -> tuple[str, ...]:
    unifesp, limbs = scores["unifesp"], scores["limbs"]
    shown = (
        unifesp["top1_in_label_set"],
        unifesp["macro_f1_of_labels"],
        limbs["top1_in_label_set"],
    )
    return tuple(three(value) for value in shown)


def _region_row(score: dict[str, Any]) -> tuple[str, ...]:
    low, high = score["top1_in_label_set_95"]
    return (
        str(score["images"]),
        f"{score['top1_in_label_set']:.3f} ({low:.3f} to {high:.3f})",
        f"{score['top1_in_label_set_or_neighbour']:.3f}",
        f"{score['macro_f1_of_labels']:.3f} ({score['classes_present']} classes)",
        f"{score['macro_f1_of_top1']:.3f}",
    )


def _chest_text(recall: dict[str, Any]) -> str:
    low, high = recall["at_threshold_95"]
    return (
        f"Of {recall['images']} UNIFESP chests of any view, {percent(recall['at_threshold'])} "
        f"({percent(low)} to {percent(high)}) reach the threshold of *Chest*, and for "
        f"{percent(recall['top1'])} it is the highest output (cross-validation)."
    )


def _confusion_rows(table: dict[str, dict[str, int]]) -> list[tuple[str, str]]:
    return [(key, ", ".join(f"{k} {v}" for k, v in row.items())) for key, row in table.items()]


def _verdict_text(verdict: dict[str, Any]) -> str:
    rows = [("thresholds chosen on the same predictions", *_rates(verdict["chosen_on_all"]))]
    rows.append(("the same thresholds, labels as they are given", *_rates(verdict["as_labelled"])))
    for index, rates in enumerate(verdict["left_out"]):
        rows.append((f"chosen on one half, counted on the other ({index + 1})", *_rates(rates)))
    return "\n\n".join(
        [
            f"Every region is *present* at {verdict['present_at']} and *absent* below "
            f"{verdict['absent_below']}. Out-of-fold predictions of UNIFESP and limbs images, "
            "each filed under every region it shows (correct), then under the region of a "
            "randomly drawn other image (swapped):",
            table(
                ("", "Correct: flagged (95 %)", "Correct: match", "Swapped: flagged",
                 "Swapped: called match"),
                rows,
            ),
            "The pair was chosen to flag most of the swapped images while flagging at most 0.5 % "
            "of the correct ones, half of what is allowed (1 %). Of images that did not choose it, "
            "it may flag more.",
            "Seven labels of UNIFESP that are plainly wrong are put right but in the second row. "
            "They were found among the alarms of our own network and judged by eye, not by a "
            "radiologist; labels without an alarm were not looked at.",
            "What is neither match nor mismatch is *uncertain* and goes to a person.",
        ]
    )  # fmt: skip


def _rates(rates: dict[str, Any]) -> tuple[str, ...]:
    low, high = rates["correctly_filed_flagged_95"]
    return (
        f"{percent(rates['correctly_filed_flagged'])} of {rates['correctly_filed']} "
        f"({percent(low)} to {percent(high)})",
        percent(rates["correctly_filed_match"]),
        f"{percent(rates['swapped_flagged'])} of {rates['swapped']}",
        percent(rates["swapped_called_match"]),
    )


_NOT_OURS = {
    "dental": "dental panoramics",
    "drawn": "drawn: blank, noise, texture, scenery",
    "limbs": "images of the limbs' sets that are out of scope (dental, whole body)",
    "slices": "CT and MR slices",
}
_OURS = {
    "limbs": "radiographs of limbs",
    "mednist": "radiographs of hands, 64 pixels",
    "nih": "NIH chests",
    "osail": "knee crops",
    "unifesp": "UNIFESP",
}


def _not_ours_text(found: dict[str, Any]) -> str:
    def row(kind: str, count: dict[str, int]) -> tuple[str, ...]:
        low, high = share_interval(count["called"], count["images"])
        said = f"{percent(count['called'] / count['images'])} ({percent(low)} to {percent(high)})"
        return kind, str(count["images"]), said

    rows = [row(_NOT_OURS[name], count) for name, count in found["not_ours"].items()]
    rows += [row(_OURS[name], count) for name, count in found["ours"].items()]
    return "\n\n".join(
        [
            f"*NotOurs* at {found['present_at']} or above says that an image is no radiograph of "
            "ours; about one in a thousand of the radiographs reaches it (cross-validation). No "
            "photograph is trained on; drawn textures and scenes stand in for them.",
            table(("Images", "Number", "Called none of ours (95 %)"), rows),
        ]
    )


def _gate_text(gate: dict[str, Any]) -> str:
    rows = [
        (
            name.replace("_", " "),
            gate[name]["images"],
            f"{percent(gate[name]['pass'])} "
            f"({percent(gate[name]['pass_95'][0])} to {percent(gate[name]['pass_95'][1])})",
        )
        for name in ("frontal", "chest_other_view", "no_chest")
    ]
    return "\n\n".join(
        [
            f"*FrontalChest* at {gate['at_least']} or above lets an image through, unless "
            "*Inverted* or *Turned* is present. The views of UNIFESP and limbs chests were read by "
            "us from contact sheets, not by a radiologist.",
            table(("True view", "Images", "Pass (95 %)"), rows),
        ]
    )


def _disguised_text(disguised: dict[str, Any]) -> str:
    rows = [
        (
            f"*{key}* at {disguised[key]['present_at']}",
            f"{percent(disguised[key]['noticed'])} of {disguised[key]['images']}",
            f"{percent(disguised[key]['false'])} of {disguised[key]['images_not_so']}",
        )
        for key in ("Inverted", "Turned")
    ]
    return "\n\n".join(
        [
            "Copies of all images, half of them with inverted greys, every third one turned by 90, "
            "180 or 270 degrees (cross-validation). *Turned* is known of chests only:",
            table(("Output", "Noticed", "False, on copies that are not so"), rows),
            f"Of {disguised['frontal_images']} frontal chests that were inverted or turned, "
            f"{percent(disguised['frontal_pass'])} still pass the gates."
            + _regions_of_copies(disguised.get("regions")),
        ]
    )


def _regions_of_copies(scores: dict[str, Any] | None) -> str:
    if scores is None:  # calibrated again without the copies
        return ""
    low, high = scores["top1_in_label_set_95"]
    top1 = scores["top1_in_label_set"]
    return f" The region of the copies is right (top-1) in {top1:.3f} ({low:.3f} to {high:.3f})."
