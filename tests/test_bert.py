"""Our BERT: transformers' numbers, and without padding the numbers of the padded path, values and gradients."""

import copy

import pytest
import torch

from vcwork.core import bert as layers
from vcwork.core.bert import Bert, Packed, Padded, dropout
from vcwork.core.config import ModelConfig, TrainConfig
from vcwork.core.model import VideoCLIP
from vcwork.core.step import Learner

SIZES = {"feature_dim": 6, "vocab_size": 50, "max_video_tokens": 8, "max_text_tokens": 10, "hidden": 32, "heads": 4,
         "ffn": 64, "video_layers": 2, "text_layers": 2}  # fmt: skip
LENGTHS = {  # seconds and words of each row
    "mixed, one empty": ([8, 0, 1, 3, 3, 8, 2], [10, 0, 1, 1, 5, 3, 10]),
    "one token": ([1, 1, 1], [1, 1, 1]),
    "full length": ([8, 8], [10, 10]),
    "one row": ([5], [4]),
}


def clips(seconds: list[int], words: list[int], seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Features, mask, ids, mask of so many seconds and words, to full length; what stands in the padding is large."""
    torch.manual_seed(seed)
    mask = torch.arange(8) < torch.tensor(seconds)[:, None]
    text_mask = torch.arange(12) < torch.tensor(words)[:, None] + 2
    features = torch.randn(len(mask), 8, 6) * torch.where(mask, 1, 1e3)[..., None]
    return features, mask, torch.randint(5, 50, text_mask.shape), text_mask


def both(**more) -> tuple[VideoCLIP, VideoCLIP]:
    """A model and its padded twin."""
    torch.manual_seed(1)
    config = ModelConfig(**SIZES | {"dropout": 0.0} | more)
    packed, padded = VideoCLIP(config), VideoCLIP(config, packed=False)
    padded.load_state_dict(packed.state_dict())
    return packed, padded


def outcome(model: VideoCLIP, batch: tuple, hide_cls: bool = False) -> dict[str, torch.Tensor]:
    """Vectors, states where they are real, and the gradient of something that sees all of them."""
    features, mask, ids, text_mask = batch
    video, text = model.encode_video(features, mask, hide_cls), model.encode_text(ids, text_mask)
    found = {"video": video.pooled, "text": text.pooled, "seconds": video.states[video.mask]}
    found["words"] = text.states[text.mask]
    sum((x.sin() * torch.arange(x.numel()).view(x.shape).cos()).sum() for x in found.values()).backward()
    return found | {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def assert_close(ours: dict, theirs: dict, within: float = 1e-5) -> None:
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        if not name.endswith("key.bias"):  # its gradient is zero but for rounding
            assert (ours[name] - value).abs().max() <= within * value.abs().max(), name


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("hide_cls", [False, True])
@pytest.mark.parametrize("more", [
    {}, {"pooling": "cls"}, {"shared": True, "cls_id": 2, "sep_id": 3}, {"projection": 12, "unit_length": True},
], ids=["mean", "cls", "shared", "projection"])  # fmt: skip
def test_without_padding_values_and_gradients_are_those_of_the_padded_path(more, hide_cls, lengths):
    packed, padded = both(**more)
    assert_close(outcome(packed, clips(*lengths), hide_cls), outcome(padded, clips(*lengths), hide_cls))


def test_holes_in_a_mask_keep_the_places_of_what_follows():
    packed, padded = both()
    features, mask, ids, text_mask = clips(*LENGTHS["mixed, one empty"])
    mask[0, 3], text_mask[0, 4] = False, False
    batch = features, mask, ids, text_mask
    found = outcome(packed, batch)
    assert_close(found, outcome(padded, batch))
    shifted = packed.encode_video(features[:1, [0, 1, 2, 4, 5, 6, 7]], torch.ones(1, 7, dtype=torch.bool)).pooled
    assert not torch.allclose(found["video"][:1], shifted, atol=1e-3), "seconds that move up are another clip"


def test_places_are_those_of_the_padded_batch_not_of_the_packed_rows(monkeypatch):
    """With packed rows numbered through, or from 0 in each sentence without the SEP's own place, this fails."""
    packed, _ = both()
    features, mask, ids, text_mask = clips(*LENGTHS["mixed, one empty"])
    seen = []
    for bert in (packed.video_bert, packed.text_bert):
        bert.embeddings.register_forward_pre_hook(lambda _, given: seen.append(given[1].tolist()))
    packed(features, mask, ids, text_mask)
    seconds = [0, 9, 0, 1, 9, 0, 1, 2, 9, 0, 1, 2, 3, 9, 0, 1, 2, 3, 9, *range(10), *range(10)]
    assert seen[0] == seconds, "sorted by length, SEP at max_video_tokens + 1"
    assert seen[1] == [i for n in sorted(LENGTHS["mixed, one empty"][1]) for i in range(n + 2)]


def test_a_batch_in_parts_has_the_padded_gradient_of_the_whole():
    packed, padded = both()
    batch = clips([8, 0, 1, 3, 3, 8], [10, 2, 1, 1, 5, 3])
    for model, micro in ((packed, 2), (padded, 0)):
        Learner(model, TrainConfig(micro_batch=micro, warmup=0, clip_norm=1e9), 1).update(batch)
    grads = [{name: p.grad for name, p in model.named_parameters() if p.grad is not None} for model in (packed, padded)]
    assert_close(*grads)


def test_dropout_repeats_with_the_seed_and_draws_nothing_for_padding():
    model, _ = both(dropout=0.3)
    features, mask, ids, text_mask = clips([3, 2], [4, 4])
    pooled = []
    for wide in (8, 3, 3):
        torch.manual_seed(5)
        video = model.encode_video(features[:, :wide], mask[:, :wide]).pooled
        pooled.append((video, model.encode_text(ids[:, : wide + 3], text_mask[:, : wide + 3]).pooled))
    for other in pooled[1:]:
        assert all(torch.equal(a, b) for a, b in zip(pooled[0], other, strict=True))
    assert not torch.equal(model.encode_text(ids, text_mask).pooled, pooled[0][1])


@pytest.mark.parametrize("hide_cls", [False, True])
def test_the_kernel_for_sentences_of_any_length_is_given_their_borders(monkeypatch, hide_cls):
    """CUDA's kernel, played by a loop: queries and keys of each sentence between its borders, CLS hidden or not."""
    torch.manual_seed(0)
    real = torch.arange(6) < torch.tensor([6, 2, 4, 4])[:, None]
    query, key, value = (torch.randn(4, 6, 2, 8) for _ in range(3))
    packed, padded = Packed(real, hide_cls), Padded(real, hide_cls)

    def kernel(q, k, v, q_start, k_start, longest, longest_key):
        parts = [x.tensor_split(at[1:-1].long()) for x, at in ((q, q_start), (k, k_start), (v, k_start))]
        assert max(map(len, parts[0])) == longest and max(map(len, parts[1])) == longest_key
        return torch.cat([_attend(*(x[None] for x in part))[0] for part in zip(*parts, strict=True)])

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", kernel)
    at_once = packed._attend_at_once(*(packed.rows(x) for x in (query, key, value)))
    blocks = packed.attend(*(packed.rows(x) for x in (query, key, value)), 0.0)
    torch.testing.assert_close(at_once, blocks)
    torch.testing.assert_close(packed.padded(at_once)[real], padded.attend(query, key, value, 0.0)[real])


def _attend(q, k, v):
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return ((q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v).transpose(1, 2)


# --------------------------------------------------------------------------------------------------- transformers


@pytest.fixture(scope="module")
def theirs():
    """transformers' BertModel of the sizes above, drawn from seed 7."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(7)
    config = BertConfig(vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64)
    return BertModel(config, add_pooling_layer=False), torch.rand(3)


def test_names_start_and_numbers_are_those_of_transformers(theirs):
    bert, after = theirs
    torch.manual_seed(7)
    ours = Bert(ModelConfig(**SIZES), 2, 50)
    assert torch.equal(torch.rand(3), after), "as many draws"
    state = bert.state_dict()
    assert list(ours.state_dict()) == list(state)
    assert all(torch.equal(value, state[name]) for name, value in ours.state_dict().items())
    _, _, ids, mask = clips(*LENGTHS["mixed, one empty"])
    place = torch.arange(12).expand(ids.shape)
    for layout in (Packed(mask), Padded(mask)):
        words = ours.embeddings.word_embeddings(layout.rows(ids))
        found = layout.padded(ours.eval()(words, layout.rows(place), layout))
        expected = bert.eval()(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        torch.testing.assert_close(found[mask], expected[mask], atol=1e-6, rtol=1e-6)


def test_dropout_stands_where_transformers_has_it(theirs, monkeypatch):
    """The padded path with torch's own draws: what transformers drops, we drop."""
    monkeypatch.setattr("vcwork.core.bert.dropout", torch.nn.functional.dropout)
    bert = copy.deepcopy(theirs[0]).train()
    ours = Bert(ModelConfig(**SIZES | {"dropout": 0.1}), 2, 50)
    ours.load_state_dict(bert.state_dict())
    _, _, ids, mask = clips([8, 8], [10, 10])
    torch.manual_seed(3)
    expected = bert(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    torch.manual_seed(3)
    found = ours(ours.embeddings.word_embeddings(ids), torch.arange(12).expand(ids.shape), Padded(mask))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_dropout_keeps_its_share_and_the_mean():
    torch.manual_seed(0)
    x = torch.full((400, 1001), 2.0, requires_grad=True)
    found = dropout(x, 0.1)
    found.sum().backward()
    kept = found != 0
    assert abs(float(kept.float().mean()) - 0.9) < 0.002 and abs(float(found.mean()) - 2) < 0.005
    torch.testing.assert_close(x.grad, kept * (1 / (1 - 6554 / 65536)))  # 0.1 in steps of 1 / 65,536
    assert dropout(x, 0.1, training=False) is x and dropout(x, 0.0) is x
    neighbours = kept[:, :-1].float().mean() ** 2, (kept[:, :-1] & kept[:, 1:]).float().mean()  # draws of one number
    assert abs(float(neighbours[0] - neighbours[1])) < 0.002


@pytest.mark.parametrize("hide_cls", [False, True])
def test_attention_with_dropout_is_torchs_but_for_the_draws(monkeypatch, hide_cls):
    """In both layouts, with lengths of several buckets."""
    torch.manual_seed(0)
    real = torch.arange(40) < torch.tensor([2, 40, 16, 33, 17, 16])[:, None]
    query, key, value = (torch.randn(6, 40, 2, 8) for _ in range(3))
    keys = torch.cat([real[:, :1] & (not hide_cls), real[:, 1:]], 1)[:, None, None]
    heads = (x.transpose(1, 2) for x in (query, key, value))
    expected = torch.nn.functional.scaled_dot_product_attention(*heads, keys).transpose(1, 2)[real]
    monkeypatch.setattr("vcwork.core.bert.dropout", lambda x, drop: x)
    packed, padded = Packed(real, hide_cls), Padded(real, hide_cls)
    assert len(packed.buckets) > 2
    for drop in (0.0, 0.1):
        found = packed.padded(packed.attend(*map(packed.rows, (query, key, value)), drop))
        torch.testing.assert_close(found[real], expected)
        torch.testing.assert_close(padded.attend(query, key, value, drop)[real], expected)


@pytest.mark.parametrize("layout", [Packed, Padded])
def test_a_sentence_of_one_hidden_token_sees_nothing(layout):
    one = layout(torch.arange(3) < torch.tensor([1, 3])[:, None], hide_cls=True)
    for drop in (0.0, 0.1):
        query, key, value = (torch.randn(2, 3, 2, 8, requires_grad=True) for _ in range(3))
        seen = one.padded(one.attend(*map(one.rows, (query, key, value)), drop))
        seen.sum().backward()
        assert not seen[0, 0].any() and seen[1].any()
        assert all(x.grad.isfinite().all() for x in (query, key, value))


# ------------------------------------------------------------------------------------------------- linear layers


@pytest.mark.parametrize("rows", [(0,), (1,), (7, 3)])
def test_linear_layers_by_onednn_are_torchs(monkeypatch, rows):
    """Whichever library multiplies, here both: values and gradients, no rows, one, and padded ones."""
    torch.manual_seed(0)
    x, mix = torch.randn(*rows, 48), torch.randn(*rows, 20)
    found = []
    for by_onednn in (True, False):
        monkeypatch.setattr(layers, "_by_onednn", lambda by_onednn=by_onednn: by_onednn)
        torch.manual_seed(1)
        linear, leaf = layers.Linear(48, 20), x.clone().requires_grad_()
        out = linear(leaf)
        (out * mix).sum().backward()
        found.append((out.detach(), leaf.grad, linear.weight.grad, linear.bias.grad))
        assert linear.double()(x.double()).dtype == torch.float64
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_in_bf16_and_in_inference_linear_layers_answer_too():
    layer, x = layers.Linear(8, 8), torch.randn(3, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    with torch.inference_mode():
        torch.testing.assert_close(layer(x), torch.nn.functional.linear(x, layer.weight, layer.bias))
