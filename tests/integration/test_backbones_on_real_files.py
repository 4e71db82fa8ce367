"""The stored radiograph network, in torch and by the runtime that it was stored for."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from inference.training.backbones import BACKBONES, IMAGENET_MEAN, IMAGENET_STD, pretrained
from tests.data import data_dir

pytestmark = pytest.mark.data

SIDE = 224
ROUNDING = 0.05
"""Share of the largest value: the stored graph clips and rounds as its int8 form does."""


def stored_maps(image: np.ndarray) -> np.ndarray:
    model = onnx.load(data_dir() / "weights" / BACKBONES["mobilenet_v3_small"].file)
    pooling = next(node for node in model.graph.node if node.op_type == "AveragePool")
    maps = onnx.helper.make_tensor_value_info(pooling.input[0], onnx.TensorProto.FLOAT, None)
    model.graph.output.append(maps)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return session.run([pooling.input[0]], {"input": image})[0]


def test_the_network_starts_with_the_maps_of_the_stored_one():
    ramp = np.linspace(0, 1, SIDE, dtype=np.float32)
    grey = np.outer(ramp, np.sin(20 * ramp) ** 2)[None, None]
    normalised = [(grey - m) / s for m, s in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)]
    channels = np.concatenate(normalised, axis=1).astype(np.float32)
    network = pretrained("mobilenet_v3_small", 1, data_dir() / "weights").eval()

    with torch.no_grad():
        maps = network(torch.from_numpy(channels))[1].numpy()

    expected = stored_maps(channels[:, :1])
    assert maps.shape == expected.shape
    assert np.abs(maps - expected).max() < ROUNDING * np.abs(expected).max()
    assert np.corrcoef(maps.ravel(), expected.ravel())[0, 1] > 0.999
