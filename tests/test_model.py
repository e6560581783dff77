"""The dual encoder: padding must not count, shapes are checked, the loss is what its docstring says."""

import math

import numpy as np
import pytest
import torch
from checks import refused

from vcwork.core.bert import Padded
from vcwork.core.config import ModelConfig
from vcwork.core.loss import symmetric_nce
from vcwork.core.model import VideoCLIP
from vcwork.core.text import Tokenizer


@pytest.fixture(scope="module")
def model() -> VideoCLIP:
    torch.manual_seed(0)
    sizes = {"hidden": 32, "heads": 4, "ffn": 64, "video_layers": 2, "text_layers": 2}
    return VideoCLIP(ModelConfig(feature_dim=6, vocab_size=50, max_video_tokens=8, max_text_tokens=10, **sizes)).eval()


def test_video_padding_does_not_count(model):
    features, mask = torch.randn(2, 8, 6), torch.ones(2, 8, dtype=torch.bool)
    mask[1, 5:] = False
    alone = model.encode_video(features[1:, :5], mask[1:, :5])
    features[1, 5:] = 1e3 * torch.randn(3, 6)  # whatever stands in the padding
    together = model.encode_video(features, mask)
    torch.testing.assert_close(together.pooled[1], alone.pooled[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.states[1, :5], alone.states[0], rtol=1e-4, atol=1e-5)


def test_text_padding_does_not_count(model):
    ids = torch.randint(5, 50, (2, 9))
    mask = torch.ones(2, 9, dtype=torch.bool)
    mask[1, 6:] = False
    alone = model.encode_text(ids[1:, :6], mask[1:, :6])
    ids[1, 6:] = 7
    together = model.encode_text(ids, mask)
    torch.testing.assert_close(together.pooled[1], alone.pooled[0], rtol=1e-4, atol=1e-5)


def test_pooled_is_the_mean_of_seconds_and_sep_without_cls(model):
    features, mask = torch.randn(1, 4, 6), torch.ones(1, 4, dtype=torch.bool)
    encoded = model.encode_video(features, mask)
    cls, sep = model.video_bert.embeddings.word_embeddings.weight
    embeds = torch.cat([cls.view(1, 1, -1), model.video_mlp(features), sep.view(1, 1, -1)], 1)
    position = torch.tensor([[0, 1, 2, 3, 4, 9]])  # SEP stands at max_video_tokens + 1, however short the clip
    states = model.video_bert(embeds, position, Padded(torch.ones(1, 6, dtype=torch.bool)))
    torch.testing.assert_close(encoded.pooled, states[:, 1:].mean(1))
    torch.testing.assert_close(encoded.states, states[:, 1:-1])


def test_empty_clip_is_its_sep_state(model):
    empty = model.encode_video(torch.zeros(1, 1, 6), torch.zeros(1, 1, dtype=torch.bool))
    assert torch.isfinite(empty.pooled).all()


def test_order_of_seconds_matters(model):
    features, mask = torch.randn(1, 8, 6), torch.ones(1, 8, dtype=torch.bool)
    there, back = (model.encode_video(f, mask).pooled for f in (features, features.flip(1)))
    assert not torch.allclose(there, back, atol=1e-3)


@pytest.mark.parametrize("shape", [(1, 9, 6), (1, 4, 7)])
def test_wrong_features_are_named(model, shape):
    refused("expected features", model.encode_video, torch.zeros(shape), torch.ones(shape[:2], dtype=torch.bool))


def test_heads_must_divide_hidden():
    refused("multiple of heads", ModelConfig.checked, hidden=30, heads=4)


def test_paper_defaults_have_the_published_sizes():
    config = ModelConfig()
    assert (config.hidden, config.video_layers, config.text_layers, config.max_video_tokens) == (768, 6, 12, 32)


def test_nce_against_the_slow_and_obvious():
    rng = np.random.default_rng(0)
    video, text = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    scores = video @ text.T
    slow = np.mean(
        [
            -0.5 * (scores[i, i] - np.log(np.exp(scores[i]).sum()) + scores[i, i] - np.log(np.exp(scores[:, i]).sum()))
            for i in range(5)
        ]
    )
    assert symmetric_nce(torch.tensor(video), torch.tensor(text)).item() == pytest.approx(slow, rel=1e-9)


def test_nce_of_equal_scores_is_log_b_and_of_perfect_ones_zero():
    assert symmetric_nce(torch.zeros(7, 4), torch.zeros(7, 4)).item() == pytest.approx(math.log(7))
    assert symmetric_nce(50 * torch.eye(4), torch.eye(4)).item() == pytest.approx(0, abs=1e-6)


def test_nce_does_not_depend_on_the_order_of_pairs_and_refuses_other_shapes():
    video, text = torch.randn(6, 3), torch.randn(6, 3)
    order = torch.randperm(6)
    torch.testing.assert_close(symmetric_nce(video, text), symmetric_nce(video[order], text[order]))
    refused("one shape", symmetric_nce, video, text[:5])


def test_tokenizer_spells_unseen_words_and_reloads(tmp_path):
    tokenizer = Tokenizer.train(["chop the carrot", "chop the onion", "stir"])
    assert tokenizer.vocabulary[:4] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    words = [tokenizer.vocabulary[i] for i in tokenizer.tokens(["Chop the coin!"])[0]]
    assert words[:2] == ["chop", "the"] and "".join(w.strip("#") for w in words[2:6]) == "coin"
    tokenizer.save(tmp_path)
    assert Tokenizer.load(tmp_path).vocabulary == tokenizer.vocabulary
    ids, mask = tokenizer.encode(["chop", "chop the carrot chop the onion"], max_tokens=4)
    assert ids.shape == (2, 6) and mask.sum(1).tolist() == [3, 6]
    assert ids[1, -1] == tokenizer.sep and ids[0, 3:].eq(tokenizer.pad).all()


def test_real_vocabulary(real):
    tokenizer = Tokenizer.load(real / "backbones" / "bert-base-uncased-vocab")
    assert len(tokenizer) == 30522 and tokenizer.cls == 101 and tokenizer.sep == 102
    assert tokenizer.tokens(["hello world"]) == [[7592, 2088]]


def test_vocabulary_without_special_tokens_is_refused():
    refused(r"\[CLS\]", Tokenizer, ["[PAD]", "[UNK]", "a"])


def test_projection_heads():
    """Each tower has one of its own, over the pooled vector and over every state; scores then have its width."""
    torch.manual_seed(0)
    sizes = {"hidden": 32, "heads": 4, "ffn": 64, "video_layers": 1, "text_layers": 1}
    model = VideoCLIP(ModelConfig(feature_dim=6, vocab_size=50, projection=12, **sizes)).eval()
    video = model.encode_video(torch.randn(2, 8, 6), torch.ones(2, 8, dtype=torch.bool))
    text = model.encode_text(torch.randint(5, 50, (2, 9)), torch.ones(2, 9, dtype=torch.bool))
    assert video.pooled.shape == text.pooled.shape == (2, 12) and video.states.shape == (2, 8, 12)
    assert model.config.embedding == 12
    hidden = []
    model.text_head.register_forward_pre_hook(lambda _, given: hidden.append(given[0]))
    text = model.encode_text(torch.randint(5, 50, (2, 9)), torch.ones(2, 9, dtype=torch.bool))
    torch.testing.assert_close(text.pooled, model.text_head(hidden[0]))
    assert not torch.equal(model.video_head[0].weight, model.text_head[0].weight)
