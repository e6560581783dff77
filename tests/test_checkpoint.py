"""Checkpoints, ours and the released layout: what is loaded is what was saved, and whatever is not whole is refused."""

import argparse
import dataclasses
from collections import OrderedDict

import made_benchmarks as made
import numpy as np
import pytest
import torch
from checks import edited, flip, full, refused
from safetensors.torch import load_file, save_file
from toys import toy_contract, toy_encoder

from vcwork.core.config import ModelConfig
from vcwork.core.model import VideoCLIP
from vcwork.core.text import Tokenizer
from vcwork.data.benchmarks.corpora import benchmark_corpus
from vcwork.data.store import S3D_FEATURES
from vcwork.encoders import released
from vcwork.encoders.checkpoint import CHECKPOINT, load_card, load_model, save_encoder
from vcwork.encoders.encoder import Encoder, encode_seconds, encode_text, encode_video
from vcwork.encoders.load import load_encoder
from vcwork.encoders.released import PREFIX
from vcwork.training.finetune_corpus import head_results

CONTRACT = toy_contract(6)


def _encoder(seed: int = 0) -> Encoder:
    made = toy_encoder(Tokenizer.train(["chop the onion", "chop the onion"]), 6, seed)
    return dataclasses.replace(made, card={"epochs": 3})


@pytest.fixture
def folder(tmp_path):
    save_encoder(tmp_path / "checkpoint", _encoder())
    return tmp_path / "checkpoint"


def test_round_trip(tmp_path):
    saved = save_encoder(tmp_path / "a", _encoder())
    loaded = load_encoder(tmp_path / "a", CONTRACT)
    assert loaded.digest == saved.digest == save_encoder(tmp_path / "b", _encoder()).digest
    assert (loaded.contract, loaded.card, loaded.window) == (CONTRACT, {"epochs": 3}, 8)
    assert loaded.model.config == saved.model.config and loaded.tokenizer.vocabulary == saved.tokenizer.vocabulary
    assert not loaded.model.training, "a loaded model evaluates"
    clips = [np.random.default_rng(0).normal(size=(5, 6))]
    assert np.array_equal(encode_video(loaded, clips), encode_video(saved, clips))
    assert np.array_equal(encode_text(loaded, ["chop"]), encode_text(saved, ["chop"]))


def test_same_weights_same_digest(tmp_path):
    digests = [save_encoder(tmp_path / str(i), _encoder(seed)).digest for i, seed in enumerate((0, 0, 1))]
    assert digests[0] == digests[1] != digests[2]


def test_a_checkpoint_is_never_written_over(folder):
    before = load_encoder(folder).digest
    refused(r"holds a checkpoint \(checkpoint\.json\); choose another folder", save_encoder, folder, _encoder(1))
    assert load_encoder(folder).digest == before
    assert sorted(p.name for p in folder.iterdir()) == ["checkpoint.json", "model.safetensors", "vocab.txt"]


def test_another_contract_is_refused_naming_both(folder):
    asked = dataclasses.replace(CONTRACT, fps=2.0)
    refused(r"trained on features of .*fps=1.0.*asked to read features of .*fps=2.0", load_encoder, folder, asked)
    assert load_encoder(folder).contract == CONTRACT, "without a contract to compare, the reader takes the risk"


def test_another_vocabulary_is_refused(folder):
    vocabulary = folder / "vocab.txt"
    pieces = vocabulary.read_text().splitlines()
    for others in ([*pieces, "extra"], [*pieces[:-2], pieces[-1], pieces[-2]]):
        vocabulary.write_text("\n".join(others) + "\n")
        refused(r"vocab.txt: missing, or not the file|vocab.txt: expected the \d+ pieces", load_encoder, folder)
        edited(folder, CHECKPOINT, lambda card: card["files"].pop("vocab.txt", None))
        refused(r"vocab.txt: expected the \d+ pieces it was trained with, got \d+", load_encoder, folder)
    vocabulary.unlink()
    refused(r"vocab.txt: no such vocabulary file", load_encoder, folder)


