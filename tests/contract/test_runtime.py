"""What every runtime promises, whatever executes the network."""

import copy
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from structlog.testing import capture_logs
from torch import nn

from audit.errors import InvalidConfiguration
from inference.architectures import build
from inference.runtime import RawOutput, agreement, choice, openvino_runtime
from inference.runtime.agreement import TOLERANCES, Tolerance, difference, probe, within
from inference.runtime.choice import runtimes
from inference.runtime.openvino_runtime import can_run, openvino_runtimes
from inference.runtime.torch_runtime import torch_runtimes

LABELS = 5
SIZE = 64
QUICK = "resnet18"
NETWORKS = (
    "densenet121",
    QUICK,
    "mobilenet_v2+efficientnet_lite0",
    "mobilenet_v2+mobilenet_v3_small",
)


@dataclass(frozen=True)
class Adapter:
    """A runtime under test, what it must call itself, and how exact it must be."""

    runtime: str
    device: str
    precision: str
    logits: float
    """Largest difference of a logit from the reference."""

    def make(self, network):
        chosen = runtimes(
            runtime=self.runtime, device=self.device, precision=self.precision, threads=1
        )
        return chosen(network, SIZE)


ADAPTERS = {
    "torch": Adapter("torch", "cpu", "float32", 1e-4),
    "torch on cuda": Adapter("torch", "cuda", "float32", 1e-3),
    "openvino": Adapter("openvino", "cpu", "float32", 1e-4),
    "openvino bfloat16": Adapter("openvino", "cpu", "bfloat16", 0.4),
}


def cpu_computes_in_bfloat16():
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def lively(name):
    """Return a network whose batch norms fit its weights: else every logit is its bias."""
    torch.manual_seed(1)
    network = build(name, LABELS).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        for _ in range(2):
            network(torch.from_numpy(probe(SIZE)))
    return network.eval()


def of_one_process(name):
    """A network is made and compiled once, not in every process of the run."""
    marks = [pytest.mark.xdist_group(name)] + ([] if name == QUICK else [pytest.mark.slow])
    return pytest.param(name, marks=marks)


@pytest.fixture(scope="module", params=map(of_one_process, NETWORKS))
def network(request):
    return lively(request.param)


@pytest.fixture(scope="module", params=ADAPTERS)
def adapter(request):
    adapter = ADAPTERS[request.param]
    if adapter.device == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no CUDA device here")
    if adapter.precision == "bfloat16" and not cpu_computes_in_bfloat16():
        pytest.skip("this CPU does not compute in bfloat16")
    return adapter


@pytest.fixture(scope="module")
def runtime(adapter, network):
    """The runtime, made once; the comparison at load is left wide, so that it is this test
    that judges and not the fallback."""
    wide = dict.fromkeys(TOLERANCES, Tolerance(logits=np.inf, cams=np.inf))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openvino_runtime, "TOLERANCES", wide)
        return adapter.make(copy.deepcopy(network))


@pytest.fixture(scope="module")
def batch():
    return np.random.default_rng(5).normal(size=(3, 3, SIZE, SIZE)).astype(np.float32)


def reference(network, batch):
    with torch.inference_mode():
        logits, maps = network(torch.from_numpy(batch))
        return logits.numpy(), network.cams(maps).numpy()


def test_outputs_equal_the_reference(runtime, adapter, network, batch):
    logits, cams = reference(network, batch)

    output = runtime.run(batch)

    assert np.ptp(logits, axis=0).max() > 2 * adapter.logits  # else this would compare biases
    np.testing.assert_allclose(output.logits, logits, atol=adapter.logits)
    np.testing.assert_allclose(output.cams, cams, atol=adapter.logits)


def test_outputs_are_plain_float32_arrays(runtime, batch):
    output = runtime.run(batch)

    assert output.logits.shape == (3, LABELS)
    assert output.cams.shape == (3, LABELS, 2, 2)
    assert output.logits.dtype == output.cams.dtype == np.float32
    assert (output.cams >= 0).all()


def test_company_in_a_batch_changes_nothing(runtime, adapter, batch):
    together = runtime.run(batch)

    for row in range(3):
        alone = runtime.run(batch[row : row + 1])
        np.testing.assert_allclose(alone.logits[0], together.logits[row], atol=adapter.logits)


def test_an_answer_is_kept_when_the_next_question_comes(runtime, batch):
    first = runtime.run(batch[:1])
    before = first.logits.copy()

    runtime.run(batch[1:2])

    np.testing.assert_array_equal(first.logits, before)


def test_a_runtime_says_what_it_is(runtime, adapter):
    product, version = runtime.name.split(" ")

    assert product == adapter.runtime
    assert version[0].isdigit()
    assert "+" not in version
    assert "-" not in version
    assert (runtime.device, runtime.precision) == (adapter.device, adapter.precision)


