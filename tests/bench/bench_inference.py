"""Images a second from display image to heat maps: the naive recipe, and ours by each runtime.

Run as ``python -m tests.bench.bench_inference [--rounds N] [--threads N] [--json]``. An
image is preprocessed, seen by both shipped models, and explained for every finding. The naive
recipe is torch eager, one image at a time, and Grad-CAM by a forward and a whole backward pass
for one finding after another. Recipes are interleaved, and the table shows medians over the
rounds, so that a busy machine is unfair to all alike; differences are from torch on the same
images. ``--densenet`` adds a DenseNet-121 with random weights, for scale.
"""

import argparse
import copy
import json
import logging
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial

import numpy as np
import openvino
import structlog
import torch
from numpy.typing import NDArray
from pydicom.pixels import pixel_array
from torch import Tensor

from dicom_node.demo.phantoms import DEMO_PLANS, phantom_study
from inference.architectures import PooledClassifier, build
from inference.cam import heat_map
from inference.manifest import InputSpec
from inference.preprocess import letterbox, network_input
from inference.registry import Registry
from inference.runtime import Runtime
from inference.runtime.agreement import (
    TOLERANCES,
    Precision,
    Tolerance,
    difference,
    probe,
    within,
)
from inference.runtime.openvino_runtime import OpenVinoRuntime
from inference.runtime.torch_runtime import TorchRuntime

BATCH = 8
NAIVE = "naive: torch eager, batch 1, autograd per finding"
REFERENCE = "torch float32"
Display = NDArray[np.float32]


@dataclass(frozen=True)
class Network:
    """A network to be measured, and for which of its outputs a map is drawn."""

    name: str
    network: PooledClassifier
    spec: InputSpec
    findings: tuple[int, ...]

    def batch(self, squares: Sequence[Display]) -> NDArray[np.float32]:
        """Return the input for some preprocessed squares."""
        spec = self.spec
        return np.stack([network_input(each, mean=spec.mean, std=spec.std) for each in squares])


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    recipe: str
    images_per_s: float
    times_naive: float
    logit_difference: float | None = None
    """Largest difference from torch; `map_difference` is a fraction of the image's peak."""

    map_difference: float | None = None
    allowed: bool | None = None
    """Whether the node would run every network so, by `inference.runtime.agreement`."""


def displays() -> list[Display]:
    """Return as many phantoms as a batch holds, as the reader gives them: grey from 0 to 1."""
    images = []
    for seed in range(BATCH):
        [ds] = phantom_study(DEMO_PLANS[0], number=seed + 1, seed=seed, taken_at=datetime.now(UTC))
        values = pixel_array(ds).astype(np.float32)
        images.append((values - values.min()) / (values.max() - values.min()))
    return images


def shipped(*, densenet: bool) -> list[Network]:
    """Return the shipped networks, and a large one with random weights if that is wished."""
    found = [
        Network(
            model.manifest.name,
            model.network,
            model.manifest.input,
            tuple(i for i, each in enumerate(model.manifest.labels) if each.role == "finding"),
        )
        for model in Registry.load()
    ]
    if densenet:
        torch.manual_seed(0)
        large = build("densenet121", 14).eval()
        found.append(Network("densenet121, random", large, found[0].spec, tuple(range(14))))
    return found


def naive(networks: Sequence[Network], images: Sequence[Display]) -> None:
    """See and explain each image as most tutorials do it."""
    for image in images:
        for each in networks:
            [tensor] = each.batch([letterbox(image, size=each.spec.size)])
            batch = torch.from_numpy(tensor[None])
            if not each.findings:
                with torch.no_grad():
                    each.network(batch)
            for label in each.findings:
                _grad_cam(each.network, batch, label)


def _grad_cam(network: PooledClassifier, batch: Tensor, label: int) -> Tensor:
    logits, maps = network(batch)
    maps.retain_grad()
    network.zero_grad()
    logits[0, label].backward()
    assert maps.grad is not None
    return torch.relu((maps.grad.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1)).detach()


