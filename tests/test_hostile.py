"""Files of strangers: whatever their bytes, a reader gives what is there or one sentence, soon, and in little memory.

`fuzz.readers` lists the readers; here hypothesis changes good files of each (and `python -m tests.fuzz` does so for
long), and what was found once is kept by name.
"""

import contextlib
import gc
import io
import json
import pickle
import random
import time
import zipfile
from functools import partial

import pytest
from checks import refused
from fuzz.changes import changed
from fuzz.readers import CAPTIONS, READERS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vcwork.base.errors import LONGEST, VcworkError
from vcwork.base.files import DEPTH, own_yaml, parse_json, parse_yaml, read_json, read_yaml
from vcwork.base.sealed import read_tensors
from vcwork.data.backbones.hugging_face import model_files
from vcwork.data.backbones.image import preprocessing
from vcwork.data.backbones.weights import read_pth
from vcwork.data.captions import CaptionReport, captions_of_entry, read_captions
from vcwork.data.howto100m.packed import read_meta
from vcwork.data.howto100m.sources import HowTo100M, Sources, stream_object
from vcwork.encoders.peers import _declared_class
from vcwork.encoders.released import read_released
from vcwork.encoders.sentences import _by_cls, _longest
from vcwork.measure.metrics import truth_labels
from vcwork.review import blind
from vcwork.review.annotated import Segmented
from vcwork.training.recipe import read_recipe
from vcwork.workbench.parameters import Parameter, from_text

LONG = settings(max_examples=40, deadline=5000, derandomize=True, database=None,
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])  # fmt: skip


# ---------------------------------------------------------------------------------------------------- every reader


@pytest.mark.parametrize("name", READERS)
def test_a_reader_gives_what_is_there_or_one_sentence(name, tmp_path):
    reader = READERS[name]
    reader.lay(tmp_path)
    good = reader.seeds(tmp_path)
    for data in good:
        reader.take(tmp_path, data)

    @LONG
    @given(st.one_of(st.tuples(st.sampled_from(good), st.integers(0, 2**32)), st.binary(max_size=200), st.text()))
    def read(told):
        if isinstance(told, tuple):
            told = changed(told[0], random.Random(told[1]))
        data = told.encode("utf-8", "surrogatepass") if isinstance(told, str) else told
        try:
            reader.take(tmp_path, data)
        except VcworkError as error:
            assert 0 < len(str(error)) <= LONGEST

    read()


# --------------------------------------------------------------------------------------------------------- time

UNITS = [
    "{\\", "{", "}", "\\p1", ".a", "<c.a", "<v ", "<v.a ", "<", "<b", "</", "<font a=", "-->", "1:1", "00:01", " ",
    "a:a", "&", "&#", "&a", "1", "1.", "[1:1", "[", "]", "-", ",", '"', "\t", ";", "<i>", "\\N", "<br ", "NOTE\n", "\n",
    "00:01.000 --> 00:02.000\n", "00:01.000,00:02.000\n", "X-TIMESTAMP-MAP=", "LOCAL:1", "#1\n", "WEBVTT\n", "<p>",
    "{}", "1\n\n",
]  # fmt: skip
AROUND = {
    "vtt": ["{}", "WEBVTT\n\n00:01.000 --> 00:02.000{} x", "WEBVTT\n\n00:01.000 --> 00:02.000\n<c{} x\n&{};{{\\p1{}"],
    "srt": ["{}", "00:00:01,000 --> 00:00:02,000 {} !", "1\n00:00:01,000 --> 00:00:02,000\n{{\\{}\n<v{}"],
    "ass": ["[Events]\nDialogue: 0,0:00:01.00,0:00:02.00,a,b,0,0,0,,{}", "[Events]\nFormat: {}\nDialogue: {}"],
    "sbv": ["{}", "0:00:01.000,0:00:02.000{}"], "lrc": ["[00:01.50]{}", "{}"], "txt": ["{}"],
    "csv": ["start,end,text\n1,2,{}", "start,end,text\n{},2,x", "{}"], "tsv": ["start\tend\ttext\n{}\t2\tx"],
    "ttml": ["{}", '<tt><p begin="{}" end="2s">x</p></tt>', '<tt xmlns="{}"><p begin="1s" end="2s"/></tt>'],
    "srv3": ['<a><p t="{}">x</p></a>'], "json": ["{}", '[{{"start": 1, "end": 2, "text": "{}"}}]'], "json3": ["{}"],
}  # fmt: skip
BIG = {  # of a form what took longest for its length at a megabyte: many small cues, or elements without an end
    "vtt": "00:01.000 --> 00:02.000\n", "srt": "00:01.000,00:02.000\n", "txt": "NOTE\n", "csv": "WEBVTT\n",
    "tsv": "00:01.000,00:02.000\n", "ttml": "<p>",
}  # fmt: skip


