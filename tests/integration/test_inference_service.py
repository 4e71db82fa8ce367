"""The service from file to predictions, with real (untrained) networks."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest
from structlog.testing import capture_logs

from audit.clock import SystemClock
from audit.errors import BrokenModel, InvalidConfiguration
from audit.metrics import NullMetrics
from inference.preprocess import letterbox, network_input
from inference.reader import PixelProblem, read_display
from inference.registry import Registry
from inference.runtime import RawOutput
from inference.runtime.torch_runtime import torch_runtimes
from inference.service import NOT_FINITE, InferenceFailed, InferenceOptions, InferenceService
from inference.types import (
    Decision,
    Outcome,
    Task,
    prediction_from_json,
    prediction_to_json,
)
from tests.builders import chest_radiograph, part10_bytes
from tests.models import SIZE, label, model_folder

GATE = {
    "task": "body_part",
    "label": "chest",
    "at_least": 0.6,
    "reason_code": "gate.not_chest",
    "reason": "The image does not show a chest.",
}
BOTH = ("test-findings", "test-bodypart")


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image.dcm"
    path.write_bytes(part10_bytes(chest_radiograph()))
    return path


@pytest.fixture(scope="module")
def registry_for(tmp_path_factory):
    """Return the registry of a body-part model and a gated findings model, made once."""

    @cache
    def registry(chest_logit):
        root = tmp_path_factory.mktemp("models")
        regions = [
            label("chest", role="region"),
            label("hand", role="region", temperature=2.0, bias=-1.0),
        ]
        model_folder(
            root,
            name="test-bodypart",
            task="body_part",
            labels=regions,
            head_bias=[chest_logit, 4.0],
        )
        findings = [
            label("effusion"),
            label("mass"),
            label("hernia", reported=False, not_reported_because="too few examples"),
        ]
        model_folder(root, labels=findings, gates=[GATE], head_bias=[3.0, -3.0, 3.0])
        return Registry.load([root], shipped=None)

    return registry


@pytest.fixture
def start(registry_for):
    """Start a service; it is closed when the test ends."""
    started = []

    def service(*, chest_logit=2.0, runtime_for=None, **options):
        running = InferenceService(
            registry_for(chest_logit),
            runtime_for=runtime_for or torch_runtimes(device="cpu"),
            options=InferenceOptions(**options),
            clock=SystemClock(),
            metrics=NullMetrics(),
        )
        started.append(running)
        return running

    yield service
    for running in started:
        running.close()


def test_the_body_part_comes_first_then_what_its_gate_lets_in(start, image):
    analysis = start().analyse(image, BOTH)

    assert [p.model.task for p in analysis.predictions] == [Task.BODY_PART, Task.CHEST_FINDINGS]
    assert {p.outcome for p in analysis.predictions} == {Outcome.PREDICTED}
    assert (analysis.rows, analysis.columns) == (64, 64)
    assert analysis.pixel_sha256 == read_display(image, maximum_pixels=10**6).pixel_sha256


def test_decisions_follow_the_manifest(start, image):
    analysis = start().analyse(image, BOTH)

    found = analysis.prediction(Task.CHEST_FINDINGS)
    assert {said.key: said.decision for said in found.labels} == {
        "effusion": Decision.PRESENT,
        "mass": Decision.ABSENT,
        "hernia": Decision.NOT_REPORTED,
    }
    hand = analysis.prediction(Task.BODY_PART).label("hand")
    assert hand.probability == pytest.approx(1 / (1 + np.exp(-(hand.logit / 2.0 - 1.0))))
    assert found.label("effusion").threshold == 0.5


def test_heat_maps_are_kept_for_findings_that_are_present_and_reported(start, image):
    analysis = start().analyse(image, BOTH)

    [heat] = analysis.prediction(Task.CHEST_FINDINGS).heat_maps
    assert heat.key == "effusion"
    assert max(map(max, heat.values)) == 1.0
    assert analysis.prediction(Task.BODY_PART).heat_maps == ()


def test_a_heat_map_belongs_to_its_own_label(start, image):
    service = start()
    tensor = tensor_of(image, service)
    model = service._models["test-findings"]

    raw, other, _ = model.batcher.submit(tensor).cams[0]
    [heat] = service.analyse(image, BOTH).prediction(Task.CHEST_FINDINGS).heat_maps

    np.testing.assert_allclose(heat.values, raw / raw.max(), atol=1e-4)
    assert np.abs(heat.values - other / other.max()).max() > 1e-3


def tensor_of(image, service):
    spec = service.manifest("test-findings").input
    display = read_display(image, maximum_pixels=10**6).display
    return network_input(letterbox(display, size=SIZE), mean=spec.mean, std=spec.std)


def test_the_hash_is_of_exactly_what_the_network_was_fed(start, image):
    service = start()

    found = service.analyse(image, BOTH).prediction(Task.CHEST_FINDINGS)

    expected = hashlib.sha256(tensor_of(image, service).tobytes()).hexdigest()
    assert found.tensor_sha256 == expected


def test_a_closed_gate_skips_the_model_and_says_why(start, image):
    analysis = start(chest_logit=-2.0).analyse(image, BOTH)

    skipped = analysis.prediction(Task.CHEST_FINDINGS)
    assert skipped.outcome is Outcome.SKIPPED
    assert (skipped.reason_code, skipped.reason) == (GATE["reason_code"], GATE["reason"])
    assert (skipped.labels, skipped.heat_maps) == ((), ())
    assert analysis.prediction(Task.BODY_PART).outcome is Outcome.PREDICTED


def test_a_gate_that_nobody_answers_stays_closed(start, image):
    [skipped] = start().analyse(image, ["test-findings"]).predictions

    assert (skipped.outcome, skipped.reason_code) == (Outcome.SKIPPED, "gate.not_assessed")


def test_an_unreadable_image_fails_every_model_and_is_logged_without_values(start, tmp_path):
    path = tmp_path / "broken.dcm"
    path.write_bytes(part10_bytes(chest_radiograph(PatientName="Secret^Name"))[:-100])

    with capture_logs() as events:
        analysis = start().analyse(path, BOTH)

    assert analysis.pixel_sha256 is None
    assert len(analysis.predictions) == 2
    assert {p.outcome for p in analysis.predictions} == {Outcome.FAILED}
    assert {p.reason_code for p in analysis.predictions} == {PixelProblem.DAMAGED.value}
    [refused] = [e for e in events if e["event"] == "inference.image.refused"]
    assert refused["reason_code"] == PixelProblem.DAMAGED.value
    assert "Secret" not in str(events)


def test_every_prediction_survives_the_database(start, image):
    for prediction in start().analyse(image, BOTH).predictions:
        assert prediction_from_json(prediction_to_json(prediction)) == prediction


def test_many_threads_get_the_answers_of_one(start, tmp_path):
    service = start(batch_wait_ms=2.0)
    paths = []
    for number in range(12):
        path = tmp_path / f"{number}.dcm"
        values = np.random.default_rng(number).integers(0, 4096, 4096).astype("<u2")
        path.write_bytes(part10_bytes(chest_radiograph(PixelData=values.tobytes())))
        paths.append(path)

    alone = [service.analyse(path, BOTH) for path in paths]
    with ThreadPoolExecutor(6) as threads:
        together = list(threads.map(lambda path: service.analyse(path, BOTH), paths))

    for one, other in zip(alone, together, strict=True):
        assert one.pixel_sha256 == other.pixel_sha256
        for mine, theirs in zip(one.predictions, other.predictions, strict=True):
            assert mine.tensor_sha256 == theirs.tensor_sha256
            logits = [[said.logit for said in p.labels] for p in (mine, theirs)]
            np.testing.assert_allclose(*logits, atol=1e-4)


class BrokenRuntime:
    """A runtime that gives what it is told, for faults that torch will not make on order."""

    name, device, precision = "broken", "cpu", "float32"

    def __init__(self, network, *, logit=0.0, error=None):
        self.labels, self.logit, self.error = network.head.out_features, logit, error

    def run(self, batch):
        if self.error is not None:
            raise self.error
        shape = (len(batch), self.labels)
        return RawOutput(
            np.full(shape, self.logit, np.float32), np.zeros((*shape, 2, 2), np.float32)
        )


def test_an_output_that_is_no_number_is_a_failure_not_a_decision(start, image):
    service = start(runtime_for=lambda network, _size: BrokenRuntime(network, logit=np.nan))

    body_part, findings = service.analyse(image, BOTH).predictions

    assert (body_part.outcome, body_part.reason_code) == (Outcome.FAILED, NOT_FINITE)
    assert (findings.outcome, findings.reason_code) == (Outcome.SKIPPED, "gate.not_assessed")
    with pytest.raises(BrokenModel):
        service.warm_up()


def test_a_network_that_cannot_run_is_tried_again_later(start, image):
    failure = RuntimeError("out of memory")
    service = start(runtime_for=lambda network, _size: BrokenRuntime(network, error=failure))

    with pytest.raises(InferenceFailed):
        service.analyse(image, BOTH)


def test_warming_up_runs_every_network(start):
    start().warm_up()


def test_routes_are_checked_at_start(start):
    service = start()

    service.check_models(BOTH)
    with pytest.raises(InvalidConfiguration) as unknown:
        service.check_models(["nobody", "test-findings"])
    assert unknown.value.problems == [
        "model 'nobody' is not installed",
        "model 'test-findings' waits for 'chest' of a body_part model that the route does not name",
    ]
    with pytest.raises(InvalidConfiguration):
        service.manifest("nobody")


def test_identities_name_weights_configuration_and_machine(start):
    bodypart, findings = start().identities()

    assert (bodypart.name, findings.name) == ("test-bodypart", "test-findings")
    assert findings.task is Task.CHEST_FINDINGS
    assert len(findings.weights_sha256) == len(findings.configuration_sha256) == 64
    assert (findings.preprocessing, findings.device) == ("px-1", "cpu")


def test_a_closed_service_refuses_to_answer(start, image):
    service = start()
    service.close()

    with pytest.raises(Exception, match="stopping") as refused:
        service.analyse(image, BOTH)
    assert refused.value.code == "inference.batcher.closed"
