"""kill -9 at twenty random instants: nothing acknowledged is lost, nothing is done twice."""

import json
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid
from sqlalchemy import func, select

from audit.errors import NodeError
from audit.store import AuditFilter, query, verify
from dicom_node.bootstrap_data import open_database
from dicom_node.config.settings import NodeSettings
from dicom_node.demo.archive import Archive
from dicom_node.demo.orthanc import free_port
from storage.models import Instance, Report, ReportInstance, ReportObject, Result
from tests.nodes import NodeProcess, dimse_pacs, image, node_settings, send, studies, wait_for

KILLS = 20
STUDIES, IMAGES_EACH = 40, 5
LONGEST_LIFE_S = 4.0
SEED = 20261120
ANALYSES_AT_ONCE = 12
"""Workers and batch size together: as many lines a kill may keep from being written."""


class Sender(threading.Thread):
    """A PACS that sends until every image is acknowledged, whatever happens to the node."""

    def __init__(self, port: int, pending: list[Dataset], folder: Path, pace_s: float) -> None:
        super().__init__(daemon=True)
        self._port, self._pending, self._folder, self._pace_s = port, pending, folder, pace_s
        self.acknowledged: set[str] = set()

    def wait_for_progress(self) -> None:
        """Return when something more has been acknowledged, or all has."""
        before = len(self.acknowledged)
        wait_for(lambda: len(self.acknowledged) > before or not self.is_alive())

    def run(self) -> None:
        while self._pending:
            batch = self._pending[:IMAGES_EACH]
            try:
                statuses = send(self._port, batch, self._folder)
            except NodeError:
                time.sleep(0.05)
                continue
            for ds, status in zip(batch, statuses, strict=True):
                if status == "0000H":
                    self.acknowledged.add(ds.SOPInstanceUID)
                    self._pending.remove(ds)
            time.sleep(self._pace_s)


def images() -> list[Dataset]:
    """Return the images of all studies, study after study."""
    return [
        image(study)
        for study in (str(generate_uid()) for _ in range(STUDIES))
        for _ in range(IMAGES_EACH)
    ]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.xdist_group("kill")
def test_twenty_kills_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    with Archive(tmp_path / "archive") as archive:
        port = free_port()
        settings = node_settings(tmp_path, pacs=[dimse_pacs(archive.port)], dimse={"port": port})
        configuration = tmp_path / "config.yaml"
        configuration.write_text(settings.model_dump_json())
        node = NodeProcess(configuration, tmp_path / "node.log")
        sender = Sender(port, images(), tmp_path / "sent", pace_s=1.0)
        sender.start()
        for _ in range(KILLS):
            node.start()
            sender.wait_for_progress()  # a life counts once something was acknowledged in it
            time.sleep(chance.uniform(0, LONGEST_LIFE_S))
            node.kill()
        node.start()
        wait_for(lambda: listens(port))  # SIGTERM is asked for below; it must be heard
        sender.join(120)
        assert not sender.is_alive()
        wait_for(
            lambda: all(
                s.revision and not s.waiting_jobs and s.deliveries == s.delivered
                for s in studies(settings)
            ),
            240,
        )
        assert node.stop() == 0

        check_rows(settings, sender.acknowledged)
        check_archive(settings, archive)
        check_analyses(tmp_path / "node.log")


def listens(port: int) -> bool:
    """Whether something accepts connections on `port`."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def check_rows(settings: NodeSettings, acknowledged: set[str]) -> None:
    """Every acknowledged image: one row, one result and one audit record for each model."""
    assert len(acknowledged) == STUDIES * IMAGES_EACH
    with open_database(settings) as database, database.reading() as connection:
        stored = Counter(connection.scalars(select(Instance.sop_instance_uid)))
        assert stored == Counter(acknowledged)
        results = Counter(
            tuple(row)
            for row in connection.execute(
                select(Instance.sop_instance_uid, Result.model_name).join(
                    Result, Result.instance_fk == Instance.id
                )
            )
        )
        wanted = Counter(
            (uid, model) for uid in acknowledged for model in ("bodypart", "chest-findings")
        )
        assert results == wanted
        records = Counter(
            (row.body["subject"]["sop_instance_uid"], row.body["model"]["name"])
            for row in query(connection, AuditFilter())
            if row.kind == "prediction"
        )
        assert records == wanted
        assert verify(connection).ok
        files = connection.scalars(select(Instance.path)).all()
    root = settings.storage.root
    assert all((root / path).is_file() for path in files)


def check_archive(settings: NodeSettings, archive: Archive) -> None:
    """One SR for each report revision; together they speak of every image."""
    reports = [ds for ds in map(dcmread, archive.files()) if ds.Modality == "SR"]
    with open_database(settings) as database, database.reading() as connection:
        revisions = connection.execute(select(func.count()).select_from(Report)).scalar_one()
        spoken_of = connection.execute(
            select(func.count(func.distinct(ReportInstance.instance_fk)))
        ).scalar_one()
        written = set(
            connection.scalars(
                select(ReportObject.sop_instance_uid).where(ReportObject.role == "SR")
            )
        )
    assert len(written) == revisions
    assert {ds.SOPInstanceUID for ds in reports} == written
    assert spoken_of == STUDIES * IMAGES_EACH
    assert len({ds.StudyInstanceUID for ds in reports}) == STUDIES
    contents: dict[str, set[str]] = {}
    for receipt in archive.receipts:
        contents.setdefault(receipt.sop_instance_uid, set()).add(receipt.sha256)
    assert {uid for uid, seen in contents.items() if len(seen) > 1} == set()


def check_analyses(log: Path) -> None:
    """No image was analysed to the end twice, in whichever of the processes.

    An analysis that a kill cut short leaves nothing; one that was killed between its
    transaction and its line leaves no line.
    """
    analysed = Counter(
        event["instance_id"]
        for event in log_events(log)
        if event["event"] == "pipeline.instance.analysed"
    )
    assert {instance: times for instance, times in analysed.items() if times > 1} == {}
    assert len(analysed) >= STUDIES * IMAGES_EACH - KILLS * ANALYSES_AT_ONCE


def log_events(log: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of a log, but for a line that a kill cut."""
    for line in log.read_text("utf-8").splitlines():
        with suppress(json.JSONDecodeError):
            yield json.loads(line)
