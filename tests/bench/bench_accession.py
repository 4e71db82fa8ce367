"""How well misfiled images are found and put right: ``make bench-accession``.

Real radiographs of UNIFESP, with the logits of networks that saw neither the image nor any
other of its patient; calibration and operating points, too, come from the other folds. In
UNIFESP the accession number equals the patient, so each part of a patient (images with the
same labels) is given an order of its own. `docs/accession-bench.md` explains the tables.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from inference.assignment import Options
from inference.datafolder import data_folder
from inference.evaluation.measures.verdict import Thresholds, choose_thresholds
from inference.manifest import Label, read_manifest
from inference.reconcile import reconcile
from inference.regions import RegionMap, load_regions
from inference.training.calibrate import Calibration, fit_calibration
from inference.training.samples import Sample, target_matrix
from inference.training.shipped.bodypart import (
    ALIKE,
    auxiliary_points,
    bodypart_labels,
    calibrated_alone,
    training_list,
)
from inference.training.shipped.filing import filing_trials
from inference.training.shipped.labels import BODYPART_KEYS, NOT_OURS, OTHERS
from inference.training.shipped.looked_at import looked_at
from inference.training.shipped.outoffold import OUT_OF_FOLD, OutOfFold, load
from inference.types import (
    Decision,
    LabelOutput,
    ModelIdentity,
    Outcome,
    Prediction,
    Task,
)
from inference.verify import Seen
from tests.bench.accession_scores import ACCEPTED, Shares, questions
from tests.bench.misfiling import (
    Filing,
    LabelledImage,
    Mistake,
    Part,
    file_patient,
    renamed,
)

LOOK_ALIKES = (
    ("KNEE", "LOWERLEG"),
    ("HAND", "WRIST"),
    ("HAND", "FINGER"),
    ("WRIST", "FOREARM"),
    ("ELBOW", "FOREARM"),
    ("ANKLE", "FOOT"),
    ("ANKLE", "LOWERLEG"),
    ("KNEE", "THIGH"),
    ("HIP", "THIGH"),
    ("HIP", "PELVIS"),
    ("CSPINE", "TSPINE"),
    ("TSPINE", "LSPINE"),
    ("CLAVICLE", "SHOULDER"),
    ("SKULL", "SINUS"),
)
MISTAKES = tuple(Mistake)
COMMITTED = Path(__file__).parent / "bodypart_out_of_fold.npz"
"""Of a released network: numbers and file names of public data, no image."""

TARGETS = {
    "false alarms": ("at most 5 per 1,000", lambda share: share <= 0.005),
    "swap found": ("at least 0.90", lambda share: share >= 0.90),
    "proposals right": ("at least 0.95", lambda share: share >= 0.95),
}
PER_THOUSAND = ("false alarms", "images wrongly moved", "false incomplete")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_accession")
    parser.add_argument("--data", type=Path, default=data_folder())
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=20261120, help="of the training's folds")
    parser.add_argument("--model", type=Path, default=Path("inference/models/bodypart"))
    parser.add_argument("--kept", type=Path, default=kept_file(), help="out-of-fold logits")
    told = parser.parse_args()
    regions = load_regions()
    kept, manifest = load(told.kept), read_manifest(told.model)
    shipped = kept.weights_sha256 == manifest.weights_sha256
    network = f"bodypart {manifest.version}, as shipped" if shipped else "NOT the shipped one"
    weights = kept.weights_sha256[:8] or "unknown"
    print(f"Logits: {told.kept}; network: {network}, weights {weights}")
    for point in {each.operating_point for each in manifest.labels if each.role == "region"}:
        if point is not None:
            print(f"Shipped: present at {point.present_at}, absent below {point.absent_below}")
    images = labelled_images(kept, told.data, told.seed, regions)
    print(f"{len(images)} images of {len({i.person for i in images})} patients")
    shown = regions_looked_at(regions)
    corrected = [replace(i, regions=shown.get(Path(i.uid).stem, i.regions)) for i in images]
    print(f"\n## With {len(shown)} wrong labels of the set put right")
    print(report(evaluate(corrected, regions, told.rounds)))
    print("\n## With the labels as they are given")
    print(report(evaluate(images, regions, told.rounds)))


def kept_file() -> Path:
    """Return this machine's last training, else what is kept in the repository."""
    return OUT_OF_FOLD if OUT_OF_FOLD.exists() else COMMITTED


