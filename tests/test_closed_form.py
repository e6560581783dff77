"""The closed-form start: linear through the MLP, ranks its training pairs, knows order only inside a video."""

import numpy as np
import pytest
import torch
from checks import refused

from vcwork.core.batches import PairData, draw_pairs
from vcwork.core.config import ModelConfig, OverlapConfig, TrainConfig
from vcwork.core.model import VideoCLIP
from vcwork.core.sampling import Track
from vcwork.core.text import Tokenizer
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


def started(layers: int = 0, seed: int = 0, shuffle: bool = False):
    data, tokenizer, sentences, directions = world()
    model = VideoCLIP(ModelConfig(
        feature_dim=24, vocab_size=len(tokenizer), hidden=64, heads=2, ffn=64, video_layers=layers, text_layers=layers,
        input_transform="sqrt",
    ))  # fmt: skip
    fit_input(model, torch.from_numpy(np.concatenate(data.features)))
    config = CONFIG.model_copy(update={"seed": seed, "shuffle_captions": shuffle})
    start_from_captions(model, tokenizer, data, config)
    return model.eval(), data, tokenizer, sentences, directions


def lone_scores(model, tokenizer, frames: np.ndarray, sentences: list[str]) -> np.ndarray:
    with torch.no_grad():
        video = model.encode_video(torch.from_numpy(frames)[:, None], torch.ones(len(frames), 1)).pooled
        return (model.encode_text(*tokenizer.encode(sentences, 61)).pooled @ video.T).numpy()


@pytest.mark.parametrize("seed", [0, 1])
def test_ranks_its_training_pairs_far_above_chance(seed: int) -> None:
    model, data, tokenizer, sentences, _ = started(seed=seed)
    scores = lone_scores(model, tokenizer, np.concatenate(data.features), sentences)
    things = np.array([s.split()[1] for s in sentences])
    assert (things[scores.argmax(1)] == things).mean() > 0.9, "chance is a tenth"


def test_shuffled_captions_are_shuffled_for_the_start_too() -> None:
    model, data, tokenizer, sentences, _ = started(shuffle=True)
    scores = lone_scores(model, tokenizer, np.concatenate(data.features), sentences)
    things = np.array([s.split()[1] for s in sentences])
    assert (things[scores.argmax(1)] == things).mean() < 0.4


def test_order_is_known_inside_a_video_and_not_from_a_lone_frame() -> None:
    model, _, tokenizer, _, directions = started()
    same = torch.from_numpy(directions[:1]).expand(3, -1)[None]
    with torch.no_grad():
        states = model.encode_video(same, torch.ones(1, 3)).states[0]
        text = model.encode_text(*tokenizer.encode([f"{w} {THINGS[0]}" for w in WHEN], 61)).pooled
    assert (text @ states.T).argmax(1).tolist() == [0, 1, 2], "three equal frames, told apart by their place"
    assert not model.video_bert.embeddings.position_embeddings.weight[1].any(), "a lone frame sits at place 1"


def test_a_linear_map_passes_the_mlp() -> None:
    mlp = started()[0].video_mlp
    x = torch.randn(5, 24)
    hidden = torch.nn.functional.gelu(mlp.linear1(x))
    k = int(mlp.linear1.weight.any(1).sum()) // 2
    torch.testing.assert_close(hidden[:, :k] - hidden[:, k : 2 * k], mlp.linear1(x)[:, :k])


def test_a_model_with_layers_is_refused() -> None:
    refused("no layers", started, layers=1)


def test_each_gives_every_caption_once() -> None:
    data = world(5)[0]
    pairs = draw_pairs(data, np.array([3, 1]), CONFIG, np.random.default_rng(0))
    found = [(p.video_id, p.first, p.video_start, p.video_end) for p in pairs]
    assert found == [(v, i, i, i + 1) for v in ("v3", "v1") for i in range(3)]
    assert len(draw_pairs(data, np.array([0]), CONFIG, np.random.default_rng(0), clips=4)) == 4


def test_input_transform_leaves_other_models_as_they_were() -> None:
    plain = VideoCLIP(ModelConfig(feature_dim=4, vocab_size=9, hidden=8, heads=1, video_layers=0, text_layers=0))
    assert not [name for name in plain.state_dict() if name.startswith("input")]
    model = started()[0]
    rows = torch.from_numpy(np.concatenate(world()[0].features))
    seen = model.transform(rows)
    assert float(seen.mean().abs()) < 1e-4 and abs(float(seen.std()) - 1) < 1e-2
