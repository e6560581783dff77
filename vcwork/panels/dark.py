"""A figure's twin for a dark page, for results pages and the documentation.

Known gap: it goes by looks; a picture with a white rim that is no figure is turned like one.
"""

import base64
import io
from functools import lru_cache

import numpy as np
from PIL import Image
from scipy import ndimage

GROUND, INK = 0.08, 0.92  # in the dark
WHITE, TINT, LINE = 0.9, 0.25, 3  # ground is lighter, a colour's channels differ by more, lines have fewer pixels


@lru_cache(maxsize=32)  # a run shows each figure on two pages
def darkened(png: bytes) -> bytes:
    """A figure for a dark page: its ground and what is written on it change places; colours, maps and films stay.

    Ground is what is white and hangs together with the figure's rim, or lies no further from such than a line is wide,
    as the inside of axes and letters. So the scale of a map stays whole, with its greys and the numbers in its cells.
    What is no picture comes back as it is.
    """
    try:
        with Image.open(io.BytesIO(png)) as picture:
            rgb = np.asarray(picture.convert("RGB"), np.float32) / 255  # (H, W, 3)
    except OSError:
        return png
    groups, count = ndimage.label(rgb.min(-1) > WHITE)
    reached = np.zeros(count + 1, bool)  # by group; group 0 is all that is not white
    reached[np.concatenate([groups[0], groups[-1], groups[:, 0], groups[:, -1]])] = True
    for _ in range(3):  # from the rim into axes, and from there into letters
        reached[0] = False
        ground = ndimage.maximum_filter(reached[groups], 2 * LINE + 1)
        reached[groups[ground]] = True
    tint = rgb.max(-1) - rgb.min(-1)
    share = (ground * np.clip(1 - tint / TINT, 0, 1))[..., None]
    turned = INK - (INK - GROUND) * rgb
    out = io.BytesIO()
    Image.fromarray(np.round(255 * (rgb * (1 - share) + turned * share)).astype(np.uint8)).save(out, "PNG")
    return out.getvalue()


def darkened_base64(png: str) -> str:
    """The same of a picture in base64, as notebooks and pages hold one."""
    return base64.b64encode(darkened(base64.b64decode(png))).decode()
