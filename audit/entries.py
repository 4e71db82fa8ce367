"""The values of the audit: what a record is about, who writes it, and the entry itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class RecordKind(StrEnum):
    """Why a record was written."""

    PREDICTION = "prediction"
    """One model on one image: predicted, skipped or failed."""

    INSTANCE_RECEIVED = "instance_received"
    REPORT_WRITTEN = "report_written"
    DELIVERY = "delivery"
    ACCESSION_CHECKED = "accession_checked"
    """How the images of an accession stand to its order; again when that changes."""

    PROPOSAL_CHANGED = "proposal_changed"
    """A proposal was opened, superseded, accepted or rejected, and by whom."""

    CORRECTION_WRITTEN = "correction_written"
    """A correction package was made on a person's word."""

    JOB_CHANGED = "job_changed"
    """A job was parked, re-driven or discarded."""

    CONFIGURATION_LOADED = "configuration_loaded"
    MODEL_LOADED = "model_loaded"
    ACCESS = "access"
    """Somebody read or exported the audit (DICOM PS3.15 A.5.3.2, Audit Log Used)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A record on its way into the table.

    `key` is what it is about: a second entry with the same key is not written.
    """

    kind: RecordKind
    key: str
    recorded_at: datetime
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """Who writes: the same for every record of a process."""

    node_id: str
    software_version: str
    commit: str = ""
    """Of the source that the software was built from; empty where nobody knows."""

    host: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The image, or the study, that a record is about; empty where it does not apply."""

    patient_pseudonym: str = ""
    accession_pseudonym: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    sop_instance_uid: str = ""
    sop_class_uid: str = ""
    transfer_syntax_uid: str = ""
    revision: int = 1
    """Which content of the SOP instance, where the same UID came with other bytes."""

    content_sha256: str = ""
    """Of the data set as received, without preamble and file meta information."""

    pixel_sha256: str = ""
    """Of the decoded stored pixel values; empty when they could not be decoded."""

    modality: str = ""
    body_part_examined: str = ""
    view_position: str = ""
    laterality: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenObject:
    """One DICOM object of a report or of a correction package."""

    role: str
    """``SR`` or ``SC``; ``COPY`` or ``NOTE``."""

    profile: str
    sop_instance_uid: str
    sop_class_uid: str
    sha256: str
