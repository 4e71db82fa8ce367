"""A whole node with its own archive as the PACS: what a PACS administrator relies on."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import Dataset, dcmread

from audit.chain import row_hash
from audit.entries import RecordKind
from audit.store import AuditFilter, query, verify
from dicom_node.bootstrap_data import open_database
from dicom_node.cli.main import main
from dicom_node.demo.archive import Archive
from dicom_node.demo.phantoms import DEMO_PLANS, phantom_study
from dicom_node.demo.sr_text import sr_text
from dicom_node.node import Node
from dicom_node.version import software_commit
from inference.regions import load_regions
from storage.index import study_by_uid
from tests.nodes import CALLING, dimse_pacs, image, node_settings, running, send, studies, wait_for

pytestmark = pytest.mark.xdist_group("node")


class Place:
    """A node with its archive, its settings and a folder."""

    def __init__(self, folder: Path, archive: Archive, settings: Any, node: Node) -> None:
        self.folder, self.archive, self.settings, self._node = folder, archive, settings, node
        self.port = node.dimse_port

    def models_run(self) -> int:
        """Return how often a model has run on an image, the metrics say."""
        metrics = httpx.get(f"http://127.0.0.1:{self._node.web_port}/metrics").text
        return sum(
            int(float(line.split()[-1]))
            for line in metrics.splitlines()
            if line.startswith("dicom_node_predictions_total{")
        )

    def send(self, *images: Dataset, **options: Any) -> list[str]:
        return send(self.port, images, self.folder / "sent", **options)

    def objects(self, study_instance_uid: str) -> list[Dataset]:
        """Return what the archive holds of a study."""
        found = [dcmread(path) for path in self.archive.files()]
        return [ds for ds in found if ds.StudyInstanceUID == study_instance_uid]

    def reports(self, study_instance_uid: str) -> list[Dataset]:
        """Return the SRs of a study, the oldest first."""
        found = [ds for ds in self.objects(study_instance_uid) if ds.Modality == "SR"]
        return sorted(found, key=lambda ds: len(ds.get("PredecessorDocumentsSequence", ())))

    def records(self, study_instance_uid: str, kind: str) -> list[Any]:
        with open_database(self.settings) as database, database.reading() as connection:
            wanted = AuditFilter(study_instance_uid=study_instance_uid)
            return [row for row in query(connection, wanted) if row.kind == kind]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("place")
    with ExitStack() as stack:
        archive = stack.enter_context(Archive(folder / "archive"))
        settings = node_settings(
            folder, pacs=[dimse_pacs(archive.port)], inference={"runtime": "auto"}
        )
        node = stack.enter_context(running(settings))
        yield Place(folder, archive, settings, node)


def test_a_study_comes_back_as_one_report_in_the_same_study(place: Place, taken_at: Any) -> None:
    images = phantom_study(DEMO_PLANS[1], number=7, seed=3, taken_at=taken_at)
    study = images[0].StudyInstanceUID

    assert place.send(*images) == ["0000H", "0000H"]
    wait_for(lambda: bool(place.reports(study)))

    [report] = place.reports(study)
    assert report.PatientID == images[0].PatientID
    assert report.AccessionNumber == images[0].AccessionNumber
    assert {
        item.ReferencedSOPInstanceUID
        for evidence in report.CurrentRequestedProcedureEvidenceSequence
        for series in evidence.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    } >= {ds.SOPInstanceUID for ds in images}
    predictions = place.records(study, "prediction")
    assert sorted(row.body["model"]["name"] for row in predictions) == [
        "bodypart",
        "bodypart",
        "chest-findings",
        "chest-findings",
    ]
    with open_database(place.settings) as database, database.reading() as connection:
        row = study_by_uid(connection, study)
    for record in predictions:
        assert row is not None
        assert record.body["correlation_id"] == row.correlation_id
        assert record.body["calling_ae_title"] == CALLING
        assert record.body["region_table_sha256"] == load_regions().sha256
        assert record.body["node"]["commit"] == software_commit()
    verdicts = [r.body["verdict"]["verdict"] for r in predictions if r.body["verdict"]]
    assert len(verdicts) == 2


def test_a_late_image_makes_a_revision_that_names_its_predecessor(place: Place) -> None:
    first = image()
    study = first.StudyInstanceUID
    run_before = place.models_run()
    place.send(first)
    wait_for(lambda: len(place.reports(study)) == 1)

    late = image(study)
    place.send(late)
    wait_for(lambda: len(place.reports(study)) == 2)

    old, new = place.reports(study)
    [named] = new.PredecessorDocumentsSequence
    [series] = named.ReferencedSeriesSequence
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == old.SOPInstanceUID
    assert place.models_run() - run_before == 4, "nothing is analysed twice"
    assert len(place.records(study, "prediction")) == 4


def test_equal_bytes_again_are_a_success_without_new_work(place: Place) -> None:
    ds = image()
    place.send(ds)
    wait_for(lambda: len(place.reports(ds.StudyInstanceUID)) == 1)

    run_before = place.models_run()

    assert place.send(ds) == ["0000H"]
    after = image()  # when its report is here, whatever the duplicate began would be done
    place.send(after)
    wait_for(lambda: len(place.reports(after.StudyInstanceUID)) == 1)

    assert place.models_run() - run_before == 2, "the two models on the other image only"
    [listed] = [s for s in studies(place.settings) if s.study_instance_uid == ds.StudyInstanceUID]
    assert (listed.instances, listed.revision) == (1, 1)


def test_other_bytes_under_a_known_uid_are_kept_as_a_revision_and_audited(place: Place) -> None:
    ds = image()
    study = ds.StudyInstanceUID
    place.send(ds)
    wait_for(lambda: len(place.reports(study)) == 1)

    ds.StudyDescription = "XR KNEE"
    assert place.send(ds) == ["0000H"]
    wait_for(lambda: len(place.reports(study)) == 2)

    [received] = place.records(study, "instance_received")
    assert received.body["outcome"] == "revision"
    assert received.body["subject"]["revision"] == 2
    [listed] = [s for s in studies(place.settings) if s.study_instance_uid == study]
    assert listed.instances == 2


def test_an_undecodable_image_is_named_in_the_report_and_the_audit(place: Place) -> None:
    ds = image()
    del ds.PixelData
    place.send(ds)
    wait_for(lambda: len(place.reports(ds.StudyInstanceUID)) == 1)

    records = place.records(ds.StudyInstanceUID, "prediction")
    assert {row.body["outcome"] for row in records} == {"failed"}
    assert {row.body["reason_code"] for row in records} == {"pixels.absent"}
    assert "pixels.absent" in sr_text(place.reports(ds.StudyInstanceUID)[0])


def test_another_patients_image_under_a_study_is_kept_and_told_of(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    own = image(PatientID="FAKE-OWN")
    study = own.StudyInstanceUID
    assert place.send(own, image(study, PatientID="FAKE-OTHER")) == ["0000H", "0000H"]
    wait_for(lambda: len(place.reports(study)) == 1)

    [received] = place.records(study, "instance_received")
    assert received.body["outcome"] == "patient_conflict"
    [report] = place.reports(study)
    assert report.PatientID == "FAKE-OWN"
    config = place.folder / "config.json"
    config.write_text(place.settings.model_dump_json())
    capsys.readouterr()
    assert main(["studies", "--config", str(config), "--limit", "1"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "1 image of another patient" in said


def test_strangers_are_refused(place: Place) -> None:
    from audit.errors import PeerUnreachable

    with pytest.raises(PeerUnreachable):
        place.send(image(), calling="STRANGER")


def test_the_audit_chain_is_unbroken_and_names_nobody(place: Place) -> None:
    ds = image(PatientName="Zebedee^Secret", PatientID="SECRET-77", AccessionNumber="SECRET-ACC")
    place.send(ds)
    wait_for(lambda: len(place.reports(ds.StudyInstanceUID)) == 1)

    with open_database(place.settings) as database, database.reading() as connection:
        assert verify(connection).ok
        payloads = [row.payload for row in query(connection, AuditFilter())]
        predicted, [written] = (
            list(
                query(
                    connection, AuditFilter(kinds=(kind,), study_instance_uid=ds.StudyInstanceUID)
                )
            )
            for kind in (RecordKind.PREDICTION, RecordKind.REPORT_WRITTEN)
        )
    assert not any("SECRET" in p or "Zebedee" in p for p in payloads)
    assert len(predicted) == 2
    assert set(written.body["predictions"]) == {row.key for row in predicted}


def test_operators_can_ask_for_health_metrics_studies_jobs_and_audit(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    ds = image()
    place.send(ds)
    wait_for(lambda: len(place.reports(ds.StudyInstanceUID)) == 1)
    config = place.folder / "config.json"
    config.write_text(place.settings.model_dump_json())
    capsys.readouterr()

    assert main(["audit", "list", "--config", str(config), "--json", "--limit", "3"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 3
    assert main(["audit", "show", "--config", str(config), lines[0]["audit_id"]]) == 0
    assert json.loads(capsys.readouterr().out)["audit_id"] == lines[0]["audit_id"]
    assert main(["audit", "show", "--config", str(config), str(lines[0]["seq"])]) == 0
    assert json.loads(capsys.readouterr().out)["audit_id"] == lines[0]["audit_id"]
    assert main(["audit", "show", "--config", str(config), "999999999999999999999999"]) == 1
    capsys.readouterr()
    assert lines[0]["row_hash"] == row_hash(lines[0]["prev_hash"], lines[0]["payload"])
    assert main(["audit", "verify", "--config", str(config)]) == 0
    printed = capsys.readouterr().out
    assert "unbroken" in printed
    [(seq, head)] = re.findall(r"head (\d+):(\w{64})", printed)
    anchored = ["audit", "verify", "--config", str(config), "--anchor"]
    assert main([*anchored, f"{seq}:{head}"]) == 0
    assert main([*anchored, f"{seq}:{'0' * 64}"]) == 1
    with pytest.raises(SystemExit, match="2"):
        main([*anchored, "head"])
    capsys.readouterr()
    assert main(["audit", "list", "--config", str(config), "--patient-id", "NOBODY"]) == 0
    assert capsys.readouterr().out == "no such records\n"
    asked = ["audit", "list", "--config", str(config), "--json", "--kind"]
    assert main([*asked, "access", "--limit", "1"]) == 0
    looked = json.loads(capsys.readouterr().out)
    assert (looked["kind"], looked["query"]["kinds"]) == ("access", "prediction")
    assert len(looked["query"]["patient_pseudonym"]) == 64
    key = place.settings.storage.root / "pseudonym.key"
    kept = key.read_bytes()
    key.unlink()
    assert main([*asked, "access"]) != 0
    assert "pseudonym.key is missing" in capsys.readouterr().err
    assert not key.exists()
    key.write_bytes(kept)
    assert main(["studies", "--config", str(config), "--json"]) == 0
    assert ds.StudyInstanceUID in capsys.readouterr().out
    assert main(["jobs", "list", "--config", str(config), "--state", "parked"]) == 0
    assert capsys.readouterr().out == "no such jobs\n"
    assert main(["db", "current", "--config", str(config)]) == 0
