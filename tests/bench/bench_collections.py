"""What telling the chest network about collections changes, on images of collections old and new.

``python -m tests.bench.bench_collections --data ../shared/data`` prints the table of
docs/decisions/0023 (a quarter of an hour, resumable): how frequent each finding is in each large
collection, and the mean AUC of the ablation's base, trained with and without, by cross-validation,
on the held-out images, and on those of each large collection.
"""

from collections import Counter

import numpy as np
import torch
from numpy.typing import NDArray

from inference.architectures import PooledClassifier
from inference.evaluation.measures.metrics import auc
from inference.evaluation.shipped.heldout import mean_auc, several_findings
from inference.training.augment import to_network
from inference.training.backbones import IMAGENET_MEAN, IMAGENET_STD
from inference.training.samples import FloatArray, Sample, load_squares, target_matrix
from inference.training.shipped.ablation import BASE, TOLD, base_options, plan_of
from inference.training.shipped.labels import FINDING_KEYS
from inference.training.shipped.run import train
from inference.training.shipped.sources_chest import chest_samples

LARGE = 100
"""Images of a collection that has a column of its own."""

FEWEST = 5
"""Images that show a finding, for it to count there."""


def main() -> None:
    """Train what no earlier run left, and print the table."""
    base = base_options()
    every = chest_samples(base.data)
    label_of = {sample.path: sample for sample in every}
    samples = [sample for sample in every if sample.held_out]
    print_shares("learned from", [sample for sample in every if not sample.held_out])
    print_shares("held out", samples)
    pixels = load_squares(base.data, samples, size=base.size).pixels
    shown, several = truth_of(samples), several_findings(samples)
    collections, large = np.array([sample.collection for sample in samples]), large_of(samples)
    columns = ["Trained", "Cross-validation", "Held out", "of them several findings"]
    columns += [f"of `{name}`" for name in large]
    print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
    for name, variant in (("as before", BASE), ("told", TOLD)):
        plan = plan_of(variant, base)
        trained = train(plan)
        own = np.array([sample.source == "nih" for sample in plan.material.samples])
        labels = [
            label_of[s.path] for s, use in zip(plan.material.samples, own, strict=True) if use
        ]
        logits = logits_of(trained.network, pixels)
        scores = [
            mean_auc(trained.logits[own].astype(np.float64), truth_of(labels)),
            mean_auc(logits, shown),
            mean_auc(logits[several], shown[several]),
            *(mean_of_shown(logits[collections == c], shown[collections == c]) for c in large),
        ]
        print(f"| {name} | {' | '.join(f'{score:.3f}' for score in scores)} |", flush=True)


def large_of(samples: list[Sample]) -> list[str]:
    """Return the collections that many of these images come of."""
    counts = Counter(sample.collection for sample in samples)
    return [name for name, count in counts.most_common() if count >= LARGE]


def print_shares(what: str, samples: list[Sample]) -> None:
    """Print how many images of each large collection show each finding."""
    for name in large_of(samples):
        own = [sample for sample in samples if sample.collection == name]
        shares = zip(FINDING_KEYS, truth_of(own).mean(axis=0), strict=True)
        told = ", ".join(f"{key} {share:.1%}" for key, share in shares)
        print(f"{what}, `{name}`, {len(own)} images: {told}\n")


def truth_of(samples: list[Sample]) -> NDArray[np.bool_]:
    """Return which findings (N, 14) the labels say."""
    shown: NDArray[np.bool_] = target_matrix(samples, FINDING_KEYS) >= 0.5
    return shown


def mean_of_shown(logits: NDArray[np.float64], shown: NDArray[np.bool_]) -> float:
    """Return the mean AUC of the findings that enough images show."""
    columns = np.flatnonzero(shown.sum(axis=0) >= FEWEST)
    return float(np.mean([auc(logits[:, k], shown[:, k]) for k in columns]))


def logits_of(network: PooledClassifier, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return logits (N, 14) of letterboxed squares (N, size, size)."""
    found = []
    with torch.inference_mode():
        for start in range(0, len(pixels), 32):
            part: FloatArray = pixels[start : start + 32].astype(np.float32) / np.float32(255)
            inputs = to_network(part, mean=IMAGENET_MEAN, std=IMAGENET_STD)
            found.append(network(inputs.to(memory_format=torch.channels_last))[0])
    logits: NDArray[np.float64] = torch.cat(found).numpy().astype(np.float64)
    return logits


if __name__ == "__main__":
    main()
