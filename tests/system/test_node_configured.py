"""Nodes with configurations of their own: dead destinations, no route, urgent work."""

import json
import os
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import Comprehensive3DSRStorage, ComprehensiveSRStorage

from audit.errors import DatabaseAway
from audit.store import AuditFilter, query
from dicom_node.bootstrap_beside import open_work
from dicom_node.bootstrap_data import open_database
from dicom_node.cli import check
from dicom_node.cli.main import main
from dicom_node.delivery.outcome import Sender
from dicom_node.demo.archive import Archive
from dicom_node.demo.orthanc import free_port
from dicom_node.demo.sr_text import sr_text
from storage import jobs
from storage.states import JobKind, JobState
from tests.nodes import dimse_pacs, image, node_settings, running, send, studies, wait_for

pytestmark = pytest.mark.xdist_group("node")


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
            routine = [image() for _ in range(20)]
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

            def held_back_s() -> float:
                metrics = httpx.get(f"http://127.0.0.1:{node.web_port}/metrics").text
                name = "dicom_node_intake_slowdown_seconds_total "
                lines = [line for line in metrics.splitlines() if line.startswith(name)]
                return sum(float(line.split()[1]) for line in lines)

            for _ in range(10):  # the queue is measured once a second, a round may be shorter
                images = [image() for _ in range(40)]
                assert send(node.dimse_port, images, tmp_path / "sent") == ["0000H"] * 40
                if held_back_s() > 0.3:
                    break
            assert held_back_s() > 0.3


def test_check_tries_everything_and_says_what_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Archive(tmp_path / "archive") as archive:
        settings = node_settings(tmp_path, pacs=[dimse_pacs(archive.port)])
        config = tmp_path / "config.json"
        config.write_text(settings.model_dump_json())
        assert main(["check", "--config", str(config)]) == 0
        assert not list(tmp_path.rglob("probe"))
        said = capsys.readouterr().out
        for name in ("database", "disk", "port dimse", "models", "destination pacs"):
            assert f"ok      {name}" in said
    assert main(["check", "--config", str(config), "--json"]) == 1
    failed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["check"] for each in failed if not each["ok"]] == ["destination pacs"]
    broken = json.loads(settings.model_dump_json())
    broken |= {"destinations": [], "routes": [{"name": "all"}], "access": {}}
    broken["web"]["stow_token_file"] = str(tmp_path / "none")
    broken["accession"]["api_token_file"] = str(tmp_path / "none")
    absent = str(tmp_path / "none.pem")
    broken["dimse"]["tls"] = {"certificate_file": absent, "private_key_file": absent, "port": 0}
    config.write_text(json.dumps(broken))
    assert main(["check", "--config", str(config), "--json"]) == 1
    failed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    problems = {each["check"]: each["detail"] for each in failed if not each["ok"]}
    assert set(problems) == {"access", "port dimse-tls", "tokens"}
    assert "nobody may send" in problems["access"]
    config.write_text("dimse: {prot: 1}\nfoo: 1\n")
    assert main(["check", "--config", str(config)]) == 3
    assert capsys.readouterr().err.splitlines() == [
        "error: dimse.prot: unknown key",
        "error: foo: unknown key",
    ]


def test_check_goes_on_after_what_nobody_thought_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Sender:
        raise RuntimeError("http://user:hunter2@pacs")

    monkeypatch.setattr(check, "make_sender", broken)
    settings = node_settings(tmp_path, pacs=[dimse_pacs(104), dimse_pacs(104, name="b")])
    found = {each.check: each for each in check.findings(settings, "here")}

    assert not found["destination pacs"].ok
    assert not found["destination b"].ok
    assert found["destination b"].detail == "failed for an unknown reason (RuntimeError)"


def reports_in(archive: Archive, study_instance_uid: str) -> list[Dataset]:
    """Return the SRs of a study, the oldest revision first."""
    found = [dcmread(path) for path in archive.files()]
    return sorted(
        (ds for ds in found if ds.Modality == "SR" and ds.StudyInstanceUID == study_instance_uid),
        key=lambda ds: len(ds.get("PredecessorDocumentsSequence", ())),
    )


