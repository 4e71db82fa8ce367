"""Which orders an accession means, and which source is believed."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from dicom_node.config.accession import OrderedBy
from dicom_node.orders.choice import Declared, Number, holding, meant_by, of_patient
from inference.accessions import OrderedAccession
from inference.orders import Order, OrderState, PatientKey, Side, order_from_json, order_to_json
from inference.types import Code, Expectation, ExpectationSource

PATIENT = PatientKey(patient_id="P1", issuer="HOSP")
ALL = tuple(OrderedBy)


def order(**changes: Any) -> Order:
    known = Order(
        accession_number="A1",
        patient=PATIENT,
        source=ExpectationSource.HL7,
        regions=("KNEE",),
        received_at=datetime(2026, 1, 2, tzinfo=UTC),
    )
    return replace(known, **changes)


def held(*orders: Order, declared: Declared | None = None, sources: Any = ALL) -> OrderedAccession:
    number = Number(accession_number="A1")
    return holding("k", number, orders, declared or Declared(), sources)


def test_an_order_of_another_patient_is_nobodys() -> None:
    other = order(patient=PatientKey(patient_id="P2", issuer="HOSP"))
    foreign = order(patient=PatientKey(patient_id="P1", issuer="ELSEWHERE"))
    assert meant_by(Number(accession_number="A1"), PATIENT, [other, foreign]) == ()


def test_one_number_of_two_issuers_means_the_one_that_the_images_name() -> None:
    here, there = order(issuer="HERE"), order(issuer="THERE", regions=("ANKLE",))
    assert meant_by(Number(accession_number="A1", issuer="THERE"), PATIENT, [here, there]) == (
        there,
    )


def test_one_number_of_two_issuers_means_neither_where_the_images_name_none() -> None:
    here, there = order(issuer="HERE"), order(issuer="THERE", regions=("ANKLE",))
    assert meant_by(Number(accession_number="A1"), PATIENT, [here, there]) == ()


def test_an_issuer_that_is_not_named_contradicts_nothing() -> None:
    told = order(issuer="HERE")
    nameless = PatientKey(patient_id="P1")
    assert meant_by(Number(accession_number="A1"), nameless, [told]) == (told,)
    assert held(told).ref.issuer == "HERE"


def test_two_people_under_one_patient_id_mean_nobody_where_the_images_name_no_issuer() -> None:
    one = order()
    other = order(accession_number="A2", patient=PatientKey(patient_id="P1", issuer="ELSEWHERE"))
    assert of_patient(PatientKey(patient_id="P1"), [one, other]) == ()
    assert of_patient(PATIENT, [one, other]) == (one,)


def test_images_without_accession_number_or_patient_mean_no_order() -> None:
    assert meant_by(Number(accession_number=""), PATIENT, [order(accession_number="")]) == ()
    nobody = PatientKey(patient_id="")
    assert meant_by(Number(accession_number="A1"), nobody, [order(patient=nobody)]) == ()


@pytest.mark.parametrize(
    ("sources", "region"),
    [
        ((OrderedBy.HL7, OrderedBy.WORKLIST), "KNEE"),
        ((OrderedBy.WORKLIST, OrderedBy.HL7), "ANKLE"),
        ((OrderedBy.DESCRIPTION, OrderedBy.HL7), "HAND"),
    ],
)
def test_the_first_source_that_knows_a_region_decides(sources: Any, region: str) -> None:
    worklist = order(source=ExpectationSource.WORKLIST, regions=("ANKLE",))
    said = Expectation(regions=("HAND",), source=ExpectationSource.STUDY_DESCRIPTION)
    accession = held(order(), worklist, declared=Declared(expectations=(said,)), sources=sources)
    assert accession.expected is not None
    assert accession.expected.regions == (region,)


def test_a_source_that_names_nothing_known_leaves_the_word_to_the_next() -> None:
    worklist = order(source=ExpectationSource.WORKLIST, regions=("ANKLE",))
    accession = held(order(regions=()), worklist, sources=(OrderedBy.HL7, OrderedBy.WORKLIST))
    assert accession.expected is not None
    assert accession.expected.source is ExpectationSource.WORKLIST


def test_an_order_that_was_cancelled_holds_nothing_whatever_the_images_say() -> None:
    said = Expectation(regions=("HAND",), source=ExpectationSource.STUDY_DESCRIPTION)
    accession = held(
        order(state=OrderState.CANCELLED), declared=Declared(expectations=(said,)), sources=ALL
    )
    assert (accession.cancelled, accession.expected) == (True, None)


def test_a_second_procedure_that_was_not_cancelled_still_holds() -> None:
    gone = order(state=OrderState.CANCELLED, requested_procedure_id="1")
    kept = order(regions=("ANKLE",), requested_procedure_id="2")
    accession = held(gone, kept)
    assert accession.expected is not None
    assert (accession.cancelled, accession.expected.regions) == (False, ("ANKLE",))
    assert accession.ref.requested_procedure_id == "2"


def test_procedures_of_one_accession_are_expected_together() -> None:
    both = held(
        order(requested_procedure_id="1", laterality=Side.LEFT, study_instance_uid="1.2"),
        order(requested_procedure_id="2", regions=("HAND",), laterality=Side.RIGHT),
    )
    assert both.expected is not None
    assert both.expected.regions == ("KNEE", "HAND")
    assert both.laterality is Side.BOTH
    assert (both.ref.study_instance_uid, both.ref.requested_procedure_id) == ("1.2", "")


def test_an_order_survives_json() -> None:
    whole = order(
        codes=(Code(scheme="L", value="X", meaning="Knee"),), laterality=Side.LEFT, stale=True
    )
    assert order_from_json(order_to_json(whole)) == whole
