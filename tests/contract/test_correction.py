"""From an accepted proposal to objects at a peer, on SQLite and on PostgreSQL."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid

from audit.clock import SystemClock
from audit.entries import Node as AuditNode
from audit.metrics import NullMetrics
from audit.pseudonym import open_key
from audit.records import Writer
from audit.store import AuditFilter, query, verify
from dicom_node.config.load import validate
from dicom_node.correction import build as building
from dicom_node.correction.mender import MenderParts, PackageMender
from dicom_node.correction.port import NotAccepted, NotMendable
from dicom_node.correction.selfcheck import UnfitCorrection
from dicom_node.correction.send import Correct, CorrectParts
from dicom_node.delivery.outcome import Outcome, OutgoingObject, SendStatus
from dicom_node.pipeline.deliver import NotStored, Refused
from dicom_node.pipeline.part10 import received_file
from dicom_node.pipeline.work import Work, correct_key
from inference.accessions import (
    AccessionRef,
    ImageRef,
    Move,
    Proposal,
    ProposalKind,
    proposal_to_json,
)
from inference.orders import Order, OrderState, PatientKey, Side, order_to_json
from inference.regions import load_regions
from inference.types import Code, ExpectationSource
from storage import jobs, proposals
from storage.corrections import correction_deliveries, filed_under
from storage.engine import migrate
from storage.files import FileStore
from storage.index import file_instance, instance, known_paths, new_instance_from_header, study
from storage.orders import NewOrder, keep_order
from storage.session import Database
from storage.states import JobState, ProposalState
from storage.work import WorkEngine
from tests.builders import chest_radiograph, part10_bytes
from tests.nodes import dimse_pacs

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
REGIONS = load_regions()
XRANKL = (Code(scheme="99LOC", value="XRANKL", meaning="XR ANKLE LEFT"),)
ANSWERS = Callable[[OutgoingObject], tuple[Outcome, str]]


class ScriptedSender:
    """Answers as it is told, and remembers what it was sent."""

    def __init__(self) -> None:
        self.answers: ANSWERS = lambda _item: (Outcome.DELIVERED, "0000H")
        self.sent: list[Dataset] = []

    def send(self, objects: Sequence[OutgoingObject]) -> list[SendStatus]:
        statuses = []
        for item in objects:
            outcome, status = self.answers(item)
            self.sent.append(dcmread(item.path))
            statuses.append(
                SendStatus(sop_instance_uid=item.sop_instance_uid, outcome=outcome, status=status)
            )
        return statuses

    def verify(self) -> None:
        return None


@dataclass
class Place:
    """A node's data without the node: files, rows, the mender and the step."""

    database: Database
    files: FileStore
    mender: PackageMender
    step: Correct
    sender: ScriptedSender

    def receive(self, route: str = "all", **overrides: Any) -> int:
        """File an image as the intake does; return its row."""
        ds = chest_radiograph(**overrides)
        relative = self.files.new_path("instances")
        self.files.write(relative, part10_bytes(ds))
        file = received_file(self.files.absolute(relative))
        with self.database.transaction() as connection:
            return file_instance(
                connection,
                new_instance_from_header(
                    file.header,
                    sop_class_uid=file.sop_class_uid,
                    sop_instance_uid=file.sop_instance_uid,
                    transfer_syntax_uid=file.transfer_syntax_uid,
                    content_sha256=file.content_sha256,
                    size_bytes=file.size_bytes,
                    path=relative,
                    calling_ae_title="CR_ROOM_1",
                    route=route,
                    urgent=False,
                    received_at=NOON,
                ),
            ).instance_id

    def propose(self, *moves: tuple[int, str], kind: ProposalKind = ProposalKind.SWAP) -> int:
        """Keep a proposal that moves instances to accessions; an empty one is nowhere."""
        with self.database.transaction() as connection:
            rows = [instance(connection, row) for row, _ in moves]
            document = proposal_to_json(
                Proposal(
                    kind=kind,
                    margin=5.0,
                    sentence="For a test.",
                    moves=tuple(
                        Move(
                            image=ImageRef(
                                instance_id=row.id,
                                sop_instance_uid=row.sop_instance_uid,
                                study_instance_uid=row.study_instance_uid,
                                number=1,
                            ),
                            origin=AccessionRef(key="o", accession_number=row.accession_number),
                            target=AccessionRef(key=number, accession_number=number)
                            if number
                            else None,
                            region="ANKLE",
                            probability=0.97,
                            margin=5.0,
                        )
                        for row, (_, number) in zip(rows, moves, strict=True)
                    ),
                )
            )
            made, _ = proposals.propose(
                connection,
                key=str(rows[0].id),
                kind=kind.value,
                patient_fk=_patient_of(connection, rows[0].study_id),
                document=document,
                now=NOON,
            )
            proposals.join(connection, made, [row.study_id for row in rows])
        return made

    def accept(self, proposal_id: int) -> None:
        with self.database.transaction() as connection:
            proposals.decide(
                connection,
                proposal_id,
                ProposalState.ACCEPTED,
                actor="anna",
                note="",
                now=NOON,
            )

    def order(self, number: str, *, stale_after: datetime | None = None, **changes: Any) -> None:
        """Keep an order that the RIS told of."""
        told: dict[str, Any] = {
            "accession_number": number,
            "requested_procedure_id": "RP-2",
            "patient": PatientKey(patient_id="FAKE-0001"),
            "source": ExpectationSource.WORKLIST,
            "regions": ("ANKLE",),
            "laterality": Side.LEFT,
            "codes": (Code(scheme="99LOC", value="XRANKL", meaning="XR ANKLE LEFT"),),
            "study_instance_uid": "1.2.3.4.5",
            "received_at": NOON,
        }
        order = Order(**{**told, **changes})
        with self.database.transaction() as connection:
            keep_order(
                connection,
                NewOrder(
                    source=order.source.value,
                    accession_number=number,
                    issuer=order.issuer,
                    requested_procedure_id=order.requested_procedure_id,
                    patient_id=order.patient.patient_id,
                    issuer_of_patient_id=order.patient.issuer,
                    state=order.state.value,
                    ordered_on=None,
                    content_sha256="0" * 64,
                    document=order_to_json(order),
                    received_at=NOON,
                    stale_after=stale_after,
                ),
            )

    def run(self, proposal_id: int) -> None:
        """Run the job that sends the package."""
        with self.database.reading() as connection:
            job = jobs.get(connection, correct_key(proposal_id, "pacs"))
        assert job is not None
        self.step(job)

    def job_state(self, proposal_id: int) -> JobState | None:
        with self.database.reading() as connection:
            job = jobs.get(connection, correct_key(proposal_id, "pacs"))
        return None if job is None else job.state

    def records(self, kind: str) -> list[Any]:
        with self.database.reading() as connection:
            return [row for row in query(connection, AuditFilter()) if row.kind == kind]