def test_a_card_of_no_model_is_refused(folder):
    edited(folder, CHECKPOINT, {"model": {"hidden": "wide"}})
    refused("ModelConfig: .*hidden", load_encoder, folder)


def test_who_an_encoder_is_follows_from_all_that_its_vectors_depend_on(folder):
    """Not from the weights alone: another number of heads or pooling, knowingly set and sealed, is another encoder."""
    first = load_encoder(folder).digest
    for change in ({"heads": 4}, {"pooling": "cls"}, {"unit_length": True}, {"max_video_tokens": 8}):
        edited(folder, CHECKPOINT, lambda card, change=change: card["model"].update(change))
        assert (load_encoder(folder).digest == first) == (change == {"max_video_tokens": 8})
        edited(folder, CHECKPOINT, lambda card: card["model"].update(heads=2, pooling="mean", unit_length=False))
    edited(folder, CHECKPOINT, {"card": {"epochs": 4}})
    assert load_encoder(folder).digest == first, "how it was trained is no part of who it is"


def test_weights_of_another_shape_are_refused(folder):
    edited(folder, CHECKPOINT, lambda card: card["model"].update(video_layers=2))
    refused(r"model.safetensors: the weights do not fit the configuration", load_encoder, folder)


def test_a_full_disk_leaves_a_folder_that_can_be_written_again(tmp_path, monkeypatch):
    folder = tmp_path / "new"
    monkeypatch.setattr("os.fsync", full)
    refused(r"could not be written \(No space left on device\)", save_encoder, folder, _encoder(1))
    monkeypatch.undo()
    refused("found none|incomplete", load_encoder, folder)
    assert load_encoder(folder, save_encoder(folder, _encoder(1)).contract)


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
    torch.manual_seed(0)
    sizes = {"hidden": 16, "heads": 2, "ffn": 32, "video_layers": 1, "text_layers": 2}
    model = VideoCLIP(ModelConfig(feature_dim=6, vocab_size=120, **sizes)).eval()
    save_encoder(tmp_path / "trained", Encoder(model, None, S3D_FEATURES))
    released.export_released(tmp_path / "trained", tmp_path / "ours.pt")
    return tmp_path / "ours.pt"


def test_import_is_clean_and_export_gives_the_same_tensors(small, tmp_path):
    report = released.import_released(small, tmp_path / "in", heads=4)
    assert report.clean and len(report.mapped) + len(report.kept) == len(released.read_released(small))
    assert released.export_released(tmp_path / "in", tmp_path / "out.pt") == []
    there, back = released.read_released(small), released.read_released(tmp_path / "out.pt")
    assert list(there) == list(back)
    assert all(torch.equal(there[n], back[n]) and there[n].dtype == back[n].dtype for n in there)


def test_imported_weights_compute_what_the_reference_did(small, reference, tmp_path):
    """Half precision in the file, so the comparison is as loose as that."""
    import numpy as np

    vectors = np.load(reference / "small_encoders.npz", allow_pickle=False)
    released.import_released(small, tmp_path / "in", heads=4)
    model = load_model(tmp_path / "in")
    with torch.inference_mode():
        pooled = model.encode_video(*(torch.from_numpy(vectors[f"in_{n}"]) for n in ("vfeats", "vmasks"))).pooled
    theirs = torch.from_numpy(vectors["pooled_video"])
    assert (pooled - theirs).abs().max() < 5e-3 * theirs.abs().max()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(ours, tmp_path, value):
    _changed(ours, lambda m: m[PREFIX + "video_encoder.videomlp.linear2.bias"].fill_(value))
    named = "NaN or infinity 1: video_encoder.videomlp.linear2.bias"
    refused(named, released.import_released, ours, tmp_path / "in", heads=2)
    report = released.import_released(ours, tmp_path / "in", heads=2, strict=False)
    assert report.broken == ["video_encoder.videomlp.linear2.bias"] and not report.clean
    assert all(t.isfinite().all() for t in load_model(tmp_path / "in").state_dict().values()), "its start is kept"


