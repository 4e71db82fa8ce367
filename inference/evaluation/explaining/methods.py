"""Five ways to ask a network which part of an image speaks for a label.

Every method answers with a map over the letterboxed square, larger where the image speaks
more *for* the label; what speaks against it is left out, as Grad-CAM does. The methods
that replace parts of the image put the same thing in their place (`Scene.baseline`).

Grad-CAM (Selvaraju et al., ICCV 2017) comes in closed form out of one forward pass. The
others are Captum's: integrated gradients (Sundararajan et al., ICML 2017), occlusion (Zeiler
and Fergus, ECCV 2014), LIME (Ribeiro et al., KDD 2016) and kernel SHAP (Lundberg and Lee,
NeurIPS 2017).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from captum.attr import IntegratedGradients, KernelShap, Lime, Occlusion
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.segmentation import slic
from torch import Tensor

from inference.architectures import PooledClassifier
from inference.manifest import InputSpec
from inference.preprocess import content_box, letterbox, network_input

Map = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much is spent on one map, and the seed of what is drawn."""

    steps: int = 32
    """Integrated gradients: images between the baseline and the image."""

    window: float = 1 / 8
    """Occlusion: side of the patch, as a share of the square's; it moves by half of it."""

    segments: int = 60
    """LIME, kernel SHAP: superpixels that an image is cut into, about."""

    samples: int = 400
    """LIME, kernel SHAP: images with some superpixels replaced."""

    batch: int = 8
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """One image as the network sees it, and what a part of it is replaced with."""

    image: Tensor
    """Shape (1, 3, S, S)."""

    baseline: Tensor
    """Shape (1, 3, S, S): a flat picture in the mean grey of the image."""

    segments: NDArray[np.int64]
    """Shape (S, S): superpixels from 0; the margin of the letterbox is one of its own."""

    content: tuple[int, int, int, int]
    """Where the image lies in the square: (top, left, bottom, right)."""


def scene(display: Map, spec: InputSpec, effort: Effort) -> Scene:
    """Return a display image, shape (rows, columns), prepared for every method.

    The pixels are those that the running node would feed the network.
    """
    square = letterbox(display, size=spec.size)
    rows, columns = display.shape
    top, left, bottom, right = content = content_box(rows, columns, spec.size)
    inside = np.zeros(square.shape, dtype=bool)
    inside[top:bottom, left:right] = True
    flat = np.where(inside, square[inside].mean(), 0.0).astype(np.float32)
    cut = slic(square, effort.segments, compactness=0.1, channel_axis=None, mask=inside)
    _, segments = np.unique(cut, return_inverse=True)
    image, baseline = (
        torch.from_numpy(network_input(grey, mean=spec.mean, std=spec.std))[None]
        for grey in (square, flat)
    )
    return Scene(
        image=image,
        baseline=baseline,
        segments=segments.reshape(square.shape).astype(np.int64),
        content=content,
    )


def grad_cam(network: PooledClassifier, seen: Scene, column: int, effort: Effort) -> Map:
    """Return the map that the running node writes into the study, shape (h, w)."""
    with torch.no_grad():
        _, maps = network(seen.image)
        cam: Map = network.cams(maps)[0, column].numpy()
    return cam


def integrated_gradients(
    network: PooledClassifier, seen: Scene, column: int, effort: Effort
) -> Map:
    """Return summed gradients from baseline to image, smoothed over a 64th of the side."""
    found = IntegratedGradients(_logits(network)).attribute(
        seen.image,
        baselines=seen.baseline,
        target=column,
        n_steps=effort.steps,
        internal_batch_size=effort.batch,
    )
    pixels = _favourable(found)
    smooth: Map = gaussian_filter(pixels, sigma=pixels.shape[0] / 64)
    return smooth


def occlusion(network: PooledClassifier, seen: Scene, column: int, effort: Effort) -> Map:
    """Return how far the logit falls when a patch is replaced, averaged over patches."""
    side = max(2, round(seen.image.shape[-1] * effort.window))
    found = Occlusion(_logits(network)).attribute(
        seen.image,
        sliding_window_shapes=(seen.image.shape[1], side, side),
        strides=(seen.image.shape[1], side // 2, side // 2),
        baselines=seen.baseline,
        target=column,
        perturbations_per_eval=effort.batch,
    )
    return _favourable(found)


def lime(network: PooledClassifier, seen: Scene, column: int, effort: Effort) -> Map:
    """Return the weight of each superpixel in a sparse linear model of the network."""
    return _by_superpixel(Lime(_logits(network)), seen, column, effort)


def kernel_shap(network: PooledClassifier, seen: Scene, column: int, effort: Effort) -> Map:
    """Return an estimate of each superpixel's Shapley value."""
    return _by_superpixel(KernelShap(_logits(network)), seen, column, effort)


METHODS: Mapping[str, Callable[[PooledClassifier, Scene, int, Effort], Map]] = MappingProxyType(
    {
        "grad-cam": grad_cam,
        "integrated-gradients": integrated_gradients,
        "occlusion": occlusion,
        "lime": lime,
        "kernel-shap": kernel_shap,
    }
)


def _logits(network: PooledClassifier) -> Callable[[Tensor], Tensor]:
    def forward(images: Tensor) -> Tensor:
        logits, _ = network(images)
        return torch.as_tensor(logits)

    return forward


def _by_superpixel(method: Lime | KernelShap, seen: Scene, column: int, effort: Effort) -> Map:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(effort.seed)
        found = method.attribute(
            seen.image,
            baselines=seen.baseline,
            target=column,
            feature_mask=torch.from_numpy(seen.segments)[None, None],
            n_samples=effort.samples,
            perturbations_per_eval=effort.batch,
        )
    # every pixel and channel of a superpixel carries the superpixel's whole weight
    return _favourable(found[:, :1])


def _favourable(found: Tensor) -> Map:
    """Sum over channels, and keep what speaks for the label."""
    favourable: Map = found.detach()[0].sum(dim=0).clamp_min(0).numpy().astype(np.float32)
    return favourable
