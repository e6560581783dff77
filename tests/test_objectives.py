"""Every loss against slow and obvious arithmetic, what it is when nothing was learned, and training by it."""

import math

import numpy as np
import pytest
import torch
from checks import refused
from toys import theme_clips, theme_pairs

from vcwork.core.batches import pairs_of
from vcwork.core.config import ClusterConfig, ModelConfig, OverlapConfig, TrainConfig
from vcwork.core.engine import Engine
from vcwork.core.loop import pretrain
from vcwork.core.loss import (
    LOSSES,
    best_fit,
    mil_nce,
    nearest_negatives,
    objective_of,
    other_videos,
    reference_nce,
    sigmoid_loss,
    symmetric_nce,
    t2v_nce,
    v2t_nce,
)
from vcwork.core.model import VideoCLIP
from vcwork.core.sampling import Track, bag_of, bag_pair, sliding_windows
from vcwork.core.text import SPECIAL, Tokenizer

OWN = torch.tensor([[1, 1, 0, 0, 0], [0, 0, 1, 1, 1], [1, 1, 0, 0, 0]], dtype=torch.bool)  # 3 texts, 5 clips


def embeddings(n: int = 5, b: int = 3, d: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    return torch.tensor(rng.normal(size=(n, d))), torch.tensor(rng.normal(size=(b, d)))


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


def test_sigmoid_by_hand_and_without_some_negatives():
    video, text = _pair()
    scores, sign = (video @ text.T).numpy() - 0.7, 2 * np.eye(5) - 1
    each = np.log1p(np.exp(-sign * scores))  # (5, 5): every pair by itself
    assert sigmoid_loss(video, text, bias=-0.7).item() == pytest.approx(each.sum(1).mean())
    assert sigmoid_loss(torch.zeros(7, 4), torch.zeros(7, 4)).item() == pytest.approx(7 * math.log(2))
    keep = torch.eye(5, dtype=torch.bool) | (torch.arange(5) < 2)
    bias = torch.tensor(-0.7, dtype=torch.float64, requires_grad=True)
    some = sigmoid_loss(video, text, keep=keep, bias=bias)
    assert some.item() == pytest.approx((each * keep.numpy()).sum(1).mean())
    some.backward()
    assert bias.grad.item() == pytest.approx((-sign / (1 + np.exp(sign * scores)) * keep.numpy()).sum(1).mean())


def test_a_learned_bias_is_the_losss_own_and_moves():
    sizes = {"feature_dim": 16, "vocab_size": len(TOKENIZER), "learn_bias": True}
    model = VideoCLIP(ModelConfig(**sizes, **SIZES))
    assert model.bias.item() == -10 and "bias" in model.state_dict()
    list(pretrain(model, TOKENIZER, theme_pairs(48, 20), config("sigmoid", "strict")))
    assert model.bias.item() != -10
    assert not hasattr(VideoCLIP(ModelConfig(**sizes | {"learn_bias": False}, **SIZES)), "bias")


def _bags(n: int, k: int) -> torch.Tensor:
    """Clip i owns the texts i k to (i + 1) k - 1: (n, n k)."""
    return torch.eye(n, dtype=torch.bool).repeat_interleave(k, 1)


def test_mil_nce_of_equal_scores_and_of_a_found_bag():
    equal = mil_nce(torch.zeros(4, 2), torch.zeros(12, 2), _bags(4, 3))
    assert equal.item() == pytest.approx(math.log(7)), "log(2 B - 1)"
    video = 30 * torch.eye(3)
    text = torch.stack([torch.eye(3), torch.zeros(3, 3)], 1).view(6, 3)  # of each bag one is right, one says nothing
    assert mil_nce(video, text, _bags(3, 2)).item() == pytest.approx(0, abs=1e-6)


def test_shapes_are_checked():
    for loss in LOSSES.values():
        refused("one shape", loss, torch.zeros(3, 2), torch.zeros(4, 2))
    refused("own", mil_nce, torch.zeros(3, 2), torch.zeros(4, 2), _bags(3, 2))


@pytest.mark.parametrize("own_negatives", [True, False])
def test_best_fit_by_hand(own_negatives):
    video, text = embeddings()
    e, slow = np.exp((text @ video.T / 0.5).numpy()), 0.0
    for t in range(3):
        mine = [n for n in range(5) if OWN[t, n]]
        best = max(e[t, n] for n in mine)
        rest = sum(e[t, n] for n in range(5) if n not in mine)
        total = e[t].sum() if own_negatives else best + rest
        slow -= math.log(best / total) / 3
    assert best_fit(video, text, OWN, 0.5, own_negatives).item() == pytest.approx(slow)


def test_the_partner_of_a_text_is_the_candidate_it_scores_highest():
    video, text = embeddings()
    clips, texts = torch.tensor([0, 0, 1, 1, 1]), torch.tensor([0, 1, 1])
    objective = objective_of(TrainConfig(loss="best fit", pairs=OverlapConfig(rule="windows")))
    scores = text @ video.T
    for t, partner in enumerate(objective(video, text, (clips, texts), 1.0).video):
        own = [n for n in range(5) if clips[n] == texts[t]]
        assert torch.equal(partner, video[max(own, key=lambda n: scores[t, n])])


def test_the_two_denominators_differ_by_the_other_candidates():
    zeros = torch.zeros(5, 4), torch.zeros(3, 4)
    assert best_fit(*zeros, OWN).item() == pytest.approx(math.log(5))
    slow = (math.log(1 + 3) + math.log(1 + 2) + math.log(1 + 3)) / 3
    assert best_fit(*zeros, OWN, own_negatives=False).item() == pytest.approx(slow)


def test_one_candidate_each_is_plain_nce():
    video, text = embeddings(4, 4)
    own = torch.eye(4, dtype=torch.bool)
    for rule in (True, False):
        assert best_fit(video, text, own, own_negatives=rule).item() == pytest.approx(t2v_nce(video, text).item())


def test_mil_over_any_candidates_by_hand():
    """Rows choose among columns: a text among clips; a clip that two texts own is a negative of neither."""
    video, text = embeddings()
    e, slow = np.exp((text @ video.T).numpy()), 0.0
    for t in range(3):
        mine = [n for n in range(5) if OWN[t, n]]
        own = sum(e[t, n] for n in mine)
        other_clips = sum(e[t, n] for n in range(5) if n not in mine)
        other_texts = sum(e[u, n] for n in mine for u in range(3) if not OWN[u, n])
        slow -= math.log(own / (own + other_clips + other_texts)) / 3
    assert mil_nce(text, video, own=OWN).item() == pytest.approx(slow)


def test_candidates_that_are_summed_score_no_lower_than_the_best():
    video, text = embeddings()
    one_direction = -(text @ video.T).masked_fill(~OWN, -math.inf).logsumexp(1) + (text @ video.T).logsumexp(1)
    assert one_direction.mean() < best_fit(video, text, OWN), "the sum of candidates is larger than its largest term"


@pytest.mark.parametrize("own", [OWN, torch.ones(3, 5, dtype=torch.bool), OWN & torch.tensor([[1], [0], [1]]).bool()])
def test_gradients_are_finite(own):
    """Also where every clip is everybody's candidate, and where a text has none."""
    for loss in (lambda v, t: best_fit(v, t, own), lambda v, t: best_fit(v, t, own, own_negatives=False),
                 lambda v, t: mil_nce(t, v, own=own)):  # fmt: skip
        video, text = (x.requires_grad_() for x in embeddings())
        value = loss(video, text)
        value.backward()
        assert torch.isfinite(value) and torch.isfinite(video.grad).all() and torch.isfinite(text.grad).all()


def test_masks_of_negatives():
    videos = torch.tensor([7, 7, 3])
    keep = other_videos(videos)
    assert keep.tolist() == [[True, False, True], [False, True, True], [True, True, True]]
    video, text = embeddings(3, 3)
    e = np.exp((video @ text.T).numpy())
    rows = [[0, 2], [1, 2], [0, 1, 2]]
    slow = -sum(math.log(e[i, i] / e[i, rows[i]].sum()) + math.log(e[i, i] / e[rows[i], i].sum()) for i in range(3)) / 6
    assert symmetric_nce(video, text, keep=keep).item() == pytest.approx(slow)
    refused("own text kept", symmetric_nce, video, text, keep=~torch.eye(3, dtype=torch.bool))


def test_nearest_negatives():
    angles = torch.tensor([0.0, 0.1, 0.3, 3.0])
    video = 5 * torch.stack([angles.cos(), angles.sin()], 1)
    keep = nearest_negatives(video, threshold=0.5, ratio=0.25)  # one of four
    assert keep.int().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]
    wide = nearest_negatives(video, threshold=0.5, ratio=1.0)
    assert wide.int().tolist() == [[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 1, 1]], "none is near the last one"


