"""Worklist items as orders, and a worklist that fails is left alone."""

from collections.abc import Iterator
from datetime import UTC, date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag
from structlog.testing import capture_logs

from audit.clock import SystemClock
from audit.errors import PeerUnreachable
from audit.metrics import NullMetrics
from dicom_node.dimse.worklist import WorklistKeys, identifier
from dicom_node.orders.breaker import CircuitBreaker
from dicom_node.orders.items import Reading, Wanted, day_of, orders_of_items, valid_uid
from dicom_node.orders.worklist_source import WorklistSource
from inference.orders import OrderQuery, PatientKey
from inference.regions import load_regions
from tests.worklists import code, worklist_item, worklist_settings

TABLE = load_regions()
NOW = datetime(2026, 1, 2, tzinfo=UTC)


class HandClock(SystemClock):
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.at_s = 100.0

    def monotonic_s(self) -> float:
        return self.at_s


def reading(*items: Dataset, query: OrderQuery | None = None, **days: date) -> Reading:
    wanted = Wanted(query=query or OrderQuery(), modalities=frozenset({"CR", "DX"}), **days)
    return orders_of_items(items, wanted, TABLE, peer="RIS", received_at=NOW)


def test_why_an_item_is_left_out_is_counted() -> None:
    query = OrderQuery(accession_number="A1", patient=PatientKey(patient_id="P1", issuer="N"))
    stranger = worklist_item()
    stranger.IssuerOfPatientID = "S"

    found = reading(
        worklist_item(),
        worklist_item(accession=""),
        worklist_item(accession="A2"),
        worklist_item(patient="P2"),
        stranger,
        worklist_item(modality="MR"),
        worklist_item(day="20251231"),
        worklist_item(day="20260104"),
        query=query,
        first_day=date(2026, 1, 1),
        last_day=date(2026, 1, 3),
    )

    assert len(found.orders) == 1
    assert found.left_out == {
        "no-accession": 1,
        "other-accession": 1,
        "other-patient": 2,
        "other-modality": 1,
        "other-day": 2,
    }


def test_an_order_is_read_from_the_procedure_down_to_the_step_and_by_code_first() -> None:
    item = worklist_item(description="")
    [step] = item.ScheduledProcedureStepSequence
    step.ScheduledProcedureStepDescription = "Sprunggelenk links"

    assert reading(item).orders[0].regions == ("ANKLE",)
    item.RequestedProcedureDescription = "Knie"
    assert reading(item).orders[0].regions == ("KNEE", "ANKLE")
    item.RequestedProcedureCodeSequence = [code("56459004", "SCT", "Foot")]
    assert reading(item).orders[0].regions == ("FOOT",)


@pytest.mark.parametrize(
    "value",
    ["", "2026", "20261301", "20260230", "2026.1.2", "2026-01-02", "x20260102", "2026010²"],
)
def test_what_is_no_day_is_none(value: str) -> None:
    assert day_of(value) is None


@pytest.mark.parametrize(
    "value", ["20260102", " 20260102 ", "20260102101500+0100", "20260102-20260103"]
)
def test_the_day_is_what_a_date_or_time_begins_with(value: str) -> None:
    assert day_of(value) == date(2026, 1, 2)


@pytest.mark.parametrize(
    ("value", "valid"),
    [("1.2.3", True), ("1.02.3", False), ("1..2", False), ("x", False), ("1." + "2" * 70, False)],
)
def test_what_is_no_uid_is_dropped(value: str, valid: bool) -> None:
    assert valid_uid(value) == (value if valid else "")


elements = st.sampled_from(
    ["AccessionNumber", "PatientID", "RequestedProcedureID", "RequestedProcedureDescription",
     "StudyInstanceUID", "IssuerOfPatientID", "ScheduledProcedureStepSequence",
     "RequestedProcedureCodeSequence", "IssuerOfAccessionNumberSequence"]
)  # fmt: skip