def _seconds(path, text):
    """Of the processor, without Python's collector, whose rounds over what is kept fall where they will."""
    path.write_text(text)
    gc.disable()
    began = time.process_time()
    with contextlib.suppress(VcworkError):
        read_captions(path, CaptionReport())
    gc.enable()
    return time.process_time() - began


def _linear(path, around, unit, *lengths):
    """Whether ten times the length takes at most twelve times as long, in one of five looks (a square: a hundred)."""
    texts = [around.replace("{}", unit * (n // len(unit))).replace("{{", "{") for n in lengths]
    for _ in range(5):  # a busy machine makes it longer, never shorter
        short, long = (_seconds(path, text) for text in texts)
        if long < 0.05 or long <= 12 * short:  # what takes a moment is not measured
            return True
    return False


@pytest.mark.parametrize("suffix", [reader.name for reader in CAPTIONS])
def test_captions_take_time_by_their_length(suffix, tmp_path):
    for around in AROUND[suffix]:
        for unit in UNITS:
            assert _linear(tmp_path / f"a.{suffix}", around, unit, 3_000, 30_000), (around[:40], unit)
    if suffix in BIG:
        assert _linear(tmp_path / f"a.{suffix}", AROUND[suffix][0], BIG[suffix], 100_000, 1_000_000)


def test_marks_without_an_end_are_read_at_once(tmp_path):
    """Sixty thousand times `{\\` took half a minute; classes of a tag without an end took twice as long for each."""
    for text in ("{\\" * 60_000, "<c" + ".a" * 60_000 + " x", "a:a" * 40_000 + " !"):
        file = tmp_path / "a.srt"
        file.write_text(f"1\n00:00:01,000 --> 00:00:02,000 {text}\n{text}\n")
        began = time.process_time()
        read_captions(file)
        assert time.process_time() - began < 5


def test_labels_of_a_benchmark_are_worked_out_once_a_video(monkeypatch):
    """COIN in notebook 90: every video's labels were worked out again for each video of the test, minutes of it."""
    n, calls = 60, []
    monkeypatch.setattr(blind, "truth_labels", lambda *told: calls.append(1) or truth_labels(*told))
    ids = [f"v{i}" for i in range(n)]
    segments = [[(1.0, 4.5, f"{i % 3}")] for i in range(n)]
    made = Segmented(
        ids, segments, [9.5] * n, ["a"] * n, [i % 2 == 0 for i in range(n)], {f"{k}": "x" for k in range(3)}
    )
    assert len(blind.segmentation(made, n_boot=10)) == 6
    assert len(calls) == 2 * n  # lengths rounded up, and down


# ------------------------------------------------------------------------------------------------ JSON and numbers

DEEP = "[" * 70 + "]" * 70


@pytest.mark.parametrize("text", [DEEP, "[" * 100_000, '{"a":' * 500 + "1" + "}" * 500, "1" * 50, "1" * 5000, "{", ""])
def test_json_beyond_its_limits_is_one_sentence(text, tmp_path):
    (tmp_path / "a.json").write_text(text)
    refused(r"a\.json: not readable as JSON", read_json, tmp_path / "a.json")
    (tmp_path / "twice.json").write_text('[{"b": {"a": 1, "b": 2, "a": 3}}]')
    refused(r"twice\.json: .*'a' is given twice in one object", read_json, tmp_path / "twice.json")


def test_json_within_its_limits_is_read():
    deep = "[" * DEPTH + "]" * DEPTH
    assert json.dumps(parse_json(deep)) == deep and parse_json("true") is True and parse_json("12") == 12
    assert parse_json('{"a": [1, {"b": null}], "c": "' + "[" * 99 + '"}')["c"] == "[" * 99


@pytest.mark.parametrize("digits", [400, 5000])
def test_a_number_without_end_costs_its_caption_alone(digits, tmp_path):
    long = "1" * digits
    text = f'{{"a": {{"start": [{long}, 1], "end": [2, 2], "text": ["x", "y"]}}, "b": {{"start": [0], "end": [1], '
    (tmp_path / "raw.json").write_text(text + '"text": ["z"]}}')
    (tmp_path / "ids.txt").write_text("a\nb\n")
    source = Sources(HowTo100M({"train": tmp_path / "ids.txt"}, str(tmp_path / "raw.json")))
    items = list(source.caption_items(["a", "b"], 0))
    assert [[caption.text for caption in item.value] for item in items] == [["y"], ["z"]]
    assert items[0].counts["cues_dropped"] == 1
    report = CaptionReport()
    assert captions_of_entry("x", {"start": [10**400], "end": [1], "text": ["x"]}, report) == []
    assert report.dropped == ["x cue 0: malformed times"]


def test_a_stream_of_deep_entries_ends(tmp_path):
    (tmp_path / "a.json").write_text('{"a": ' + "[" * 100_000)
    refused("not readable as JSON .*too deep", lambda: list(stream_object(tmp_path / "a.json")))


# ------------------------------------------------------------------------------------------------------------- YAML


@pytest.mark.parametrize("text, message", [
    ("a: 0x_", "line 1: '0x_' is no int"),
    ("a: !!timestamp 2024-99-99", "line 1: not YAML"),
    ("a: !!binary x", "line 1: not YAML"),
    ("a: !!set {b}", "line 1: not YAML"),
    ("a: " + "9" * 5000, "line 1: '999"),
    ("a: " + "9" * 50, "line 1: '999"),
    ("a: " + "{a: " * 80 + "1" + "}" * 80, "nested more than 64 deep"),
    ("[" * 100_000, "nested more than 64 deep"),
    ("b: 1\n2: 3", "line 2: expected a name as key .*got '2'"),
    ("? [a]\n: b", "line 1: expected a name as key .*got a sequence"),
    ("a: {on: 1}", "line 1: expected a name as key .*got 'on'"),
    ("a: 1\na: 2", "line 2: key 'a' is given twice"),
    ("a: &x [*x]", "nested more than 64 deep"),
    ('a: "\\UFFFFFFFF"', "not readable as YAML"),
    ("- a", "expected `name: value` lines, got a list"),
    ("a: " + "x" * 300_000, "more than 262,144 letters"),
])  # fmt: skip
def test_odd_yaml_is_one_sentence(text, message, tmp_path):
    (tmp_path / "a.yaml").write_text(text)
    refused(message, read_yaml, tmp_path / "a.yaml")
    refused(r"a\.yaml: ", read_recipe, tmp_path / "a.yaml")
    refused(".", lambda: Parameter("p", "int", 0, "").check(from_text(text, "int")))


def test_our_own_yaml_says_the_same_to_the_reader_of_others(root):
    """The fast reader, for our own files alone, takes dates as dates and of a key given twice the last."""
    ours = sorted((root / "vcwork").rglob("*.yaml"))
    assert {path.stem for path in ours} >= {"claims", "ingredients", "tables", "weights", "world"}
    for path in ours:
        room = ".".join(path.parent.relative_to(root).parts)
        assert own_yaml(room, path.name) == read_yaml(path), path


@pytest.mark.parametrize("text", [
    "train: {lr: .inf}", "train: {lr: .nan}", "train: {pairs: {max_text_s: .nan}}", "train: {seed: -1}",
    "train: {seed: 99999999999999999999}", "train: {epochs: -3}", "model: {text_layers: 1000000000}", "train: [1]",
    "model: {hidden: 64, heads: 0}", "train: {pairs: x}", "bert: [1]",
])  # fmt: skip
def test_an_odd_recipe_is_one_sentence(text, tmp_path):
    (tmp_path / "a.yaml").write_text(text)
    refused(r"a\.yaml: Recipe: ", read_recipe, tmp_path / "a.yaml")


@pytest.mark.parametrize("annotation", ["int", "float", "float | None", "list[float]", "dict[str, int]", "bool"])
def test_an_odd_setting_is_one_sentence(annotation):
    for text in (
        "9" * 400,
        "9" * 5000,
        ".inf",
        "[.nan]",
        "{a: .nan}",
        "[" + "9" * 400 + "]",
        "0x_",
        "{1: 2}",
        "&a [*a]",
    ):
        refused(
            "expected|line 1", lambda text=text: Parameter("p", annotation, 0, "").check(from_text(text, annotation))
        )


def test_aliases_of_lists_of_aliases_are_refused_at_once(tmp_path):
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))
    began = time.process_time()
    refused("more than 262,144 letters, every alias", parse_yaml, bomb)
    chain = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 200))
    refused("nested more than 64 deep", parse_yaml, chain)
    assert time.process_time() - began < 2
    assert parse_yaml("a: &x [1, 2]\nb: *x\nc: &y word\nd: [*y, *y]") == {
        "a": [1, 2], "b": [1, 2], "c": "word", "d": ["word", "word"],
    }  # fmt: skip


