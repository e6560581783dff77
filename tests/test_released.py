"""The released layout: every tensor accounted for, nothing run that a file brings, export gives the same back."""

import argparse
import dataclasses
import pickle
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import load_file

from vcwork.base.errors import VcworkError
from vcwork.core.config import ModelConfig
from vcwork.core.model import VideoCLIP
from vcwork.encoders.checkpoint import load_card, load_model
from vcwork.encoders.load import load_encoder
from vcwork.encoders.released import (
    PREFIX,
    export_released,
    import_released,
    read_released,
    released_name,
    unused_entries,
)


@pytest.fixture(scope="module")
def small(reference, tmp_path_factory):
    """The recorded weights as a release holds them: half precision, prefixed, beside argparse's Namespaces."""
    given = argparse.Namespace(arch="mmarch", task="mmtask", criterion="mmloss", taskconfig="how2.yaml")
    state = load_file(reference / "small_state.safetensors")
    path = tmp_path_factory.mktemp("released") / "small.pt"
    torch.save({
        "args": None, "cfg": {"_name": None, "common": {"fp16": True}, "model": given, "task": given},
        "model": OrderedDict((PREFIX + n, t.half() if t.is_floating_point() else t) for n, t in state.items()),
        "criterion": None, "optimizer_history": [{"num_updates": 3, "lr_scheduler_state": {"best": None}}],
        "task_state": {}, "extra_state": {"epoch": 1, "best": 0.5}, "last_optimizer_state": {},
    }, path)  # fmt: skip
    return path


@pytest.fixture
def ours(tmp_path):
    """A small file in the released layout, exported from an untrained model of ours."""
    from vcwork.data.store import S3D_FEATURES
    from vcwork.encoders.checkpoint import save_encoder
    from vcwork.encoders.encoder import Encoder

    torch.manual_seed(0)
    sizes = {"hidden": 16, "heads": 2, "ffn": 32, "video_layers": 1, "text_layers": 2}
    model = VideoCLIP(ModelConfig(feature_dim=6, vocab_size=120, **sizes)).eval()
    save_encoder(tmp_path / "trained", Encoder(model, None, S3D_FEATURES))
    export_released(tmp_path / "trained", tmp_path / "ours.pt")
    return tmp_path / "ours.pt"


def test_import_is_clean_and_export_gives_the_same_tensors(small, tmp_path):
    report = import_released(small, tmp_path / "in", heads=4)
    assert report.clean and len(report.mapped) + len(report.kept) == len(read_released(small))
    assert export_released(tmp_path / "in", tmp_path / "out.pt") == []
    there, back = read_released(small), read_released(tmp_path / "out.pt")
    assert list(there) == list(back)
    assert all(torch.equal(there[n], back[n]) and there[n].dtype == back[n].dtype for n in there)


def test_imported_weights_compute_what_the_reference_did(small, reference, tmp_path):
    """Half precision in the file, so the comparison is as loose as that."""
    import numpy as np

    vectors = np.load(reference / "small_encoders.npz", allow_pickle=False)
    import_released(small, tmp_path / "in", heads=4)
    model = load_model(tmp_path / "in")
    with torch.inference_mode():
        pooled = model.encode_video(*(torch.from_numpy(vectors[f"in_{n}"]) for n in ("vfeats", "vmasks"))).pooled
    theirs = torch.from_numpy(vectors["pooled_video"])
    assert (pooled - theirs).abs().max() < 5e-3 * theirs.abs().max()


def test_names_and_size_of_the_published_model():
    """308 parameters and 177,423,360 numbers, two id buffers beside them."""
    with torch.device("meta"):
        config = ModelConfig()
        state = {released_name(name): t for name, t in VideoCLIP(config).state_dict().items()}
        blank = {name: t for name, t in unused_entries(config).items() if not name.endswith("position_ids")}
    assert not state.keys() & blank.keys()
    unread_words = (config.vocab_size - 2) * config.hidden
    total = sum(t.numel() for t in [*state.values(), *blank.values()]) + unread_words
    assert (len(state) + len(blank), total) == (308, 177_423_360)


def test_round_trip_of_a_model_trained_here(ours, tmp_path):
    import_released(ours, tmp_path / "in", heads=2)
    before, after = (load_model(tmp_path / name).state_dict() for name in ("trained", "in"))
    assert all(torch.equal(before[name], after[name]) for name in before) and before.keys() == after.keys()


def test_export_says_what_it_made_up(ours, tmp_path):
    made_up = export_released(tmp_path / "trained", tmp_path / "again.pt")
    assert "text_encoder.pooler.dense.weight" in made_up
    assert "video_encoder.bert.embeddings.word_embeddings.weight" in made_up
    with pytest.raises(VcworkError, match="exists already"):
        export_released(tmp_path / "trained", tmp_path / "again.pt")


