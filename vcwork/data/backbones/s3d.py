"""S3D as trained on HowTo100M (MIL-NCE): the frozen video network whose features VideoCLIP reads.

Three things live here: the network (an inception net of 3-D convolutions split into space and time, every branch gated
by its own mean), the backbone with the one preprocessing that VideoCLIP was trained on, and `preprocessing_effects`,
which shows what each usual mistake does to the features. Names and shapes are those of `s3d_howto100m.pth`; its text
module is left out. The contract says everything that changes a number, so features made otherwise cannot be mixed up.
Known gaps: CPU only, about half a second of one core for a second of video; float32 alone (bfloat16, where its units
are, takes half the time and is off by 4e-3 of the largest value, eight times what float16 loses); no text module.
Sources: "Rethinking Spatiotemporal Feature Learning" (ECCV 2018), "End-to-End Learning of Visual Representations from
Uncurated Instructional Videos" (CVPR 2020).
"""

import itertools
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vcwork.base.errors import VcworkError
from vcwork.base.files import resolve, sha256_file
from vcwork.data.backbones.hugging_face import give_freed_memory_back, one_thread
from vcwork.data.backbones.weights import read_pth
from vcwork.data.video import iter_chunks

FPS, SIZE, WIDTH, FRAMES = 30, 224, 512, 30
UNTRAINED = "untrained"  # instead of a path of weights
WEIGHTS = "outputs/weights/s3d/s3d_howto100m.pth"  # where `python -m vcwork fetch s3d` puts it
TEXT_PREFIX = "text_module."

# Widths of the four branches of a block: 1x1x1; reduce, 3x3x3; reduce, 3x3x3; pool, 1x1x1.
_BLOCKS = {
    "3b": (64, 96, 128, 16, 32, 32),
    "3c": (128, 128, 192, 32, 96, 64),
    "4b": (192, 96, 208, 16, 48, 64),
    "4c": (160, 112, 224, 24, 64, 64),
    "4d": (128, 128, 256, 24, 64, 64),
    "4e": (112, 144, 288, 32, 64, 64),
    "4f": (256, 160, 320, 32, 128, 128),
    "5b": (256, 160, 320, 32, 128, 128),
    "5c": (384, 192, 384, 48, 128, 128),
}
_POOL_AFTER = {"3c": (3, 3, 3), "4f": (2, 2, 2)}


