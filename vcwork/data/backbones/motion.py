"""A light motion-aware backbone: one second of small frames in, one descriptor out. NumPy only, nothing learned.

In the tradition of hand-made video descriptors (colour and gradient histograms for what is there; energies of
space-time slices and the path of the changing region for what moves). It knows nothing of the lab world. It exists
so that the whole road runs on a laptop without a download; S3D is the backbone of the paper.

Blocks: salient colour (2 x 64), gradient orientation of the centred region (128), its mask (64), thumbnail (108),
space-time slices (72), path of change (42). Each block is scaled to unit length, with its energy kept beside it.
"""

import numpy as np

_EPS = 1e-6


class MotionBackbone:
    """`__call__`: uint8 (fps, 64, 64, 3) -> float32 (549,). A shorter last second is padded with its last frame."""

    name = "motion-1"
    fps = 10
    size = 64
    normalisation = "unit-length blocks"
    weights = "none"
    width = 549

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        frames = _exactly(frames, self.fps).astype(np.float32) / 255  # (F, H, W, 3)
        mean = frames.mean(0)  # (H, W, 3)
        change = _channel_sum(np.abs(frames - mean))  # (F, H, W)
        change = np.maximum(change - 0.12, 0)  # sensor noise stays below
        some = frames[:: max(1, self.fps // 3)]  # (4, H, W, 3)
        salient = _saliency(some)  # (4, H, W)
        moving = change[:: max(1, self.fps // 3)]
        blocks = [
            _colours(some[:, ::2, ::2], salient[:, ::2, ::2]),
            _colours(some[:, ::2, ::2], moving[:, ::2, ::2]),
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


def _channel_sum(image: np.ndarray) -> np.ndarray:
    """Sum over the three channels; far quicker than `.sum(-1)` over an axis of three."""
    return image[..., 0] + image[..., 1] + image[..., 2]


def _unit(block: np.ndarray) -> np.ndarray:
    """Signed square root, unit length, and the log energy appended."""
    energy = np.log1p(np.linalg.norm(block))
    block = np.sign(block) * np.sqrt(np.abs(block))
    return np.append(block / (np.linalg.norm(block) + _EPS), energy)


def _saliency(frames: np.ndarray) -> np.ndarray:
    """How far a pixel's colour is from the border's median, weighted towards the middle. (n, H, W)."""
    border = np.concatenate([frames[:, :4].reshape(-1, 3), frames[:, -4:].reshape(-1, 3)])
    distance = _channel_sum(np.abs(frames - np.median(border, axis=0).astype(np.float32)))
    at = np.linspace(-1, 1, frames.shape[1], dtype=np.float32)
    near = np.exp(-(at**2) / 0.6)
    return np.maximum(distance - 0.15, 0) * (near[:, None] * near)


def _colours(frames: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Soft 4 x 4 x 4 colour histogram of the weighted pixels. (64,)."""
    keep = weight > 0
    if not keep.any():
        return np.zeros(64)
    colour, weight = frames[keep] * 3, weight[keep]  # (P, 3) in 0..3
    low = np.minimum(colour.astype(int), 2)
    part = colour - low
    bins = np.zeros(64)
    for corner in np.ndindex(2, 2, 2):
        share = np.prod(np.where(corner, part, 1 - part), axis=1) * weight
        index = (low + corner) @ np.array([16, 4, 1])
        bins += np.bincount(index, weights=share, minlength=64)
    return bins / frames.shape[0]


def _shape(grey: np.ndarray, salient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Around the centre of the salient region: 4 x 4 cells of 8 gradient orientations, and the region's mask."""
    mask = salient.mean(0)
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]]
    total = mask.sum() + _EPS
    cy, cx = (
        int(np.clip(round(float((c * mask).sum() / total)), 16, n - 16))
        for c, n in zip((y, x), mask.shape, strict=True)
    )
    patch = grey[:, cy - 16 : cy + 16, cx - 16 : cx + 16]  # (n, 32, 32)
    gy, gx = np.gradient(patch, axis=(1, 2))
    strength = np.hypot(gx, gy)
    angle = (np.arctan2(gy, gx) % np.pi) / np.pi * 8
    low = angle.astype(int) % 8
    part = angle - np.floor(angle)
    cell = (np.arange(32) // 8)[:, None] * 4 + np.arange(32) // 8
    index = cell * 8
    bins = np.bincount((index + low).ravel(), weights=(strength * (1 - part)).ravel(), minlength=128)
    bins += np.bincount((index + (low + 1) % 8).ravel(), weights=(strength * part).ravel(), minlength=128)
    window = mask[cy - 16 : cy + 16, cx - 16 : cx + 16].reshape(8, 4, 8, 4).mean((1, 3))
    return bins, window.ravel()


def _slices(change: np.ndarray) -> np.ndarray:
    """Energies of the x-t and y-t slices over 4 spatial and 9 signed temporal frequencies. (72,)."""
    out = []
    for axis in (1, 2):
        profile = change.sum(axis)  # (F, 64)
        spectrum = np.abs(np.fft.fft2(profile))[:, 1:5]  # (F, 4)
        out.append(np.log1p(np.roll(spectrum, 4, axis=0)[:9]).ravel())
    return np.concatenate(out)


def _path(change: np.ndarray) -> np.ndarray:
    """How the centre of the changing region travels: spectra, their relative phases, skewness of speed. (42,)."""
    at = np.arange(change.shape[1])
    rows, columns = change.sum(2), change.sum(1)  # (F, H), (F, W)
    energy = rows.sum(1) + _EPS  # (F,)
    c = np.stack([columns @ at, rows @ at]) / energy / 8  # (2, F), in cells of 8 pixels
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
