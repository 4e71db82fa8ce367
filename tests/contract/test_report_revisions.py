"""What a revision said stays said, whatever becomes of the orders; on both databases."""

from datetime import timedelta
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from sqlalchemy import Connection, select

from audit.entries import Node
from audit.metrics import NullMetrics
from audit.pseudonym import Pseudonyms
from audit.records import Writer
from dicom_node.config.load import validate
from dicom_node.config.settings import ReportProfile, RetrySettings
from dicom_node.pipeline.analyse import UnknownRoute
from dicom_node.pipeline.report import ReportParts, WriteReport
from dicom_node.pipeline.work import Work, analyse_key, report_key
from storage import jobs
from storage.engine import migrate
from storage.index import current_instances, study
from storage.models import Report
from storage.reports import ReportRow, report
from storage.session import Database
from storage.states import JobKind
from storage.work import WorkEngine
from tests.accessions import TABLE
from tests.reconciling import LABELS, MODEL, NOW, Bench, order


class Desk(Bench):
    """A bench that writes reports."""

    def __init__(self, database: Database, folder: Path, route: str = "all") -> None:
        super().__init__(database, folder)
        writer = Writer(node=Node(node_id="n", software_version="0"))
        self.work = Work(
            database=database,
            engine=WorkEngine(database, executor_id="n"),
            retry=RetrySettings(),
            writer=writer,
            clock=self.clock,
            metrics=NullMetrics(),
        )
        self.write = WriteReport(
            ReportParts(
                database=database,
                files=self.files,
                settings=validate(
                    {
                        "storage": {"root": str(folder), "minimum_free_bytes": 0},
                        "routes": [{"name": route}],
                    }
                ),
                labels={(MODEL.name, label.key): label for label in LABELS},
                regions={key: each.code for key, each in TABLE.regions.items() if each.code},
                orders=self.use_case,
                work=self.work,
                writer=writer,
                pseudonyms=Pseudonyms(b"k" * 32),
                clock=self.clock,
                metrics=NullMetrics(),
                software_version="0",
                device_serial="n",
            )
        )

    def report(self, study_id: int) -> ReportRow:
        """Write the report on a study whose images are analysed; return it."""
        with self.database.transaction() as connection:
            key = report_key(study_id, study(connection, study_id).changes)
            self._begin(connection, key, JobKind.REPORT, study_id)
            for row in current_instances(connection, study_id):
                if self._begin(connection, analyse_key(row.id), JobKind.ANALYSE, study_id):
                    jobs.finish(connection, analyse_key(row.id), NOW)
            job = jobs.get(connection, key)
        assert job is not None
        self.write(job)
        with self.database.reading() as connection:
            newest = select(Report.id).where(Report.study_fk == study_id).order_by(Report.id.desc())
            return report(connection, connection.scalars(newest).first() or 0)

    def _begin(self, connection: Connection, key: str, kind: JobKind, study_id: int) -> bool:
        return jobs.create(
            connection, key=key, kind=kind, queue="cpu", study_id=study_id, urgent=False, now=NOW
        )

    def again(self, revision: ReportRow) -> str:
        """Return the text of a revision's SR when it is built in another profile."""
        [made] = self.write.alternative(revision, ReportProfile.IHE_AIR)
        return texts(dcmread(self.files.absolute(made.path)))


def texts(sr: Dataset) -> str:
    return " ".join(str(each.value) for each in sr.iterall() if each.keyword == "TextValue")


@pytest.fixture
def desk(database: Database, tmp_path: Path) -> Desk:
    migrate(database)
    return Desk(database, tmp_path)


def test_a_revision_built_in_another_profile_says_what_it_said_and_swallows_no_change(
    desk: Desk,
) -> None:
    desk.book.keep((order("A", "KNEE"),))
    knee = desk.image("KNEE", AccessionNumber="A")
    first = desk.report(knee)
    assert "Accession A: MATCH." in desk.again(first)
    later = NOW + timedelta(minutes=1)
    desk.book.keep((order("A", "ANKLE", received_at=later),))
    before = desk.changes(knee)

    said = desk.again(first)

    assert "Accession A: MATCH." in said
    assert "MISMATCH" not in said
    desk.use_case.check(knee, reported=True)
    assert desk.changes(knee) == before + 1, "the change still opens the study for a revision"


def test_a_report_whose_route_is_gone_is_not_written_for_nobody(
    database: Database, tmp_path: Path
) -> None:
    migrate(database)
    desk = Desk(database, tmp_path, route="renamed")
    knee = desk.image("KNEE")

    with pytest.raises(UnknownRoute):
        desk.report(knee)

    with database.reading() as connection:
        assert study(connection, knee).revision == 0


def test_a_revision_says_of_a_proposal_what_was_known_of_it_then(desk: Desk) -> None:
    desk.book.keep((order("A", "KNEE"), order("B", "ANKLE")))
    knee = desk.image("ANKLE", AccessionNumber="A")
    first = desk.report(knee)
    [row] = desk.open_proposals()
    desk.decide.reject(row.id, actor="anna")
    second = desk.report(knee)

    assert f"Proposal {row.id}:" in desk.again(first)
    assert f"Proposal {row.id}:" not in desk.again(second)