def _patient_of(connection: Any, study_id: int) -> int:
    from sqlalchemy import select

    from storage.models import Study

    assert study(connection, study_id)
    return int(
        connection.execute(select(Study.patient_fk).where(Study.id == study_id)).scalar_one()
    )


@pytest.fixture
def place(database: Database, tmp_path: Path) -> Place:
    settings = validate(
        {
            "storage": {"root": str(tmp_path / "node"), "minimum_free_bytes": 0},
            "destinations": [dimse_pacs(11112)],
            "routes": [{"name": "all", "destinations": ["pacs"]}],
        }
    )
    migrate(database)
    clock = SystemClock()
    writer = Writer(node=AuditNode(node_id="node-1", software_version="test"))
    files = FileStore(settings.storage.root, minimum_free_bytes=0)
    work = Work(
        database=database,
        engine=WorkEngine(database, executor_id="node-1"),
        retry=settings.pipeline.retry,
        writer=writer,
        clock=clock,
        metrics=NullMetrics(),
    )
    sender = ScriptedSender()
    mender = PackageMender(
        MenderParts(
            database=database,
            files=files,
            settings=settings,
            destinations=(),
            regions=REGIONS,
            work=work,
            writer=writer,
            pseudonyms=open_key(tmp_path / "pseudonym.key"),
            clock=clock,
            software_version="test",
            device_serial="node-1",
        )
    )
    step = Correct(
        CorrectParts(
            database=database,
            files=files,
            destinations={d.name: d for d in settings.destinations},
            sender_for=lambda _destination: sender,
            work=work,
            writer=writer,
            clock=clock,
            metrics=NullMetrics(),
        )
    )
    return Place(database=database, files=files, mender=mender, step=step, sender=sender)


