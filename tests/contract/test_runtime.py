"""What every runtime promises, whatever executes the network."""

import numpy as np
import pytest
import torch

from audit.errors import InvalidConfiguration
from inference.architectures import build, closed_form_cam
from inference.runtime.torch_runtime import torch_runtimes

TOLERANCE = {"cpu": 1e-5, "cuda": 1e-3}
"""Largest difference of a logit from the reference: float32 sums in another order."""

LABELS = 5


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(1)
    return build("mobilenet_v2", LABELS).eval()


@pytest.fixture(params=["cpu", "cuda"])
def runtime(request, network):
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no CUDA device here")
    copy = build("mobilenet_v2", LABELS)
    copy.load_state_dict(network.state_dict())
    return torch_runtimes(device=request.param)(copy)


@pytest.fixture(scope="module")
def batch():
    return np.random.default_rng(5).normal(size=(3, 3, 64, 64)).astype(np.float32)


def test_outputs_equal_the_reference(runtime, network, batch):
    with torch.inference_mode():
        logits, maps = network(torch.from_numpy(batch))
        cams = closed_form_cam(network.head, maps)

    output = runtime.run(batch)

    tolerance = TOLERANCE[runtime.device]
    np.testing.assert_allclose(output.logits, logits.numpy(), atol=tolerance)
    np.testing.assert_allclose(output.cams, cams.numpy(), atol=tolerance)


def test_outputs_are_plain_float32_arrays(runtime, batch):
    output = runtime.run(batch)

    assert output.logits.shape == (3, LABELS)
    assert output.cams.shape == (3, LABELS, 2, 2)
    assert output.logits.dtype == output.cams.dtype == np.float32
    assert (output.cams >= 0).all()


def test_company_in_a_batch_changes_nothing(runtime, batch):
    together = runtime.run(batch)

    for row in range(3):
        alone = runtime.run(batch[row : row + 1])
        tolerance = TOLERANCE[runtime.device]
        np.testing.assert_allclose(alone.logits[0], together.logits[row], atol=tolerance)


def test_a_runtime_says_what_it_is(runtime):
    assert runtime.name == f"torch {torch.__version__.split('+')[0]}"
    assert runtime.precision == "float32"
    assert runtime.device in TOLERANCE


def test_an_accelerator_that_is_not_there_is_a_configuration_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    with pytest.raises(InvalidConfiguration, match="cuda"):
        torch_runtimes(device="cuda")
    assert torch_runtimes(device="auto")(build("mobilenet_v2", 1)).device == "cpu"
