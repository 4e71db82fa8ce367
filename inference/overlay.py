"""Draw a heat map over its image, for the eyes of a person (pure).

The colours run from violet through red to yellow with even steps of perceived lightness
(computed in OKLab), so that no hue suggests a border that is not there, and the order
survives colour blindness and a grey printer. Opacity grows with the heat: where the
network saw nothing, the anatomy is untouched.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from inference.types import HeatMap

Rgb = NDArray[np.uint8]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_STEPS = 256
_LIGHTNESS = (0.36, 0.90)
_CHROMA = (0.17, 0.17)
_HUE_DEGREES = (300.0, 460.0)
"""From violet over red (20 degrees) to yellow (100 degrees)."""

_OPACITY = 0.6
_TINT_FLOOR = 0.3
"""The colour is as bright as the anatomy under it, but never darker than this: ribs and
vessels stay readable also at the peak."""

_COLD = 0.1
"""Heat below this is left out; it is noise of the upsampling."""

_BACKGROUND = (16, 18, 22)
_INK = (236, 238, 242)
_QUIET_INK = (160, 166, 176)


def _colours() -> NDArray[np.float64]:
    """Return the colour table, shape (256, 3), sRGB in [0, 1].

    OKLab to linear sRGB: B. Ottosson, 2020 (also CSS Color 4, section 9.3).
    """
    along = np.linspace(0.0, 1.0, _STEPS)
    lightness = np.interp(along, (0, 1), _LIGHTNESS)
    chroma = np.interp(along, (0, 1), _CHROMA)
    hue = np.deg2rad(np.interp(along, (0, 1), _HUE_DEGREES))
    lab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=1)
    to_cone = [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728]]
    to_cone.append([1, -0.0894841775, -1.2914855480])
    to_rgb = [[4.0767416621, -3.3077115913, 0.2309699292]]
    to_rgb.append([-1.2684380046, 2.6097574011, -0.3413193965])
    to_rgb.append([-0.0041960863, -0.7034186147, 1.7076147010])
    linear = np.clip((lab @ np.array(to_cone).T) ** 3 @ np.array(to_rgb).T, 0.0, 1.0)
    curved = 1.055 * linear ** (1 / 2.4) - 0.055
    table: NDArray[np.float64] = np.where(linear <= 0.0031308, 12.92 * linear, curved)
    return table


def _blending() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return (gain, glow), shape (256, 3) each: the result is grey x gain + glow, 0 to 255.

    It is the blend of the grey and of the colour at that grey's brightness, with an opacity
    that sets in without an edge.
    """
    heat = np.linspace(0.0, 1.0, _STEPS)[:, np.newaxis]
    warmth = np.clip((heat - _COLD) / (1.0 - _COLD), 0.0, 1.0)
    opacity = _OPACITY * warmth * (2.0 - warmth)
    gain = (1.0 - opacity) + opacity * COLOURS * (1.0 - _TINT_FLOOR)
    glow = opacity * COLOURS * _TINT_FLOOR
    return (255.0 * gain).astype(np.float32), (255.0 * glow).astype(np.float32)


COLOURS = _colours()
"""The colour of each heat from 0 to 1, in 256 steps; sRGB in [0, 1]."""

_GAIN, _GLOW = _blending()


def heat_overlay(display: NDArray[np.float32], heat: HeatMap, *, long_side: int) -> Rgb:
    """Return the image with the heat map drawn over it.

    Parameters
    ----------
    display : ndarray of float32, shape (rows, columns)
        Values in [0, 1], as `inference.reader` gives them.
    heat : HeatMap
        Over the letterboxed square; its content box says where the image lay.
    long_side : int
        Longest side of the result, in pixels; a smaller image keeps its size.

    Returns
    -------
    ndarray of uint8, shape (R, C, 3)
        RGB. Pixel (0, 0) shows pixel (0, 0) of the image; no text is drawn here.
    """
    rows, columns = display.shape
    scale = min(1.0, long_side / max(rows, columns))
    size = max(1, round(columns * scale)), max(1, round(rows * scale))
    grey = np.asarray(Image.fromarray(display).resize(size, Image.Resampling.BOX))
    shown = _over_the_image(heat, size)
    step = np.rint(shown * (_STEPS - 1)).astype(np.intp)
    anatomy = np.clip(grey, 0.0, 1.0)[..., np.newaxis]
    blended = anatomy * _GAIN.take(step, axis=0) + _GLOW.take(step, axis=0)
    overlay: Rgb = np.rint(blended).astype(np.uint8)
    return overlay