def test_an_accepted_swap_reaches_the_peer_copies_first(place: Place) -> None:
    one = place.receive(AccessionNumber="A")
    other = place.receive(AccessionNumber="B", StudyDescription="XR ANKLE", StudyID="S2")
    proposal = place.propose((one, "B"), (other, "A"))
    place.accept(proposal)

    mended = place.mender.mend(proposal, "anna")
    place.run(proposal)

    assert (mended.objects, mended.destinations, mended.fresh) == (4, ("pacs",), True)
    assert [ds.Modality for ds in place.sender.sent] == ["CR", "CR", "KO", "KO"]
    to_b, to_a = place.sender.sent[:2]
    assert (to_b.AccessionNumber, to_a.AccessionNumber) == ("B", "A")
    # The study that is under accession B already is the one that the copy joins.
    assert (to_b.StudyDescription, to_b.StudyID) == ("XR ANKLE", "S2")
    assert to_b.StudyInstanceUID == place.sender.sent[3].StudyInstanceUID
    assert place.job_state(proposal) is JobState.DONE


def test_the_order_of_the_ris_says_study_procedure_and_request(place: Place) -> None:
    image = place.receive(AccessionNumber="A")
    place.order("B")
    proposal = place.propose((image, "B"), kind=ProposalKind.MOVE)
    place.accept(proposal)

    place.mender.mend(proposal, "anna")
    place.run(proposal)

    copy = place.sender.sent[0]
    assert copy.StudyInstanceUID == "1.2.3.4.5"
    assert copy.StudyDescription == "XR ANKLE LEFT"
    assert copy.RequestAttributesSequence[0].RequestedProcedureID == "RP-2"


def test_nothing_is_made_without_a_persons_word(place: Place) -> None:
    proposal = place.propose((place.receive(AccessionNumber="A"), "B"))

    with pytest.raises(NotAccepted):
        place.mender.mend(proposal, "anna")

    assert place.job_state(proposal) is None
    assert not (place.files.absolute("corrections")).exists()


def test_a_preview_leaves_no_trace(place: Place) -> None:
    proposal = place.propose((place.receive(AccessionNumber="A"), "B"))

    preview = place.mender.preview(proposal)

    assert preview.destinations == ("pacs",)
    assert [each.role for each in preview.objects] == ["COPY", "REJECTION NOTE"]
    assert place.sender.sent == []
    assert place.job_state(proposal) is None
    assert not (place.files.absolute("corrections")).exists()


def test_what_is_previewed_is_what_is_sent(place: Place) -> None:
    proposal = place.propose((place.receive(AccessionNumber="A"), "B"))
    preview = place.mender.preview(proposal)
    place.accept(proposal)

    place.mender.mend(proposal, "anna")
    place.run(proposal)

    assert [each.sop_instance_uid for each in preview.objects] == [
        ds.SOPInstanceUID for ds in place.sender.sent
    ]


def test_a_proposal_is_mended_once(place: Place) -> None:
    proposal = place.propose((place.receive(AccessionNumber="A"), "B"))
    place.accept(proposal)

    first = place.mender.mend(proposal, "anna")
    second = place.mender.mend(proposal, "anna")
    place.run(proposal)

    assert (first.fresh, second.fresh) == (True, False)
    assert first.correction_id == second.correction_id
    assert len(place.sender.sent) == 2
    assert len(place.records("correction_written")) == 1


def test_no_note_goes_before_every_copy_has_arrived(place: Place) -> None:
    images = [place.receive(AccessionNumber="A") for _ in range(2)]
    proposal = place.propose(*((image, "B") for image in images))
    place.accept(proposal)
    place.mender.mend(proposal, "anna")
    answers = iter([(Outcome.DELIVERED, "0000H"), (Outcome.FAILED, "A700H")])
    place.sender.answers = lambda _item: next(answers)

    with pytest.raises(NotStored):
        place.run(proposal)

    assert [ds.Modality for ds in place.sender.sent] == ["CR", "CR"]
    place.sender.answers = lambda _item: (Outcome.DELIVERED, "0000H")
    place.run(proposal)
    # Only what had not arrived is sent again, then the notes of both studies.
    assert [ds.Modality for ds in place.sender.sent[2:]] == ["CR", "KO", "KO"]
    with place.database.reading() as connection:
        rows = correction_deliveries(connection, proposal, "pacs")
    assert [(row.outcome, row.attempts) for row in rows if row.role == "COPY"] == [
        ("delivered", 1),
        ("delivered", 2),
    ]


def test_a_refused_copy_keeps_the_image_in_use_and_waits_for_a_person(place: Place) -> None:
    proposal = place.propose((place.receive(AccessionNumber="A"), "B"))
    place.accept(proposal)
    place.mender.mend(proposal, "anna")
    place.sender.answers = lambda _item: (Outcome.REFUSED, "0122H")

    with pytest.raises(Refused):
        place.run(proposal)

    assert [ds.Modality for ds in place.sender.sent] == ["CR"]


