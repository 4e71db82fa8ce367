"""The weights that training starts from, read from their makers' layouts."""

from pathlib import Path

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from inference.mobilenet_v3 import mobilenet_v3_small
from inference.training.backbones import BACKBONES, pretrained


def convolutions(features: nn.Module) -> list[nn.Conv2d]:
    return [module for module in features.modules() if isinstance(module, nn.Conv2d)]


def write_onnx(features: nn.Module, file: Path) -> None:
    """Write the convolutions, the first of them for one grey channel, as an ONNX graph."""
    nodes, stored = [], []
    for place, layer in enumerate(convolutions(features)):
        weight = layer.weight[:, :1] if place == 0 else layer.weight
        for name, tensor in (("weight", weight), ("bias", layer.bias)):
            array = tensor.detach().contiguous().numpy()
            stored.append(numpy_helper.from_array(array, f"{place}.{name}"))
        inputs = [f"maps{place}", f"{place}.weight", f"{place}.bias"]
        nodes.append(helper.make_node("Relu", [f"maps{place}"], [f"other{place}"]))
        nodes.append(helper.make_node("Conv", inputs, [f"maps{place + 1}"]))
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("maps0", "maps1")]
    graph = helper.make_graph(nodes, "graph", ends[:1], ends[1:], initializer=stored)
    onnx.save(helper.make_model(graph), file)


def test_convolutions_of_a_graph_are_taken_in_its_order_and_the_stem_sees_grey(
    tmp_path: Path,
) -> None:
    torch.manual_seed(2)
    source = mobilenet_v3_small().eval()
    for layer in convolutions(source):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")  # else maps are biases alone
    write_onnx(source, tmp_path / BACKBONES["mobilenet_v3_small"].file)

    network = pretrained("mobilenet_v3_small", 3, tmp_path).eval()

    grey = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        convolutions(source)[0].weight[:, 1:] = 0.0
        expected = source(torch.cat([grey, torch.zeros(1, 2, 64, 64)], dim=1))
        assert (expected - source(torch.zeros(1, 3, 64, 64))).abs().max() > 1e-2
        maps = network(torch.cat([grey, torch.rand(1, 2, 64, 64)], dim=1))[1]
    torch.testing.assert_close(maps, expected)
