"""The colour of each instrument, the same on every day and in every picture.

site/style.css names the same hues; a test holds the two together. The style sheet gives lightness
and chroma for light and for dark pages; the ones here are those of dark pages. Depends on nothing.
"""

from __future__ import annotations

import math

# Hues in degrees of the colour space OKLCH, by General MIDI program. Instruments that often play
# together are far apart.
HUES = {
    0: 88,  # piano
    6: 55,  # harpsichord
    11: 350,  # vibraphone
    19: 312,  # organ
    24: 38,  # guitar
    43: 282,  # contrabass
    46: 120,  # harp
    48: 18,  # strings
    52: 240,  # choir
    60: 70,  # horn
    68: 152,  # oboe
    73: 200,  # flute
}
LIGHTNESS, CHROMA = 0.8, 0.125

Rgb = tuple[int, int, int]


def family_of(program: int) -> int:
    """The program whose colour is taken: a program without a hue takes one by its number."""
    return program if program in HUES else list(HUES)[program % len(HUES)]


def rgb(lightness: float, chroma: float, hue: float) -> Rgb:
    """A colour of OKLCH as sRGB, from 0 to 255. A component outside of sRGB is cut off.

    The two matrices and the cube are those by which Björn Ottosson defines OKLab.
    """
    a = chroma * math.cos(math.radians(hue))
    b = chroma * math.sin(math.radians(hue))
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    middle = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        _encoded(4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short),
        _encoded(-1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short),
        _encoded(-0.0041960863 * long - 0.7034186147 * middle + 1.7076147010 * short),
    )


def _encoded(linear: float) -> int:
    """A component of linear light as a byte of sRGB."""
    linear = min(1.0, max(0.0, linear))
    curved = 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055
    return round(255 * curved)
