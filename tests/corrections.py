"""Moves and plans for tests of correction packages."""

import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydicom import Dataset

from dicom_node.correction.order import TargetOrder
from dicom_node.correction.plan import CorrectionPlan, Maker, Move, Source, plan
from dicom_node.pipeline.part10 import received_file
from inference.types import Code
from tests.builders import chest_radiograph, part10_bytes

MAKER = Maker(
    moment=datetime(2026, 1, 2, 12, 30, tzinfo=UTC),
    actor="anna",
    uid_root="",
    manufacturer="Test Node",
    software_version="1.2.3",
    device_serial="node-1",
    series_number=9003,
)


def source(folder: Path, ds: Dataset | None = None, **overrides: Any) -> Source:
    """Write an image as the node keeps it, and return it as the source of a move."""
    made = ds if ds is not None else chest_radiograph(**overrides)
    path = folder / f"{made.SOPInstanceUID}.dcm"
    path.write_bytes(part10_bytes(made))
    return stored(path)


def stored(path: Path) -> Source:
    """Return a stored file as the source of a move."""
    file = received_file(path)
    return Source(
        header=file.header,
        path=path,
        content_sha256=file.content_sha256,
        transfer_syntax_uid=file.transfer_syntax_uid,
        sent_by="CR_ROOM_1",
    )


def order(**changes: Any) -> TargetOrder:
    """Return an order for an ankle of the invented patient."""
    known: dict[str, Any] = {
        "accession_number": "FAKE-ACC-2",
        "issuer": "RIS",
        "patient_id": "FAKE-0001",
        "requested_procedure_id": "RP-2",
        "description": "XR ANKLE LEFT",
        "codes": (Code(scheme="99LOC", value="XRANKL", meaning="XR ANKLE LEFT"),),
        "regions": ("ANKLE",),
        "laterality": "L",
    }
    return TargetOrder(**{**known, **changes})


def planned(*moves: Move, proposal_id: int = 7, maker: Maker = MAKER) -> CorrectionPlan:
    """Return the plan of some moves."""
    return plan(proposal_id, moves, maker)


_KNOWN = (
    r"Unrecognized defined term <99LOC> for value 1 of attribute <Coding Scheme Designator>",
    r"Missing attribute or value that would be needed to build DICOMDIR - .*",
    r"Value dubious for this VR - \(0x0010,0x0010\) PN .* - Retired Person Name form",
    r"Value dubious for this VR - \(0x0008,0x0090\) PN .* - Retired Person Name form",
)


def judged(path: Path) -> set[str]:
    """Return dciodvfy's errors and the warnings that are not known."""
    done = subprocess.run(["dciodvfy", path], capture_output=True, check=False)
    lines = (done.stdout + done.stderr).decode(errors="replace").splitlines()
    return {
        line
        for line in lines
        if line.startswith("Error")
        or (
            line.startswith("Warning - ")
            and not any(re.fullmatch(known, line[10:]) for known in _KNOWN)
        )
    }
