"""Phantom studies in an Orthanc, with what the node wrote back: what a reader opens in OHIF."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from safetensors.torch import load_file, save_file

from dicom_node.config.settings import NodeSettings
from dicom_node.demo.phantoms import StudyPlan, demo_studies
from inference.manifest import read_manifest
from inference.registry import SHIPPED
from inference.training.export import write_manifest
from tests.browser.ohif import OhifUnavailable, fetch, fetched
from tests.nodes import dimse_pacs, node_settings, running, send, studies, wait_for
from tests.orthanc import Orthanc, running_orthanc

PROGRAMS = ("npm", "chromium", "chromedriver")

_PLANS = (
    StudyPlan(study_description="XR CHEST PA", regions=("CHEST",), modality="DX"),
    StudyPlan(study_description="XR KNEE LEFT 2 VIEWS", regions=("KNEE", "HAND")),
)
_SEED = 20
_TAKEN_AT = datetime(2026, 1, 2, 10, 15, tzinfo=UTC)


def require_ohif() -> Path:
    """Return the folder of the built OHIF; skip the test where it cannot be had.

    With ``REQUIRE_BROWSER=1`` in the environment the test fails instead. A build server
    that requires only its peers (``REQUIRE_PEERS=1``) does not fetch 50 MB for each run.
    """
    required = os.environ.get("REQUIRE_BROWSER") == "1"
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        return _unavailable(f"not installed here: {', '.join(missing)}", required)
    if os.environ.get("REQUIRE_PEERS") == "1" and not required and not fetched():
        return _unavailable("OHIF is not here; REQUIRE_BROWSER=1 fetches it", required)
    try:
        return fetch()
    except OhifUnavailable as error:
        return _unavailable(str(error), required)


def _unavailable(message: str, required: bool) -> Path:
    if required:
        pytest.fail(message)
    pytest.skip(message)


@dataclass(frozen=True)
class Hospital:
    """An Orthanc that holds the phantoms and the node's results."""

    orthanc: Orthanc
    objects: tuple[Dataset, ...]

    def report(self, ordered: str) -> Dataset:
        """Return the SR of the study whose order holds the word `ordered`."""
        [found] = [ds for ds in self._of(ordered) if ds.Modality == "SR"]
        return found

    def heat_map(self) -> Dataset:
        """Return a heat map of the chest phantom; what it shows means nothing."""
        found = [ds for ds in self._of("CHEST") if ds.Modality == "OT"]
        assert found, "the chest network gives this phantom no heat map: draw another"
        return min(found, key=lambda ds: int(ds.InstanceNumber))

    def hold(self, ds: Dataset, folder: Path) -> None:
        """Store one more object."""
        assert send(self.orthanc.dicom_port, [ds], folder) == ["0000H"]

    def _of(self, ordered: str) -> list[Dataset]:
        return [ds for ds in self.objects if ordered in ds.StudyDescription]


@contextmanager
def hospital(folder: Path) -> Iterator[Hospital]:
    """Send phantoms to an Orthanc and to a node whose PACS it is; yield when all is back.

    The body parts are what the shipped network says of the phantoms. The shipped chest model
    calls nothing present in a drawing; this hospital runs one that does (`_eager_model`).
    """
    sent = demo_studies(seed=_SEED, taken_at=_TAKEN_AT, plans=_PLANS)
    eager = _eager_model(folder / "models")
    with running_orthanc(folder / "orthanc") as orthanc:
        pacs = [dimse_pacs(orthanc.dicom_port, orthanc.ae_title)]
        route = {"name": "all", "models": ["bodypart", eager.name], "destinations": ["pacs"]}
        settings = node_settings(
            folder, pacs=pacs, routes=[route], inference={"model_dirs": [str(eager.parent)]}
        )
        with running(settings) as node:
            for images in sent:
                for port in (orthanc.dicom_port, node.dimse_port):
                    assert set(send(port, images, folder / "sent")) == {"0000H"}
            wait_for(lambda: _all_is_back(settings), 120)
        uids = sorted(orthanc.sop_instance_uids())
        objects = tuple(dcmread(BytesIO(orthanc.file(uid))) for uid in uids)
        yield Hospital(orthanc, objects)


def _eager_model(root: Path) -> Path:
    """Write the shipped chest model, to which everything speaks for every finding.

    Every feature that spoke against a finding speaks for it, but all of them more quietly.
    """
    shipped = SHIPPED / "chest-findings"
    folder = root / "chest-findings-eager"
    folder.mkdir(parents=True)
    stored = load_file(shipped / "weights.safetensors")
    stored["head.weight"] = stored["head.weight"].abs() / 2
    save_file(stored, folder / "weights.safetensors")
    digest = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    named = {"name": folder.name, "weights_sha256": digest}
    write_manifest(folder, read_manifest(shipped).model_copy(update=named))
    return folder


def _all_is_back(settings: NodeSettings) -> bool:
    listed = studies(settings)
    return len(listed) == len(_PLANS) and all(
        study.revision and not study.waiting_jobs and study.deliveries == study.delivered
        for study in listed
    )
