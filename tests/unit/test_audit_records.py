"""What a record says, and that it says it in exact JSON."""

from dataclasses import asdict, replace
from datetime import UTC, datetime

import pytest

from audit.chain import canonical, columns_of
from audit.entries import Entry, Node, RecordKind, Subject, WrittenObject
from audit.records import Writer, prediction_key
from inference.types import (
    Decision,
    Expectation,
    ExpectationSource,
    HeatMap,
    ImageVerdict,
    LabelOutput,
    ModelIdentity,
    Outcome,
    Prediction,
    RegionProbability,
    Task,
    Verdict,
    prediction_to_json,
    verdict_to_json,
)

NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)
WRITER = Writer(node=Node(node_id="node-1", software_version="0.1.0", commit="abc", host="h"))
SUBJECT = Subject(
    patient_pseudonym="p" * 64,
    accession_pseudonym="a" * 64,
    study_instance_uid="1.2",
    series_instance_uid="1.2.3",
    sop_instance_uid="1.2.3.4",
    sop_class_uid="1.2.840.10008.5.1.4.1.1.1",
    transfer_syntax_uid="1.2.840.10008.1.2.1",
    content_sha256="c" * 64,
    pixel_sha256="d" * 64,
    modality="CR",
    body_part_examined="CHEST",
    view_position="PA",
    laterality="",
)
MODEL = ModelIdentity(
    name="bodypart",
    version="1.0.0",
    task=Task.BODY_PART,
    weights_sha256="1" * 64,
    configuration_sha256="2" * 64,
    preprocessing="letterbox-1",
    runtime="torch 2.13.0",
    device="cpu",
    precision="fp32",
)
PREDICTION = Prediction(
    model=MODEL,
    outcome=Outcome.PREDICTED,
    labels=(
        LabelOutput(
            key="HAND",
            logit=4.5,
            probability=0.99,
            threshold=0.5,
            decision=Decision.PRESENT,
        ),
        LabelOutput(
            key="CHEST",
            logit=-3.0,
            probability=0.01,
            threshold=None,
            decision=Decision.ABSENT,
        ),
    ),
    heat_maps=(
        HeatMap(
            key="HAND", method="grad-cam", values=((0.0, 1.0),), content_box=(0.0, 0.0, 1.0, 1.0)
        ),
    ),
    tensor_sha256="3" * 64,
    started_at="2026-03-01T08:00:00+00:00",
    duration_ms=12.5,
)
VERDICT = ImageVerdict(
    verdict=Verdict.MISMATCH,
    expected=Expectation(regions=("CHEST",), source=ExpectationSource.STUDY_DESCRIPTION),
    seen=(RegionProbability(region="HAND", probability=0.99),),
    reason="expected CHEST, saw HAND",
)


def predicted(prediction: Prediction = PREDICTION) -> Entry:
    return WRITER.prediction(
        instance_id=42,
        subject=SUBJECT,
        trigger="route:xray",
        correlation_id="0f0f",
        calling_ae_title="CT1",
        region_table_sha256="7" * 64,
        prediction=prediction_to_json(prediction),
        verdict=verdict_to_json(VERDICT),
        recorded_at=NOW,
        notes=("pixels.photometric_doubtful",),
    )


def every_kind() -> list[Entry]:
    written = WrittenObject(
        role="SR", profile="viewer", sop_instance_uid="2.25.1", sop_class_uid="1.2", sha256="e" * 64
    )
    caller = {"calling_ae_title": "CT1", "called_ae_title": "AI", "address": "10.0.0.1"}
    return [
        predicted(),
        WRITER.instance_received(
            instance_id=42,
            subject=SUBJECT,
            caller=caller,
            receipt="revision",
            route="xray",
            recorded_at=NOW,
        ),
        WRITER.report_written(
            study_id=7,
            revision=2,
            subject=SUBJECT,
            objects=[written],
            sources=["b", "a"],
            predecessor="2.25.0",
            recorded_at=NOW,
        ),
        WRITER.accession_checked(
            check_key="1:2",
            subject=SUBJECT,
            standing="mismatch",
            images={"2.25.7": "match", "2.25.8": "mismatch"},
            order={"source": "hl7", "regions": ["KNEE"], "missing": []},
            recorded_at=NOW,
        ),
        WRITER.proposal_changed(
            proposal_id=4,
            change="accepted",
            kind="swap",
            actor="anna",
            subject=SUBJECT,
            moves=[{"sop_instance_uid": "2.25.8", "from": "aa", "to": "bb", "margin": 4.5}],
            recorded_at=NOW,
        ),
        WRITER.correction_written(
            proposal_id=4,
            actor="anna",
            subject=SUBJECT,
            objects=[written],
            replaced=["2.25.8", "2.25.7"],
            destinations=["pacs"],
            recorded_at=NOW,
        ),
        WRITER.delivery(
            delivery_id="9",
            attempt=3,
            subject=SUBJECT,
            destination="pacs",
            outcome="refused",
            status="A700H",
            sha256="e" * 64,
            recorded_at=NOW,
        ),
        WRITER.job_changed(
            job_key="deliver:9:pacs",
            attempt=3,
            change="parked",
            actor="node",
            error_code="delivery.peer.unreachable",
            subject=SUBJECT,
            recorded_at=NOW,
        ),
        WRITER.configuration_loaded(
            configuration_sha256="f" * 64, executor_id="node-1", recorded_at=NOW
        ),
        WRITER.model_loaded(
            model=prediction_to_json(PREDICTION)["model"], executor_id="node-1", recorded_at=NOW
        ),
        WRITER.access(
            actor="auditor", action="export", query={"study_instance_uid": "1.2"}, recorded_at=NOW
        ),
    ]