def test_an_import_that_broke_off_can_be_repeated(ours, tmp_path, monkeypatch):
    for fails in range(4):  # at each of the files in turn
        left = iter(range(fails))

        def full_by_then(handle, left=left):
            if next(left, None) is None:
                full()

        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", full_by_then)
            refused("could not be written", released.import_released, ours, tmp_path / "in", heads=2)
        refused("incomplete checkpoint", load_model, tmp_path / "in")
    assert released.import_released(ours, tmp_path / "in", heads=2).clean and load_model(tmp_path / "in")
    refused("holds a checkpoint", released.import_released, ours, tmp_path / "in", heads=2)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "thesis.tex").write_text("mine")
    refused("it holds thesis.tex", released.import_released, ours, tmp_path / "own", heads=2)


def test_a_full_disk_is_told_in_our_words_and_leaves_nothing(ours, tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", full)
    told = r"out.pt: could not be written \(No space"
    refused(told, released.export_released, tmp_path / "trained", tmp_path / "out.pt")
    assert not [*tmp_path.glob("*out.pt*")]


def test_names_and_size_of_the_published_model():
    """308 parameters and 177,423,360 numbers, two id buffers beside them."""
    with torch.device("meta"):
        config = ModelConfig()
        state = {released.released_name(name): t for name, t in VideoCLIP(config).state_dict().items()}
        blank = {name: t for name, t in released.unused_entries(config).items() if not name.endswith("position_ids")}
    assert not state.keys() & blank.keys()
    unread_words = (config.vocab_size - 2) * config.hidden
    total = sum(t.numel() for t in [*state.values(), *blank.values()]) + unread_words
    assert (len(state) + len(blank), total) == (308, 177_423_360)


def test_round_trip_of_a_model_trained_here(ours, tmp_path):
    released.import_released(ours, tmp_path / "in", heads=2)
    before, after = (load_model(tmp_path / name).state_dict() for name in ("trained", "in"))
    assert all(torch.equal(before[name], after[name]) for name in before) and before.keys() == after.keys()


def test_export_says_what_it_made_up(ours, tmp_path):
    made_up = released.export_released(tmp_path / "trained", tmp_path / "again.pt")
    assert "text_encoder.pooler.dense.weight" in made_up
    assert "video_encoder.bert.embeddings.word_embeddings.weight" in made_up
    refused("exists already", released.export_released, tmp_path / "trained", tmp_path / "again.pt")


def _changed(path, change) -> None:
    whole = torch.load(path, weights_only=True)
    change(whole["model"])
    torch.save(whole, path)


@pytest.mark.parametrize("change, message", [
    (lambda m: m.update({PREFIX + "surprise": torch.zeros(1)}), r"unexpected 1: surprise"),
    (lambda m: m.pop(PREFIX + "video_encoder.videomlp.linear2.bias"), r"missing 1: video_encoder.videomlp.linear2"),
    (lambda m: m.update({PREFIX + "video_encoder.videomlp.linear2.bias": torch.zeros(3)}), r"expected \(16,\), got"),
])  # fmt: skip
def test_anything_unexpected_is_refused_and_nothing_written(ours, tmp_path, change, message):
    _changed(ours, change)
    refused(message, released.import_released, ours, tmp_path / "in", heads=2)
    assert not (tmp_path / "in").exists()
    report = released.import_released(ours, tmp_path / "in", heads=2, strict=False)
    assert not report.clean and load_model(tmp_path / "in")


PARTS = {
    "a placeholder of ZeRO-3": (
        lambda t: torch.empty(0),
        r"linear2.bias: expected a dense tensor, got shape \(0,\) .em",
    ),
    "sparse": (lambda t: t.to_sparse(), r"linear2.bias: expected a dense tensor, got shape \(16,\) \(sparse\)"),
    "meta": (lambda t: t.to("meta"), r"linear2.bias: expected a dense tensor, got shape \(16,\) \(meta\)"),
    "quantized": (lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8), r"got shape \(16,\) \(quantized\)"),
    "whole numbers": (
        lambda t: t.to(torch.int8),
        "not in floating point, or with NaN or infinity 1: video_encoder.vid",
    ),
}


