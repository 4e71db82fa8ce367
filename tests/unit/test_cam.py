"""Heat maps: the closed form is Grad-CAM, and the stored map is normalised."""

import numpy as np
import pytest
import torch

from inference.architectures import build
from inference.cam import heat_map


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    return build("mobilenet_v2", 3).eval()


def test_the_closed_form_equals_the_gradient(network):
    images = torch.rand(2, 3, 64, 64)
    logits, maps = network(images)

    closed = network.cams(maps)

    for label in range(3):
        [gradient] = torch.autograd.grad(logits[:, label].sum(), maps, retain_graph=True)
        weights = gradient.mean(dim=(2, 3), keepdim=True)
        expected = torch.relu((weights * maps).sum(dim=1))
        torch.testing.assert_close(closed[:, label], expected, rtol=1e-4, atol=1e-8)
    assert closed.max() > 0


def test_a_heat_map_peaks_at_one_with_four_decimals():
    cam = np.array([[0.0, 2.0], [6.0, 1.0]], dtype=np.float32)

    heat = heat_map("effusion", cam, rows=100, columns=100, size=64)

    assert heat.values == ((0.0, 0.3333), (1.0, 0.1667))
    assert heat.key == "effusion"
    assert heat.content_box == (0.0, 0.0, 1.0, 1.0)


def test_a_map_without_evidence_is_all_zero():
    heat = heat_map("mass", np.zeros((2, 2), dtype=np.float32), rows=1, columns=1, size=64)

    assert heat.values == ((0.0, 0.0), (0.0, 0.0))


def test_the_content_box_says_where_a_tall_image_lay():
    heat = heat_map("mass", np.ones((2, 2), dtype=np.float32), rows=200, columns=100, size=64)

    assert heat.content_box == (0.0, 0.25, 1.0, 0.75)
