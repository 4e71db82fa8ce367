"""The networks: their shape, their closed-form Grad-CAM, and torchvision's import."""

import functools
import subprocess
import sys
import types

import pytest
import torch
from torch import Tensor

from inference import torchvision_compat
from inference.architectures import (
    ARCHITECTURES,
    PooledClassifier,
    averaged,
    build,
)

NAMES = [*sorted(ARCHITECTURES), "mobilenet_v2+mobilenet_v3_small"]
LOWEST = -3 / 8
"""Of hard swish; the other activations end at 0."""


@functools.cache
def network(name: str) -> PooledClassifier:
    torch.manual_seed(3)
    return build(name, 5).eval()


def autograd_cam(model: PooledClassifier, maps: Tensor, label: int) -> Tensor:
    """Grad-CAM as its authors define it: mean gradient per map, weighted sum, ReLU."""
    leaf = maps.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(model.classify(leaf)[:, label].sum(), leaf)
    weighted = gradient.mean(dim=(2, 3), keepdim=True) * maps
    return torch.relu(weighted[:, : model.explained].sum(dim=1))


@pytest.mark.parametrize("name", NAMES)
def test_one_forward_gives_logits_and_activated_maps(name: str) -> None:
    model = network(name)
    with torch.no_grad():
        logits, maps = model(torch.rand(2, 3, 64, 64))
    assert logits.shape == (2, 5)
    assert maps.shape[:2] == (2, model.head.in_features)
    assert maps.shape[2] == maps.shape[3] >= 2
    assert float(maps.min()) >= (LOWEST if "v3" in name else 0.0)


@pytest.mark.parametrize("name", NAMES)
def test_closed_form_is_grad_cam(name: str) -> None:
    model = network(name)
    with torch.no_grad():
        _, maps = model(torch.rand(1, 3, 64, 64))
        closed = model.cams(maps)
    for label in range(5):
        difference = (closed[:, label] - autograd_cam(model, maps, label)).abs().max()
        assert float(difference) < 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_head_of_pooled_maps(name: str) -> None:
    model = network(name)
    with torch.no_grad():
        logits, maps = model(torch.rand(1, 3, 64, 64))
        again = maps.mean(dim=(2, 3)) @ model.head.weight.T + model.head.bias
    torch.testing.assert_close(logits, again)


def test_the_first_of_several_networks_draws_the_maps() -> None:
    first, second = build("mobilenet_v2", 5).eval(), network("mobilenet_v3_small")
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = first.cams(first(images)[1]) / 2
        joined = averaged([first, second])
        found = joined.cams(joined(images)[1])
    torch.testing.assert_close(found, expected)
    assert joined.explained == build("mobilenet_v2+mobilenet_v3_small", 5).explained == 1280


def test_networks_side_by_side_answer_with_the_mean_of_their_logits() -> None:
    names = ["mobilenet_v3_small", "resnet18", "mobilenet_v3_small"]
    members = [network(names[0]), build(names[1], 5).eval(), build(names[2], 5).eval()]
    for member in members:
        torch.nn.init.normal_(member.head.weight)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = torch.stack([member(images)[0] for member in members]).mean(dim=0)
    joined = averaged(members)
    with torch.no_grad():
        torch.testing.assert_close(joined(images)[0], expected)

    stored = build("+".join(names), 5)
    stored.load_state_dict(joined.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(stored.eval()(images)[0], expected)


def test_maps_of_two_sizes_cannot_lie_on_one_another() -> None:
    with pytest.raises(ValueError, match="maps of one size"):
        build("mobilenet_v2+small_cnn", 2)


@pytest.mark.parametrize("name", ["vgg", "small_cnn+vgg", "small_cnn+", ""])
def test_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(KeyError, match="mobilenet_v2"):
        build(name, 2)


@pytest.mark.slow
def test_models_import_in_a_fresh_interpreter() -> None:
    code = (
        "from inference.torchvision_compat import torchvision_models as m;"
        "print(m().mobilenet_v2(weights=None).last_channel)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1280"


def test_operators_are_declared_only_after_the_plain_import_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    models, asked, declared = types.ModuleType("torchvision.models"), [], []

    def import_module(name: str) -> types.ModuleType:
        asked.append(name)
        if not declared:
            raise RuntimeError("operator torchvision::nms does not exist")
        return models

    monkeypatch.setattr(torchvision_compat.importlib, "import_module", import_module)
    monkeypatch.setattr(torchvision_compat, "declare_operators", lambda: declared.append(True))
    monkeypatch.setattr(torchvision_compat, "_forget_half_imported", lambda: None)
    assert torchvision_compat.torchvision_models() is models
    assert asked == ["torchvision.models"] * 2
    assert torchvision_compat.torchvision_models() is models
    assert declared == [True]


def test_other_import_failures_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def import_module(name: str) -> types.ModuleType:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(torchvision_compat.importlib, "import_module", import_module)
    with pytest.raises(RuntimeError, match="out of luck"):
        torchvision_compat.torchvision_models()
