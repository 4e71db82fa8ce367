"""EfficientNet-Lite0: EfficientNet-B0 without squeeze-and-excitation, ReLU6 for swish.

Tan and Le, EfficientNet (ICML 2019); the "lite" form is the one of the TensorFlow
repository, whose padding puts the odd pixel at the lower right.
"""

from dataclasses import dataclass

from torch import Tensor, nn

CHANNELS = 1280
"""Maps that come out."""


@dataclass(frozen=True, slots=True)
class _Stage:
    kernel: int
    stride: int
    expand: int
    channels: int
    blocks: int


_STEM = 32
_STAGES = (
    _Stage(3, 1, 1, 16, 1),
    _Stage(3, 2, 6, 24, 2),
    _Stage(5, 2, 6, 40, 2),
    _Stage(3, 2, 6, 80, 3),
    _Stage(5, 1, 6, 112, 3),
    _Stage(5, 2, 6, 192, 4),
    _Stage(3, 1, 6, 320, 1),
)


def efficientnet_lite0() -> nn.Sequential:
    """Return the feature stages, from images (N, 3, H, W) to maps (N, 1280, H/32, W/32)."""
    stages: list[nn.Module] = [nn.Sequential(*_convolution(3, _STEM, 3, stride=2))]
    channels = _STEM
    for stage in _STAGES:
        for block in range(stage.blocks):
            stride = stage.stride if block == 0 else 1
            stages.append(_Block(channels, stage, stride))
            channels = stage.channels
    stages.append(nn.Sequential(*_convolution(channels, CHANNELS, 1)))
    return nn.Sequential(*stages)


class _Block(nn.Module):
    """Inverted residual: expand, convolve each channel, project."""

    def __init__(self, channels: int, stage: _Stage, stride: int) -> None:
        super().__init__()
        wide = channels * stage.expand
        layers = _convolution(channels, wide, 1) if stage.expand > 1 else []
        layers += _convolution(wide, wide, stage.kernel, stride=stride, groups=wide)
        layers += _convolution(wide, stage.channels, 1)[:-1]
        self.body = nn.Sequential(*layers)
        self.skip = stride == 1 and channels == stage.channels

    def forward(self, maps: Tensor) -> Tensor:
        changed: Tensor = self.body(maps)
        return maps + changed if self.skip else changed


def _convolution(
    inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """Return padding where it is uneven, convolution, batch norm and ReLU6."""
    missing = kernel - stride
    before, after = missing // 2, missing - missing // 2
    even = before == after
    padding: list[nn.Module] = [] if even else [nn.ZeroPad2d((before, after, before, after))]
    return [
        *padding,
        nn.Conv2d(
            inputs,
            outputs,
            kernel,
            stride,
            before if even else 0,
            groups=groups,
            bias=False,
        ),
        nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01),
        nn.ReLU6(inplace=True),
    ]


def stored_names() -> list[tuple[str, str]]:
    """Return the (convolution, batch norm) names of the efficientnet_lite_pytorch layout.

    In the order in which the modules of `efficientnet_lite0` come.
    """
    names = [("_conv_stem", "_bn0")]
    block = 0
    for stage in _STAGES:
        for _ in range(stage.blocks):
            prefix = f"_blocks.{block}."
            if stage.expand > 1:
                names.append((f"{prefix}_expand_conv", f"{prefix}_bn0"))
            names.append((f"{prefix}_depthwise_conv", f"{prefix}_bn1"))
            names.append((f"{prefix}_project_conv", f"{prefix}_bn2"))
            block += 1
    return [*names, ("_conv_head", "_bn1")]
