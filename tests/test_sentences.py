"""Vectors of sentences: those that the authors' library gives, by our layers and by transformers', or one message."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from checks import refused, with_keys
from tokenizers import BertWordPieceTokenizer

from vcwork.core.text import SPECIAL
from vcwork.encoders.sentences import load_sentences

TEXTS = [
    "Chop the onion finely.",
    "A rocket lifts off from the pad",
    "the rocket is being launched into space, with all of its engines burning",
    "",
    "Crème brûlée — 100 °C, naïve 日本語 xqzt!",
    " ".join(["long"] * 400),
]


def test_minilm_gives_the_authors_vectors(weights, root):
    weights("minilm")
    encoder, told = load_sentences(), np.load(root / "tests" / "data" / "weights" / "minilm.npy", allow_pickle=False)
    found = encoder.encode([*TEXTS, TEXTS[0]])
    assert (encoder.name, encoder.width, found.dtype, found.shape) == ("minilm", 384, np.float32, (7, 384))
    np.testing.assert_allclose(found[:6], told, atol=2e-6)
    assert np.array_equal(found[0], found[6]) and found[1] @ found[2] > 0.5 > 0.1 > found[0] @ found[1]
    assert encoder.encode([]).shape == (0, 384)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Small random sentence encoders: a BERT that pools its mean, one by CLS, and a kind that is none of ours."""
    from transformers import BertConfig, BertModel, MPNetConfig, MPNetModel

    made = tmp_path_factory.mktemp("sentences")
    words = ["chop", "the", "onion", "rocket", "##s", "a"]
    vocabulary = {piece: i for i, piece in enumerate([*SPECIAL, *words])}
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    sizes |= {"vocab_size": len(vocabulary)}
    torch.manual_seed(0)
    models = {"mean": BertModel(BertConfig(**sizes)), "cls": BertModel(BertConfig(**sizes))}
    models["mpnet"] = MPNetModel(MPNetConfig(**sizes, pad_token_id=0))
    for name, model in models.items():
        model.eval().save_pretrained(made / name)
        BertWordPieceTokenizer(vocabulary).save(str(made / name / "tokenizer.json"))
    _pooling(made / "cls", pooling_mode_cls_token=True, pooling_mode_mean_tokens=False)
    return made


def _pooling(folder, **told):
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(told))


@pytest.mark.parametrize("kind", ["mean", "cls", "mpnet"])
def test_any_folder_is_read_as_transformers_reads_it(folders, kind):
    from transformers import AutoModel

    encoder, model = load_sentences(folders / kind), AutoModel.from_pretrained(folders / kind).eval()
    texts = ["chop the onion", "rockets", "a", "chop chop chop the onion the rocket"]
    found = encoder.encode(texts, batch_size=2)
    for text, vector in zip(texts, found, strict=True):
        ids = torch.tensor([encoder._tokens.encode(text).ids])
        with torch.inference_mode():
            states = model(ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]  # (L, D)
        whole = states[0] if kind == "cls" else states.mean(0)
        np.testing.assert_allclose(vector, torch.nn.functional.normalize(whole, dim=0).numpy(), atol=1e-5)
    assert len({load_sentences(folders / name).digest for name in ("mean", "cls", "mpnet")}) == 3


BAD = {
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "expected weights in model.safetensors, found none"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "expected a tokenizer"),
    "no tokenizer at all": (lambda f: (f / "tokenizer.json").write_text("{}"), "not usable as a tokenizer"),
    "other sizes": (lambda f: with_keys(f / "config.json", num_hidden_layers=3), "not usable as a BERT"),
    "maximum": (lambda f: _pooling(f, pooling_mode_max_tokens=True), r"mean of the tokens or by CLS, got \['pooling"),
    "a layer behind": (lambda f: _modules(f, "models.Dense", "2_Dense"), "Transformer alone, got models.Dense"),
    "more pieces than the model": (lambda f: _words(f, 3), "the tokenizer gives ids up to 13, the model has 11"),
    "no length": (lambda f: _longest(f, -1), "bad: expected 3 to 1048576 tokens as max_seq_length, got -1"),
    "out of the folder": (lambda f: _modules(f, "models.Pooling", "../.."), "expected a path inside the folder"),
}


def _words(folder, more):
    vocabulary = [*SPECIAL, *"abcdef", *"xyz"[:more]]
    BertWordPieceTokenizer({piece: i for i, piece in enumerate(vocabulary)}).save(str(folder / "tokenizer.json"))


def _longest(folder, tokens):
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": tokens}))


def _modules(folder, kind, path):
    (folder / "modules.json").write_text(json.dumps([{"type": kind, "path": path}]))


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_read_is_one_message(folders, tmp_path, kind):
    spoil, told = BAD[kind]
    shutil.copytree(folders / "mean", tmp_path / "bad")
    spoil(tmp_path / "bad")
    refused(told, load_sentences, tmp_path / "bad")


@pytest.mark.parametrize(("kind", "places"), [("mean", 512), ("mpnet", 510)])
def test_a_text_is_cut_where_the_models_places_end(folders, tmp_path, kind, places):
    """As RoBERTa, MPNet counts places from its padding's id on: two of its 512 are never used."""
    shutil.copytree(folders / kind, tmp_path / "long")
    for told in (None, 1000, 512, 8):
        if told:
            _longest(tmp_path / "long", told)
        encoder = load_sentences(tmp_path / "long")
        assert encoder.longest == min(told or places, places)
        long, cut = encoder.encode(["chop " * 1000, "chop " * (encoder.longest - 2)])
        assert np.array_equal(long, cut)
    for strange in (None, b"chop"):
        refused("expected a list of texts, got one with ", encoder.encode, ["chop", strange])
    refused("expected a list of texts, got 'chop'", encoder.encode, "chop")
    assert np.array_equal(encoder.encode(["a \udce9"]), encoder.encode(["a ?"]))


def test_without_weights_or_network_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("VCWORK_ROOT", str(tmp_path))
    refused("`python -m vcwork fetch minilm` brings all-MiniLM-L6-v2", load_sentences)
    refused("sentences 'owner/model': expected minilm, a folder", load_sentences, "owner/model")


def test_a_bert_needs_no_transformers(folders):
    code = (
        f"import sys; from vcwork.encoders.sentences import load_sentences; load_sentences({str(folders / 'mean')!r})"
    )
    code += ".encode(['a']); sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0, "it takes five seconds to import"