def test_a_network_that_differs_too_much_stays_with_torch_and_the_log_says_so(monkeypatch):
    monkeypatch.setitem(agreement.TOLERANCES, "float32", Tolerance(logits=0.0, cams=0.0))

    with capture_logs() as events:
        runtime = openvino_runtimes(threads=1)(lively("resnet18"), SIZE)

    [refused] = [e for e in events if e["event"] == "inference.runtime.refused"]
    assert (refused["reason"], refused["log_level"]) == ("differs", "warning")
    assert runtime.name.startswith("torch ")
    assert runtime.precision == "float32"


def test_a_network_that_cannot_be_converted_stays_with_torch(monkeypatch):
    class Untraceable(nn.Module):
        def forward(self, images):
            raise RuntimeError("not in a graph")

    network = lively("resnet18")
    network.features = nn.Sequential(Untraceable())

    with capture_logs() as events:
        runtime = openvino_runtimes(threads=1)(network, SIZE)

    assert [e["reason"] for e in events if "runtime" in e["event"]] == ["not_converted"]
    assert runtime.name.startswith("torch ")


def test_nothing_is_told_to_the_maker_of_openvino(monkeypatch):
    telemetry = pytest.importorskip("openvino_telemetry")

    def refuse(*_arguments, **_more):
        raise AssertionError("OpenVINO's telemetry was started")

    monkeypatch.setattr(telemetry.main.Telemetry, "__init__", refuse)
    monkeypatch.setattr(telemetry.main.Telemetry, "init", refuse)

    assert openvino_runtimes(threads=1)(lively("resnet18"), SIZE).name.startswith("openvino ")


def test_an_output_that_is_not_a_number_is_infinitely_far():
    maps = np.ones((1, 1, 2, 2), dtype=np.float32)

    class Says:
        def __init__(self, logit):
            self.logit = logit

        def run(self, batch):
            return RawOutput(np.full((1, 1), self.logit, dtype=np.float32), maps)

    found = difference(Says(np.nan), Says(1.0), probe(32))

    assert found == Tolerance(logits=np.inf, cams=0.0)
    assert not within(found, TOLERANCES["bfloat16"])


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"device": "cuda", "runtime": "torch"}, "cuda is asked for"),
        ({"device": "cuda", "runtime": "openvino"}, "openvino runs on the CPU"),
        ({"runtime": "torch", "precision": "bfloat16"}, "needs the runtime openvino"),
    ],
)
def test_what_is_not_here_or_contradicts_itself_is_a_configuration_error(
    monkeypatch, settings, rule
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    with pytest.raises(InvalidConfiguration, match=rule):
        runtimes(**settings)


def test_auto_takes_openvino_on_the_cpu_and_torch_where_it_is_not_installed(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    network = lively("resnet18")

    assert can_run()
    assert runtimes(threads=1)(network, SIZE).name.startswith("openvino ")
    for module in (choice, openvino_runtime):
        monkeypatch.setattr(module, "can_run", lambda: False)
    assert runtimes(threads=1)(network, SIZE).name.startswith("torch ")
    with pytest.raises(InvalidConfiguration, match="not installed"):
        runtimes(runtime="openvino")


def test_openvino_that_cannot_be_loaded_is_told_and_torch_runs(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (tmp_path / "openvino.py").write_text("raise ImportError('libopenvino.so')\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "openvino"]:
        monkeypatch.delitem(sys.modules, name)

    with capture_logs() as events:
        runtime = runtimes(threads=1)(lively("resnet18"), SIZE)

    assert runtime.name.startswith("torch ")
    assert [e["event"] for e in events] == ["inference.runtime.not_loaded"]
    with pytest.raises(InvalidConfiguration, match="cannot be loaded"):
        runtimes(runtime="openvino")


@pytest.mark.parametrize("error", [RuntimeError, AttributeError, ImportError])
def test_a_network_that_openvino_cannot_convert_is_run_by_torch(monkeypatch, error):
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(openvino_runtime, "_converted", refuse)

    with capture_logs() as events:
        runtime = openvino_runtimes(threads=1)(lively("resnet18"), SIZE)

    assert runtime.name.startswith("torch ")
    assert [e["reason"] for e in events] == ["not_converted"]


def test_auto_takes_torch_on_a_gpu(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(choice, "torch_runtimes", lambda **settings: asked.append(settings))

    runtimes(threads=1)

    assert asked == [{"device": "auto", "threads": 1}]


def test_torch_alone_needs_nothing_else():
    assert torch_runtimes(device="cpu")(build("resnet18", 1), SIZE).device == "cpu"
