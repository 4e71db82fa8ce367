"""When a study is complete, and when an object has been delivered: the two pure decisions."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dicom_node.pipeline.deliver import NotStored, Refused, check_stored
from dicom_node.pipeline.settle import PATIENCE_S, is_settled
from storage.index import SettlingStudy
from storage.reports import DeliveryRow

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def settling(*, quiet_s: float, waiting: int = 0, retrying: int = 0) -> SettlingStudy:
    return SettlingStudy(
        study_id=1,
        study_instance_uid="1.2",
        correlation_id="c",
        calling_ae_title="CR",
        urgent=False,
        revision=0,
        last_received_at=NOON - timedelta(seconds=quiet_s),
        changes=1,
        waiting=waiting,
        retrying=retrying,
    )


@pytest.mark.parametrize(
    ("quiet_s", "waiting", "retrying", "carried", "settled"),
    [
        (5.0, 0, 0, False, True),
        (4.9, 0, 0, False, False),
        (PATIENCE_S - 1, 0, 0, True, False),
        (PATIENCE_S, 0, 0, True, True),
        (500, 1, 0, False, False),
        (PATIENCE_S, 1, 1, False, True),
        (PATIENCE_S - 1, 1, 1, False, False),
        (500, 2, 1, False, False),
    ],
)
def test_a_study_settles_when_it_is_quiet_alone_and_analysed(
    quiet_s: float, waiting: int, retrying: int, carried: bool, settled: bool
) -> None:
    study = settling(quiet_s=quiet_s, waiting=waiting, retrying=retrying)

    assert is_settled(study, now=NOON, settle_s=5, carried=carried) is settled


@pytest.mark.parametrize(("quiet_s", "settled"), [(299, False), (300, True)])
def test_a_patient_configuration_holds_a_carried_study_back_for_longer(
    quiet_s: float, settled: bool
) -> None:
    study = settling(quiet_s=quiet_s, waiting=0, retrying=0)

    assert is_settled(study, now=NOON, settle_s=30, carried=True) is settled


def row(role: str, outcome: str, status: str = "") -> DeliveryRow:
    values: dict[str, Any] = dict.fromkeys(DeliveryRow.__dataclass_fields__, "x")
    return DeliveryRow(**{**values, "role": role, "outcome": outcome, "status": status})


def test_all_arrived_is_stored() -> None:
    check_stored([row("SC", "delivered"), row("SR", "warning")])


def test_one_sr_in_any_profile_is_enough() -> None:
    check_stored([row("SR", "refused"), row("SR", "delivered")])


def test_what_may_pass_is_tried_again_though_something_else_is_refused() -> None:
    with pytest.raises(NotStored, match="SR A700H"):
        check_stored([row("SC", "refused", "C000H"), row("SR", "failed", "A700H")])


def test_what_is_refused_for_good_is_for_a_person() -> None:
    with pytest.raises(Refused, match="SC C000H"):
        check_stored([row("SC", "refused", "C000H"), row("SR", "delivered")])
