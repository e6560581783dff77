"""Every named loss against slow and obvious arithmetic, and what it is when nothing was learned."""

import math

import numpy as np
import pytest
import torch

from vcwork.base.errors import VcworkError
from vcwork.core.loss import LOSSES, mil_nce, reference_nce, symmetric_nce, t2v_nce, v2t_nce


def _pair(b: int = 5, d: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    return torch.tensor(rng.normal(size=(b, d))), torch.tensor(rng.normal(size=(b, d)))


def test_directions_by_hand():
    video, text = _pair()
    scores = (text @ video.T).numpy()  # rows are texts
    t2v = -np.mean([scores[i, i] - np.log(np.exp(scores[i]).sum()) for i in range(5)])
    v2t = -np.mean([scores[i, i] - np.log(np.exp(scores[:, i]).sum()) for i in range(5)])
    assert t2v_nce(video, text).item() == pytest.approx(t2v) and v2t_nce(video, text).item() == pytest.approx(v2t)
    assert t2v != pytest.approx(v2t, abs=1e-3), "or the test could not tell them apart"
    assert reference_nce(video, text).item() == pytest.approx(t2v + v2t)
    assert symmetric_nce(video, text).item() == pytest.approx((t2v + v2t) / 2)


@pytest.mark.parametrize(("name", "value"), [("symmetric", 1), ("reference", 2), ("t2v", 1), ("v2t", 1)])
def test_equal_scores_are_log_b_a_direction(name, value):
    assert LOSSES[name](torch.zeros(7, 4), torch.zeros(7, 4)).item() == pytest.approx(value * math.log(7))


def test_temperature_divides():
    video, text = _pair()
    for name, loss in LOSSES.items():
        assert loss(video, text, 2.0).item() == pytest.approx(loss(video / 2, text).item()), name


def _bags(n: int, k: int) -> torch.Tensor:
    """Clip i owns the texts i k to (i + 1) k - 1: (n, n k)."""
    return torch.eye(n, dtype=torch.bool).repeat_interleave(k, 1)


@pytest.mark.parametrize("k", [1, 3])
def test_mil_nce_by_hand(k):
    rng = np.random.default_rng(1)
    video, text = rng.normal(size=(4, 3)), rng.normal(size=(4 * k, 3))
    e = np.exp(video @ text.T)  # rows are clips
    slow = 0.0
    for i in range(4):
        bag = range(i * k, (i + 1) * k)
        own = sum(e[i, t] for t in bag)
        other_texts = e[i].sum() - own
        other_clips = sum(e[j, t] for j in range(4) if j != i for t in bag)
        slow -= math.log(own / (own + other_texts + other_clips)) / 4
    assert mil_nce(torch.tensor(video), torch.tensor(text), _bags(4, k)).item() == pytest.approx(slow)


def test_mil_nce_of_equal_scores_and_of_a_found_bag():
    equal = mil_nce(torch.zeros(4, 2), torch.zeros(12, 2), _bags(4, 3))
    assert equal.item() == pytest.approx(math.log(7)), "log(2 B - 1)"
    video = 30 * torch.eye(3)
    text = torch.stack([torch.eye(3), torch.zeros(3, 3)], 1).view(
        6, 3
    )  # one of each bag is right, the other says nothing
    assert mil_nce(video, text, _bags(3, 2)).item() == pytest.approx(0, abs=1e-6)


def test_shapes_are_checked():
    for loss in (symmetric_nce, reference_nce, t2v_nce, v2t_nce):
        with pytest.raises(VcworkError, match="one shape"):
            loss(torch.zeros(3, 2), torch.zeros(4, 2))
    with pytest.raises(VcworkError, match="own"):
        mil_nce(torch.zeros(3, 2), torch.zeros(4, 2), _bags(3, 2))