@pytest.mark.filterwarnings("ignore")  # torch's, on sparse and quantized tensors
@pytest.mark.parametrize("kind", PARTS)
def test_weights_kept_in_parts_are_refused_with_what_to_do(ours, tmp_path, kind):
    part, told = PARTS[kind]
    name = PREFIX + "video_encoder.videomlp.linear2.bias"
    _changed(ours, lambda m: m.update({name: part(m[name])}))
    refused(told, released.import_released, ours, tmp_path / "in", heads=2)


def test_flattened_weights_are_refused_with_what_to_do(ours, tmp_path):
    """As FSDP keeps them, a row of numbers for each matrix."""
    _changed(ours, lambda m: m.update({name: tensor.flatten() for name, tensor in m.items()}))
    told = r"ours.pt: .*linear1.weight: expected a matrix, got shape \(96,\); save the whole weights .*zero_to_fp32"
    refused(told, released.import_released, ours, tmp_path / "in", heads=2)


def test_of_several_sets_of_weights_none_is_taken_in_silence(ours, tmp_path):
    weights = torch.load(ours, weights_only=True)["model"]
    average = {name: torch.full_like(tensor, 7) for name, tensor in weights.items()}
    torch.save({"epoch": 1, "ema_state_dict": average, "model_state_dict": weights}, ours)
    assert released.import_released(ours, tmp_path / "in", heads=2).notes == [
        "weights taken: model_state_dict, not ema_state_dict"
    ]
    before, after = (load_model(tmp_path / name).state_dict() for name in ("trained", "in"))
    assert all(torch.equal(before[name], after[name]) for name in before)
    torch.save({"ema": {"shadow": average}, "net": weights}, ours)
    refused("ours.pt: expected one set of weights, got ema.shadow, net; save the", released.read_released, ours)
    for both in (weights | {f"module.{n}": t for n, t in average.items()},
                 {f"module.{n}": t for n, t in average.items()} | weights):  # fmt: skip
        torch.save({"model": both}, ours)
        refused("ours.pt: expected one tensor for .*position_ids, got m.*mmmodel", released.read_released, ours)


def test_a_task_head_is_known_and_kept(ours, tmp_path):
    head = torch.randn(779, 16)
    _changed(ours, lambda m: m.update({PREFIX + "video_encoder.classifier.weight": head}))
    report = released.import_released(ours, tmp_path / "in", heads=2)
    assert "video_encoder.classifier.weight" in report.kept
    released.export_released(tmp_path / "in", tmp_path / "out.pt")
    assert torch.equal(released.read_released(tmp_path / "out.pt")["video_encoder.classifier.weight"], head)