class S3D(nn.Module):
    """float video (B, 3, T, H, W), values 0..1, T, H and W even -> (B, 512), the video-text space.

    Any T and H, W of 32 or more will do; it was trained on T = 32 at 200 to 224 pixels, VideoCLIP uses T = 30 at 224.
    Inside, channels come last: every convolution and pool but the first then is one over space or over time alone, on a
    view of the same memory, for which the libraries have quick kernels; theirs in three dimensions take twice as long.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _Convolution(24, 64, (2, 4, 4))
        self.conv_2b = _Convolution(64, 64, (1, 1, 1))
        self.conv_2c = _Separable(64, 192)
        self.gating = _Gate(192)
        width = 192
        for name, widths in _BLOCKS.items():
            block = _Inception(width, *widths)
            self.add_module(f"mixed_{name}", block)
            width = block.width
        self.fc = nn.Linear(width, WIDTH)

    def forward(self, video: Tensor) -> Tensor:
        x = space_to_depth(video).permute(0, 2, 3, 4, 1).contiguous()  # (B, T/2, H/2, W/2, 24)
        x = self.conv1(F.pad(x, (0, 0, 1, 2, 1, 2, 0, 1)))  # (B, T/2, H/2, W/2, 64); an even kernel, one more behind
        x = self.conv_2b(_pool(x, (1, 3, 3)))  # (B, T/2, H/4, W/4, 64)
        x = self.gating(self.conv_2c(x))  # (B, T/2, H/4, W/4, 192)
        x = _pool(x, (1, 3, 3))  # (B, T/2, H/8, W/8, 192)
        for name in _BLOCKS:
            x = self.get_submodule(f"mixed_{name}")(x)
            if name in _POOL_AFTER:
                x = _pool(x, _POOL_AFTER[name])  # halves T, H and W
        return self.fc(x.mean((1, 2, 3)))  # (B, 512); over (B, T/8, H/32, W/32, 1024)


def space_to_depth(video: Tensor) -> Tensor:
    """(B, C, T, H, W) -> (B, 8C, T/2, H/2, W/2): each 2 x 2 x 2 cube becomes channels, in the order t, h, w, colour."""
    b, c, t, h, w = video.shape
    cubes = video.reshape(b, c, t // 2, 2, h // 2, 2, w // 2, 2)
    return cubes.permute(0, 3, 5, 7, 1, 2, 4, 6).reshape(b, 8 * c, t // 2, h // 2, w // 2)


def _pool(x: Tensor, kernel: tuple[int, int, int]) -> Tensor:
    """Max-pooling of (B, T, H, W, C) by two along each side longer than 1, as TensorFlow's SAME: odd sizes kept.

    Zeros may pad the far end because everything here comes out of a ReLU; an even side needs none.
    """
    t, h, w = (max(0, k - 2) * (side % 2) for k, side in zip(kernel, x.shape[1:4], strict=True))
    x = F.pad(x, (0, 0, 0, w, 0, h, 0, t)) if t or h or w else x
    return _max(x, kernel, stride=2)


def _max(x: Tensor, kernel: tuple[int, int, int], stride: int, padding: int = 0) -> Tensor:
    """Max-pooling of (B, T, H, W, C), first over space, then over time; every side pooled alike."""
    space = {"stride": stride, "padding": padding, "ceil_mode": True}
    x = _frames(x, lambda frames: F.max_pool2d(frames, kernel[1:], **space))
    if kernel[0] == 1:
        return x
    time = {"stride": (stride, 1), "padding": (padding, 0), "ceil_mode": True}
    return _instants(x, lambda instants: F.max_pool2d(instants, (kernel[0], 1), **time))


def _frames(x: Tensor, work: Callable[[Tensor], Tensor]) -> Tensor:
    """`work` over space: of (B, T, H, W, C) it is given (B T, C, H, W), in the memory as it is."""
    out = work(x.flatten(0, 1).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return out.unflatten(0, x.shape[:2])


def _instants(x: Tensor, work: Callable[[Tensor], Tensor]) -> Tensor:
    """`work` over time: of (B, T, H, W, C) it is given (B, C, T, H W), in the memory as it is."""
    out = work(x.flatten(2, 3).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return out.unflatten(2, x.shape[2:4])


class _Convolution(nn.Module):
    """Convolution of (B, T, H, W, C), batch norm, ReLU; padded by whoever calls, or to keep the size."""

    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, int, int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(inputs, outputs, kernel, bias=False)
        self.bn1 = nn.BatchNorm3d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return _convolved(x, self.conv1, self.bn1)


def _convolved(x: Tensor, conv: nn.Conv3d, norm: nn.BatchNorm3d) -> Tensor:
    """Convolution over space or over time, same size; or over both where T is short: unpadded. Then norm and ReLU.

    The norm of a frozen network is a factor and a summand of each channel: it goes into the kernel.
    """
    factor = norm.weight * torch.rsqrt(norm.running_var + norm.eps)  # (C',)
    kernel = conv.weight * factor[:, None, None, None, None]  # (C', C, t, h, w)
    bias = norm.bias - norm.running_mean * factor
    t, h, _ = conv.kernel_size
    if (t, h) == (1, 1):
        x = F.linear(x, kernel.flatten(1), bias)
    elif t == 1:
        x = _frames(x, lambda frames: F.conv2d(frames, kernel[:, :, 0], bias, padding=h // 2))
    elif h == 1:
        x = _instants(x, lambda instants: F.conv2d(instants, kernel[..., 0], bias, padding=(t // 2, 0)))
    else:  # a frame beside the next ones, as more channels of one frame
        x = torch.cat([x[:, i : x.shape[1] - t + 1 + i] for i in range(t)], dim=4)  # (B, T - t + 1, H, W, t C)
        flat = kernel.transpose(1, 2).flatten(1, 2)  # (C', t C, h, w)
        x = _frames(x, lambda frames: F.conv2d(frames, flat, bias))
    return x.relu_()


class _Separable(_Convolution):
    """A 3 x 3 x 3 convolution in two: over space, then over time, each with its own batch norm and ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, (1, 3, 3))
        self.conv2 = nn.Conv3d(outputs, outputs, (3, 1, 1), bias=False)
        self.bn2 = nn.BatchNorm3d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return _convolved(super().forward(x), self.conv2, self.bn2)