def test_revisions_reach_a_revived_pacs_in_their_order(tmp_path: Path) -> None:
    port = free_port()
    settings = node_settings(tmp_path, pacs=[dimse_pacs(port)])
    ds = image()
    study = ds.StudyInstanceUID
    with running(settings) as node:
        send(node.dimse_port, [ds], tmp_path / "sent")
        wait_for(lambda: [s.revision for s in studies(settings)] == [1])
        send(node.dimse_port, [image(study)], tmp_path / "sent")
        wait_for(lambda: [s.revision for s in studies(settings)] == [2])
        wait_for(lambda: [s.parked_jobs for s in studies(settings)] == [2])
        with Archive(tmp_path / "archive", port=port) as archive, open_database(settings) as db:
            work = open_work(settings, db)
            with db.reading() as connection:
                keys = [row.key for row in jobs.listing(connection, state=JobState.PARKED)]
            assert work.redrive(max(keys), actor="test"), "the newer revision alone"
            wait_for(lambda: len(reports_in(archive, study)) == 2)
            by_arrival = sorted(archive.files(), key=lambda path: path.stat().st_mtime_ns)
            ordered = [ds.SOPInstanceUID for ds in reports_in(archive, study)]
            assert [path.stem for path in by_arrival] == ordered


def test_a_given_up_report_does_not_stand_in_the_way_of_the_next(tmp_path: Path) -> None:
    with Archive(tmp_path / "archive") as archive:
        settings = node_settings(
            tmp_path, pacs=[dimse_pacs(archive.port)], settle={"settle_s": 3, "poll_s": 0.1}
        )
        ds = image()
        with running(settings) as node:
            send(node.dimse_port, [ds], tmp_path / "sent")
            wait_for(lambda: [s.waiting_jobs for s in studies(settings)] == [0])  # analysed
            [stored] = (tmp_path / "node" / "instances").rglob("*.dcm")
            stored.write_bytes(b"not what was received")
            wait_for(lambda: [s.parked_jobs for s in studies(settings)] == [1])
            with open_database(settings) as db:
                with db.reading() as connection:
                    [parked] = jobs.listing(connection, state=JobState.PARKED)
                assert parked.kind is JobKind.REPORT
                assert open_work(settings, db).discard(parked.key, actor="test")

            send(node.dimse_port, [ds, image(ds.StudyInstanceUID)], tmp_path / "sent")
            wait_for(lambda: len(reports_in(archive, ds.StudyInstanceUID)) == 1)
            text = sr_text(reports_in(archive, ds.StudyInstanceUID)[0])
    assert "Image 2" in text, "the file that was sent again, and the new one"


def test_an_image_whose_analysis_was_given_up_is_told_of_and_audited(tmp_path: Path) -> None:
    with Archive(tmp_path / "archive") as archive:
        settings = node_settings(
            tmp_path,
            pacs=[dimse_pacs(archive.port)],
            inference={"workers": 1, "batch_size": 1},
        )
        busy = [image() for _ in range(15)]
        victim = image()
        with running(settings) as node:
            send(node.dimse_port, busy, tmp_path / "sent")
            send(node.dimse_port, [victim], tmp_path / "sent")
            [newest] = [
                path
                for path in (tmp_path / "node" / "instances").rglob("*.dcm")
                if dcmread(path, stop_before_pixels=True).SOPInstanceUID == victim.SOPInstanceUID
            ]
            content = bytearray(newest.read_bytes())
            content[-1] ^= 1
            newest.write_bytes(content)
            wait_for(lambda: len(reports_in(archive, victim.StudyInstanceUID)) == 1)
            [report] = reports_in(archive, victim.StudyInstanceUID)
            assert "NOT CHECKED" in sr_text(report)
        with open_database(settings) as db, db.reading() as connection:
            wanted = AuditFilter(sop_instance_uid=victim.SOPInstanceUID)
            failures = [r for r in query(connection, wanted) if r.kind == "prediction"]
    assert [r.body["reason_code"] for r in failures] == ["storage.file.damaged"] * 2