def test_a_head_fine_tuned_on_coin_scores_coin(tmp_path):
    """Class k is COIN's step id k. A head that looks at one number of a state says what that number says."""
    made.coin(tmp_path / "coin")
    rng = np.random.default_rng(0)
    (tmp_path / "coin" / "features").mkdir()
    for number in range(8):
        np.save(tmp_path / "coin" / "features" / f"c{number}.npy", rng.normal(size=(45, 512)).astype(np.float16))
    corpus, store = benchmark_corpus("coin", tmp_path / "coin", tmp_path / "corpus", tmp_path / "features")
    torch.manual_seed(0)
    sizes = {"hidden": 16, "heads": 2, "ffn": 32, "video_layers": 1, "text_layers": 1, "max_video_tokens": 32}
    model = VideoCLIP(ModelConfig(feature_dim=512, vocab_size=120, **sizes)).eval()
    save_encoder(tmp_path / "trained", Encoder(model, None, S3D_FEATURES))
    released.export_released(tmp_path / "trained", tmp_path / "tuned.pt")
    weight, bias = torch.zeros(779, 16), torch.full((779,), -9.0)
    weight[8, 0], bias[0], bias[8] = 5.0, 0.0, 0.0  # step 8 where the first number of a state is above 0
    head = {PREFIX + "video_encoder.classifier.weight": weight, PREFIX + "video_encoder.classifier.bias": bias}
    _changed(tmp_path / "tuned.pt", lambda m: m.update(head))
    released.import_released(tmp_path / "tuned.pt", tmp_path / "in", heads=2)
    found = head_results(corpus, store, tmp_path / "in", n_boot=20)
    states = [encode_seconds(Encoder(model, None, S3D_FEATURES), store[id], 16, hide_cls=True) for id in ("c6", "c7")]
    said = [np.where(each[:, 0] > 0, 8, 0) for each in states]
    true = [np.zeros(45, int), np.zeros(45, int)]
    true[0][5:16], true[0][25:36], true[1][5:16], true[1][25:36] = 7, 8, 9, 10
    assert 0.2 < np.mean(np.concatenate(said) > 0) < 0.8, "otherwise nothing is shown"
    assert found[0].value == pytest.approx(np.mean(np.concatenate(said) == np.concatenate(true)))
    assert found[0].protocol.cls == "hidden" and "COIN" in found[0].protocol.split
    refused("has no segmentation head", head_results, corpus, store, tmp_path / "trained")


def test_bad_files_are_named(tmp_path, ours):
    refused("no such checkpoint", released.read_released, tmp_path / "absent.pt")
    (tmp_path / "text.pt").write_text("not a checkpoint")
    refused(r"text\.pt: ", released.read_released, tmp_path / "text.pt")
    torch.save({"model": {"a": 1}}, tmp_path / "other.pt")
    refused("dict of tensors", released.read_released, tmp_path / "other.pt")
    whole = torch.load(ours, weights_only=True)
    turned = {name: t.T if t.ndim == 2 else t for name, t in whole["model"].items()}
    for model, told in (
        (turned, r"turned\.pt: no VideoCLIP has"),
        (whole["model"] | {5: torch.ones(2)}, "unexpected 1: 5"),
    ):
        torch.save({"model": model}, tmp_path / "turned.pt")
        refused(told, released.import_released, tmp_path / "turned.pt", tmp_path / "in", heads=4)
    save_file({name: t.contiguous() for name, t in whole["model"].items()}, tmp_path / "other.bin")
    assert released.read_released(tmp_path / "other.bin").keys() == released.read_released(ours).keys()
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "other.bin").read_bytes()[:-100])
    refused(r"cut\.safetensors: not readable as safetensors", released.read_released, tmp_path / "cut.safetensors")
    torch.serialization.set_crc32_options(False)
    torch.save(whole, tmp_path / "unsummed.pt")
    torch.serialization.set_crc32_options(True)
    assert released.read_released(tmp_path / "unsummed.pt").keys() == released.read_released(ours).keys()
    cut = ours.read_bytes()
    flip(ours, 0.5)
    refused(r"damaged: .*data/\d+ in it differs from its checksum", released.read_released, ours)
    ours.write_bytes(cut[: len(cut) // 2])
    refused(r"not readable as a checkpoint|refused", released.read_released, ours)


def test_heads_must_be_said_and_vocabulary_must_fit(ours, tmp_path):
    refused("give --heads", released.import_released, ours, tmp_path / "in")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    refused("expected 120 pieces", released.import_released, ours, tmp_path / "in", tmp_path / "vocab.txt", heads=2)
    (tmp_path / "vocab.txt").write_text("\n".join([*words, *(f"w{i}" for i in range(115))]) + "\n")
    released.import_released(ours, tmp_path / "in", tmp_path / "vocab.txt", heads=2)
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
    released.import_released(ours, tmp_path / "in", heads=2, s3d=weights)
    assert load_card(tmp_path / "in")["contract"]["weights"] == found.weights