def banner(rgb: Rgb, lines: Sequence[str]) -> Rgb:
    """Return the picture with a band of text and a colour bar below it.

    The band is added rows, so the anatomy is never covered and pixel (0, 0) stays where it
    was. Long lines are wrapped at words.

    Parameters
    ----------
    rgb : ndarray of uint8, shape (R, C, 3)
    lines : sequence of str
        The first is the title; the rest is set quieter.

    Returns
    -------
    ndarray of uint8, shape (R + band, C, 3)
    """
    columns = rgb.shape[1]
    size = int(np.clip(round(columns / 40), 11, 28))
    margin, line_height = size, round(1.4 * size)
    font = ImageFont.load_default(size)
    wrapped = [
        (part, _INK if number == 0 else _QUIET_INK)
        for number, line in enumerate(lines)
        for part in _wrapped(line, font, columns - 2 * margin)
    ]
    text_height = line_height * len(wrapped)
    band = Image.new("RGB", (columns, 2 * margin + text_height + line_height), _BACKGROUND)
    draw = ImageDraw.Draw(band)
    for number, (part, ink) in enumerate(wrapped):
        draw.text((margin, margin + number * line_height), part, font=font, fill=ink)
    _draw_colour_bar(band, draw, font, top=margin + text_height, margin=margin, size=size)
    return np.concatenate([rgb, np.asarray(band)], axis=0)


def _over_the_image(heat: HeatMap, size: tuple[int, int]) -> NDArray[np.float32]:
    """Cut the content box out of the map and enlarge it to (columns, rows)."""
    values = np.asarray(heat.values, dtype=np.float32)
    height, width = values.shape
    top, left, bottom, right = heat.content_box
    box = (left * width, top * height, right * width, bottom * height)
    enlarged = Image.fromarray(values).resize(size, Image.Resampling.BICUBIC, box=box)
    shown: NDArray[np.float32] = np.clip(np.asarray(enlarged), 0.0, 1.0)
    return shown


def _wrapped(line: str, font: Font, width: int) -> list[str]:
    parts, current = [], ""
    for word in line.split():
        longer = f"{current} {word}".strip()
        if current and font.getlength(longer) > width:
            parts.append(current)
            current = word
        else:
            current = longer
    return [*parts, current]


def _draw_colour_bar(
    band: Image.Image,
    draw: ImageDraw.ImageDraw,
    font: Font,
    *,
    top: int,
    margin: int,
    size: int,
) -> None:
    """Draw `weak [bar] strong` on the last line of the band."""
    low, high = "weak", "strong"
    free = band.width - 4 * margin - math.ceil(font.getlength(low) + font.getlength(high))
    length = max(1, min(free, 16 * size))
    along = np.linspace(_COLD, 1.0, length)
    colour = np.rint(255 * COLOURS[np.rint(along * (_STEPS - 1)).astype(np.intp)])
    bar = Image.fromarray(np.repeat(colour[np.newaxis].astype(np.uint8), size, axis=0))
    middle = top + round(0.9 * size)
    left = margin + math.ceil(font.getlength(low)) + margin // 2
    draw.text((margin, middle), low, font=font, fill=_QUIET_INK, anchor="lm")
    band.paste(bar, (left, middle - size // 2))
    draw.text((left + length + margin // 2, middle), high, font=font, fill=_QUIET_INK, anchor="lm")
