"""Training: learns a learnable toy, resumes to the same weights, stays at chance with shuffled captions."""

import hashlib

import numpy as np
import pytest
import torch
from checks import refused
from safetensors.torch import save

from vcwork.core.batches import PairData, video_vectors
from vcwork.core.config import ClusterConfig, ModelConfig, OverlapConfig, TrainConfig
from vcwork.core.loop import pretrain, updates
from vcwork.core.model import VideoCLIP
from vcwork.core.sampling import Track
from vcwork.core.step import make_optimizer
from vcwork.core.text import SPECIAL, Tokenizer
from vcwork.training.kept import KeptRun
from vcwork.training.pairs import control

WORDS = [f"w{i}" for i in range(12)]
CONFIG = TrainConfig(
    epochs=3,
    passes_per_epoch=10,
    lr=3e-3,
    warmup=5,
    pairs=OverlapConfig(min_text_tokens=1, max_text_tokens=2, min_video_s=2, max_video_s=3),
    clusters=ClusterConfig(videos_per_batch=4, clips_per_video=4, clips_for_vector=2),
)


def toy(n_videos: int = 12) -> tuple[PairData, Tokenizer]:
    """Videos of one theme each: feature dimension i for theme i, and the word of that theme."""
    tokenizer = Tokenizer([*SPECIAL, *WORDS])
    rng, tracks, features = np.random.default_rng(0), [], []
    for v in range(n_videos):
        starts = np.arange(6) * 2.0
        tracks.append(Track(f"v{v}", starts, starts + 2, tuple(((5 + v),) * 2 for _ in starts), 12))
        features.append((np.eye(12)[v] * 3 + rng.normal(size=(12, 12)) * 0.3).astype(np.float32))
    return PairData(tracks, features), tokenizer


def new_model(seed: int = 0, **more: float) -> VideoCLIP:
    torch.manual_seed(seed)
    sizes = {"hidden": 32, "heads": 2, "ffn": 64, "video_layers": 1, "text_layers": 1}
    return VideoCLIP(ModelConfig(feature_dim=12, vocab_size=17, **sizes, **more))


def digest(model: VideoCLIP) -> str:
    return hashlib.sha256(save(model.state_dict())).hexdigest()


def run(config: TrainConfig = CONFIG, folder=None, stop: int | None = None) -> tuple[VideoCLIP, list]:
    data, tokenizer = toy()
    model, records = new_model(), []
    for record in pretrain(model, tokenizer, control(data, config), config, folder and KeptRun(folder)):
        records.append(record)
        if stop is not None and len(records) == stop:
            break
    return model, records


def accuracy(model: VideoCLIP) -> float:
    data, _ = toy()
    features = torch.from_numpy(np.stack(data.features))[:, :3]
    ids = torch.tensor([[2, 5 + v, 5 + v, 3] for v in range(12)])
    with torch.no_grad():
        video = model.eval().encode_video(features, torch.ones(12, 3, dtype=torch.bool)).pooled
        text = model.encode_text(ids, torch.ones_like(ids, dtype=torch.bool)).pooled
    return (text @ video.T).argmax(1).eq(torch.arange(12)).float().mean().item()


def test_learns_what_can_be_learned_and_repeats_itself():
    model, records = run()
    again, _ = run()
    assert len(records) == updates(toy()[0], CONFIG) == 90
    assert records[0].lr == 0 and records[5].lr == CONFIG.lr, "five updates of warm-up, the first with rate 0"
    assert not records[0].retrieved and records[-1].retrieved, "retrieval begins at epoch 1"
    assert accuracy(model) >= 0.9
    assert digest(model) == digest(again), "same seed, same weights"


def test_shuffled_captions_teach_nothing_true():
    model, _ = run(CONFIG.model_copy(update={"shuffle_captions": True}))
    assert accuracy(model) <= 0.2


def test_interrupted_and_resumed_equals_uninterrupted(tmp_path):
    whole, _ = run(folder=tmp_path / "whole")
    run(folder=tmp_path / "cut", stop=40)  # in the middle of the second epoch
    resumed, records = run(folder=tmp_path / "cut")
    assert records[0].step == 30, "the broken epoch is done again"
    assert digest(resumed) == digest(whole)
    logs = [(tmp_path / name / "log.jsonl").read_text() for name in ("whole", "cut")]
    assert logs[0] == logs[1]


def test_another_configuration_is_refused(tmp_path):
    run(folder=tmp_path, stop=31)
    refused("another configuration", run, CONFIG.model_copy(update={"lr": 1e-4}), folder=tmp_path)


def test_video_vectors_do_not_disturb_training():
    data, tokenizer = toy()
    model = new_model().train()
    vectors = video_vectors(model, tokenizer, data, CONFIG, epoch=0)
    assert vectors.shape == (12, 32) and model.training
    np.testing.assert_array_equal(vectors, video_vectors(model, tokenizer, data, CONFIG, epoch=0))


def test_bad_features_stop_with_a_reason():
    data, tokenizer = toy()
    data.features[0][:] = np.nan
    refused("loss became nan", list, pretrain(new_model(), tokenizer, data, CONFIG.model_copy(update={"epochs": 1})))


def test_rates_and_their_variants():
    model = torch.nn.Linear(1, 1)

    def rates(n: int, **change) -> list[float]:
        config = TrainConfig(lr=1.0, warmup=4, **change)
        factor = make_optimizer(model, config, 10)[1].lr_lambdas[0]
        return [factor(i) for i in range(n)]

    assert rates(5) == [0, 0.25, 0.5, 0.75, 1.0], "the first update has rate 0, as in the reference code"
    assert rates(4, first_update="warm") == [0.25, 0.5, 0.75, 1.0]
    assert rates(11)[-1] == 0 and rates(11)[7] == pytest.approx(0.5)
    assert rates(11, decay_updates=1000)[-1] > 0.99, "practically constant, as in the reference code"
    assert rates(11, schedule="constant")[-1] == 1


def test_named_losses_train():
    digests = {
        digest(run(CONFIG.model_copy(update={"loss": loss, "epochs": 1}))[0]) for loss in ("reference", "t2v", "v2t")
    }
    assert len(digests) == 3