class _Gate(nn.Module):
    """Each channel times a weight in (0, 1), computed from all channels' means over the clip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.fc(x.mean((1, 2, 3))).sigmoid()  # (B, C)
        return x * weight[:, None, None, None]


class _Inception(nn.Module):
    """Four gated branches side by side; (B, T, H, W, C) -> (B, T, H, W, width)."""

    def __init__(self, inputs: int, b0: int, b1_a: int, b1: int, b2_a: int, b2: int, b3: int) -> None:
        super().__init__()
        self.width = b0 + b1 + b2 + b3
        one = (1, 1, 1)
        self.conv_b0 = _Convolution(inputs, b0, one)
        self.conv_b1_a, self.conv_b1_b = _Convolution(inputs, b1_a, one), _Separable(b1_a, b1)
        self.conv_b2_a, self.conv_b2_b = _Convolution(inputs, b2_a, one), _Separable(b2_a, b2)
        self.conv_b3_b = _Convolution(inputs, b3, one)
        self.gating_b0, self.gating_b1, self.gating_b2, self.gating_b3 = map(_Gate, (b0, b1, b2, b3))

    def forward(self, x: Tensor) -> Tensor:
        branches = [
            self.gating_b0(self.conv_b0(x)),
            self.gating_b1(self.conv_b1_b(self.conv_b1_a(x))),
            self.gating_b2(self.conv_b2_b(self.conv_b2_a(x))),
            self.gating_b3(self.conv_b3_b(_max(x, (3, 3, 3), stride=1, padding=1))),
        ]
        return torch.cat(branches, dim=4)


class S3DBackbone:
    """`__call__`: uint8 (n, 224, 224, 3), n <= `frames` -> float32 (512,); fewer frames are padded with black ones.

    As it stands: VideoCLIP's features. 30 frames a second, a feature each 30 frames, values / 255, unit length. The
    switches are what people get wrong, and each changes the contract: `frames=32` (S3D's own habit) makes features of
    32/30 s that drift away from the seconds of the captions; `l2=False` and `scale=False` leave out the unit length
    and the / 255; `fps` is another rate. `weights`: path of s3d_howto100m.pth, by default where `fetch s3d` puts it, or
    "untrained" (`untrained_state`), to see the road without the download.
    VcworkError when the weights are absent or others, `frames` is odd, or `fps` is not a whole number.
    """

    name, size, width = "s3d", SIZE, WIDTH

    def __init__(
        self, weights: str | Path | None = None, frames: int = FRAMES, l2: bool = True, scale: bool = True,
        fps: int = FPS,
    ) -> None:  # fmt: skip
        if int(frames) != frames or frames < 2 or frames % 2:
            raise VcworkError(f"expected an even number of frames a feature, at least 2, got {frames}")
        if int(fps) != fps or fps < 1:
            raise VcworkError(f"expected a whole number of frames a second, got {fps}")
        self.frames, self.l2, self.scale, self.fps = int(frames), bool(l2), bool(scale), int(fps)
        self.path = weights if weights == UNTRAINED else resolve(weights or WEIGHTS)
        if weights == UNTRAINED:
            self._net, self.weights = _network(untrained_state()), UNTRAINED
        else:
            self._net, self.weights = load_s3d(self.path), sha256_file(self.path)

    def __reduce__(self) -> tuple:
        return S3DBackbone, (self.path, self.frames, self.l2, self.scale, self.fps)  # a worker loads its own copy

    @property
    def normalisation(self) -> str:
        """All that changes a number between the pixels and the stored feature."""
        colour = "RGB / 255" if self.scale else "RGB 0..255"
        length = "unit length" if self.l2 else "not normalised"
        return (
            f"{self.fps} fps, short side {SIZE} (long side rounded down, bicubic), centre crop {SIZE}, {colour}, "
            f"{self.frames} frames a feature (the last padded with black), video_embedding {WIDTH}, {length}, float16"
        )

    def read(self, path: str | Path) -> Iterator[np.ndarray]:
        """The frames of each feature of a video: uint8 (n, 224, 224, 3), n = `frames`, fewer in the last."""
        return iter_chunks(path, self.fps, self.size, self.frames)

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        expected = f"uint8 frames (n, {self.size}, {self.size}, 3), 1 <= n <= {self.frames}"
        if frames.dtype != np.uint8 or frames.shape[1:] != (self.size, self.size, 3):
            raise VcworkError(f"expected {expected}, got {frames.dtype} {frames.shape}")
        if not 1 <= len(frames) <= self.frames:
            raise VcworkError(f"expected {expected}, got n = {len(frames)}; is this another contract's chunk?")
        video = torch.zeros(1, 3, self.frames, self.size, self.size)
        video[0, :, : len(frames)] = torch.from_numpy(np.ascontiguousarray(frames)).permute(3, 0, 1, 2)
        if self.scale:
            video /= 255
        with one_thread():
            feature = self._net(video)[0].numpy()  # (512,)
        return feature / max(float(np.linalg.norm(feature)), 1e-12) if self.l2 else feature


def load_s3d(path: str | Path) -> S3D:
    """The network of a .pth file in evaluation mode, float32; entries of the text module are left out.

    No code of the file is run. VcworkError: no such file (it says where to get it), not a file of weights, entries
    missing, unexpected or of another shape.
    """
    path = Path(path)
    if not path.is_file():
        raise VcworkError(
            f"{path}: no S3D weights there. With a network: python -m vcwork fetch s3d (puts s3d_howto100m.pth into "
            f"{Path(WEIGHTS).parent}). Without: copy s3d_howto100m.pth to that path, or give its path as `weights`"
        )
    video = {name: tensor for name, tensor in read_pth(path).items() if not name.startswith(TEXT_PREFIX)}
    _check_names(path, S3D().state_dict(), video)
    return _network(video)


def _network(state: dict[str, Tensor]) -> S3D:
    net = S3D()
    net.load_state_dict(state)
    return net.eval()


def _check_names(path: Path, expected: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    shapes = [
        f"{name} {tuple(found[name].shape)} for {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in found and found[name].shape != tensor.shape
    ]
    kinds = {
        "missing": sorted(expected.keys() - found.keys()),
        "unexpected": sorted(map(str, found.keys() - expected.keys())),
        "of another shape": shapes,
    }
    wrong = [f"{len(names)} {kind}: {', '.join(names)}" for kind, names in kinds.items() if names]
    if wrong:
        raise VcworkError(f"{path}: not the {len(expected)} entries of S3D's video network; {'; '.join(wrong)}")


def untrained_state() -> dict[str, Tensor]:
    """Weights drawn from their names, the same on every machine: to try the road without the download, nothing more.

    No number got from features of such a network says anything about S3D or VideoCLIP: its gates halve the signal ten
    times, so its biases outweigh what it sees and all its features point nearly the same way.
    """
    return {name: _drawn(name, tensor) for name, tensor in S3D().state_dict().items()}


def _drawn(name: str, like: Tensor) -> Tensor:
    shape, rng = tuple(like.shape), np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("num_batches_tracked"):
        return like
    if name.endswith("running_var"):
        value = 0.5 + rng.random(shape)
    elif len(shape) > 1:
        value = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))  # keeps the size of what passes a ReLU
    else:
        value = 0.1 * rng.standard_normal(shape) + (".bn" in name and name.endswith(".weight"))
    return torch.from_numpy(value.astype(np.float32))


@dataclass(frozen=True)
class SwitchEffect:
    """Features of one clip under one setting, against the right ones; row i is what a reader takes for second i.

    features: (T', 512) float32.
    drift_s: (T',) how many seconds after i row i really starts.
    norm: (T',) length of each feature.
    cosine: (min(T, T'),) between row i and the right feature of second i.
    """

    features: np.ndarray
    drift_s: np.ndarray
    norm: np.ndarray
    cosine: np.ndarray


def preprocessing_effects(
    path: str | Path, weights: str | Path | None = None, seconds: int | None = None
) -> dict[str, SwitchEffect]:
    """What each usual mistake does to the features of a clip: {"right", "frames=32", "l2=False", "scale=False"}.

    `seconds`: only that many from the start. A cosine of 1 (l2=False) is not harmless: VideoCLIP's first layers are not
    indifferent to length.
    """
    plain = _features(S3DBackbone(weights, l2=False), path, seconds)  # (T, 512)
    unit = _unit(plain)
    effects = {
        "right": _effect(unit, unit),
        "frames=32": _effect(_features(S3DBackbone(weights, frames=32), path, seconds), unit, 32 / FPS),
        "l2=False": _effect(plain, unit),
        "scale=False": _effect(_features(S3DBackbone(weights, scale=False), path, seconds), unit),
    }
    give_freed_memory_back()
    return effects


def _unit(features: np.ndarray) -> np.ndarray:
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def _features(backbone: S3DBackbone, path: str | Path, seconds: int | None) -> np.ndarray:
    limit = None if seconds is None else -(-seconds * backbone.fps // backbone.frames)
    chunks = itertools.islice(backbone.read(path), limit)
    return np.stack([backbone(frames) for frames in chunks])


def _effect(features: np.ndarray, right: np.ndarray, step_s: float = 1.0) -> SwitchEffect:
    norm, index = np.linalg.norm(features, axis=1), np.arange(len(features))
    n = min(len(features), len(right))
    cosine = (features[:n] * right[:n]).sum(1) / np.maximum(norm[:n], 1e-12)  # right ones have length 1
    return SwitchEffect(features, index * (step_s - 1), norm, cosine)
