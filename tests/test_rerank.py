"""The cross-attention scorer: a matrix of all pairs, padding without a say, what re-ranking may and may not move."""

import numpy as np
import pytest
import torch
from checks import refused
from toys import theme_clips, theme_pairs, toy_encoder

from vcwork.core.config import OverlapConfig
from vcwork.core.text import SPECIAL, Tokenizer
from vcwork.encoders.encoder import Encoder
from vcwork.encoders.rerank import CrossConfig, CrossScorer, cross_scores, rerank, train_scorer

TOKENIZER = Tokenizer([*SPECIAL, *(f"w{i}" for i in range(12)), "do"])


def encoder(seed: int = 0) -> Encoder:
    return toy_encoder(TOKENIZER, 16, seed, digest="abc", max_text_tokens=6)


def scorer(seed: int = 0, **config) -> CrossScorer:
    torch.manual_seed(seed)
    made = CrossScorer(32, CrossConfig(**config)).eval()
    torch.nn.init.normal_(made.head.weight)  # trained ones are not zero
    return made


def states(n: int, length: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    mask = torch.from_numpy(np.arange(length) < rng.integers(1, length + 1, (n, 1)))
    return torch.from_numpy(rng.normal(size=(n, length, 32)).astype(np.float32)), mask


@pytest.mark.parametrize("layers", [1, 2])
def test_the_matrix_holds_every_pair_and_padding_has_no_say(layers):
    made, (video, v_mask), (text, t_mask) = scorer(layers=layers), states(3, 7, 0), states(4, 5, 1)
    with torch.no_grad():
        matrix = made(video, v_mask, text, t_mask)
        assert matrix.shape == (3, 4)
        for n in range(3):
            for m in range(4):
                alone = made(video[n : n + 1, v_mask[n]], v_mask[n : n + 1, v_mask[n]],
                             text[m : m + 1, t_mask[m]], t_mask[m : m + 1, t_mask[m]])  # fmt: skip
                assert matrix[n, m].item() == pytest.approx(alone.item(), abs=1e-5)
        noisy = video.masked_fill(~v_mask[..., None], 1e3), text.masked_fill(~t_mask[..., None], -1e3)
        assert torch.allclose(made(noisy[0], v_mask, noisy[1], t_mask), matrix, atol=1e-4)
    assert matrix.std() > 1e-3, "or equality would prove nothing"


def test_it_begins_as_the_dual_encoder():
    torch.manual_seed(0)
    fresh = CrossScorer(32, CrossConfig())
    assert not fresh(*states(3, 7, 0), *states(4, 5, 1)).any()


def test_scores_of_sentences_and_clips_are_those_of_their_states():
    enc, made, rng = encoder(), scorer(), np.random.default_rng(2)
    clips = [rng.normal(size=(n, 16)).astype(np.float32) for n in (3, 8, 12)]  # the last is longer than the window
    sentences = ["do w1", "w2 w3 w4", "w5", "do do w7"]
    found = cross_scores(made, enc, sentences, clips, block=3)
    assert found.shape == (4, 3)
    for q, sentence in enumerate(sentences):
        for n, clip in enumerate(clips):
            with torch.no_grad():
                rows = torch.from_numpy(clip[None, :8])
                video = enc.model.encode_video(rows, torch.ones(rows.shape[:2], dtype=torch.bool))
                text = enc.model.encode_text(*TOKENIZER.encode([sentence], 6))
                alone = made(video.states, video.mask, text.states, text.mask).item()
            assert found[q, n] == pytest.approx(alone, abs=1e-5)
    some = np.zeros((4, 3), bool)
    some[1, 2] = True
    only = cross_scores(made, enc, sentences, clips, some)
    assert only[1, 2] == pytest.approx(found[1, 2], abs=1e-5) and np.count_nonzero(only) == 1


@pytest.mark.parametrize("add_dot", [True, False])
def test_only_the_best_are_dealt_out_anew(add_dot):
    enc, made, rng = encoder(), scorer(add_dot=add_dot), np.random.default_rng(3)
    clips = [rng.normal(size=(5, 16)).astype(np.float32) for _ in range(9)]
    sentences = [f"do w{i}" for i in range(6)]
    scores = rng.normal(size=(6, 9)).astype(np.float32)
    moved = rerank(made, enc, sentences, clips, scores, top=4)
    cross = cross_scores(made, enc, sentences, clips) + (scores if add_dot else 0)
    for q in range(6):
        best = np.argsort(-scores[q])[:4]
        assert sorted(moved[q]) == sorted(scores[q]) and (np.delete(moved[q], best) == np.delete(scores[q], best)).all()
        assert best[np.argsort(-moved[q][best])].tolist() == best[np.argsort(-cross[q][best])].tolist()
    assert not np.array_equal(moved, scores)
    assert np.array_equal(rerank(made, enc, sentences, clips, scores, top=1), scores), "one alone has no order"
    everything = rerank(made, enc, sentences, clips, scores, top=99)
    assert (everything.argsort(1) == cross.argsort(1)).all()


def test_it_learns_where_the_dual_encoder_knows_nothing():
    enc, data = encoder(), theme_pairs(40, len(TOKENIZER) - 1)
    before = {name: t.clone() for name, t in enc.model.state_dict().items()}
    rule = OverlapConfig(rule="strict", min_text_tokens=1, max_text_tokens=2, min_video_s=4, max_video_s=4)
    config = CrossConfig(add_dot=False, updates=250, videos=6, clips=2, lr=3e-3, pairs=rule)
    torch.manual_seed(0)
    made = CrossScorer(32, config)
    records = list(train_scorer(enc, data, config, made))
    assert records[0].loss == pytest.approx(records[0].flat, abs=1e-5), "all scores are 0 to begin with"
    assert np.mean([r.loss for r in records[-20:]]) < 0.6 * records[0].flat
    assert all(torch.equal(t, before[name]) for name, t in enc.model.state_dict().items()), "the encoders stay"
    found = cross_scores(made.eval(), enc, [f"w{t} do" for t in range(12)], list(theme_clips(data))).argmax(1)
    assert (found == np.arange(12)).mean() >= 0.6, "by chance a twelfth"


def test_heads_must_divide_the_width():
    refused("do not divide", CrossScorer, 30, CrossConfig(heads=4))
