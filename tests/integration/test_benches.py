"""The benches that documents quote run to their end."""

import pytest
import torch

from inference.architectures import build
from inference.manifest import InputSpec
from inference.preprocess import RECIPE
from tests.bench import bench_inference, bench_training
from tests.bench.bench_inference import NAIVE, Network, measure


@pytest.mark.slow
def test_each_way_to_run_networks_is_measured_beside_the_naive_one(monkeypatch):
    monkeypatch.setattr(bench_inference, "BATCH", 2)
    torch.manual_seed(6)
    spec = InputSpec(size=64, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2), preprocessing=RECIPE)
    networks = [
        Network("regions", build("small_cnn", 3).eval(), spec, ()),
        Network("findings", build("small_cnn", 2).eval(), spec, (0, 1)),
    ]

    first, *others = measure(networks, rounds=1, threads=1)

    assert (first.recipe, first.times_naive) == (NAIVE, 1.0)
    assert {row.recipe.partition(",")[0] for row in others} >= {"torch float32", "openvino float32"}
    assert all(row.images_per_s > 0 and row.allowed for row in others)


@pytest.mark.slow
def test_training_steps_are_timed_in_each_precision_for_each_member(monkeypatch, capsys):
    threads = torch.get_num_threads()
    monkeypatch.setattr("sys.argv", ["bench_training", "--batch", "2", "--steps", "1"])

    bench_training.main()
    torch.set_num_threads(threads)

    first, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith("this CPU: ")
    assert [line.partition(":")[0] for line in lines[::2]] == ["mobilenet_v2", "efficientnet_lite0"]
    assert all("float32: " in line and "1.00 of float32" in line for line in lines[::2])
    assert all("bfloat16: " in line for line in lines[1::2])
