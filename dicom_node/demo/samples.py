"""The demonstration's studies: real radiographs where they are, else drawn phantoms."""

import csv
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydicom import Dataset
from pydicom.uid import generate_uid

from dicom_node.demo.phantoms import demo_studies
from dicom_node.demo.radiograph import Identity
from dicom_node.demo.wrap import wrap
from inference.datafolder import data_folder

PHANTOM_NOTE = (
    "These images are PHANTOMS drawn by this program, because no real images were found. "
    "The networks were trained on real radiographs: what they say of phantoms means nothing."
)
REAL_NOTE = (
    "Real radiographs. The body-part network was trained on the set that the limbs come "
    "from, so this shows the path at work, not how accurate it is; see docs/models for that."
)

_SEED = 20

_ORDERS = (
    ("Chest", "XR CHEST PA"),
    ("Knee", "XR KNEE LEFT 2 VIEWS"),
    ("Hand", "HAND AP"),
    ("Ankle", "XR KNEE RIGHT"),
    ("Pelvis", "RX BACIA AP"),
    ("Wrist", "RX TORAX PA"),
)
"""What the image shows, and what its order says: two of the six do not fit."""

_CHEST_FINDINGS = ("Effusion", "No Finding")
"""NIH labels of further chest images, taken from the split that was held out of training."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Studies to send, and what to say of them."""

    studies: list[list[Dataset]]
    note: str


def find_samples(data: Path | None, *, taken_at: datetime) -> Samples:
    """Return the studies of the demonstration.

    Parameters
    ----------
    data : Path, optional
        Folder of real images; ``$XRAY_DATA``, else ``../shared/data``, when left out.
    taken_at : datetime
        Of every image.
    """
    folder = data or data_folder()
    body_parts, chests = folder / "bodypart" / "unifesp", folder / "chest" / "nih14"
    if not (body_parts / "labels.csv").is_file() or not (chests / "labels.csv").is_file():
        return Samples(demo_studies(seed=_SEED, taken_at=taken_at), PHANTOM_NOTE)
    chosen: list[tuple[Path, Identity]] = []
    rows = _rows(body_parts)
    for part, order in _ORDERS:
        shown = [row for row in rows if row["labels"] == part]
        row = shown[_SEED % len(shown)]
        accession = row["accession_number"]
        chosen.append((body_parts / row["file"], _identity(len(chosen) + 1, accession, order)))
    rows = [row for row in _rows(chests) if row["split"] == "eval"]
    for finding in _CHEST_FINDINGS:
        row = next(row for row in rows if row["finding_labels"] == finding)
        accession = f"NIH{row['patient_id']}"
        picture = chests / "images" / row["file"]
        chosen.append((picture, _identity(len(chosen) + 1, accession, "XR CHEST")))
    studies = [[wrap(picture, who, taken_at=taken_at)] for picture, who in chosen]
    return Samples(studies, REAL_NOTE)


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        return sorted(csv.DictReader(file), key=lambda row: row["file"])


def _identity(number: int, accession_number: str, order: str) -> Identity:
    def uid(level: str) -> str:
        return str(generate_uid(entropy_srcs=["demo", level, str(number), accession_number]))

    return Identity(
        patient_id=f"DEMO-{number:03d}",
        patient_name=f"DEMO^{number:03d}",
        accession_number=accession_number,
        study_instance_uid=uid("study"),
        series_instance_uid=uid("series"),
        sop_instance_uid=uid("image"),
        study_description=order,
    )
