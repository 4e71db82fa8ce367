"""MobileNetV3-Small with its batch norms folded into the convolutions.

Howard et al., Searching for MobileNetV3 (ICCV 2019), table 2; as in the network that
``nih15_mobilenetv3s`` stores, squeeze-and-excitation comes after the projection (the paper has
it before), and a change of channels keeps its shortcut through a convolution.
"""

from dataclasses import dataclass

from torch import Tensor, nn

CHANNELS = 576
"""Maps that come out."""

_STEM = 16
_REDUCTION = 4


@dataclass(frozen=True, slots=True)
class _Stage:
    kernel: int
    stride: int
    wide: int
    channels: int
    excited: bool
    swish: bool


_STAGES = (
    _Stage(3, 2, 16, 16, excited=True, swish=False),
    _Stage(3, 2, 72, 24, excited=False, swish=False),
    _Stage(3, 1, 88, 24, excited=False, swish=False),
    _Stage(5, 2, 96, 40, excited=True, swish=True),
    _Stage(5, 1, 240, 40, excited=True, swish=True),
    _Stage(5, 1, 240, 40, excited=True, swish=True),
    _Stage(5, 1, 120, 48, excited=True, swish=True),
    _Stage(5, 1, 144, 48, excited=True, swish=True),
    _Stage(5, 2, 288, 96, excited=True, swish=True),
    _Stage(5, 1, 576, 96, excited=True, swish=True),
    _Stage(5, 1, 576, 96, excited=True, swish=True),
)


def mobilenet_v3_small() -> nn.Sequential:
    """Return the feature stages, from images (N, 3, H, W) to maps (N, 576, H/32, W/32)."""
    stages: list[nn.Module] = [
        nn.Sequential(nn.Conv2d(3, _STEM, 3, stride=2, padding=1), nn.Hardswish())
    ]
    channels = _STEM
    for stage in _STAGES:
        stages.append(_Block(channels, stage))
        channels = stage.channels
    stages.append(nn.Sequential(nn.Conv2d(channels, CHANNELS, 1), nn.Hardswish()))
    return nn.Sequential(*stages)


class _Block(nn.Module):
    """Inverted residual: expand, convolve each channel, project, weigh the channels.

    The modules stand in the order of the stored network's convolutions.
    """

    def __init__(self, channels: int, stage: _Stage) -> None:
        super().__init__()
        active = nn.Hardswish if stage.swish else nn.ReLU
        self.expand = nn.Sequential(nn.Conv2d(channels, stage.wide, 1), active())
        self.residual = stage.stride == 1
        widened = self.residual and channels != stage.channels
        self.shortcut = nn.Conv2d(channels, stage.channels, 1) if widened else nn.Identity()
        self.body = nn.Sequential(
            nn.Conv2d(
                stage.wide,
                stage.wide,
                stage.kernel,
                stride=stage.stride,
                padding=stage.kernel // 2,
                groups=stage.wide,
            ),
            active(),
            nn.Conv2d(stage.wide, stage.channels, 1),
        )
        self.excite = _excitation(stage.channels) if stage.excited else None

    def forward(self, maps: Tensor) -> Tensor:
        changed: Tensor = self.body(self.expand(maps))
        if self.excite is not None:
            changed = changed * self.excite(changed)
        return self.shortcut(maps) + changed if self.residual else changed


def _excitation(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(1),
        nn.Conv2d(channels, channels // _REDUCTION, 1),
        nn.ReLU(),
        nn.Conv2d(channels // _REDUCTION, channels, 1),
        nn.Hardsigmoid(),
    )
