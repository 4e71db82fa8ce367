"""Routing, access, retries and statuses: the node's pure decisions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset

from audit.errors import (
    BrokenModel,
    DatabaseAway,
    DiskFull,
    InvalidConfiguration,
    InvalidDataset,
    NodeError,
    PeerUnreachable,
    UndecodablePixels,
)
from dicom_node.config.settings import (
    AccessSettings,
    NodeSettings,
    PeerSettings,
    ReportProfile,
    RetrySettings,
    RouteMatch,
    RouteSettings,
)
from dicom_node.core.access import AccessPolicy
from dicom_node.core.origin import is_own_result
from dicom_node.core.outcome import Outcome
from dicom_node.core.retry import delay_s
from dicom_node.core.routing import RoutedInstance, choose_route, urgent
from dicom_node.core.status import dimse_status, status_text, store_outcome
from dicom_node.report.frame import node_uid
from tests.builders import chest_radiograph, part10_bytes
from tests.report_requests import built_report, chest_image, request_for

# ------------------------------------------------------------------ origin

OWN = "2.25.7"


@pytest.mark.parametrize(
    ("said", "own"),
    [
        ({}, False),
        ({"InstanceCreatorUID": OWN}, True),
        ({"InstanceCreatorUID": "2.25.8"}, False),
        ({"ManufacturerModelName": "dicom-node", "ImageType": ["DERIVED", "SECONDARY"]}, True),
        ({"ManufacturerModelName": "dicom-node", "Modality": "SR", "ImageType": None}, True),
        ({"ManufacturerModelName": "dicom-node"}, False),  # an original image of a namesake
        ({"ManufacturerModelName": "other", "ImageType": ["DERIVED", "SECONDARY"]}, False),
    ],
)
def test_a_result_is_known_by_its_node_or_by_the_product(said, own):
    assert is_own_result(chest_radiograph(**said), OWN) is own


def test_what_the_node_makes_is_its_own_result_here_and_at_other_nodes(tmp_path):
    image = chest_radiograph()
    path = tmp_path / "image.dcm"
    path.write_bytes(part10_bytes(image))
    request = request_for(chest_image(image, path))

    for built in built_report(request, ReportProfile.VIEWER):
        assert is_own_result(built.dataset, node_uid(request))
        assert is_own_result(built.dataset, "2.25.8")
        del built.dataset.ManufacturerModelName
        assert is_own_result(built.dataset, node_uid(request))
        assert not is_own_result(built.dataset, "2.25.8")


# ------------------------------------------------------------------ routing

CHEST = RoutedInstance.of(chest_radiograph(), "XRAY1")


def route(name: str = "r", **match: object) -> RouteSettings:
    return RouteSettings(name=name, match=RouteMatch(**match))


def test_the_first_route_that_matches_decides():
    routes = (route("knees", body_parts_examined=("KNEE",)), route("a"), route("b"))

    assert choose_route(routes, CHEST).name == "a"
    assert choose_route((), CHEST) is None
    assert choose_route(routes[:1], CHEST) is None


@pytest.mark.parametrize(
    ("match", "takes"),
    [
        ({"calling_ae_titles": ("XRAY1", "XRAY2")}, True),
        ({"calling_ae_titles": ("xray1",)}, False),  # AE titles differ in case (PS3.5 6.2)
        ({"modalities": ("cr", "DX")}, True),
        ({"modalities": ("DX",)}, False),
        ({"body_parts_examined": ("Chest",)}, True),
        ({"sop_class_uids": ("1.2.840.10008.5.1.4.1.1.1",)}, True),
        ({"sop_class_uids": ("1.2.840.10008.5.1.4.1.1.1.1",)}, False),
        ({"description_pattern": r"chest\b"}, True),
        ({"description_pattern": r"^pa$"}, True),  # the Series Description
        ({"description_pattern": "knee"}, False),
        ({"modalities": ("CR",), "description_pattern": "knee"}, False),
    ],
)
def test_a_route_takes_what_meets_all_its_conditions(match, takes):
    assert (choose_route((route(**match),), CHEST) is not None) is takes


@pytest.mark.parametrize(
    ("keyword", "value", "wanted"),
    [
        ("RequestedProcedurePriority", "STAT", True),
        ("RequestedProcedurePriority", "high", True),
        ("RequestedProcedurePriority", "ROUTINE", False),
        ("StudyPriorityID", "HIGH", True),
        ("StudyPriorityID", "LOW", False),
    ],
)
def test_the_order_s_priority_makes_a_study_urgent(keyword, value, wanted):
    item = Dataset()
    setattr(item, keyword, value)

    assert urgent(chest_radiograph(**{keyword: value}), None) is wanted
    assert urgent(chest_radiograph(RequestAttributesSequence=[item]), route()) is wanted


def test_an_urgent_route_makes_every_study_urgent():
    assert urgent(Dataset(), RouteSettings(name="er", urgent=True))
    assert not urgent(Dataset(), RouteSettings(name="ward"))


# ------------------------------------------------------------------ access


def policy(*peers: PeerSettings, **access: object) -> AccessPolicy:
    return AccessPolicy.from_settings(NodeSettings(access=AccessSettings(peers=peers, **access)))


PEERS = (
    PeerSettings(ae_title="ANY"),
    PeerSettings(ae_title="ONE", addresses=("10.1.2.3",), settle_s=0.5),
    PeerSettings(ae_title="NET", addresses=("10.2.0.0/16", "2001:db8::/32")),
    PeerSettings(ae_title="TWICE", addresses=("10.3.0.1",)),
    PeerSettings(ae_title="TWICE", addresses=("10.3.0.2",)),
)


@pytest.mark.parametrize(
    ("calling", "called", "address", "breach"),
    [
        ("ANY", "AI_NODE", "203.0.113.9", None),
        ("ANY             ", "AI_NODE         ", "203.0.113.9", None),
        ("ANY", "OTHER", "203.0.113.9", "called-ae-title"),
        ("WHO", "AI_NODE", "203.0.113.9", "calling-ae-title"),
        ("any", "AI_NODE", "203.0.113.9", "calling-ae-title"),
        ("", "AI_NODE", "203.0.113.9", "calling-ae-title"),
        ("ONE", "AI_NODE", "10.1.2.3", None),
        ("ONE", "AI_NODE", "10.1.2.4", "address"),
        ("ONE", "AI_NODE", "::ffff:10.1.2.3", None),
        ("NET", "AI_NODE", "10.2.255.255", None),
        ("NET", "AI_NODE", "10.3.0.0", "address"),
        ("NET", "AI_NODE", "2001:db8::7", None),
        ("NET", "AI_NODE", "2001:db9::7", "address"),
        ("NET", "AI_NODE", "::ffff:10.2.1.1", None),
        ("NET", "AI_NODE", "not an address", "address"),
        ("NET", "AI_NODE", "", "address"),
        ("TWICE", "AI_NODE", "10.3.0.1", None),
        ("TWICE", "AI_NODE", "10.3.0.2", None),
        ("TWICE", "AI_NODE", "10.3.0.3", "address"),
    ],
)
def test_who_may_associate(calling, called, address, breach):
    assert policy(*PEERS).breach(calling, called, address) == breach


def test_nobody_is_known_until_somebody_is_configured():
    assert policy().breach("XRAY1", "AI_NODE", "127.0.0.1") == "calling-ae-title"


def test_a_trial_accepts_anybody_who_asks_for_us():
    trial = policy(accept_unknown_peers=True, called_ae_titles=("AI2",))

    assert trial.breach("WHO", "AI2", "203.0.113.9") is None
    assert trial.breach("WHO", "AI_NODE", "") is None
    assert trial.breach("WHO", "AI3", "203.0.113.9") == "called-ae-title"


def test_a_peer_listed_once_without_addresses_may_call_from_anywhere():
    peers = (PeerSettings(ae_title="A", addresses=("10.0.0.1",)), PeerSettings(ae_title="A"))

    assert policy(*peers).breach("A", "AI_NODE", "10.9.9.9") is None
    assert policy(*reversed(peers)).breach("A", "AI_NODE", "10.9.9.9") is None


def test_every_wrong_address_is_told_at_once():
    with pytest.raises(InvalidConfiguration) as failure:
        policy(
            PeerSettings(ae_title="A", addresses=("10.0.0.1", "ten")),
            PeerSettings(ae_title="B", addresses=("10.0.0.1/99",)),
        )

    assert [problem.split(":")[0] for problem in failure.value.problems] == [
        "access.peers.0.addresses.1",
        "access.peers.1.addresses.0",
    ]


def test_a_peer_may_have_its_own_settling_time():
    assert policy(*PEERS).settle_s_for("ONE ") == 0.5
    assert policy(*PEERS).settle_s_for("ANY") == 5.0
    assert policy(*PEERS).settle_s_for("WHO") == 5.0


# ------------------------------------------------------------------ retries


@pytest.mark.parametrize(
    ("attempt", "random", "seconds"),
    [(1, 0.0, 2.5), (1, 0.5, 3.75), (2, 0.0, 5.0), (4, 0.0, 20.0), (50, 0.0, 1800.0)],
)
def test_the_wait_doubles_up_to_its_limit(attempt, random, seconds):
    assert delay_s(attempt, RetrySettings(), random) == seconds


randoms = st.floats(0, 1, exclude_max=True)
delays = st.floats(1e-3, 1e6)


@given(st.integers(1, 10**9), delays, delays, randoms, randoms)
def test_the_wait_is_bounded_and_never_shorter_than_half(attempt, first, most, low, high):
    settings = RetrySettings(first_delay_s=first, maximum_delay_s=most)
    low, high = sorted((low, high))

    waits = [delay_s(attempt, settings, low), delay_s(attempt, settings, high)]

    assert waits == sorted(waits)
    assert min(first, most) / 2 <= waits[0]
    assert waits[1] <= most
    assert delay_s(attempt + 1, settings, low) >= waits[0]


@pytest.mark.parametrize(("attempt", "random"), [(0, 0.5), (-1, 0.5), (1, 1.0), (1, -0.1)])
def test_a_wait_out_of_range_is_refused(attempt, random):
    with pytest.raises(ValueError, match=r"counted from 1|\[0, 1\)"):
        delay_s(attempt, RetrySettings(), random)


# ------------------------------------------------------------------ statuses


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (DiskFull("x"), 0xA700),
        (DatabaseAway("x"), 0xA700),
        (PeerUnreachable("x"), 0xA700),
        (InvalidDataset("x"), 0xC000),
        (UndecodablePixels("x"), 0xC000),
        (BrokenModel("x"), 0x0110),
        (NodeError("x"), 0x0110),
        (ZeroDivisionError("x"), 0x0110),
    ],
)
def test_each_error_has_its_status(error, status):
    assert dimse_status(error) == status


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (0x0000, Outcome.DELIVERED),
        (0xB000, Outcome.WARNING),
        (0xB006, Outcome.WARNING),
        (0xB007, Outcome.WARNING),
        (0x0001, Outcome.WARNING),
        (0x0107, Outcome.WARNING),
        (0x0111, Outcome.WARNING),
        (0x0116, Outcome.WARNING),
        (0xA700, Outcome.FAILED),
        (0xA7FF, Outcome.FAILED),
        (0x0110, Outcome.FAILED),
        (0x0213, Outcome.FAILED),
        (None, Outcome.FAILED),
        (0xFE00, Outcome.FAILED),
        (0xA900, Outcome.REFUSED),
        (0xA9FF, Outcome.REFUSED),
        (0xC000, Outcome.REFUSED),
        (0xCFFF, Outcome.REFUSED),
        (0x0117, Outcome.REFUSED),
        (0x0122, Outcome.REFUSED),
        (0x0124, Outcome.REFUSED),
    ],
)
def test_what_a_peer_s_answer_means(status, outcome):
    assert store_outcome(status) is outcome


def test_every_status_pynetdicom_knows_for_storage_has_the_meaning_it_gives():
    from pynetdicom.status import STATUS_FAILURE, STATUS_WARNING, STORAGE_SERVICE_CLASS_STATUS

    # 0111H is a failure in the standard's general table; for a repeated delivery it is not.
    for status, (category, _) in STORAGE_SERVICE_CLASS_STATUS.items():
        if status == 0x0111:
            continue
        outcome = store_outcome(status)
        if category == STATUS_FAILURE:
            assert outcome in {Outcome.FAILED, Outcome.REFUSED}, f"{status:04X}H"
        elif category == STATUS_WARNING:
            assert outcome is Outcome.WARNING, f"{status:04X}H"


@given(st.integers(0, 0xFFFF))
def test_only_zero_is_a_plain_success(status):
    assert (store_outcome(status) is Outcome.DELIVERED) == (status == 0)
    assert store_outcome(status) is not Outcome.PENDING


def test_a_status_is_written_as_the_standard_writes_it():
    assert status_text(0xA700) == "A700H"
    assert status_text(0x0122) == "0122H"
    assert status_text(None) == "no-answer"