def test_every_step_is_in_the_audit(place: Place) -> None:
    proposal = place.propose((place.receive(AccessionNumber="A"), "B"))
    place.accept(proposal)
    place.mender.mend(proposal, "anna")
    place.run(proposal)

    [written] = place.records("correction_written")
    assert written.body["actor"] == "anna"
    assert written.body["proposal_id"] == proposal
    assert [each["role"] for each in written.body["objects"]] == ["COPY", "NOTE"]
    assert written.body["subject"]["accession_pseudonym"] not in ("", "A")
    sent = place.records("delivery")
    assert {record.body["outcome"] for record in sent} == {"delivered"}
    assert len(sent) == 2
    with place.database.reading() as connection:
        assert verify(connection).ok


@pytest.mark.parametrize(
    "order",
    [
        {"state": OrderState.CANCELLED},
        {"patient": PatientKey(patient_id="FAKE-0002")},
    ],
    ids=["cancelled", "of another patient"],
)
def test_no_image_goes_to_such_an_order(place: Place, order: dict[str, Any]) -> None:
    place.order("B", **order)
    proposal = place.propose((place.receive(AccessionNumber="A"), "B"))

    with pytest.raises(NotMendable):
        place.mender.preview(proposal)


def test_a_missing_order_cannot_be_mended_by_copies(place: Place) -> None:
    image = place.receive(AccessionNumber="A")
    proposal = place.propose((image, ""), kind=ProposalKind.MISSING_ORDER)

    with pytest.raises(NotMendable):
        place.mender.preview(proposal)


def test_a_file_that_has_changed_on_disk_is_not_copied(place: Place) -> None:
    image = place.receive(AccessionNumber="A")
    stranger = place.receive(AccessionNumber="A")
    proposal = place.propose((image, "B"))
    with place.database.reading() as connection:
        paths = [place.files.absolute(instance(connection, i).path) for i in (image, stranger)]
    shutil.copyfile(paths[1], paths[0])

    with pytest.raises(NotMendable):
        place.mender.preview(proposal)


def test_the_sweeper_of_files_knows_packages(place: Place) -> None:
    proposal = place.propose((place.receive(AccessionNumber="A"), "B"))
    place.accept(proposal)
    place.mender.mend(proposal, "anna")

    def known(paths: list[str]) -> set[str]:
        with place.database.reading() as connection:
            return known_paths(connection, paths)

    place.files.write("corrections/99/left-behind.dcm", b"x")

    found = [orphan.path for orphan in place.files.orphans(known, older_than_s=-60)]
    assert found == ["corrections/99/left-behind.dcm"]


def test_an_image_that_a_package_moved_is_not_moved_by_another(place: Place) -> None:
    image, other = place.receive(AccessionNumber="A"), place.receive(AccessionNumber="A")
    first = place.propose((image, "B"), kind=ProposalKind.MOVE)
    place.accept(first)
    place.mender.mend(first, "anna")
    second = place.propose((other, "C"), (image, "C"), kind=ProposalKind.MOVE)

    with pytest.raises(NotMendable, match="already"):
        place.mender.preview(second)
    place.accept(second)
    with pytest.raises(NotMendable, match="already"):
        place.mender.mend(second, "anna")

    assert place.job_state(second) is None
    assert not place.mender.mend(first, "anna").fresh


def test_an_image_that_came_again_in_other_bytes_is_not_moved_twice(place: Place) -> None:
    same = {"SOPInstanceUID": generate_uid(), "StudyInstanceUID": generate_uid()}
    first = place.propose((place.receive(AccessionNumber="A", **same), "B"), kind=ProposalKind.MOVE)
    place.accept(first)
    place.mender.mend(first, "anna")
    again = place.receive(AccessionNumber="A", ImageComments="sent again", **same)
    second = place.propose((again, "B"), kind=ProposalKind.MOVE)

    with pytest.raises(NotMendable, match="already"):
        place.mender.preview(second)


KNEE = {"requested_procedure_id": "RP-K", "regions": ("KNEE",), "codes": ()}
ANKLE = {"requested_procedure_id": "RP-A", "regions": ("ANKLE",), "codes": ()}


