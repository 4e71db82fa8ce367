"""Places for associations are given back, also when the answer cannot be sent."""

import threading

import pytest

from audit.metrics import NullMetrics
from dicom_node.config.settings import DimseSettings
from dicom_node.dimse.errors import LinkLost
from dicom_node.dimse.establishing import Surroundings, establish
from dicom_node.dimse.link import deadline_in
from tests.acceptors import FolderReception
from tests.raw_peer import CR_IMAGE, associate_rq


class _Line:
    """A link that has received `content`, and whose peer is gone when asked to answer."""

    def __init__(self, content: bytes, *, is_lost: bool) -> None:
        self._content = memoryview(content)
        self._is_lost = is_lost
        self.sent: list[bytes] = []

    def fill(self, count, deadline_s):
        assert count <= len(self._content)

    def take(self, count):
        taken, self._content = self._content[:count], self._content[count:]
        return taken

    def send(self, content, timeout_s):
        if self._is_lost:
            raise LinkLost("the connection broke while sending")
        self.sent.append(content)


class _Places:
    def __init__(self, free: int) -> None:
        self.free = free

    def enter(self):
        if not self.free:
            return False
        self.free -= 1
        return True

    def leave(self):
        self.free += 1


def established(line, places, tmp_path, stopping=None):
    surroundings = Surroundings(
        settings=DimseSettings(),
        reception=FolderReception(tmp_path),
        metrics=NullMetrics(),
        enter=places.enter,
        leave=places.leave,
    )
    return establish(
        line,
        deadline_in(5),
        surroundings,
        address="192.0.2.7",
        protocol="DIMSE",
        stopping=stopping or threading.Event(),
    )


def test_an_accepted_association_holds_a_place(tmp_path):
    places = _Places(1)

    association = established(_Line(associate_rq(), is_lost=False), places, tmp_path)

    assert places.free == 0
    assert association.contexts[1].abstract_syntax == CR_IMAGE
    assert association.caller.address == "192.0.2.7"
    assert association.maximum_length == 16384


def test_a_place_is_given_back_when_the_peer_is_gone(tmp_path):
    places = _Places(1)

    with pytest.raises(LinkLost):
        established(_Line(associate_rq(), is_lost=True), places, tmp_path)

    assert places.free == 1


def test_a_node_that_stops_rejects_for_now(tmp_path):
    stopping = threading.Event()
    stopping.set()
    line, places = _Line(associate_rq(), is_lost=False), _Places(1)

    assert established(line, places, tmp_path, stopping) is None

    assert line.sent == [bytes.fromhex("0300 00000004 00 02 03 02")]
    assert places.free == 1