def test_a_whole_number_is_read_to_base_ten_and_a_time_is_a_text():
    """YAML 1.1 has 010 as 8, 08 as a text, and 1:30 as 90."""
    numbers = "[010, 08, -007, 0, 1_000, 0x10, 0b11, 1:30, 1:30.5, 12:00:00, !!int 010]"
    assert parse_yaml(numbers) == [10, 8, -7, 0, 1000, 16, 3, "1:30", "1:30.5", "12:00:00", 10]
    assert from_text("010", "int") == from_text("08", "int") + 2 == from_text("010", "float") == 10
    refused(r"expected float, got '1:30' \(str\)", Parameter("lr", "float", 0.1, "").check, from_text("1:30", "float"))
    for strange in ("!!int 1:30", "!!int {a: 1}", "!!int", "0x_"):
        refused("line 1", parse_yaml, f"a: {strange}")


def test_dates_stay_the_text_they_are():
    assert parse_yaml("a: 2024-01-01\nb: 2024-13-45") == {"a": "2024-01-01", "b": "2024-13-45"}
    assert from_text("2024-13-45", "list[str]") == "2024-13-45"
    refused(r"expected float, got '2024-01-01' \(str\)", Parameter("lr", "float", 0.1, "").check, "2024-01-01")


def test_a_message_is_never_longer_than_a_page():
    error = VcworkError("begin " + "x" * 10**6 + " end")
    assert len(str(error)) <= LONGEST and str(error).startswith("begin") and str(error).endswith("end")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


