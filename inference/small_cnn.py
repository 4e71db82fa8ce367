"""A small convolutional network to be trained from scratch: what a large one must beat."""

import itertools

from torch import nn

CHANNELS = 128
"""Maps that come out, one for every 16 by 16 pixels."""

_WIDTHS = (16, 32, 64, CHANNELS)


def small_cnn() -> nn.Sequential:
    """Return the feature stages: 0.3 million weights in seven convolutions."""
    stages: list[nn.Module] = [_convolution(3, _WIDTHS[0], stride=2)]
    for before, after in itertools.pairwise(_WIDTHS):
        stages += [_convolution(before, after, stride=2), _convolution(after, after, stride=1)]
    return nn.Sequential(*stages)


def _convolution(before: int, after: int, *, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, kernel_size=3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    )