def columns(entry: Entry) -> dict[str, str]:
    return columns_of(
        {
            "audit_id": "x",
            "kind": str(entry.kind),
            "recorded_at": "t",
            "key": entry.key,
            "body": entry.body,
        }
    )


def test_a_prediction_says_who_on_what_with_what_and_what_came_out() -> None:
    body = predicted().body

    assert body["node"] == asdict(WRITER.node)
    assert body["subject"] == asdict(SUBJECT)
    assert body["trigger"] == "route:xray"
    assert (body["correlation_id"], body["calling_ae_title"]) == ("0f0f", "CT1")
    assert body["region_table_sha256"] == "7" * 64
    assert body["node"]["commit"] == "abc"
    assert body["model"]["weights_sha256"] == "1" * 64
    assert body["model"]["configuration_sha256"] == "2" * 64
    assert body["model"]["runtime"] == "torch 2.13.0"
    assert body["labels"] == [
        {
            "key": "HAND",
            "logit": 4.5,
            "probability": 0.99,
            "threshold": 0.5,
            "decision": "present",
        },
        {
            "key": "CHEST",
            "logit": -3.0,
            "probability": 0.01,
            "threshold": None,
            "decision": "absent",
        },
    ]
    assert (body["outcome"], body["tensor_sha256"]) == ("predicted", "3" * 64)
    assert (body["started_at"], body["duration_ms"]) == ("2026-03-01T08:00:00+00:00", 12.5)
    assert body["notes"] == ["pixels.photometric_doubtful"]
    assert body["verdict"]["expected"]["regions"] == ["CHEST"]
    assert body["verdict"]["seen"] == [{"region": "HAND", "probability": 0.99}]


def test_a_prediction_is_searched_by_its_subject_model_outcome_and_verdict() -> None:
    assert columns(predicted()) == {
        "audit_id": "x",
        "kind": "prediction",
        "recorded_at": "t",
        "idempotency_key": f"predict:42:bodypart:{'1' * 64}:{'2' * 64}",
        "patient_pseudonym": "p" * 64,
        "accession_pseudonym": "a" * 64,
        "study_instance_uid": "1.2",
        "sop_instance_uid": "1.2.3.4",
        "model_name": "bodypart",
        "model_version": "1.0.0",
        "outcome": "predicted",
        "verdict": "mismatch",
    }


def test_a_failure_is_recorded_with_its_reason() -> None:
    failed = replace(
        PREDICTION, outcome=Outcome.FAILED, reason_code="inference.pixels.undecodable", labels=()
    )

    body = predicted(failed).body

    assert (body["outcome"], body["reason_code"]) == ("failed", "inference.pixels.undecodable")


def test_a_heat_map_is_recorded_by_its_hash_and_the_hash_follows_its_values() -> None:
    [first] = predicted().body["heat_maps"]
    other = replace(PREDICTION.heat_maps[0], values=((0.0, 0.9),))
    [second] = predicted(replace(PREDICTION, heat_maps=(other,))).body["heat_maps"]

    assert (first["key"], first["method"], len(first["sha256"])) == ("HAND", "grad-cam", 64)
    assert first["sha256"] != second["sha256"]
    assert "values" not in first


def test_the_key_of_a_prediction_changes_with_weights_and_configuration() -> None:
    model = prediction_to_json(PREDICTION)["model"]

    keys = {
        prediction_key(42, model),
        prediction_key(43, model),
        prediction_key(42, {**model, "weights_sha256": "9" * 64}),
        prediction_key(42, {**model, "configuration_sha256": "9" * 64}),
        prediction_key(42, {**model, "name": "other"}),
    }

    assert len(keys) == 5


@pytest.mark.parametrize("entry", every_kind(), ids=lambda entry: str(entry.kind))
def test_every_kind_of_record_is_exact_json_and_fits_its_columns(entry: Entry) -> None:
    assert canonical(dict(entry.body))
    assert entry.body["node"]["node_id"] == "node-1"
    found = columns(entry)
    assert len(found["idempotency_key"]) <= 255
    assert len(found["kind"]) <= 32


def test_every_kind_has_a_constructor_and_keys_of_its_own() -> None:
    entries = every_kind()

    assert {entry.kind for entry in entries} == set(RecordKind)
    assert len({entry.key for entry in entries}) == len(entries)


def test_a_report_names_its_predictions_in_one_order() -> None:
    [report] = [entry for entry in every_kind() if entry.kind is RecordKind.REPORT_WRITTEN]

    assert report.body["predictions"] == ["a", "b"]
    assert report.body["objects"][0]["sha256"] == "e" * 64
    assert report.key == "report:7:2"


def test_each_attempt_at_a_delivery_is_a_record_of_its_own() -> None:
    def key(attempt: int) -> str:
        return WRITER.delivery(
            delivery_id="9",
            attempt=attempt,
            subject=SUBJECT,
            destination="pacs",
            outcome="failed",
            status="timeout",
            sha256="",
            recorded_at=NOW,
        ).key

    assert key(1) != key(2)
