"""Where shots of a film begin and end: TransNetV2 on small pictures of it, 25 a second.

A window of 100 pictures (48 by 27, squeezed) gives for each the probability that a shot ends there; the middle 50 are
kept, ends are filled with copies of the first and the last picture, and above 0.5 is a cut. All of that is the paper's.
Our choices: 25 pictures a second whatever the film has, and a fade is cut in its middle, so that shots leave no gap.
Known gaps: a cut is known to 0.02 s; a turned phone film is squeezed as it is stored; one core reads some 100 pictures
a second, 4 s of film.
Source: Souček and Lokoč, TransNet V2 (2020); names of weights as in their PyTorch port.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from av.video.reformatter import VideoReformatter
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, linear, normalize, pad

from vcwork.data.backbones.hugging_face import as_error
from vcwork.data.backbones.weights import read_pth, weights_folder
from vcwork.data.film import TimedFrames, check_length, open_video, picture_end
from vcwork.data.video import on_display

NAME, FILE = "transnetv2", "transnetv2-pytorch-weights.pth"
FPS, WINDOW, KEPT, HEIGHT, WIDTH = 25, 100, 50, 27, 48
THRESHOLD = 0.5
_DILATIONS, _NEAR = (1, 2, 4, 8), 50  # pictures between the taps of a block; neighbours that one is compared with
_EPSILON = 1e-3  # of its batch norms


def shots(path: str | Path, seen: Callable[[float], Any] = lambda seconds: None) -> list[tuple[float, float]]:
    """(start_s, end_s) of the shots of a film, without gaps from its beginning to its end.

    `seen` is told after each window how many more seconds that were.
    VcworkError: `transnetv2` is not fetched, and as for `vcwork.data.video.iter_seconds`.
    """
    ends: dict[str, float] = {}  # filled when the film has been read
    probable = cuts_of(_pictures(path, ends), lambda pictures: seen(pictures / FPS))
    marks = [0.0, *(cut / FPS for cut in boundaries(probable) if cut / FPS < ends["s"]), ends["s"]]
    return [*itertools.pairwise(marks)]


def boundaries(probable: np.ndarray, threshold: float = THRESHOLD) -> list[int]:
    """Numbers of the pictures that begin a new shot, from the probabilities (N,) that one ends; of a run, its middle.

    A run that reaches the first or the last picture is no cut: nothing lies beyond.
    """
    over = np.flatnonzero(probable > threshold)
    runs = np.split(over, np.flatnonzero(np.diff(over) > 1) + 1)
    return [int(run[0] + run[-1]) // 2 + 1 for run in runs if len(run) and run[0] > 0 and run[-1] < len(probable) - 1]


def cuts_of(pictures: Iterable[np.ndarray], seen: Callable[[int], Any] = lambda pictures: None) -> np.ndarray:
    """Probabilities (N,) that a shot ends with each of N pictures, uint8 RGB (27, 48, 3)."""
    network, found, count = _network(), [], 0
    with torch.inference_mode():
        for window, real in _windows(pictures):
            told = network(torch.from_numpy(window))[WINDOW // 4 : WINDOW // 4 + KEPT]
            found.append(told.numpy().copy())  # torch's own would leave holes in its memory
            count += real
            seen(real)
    return np.concatenate(found)[:count] if found else np.empty(0, np.float32)


def _windows(pictures: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, int]]:
    """Windows (100, 27, 48, 3), each 50 after the one before, and how many of its middle 50 are of the film."""
    held: list[np.ndarray] = []
    edge, last = WINDOW // 4, None
    for last in pictures:
        held += [last] * (edge + 1 if not held else 1)
        if len(held) == WINDOW:
            yield np.stack(held), KEPT
            held = held[KEPT:]
    if last is not None and len(held) > edge:
        filled = held + [last] * WINDOW
        for first in range(0, len(held) - edge, KEPT):
            yield np.stack(filled[first : first + WINDOW]), min(KEPT, len(held) - edge - first)


def _pictures(path: str | Path, ends: dict[str, float]) -> Iterator[np.ndarray]:
    """The film's pictures, uint8 RGB (27, 48, 3); at the end `ends["s"]` is its length."""
    reformatter = VideoReformatter()
    with open_video(path) as (container, stream):
        timed = TimedFrames(container, stream, path)
        for frame in on_display(timed, FPS):
            small = reformatter.reformat(frame, WIDTH, HEIGHT, "rgb24", interpolation="BILINEAR", threads=1)
            yield small.to_ndarray()
        check_length(path, timed.end_s, picture_end(container, stream, path))
        ends["s"] = timed.end_s