def evaluate(
    images: Sequence[LabelledImage],
    regions: RegionMap,
    rounds: int,
    options: Options | None = None,
) -> dict[str, Shares]:
    """Return the counts of every table."""
    people = patients(images)
    several = [parts for parts in people if len(parts) > 1]
    tables = {
        "as filed": as_filed(people, regions),
        "patients with several parts": mistaken(several, regions, rounds),
        "patients put together": mistaken_draws(people, regions, rounds),
        "look-alikes put together": mistaken_look_alikes(people, regions, rounds),
    }
    counted = {}
    for name, filings in tables.items():
        counted[name] = Shares()
        for filing in filings:
            found = reconcile(filing.accessions, filing.images, regions, options)
            counted[name].add(filing, found)
    return counted


def labelled_images(
    kept: OutOfFold, data: Path, seed: int, regions: RegionMap
) -> list[LabelledImage]:
    """Return every UNIFESP image that shows a region, as seen by the network without it.

    Raises
    ------
    SystemExit
        The kept logits are of other images.
    """
    samples, _ = training_list(data, seed)
    if tuple(str(sample.path) for sample in samples) != kept.paths:
        raise SystemExit("the kept logits are of other images: `make models` writes them anew")
    targets = target_matrix(samples, BODYPART_KEYS)
    logits = kept.logits
    images = []
    known = np.isfinite(logits).all(axis=1)
    for fold in np.unique(kept.folds[known]):
        rest = known & (kept.folds != fold)
        calibration, labels, pair = fitted(logits, targets, samples, kept.folds, rest)
        print(f"Fold {fold}: present at {pair.present_at}, absent below {pair.absent_below}")
        for row in np.flatnonzero(known & (kept.folds == fold)):
            sample = samples[row]
            shown = true_regions(sample, regions)
            if sample.source == "unifesp" and shown:
                seen = as_seen(logits[row], calibration, labels, regions)
                images.append(
                    LabelledImage(
                        uid=str(sample.path), person=sample.group, regions=shown, seen=seen
                    )
                )
    return images


def regions_looked_at(regions: RegionMap) -> dict[str, tuple[str, ...]]:
    """Return the regions of `looked_at`, by SOP Instance UID."""
    return {
        uid: tuple(r for key in keys if (r := regions.region_of_label(key)) is not None)
        for uid, keys in looked_at().items()
    }


def fitted(
    logits: np.ndarray,
    targets: np.ndarray,
    samples: Sequence[Sample],
    folds: np.ndarray,
    rows: np.ndarray,
) -> tuple[Calibration, tuple[Label, ...], Thresholds]:
    """Return calibration and operating points of some rows, chosen as the training does: the
    pair that finds most swaps with at most `MOST_FALSE` false flags among these rows."""
    own = [sample for sample, use in zip(samples, rows, strict=True) if use]
    logits, targets = logits[rows], targets[rows]
    calibration = fit_calibration(logits, targets, alike=ALIKE)
    probabilities = calibrated_alone(logits, targets, folds[rows])
    points = auxiliary_points(probabilities, targets)
    trials = filing_trials(probabilities, targets, own, points[NOT_OURS].present_at)
    pair = choose_thresholds(*trials)
    return calibration, bodypart_labels(calibration, pair, points), pair


def true_regions(sample: Sample, regions: RegionMap) -> tuple[str, ...]:
    """Return the regions of an image's labels."""
    named = BODYPART_KEYS[: BODYPART_KEYS.index(OTHERS)]
    found = (regions.region_of_label(key) for key in named if sample.targets.get(key, 0) >= 0.5)
    return tuple(region for region in found if region is not None)


def as_seen(
    logits: np.ndarray, calibration: Calibration, labels: Sequence[Label], regions: RegionMap
) -> Seen:
    """Return an image's logits as the running node would read them."""
    outputs = tuple(
        LabelOutput(
            key=label.key,
            logit=float(logit),
            probability=float(probability),
            threshold=label.operating_point.present_at if label.operating_point else None,
            decision=Decision.NOT_REPORTED,
        )
        for label, logit, probability in zip(
            labels, logits, calibration(logits[None])[0], strict=True
        )
    )
    identity = ModelIdentity(
        name="bodypart",
        version="",
        task=Task.BODY_PART,
        weights_sha256="",
        configuration_sha256="",
        preprocessing="",
        runtime="",
        device="",
        precision="",
    )
    prediction = Prediction(model=identity, outcome=Outcome.PREDICTED, labels=outputs)
    return Seen.of(prediction, labels, regions)