def changed(place: Place, proposal: int) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return what the first copy of a package would have, by attribute, and its remarks."""
    copy = place.mender.preview(proposal).objects[0]
    return {each.attribute[12:]: each.after for each in copy.changes}, copy.remarks


@pytest.mark.parametrize("first", [KNEE, ANKLE])
def test_of_two_procedures_an_image_is_for_the_one_that_it_shows(
    place: Place, first: dict[str, Any]
) -> None:
    for procedure in (first, KNEE, ANKLE):
        place.order("B", **procedure)
    proposal = place.propose((place.receive(AccessionNumber="A"), "B"), kind=ProposalKind.MOVE)

    after, _ = changed(place, proposal)

    assert (after["Study Description"], after["Study ID"]) == ("Ankle", "RP-A")


def test_of_two_procedures_that_it_may_be_for_neither_is_written(place: Place) -> None:
    place.order("B", **ANKLE)
    place.order("B", **{**ANKLE, "requested_procedure_id": "RP-B", "codes": XRANKL})
    proposal = place.propose((place.receive(AccessionNumber="A"), "B"), kind=ProposalKind.MOVE)

    after, remarks = changed(place, proposal)

    request = after["Request Attributes Sequence"]
    assert "RP-" not in request + after["Study ID"]
    assert "XRANKL" not in request
    assert any("several procedures" in remark for remark in remarks)


def test_an_order_of_which_one_procedure_was_cancelled_takes_an_image(place: Place) -> None:
    place.order("B", **ANKLE)
    place.order("B", **KNEE, state=OrderState.CANCELLED)
    proposal = place.propose((place.receive(AccessionNumber="A"), "B"), kind=ProposalKind.MOVE)

    after, _ = changed(place, proposal)

    assert after["Study ID"] == "RP-A"


def test_an_order_that_the_first_source_cancelled_takes_no_image(place: Place) -> None:
    """The worklist still lists it; HL7 is believed first."""
    place.order("B", source=ExpectationSource.WORKLIST)
    place.order("B", source=ExpectationSource.HL7, state=OrderState.CANCELLED)
    proposal = place.propose((place.receive(AccessionNumber="A"), "B"), kind=ProposalKind.MOVE)

    with pytest.raises(NotMendable, match="cancelled"):
        place.mender.preview(proposal)


@pytest.mark.parametrize(("days", "stale"), [(-1, True), (1, False)])
def test_a_person_is_told_where_an_order_was_not_confirmed_lately(
    place: Place, days: int, stale: bool
) -> None:
    place.order("B", stale_after=SystemClock().now() + timedelta(days=days))
    proposal = place.propose((place.receive(AccessionNumber="A"), "B"), kind=ProposalKind.MOVE)

    _, remarks = changed(place, proposal)

    assert any("not been confirmed" in remark for remark in remarks) is stale


def test_an_issuer_that_images_do_not_name_hides_no_study(place: Place) -> None:
    place.receive(AccessionNumber="B", StudyID="S9", StudyDescription="XR ANKLE 2V")
    with place.database.reading() as connection:
        patient = _patient_of(connection, 1)
        found = [
            filed_under(connection, patient_id=patient, accession_number="B", issuer=issuer)
            for issuer in ("RIS", "")
        ]
    assert found == [1, 1]


def test_of_images_of_several_issuers_the_very_one_counts_or_none(place: Place) -> None:
    for name in ("NORTH", "SOUTH"):
        issuer = Dataset()
        issuer.LocalNamespaceEntityID = name
        place.receive(AccessionNumber="B", IssuerOfAccessionNumberSequence=[issuer])
    with place.database.reading() as connection:
        patient = _patient_of(connection, 1)
        found = [
            filed_under(connection, patient_id=patient, accession_number="B", issuer=issuer)
            for issuer in ("SOUTH", "EAST", "")
        ]
    assert found == [2, None, None]


def test_a_file_that_is_gone_refuses_the_package(place: Place) -> None:
    image = place.receive(AccessionNumber="A")
    proposal = place.propose((image, "B"), kind=ProposalKind.MOVE)
    with place.database.reading() as connection:
        place.files.absolute(instance(connection, image).path).unlink()

    with pytest.raises(NotMendable, match="file"):
        place.mender.preview(proposal)
    place.accept(proposal)
    with pytest.raises(NotMendable, match="file"):
        place.mender.mend(proposal, "anna")


def test_an_object_that_breaks_a_rule_refuses_the_package(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposal = place.propose((place.receive(AccessionNumber="A"), "B"), kind=ProposalKind.MOVE)

    def broken(*_: object) -> None:
        raise UnfitCorrection(["UIDs are well formed"])

    monkeypatch.setattr(building, "check_uids", broken)

    with pytest.raises(NotMendable, match="UIDs are well formed"):
        place.mender.preview(proposal)


def test_a_preview_is_refused_where_the_package_would_go_nowhere(place: Place) -> None:
    image = place.receive(route="kept here", AccessionNumber="A")
    proposal = place.propose((image, "B"), kind=ProposalKind.MOVE)

    with pytest.raises(NotMendable, match="no destination"):
        place.mender.preview(proposal)
