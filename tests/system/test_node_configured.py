"""Nodes with configurations of their own: dead destinations, no route, urgent work."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid

from audit.store import AuditFilter, query
from dicom_node.bootstrap import open_database, open_work
from dicom_node.cli.main import main
from dicom_node.demo.archive import Archive
from dicom_node.demo.orthanc import free_port
from storage import jobs
from storage.states import JobState
from tests.builders import chest_radiograph
from tests.nodes import dimse_pacs, node_settings, running, send, studies, wait_for

pytestmark = pytest.mark.xdist_group("node")


def image(study: str | None = None, **overrides: Any) -> Dataset:
    return chest_radiograph(
        StudyInstanceUID=study or generate_uid(),
        SeriesInstanceUID=generate_uid(),
        SOPInstanceUID=generate_uid(),
        **overrides,
    )


def test_a_dead_destination_blocks_no_other_and_ends_parked_then_redriven(
    tmp_path: Path, taken_at: Any
) -> None:
    dead_port = free_port()
    with Archive(tmp_path / "alive") as alive:
        settings = node_settings(
            tmp_path,
            pacs=[dimse_pacs(dead_port, name="dead"), dimse_pacs(alive.port, name="alive")],
        )
        with running(settings) as node:
            ds = image()
            send(node.dimse_port, [ds], tmp_path / "sent")
            wait_for(lambda: len(alive.files()) == 1)

            wait_for(lambda: [s.parked_jobs for s in studies(settings)] == [1])
            with open_database(settings) as database:
                with database.reading() as connection:
                    [parked] = jobs.listing(connection, state=JobState.PARKED)
                assert parked.error_code == "delivery.peer.unreachable"
                with Archive(tmp_path / "revived", port=dead_port) as revived:
                    assert open_work(settings, database).redrive(parked.key, actor="test")
                    wait_for(lambda: len(revived.files()) == 1)
                    wait_for(lambda: [s.parked_jobs for s in studies(settings)] == [0])


def test_what_no_route_takes_is_stored_and_nothing_more(tmp_path: Path) -> None:
    with Archive(tmp_path / "archive") as archive:
        settings = node_settings(
            tmp_path,
            pacs=[dimse_pacs(archive.port)],
            routes=[{"name": "mg", "match": {"modalities": ["MG"]}, "destinations": ["pacs"]}],
        )
        with running(settings) as node:
            assert send(node.dimse_port, [image()], tmp_path / "sent") == ["0000H"]
            [listed] = studies(settings)
            assert (listed.instances, listed.waiting_jobs, listed.revision) == (1, 0, 0)
            health = httpx.get(f"http://127.0.0.1:{node.web_port}/healthz").json()
            assert health["status"] == "ok"
            metrics = httpx.get(f"http://127.0.0.1:{node.web_port}/metrics").text
            assert "dicom_node_instances_received_total" in metrics
        assert archive.files() == []


def test_a_burst_of_urgent_work_goes_first(tmp_path: Path) -> None:
    with Archive(tmp_path / "archive") as archive:
        settings = node_settings(
            tmp_path,
            pacs=[dimse_pacs(archive.port)],
            settle={"settle_s": 0, "poll_s": 0.1},
            inference={"workers": 1, "batch_size": 1},
        )
        with running(settings) as node:
            routine = [image() for _ in range(60)]
            urgent = image(StudyPriorityID="STAT")
            send(node.dimse_port, routine, tmp_path / "sent")
            send(node.dimse_port, [urgent], tmp_path / "sent")
            wait_for(lambda: all(s.revision for s in studies(settings)))

        with open_database(settings) as database, database.reading() as connection:
            order = [
                row.body["subject"]["study_instance_uid"]
                for row in query(connection, AuditFilter())
                if row.kind == "prediction" and row.body["model"]["name"] == "bodypart"
            ]
    assert order.index(urgent.StudyInstanceUID) < len(order) - 10


def test_a_node_that_falls_behind_slows_its_senders_and_refuses_nothing(tmp_path: Path) -> None:
    with Archive(tmp_path / "archive") as archive:
        settings = node_settings(
            tmp_path,
            pacs=[dimse_pacs(archive.port)],
            inference={"workers": 1, "batch_size": 1},
            pipeline={"maximum_waiting_images": 1, "maximum_slowdown_s": 0.3},
        )
        with running(settings) as node:
            images = [image() for _ in range(40)]
            assert send(node.dimse_port, images, tmp_path / "sent") == ["0000H"] * 40
            metrics = httpx.get(f"http://127.0.0.1:{node.web_port}/metrics").text
    [line] = [
        line
        for line in metrics.splitlines()
        if line.startswith("dicom_node_intake_slowdown_seconds_total ")
    ]
    assert float(line.split()[1]) > 0.3


def test_check_tries_everything_and_says_what_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Archive(tmp_path / "archive") as archive:
        settings = node_settings(tmp_path, pacs=[dimse_pacs(archive.port)])
        config = tmp_path / "config.json"
        config.write_text(settings.model_dump_json())
        assert main(["check", "--config", str(config)]) == 0
        said = capsys.readouterr().out
        for name in ("database", "disk", "port dimse", "models", "destination pacs"):
            assert f"ok      {name}" in said
    assert main(["check", "--config", str(config), "--json"]) == 1
    failed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["check"] for each in failed if not each["ok"]] == ["destination pacs"]
    config.write_text("dimse: {prot: 1}\nfoo: 1\n")
    assert main(["check", "--config", str(config)]) == 3
    assert capsys.readouterr().err.splitlines() == [
        "error: dimse.prot: unknown key",
        "error: foo: unknown key",
    ]
