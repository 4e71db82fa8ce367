"""Images for the body part network: radiographs of many regions, and what is none."""

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.training.augment import Disguise
from inference.training.samples import Sample
from inference.training.shipped.labels import (
    BODYPART_KEYS,
    FRONTAL_CHEST,
    INVERTED,
    KEY_OF_SOURCE_NAME,
    NEIGHBOURS,
    NOT_OURS,
    OTHERS,
    REGIONS,
    TURNED,
)

ANNOTATIONS = Path(__file__).parent / "annotations"
FRONTAL_OF_VIEW = {"frontal": 1.0, "lateral": 0.0, "other": 0.0}
"""Our reading of contact sheets; ``unclear`` stays unknown."""

TABLES = (
    Path("bodypart/unifesp/labels.csv"),
    Path("bodypart/limbs/labels.csv"),
    Path("chest/nih14/labels.csv"),
)
"""What labels are read from, besides our annotations."""

CAPS = {"shimplant": 80, "cepha": 40, "scolio": 60, "nih": 300, "knee": 60, "slice": 40}
"""Most images of one look-alike source; the slices are counted per kind."""


SOURCES = [
    {
        "name": "UNIFESP X-ray Body Images in PNG (São Paulo)",
        "terms": "none stated: research only",
        "labels": "radiologists', several regions possible; chest views read by us",
    },
    {
        "name": "UNIFESP X-ray Body Images in PNG, the images without labels",
        "terms": "none stated: research only",
        "labels": "read by us from contact sheets that showed what version 0.4.0 said, not by a "
        "radiologist; neighbours of a region unknown; learned from, never scored",
    },
    {
        "name": "Small public sets of limbs, skulls, shoulders and spines",
        "terms": "mostly none stated: research only",
        "labels": "from contact sheets, not by a radiologist; neighbours of a region unknown",
    },
    {
        "name": "Knee crops with Kellgren-Lawrence grades (OSAIL)",
        "terms": "none stated: research only",
        "labels": "all knees",
    },
    {
        "name": "NIH ChestX-ray14 (subset)",
        "terms": "NIH Clinical Center: free use with attribution",
        "labels": "all frontal chests",
    },
    {
        "name": "MedNIST",
        "terms": "CC BY-SA 4.0",
        "labels": "CT and MR slices as not ours; hands",
    },
    {
        "name": "Dental panoramics",
        "terms": "none stated: research only",
        "labels": "not ours",
    },
    {"name": "Drawn images", "terms": "ours", "labels": "not ours"},
]


def bodypart_samples(data: Path, *, seed: int) -> list[Sample]:
    """Return every image for the body part network, with limbs' own held-out split.

    Parameters
    ----------
    data : Path
        The data folder.
    seed : int
        Decides which images of a capped source are taken.
    """
    folder = data / "bodypart"
    samples = [*_unifesp(folder), *_limbs(folder, seed), *_knees(folder, seed)]
    samples += _chests(data, seed)
    samples += _not_ours(folder, seed)
    return [_relative(sample, data) for sample in samples]


def read_samples() -> list[Sample]:
    """Return UNIFESP's images without labels, as we read them: to learn from, not to score."""
    return [
        Sample(
            path=Path(f"bodypart/unifesp/unlabelled/{row['sop_instance_uid']}.jpg"),
            targets=_read_targets(row["shows"], FRONTAL_OF_VIEW.get(row["view"])),
            group=f"unifesp-read-{row['sop_instance_uid']}",
            source="unifesp-read",
        )
        for row in _rows(ANNOTATIONS / "unifesp_read.csv")
    ]


def region_targets(present: set[str], *, frontal: float | None = None) -> dict[str, float]:
    """Return targets where every region not in `present` is absent.

    Files are taken as shown the right way: `disguised_targets` says what becomes of the
    copies that training inverts and turns.
    """
    targets = {region.key: float(region.key in present) for region in REGIONS}
    targets[OTHERS] = float(OTHERS in present)
    targets[NOT_OURS] = float(NOT_OURS in present)
    if "Chest" not in present:
        targets[FRONTAL_CHEST] = 0.0
    elif frontal is not None:
        targets[FRONTAL_CHEST] = frontal
    if "Chest" in present:
        targets[TURNED] = 0.0
    if NOT_OURS not in present:
        targets[INVERTED] = 0.0
    return targets


def disguised_targets(targets: NDArray[np.float32], changes: Disguise) -> NDArray[np.float32]:
    """Return targets (N, L) of images that were inverted and turned; unknown stays unknown."""
    result = targets.copy()
    for key, done in ((INVERTED, changes.inverted), (TURNED, changes.turns > 0)):
        column = BODYPART_KEYS.index(key)
        result[:, column] = np.where(np.isnan(targets[:, column]), np.nan, done)
    return result