def test_a_pacs_that_knows_no_comprehensive_sr_gets_the_other_profile(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "archive")
    archive._ae.remove_supported_context(ComprehensiveSRStorage)
    with archive:
        settings = node_settings(tmp_path, pacs=[dimse_pacs(archive.port)])
        ds = image()
        with running(settings) as node:
            for current in (ds, image(ds.StudyInstanceUID)):
                before = len(archive.files())
                send(node.dimse_port, [current], tmp_path / "sent")
                wait_for(lambda: len(archive.files()) > before)  # noqa: B023
            wait_for(lambda: [s.waiting_jobs for s in studies(settings)] == [0])
        first, second = reports_in(archive, ds.StudyInstanceUID)
    assert first.SOPClassUID == second.SOPClassUID == Comprehensive3DSRStorage
    assert "PredecessorDocumentsSequence" not in first
    [named] = second.PredecessorDocumentsSequence
    [series] = named.ReferencedSeriesSequence
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == first.SOPInstanceUID


def test_work_for_a_removed_destination_is_parked_with_that_reason(tmp_path: Path) -> None:
    settings = node_settings(
        tmp_path,
        pacs=[dimse_pacs(free_port(), name="old")],
        pipeline={"retry": {"first_delay_s": 3, "attempts": 9}},
    )
    with running(settings) as node:
        send(node.dimse_port, [image()], tmp_path / "sent")
        wait_for(lambda: [s.revision for s in studies(settings)] == [1])
    with Archive(tmp_path / "archive") as archive:
        renamed = node_settings(tmp_path, pacs=[dimse_pacs(archive.port, name="new")])
        with running(renamed):
            wait_for(lambda: [s.parked_jobs for s in studies(renamed)] == [1])
        with open_database(renamed) as db, db.reading() as connection:
            [parked] = jobs.listing(connection, state=JobState.PARKED)
    assert parked.error_code == "config.destination.unknown"


def test_a_new_database_is_refused_where_another_ones_files_lie(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = node_settings(tmp_path)
    with running(settings) as node:
        assert send(node.dimse_port, [image()], tmp_path / "sent") == ["0000H"]
    stored = set((settings.storage.root / "instances").rglob("*.dcm"))
    hour_ago = time.time() - 7200
    for path in stored:
        os.utime(path, (hour_ago, hour_ago))
    wrong = node_settings(tmp_path, database={"url": f"sqlite:///{tmp_path / 'wrong.db'}"})
    config = tmp_path / "wrong.json"
    config.write_text(wrong.model_dump_json())

    assert main(["serve", "--config", str(config)]) == 4

    assert "[storage.store.mismatch]" in capsys.readouterr().err
    assert set((settings.storage.root / "instances").rglob("*.dcm")) == stored != set()
    with running(settings):
        pass


def test_a_disk_without_room_refuses_by_a700_and_keeps_nothing(tmp_path: Path) -> None:
    settings = node_settings(
        tmp_path, storage={"root": str(tmp_path / "node"), "minimum_free_bytes": 10**18}
    )
    with running(settings) as node:
        assert send(node.dimse_port, [image(), image()], tmp_path / "sent") == ["A700H", "A700H"]
        health = httpx.get(f"http://127.0.0.1:{node.web_port}/healthz")
    assert (health.status_code, health.json()["components"]["disk"]["status"]) == (503, "failing")
    assert studies(settings) == []
    assert list((tmp_path / "node").rglob("*.dcm")) == []


def test_a_database_that_is_away_refuses_by_a700_and_is_missed_no_longer_than_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = node_settings(tmp_path)
    with running(settings) as node:
        committer = node._parts.committer
        with monkeypatch.context() as broken:

            def away(_work: object) -> None:
                raise DatabaseAway("the database cannot be reached")

            broken.setattr(committer, "submit", away)
            assert send(node.dimse_port, [image()], tmp_path / "sent") == ["A700H"]
            assert list((tmp_path / "node" / "instances").rglob("*.dcm")) == []
        assert send(node.dimse_port, [image()], tmp_path / "sent") == ["0000H"]
    assert len(studies(settings)) == 1