def ours(
    networks: Sequence[Network], run_by: Sequence[Runtime], images: Sequence[Display], size: int
) -> None:
    """See and explain all images as the node does, `size` at a time."""
    for start in range(0, len(images), size):
        part = images[start : start + size]
        sides = {each.spec.size for each in networks}
        squares = {side: [letterbox(image, size=side) for image in part] for side in sides}
        for each, runtime in zip(networks, run_by, strict=True):
            side = each.spec.size
            output = runtime.run(each.batch(squares[side]))
            for image, cams in zip(part, output.cams, strict=True):
                rows, columns = image.shape
                for label in each.findings:
                    heat_map("", cams[label], rows=rows, columns=columns, size=side)


def measure(networks: Sequence[Network], *, rounds: int, threads: int) -> list[Row]:
    """Return a row for each recipe, the naive one first."""
    torch.set_num_threads(threads)
    images = displays()
    learning = [  # a runtime takes gradients from the network that it is given
        replace(each, network=copy.deepcopy(each.network).requires_grad_()) for each in networks
    ]
    made = _runtimes(networks, threads)
    recipes: dict[str, Callable[[], None]] = {NAIVE: partial(naive, learning, images)}
    for name, run_by in made.items():
        for size in (1, BATCH):
            recipes[f"{name}, batch {size}"] = partial(ours, networks, run_by, images, size)
    speeds: dict[str, list[float]] = {name: [] for name in recipes}
    for number in range(rounds + 1):
        for name, recipe in recipes.items():
            began = time.perf_counter()
            recipe()
            if number:  # the first one warms up
                speeds[name].append(len(images) / (time.perf_counter() - began))
    medians = {name: statistics.median(found) for name, found in speeds.items()}
    rows = [Row(NAIVE, medians[NAIVE], 1.0)]
    for name, run_by in made.items():
        said = _said(networks, run_by, made[REFERENCE], images)
        for size in (1, BATCH):
            recipe_name = f"{name}, batch {size}"
            speed = medians[recipe_name]
            rows.append(Row(recipe_name, speed, speed / medians[NAIVE], *said))
    return rows


def _runtimes(networks: Sequence[Network], threads: int) -> dict[str, list[Runtime]]:
    """Return what runs each network, by runtime and precision, without falling back."""
    core = openvino.Core()
    made: dict[str, list[Runtime]] = {
        REFERENCE: [TorchRuntime(each.network, device="cpu") for each in networks]
    }
    precisions: list[Precision] = ["float32"]
    if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        precisions.append("bfloat16")
    for precision in precisions:
        made[f"openvino {precision}"] = [
            OpenVinoRuntime(
                each.network, core=core, size=each.spec.size, precision=precision, threads=threads
            )
            for each in networks
        ]
    return made


def _said(
    networks: Sequence[Network],
    run_by: Sequence[Runtime],
    reference: Sequence[Runtime],
    images: Sequence[Display],
) -> tuple[float, float, bool]:
    """Return the largest differences on the images, and whether the node would allow them."""
    found: list[Tolerance] = []
    allowed = True
    for each, ran, torch_ in zip(networks, run_by, reference, strict=True):
        side = each.spec.size
        batch = each.batch([letterbox(image, size=side) for image in images])
        found.append(difference(ran, torch_, batch))
        tolerance = TOLERANCES["bfloat16" if ran.precision == "bfloat16" else "float32"]
        allowed = allowed and within(difference(ran, torch_, probe(side)), tolerance)
    return max(each.logits for each in found), max(each.cams for each in found), allowed


def main() -> None:
    """Measure, and print one table or one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--densenet", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    networks = shipped(densenet=arguments.densenet)
    load = os.getloadavg()[0]
    rows = measure(networks, rounds=arguments.rounds, threads=arguments.threads)
    names = ", ".join(each.name for each in networks)
    if arguments.json:
        document = {"networks": names, "threads": arguments.threads, "load_before": load}
        print(json.dumps({**document, "rows": [asdict(row) for row in rows]}, indent=2))
        return
    print(f"{names}; {arguments.threads} threads, load {load:.1f} before\n")
    print("| recipe | images/s | x naive | logits differ | maps differ | allowed |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        tail = "- | - | -"
        if row.logit_difference is not None:
            allowed = "yes" if row.allowed else "no"
            tail = f"{row.logit_difference:.1g} | {row.map_difference:.1g} | {allowed}"
        print(f"| {row.recipe} | {row.images_per_s:.1f} | {row.times_naive:.1f} | {tail} |")


if __name__ == "__main__":
    main()
