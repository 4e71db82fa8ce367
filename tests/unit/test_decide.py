"""Calibration, operating points and gates."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.decide import GATE_NOT_ASSESSED, calibrated, closed_gate, label_output
from inference.manifest import Gate, Label, OperatingPoint
from inference.types import Decision, LabelOutput, ModelIdentity, Outcome, Prediction, Task

POINT = OperatingPoint(present_at=0.7, absent_below=0.3)
GATE = Gate(
    task=Task.BODY_PART, label="chest", at_least=0.6, reason_code="gate.x", reason="Not a chest."
)


def finding(**changes):
    return Label(key="effusion", role="finding", **{"operating_point": POINT, **changes})


def logit(probability):
    return math.log(probability / (1 - probability))


def body_part(probability, *, outcome=Outcome.PREDICTED, key="chest", task=Task.BODY_PART):
    identity = ModelIdentity(
        name="m",
        version="1.0.0",
        task=task,
        weights_sha256="",
        configuration_sha256="",
        preprocessing="",
        runtime="",
        device="",
        precision="",
    )
    said = LabelOutput(
        key=key, logit=0.0, probability=probability, threshold=None, decision=Decision.PRESENT
    )
    return Prediction(model=identity, outcome=outcome, labels=(said,))


@pytest.mark.parametrize(
    ("probability", "decision"),
    [
        (0.7, Decision.PRESENT),
        (0.69, Decision.UNDETERMINED),
        (0.31, Decision.UNDETERMINED),
        (0.29, Decision.ABSENT),
    ],
)
def test_a_decision_follows_the_operating_point(probability, decision):
    said = label_output(logit(probability) + 1e-9, finding())

    assert said.decision is decision
    assert said.threshold == 0.7
    assert said.probability == pytest.approx(probability)


def test_calibration_divides_by_the_temperature_then_adds_the_bias():
    label = finding(temperature=2.0, bias=-0.5)

    assert calibrated(3.0, label) == pytest.approx(1 / (1 + math.exp(-1.0)))


def test_a_label_that_is_not_reported_has_no_decision():
    assert label_output(9.0, finding(reported=False)).decision is Decision.NOT_REPORTED


def test_a_label_without_an_operating_point_is_undetermined():
    said = label_output(9.0, finding(operating_point=None))

    assert (said.decision, said.threshold) == (Decision.UNDETERMINED, None)


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_calibration_keeps_the_order_and_the_bounds(one, other):
    label = finding(temperature=1.7, bias=0.3)
    low, high = sorted((one, other))

    assert 0 <= calibrated(low, label) <= calibrated(high, label) <= 1


def test_a_gate_opens_at_its_probability():
    assert closed_gate([GATE], [body_part(0.6)]) is None
    assert closed_gate([GATE], [body_part(0.59)]) == ("gate.x", "Not a chest.")
    assert closed_gate([], []) is None


@pytest.mark.parametrize(
    "predictions",
    [
        [],
        [body_part(0.9, outcome=Outcome.FAILED)],
        [body_part(0.9, outcome=Outcome.SKIPPED)],
        [body_part(0.9, key="hand")],
        [body_part(0.9, task=Task.CHEST_FINDINGS)],
    ],
)
def test_a_gate_that_nobody_answered_stays_closed(predictions):
    code, reason = closed_gate([GATE], predictions)

    assert code == GATE_NOT_ASSESSED
    assert reason


def test_every_model_that_answers_a_gate_must_clear_the_image():
    assert closed_gate([GATE], [body_part(0.9), body_part(0.1)]) == ("gate.x", "Not a chest.")
