"""How long a training step takes in each precision: ``python -m tests.bench.bench_training``.

A step of each member of the shipped body part model, from maps of its frozen stages to new weights,
on one thread, as the shipped models' fits are made. Networks begin from chance: only time counts.
"""

import argparse
import time
from statistics import median

import numpy as np
import torch

from inference.architectures import build
from inference.manifest import read_manifest
from inference.registry import SHIPPED
from inference.training.device import Device
from inference.training.norms import fold
from inference.training.shipped.labels import BODYPART_KEYS
from inference.training.shipped.loop import Schedule, Tail
from inference.training.shipped.options import Member

PRECISIONS = (torch.float32, torch.bfloat16)
SIZE = 224


def step_seconds(member: Member, device: Device, *, batch: int, steps: int) -> float:
    """Return the median of `steps` steps, after one that does not count."""
    torch.manual_seed(0)
    network = build(member.backbone, len(BODYPART_KEYS))
    with torch.inference_mode():
        maps = network.features[: member.frozen].eval()(torch.rand(batch, 3, SIZE, SIZE))
    tail = Tail(network.features[member.frozen :], network.head)
    fold(tail)
    learner = device.place(tail).train()
    optimiser = torch.optim.AdamW(learner.parameters(), lr=Schedule(epochs=1).rate)
    inputs = device.put(maps.clone())
    seconds = []
    for _ in range(steps + 1):
        begun = time.perf_counter()
        with device.autocast():
            logits = learner(inputs)
        optimiser.zero_grad()
        logits.float().square().mean().backward()
        optimiser.step()
        seconds.append(time.perf_counter() - begun)
    return median(seconds[1:])


def main() -> None:
    """Print a line for each member and precision."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_training")
    parser.add_argument("--batch", type=int, default=Schedule(epochs=1).batch)
    parser.add_argument("--steps", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    capable = [name for name, there in torch.cpu.get_capabilities().items() if there]
    print(f"this CPU: {', '.join(sorted(n for n in capable if 'bf16' in n)) or 'no bfloat16'}")
    for told in read_manifest(SHIPPED / "bodypart").training["members"]:
        member = Member(told["network"], told["frozen_stages"])
        found = np.array(
            [
                step_seconds(
                    member, Device("cpu", precision), batch=options.batch, steps=options.steps
                )
                for precision in PRECISIONS
            ]
        )
        for precision, seconds in zip(PRECISIONS, found, strict=True):
            name = str(precision).removeprefix("torch.")
            print(f"{member}, {name}: {seconds:.2f} s a step, {seconds / found[0]:.2f} of float32")


if __name__ == "__main__":
    main()