# ------------------------------------------------------------------------------------------------------------- zips


@pytest.mark.parametrize("data", [
    b"", b"\xff" * 8, (10**15).to_bytes(8, "little"), (2).to_bytes(8, "little") + b"{}" * 9,
    (60).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[9999999],"data_offsets":[0,4]}}',
])  # fmt: skip
def test_weights_that_are_none_are_one_sentence(data, tmp_path):
    (tmp_path / "a.safetensors").write_bytes(data)
    refused(r"a\.safetensors: not readable as safetensors", read_tensors, tmp_path / "a.safetensors")


def test_weights_in_a_compressed_archive_are_refused_unread(tmp_path):
    plain, path = READERS["pth"].good[0], tmp_path / "a.pt"
    with zipfile.ZipFile(io.BytesIO(plain)) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in source.namelist():
            packed.writestr(name, b"\0" * 10**7 if name.endswith("data/0") else source.read(name))
    assert path.stat().st_size < 10**5
    for read in (read_pth, read_released):
        refused(r"a\.pt: expected weights as torch\.save writes them, got a compressed archive", read, path)


def test_a_pickle_of_lists_of_lists_is_refused_at_once(tmp_path):
    wide = ["x"]
    for _ in range(60):
        wide = [wide, wide]
    for value in (wide, {0: wide}, {0: [wide]}, {(1, 2): wide}):
        (tmp_path / "train_meta.pkl").write_bytes(pickle.dumps(value))
        with pytest.raises(VcworkError) as caught:
            read_meta(tmp_path / "train_meta.pkl")
        assert len(str(caught.value)) < 1000


