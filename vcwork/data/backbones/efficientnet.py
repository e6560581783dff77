"""EfficientNet-Lite0: a small image network trained on ImageNet, as a backbone and as a namer of what is shown.

`get_backbone("efficientnet-lite0")` gives 1,280 numbers a second; `class_probabilities` of such rows are those of the
1,000 classes that `class_names` names, which is how a film without a word can be asked for words (ConSE).
Pixels as its authors prepare them: values (x - 127) / 128, the middle 7/8 of the short side (224 of 256 pixels); our
choice: bilinear where they resize bicubically, and the frame in the middle of each second.
Known gaps: what stands left and right of the middle square is not seen; one thread, so that features do not depend on
the number of workers.
Sources: Tan and Le, EfficientNet (ICML 2019); the Lite variant: no squeeze-and-excitation, ReLU6, stem and head of the
same width at every size; convolutions padded as TensorFlow's SAME, which at stride 2 pads the far side more.
"""

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, linear, pad

from vcwork.base.errors import VcworkError
from vcwork.base.files import sha256_file
from vcwork.data.backbones.hugging_face import as_error, one_thread
from vcwork.data.backbones.weights import read_pth, weights_folder

NAME, FILE = "efficientnet-lite0", "efficientnet-lite0-57934424.pth"
SIZE, CROP, WIDTH, CLASSES = 256, 224, 1280, 1000
EPSILON = 1e-3  # of its batch norms; torch's own is 1e-5
# of each stage: kernel, stride of its first block, how much wider a block is inside, channels, blocks
_STAGES = ((3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3), (5, 2, 6, 192, 4),
           (3, 1, 6, 320, 1))  # fmt: skip


class EfficientNetLite:
    """float pixels (B, 3, H, W) -> features (B, 1280), by the names of weights of the authors' port."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        self._convolutions = {
            conv: _folded(state, conv, norm) for layer in _layers() for conv, norm, *_ in layer[0]
        }  # fmt: skip
        self.classifier = state["_fc.weight"], state["_fc.bias"]  # (1000, 1280), (1000,)

    def __call__(self, pixels: Tensor) -> Tensor:
        x = pixels
        for convolutions, residual in _layers():
            into = x
            for conv, _, stride, bounded in convolutions:
                x = _same(x, *self._convolutions[conv], stride)
                x = x.clamp_(0, 6) if bounded else x
            x = x + into if residual else x
        return x.mean((2, 3))  # (B, 1280)


Convolution = tuple[str, str, int, bool]  # its name, its norm's, stride, whether a ReLU6 follows


def _layers() -> Iterator[tuple[list[Convolution], bool]]:
    """Stem, blocks and head: the convolutions of each, and whether what comes in is added to what comes out."""
    yield [("_conv_stem", "_bn0", 2, True)], False
    number = 0
    for _, first, widening, _, blocks in _STAGES:
        for i in range(blocks):
            at, stride = f"_blocks.{number}", first if i == 0 else 1
            widen = [(f"{at}._expand_conv", f"{at}._bn0", 1, True)] if widening > 1 else []
            deep = (f"{at}._depthwise_conv", f"{at}._bn1", stride, True)
            yield [*widen, deep, (f"{at}._project_conv", f"{at}._bn2", 1, False)], i > 0
            number += 1
    yield [("_conv_head", "_bn1", 1, True)], False


def _folded(state: dict[str, Tensor], conv: str, norm: str) -> tuple[Tensor, Tensor]:
    """A convolution's kernel and bias with the norm behind it, which of a frozen network is a factor and a summand."""
    factor = state[f"{norm}.weight"] * torch.rsqrt(state[f"{norm}.running_var"] + EPSILON)  # (C,)
    bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * factor
    return state[f"{conv}.weight"] * factor[:, None, None, None], bias


def _same(x: Tensor, kernel: Tensor, bias: Tensor, stride: int) -> Tensor:
    """Convolution with TensorFlow's SAME padding; a kernel of one channel is one for each channel of `x`."""
    size, groups = kernel.shape[-1], x.shape[1] // kernel.shape[1]
    missing = [max(0, (-(-side // stride) - 1) * stride + size - side) for side in (x.shape[3], x.shape[2])]
    x = pad(x, [part for one in missing for part in (one // 2, one - one // 2)])
    return conv2d(x, kernel, bias, stride, groups=groups)


class EfficientNetBackbone:
    """The network on each of `fps` frames a second, 1 by default; the feature is their mean, float32 (1280,)."""

    name, size, width = NAME, SIZE, WIDTH
    normalisation = f"crop {CROP}, (x - 127) / 128, mean over frames"

    def __init__(self, fps: int = 1) -> None:
        if int(fps) != fps or fps < 1:
            raise VcworkError(f"expected a whole number of frames a second, got {fps}")
        self.fps, self._net = int(fps), _network()
        self.weights = sha256_file(weights_folder(NAME) / FILE)

    def __reduce__(self) -> tuple:
        return EfficientNetBackbone, (self.fps,)  # a worker loads its own copy

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """uint8 RGB (n, H, W, 3) -> (1280,); another short side than 256 is resized first."""
        with one_thread():
            return self._net(prepared(frames)).mean(0).numpy()


def prepared(frames: Sequence[np.ndarray] | np.ndarray) -> Tensor:
    """uint8 RGB (n, H, W, 3) -> what the network reads, float32 (n, 3, 224, 224)."""
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float()  # (n, 3, H, W)
    short = min(pixels.shape[2:])
    if short != SIZE:
        sides = [side * SIZE // short for side in pixels.shape[2:]]
        pixels = interpolate(pixels, sides, mode="bilinear", antialias=True)
    top, left = ((side - CROP) // 2 for side in pixels.shape[2:])
    return (pixels[:, :, top : top + CROP, left : left + CROP] - 127) / 128


def class_probabilities(features: np.ndarray) -> np.ndarray:
    """Of rows (T, 1280) that the backbone made, float16 as stored or not: probabilities (T, 1000), each row sums to 1.

    A row that is the mean of several frames is classified as their mean. VcworkError for another width.
    """
    if features.ndim != 2 or features.shape[1] != WIDTH:
        raise VcworkError(f"expected features of {NAME} (T, {WIDTH}), got {features.shape}")
    with torch.inference_mode():
        rows = torch.from_numpy(np.asarray(features, np.float32))
        return linear(rows, *_network().classifier).softmax(1).numpy()  # (T, 1000)


@cache
def class_names() -> tuple[str, ...]:
    """The 1,000 classes of ImageNet in the order of `class_probabilities`, each with its synonyms ("tench, Tinca …").

    Two classes are both a "crane", the bird and the machine. VcworkError: not fetched.
    """
    folder = weights_folder(NAME)
    lines = (folder / "imagenet_synset_to_lemma.txt").read_text(encoding="utf-8").splitlines()
    names = dict(line.split("\t", 1) for line in lines)
    return tuple(names[synset] for synset in (folder / "imagenet_synsets.txt").read_text().split())


@cache
def _network() -> EfficientNetLite:
    path = weights_folder(NAME) / FILE
    with as_error(f"{path}: not the weights of {NAME}"):
        return EfficientNetLite(read_pth(path))
