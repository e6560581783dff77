"""The closed-form start on a BERT grown wider: ranks its training pairs, knows order only inside a video."""

import json

import numpy as np
import pytest
import torch
from checks import refused
from safetensors.torch import save_file

from vcwork.core.batches import PairData, draw_pairs
from vcwork.core.bert import Bert
from vcwork.core.config import ModelConfig, OverlapConfig, TrainConfig
from vcwork.core.model import VideoCLIP
from vcwork.core.sampling import Track
from vcwork.core.text import Tokenizer
from vcwork.encoders.from_bert import start_from_bert
from vcwork.training.closed_form import start_from_captions
from vcwork.training.run import fit_input

THINGS, WHEN = [f"thing{'abcdefghij'[i]}" for i in range(10)], ["first", "then", "lastly"]
CONFIG = TrainConfig(start="closed form", pairs=OverlapConfig(rule="each"))


def world(videos: int = 60) -> tuple[PairData, Tokenizer, list[str], np.ndarray]:
    """Three seconds a video; each shows a thing (a noisy direction), its sentence names the thing and the place."""
    rng, sentences, features = np.random.default_rng(0), [], []
    directions = rng.random((10, 24)) * 4
    for _ in range(videos):
        shown = rng.permutation(10)[:3]
        sentences += [f"{WHEN[i]} {THINGS[t]}" for i, t in enumerate(shown)]
        features.append((directions[shown] + rng.random((3, 24))).astype(np.float32))
    tokenizer = Tokenizer.train(sentences)
    rows, at = tokenizer.tokens(sentences), np.arange(3.0)
    tracks = [Track(f"v{v}", at, at + 1, tuple(map(tuple, rows[3 * v : 3 * v + 3])), 3) for v in range(videos)]
    return PairData(tracks, features), tokenizer, sentences, directions.astype(np.float32)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A BERT of width 16 with random weights, its vocabulary the world's."""
    folder, tokenizer = tmp_path_factory.mktemp("bert"), world()[1]
    torch.manual_seed(0)
    small = Bert(ModelConfig(hidden=16, heads=2, ffn=32, text_layers=2), 2, len(tokenizer))
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "num_hidden_layers": 2}
    (folder / "config.json").write_text(json.dumps(sizes | {"vocab_size": len(tokenizer)}))
    save_file(small.state_dict(), folder / "model.safetensors")
    tokenizer.save(folder)
    return folder


def started(bert, layers: int = 0, seed: int = 0, shuffle: bool = False, hidden: int = 64):
    data, tokenizer, sentences, directions = world()
    model = VideoCLIP(ModelConfig(
        feature_dim=24, vocab_size=len(tokenizer), hidden=hidden, heads=hidden // 8, ffn=32, video_layers=layers,
        text_layers=2, input_transform="sqrt",
    ))  # fmt: skip
    fit_input(model, torch.from_numpy(np.concatenate(data.features)))
    start_from_bert(model, bert, tokenizer)
    config = CONFIG.model_copy(update={"seed": seed, "shuffle_captions": shuffle})
    start_from_captions(model, tokenizer, data, config)
    return model.eval(), data, tokenizer, sentences, directions


def lone_scores(model, tokenizer, frames: np.ndarray, sentences: list[str]) -> np.ndarray:
    with torch.no_grad():
        video = model.encode_video(torch.from_numpy(frames)[:, None], torch.ones(len(frames), 1)).pooled
        return (model.encode_text(*tokenizer.encode(sentences, 61)).pooled @ video.T).numpy()


@pytest.mark.parametrize("seed", [0, 1])
def test_ranks_its_training_pairs_far_above_chance(bert, seed: int) -> None:
    model, data, tokenizer, sentences, _ = started(bert, seed=seed)
    scores = lone_scores(model, tokenizer, np.concatenate(data.features), sentences)
    things = np.array([s.split()[1] for s in sentences])
    assert (things[scores.argmax(1)] == things).mean() > 0.9, "chance is a tenth"


def test_shuffled_captions_are_shuffled_for_the_start_too(bert) -> None:
    model, data, tokenizer, sentences, _ = started(bert, shuffle=True)
    scores = lone_scores(model, tokenizer, np.concatenate(data.features), sentences)
    things = np.array([s.split()[1] for s in sentences])
    assert (things[scores.argmax(1)] == things).mean() < 0.4


def test_order_is_known_inside_a_video_and_not_from_a_lone_frame(bert) -> None:
    model, _, tokenizer, _, directions = started(bert)
    same = torch.from_numpy(directions[:1]).expand(3, -1)[None]
    with torch.no_grad():
        states = model.encode_video(same, torch.ones(1, 3)).states[0]
        text = model.encode_text(*tokenizer.encode([f"{w} {THINGS[0]}" for w in WHEN], 61)).pooled
    assert (text @ states.T).argmax(1).tolist() == [0, 1, 2], "three equal frames, told apart by their place"
    assert not model.video_bert.embeddings.position_embeddings.weight[1].any(), "a lone frame sits at place 1"


def test_a_linear_map_passes_the_mlp(bert) -> None:
    mlp = started(bert)[0].video_mlp
    x = torch.randn(5, 24)
    hidden = torch.nn.functional.gelu(mlp.linear1(x))
    k = int(mlp.linear1.weight.any(1).sum()) // 2
    torch.testing.assert_close(hidden[:, :k] - hidden[:, k : 2 * k], mlp.linear1(x)[:, :k])


def test_a_model_without_new_columns_or_with_video_layers_is_refused(bert) -> None:
    refused("0 new columns", started, bert, hidden=16)
    refused("no video layers", started, bert, layers=1)


def test_a_grown_bert_says_nearly_what_it_said(bert) -> None:
    """Only the mean that a norm takes away differs; with as many columns as before nothing does."""
    found = {}
    for hidden in (16, 64):
        model, (_, tokenizer, sentences, _) = VideoCLIP(ModelConfig(
            feature_dim=24, vocab_size=len(world()[1]), hidden=hidden, heads=hidden // 8, ffn=32, video_layers=0,
            text_layers=2,
        )).eval(), world()  # fmt: skip
        start_from_bert(model, bert, tokenizer)
        with torch.no_grad():
            found[hidden] = model.encode_text(*tokenizer.encode(sentences, 61)).pooled  # (N, D)
    small, grown = found.values()
    assert not grown[:, 16:].any() and torch.cosine_similarity(small, grown[:, :16]).min() > 0.9
    told = small - small.mean(0), grown[:, :16] - grown[:, :16].mean(0)
    assert torch.cosine_similarity(*told).mean() > 0.9


def test_each_gives_every_caption_once() -> None:
    data = world(5)[0]
    pairs = draw_pairs(data, np.array([3, 1]), CONFIG, np.random.default_rng(0))
    found = [(p.video_id, p.first, p.video_start, p.video_end) for p in pairs]
    assert found == [(v, i, i, i + 1) for v in ("v3", "v1") for i in range(3)]
    assert len(draw_pairs(data, np.array([0]), CONFIG, np.random.default_rng(0), clips=4)) == 4


def test_input_transform_leaves_other_models_as_they_were(bert) -> None:
    plain = VideoCLIP(ModelConfig(feature_dim=4, vocab_size=9, hidden=8, heads=1, video_layers=0, text_layers=0))
    assert not [name for name in plain.state_dict() if name.startswith("input")]
    model = started(bert)[0]
    rows = torch.from_numpy(np.concatenate(world()[0].features))
    seen = model.transform(rows)
    assert float(seen.mean().abs()) < 1e-4 and abs(float(seen.std()) - 1) < 1e-2
