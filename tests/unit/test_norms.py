"""Batch norms folded into convolutions, and put back."""

import copy

import pytest
import torch
from torch import nn

from inference.architectures import build
from inference.training.norms import fold, unfold


def lived(name: str) -> nn.Sequential:
    """Return the stages of a network whose norms have seen something."""
    torch.manual_seed(7)
    stages = build(name, 1).features.eval()
    for module in stages.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return stages


def norms(network: nn.Module) -> int:
    """Return how many batch norms a network has."""
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_lite0"])
def test_a_folded_network_answers_the_same_without_its_norms(name: str) -> None:
    stages, images = lived(name), torch.rand(2, 3, 64, 64)
    folded = copy.deepcopy(stages)
    fold(folded)
    assert norms(stages) > 0
    assert norms(folded) == 0
    with torch.inference_mode():
        torch.testing.assert_close(folded(images), stages(images), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_lite0"])
def test_what_a_folded_network_learned_goes_back_into_one_with_norms(name: str) -> None:
    folded, images = lived(name), torch.rand(2, 3, 64, 64)
    fold(folded)
    with torch.no_grad():
        for parameter in folded.parameters():
            parameter.mul_(1 + 0.05 * torch.rand_like(parameter))
    again = build(name, 1).features.eval()
    unfold(folded, again)
    with torch.inference_mode():
        torch.testing.assert_close(again(images), folded(images), rtol=1e-3, atol=1e-4)


def test_a_convolution_with_a_bias_of_its_own_is_folded_and_unfolded() -> None:
    torch.manual_seed(3)
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).train()
    for _ in range(5):
        plain(torch.rand(8, 3, 9, 9))
    plain.eval()
    folded, again = copy.deepcopy(plain), copy.deepcopy(plain)
    fold(folded)
    unfold(folded, again)
    images = torch.rand(2, 3, 9, 9)
    with torch.inference_mode():
        torch.testing.assert_close(folded(images), plain(images))
        torch.testing.assert_close(again(images), plain(images))
        assert not again[0].bias.any()
