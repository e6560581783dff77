"""A light motion-aware backbone: one second of small frames in, one descriptor out. NumPy only, nothing learned.

In the tradition of hand-made video descriptors (colour and gradient histograms for what is there; energies of
space-time slices and the path of the changing region for what moves). It knows nothing of the lab world. It exists
so that the whole road runs on a laptop without a download; S3D is the backbone of the paper.

Blocks: salient colour (2 x 64), gradient orientation of the centred region (128), its mask (64), thumbnail (108),
space-time slices (72), path of change (42). Each block is scaled to unit length, with its energy kept beside it.

What processors round each in their own way (dot products, arc tangents, exponentials, spectra) is computed in float64,
so that the stored float16 have the same bytes on all that were tried.
"""

import numpy as np

from vcwork.data import video
from vcwork.data.kept import code_digest

_EPS = 1e-6
_SIDE = 64
_AT = np.exp(-(np.linspace(-1, 1, _SIDE) ** 2) / 0.6)
_NEAR = np.outer(_AT, _AT).astype(np.float32)  # (H, W); weight of a pixel, most in the middle
_ROW, _COLUMN = np.mgrid[:_SIDE, :_SIDE]
_CELL = 8 * ((np.arange(32) // 8)[:, None] * 4 + np.arange(32) // 8)  # (32, 32); first bin of each pixel's cell


class MotionBackbone:
    """`__call__`: uint8 (fps, 64, 64, 3) -> float32 (549,). A shorter last second is padded with its last frame."""

    name = "motion-1"
    fps = 10
    size = _SIDE
    normalisation = "unit-length blocks"
    weights = "none"
    width = 549

    @property
    def code(self) -> str:
        """What decides its features beside the film: this file, how films are read, and what both stand on."""
        return code_digest(__file__, video.__file__)

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        colours = _exactly(frames, self.fps).transpose(3, 0, 1, 2).astype(np.float32, order="C")  # (3, F, H, W)
        colours /= 255
        mean = colours.mean(1)  # (3, H, W)
        some = colours[:, :: max(1, self.fps // 3)].copy()  # (3, 4, H, W)
        colours -= mean[:, None]
        change = _channel_sum(np.abs(colours, out=colours))  # (F, H, W)
        change = np.maximum(change - 0.12, 0)  # sensor noise stays below
        salient = _saliency(some)  # (4, H, W)
        moving = change[:: max(1, self.fps // 3)]
        mean = mean.transpose(1, 2, 0).copy()  # (H, W, 3)
        blocks = [
            _colours(some[..., ::2, ::2], salient[:, ::2, ::2]),
            _colours(some[..., ::2, ::2], moving[:, ::2, ::2]),
            *_shape(_channel_sum(some) / 3, salient),
            mean.reshape(8, 8, 8, 8, 3).mean((1, 3))[1:7, 1:7].ravel() - mean.mean(),
            _slices(change),
            _path(change),
        ]
        out = np.concatenate([_unit(b) for b in blocks])
        assert out.shape == (self.width,), out.shape
        return out.astype(np.float32)  # (width,)


def _exactly(frames: np.ndarray, n: int) -> np.ndarray:
    if len(frames) >= n:
        return frames[:n]
    return np.concatenate([frames, np.repeat(frames[-1:], n - len(frames), axis=0)])


def _channel_sum(colours: np.ndarray) -> np.ndarray:
    """(3, ...) -> (...)."""
    return colours[0] + colours[1] + colours[2]


def _unit(block: np.ndarray) -> np.ndarray:
    """Signed square root, unit length, and the log energy appended."""
    block = block.astype(np.float64)
    energy = np.log1p(np.sqrt((block**2).sum()))
    block = np.sign(block) * np.sqrt(np.abs(block))
    return np.append(block / (np.sqrt((block**2).sum()) + _EPS), energy)


def _saliency(colours: np.ndarray) -> np.ndarray:
    """How far a pixel's colour is from the border's median, weighted towards the middle. (3, n, H, W) -> (n, H, W)."""
    border = np.concatenate([colours[:, :, :4].reshape(3, -1), colours[:, :, -4:].reshape(3, -1)], axis=1)
    distance = colours - np.median(border, axis=1).astype(np.float32)[:, None, None, None]
    distance = _channel_sum(np.abs(distance, out=distance))
    return np.maximum(distance - 0.15, 0) * _NEAR


def _colours(colours: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Soft 4 x 4 x 4 colour histogram of the weighted pixels. (3, n, H, W), (n, H, W) -> (64,)."""
    keep = weight > 0
    if not keep.any():
        return np.zeros(64)
    colour, weight = colours[:, keep] * 3, weight[keep]  # (3, P) in 0..3
    low = np.minimum(colour.astype(int), 2)
    part = colour - low
    sides, first = (1 - part, part), 16 * low[0] + 4 * low[1] + low[2]  # (P,) the lower corner's bin
    bins = np.zeros(64)
    for r, g, b in np.ndindex(2, 2, 2):
        share = sides[r][0] * sides[g][1] * sides[b][2] * weight
        bins += np.bincount(first + (16 * r + 4 * g + b), weights=share, minlength=64)
    return bins / len(keep)


def _shape(grey: np.ndarray, salient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Around the centre of the salient region: 4 x 4 cells of 8 gradient orientations, and the region's mask."""
    mask = salient.mean(0)
    total = mask.sum() + _EPS
    cy, cx = (
        int(np.clip(round(float((c * mask).sum() / total)), 16, n - 16))
        for c, n in zip((_ROW, _COLUMN), mask.shape, strict=True)
    )
    patch = grey[:, cy - 16 : cy + 16, cx - 16 : cx + 16].astype(np.float64)  # (n, 32, 32)
    gy, gx = np.gradient(patch, axis=(1, 2))
    strength = np.hypot(gx, gy)
    angle = (np.arctan2(gy, gx) % np.pi) / np.pi * 8
    low = angle.astype(int) % 8
    part = angle - np.floor(angle)
    bins = np.bincount((_CELL + low).ravel(), weights=(strength * (1 - part)).ravel(), minlength=128)
    bins += np.bincount((_CELL + (low + 1) % 8).ravel(), weights=(strength * part).ravel(), minlength=128)
    window = mask[cy - 16 : cy + 16, cx - 16 : cx + 16].reshape(8, 4, 8, 4).mean((1, 3))
    return bins, window.ravel()


def _slices(change: np.ndarray) -> np.ndarray:
    """Energies of the x-t and y-t slices over 4 spatial and 9 signed temporal frequencies. (72,)."""
    out = []
    for axis in (1, 2):
        profile = change.sum(axis).astype(np.float64)  # (F, 64)
        spectrum = np.abs(np.fft.fft2(profile))[:, 1:5]  # (F, 4)
        out.append(np.log1p(np.roll(spectrum, 4, axis=0)[:9]).ravel())
    return np.concatenate(out)


def _path(change: np.ndarray) -> np.ndarray:
    """How the centre of the changing region travels: spectra, their relative phases, skewness of speed. (42,)."""
    at = np.arange(change.shape[1])
    rows, columns = change.sum(2), change.sum(1)  # (F, H), (F, W)
    energy = rows.sum(1) + _EPS  # (F,)
    c = np.stack([(columns * at).sum(1), (rows * at).sum(1)]) / energy / 8  # (2, F), in cells of 8 pixels
    if energy.mean() < 1:
        c = c * 0
    c = c - c.mean(1, keepdims=True)
    v = np.diff(c, axis=1)
    s = np.fft.rfft(c, axis=1)[:, 1:6]  # (2, 5)
    cross = s[0] * np.conj(s[1])
    triple = [
        s[0, 0] ** 2 * np.conj(s[0, 1]),
        s[1, 0] ** 2 * np.conj(s[1, 1]),
        s[0, 0] ** 2 * np.conj(s[1, 1]),
        s[1, 0] ** 2 * np.conj(s[0, 1]),
    ]
    rotation = (c[0, :-1] * v[1] - c[1, :-1] * v[0]).mean()
    scale = np.abs(s).max() ** 2 + _EPS
    return np.concatenate([
        np.abs(s).ravel(), cross.real, cross.imag, np.array([t.real for t in triple]) / scale,
        np.array([t.imag for t in triple]) / scale, np.abs(v).mean(1), np.cbrt((v**3).mean(1)), np.ptp(c, axis=1),
        c[:, -1] - c[:, 0],
        [rotation, (c[0] * c[1]).mean(), c.std(), energy.mean() / 100, energy.std() / 100, np.abs(c).max()],
    ])  # fmt: skip
