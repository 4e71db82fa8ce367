"""From logits to decisions, and whether a model may see an image (pure)."""

import math
from collections.abc import Sequence

from inference.manifest import Gate, Label
from inference.types import Decision, LabelOutput, Outcome, Prediction

GATE_NOT_ASSESSED = "gate.not_assessed"
GATE_NOT_ASSESSED_REASON = "The model that has to clear this image gave no answer."


def calibrated(logit: float, label: Label) -> float:
    """Return sigmoid(logit / temperature + bias), without overflow."""
    scaled = logit / label.temperature + label.bias
    if scaled >= 0:
        return 1.0 / (1.0 + math.exp(-scaled))
    grown = math.exp(scaled)
    return grown / (1.0 + grown)


def decision(probability: float, label: Label) -> Decision:
    """Return the reading of a calibrated probability at the label's operating point.

    A label without an operating point is undetermined, whatever its probability.
    """
    if not label.reported:
        return Decision.NOT_REPORTED
    point = label.operating_point
    if point is None:
        return Decision.UNDETERMINED
    if probability >= point.present_at:
        return Decision.PRESENT
    return Decision.ABSENT if probability < point.absent_below else Decision.UNDETERMINED


def label_output(logit: float, label: Label) -> LabelOutput:
    """Return one label of a prediction."""
    probability = calibrated(logit, label)
    point = label.operating_point
    return LabelOutput(
        key=label.key,
        logit=logit,
        probability=probability,
        threshold=point.present_at if point is not None else None,
        decision=decision(probability, label),
    )


def closed_gate(gates: Sequence[Gate], predictions: Sequence[Prediction]) -> tuple[str, str] | None:
    """Return (reason code, reason) of the first gate that is closed, None when all are open.

    A gate whose model did not run, failed or was skipped is closed: unknown is refused,
    never guessed. Where several models answer, each must clear the image.
    """
    for gate in gates:
        answers = [
            found
            for prediction in predictions
            if prediction.model.task is gate.task and prediction.outcome is Outcome.PREDICTED
            if (found := prediction.label(gate.label)) is not None
        ]
        if not answers:
            return GATE_NOT_ASSESSED, GATE_NOT_ASSESSED_REASON
        if any(not gate.at_least <= answer.probability <= gate.at_most for answer in answers):
            return gate.reason_code, gate.reason
    return None