def _changed(path, change) -> None:
    whole = torch.load(path, weights_only=True)
    change(whole["model"])
    torch.save(whole, path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update({PREFIX + "surprise": torch.zeros(1)}), r"unexpected 1: surprise"),
        (lambda m: m.pop(PREFIX + "video_encoder.videomlp.linear2.bias"), r"missing 1: video_encoder.videomlp.linear2"),
        (
            lambda m: m.update({PREFIX + "video_encoder.videomlp.linear2.bias": torch.zeros(3)}),
            r"expected \(16,\), got",
        ),
    ],
)
def test_anything_unexpected_is_refused_and_nothing_written(ours, tmp_path, change, message):
    _changed(ours, change)
    with pytest.raises(VcworkError, match=message):
        import_released(ours, tmp_path / "in", heads=2)
    assert not (tmp_path / "in").exists()
    report = import_released(ours, tmp_path / "in", heads=2, strict=False)
    assert not report.clean and load_model(tmp_path / "in")


def test_a_task_head_is_known_and_kept(ours, tmp_path):
    head = torch.randn(779, 16)
    _changed(ours, lambda m: m.update({PREFIX + "video_encoder.classifier.weight": head}))
    report = import_released(ours, tmp_path / "in", heads=2)
    assert "video_encoder.classifier.weight" in report.kept
    export_released(tmp_path / "in", tmp_path / "out.pt")
    assert torch.equal(read_released(tmp_path / "out.pt")["video_encoder.classifier.weight"], head)


class _Runs:
    """Unpickled naively, this would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_code_in_a_checkpoint_never_runs(tmp_path):
    harmful = {"model": {"mmmodel.x": torch.zeros(1)}, "cfg": _Runs(tmp_path / "proof")}
    torch.save(harmful, tmp_path / "bad.pt")
    with pytest.raises(VcworkError, match="more than weights and plain settings"):
        read_released(tmp_path / "bad.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(harmful["cfg"]))
    with pytest.raises(VcworkError, match=r"plain\.pt"):
        read_released(tmp_path / "plain.pt")
    assert not (tmp_path / "proof").exists()


def test_settings_of_fairseq_are_plain_data(tmp_path, ours):
    whole = torch.load(ours, weights_only=True) | {"cfg": {"model": argparse.Namespace(a=1)}}
    torch.save(whole, ours)
    assert "text_encoder.embeddings.word_embeddings.weight" in read_released(ours)


def test_bad_files_are_named(tmp_path, ours):
    with pytest.raises(VcworkError, match="no such checkpoint"):
        read_released(tmp_path / "absent.pt")
    (tmp_path / "text.pt").write_text("not a checkpoint")
    with pytest.raises(VcworkError, match=r"text\.pt: "):
        read_released(tmp_path / "text.pt")
    torch.save({"model": {"a": 1}}, tmp_path / "other.pt")
    with pytest.raises(VcworkError, match="dict of tensors"):
        read_released(tmp_path / "other.pt")
    cut = ours.read_bytes()
    ours.write_bytes(cut[: len(cut) // 2])
    with pytest.raises(VcworkError, match=r"not readable as a checkpoint|refused"):
        read_released(ours)


def test_heads_must_be_said_and_vocabulary_must_fit(ours, tmp_path):
    with pytest.raises(VcworkError, match="give --heads"):
        import_released(ours, tmp_path / "in")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    with pytest.raises(VcworkError, match="expected 120 pieces"):
        import_released(ours, tmp_path / "in", tmp_path / "vocab.txt", heads=2)
    (tmp_path / "vocab.txt").write_text("\n".join([*words, *(f"w{i}" for i in range(115))]) + "\n")
    import_released(ours, tmp_path / "in", tmp_path / "vocab.txt", heads=2)
    assert len(load_encoder(tmp_path / "in").tokenizer) == 120


def test_contract_is_that_of_our_s3d(tmp_path, ours):
    """Features of S3D under its defaults open an imported checkpoint, if it was told the same weights."""
    from vcwork.data.backbones.s3d import S3DBackbone, untrained_state
    from vcwork.data.extract import contract_of
    from vcwork.data.store import S3D_FEATURES

    weights = tmp_path / "s3d.pth"
    torch.save(untrained_state(), weights)
    found = contract_of(S3DBackbone(weights))
    assert dataclasses.replace(found, weights="unknown") == S3D_FEATURES
    import_released(ours, tmp_path / "in", heads=2, s3d=weights)
    assert load_card(tmp_path / "in")["contract"]["weights"] == found.weights