# -------------------------------------------------------------------------------------------------------- network


class TransNetV2:
    """uint8 pictures of one film (T, 27, 48, 3) -> probabilities (T,) that a shot ends with each."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        self.state = state
        self.blocks = [[_block(state, f"SDDCNN.{i}.DDCNN.{j}") for j in range(2)] for i in range(3)]

    def __call__(self, pictures: Tensor) -> Tensor:
        x, means = pictures.permute(0, 3, 1, 2).float() / 255, []  # (T, 3, H, W)
        for first, second in self.blocks:
            x = _seen(x, *first).relu_()
            x = avg_pool2d(_seen(x, *second).relu_() + x, 2)  # (T, C, H/2, W/2)
            means.append(x.mean((2, 3)))  # (T, C)
        like = self._near(normalize(self._linear("frame_sim_layer.projection", torch.cat(means, 1))), "frame_sim_layer")
        colours = self._near(_colours(pictures), "color_hist_layer")  # (T, 128), as `like`
        told = torch.cat([colours, like, x.permute(0, 2, 3, 1).flatten(1)], 1)  # (T, 128 + 128 + 4608)
        return self._linear("cls_layer1", self._linear("fc1", told).relu()).sigmoid().squeeze(1)

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return linear(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"])

    def _near(self, vectors: Tensor, name: str) -> Tensor:
        """How like each picture's vector (T, D) its neighbours' are, 50 before to 50 after, and a layer on that."""
        count = len(vectors)
        cosines = pad(vectors @ vectors.T, (_NEAR, _NEAR))  # (T, 50 + T + 50); beyond the window: 0
        near = torch.arange(count)[:, None] + torch.arange(2 * _NEAR + 1)  # (T, 101)
        return self._linear(f"{name}.fc", cosines.gather(1, near)).relu()  # (T, 128)


def _colours(pictures: Tensor) -> Tensor:
    """Histograms of 8 x 8 x 8 colours, of length 1: (T, 512)."""
    bins = (pictures.flatten(1, 2).long() >> 5) @ torch.tensor([64, 8, 1])  # (T, H W)
    return normalize(torch.zeros(len(bins), 512).scatter_add_(1, bins, torch.ones(bins.shape)))


def _block(state: dict[str, Tensor], at: str) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """One kernel over space for the four branches, and for each a kernel and bias over time: the norm is in these."""
    factor = state[f"{at}.bn.weight"] * torch.rsqrt(state[f"{at}.bn.running_var"] + _EPSILON)  # (4 F,)
    bias = state[f"{at}.bn.bias"] - state[f"{at}.bn.running_mean"] * factor
    layers, time = [f"{at}.Conv3D_{dilation}.layers" for dilation in _DILATIONS], []
    space = torch.cat([state[f"{layer}.0.weight"][:, :, 0] for layer in layers])  # (8 F, C, 3, 3)
    for layer, scale, summand in zip(layers, factor.chunk(4), bias.chunk(4), strict=True):
        taps = (state[f"{layer}.1.weight"].squeeze() * scale[:, None, None]).permute(2, 0, 1)  # (3, F, 2 F)
        zero = torch.zeros_like(summand)
        time.append((taps.flatten(0, 1)[..., None, None], torch.cat([zero, summand, zero])))
    return space, time


def _seen(x: Tensor, space: Tensor, time: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Space, then time at four speeds side by side: (T, C, H, W) -> (T, 4 F, H, W).

    Over time each picture gives what it means for an earlier, its own and a later one, and these are added up: a third
    of the memory that laying three pictures side by side takes.
    """
    found = []
    for branch, taps, apart in zip(conv2d(x, space, padding=1).chunk(4, 1), time, _DILATIONS, strict=True):
        later, now, earlier = conv2d(branch, *taps).chunk(3, 1)  # (T, F, H, W) each
        now[apart:] += later[:-apart]
        now[:-apart] += earlier[apart:]
        found.append(now)
    return torch.cat(found, 1)


@cache
def _network() -> TransNetV2:
    path = weights_folder(NAME) / FILE
    with as_error(f"{path}: not the weights of {NAME}"):
        return TransNetV2(read_pth(path))