@settings(max_examples=100)
@given(st.dictionaries(elements, st.binary(max_size=80), min_size=1))
def test_no_item_however_broken_raises(values: dict[str, bytes]) -> None:
    item = Dataset()
    for keyword, value in values.items():
        tag = BaseTag(tag_for_keyword(keyword) or 0)
        item[tag] = RawDataElement(tag, None, len(value), value, 0, True, True)

    for order in reading(item).orders:
        assert 0 < len(order.accession_number) <= 64
        assert order.accession_number.isprintable()


def test_a_query_asks_for_days_as_a_range() -> None:
    both = identifier(WorklistKeys(first_day=date(2026, 1, 1), last_day=date(2026, 1, 3)))
    one = identifier(WorklistKeys(first_day=date(2026, 1, 1), last_day=date(2026, 1, 1)))
    none = identifier(WorklistKeys(accession_number="Ä1"))

    def days(query: Dataset) -> str:
        return str(query.ScheduledProcedureStepSequence[0].ScheduledProcedureStepStartDate)

    assert (days(both), days(one), days(none)) == ("20260101-20260103", "20260101", "")
    assert none.SpecificCharacterSet == "ISO_IR 192"
    assert "SpecificCharacterSet" not in both


def test_a_peer_is_left_alone_after_failures_and_tried_by_one_after_its_rest() -> None:
    clock = HandClock()
    breaker = CircuitBreaker(clock, failures=2, rest_s=10)

    assert breaker.may_ask()
    assert breaker.failed() is False
    assert breaker.may_ask()
    assert breaker.failed() is True
    assert not breaker.may_ask()
    clock.at_s += 10
    assert [breaker.may_ask(), breaker.may_ask()] == [True, False]
    assert breaker.failed() is False
    assert not breaker.may_ask()
    clock.at_s += 10
    assert breaker.may_ask()
    breaker.succeeded()
    assert [breaker.may_ask(), breaker.may_ask()] == [True, True]


class Busy:
    """A worklist with as many items each day as one query may match."""

    def __init__(self) -> None:
        self.asked: list[WorklistKeys] = []

    def find(self, keys: WorklistKeys) -> tuple[Dataset, ...]:
        self.asked.append(keys)
        day = f"{keys.first_day:%Y%m%d}"
        return (worklist_item(accession=f"{keys.modality}-{day}", modality=keys.modality, day=day),)


def test_the_days_around_today_are_fetched_one_by_one() -> None:
    busy = Busy()
    made = WorklistSource(
        busy, worklist_settings(104, days_after=2), TABLE, SystemClock(), NullMetrics()
    )

    found = made.fetch()
    made.close()

    assert len(busy.asked) == len(found) == 2 * 4
    assert all(keys.first_day == keys.last_day for keys in busy.asked)


class Broken:
    """A worklist whose answers provoke an error that is not ours."""

    def find(self, keys: WorklistKeys) -> tuple[Dataset, ...]:
        raise KeyError(keys.accession_number)


@pytest.fixture
def broken() -> Iterator[WorklistSource]:
    made = WorklistSource(Broken(), worklist_settings(104), TABLE, SystemClock(), NullMetrics())
    yield made
    made.close()


def test_an_error_of_a_library_is_a_worklist_that_is_away(broken: WorklistSource) -> None:
    with capture_logs() as events:
        with pytest.raises(PeerUnreachable, match="understood"):
            broken.orders_for(OrderQuery(accession_number="A1"))
        with pytest.raises(PeerUnreachable, match="understood"):
            broken.fetch()
    assert [event["event"] for event in events] == ["orders.worklist.crashed"] * 2


def test_a_source_that_was_closed_is_away(broken: WorklistSource) -> None:
    broken.close()
    with pytest.raises(PeerUnreachable, match="stops"):
        broken.orders_for(OrderQuery(accession_number="A1"))
