"""What a report says, before it becomes DICOM (pure values)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydicom import Dataset

from inference.accessions import AccessionVerdict, Proposal
from inference.manifest import Label
from inference.types import Code, ImageAnalysis, ImageVerdict


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportImage:
    """One image of the study as the report speaks of it."""

    number: int
    """1, 2, 3 … in the order of Series and Instance Number; what the text calls it."""

    header: Dataset
    """The image's data set without Pixel Data, as received."""

    path: Path
    """The stored Part 10 file, for rendering the heat map on it."""

    content_sha256: str
    """Of the data set as received, without preamble and file meta information."""

    analysis: ImageAnalysis
    verdict: ImageVerdict | None
    """None when the body-part model did not run on this image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Predecessor:
    """An earlier SR of the same study that this one follows."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportProposal:
    """Where images of the study may belong instead."""

    number: int
    """What ``dicom-node accession`` calls it."""

    accepted: bool
    """Whether a person has agreed; otherwise it waits."""

    proposal: Proposal


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRequest:
    """Everything the builders need; nothing else is read, the clock included."""

    study_instance_uid: str
    revision: int
    images: tuple[ReportImage, ...]
    """At least one, in the order of their numbers."""

    labels: Mapping[tuple[str, str], Label]
    """What a model's manifest says of a label, by (model name, label key)."""

    regions: Mapping[str, Code]
    """Coded concept of each region key of the mapping table."""

    accessions: tuple[AccessionVerdict, ...] = ()
    """How the accessions with images of the study stand to their orders, and the patient's
    overdue orders without images."""

    proposals: tuple[ReportProposal, ...] = ()
    created_at: datetime
    """Aware; becomes the date and time of every object."""

    predecessor: Predecessor | None
    manufacturer: str
    software_version: str
    device_serial: str
    uid_root: str
    """Root under which UIDs are made; empty for 2.25 (PS3.5 Section B.2)."""

    sr_series_number: int
    sc_series_number: int
    sc_long_side_pixels: int
    maximum_heat_maps: int
    """Only so many findings get a heat map, the likeliest first."""

    maximum_pixels: int
    """Images with more are not read for an overlay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltObject:
    """One DICOM object of a report, ready to be written."""

    role: str
    """``SR`` or ``SC``."""

    dataset: Dataset
    """Complete, with file meta information."""

    subject: tuple[int, str, str] | None = None
    """Of a heat map: image number, model name, label key."""