def test_a_pickle_cannot_ask_for_memory(tmp_path):
    """Six bytes that put a list at place 2³¹ - 1 of the reader's memory: the reader in C reserves 34 GB for it."""
    (tmp_path / "train_meta.pkl").write_bytes(b"\x80\x02}r\xff\xff\xff\x7f.")
    refused("got dict {}", read_meta, tmp_path / "train_meta.pkl")


# ---------------------------------------------------------------------------------------------- folders of models

ODD = ["x", [], 5, [[5]], {"a": []}, None, True, -1, 10**30]


@pytest.mark.parametrize("name, read, good", [
    ("preprocessor_config.json", preprocessing, {"size": 8, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}),
    ("preprocessor_config.json", preprocessing, {"size": {"shortest_edge": 8}, "rescale_factor": 0.5}),
    ("model.safetensors.index.json", model_files, {"weight_map": {"a": "model-1.safetensors"}}),
    ("modules.json", _by_cls, [{"type": "x.Pooling", "path": "1_Pooling"}]),
    ("sentence_bert_config.json", partial(_longest, config={}), {"max_seq_length": 8}),
    ("tokenizer_config.json", _declared_class, {"tokenizer_class": "CLIPTokenizer"}),
])  # fmt: skip
def test_a_folder_of_a_model_with_something_odd_in_it_is_one_sentence(name, read, good, tmp_path):
    (tmp_path / name).write_text(json.dumps(good))
    read(tmp_path)
    odd = [*ODD, *([good | {key: value} for key in good for value in ODD] if isinstance(good, dict) else [])]
    if isinstance(good, list):
        odd += [[value] for value in ODD] + [[good[0] | {key: value}] for key in good[0] for value in ODD]
    refusals = 0
    for value in odd:
        (tmp_path / name).write_text(json.dumps(value))
        try:
            read(tmp_path)
        except VcworkError as error:
            refusals += 1
            assert str(tmp_path) in str(error)
    assert refusals >= len(ODD) - 1


def test_an_index_of_weights_names_no_file_outside_its_folder(tmp_path):
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../other.safetensors"}}')
    refused("expected a plain file name", model_files, tmp_path)


def test_a_checkpoint_of_a_few_bytes_cannot_ask_for_memory(tmp_path):
    reader = READERS["checkpoint"]
    reader.lay(tmp_path)
    (good,) = reader.seeds(tmp_path)
    for odd in (
        {"hidden": 2**20, "ffn": 2**24},
        {"vocab_size": 10**39},
        {"feature_dim": 2**40},
        {"text_layers": 10**9},
    ):
        told = json.loads(good)
        told["model"] |= odd
        with pytest.raises(VcworkError, match=r"do not fit|no such model|text_layers"):
            reader.take(tmp_path, json.dumps(told).encode())