def _relative(sample: Sample, data: Path) -> Sample:
    return Sample(
        path=sample.path.relative_to(data),
        targets=sample.targets,
        group=sample.group,
        source=sample.source,
        split=sample.split,
        attributes=sample.attributes,
    )


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _unifesp(folder: Path) -> list[Sample]:
    views = _rows(ANNOTATIONS / "unifesp_chest_views.csv")
    view_of = {row["sop_instance_uid"]: row["view"] for row in views}
    samples = []
    for row in _rows(folder / "unifesp" / "labels.csv"):
        present = {KEY_OF_SOURCE_NAME[name] for name in row["labels"].split("|")}
        frontal = FRONTAL_OF_VIEW.get(view_of.get(row["sop_instance_uid"], "unclear"))
        samples.append(
            Sample(
                path=folder / "unifesp" / row["file"],
                targets=region_targets(present, frontal=frontal),
                group=f"unifesp-{row['patient_id']}",
                source="unifesp",
            )
        )
    return samples


def _limbs(folder: Path, seed: int) -> list[Sample]:
    views = {r["file"]: r["view"] for r in _rows(ANNOTATIONS / "limbs_chest_views.csv")}
    by_source: dict[str, list[Sample]] = defaultdict(list)
    for row in _rows(folder / "limbs" / "labels.csv"):
        by_source[f"{row['source']}-{row['split']}"].append(
            Sample(
                path=folder / "limbs" / row["file"],
                targets=_limb_targets(row, FRONTAL_OF_VIEW.get(views.get(row["file"], "unclear"))),
                group=f"limbs-{row['group']}",
                source="limbs",
                split="test" if row["split"] == "eval" else "train",
            )
        )
    return [
        sample
        for name, found in sorted(by_source.items())
        for sample in _capped(found, CAPS.get(name.split("-")[0]), seed)
    ]


def _limb_targets(row: dict[str, str], frontal: float | None) -> dict[str, float]:
    """Targets of one row; neighbouring regions of a single label stay unknown."""
    if row["labels"].startswith("OUT_OF_SCOPE"):
        return region_targets({NOT_OURS})
    names = row["labels"].replace("Upper Arm", "Others").split("|")
    return _without_neighbours({KEY_OF_SOURCE_NAME[name] for name in names}, frontal)


def _read_targets(shows: str, frontal: float | None) -> dict[str, float]:
    """Targets of one reading; why a radiologist called an image *Others* is often unseen."""
    present = {KEY_OF_SOURCE_NAME[name] for name in shows.split("|")}
    targets = _without_neighbours(present, frontal)
    if OTHERS not in present:
        targets.pop(OTHERS, None)
    return targets


def _without_neighbours(present: set[str], frontal: float | None) -> dict[str, float]:
    targets = region_targets(present, frontal=frontal)
    neighbours = {other for key in present for other in NEIGHBOURS.get(key, set())}
    for key in neighbours - present:
        targets.pop(key, None)
    return targets


def _knees(folder: Path, seed: int) -> list[Sample]:
    files = sorted((folder / "knee_osail_kl").glob("*/*.jpg"))
    samples = [
        Sample(path=f, targets=region_targets({"Knee"}), group=f"osail-{f.stem}", source="osail")
        for f in files
    ]
    return _capped(samples, CAPS["knee"], seed)


def _chests(data: Path, seed: int) -> list[Sample]:
    chest = region_targets({"Chest"}, frontal=1.0)
    rows = _rows(data / "chest" / "nih14" / "labels.csv")
    by_split: dict[str, list[Sample]] = {"train": [], "eval": []}
    for row in rows:
        by_split[row["split"]].append(
            Sample(
                path=data / "chest" / "nih14" / "images" / Path(row["file"]).name,
                targets=chest,
                group=f"nih-{row['patient_id']}",
                source="nih",
                split="test" if row["split"] == "eval" else "train",
            )
        )
    return [s for found in by_split.values() for s in _capped(found, CAPS["nih"], seed)]


def _not_ours(folder: Path, seed: int) -> list[Sample]:
    targets = region_targets({NOT_OURS})
    kinds: dict[str, list[Path]] = {
        kind: sorted((folder / "mednist64" / kind).iterdir())
        for kind in ("AbdomenCT", "BreastMRI", "ChestCT", "HeadCT")
    }
    samples = []
    for kind, files in kinds.items():
        slices = [
            Sample(path=f, targets=targets, group=f"{kind}-{f.stem}", source="slices")
            for f in files
        ]
        samples += _capped(slices, CAPS["slice"], seed)
    for file in sorted((folder / "dental_panoramic").iterdir()):
        group = f"dental-{file.stem}"
        samples.append(Sample(path=file, targets=targets, group=group, source="dental"))
    hands = [
        Sample(path=f, targets=region_targets({"Hand"}), group=f"h64-{f.stem}", source="mednist")
        for f in sorted((folder / "mednist64" / "Hand").iterdir())
    ]
    return samples + _capped(hands, CAPS["slice"], seed)


def _capped(samples: list[Sample], most: int | None, seed: int) -> list[Sample]:
    if most is None or len(samples) <= most:
        return samples
    rows = np.random.default_rng(seed).permutation(len(samples))[:most]
    return [samples[row] for row in sorted(rows)]
