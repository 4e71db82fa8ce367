"""A whole node and Orthanc: a swap is accepted, and Orthanc has every image where it belongs."""

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid
from pynetdicom import AE

from dicom_node.bootstrap_beside import open_mender, open_work
from dicom_node.bootstrap_data import open_database
from inference.accessions import (
    AccessionRef,
    ImageRef,
    Move,
    Proposal,
    ProposalKind,
    proposal_to_json,
)
from storage import jobs, proposals
from storage.index import current_instances, study_by_uid
from storage.states import JobKind, JobState, ProposalState
from tests.builders import chest_radiograph
from tests.nodes import dimse_pacs, node_settings, running, send, wait_for
from tests.orthanc import running_orthanc

pytestmark = [pytest.mark.xdist_group("node"), pytest.mark.peer("orthanc")]

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"


def find(port: int, ae_title: str, level: str, **keys: str) -> list[Dataset]:
    """Ask by C-FIND (PS3.4 Annex C)."""
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    ae = AE(ae_title="TEST")
    ae.add_requested_context(STUDY_ROOT_FIND)
    assoc = ae.associate("127.0.0.1", port, ae_title=ae_title)
    assert assoc.is_established
    try:
        answers = assoc.send_c_find(identifier, STUDY_ROOT_FIND)
        return [found for _, found in answers if found is not None]
    finally:
        assoc.release()


def accepted_swap(settings: Any, one: Dataset, other: Dataset) -> int:
    """Keep and accept the proposal that two images change places."""
    with open_database(settings) as database, database.transaction() as connection:
        rows = []
        for ds in (one, other):
            study = study_by_uid(connection, ds.StudyInstanceUID)
            assert study is not None
            rows += current_instances(connection, study.id)
        moves = tuple(
            Move(
                image=ImageRef(
                    instance_id=row.id,
                    sop_instance_uid=row.sop_instance_uid,
                    study_instance_uid=row.study_instance_uid,
                    number=1,
                ),
                origin=AccessionRef(key="from", accession_number=row.accession_number),
                target=AccessionRef(key="to", accession_number=number),
                region="KNEE",
                probability=0.97,
                margin=5.0,
            )
            for row, number in zip(rows, (other.AccessionNumber, one.AccessionNumber), strict=True)
        )
        swap = Proposal(kind=ProposalKind.SWAP, moves=moves, margin=5.0, sentence="Swap.")
        made, _ = proposals.propose(
            connection,
            key="swap",
            kind="swap",
            patient_fk=1,
            document=proposal_to_json(swap),
            now=rows[0].received_at,
        )
        proposals.join(connection, made, [row.study_id for row in rows])
        proposals.decide(
            connection,
            made,
            ProposalState.ACCEPTED,
            actor="anna",
            note="",
            now=rows[0].received_at,
        )
    return made


def test_orthanc_has_each_image_under_its_own_order_and_the_notes_beside_the_old_ones(
    tmp_path: Path,
) -> None:
    knee, ankle = (
        chest_radiograph(
            StudyInstanceUID=generate_uid(),
            AccessionNumber=number,
            StudyDescription=description,
            StudyID=number,
        )
        for number, description in (("ACC-KNEE", "XR KNEE"), ("ACC-ANKLE", "XR ANKLE"))
    )
    with running_orthanc(tmp_path / "orthanc", options={"OverwriteInstances": False}) as orthanc:
        settings = node_settings(
            tmp_path, pacs=[dimse_pacs(orthanc.dicom_port, orthanc.ae_title, "pacs")]
        )
        send(orthanc.dicom_port, [knee, ankle], tmp_path / "modality")
        with running(settings) as node:
            send(node.dimse_port, [knee, ankle], tmp_path / "sent")
            wait_for(lambda: _reported(settings) == 2)
            proposal = accepted_swap(settings, knee, ankle)
            with (
                open_database(settings) as database,
                open_mender(settings, database, open_work(settings, database)) as mender,
            ):
                mended = mender.mend(proposal, "anna")
            assert (mended.objects, mended.destinations) == (4, ("pacs",))
            wait_for(lambda: _corrected(settings))

        held = [dcmread(BytesIO(orthanc.file(u))) for u in orthanc.sop_instance_uids()]
        notes = [ds for ds in held if ds.Modality == "KO"]
        copies = [ds for ds in held if "OriginalAttributesSequence" in ds]

        assert {note.StudyInstanceUID for note in notes} == {
            knee.StudyInstanceUID,
            ankle.StudyInstanceUID,
        }
        assert {note.ConceptNameCodeSequence[0].CodeValue for note in notes} == {"113038"}
        for ds, number in ((knee, "ACC-ANKLE"), (ankle, "ACC-KNEE")):
            [copy] = [c for c in copies if _was(c) == ds.SOPInstanceUID]
            assert copy.PixelData == ds.PixelData
            [study] = find(
                orthanc.dicom_port,
                orthanc.ae_title,
                "STUDY",
                AccessionNumber=number,
                StudyInstanceUID="",
            )
            assert study.StudyInstanceUID == copy.StudyInstanceUID
            [image] = find(
                orthanc.dicom_port,
                orthanc.ae_title,
                "IMAGE",
                StudyInstanceUID=study.StudyInstanceUID,
                SeriesInstanceUID=copy.SeriesInstanceUID,
                SOPInstanceUID="",
            )
            assert image.SOPInstanceUID == copy.SOPInstanceUID
        # Orthanc knows no rejection notes: the originals stay until it is told otherwise.
        assert {knee.SOPInstanceUID, ankle.SOPInstanceUID} <= {ds.SOPInstanceUID for ds in held}


def _was(copy: Dataset) -> str:
    [kept] = copy.OriginalAttributesSequence[0].ModifiedAttributesSequence
    return str(kept.SOPInstanceUID)


def _reported(settings: Any) -> int:
    with open_database(settings) as database, database.reading() as connection:
        return len(jobs.listing(connection, kind=JobKind.DELIVER, state=JobState.DONE))


def _corrected(settings: Any) -> bool:
    with open_database(settings) as database, database.reading() as connection:
        found = jobs.listing(connection, kind=JobKind.CORRECT)
    assert all(job.state is not JobState.PARKED for job in found), found
    return [job.state for job in found] == [JobState.DONE]
