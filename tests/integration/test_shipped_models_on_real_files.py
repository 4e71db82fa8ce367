"""The shipped models through the whole service, on real radiographs."""

import pytest

from audit.clock import SystemClock
from audit.metrics import NullMetrics
from inference.registry import Registry
from inference.runtime.torch_runtime import torch_runtimes
from inference.service import InferenceOptions, InferenceService
from inference.types import Outcome, Task
from tests.data import data_dir

pytestmark = pytest.mark.data
BOTH = ("bodypart", "chest-findings")


@pytest.fixture(scope="module")
def service():
    running = InferenceService(
        Registry.load(),
        runtime_for=torch_runtimes(device="cpu"),
        options=InferenceOptions(),
        clock=SystemClock(),
        metrics=NullMetrics(),
    )
    running.warm_up()
    yield running
    running.close()


def analysed(service, name):
    return service.analyse(data_dir() / "dicom" / "radiographs" / name, BOTH)


def test_the_shipped_models_form_a_route(service):
    service.check_models(BOTH)

    assert {identity.task for identity in service.identities()} == {
        Task.BODY_PART,
        Task.CHEST_FINDINGS,
    }


@pytest.mark.parametrize(
    "name",
    [
        "siim_chest_PA.dcm",
        "WG04_RG1_JLSN.dcm",
        "udacity_nih_test1.dcm",
        "fodicom_CR-MONO1-10-chest_noext",
    ],
)
def test_a_frontal_chest_is_seen_as_one_and_read_for_findings(service, name):
    body_part, findings = analysed(service, name).predictions

    most_probable = max(body_part.labels, key=lambda said: said.probability)
    assert most_probable.key in ("Chest", "FrontalChest")
    assert findings.outcome is Outcome.PREDICTED
    assert len(findings.labels) == len(service.manifest("chest-findings").labels)


def test_a_chest_whose_photometric_interpretation_lies_is_not_read_for_findings(service):
    body_part, findings = analysed(service, "siim_chest_PA_fakeMONO1.dcm").predictions

    assert body_part.label("Chest").probability > 0.5
    assert body_part.label("Inverted").probability > 0.9
    assert (findings.outcome, findings.reason_code) == (Outcome.SKIPPED, "gate.inverted")


@pytest.mark.parametrize("name", ["ddh_pelvis_115.dcm", "WG04_RG3_RLE.dcm", "WG04_RG2_J2KR.dcm"])
def test_another_body_part_is_not_read_for_findings(service, name):
    body_part, findings = analysed(service, name).predictions

    assert body_part.label("Chest").probability < 0.2
    assert findings.outcome is Outcome.SKIPPED
    assert findings.reason_code == service.manifest("chest-findings").gates[0].reason_code
