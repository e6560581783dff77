"""Checkpoints: what is loaded is what was saved, and whatever is not whole is refused by name."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from vcwork.base.errors import VcworkError
from vcwork.base.files import sha256_file
from vcwork.core.config import ModelConfig
from vcwork.core.model import VideoCLIP
from vcwork.core.text import Tokenizer
from vcwork.data.store import Contract
from vcwork.encoders.checkpoint import save_encoder
from vcwork.encoders.encoder import Encoder, encode_text, encode_video
from vcwork.encoders.load import load_encoder

CONTRACT = Contract("toy", "none", 1.0, 8, "none", 6)


def _encoder(seed: int = 0) -> Encoder:
    torch.manual_seed(seed)
    tokenizer = Tokenizer.train(["chop the onion", "chop the onion"])
    sizes = {"hidden": 16, "heads": 2, "ffn": 32, "video_layers": 1, "text_layers": 1}
    model = VideoCLIP(ModelConfig(feature_dim=6, vocab_size=len(tokenizer), max_video_tokens=8, **sizes))
    return Encoder(model.eval(), tokenizer, CONTRACT, card={"epochs": 3})


@pytest.fixture
def folder(tmp_path):
    save_encoder(tmp_path / "checkpoint", _encoder())
    return tmp_path / "checkpoint"


def test_round_trip(tmp_path):
    saved = save_encoder(tmp_path / "a", _encoder())
    loaded = load_encoder(tmp_path / "a", CONTRACT)
    assert loaded.digest == saved.digest == sha256_file(tmp_path / "a" / "model.safetensors")
    assert (loaded.contract, loaded.card, loaded.window) == (CONTRACT, {"epochs": 3}, 8)
    assert loaded.model.config == saved.model.config and loaded.tokenizer.vocabulary == saved.tokenizer.vocabulary
    assert not loaded.model.training, "a loaded model evaluates"
    clips = [np.random.default_rng(0).normal(size=(5, 6))]
    assert np.array_equal(encode_video(loaded, clips), encode_video(saved, clips))
    assert np.array_equal(encode_text(loaded, ["chop"]), encode_text(saved, ["chop"]))


def test_same_weights_same_digest(tmp_path):
    digests = [save_encoder(tmp_path / str(i), _encoder(seed)).digest for i, seed in enumerate((0, 0, 1))]
    assert digests[0] == digests[1] != digests[2]


def test_saving_again_replaces(folder):
    other = save_encoder(folder, _encoder(1))
    assert load_encoder(folder).digest == other.digest
    assert sorted(p.name for p in folder.iterdir()) == ["checkpoint.json", "model.safetensors", "vocab.txt"]


def test_another_contract_is_refused_naming_both(folder):
    asked = dataclasses.replace(CONTRACT, fps=2.0)
    with pytest.raises(VcworkError, match=r"trained on features of .*fps=1.0.*asked to read features of .*fps=2.0"):
        load_encoder(folder, asked)
    assert load_encoder(folder).contract == CONTRACT, "without a contract to compare, the reader takes the risk"


def test_absent_or_unfinished_is_refused(folder, tmp_path):
    with pytest.raises(VcworkError, match=r"expected a finished checkpoint \(checkpoint.json\), found none; train one"):
        load_encoder(tmp_path / "nowhere")
    (folder / "checkpoint.json").unlink()
    with pytest.raises(VcworkError, match="found none"):
        load_encoder(folder)


def test_damaged_or_swapped_weights_are_refused(folder, tmp_path):
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    flipped = bytearray(whole)
    flipped[-5] ^= 1
    other = save_encoder(tmp_path / "other", _encoder(1))
    assert other.digest
    for bad in (bytes(flipped), whole[: len(whole) // 2], (tmp_path / "other" / "model.safetensors").read_bytes(), b""):
        weights.write_bytes(bad)
        with pytest.raises(VcworkError, match=r"model.safetensors: .*damaged or swapped"):
            load_encoder(folder)
    weights.unlink()
    with pytest.raises(VcworkError, match=r"model.safetensors"):
        load_encoder(folder)


def test_another_vocabulary_is_refused(folder):
    vocabulary = folder / "vocab.txt"
    pieces = vocabulary.read_text().splitlines()
    for others in ([*pieces, "extra"], [*pieces[:-2], pieces[-1], pieces[-2]]):
        vocabulary.write_text("\n".join(others) + "\n")
        with pytest.raises(VcworkError, match=r"vocab.txt: expected the \d+ pieces it was trained with, got \d+"):
            load_encoder(folder)
    vocabulary.unlink()
    with pytest.raises(VcworkError, match=r"vocab.txt: no such vocabulary file"):
        load_encoder(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "expected format 'vcwork-checkpoint-1', got 'other'"),
        ({"model": {"hidden": "wide"}}, "ModelConfig: .*hidden"),
        ({"contract": {"backbone": "toy"}}, "checkpoint.json: expected another structure"),
        ({"digest": None}, "damaged or swapped"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(folder, change, message):
    path = folder / "checkpoint.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(VcworkError, match=message):
        load_encoder(folder)


def test_weights_of_another_shape_are_refused(folder):
    path = folder / "checkpoint.json"
    card = json.loads(path.read_text())
    card["model"]["video_layers"] = 2
    path.write_text(json.dumps(card))
    with pytest.raises(VcworkError, match=r"model.safetensors: the weights do not fit the configuration"):
        load_encoder(folder)


def test_full_disk_leaves_the_old_checkpoint(folder, monkeypatch):
    before = load_encoder(folder).digest

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(VcworkError, match=r"could not be written \(No space left on device\)"):
        save_encoder(folder, _encoder(1))
    monkeypatch.undo()
    assert load_encoder(folder).digest == before
