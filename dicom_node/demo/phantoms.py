"""Phantom studies: an order and drawn images, some of them filed under the wrong order."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pydicom import Dataset
from pydicom.uid import generate_uid

from dicom_node.demo.anatomy import PHANTOMS, render
from dicom_node.demo.radiograph import Identity, as_digital_x_ray, computed_radiograph
from inference.regions import load_regions

COMMENT = "PHANTOM: drawn by a program, no patient"


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyPlan:
    """What is ordered, and what the images show."""

    study_description: str
    regions: tuple[str, ...]
    """Keys of `dicom_node.demo.anatomy.PHANTOMS`, one per image."""

    modality: str = "CR"
    """``CR`` or ``DX``."""


DEMO_PLANS = (
    StudyPlan(study_description="XR CHEST PA", regions=("CHEST",), modality="DX"),
    StudyPlan(study_description="XR KNEE LEFT 2 VIEWS", regions=("KNEE", "HAND")),
    StudyPlan(study_description="Hand links", regions=("HAND",)),
    StudyPlan(study_description="RX TORAX PA", regions=("HAND",), modality="DX"),
)
"""Two studies filed rightly; a knee order and a chest order that each hold a hand."""


def phantom_study(plan: StudyPlan, *, number: int, seed: int, taken_at: datetime) -> list[Dataset]:
    """Return the images of one study, one series each, with file meta information.

    Body Part Examined says what was ordered, not what is seen: so do modalities, which
    copy it from the order.

    Parameters
    ----------
    plan : StudyPlan
        What is ordered and shown.
    number : int
        Tells the studies of one run apart: patient, accession and UIDs follow from it.
    seed : int
        Equal seeds give equal pixels and equal UIDs.
    taken_at : datetime
        Of everything in the study.

    Raises
    ------
    KeyError
        When the plan names a region that cannot be drawn.
    """
    table = load_regions()
    ordered = table.regions_in_text(plan.study_description).regions
    declared = table.regions[ordered[0]] if ordered else table.regions[plan.regions[0]]
    images = []
    for position, key in enumerate(plan.regions, start=1):
        phantom = PHANTOMS[key]
        pixels = render(phantom, seed=seed + 1000 * number + position)
        image = computed_radiograph(
            pixels,
            _identity(plan, number, position, seed),
            bits_stored=12,
            taken_at=taken_at,
            body_part_examined=declared.key,
            view_position=phantom.view,
            laterality="L" if declared.paired else None,
            patient_orientation=phantom.patient_orientation,
            image_comments=COMMENT,
        )
        images.append(as_digital_x_ray(image, declared) if plan.modality == "DX" else image)
    return images


def demo_studies(
    *, seed: int, taken_at: datetime, plans: Sequence[StudyPlan] = DEMO_PLANS
) -> list[list[Dataset]]:
    """Return the studies of `plans`, in their order."""
    return [
        phantom_study(plan, number=number, seed=seed, taken_at=taken_at)
        for number, plan in enumerate(plans, start=1)
    ]


def _identity(plan: StudyPlan, number: int, position: int, seed: int) -> Identity:
    def uid(*parts: str) -> str:
        entropy = ["phantom", plan.study_description, str(seed), str(number), *parts]
        return str(generate_uid(entropy_srcs=entropy))

    return Identity(
        patient_id=f"PHANTOM-{number:03d}",
        patient_name=f"PHANTOM^{number:03d}",
        accession_number=f"PHANTOM{number:03d}",
        study_instance_uid=uid("study"),
        series_instance_uid=uid("series", str(position)),
        sop_instance_uid=uid("image", str(position)),
        study_description=plan.study_description,
        series_description=f"Phantom {position}",
        series_number=position,
    )
