"""Milliseconds of a training step for each image, with batch norms and with them folded.

``python -m tests.bench.bench_training`` (about a minute) measures the trained parts of the body
part model's two members on one thread, in turn, and prints the medians and their ratio.
"""

import copy
import statistics
import time
from collections.abc import Callable

import torch

from inference.architectures import build
from inference.training.device import choose_device
from inference.training.norms import fold
from inference.training.shipped.loop import Tail
from inference.training.shipped.options import Member

MEMBERS = (Member("mobilenet_v2", 4), Member("efficientnet_lite0", 9))
SIZE, BATCH, OUTPUTS, STEPS = 224, 32, 26, 7


def main() -> None:
    """Print a row for each member."""
    choose_device("cpu", "float32", threads=1)
    print("| Member | With norms, ms | Folded, ms | Ratio |\n| --- | --- | --- | --- |")
    for member in MEMBERS:
        network = build(member.backbone, OUTPUTS)
        with torch.no_grad():
            maps = network.features[: member.frozen].eval()(torch.rand(BATCH, 3, SIZE, SIZE))
        tail = Tail(network.features[member.frozen :], network.head)
        folded = copy.deepcopy(tail)
        fold(folded)
        steps = [_step(each, maps) for each in (tail, folded)]
        taken = [[_image_ms(step) for step in steps] for _ in range(STEPS)][1:]
        norms, without = (statistics.median(times) for times in zip(*taken, strict=True))
        print(f"| {member} | {norms:.1f} | {without:.1f} | {without / norms:.2f} |")


def _step(tail: Tail, maps: torch.Tensor) -> Callable[[], None]:
    tail.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    maps = maps.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(tail.parameters(), lr=1e-5)

    def step() -> None:
        loss = tail(maps).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def _image_ms(step: Callable[[], None]) -> float:
    began_s = time.perf_counter()
    step()
    return 1000 * (time.perf_counter() - began_s) / BATCH


if __name__ == "__main__":
    main()
