"""What every way to an archive must do: one suite, every sender, real archives."""

import pytest
from pydicom.uid import (
    ComprehensiveSRStorage,
    ComputedRadiographyImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from audit.errors import PeerUnreachable
from dicom_node.core.outcome import Outcome
from dicom_node.delivery.factory import make_sender
from tests.archives import (
    CALLING,
    OrthancArchive,
    dimse_destination,
    outgoing,
    running_storescp,
    scripted_scp,
    stow_destination,
)
from tests.builders import chest_radiograph
from tests.orthanc import free_port, running_orthanc

CLASSES = [ComputedRadiographyImageStorage, ComprehensiveSRStorage]


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    with running_orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.fixture(
    params=[
        "pynetdicom",
        pytest.param("dcmtk", marks=pytest.mark.peer("dcmtk")),
        pytest.param("dcmtk-implicit", marks=pytest.mark.peer("dcmtk")),
        pytest.param("orthanc-dimse", marks=pytest.mark.peer("orthanc")),
        pytest.param("orthanc-stow", marks=pytest.mark.peer("orthanc")),
    ]
)
def archive(request, tmp_path):
    kind = request.param
    if kind == "pynetdicom":
        with scripted_scp(CLASSES, [ExplicitVRLittleEndian, ImplicitVRLittleEndian]) as scp:
            yield scp
    elif kind.startswith("dcmtk"):
        options = ["+xi"] if kind == "dcmtk-implicit" else []
        with running_storescp(tmp_path / "archive", *options) as storescp:
            yield storescp
    else:
        orthanc = request.getfixturevalue("orthanc")
        orthanc.clear()
        yield OrthancArchive(orthanc, kind.removeprefix("orthanc-"))


def test_what_is_delivered_is_what_the_archive_holds(archive, tmp_path):
    sent = [chest_radiograph(InstanceNumber=number) for number in (1, 2, 3)]

    statuses = archive.sender().send([outgoing(tmp_path, ds) for ds in sent])

    assert [s.outcome for s in statuses] == [Outcome.DELIVERED] * 3
    assert [s.sop_instance_uid for s in statuses] == [ds.SOPInstanceUID for ds in sent]
    held = archive.held()
    assert held.keys() == {ds.SOPInstanceUID for ds in sent}
    for ds in sent:
        assert held[ds.SOPInstanceUID] == ds


def test_sending_again_changes_nothing(archive, tmp_path):
    item = outgoing(tmp_path, chest_radiograph())

    first = archive.sender().send([item])
    second = archive.sender().send([item])

    assert first[0].outcome is Outcome.DELIVERED
    assert second[0].outcome in {Outcome.DELIVERED, Outcome.WARNING}
    assert archive.held().keys() == {item.sop_instance_uid}


def test_an_empty_batch_opens_no_link(archive):
    assert archive.sender().send([]) == []


def test_the_archive_says_that_it_is_there(archive):
    archive.sender().verify()


def test_a_file_that_is_away_fails_alone(archive, tmp_path):
    items = [outgoing(tmp_path, chest_radiograph()) for _ in range(3)]
    items[1].path.unlink()

    statuses = archive.sender().send(items)

    assert [(s.outcome, s.status == "unreadable") for s in statuses] == [
        (Outcome.DELIVERED, False),
        (Outcome.FAILED, True),
        (Outcome.DELIVERED, False),
    ]


@pytest.mark.parametrize("kind", ["dimse", "stow"])
def test_an_archive_that_is_away_is_unreachable(kind, tmp_path):
    port = free_port()
    destination = (
        dimse_destination(port) if kind == "dimse" else stow_destination(f"http://127.0.0.1:{port}")
    )
    sender = make_sender(destination, CALLING)

    with pytest.raises(PeerUnreachable):
        sender.send([outgoing(tmp_path, chest_radiograph())])
    with pytest.raises(PeerUnreachable):
        sender.verify()