# ---------------------------------------------------------------------------------------------------------- batches


def track(name: str, seconds: int = 20) -> Track:
    starts = np.arange(0, seconds - 2, 3.0)
    return Track(name, starts, starts + 2.5, tuple((5 + i,) for i in range(len(starts))), seconds)


def test_a_bag_is_the_nearest_captions():
    long = track("a")
    assert bag_of(long, 3, 3) == [3, 2, 4] and bag_of(long, 0, 3) == [0, 1, 2]
    assert bag_of(track("b", 5), 0, 3) == [0, 0, 0], "cyclic where there are too few"
    rule = OverlapConfig(rule="bag", min_video_s=4)
    for seed in range(30):
        pair = bag_pair(long, rule, np.random.default_rng(seed))
        middle = (pair.text_start_s + pair.text_end_s) / 2
        assert pair.video_end - pair.video_start == 4 and pair.video_start >= 0 and pair.video_end <= 20
        assert pair.video_start <= middle <= pair.video_end


TOKENIZER = Tokenizer([*SPECIAL, *"abcdefghijklmnopqrstuvwxyz"])
SIZES = {"hidden": 32, "heads": 2, "ffn": 64, "video_layers": 1, "text_layers": 1, "max_video_tokens": 8}


def config(loss: str, rule: str, **more) -> TrainConfig:
    sizes = {"min_text_tokens": 1, "max_text_tokens": 4, "min_video_s": 4, "max_video_s": 4, "stride_s": 4, "bag": 2}
    clusters = ClusterConfig(videos_per_batch=6, clips_per_video=3, retrieve=False)
    known = {"epochs": 4, "passes_per_epoch": 6, "lr": 3e-3, "warmup": 5, "clusters": clusters} | more
    return TrainConfig(loss=loss, pairs=OverlapConfig(rule=rule, **sizes), **known)


