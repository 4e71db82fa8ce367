"""The database goes away for seconds while work is in flight: nothing waits for a restart."""

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from dicom_node.demo.archive import Archive
from dicom_node.node import Node
from storage import jobs
from storage.jobs import JobRow
from storage.session import Database
from storage.states import JobKind, JobState
from tests.databases import postgresql_cluster
from tests.nodes import dimse_pacs, image, node_settings, running, send, studies, wait_for

IMAGES = 6


class Held:
    """The step *analyse*, held until the database is away."""

    def __init__(self, node: Node) -> None:
        self._steps: Any = node._parts.runner._steps
        self._analyse: Any = self._steps[JobKind.ANALYSE]
        self.begun, self.let_go = threading.Event(), threading.Event()
        self._steps[JobKind.ANALYSE] = self

    def __call__(self, job: JobRow) -> None:
        self.begun.set()
        assert self.let_go.wait(30)
        self._analyse(job)

    def end(self) -> None:
        self._steps[JobKind.ANALYSE] = self._analyse
        self.let_go.set()


def states(url: str) -> Counter[JobState]:
    database = Database(url, pool_size=1)
    with database.reading() as connection:
        found = Counter(job.state for job in jobs.listing(connection))
    database.close()
    return found


@pytest.mark.peer("PostgreSQL")
@pytest.mark.timeout(180)
@pytest.mark.xdist_group("node")
def test_work_in_flight_during_an_outage_ends_without_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dicom_node.pipeline.reconcile.OVERDUE_S", 1.0)
    monkeypatch.setattr("storage.work.BEGIN_S", 1.0)
    with postgresql_cluster(fsync=True) as server, Archive(tmp_path / "archive") as archive:
        settings = node_settings(
            tmp_path,
            pacs=[dimse_pacs(archive.port)],
            database={"url": server.create("node")},
            pipeline={
                "retry": {"first_delay_s": 0.2, "maximum_delay_s": 1, "attempts": 20},
                "reconcile_s": 1,
            },
        )
        with running(settings) as node:
            held = Held(node)
            images = [image() for _ in range(IMAGES)]
            assert send(node.dimse_port, images, tmp_path / "sent") == ["0000H"] * IMAGES
            assert held.begun.wait(20)
            server.stop()
            held.end()  # every step, and what says that it failed, meets a dead database
            wait_for(lambda: not node._parts.engine._running)
            server.start(fsync=True)

            wait_for(lambda: len(archive.files()) == IMAGES, 120)
            wait_for(lambda: states(settings.database_url).keys() == {JobState.DONE}, 60)

        assert all(study.revision == 1 for study in studies(settings))
        reported = {dcmread(path).StudyInstanceUID for path in archive.files()}
        assert reported == {ds.StudyInstanceUID for ds in images}