def patients(images: Sequence[LabelledImage]) -> list[tuple[Part, ...]]:
    """Return each patient's parts: images with the same labels are of one order."""
    grouped: dict[str, dict[tuple[str, ...], list[LabelledImage]]] = defaultdict(dict)
    for image in images:
        grouped[image.person].setdefault(image.regions, []).append(image)
    return [
        tuple(
            Part(key=f"{person}-{number}", regions=shown, images=tuple(found))
            for number, (shown, found) in enumerate(parts.items(), start=1)
        )
        for person, parts in sorted(grouped.items())
    ]


def as_filed(people: Sequence[tuple[Part, ...]], regions: RegionMap) -> Iterator[Filing]:
    """Yield every patient once, everything filed rightly."""
    random = np.random.default_rng(0)
    for parts in people:
        yield file_patient(parts, Mistake.NONE, random, regions)


def mistaken(
    people: Sequence[tuple[Part, ...]], regions: RegionMap, rounds: int
) -> Iterator[Filing]:
    """Yield every patient once a round, with a mistake drawn at random."""
    for seed in range(rounds):
        random = np.random.default_rng((1, seed))
        for parts in people:
            yield file_patient(parts, _drawn(random), random, regions)


def mistaken_draws(
    people: Sequence[tuple[Part, ...]], regions: RegionMap, rounds: int, count: int = 300
) -> Iterator[Filing]:
    """Yield patients made of two or three people with different parts."""
    for seed in range(rounds):
        random = np.random.default_rng((2, seed))
        for number in range(count):
            wanted = int(random.integers(2, 4))
            parts: dict[tuple[str, ...], Part] = {}
            for person in random.permutation(len(people)):
                part = people[person][int(random.integers(len(people[person])))]
                parts.setdefault(part.regions, part)
                if len(parts) == wanted:
                    break
            together = renamed(list(parts.values()), f"draw{number}")
            yield file_patient(together, _drawn(random), random, regions)


def mistaken_look_alikes(
    people: Sequence[tuple[Part, ...]], regions: RegionMap, rounds: int, count: int = 5
) -> Iterator[Filing]:
    """Yield patients made of two people with neighbouring parts, `count` of each pair."""
    of_region: dict[str, list[Part]] = defaultdict(list)
    for part in (part for parts in people for part in parts):
        if len(part.regions) == 1:
            of_region[part.regions[0]].append(part)
    for seed in range(rounds):
        random = np.random.default_rng((3, seed))
        for pair in LOOK_ALIKES:
            for _ in range(count):
                parts = [of_region[r][int(random.integers(len(of_region[r])))] for r in pair]
                if parts[0].images[0].person != parts[1].images[0].person:
                    yield file_patient(
                        renamed(parts, "-".join(pair)), _drawn(random), random, regions
                    )


def _drawn(random: np.random.Generator) -> Mistake:
    return MISTAKES[int(random.integers(len(MISTAKES)))]


def report(tables: dict[str, Shares]) -> str:
    """Return the tables as Markdown."""
    lines = []
    for name, shares in tables.items():
        lines += [
            "",
            f"### {name}",
            "",
            "| | hits of | share | 95 % | target |",
            "|---|---|---|---|---|",
        ]
        for question in questions([shares]):
            lines.append(row(question, shares))
    return "\n".join(lines)


def row(question: str, shares: Shares) -> str:
    """Return one line of a table."""
    hits, total = shares.share(question)
    if not total:
        return f"| {question} | 0 of 0 | | | |"
    if question.endswith(ACCEPTED):
        return f"| {question} | {total} filings, in no other row | | | |"
    low, high = shares.interval(question)
    factor, unit = (1000, " per 1,000") if question in PER_THOUSAND else (1, "")
    digits = 1 if unit else 3
    target, met = TARGETS.get(question, ("", None))
    judged = f"{target}: {'met' if met(hits / total) else 'NOT met'}" if met else ""
    return (
        f"| {question} | {hits} of {total} | {factor * hits / total:.{digits}f}{unit} "
        f"| {factor * low:.{digits}f} to {factor * high:.{digits}f} | {judged} |"
    )


if __name__ == "__main__":
    main()