def test_groups_say_whose_candidates_clips_are():
    data, engine = theme_pairs(48, 20), Engine()
    batches = [np.array([4, 0, 7])]
    windows = pairs_of(data, batches, 0, 0, config("best fit", "windows"), engine)
    model = VideoCLIP(ModelConfig(feature_dim=16, vocab_size=len(TOKENIZER), **SIZES))
    features, mask, ids, _ = windows(model, TOKENIZER)
    clips, texts = windows.groups()
    assert len(features) == len(clips) == 9 and len(ids) == len(texts) == 9
    assert clips.tolist() == [4] * 3 + [0] * 3 + [7] * 3 == texts.tolist()
    for n, (v, (start, end)) in enumerate((v, s) for v in (4, 0, 7) for s in sliding_windows(12, 4, 4)):
        assert np.allclose(features[n, : mask[n].sum()], data.features[v][start:end])
    bags = pairs_of(data, batches, 0, 0, config("mil", "bag"), engine)
    features, _, ids, _ = bags(model, TOKENIZER)
    clips, texts = bags.groups()
    assert clips.tolist() == list(range(9)) and texts.tolist() == [i for i in range(9) for _ in range(2)]
    assert len(ids) == 18
    assert [int(i) for i in ids[::2, 1]] == [p.tokens[0] for p in bags.pairs], "its own caption first"
    plain = pairs_of(data, batches, 0, 0, config("symmetric", "strict"), engine)
    assert plain.groups()[0].tolist() == [4] * 3 + [0] * 3 + [7] * 3


@pytest.mark.parametrize("loss, rule, more", [
    ("best fit", "windows", {}),
    ("best fit", "windows", {"own_negatives": False}),
    ("mil", "windows", {}),
    ("mil", "bag", {}),
    ("symmetric", "strict", {"same_video": "left out"}),
    ("sigmoid", "strict", {"same_video": "left out"}),
    ("symmetric", "strict", {"mining": "nearest", "mining_threshold": 0.0, "negative_ratio": 0.5}),
])  # fmt: skip
def test_training_by_it_finds_what_captions_name(loss, rule, more):
    data = theme_pairs(48, 20)
    torch.manual_seed(0)
    model = VideoCLIP(ModelConfig(feature_dim=16, vocab_size=len(TOKENIZER), dropout=0.0, **SIZES))
    records = list(pretrain(model, TOKENIZER, data, config(loss, rule, **more)))
    below = np.mean([r.loss - r.log_batch for r in records[-10:]])
    assert below < -0.1, "below the line of equal scores"
    texts = [[5 + t, 20] for t in range(12)]
    model.eval()
    with torch.no_grad():
        video = model.encode_video(torch.tensor(theme_clips(data)), torch.ones(12, 4, dtype=torch.bool)).pooled
        text = model.encode_text(*TOKENIZER.batch(texts, 8)).pooled
    found = ((text @ video.T).argmax(1) == torch.arange(12)).float().mean()
    assert found >= 0.5, f"{found:.2f} of the themes are found, by chance a twelfth"


@pytest.mark.parametrize("loss, rule, more, message", [
    ("best fit", "overlapped", {}, "pairs.rule must be windows"),
    ("mil", "strict", {}, "windows or bag"),
    ("symmetric", "bag", {}, "only loss mil"),
    ("mil", "bag", {"micro_batch": 4}, "leave them out"),
    ("best fit", "windows", {"same_video": "left out"}, "leave them out"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(loss, rule, more, message):
    refused(message, TrainConfig.checked, loss=loss, pairs=OverlapConfig(rule=rule), **more)
