"""What reads files of strangers, each with small good files to begin from; hypothesis and atheris both go over them.

A `Reader` writes bytes under its file's name into a folder where `lay` has put what belongs beside it, and reads that:
nothing but a VcworkError may come out. The good bytes themselves are read without one.
"""

import contextlib
import hashlib
import io
import json
import os
import pickle
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import made_benchmarks as made
import numpy as np
import torch
from films import film
from safetensors.numpy import save as as_safetensors
from toys import toy_encoder

from vcwork.base.errors import VcworkError
from vcwork.base.files import read_json, read_yaml, sha256_json
from vcwork.base.progress import Place
from vcwork.base.sealed import SEALED, read_manifest, read_sealed, read_tensors, with_seal, write_sealed
from vcwork.core.text import SPECIAL, Tokenizer
from vcwork.data.backbones.weights import read_pth
from vcwork.data.benchmarks import hirest
from vcwork.data.benchmarks.corpora import read_benchmark
from vcwork.data.benchmarks.features import contract_beside
from vcwork.data.benchmarks.spans import read_charades, read_own_spans, read_predicted, read_qvhighlights
from vcwork.data.captions import CaptionReport, deduplicate, read_captions
from vcwork.data.corpus import open_corpus
from vcwork.data.howto100m.captions import CaptionRule, CaptionWriter, as_stored, open_caption_store
from vcwork.data.howto100m.packed import PackedSplit, read_meta
from vcwork.data.howto100m.sources import HowTo100M, Sources, read_id_list
from vcwork.data.store import Contract, load_npy, open_store, write_store
from vcwork.encoders.checkpoint import load_checkpoint, save_encoder
from vcwork.encoders.load import load_encoder
from vcwork.encoders.released import read_released
from vcwork.measure.result import METRICS
from vcwork.panels.training import read_log
from vcwork.review import audit_tasks, doctor
from vcwork.review.gallery import benchmark_gallery, read_gallery, read_qrels
from vcwork.review.scores import open_scores
from vcwork.search.index import VideoIndex
from vcwork.training.kept import TRAINING
from vcwork.training.recipe import read_recipe
from vcwork.training.run import Run
from vcwork.training.workspace import SHIPPED
from vcwork.workbench import rerun, runs
from vcwork.workbench.audit_page import AUDIT, BUNDLE, read_bundle
from vcwork.workbench.parameters import Parameter, from_text, read_parameters
from vcwork.workbench.records import RUN, read_run
from vcwork.workbench.verify import verify


@dataclass(frozen=True)
class Reader:
    """`file` is read by `read(folder)`; `good` bytes of it, or none where `lay` writes them. `seal`: a manifest."""

    name: str
    file: str
    read: Callable[[Path], Any]
    good: tuple[bytes, ...] = ()
    lay: Callable[[Path], Any] = lambda folder: None
    seal: bool = False

    def seeds(self, folder: Path) -> list[bytes]:
        """Good bytes of the file, once `lay` was called for the folder."""
        return list(self.good) or [self.unsealed((folder / self.file).read_bytes())]

    def unsealed(self, data: bytes) -> bytes:
        """A manifest without its seal, as it is changed."""
        if not self.seal:
            return data
        told = json.loads(data)
        told.pop(SEALED, None)
        return json.dumps(told).encode()

    def take(self, folder: Path, data: bytes) -> None:
        """Read these bytes as the file, a manifest with the right seal."""
        if self.seal:
            with contextlib.suppress(ValueError, RecursionError):
                told = json.loads(data)
                if isinstance(told, dict):
                    data = json.dumps(told | {SEALED: sha256_json(told)}).encode()
        (folder / self.file).write_bytes(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.read(folder)


# ------------------------------------------------------------------------------------------------------- captions

VTT = "WEBVTT\nX-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:900000\n\nNOTE x\n\n1\n00:01.000 --> 00:02.000 align:start\n"
VTT += "<v.a Bob>so <c.b>today</c> &amp; then</v>\n\n00:03.000 --> 00:04.500\nstir\n"
SRT = "1\n00:00:01,000 --> 00:00:02,000\n{\\an8}one <i>two</i>\n\n2\n00:00:03,000 --> 00:00:04,000\n"
SRT += "{\\p1}m 0{\\p0}three\n"
ASS = "[Events]\nFormat: Layer, Start, End, Text\nDialogue: 0,0:00:01.00,0:00:02.00,one\\Ntwo {\\i1}x\n"
TTML = '<tt xmlns="http://www.w3.org/ns/ttml" xmlns:t="x" t:frameRate="25"><body><p begin="1s" end="00:00:02:12">a'
TTML += '<br/>b <span>c</span></p><p begin="2.5s" dur="10f">d</p></body></tt>'
SRV = '<timedtext><body><p t="100" d="50">a</p></body></timedtext>'
JSON3 = {"events": [{"tStartMs": 1, "dDurationMs": 20, "segs": [{"utf8": "so"}, {"utf8": " on"}]}]}
WHISPER = {"segments": [{"start": 0.5, "end": 1.5, "text": "one"}, {"start": 2, "duration": 1, "text": "two"}]}
CPP = {"transcription": [{"offsets": {"from": 1, "to": 2}, "text": "a"}, {"timestamp": [1, 2], "text": "b"}]}
TEXTS: dict[str, list[Any]] = {
    "vtt": [VTT], "srt": [SRT], "ass": [ASS], "sbv": ["0:00:01.000,0:00:02.000\nso today\n"], "ttml": [TTML],
    "srv3": [SRV, '<transcript><text start="1" dur="2">a &amp;amp; b</text></transcript>'],
    "json3": [json.dumps(JSON3)], "json": [json.dumps(WHISPER), json.dumps(CPP)],
    "csv": ["start,end,text\n1,2,\"a, b\"\n3,0:04,c\n", "sep=;\nstart;end;text\n1;2;x\n"],
    "tsv": ["start\tend\ttext\n0\t1500\tso\n1500\t3000\ton\n"],
    "lrc": ["[00:01.50][00:04.00]one\n[00:02.00]<00:02.5>two\n"],
    "txt": ["one\ntwo\n", VTT],
}  # fmt: skip


def _captions(folder: Path, name: str) -> None:
    deduplicate(read_captions(folder / name, CaptionReport()))


CAPTIONS = [
    Reader(suffix, f"a.{suffix}", partial(_captions, name=f"a.{suffix}"), tuple(text.encode() for text in texts))
    for suffix, texts in TEXTS.items()
]

# ------------------------------------------------------------------------------------------------- values and JSON

BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nlr: 1.0e-3\nwhen: 2024-01-01\nm: {a: 1, b: [2, yes]}\n"
CELL = "seed: int = 0  # random seed\nnames: list[str] = ['a']\ncorpus: str = ''  # folder: a corpus\n"
RECIPE = "train: {epochs: 2, lr: 1.0e-3, pairs: {rule: overlapped}}\nmodel:\n  hidden: 64\n  heads: 2\n"
ITEMS = "text,item_id,query_id,video,group,recipe,seconds\ndo,c0,q0,v0,s0,r0,0\nstir,c1,q1,v0,s1,r0,2.5\n"
ANNOTATIONS = ("str", "int", "float", "list[float]", "dict", "float | None", "dict[str, int]", "bool")


def _notebook(source: str) -> bytes:
    cell = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": source, "outputs": []}
    return json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).encode()


def _setting(folder: Path) -> None:
    """A value of --set for every kind of parameter; a mistake in one is no reason not to try the others."""
    text, wrong = (folder / "value").read_bytes().decode("utf-8", "surrogateescape"), None
    for annotation in ANNOTATIONS:
        try:
            Parameter("p", annotation, None, "").check(from_text(text, annotation))
        except VcworkError as error:
            wrong = wrong or (error if annotation == "dict" else None)
    if wrong:
        raise wrong


def _pipeline(folder: Path) -> None:
    """The doctor's settings; what a model's own processor says of the rest is read by readers of their own."""
    with patch.object(doctor, "_defaults", lambda model: {}):
        doctor.read_pipeline(str(folder / "a.yaml"))
        doctor.read_pipeline((folder / "a.yaml").read_text(errors="replace").split("\n")[0].removesuffix(".yaml"))


def _written(folder: Path) -> None:
    write_sealed(folder / "one.json", {"a": [1, 2.5, "x"], "b": {"c": None}})


VALUES = [
    Reader("yaml", "a.yaml", lambda folder: repr(read_yaml(folder / "a.yaml")), (BOMB.encode(),)),
    Reader("set", "value", _setting, (b"{a: 1, b: [1, 2]}",)),
    Reader("recipe", "a.yaml", lambda folder: read_recipe(folder / "a.yaml"), (RECIPE.encode(),)),
    Reader("pipeline", "a.yaml", _pipeline, (b"model: m\nfps: 2\ncrop: none\nmean: [0.5, 0.5, 0.5]\nprompt: a {}\n",)),
    Reader("notebook", "a.ipynb", lambda folder: read_parameters(folder / "a.ipynb"), (_notebook(CELL),)),
    Reader("json", "a.json", lambda folder: sha256_json(read_json(folder / "a.json")), (json.dumps(WHISPER).encode(),)),
    Reader("sealed", "one.json", lambda folder: read_sealed(folder / "one.json"), lay=_written, seal=True),
    Reader(
        "log", "log.jsonl", lambda folder: read_log(folder / "log.jsonl"), (b'{"step": 1, "loss": 2.5}\n{"step": 2}\n',)
    ),
    Reader("items", "a.csv", lambda folder: read_gallery(folder / "a.csv"), (ITEMS.encode(),)),
    Reader(
        "progress", "wire.txt", lambda folder: str(Place(folder / "wire.txt")), (b"training 148 of 200, 00:04 left",)
    ),
    Reader("contract", "contract.json", contract_beside, (json.dumps(made.CONTRACT).encode(),)),
]

# --------------------------------------------------------------------------------------------- arrays and weights


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _saved(save: Callable[..., Any], value: Any) -> bytes:
    file = io.BytesIO()
    save(value, file)
    return file.getvalue()


def _arrays(folder: Path) -> None:
    for mapped in (True, False):
        np.asarray(load_npy(folder / "a.npy", mmap=mapped)).sum()


def _scores(folder: Path, name: str) -> None:
    for block in open_scores(folder / name).rows():
        block.sum()


def _clip(folder: Path) -> None:
    """What the doctor looks at of a film, up to the model."""
    how = {"resize": "short", "side": 16, "filter": "bicubic", "crop": "centre", "size": 16, "scale": 1 / 255,
           "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}  # fmt: skip
    doctor.Run(folder / "a.mp4", [], doctor.Pipeline(model="none", count=3, **how)).normalisation.sum()


def _npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


MATRIX = np.arange(6, dtype=np.float32).reshape(2, 3) + np.float32(0.5)
TENSORS = as_safetensors({"w": MATRIX, "b": np.zeros(3, np.float32)}, {"made": "here"})
SCORES = {
    "npy": _npy(MATRIX), "npz": _npz(scores=MATRIX, query_ids=np.array(["a", "b"])),
    "safetensors": as_safetensors({"scores": MATRIX}, {"query_ids": '["a", "b"]'}),
    "csv": b"id,x,y\nq0,0.5,1.5\nq1,2.5,3.25\n", "json": b'{"q0": {"videos": ["d1", "d2"], "scores": [0.5, 1]}}',
    "run": b"q0 Q0 d1 1 0.5 t\nq0 Q0 d2 2 0.25 t\nq1 Q0 d1 1 0.75 t\n",
}  # fmt: skip
if find_spec("pyarrow"):  # no package that the workbench needs
    import pyarrow
    from pyarrow import parquet

    TABLE = pyarrow.table({"id": ["q0", "q1"], "x": [0.5, 2.5], "y": [1.5, 3.25]})
    SCORES["parquet"] = _saved(lambda table, file: parquet.write_table(table, file), TABLE)
LABELS, STEPS = np.array([0, 1, 1]), {"a": {"task": "t", "intervals": [[[0, 2]], [[3, 4.5], [6, 7]]]}}
STATE = _saved(torch.save, {"w": torch.zeros(2, 3), "b": torch.ones(2)})
ARRAYS = [
    Reader("npy", "a.npy", _arrays, (_npy(MATRIX), _npy(np.zeros((2, 4), np.float16)))),
    Reader("safetensors", "a.safetensors", lambda folder: read_tensors(folder / "a.safetensors"), (TENSORS,)),
    Reader("pth", "a.pth", lambda folder: read_pth(folder / "a.pth"), (STATE,)),
    Reader("released", "a.pt", lambda folder: read_released(folder / "a.pt"), (STATE,)),
    Reader("meta", "train_meta.pkl", lambda folder: read_meta(folder / "train_meta.pkl"),
           tuple(pickle.dumps({0: ["a", "b"], 1: ["c"]}, protocol) for protocol in (0, 2, 5))),
    Reader("videos-npz", "a.npz", lambda folder: audit_tasks.by_video(folder / "a.npz"), (_npz(a=LABELS, b=MATRIX),)),
    Reader("videos-json", "a.json", lambda folder: audit_tasks.by_video(folder / "a.json"), (b'{"a": [0, 1]}',)),
    Reader("steps-json", "a.json", lambda folder: audit_tasks._steps_of(folder / "a.json", ""),
           (json.dumps(STEPS).encode(),)),
    Reader("clip", "a.mp4", _clip, lay=lambda folder: film(folder / "a.mp4", seconds=1.0)),
    *(Reader(f"scores-{kind}", f"a.{kind}", partial(_scores, name=f"a.{kind}"), (a,)) for kind, a in SCORES.items()),
]  # fmt: skip

# --------------------------------------------------------------------------------------------------- our folders

CONTRACT = Contract(**made.CONTRACT)
RAW = {"a": {"start": [0, 1], "end": [1, 2.5], "text": ["so", "on"]}, "b": {"start": [], "end": [], "text": []}}
TOKENIZER = Tokenizer([*SPECIAL, *"abcdefghij"])
TRUTH = {"segments": [{"start_s": 0.5, "end_s": 1.5, "step": "s", "caption": "cut"}]}


def _store(folder: Path) -> None:
    rows = np.arange(24, dtype=np.float16).reshape(3, 8)
    write_store(folder, CONTRACT, {"a": rows, "b": rows[:1]}, {"c": "no such file"}, shard_rows=2)


def _read_store(folder: Path) -> None:
    store = open_store(folder)
    [store[id].sum() for id in store.ids]


def _caption_store(folder: Path) -> None:
    rule = CaptionRule.of(TOKENIZER)
    writer = CaptionWriter(folder, rule)
    writer.write(["a", "b"], [as_stored(rule, id, [0.0, 1.0], [1.0, 2.5], [[5, 6], [7]]) for id in "ab"])
    writer.finish(TOKENIZER, {"c": "no captions"})


def _read_caption_store(folder: Path) -> None:
    store = open_caption_store(folder)
    [list(store.track(id).tokens) for id in store.ids], store.tokenizer()


def _corpus(folder: Path) -> None:
    for name, text in {"a.vtt": VTT, "truth.json": json.dumps(TRUTH)}.items():
        (folder / name).write_text(text)
    video = {"id": "a", "video": None, "captions": "a.vtt", "truth": "truth.json", "duration_s": 4.0, "split": "test"}
    recipes = {"r": {"name": "a recipe", "steps": ["s"], "lookalike": None}}
    told = {"format": "vcwork-corpus-1", "name": "n", "complete": True, "steps": {"s": "cut"}, "recipes": recipes}
    (folder / "corpus.json").write_text(json.dumps(told | {"videos": [video | {"recipe": "r"}]}))


def _read_corpus(folder: Path) -> None:
    corpus = open_corpus(folder)
    for id, video in corpus.videos.items():
        corpus.captions(id), corpus.truth(id), video.labels({step: i for i, step in enumerate(corpus.steps)}, 4)
    corpus.digest()


def _checkpoint(folder: Path) -> None:
    save_encoder(folder, toy_encoder(TOKENIZER, 6))


def _sources(folder: Path) -> None:
    (folder / "ids.txt").write_text("a\nb\n")
    (folder / "raw.json").write_text(json.dumps(RAW))


def _entries(folder: Path) -> None:
    source = Sources(HowTo100M({"train": folder / "ids.txt"}, str(folder / "raw.json")))
    [deduplicate(item.value or []) for item in source.caption_items(["a", "b"], 0)]


def _packed(folder: Path) -> None:
    (folder / "train_meta.pkl").write_bytes(pickle.dumps({0: ["a", "b"]}))
    (folder / "train_0_data.npy").write_bytes(_npy(np.zeros((3, 8), np.float16)))
    (folder / "train_0_starts.npy").write_bytes(_npy(np.array([0, 1, 3])))


def _read_packed(folder: Path) -> None:
    split = PackedSplit(folder, "train")
    [split.features(0, row).sum() for row in range(len(split.ids))]


def _index(folder: Path) -> None:
    vectors = np.eye(4, 8, dtype=np.float32)
    VideoIndex.build(vectors, list("abcd"), [{"text": f"stir {n}"} for n in range(4)], "maker").save(folder)


def _read_index(folder: Path) -> None:
    index = VideoIndex.open(folder)
    index.query(np.ones((1, 8), np.float32), k=3), index.words("stir 1", 3), index.ids, index.metadata


def _run(folder: Path) -> None:
    entry = {"name": "10_x", "given": {"seed": 0}, "parameters": {"seed": 0}, "hashes": {"corpus": "0" * 64}}
    told = {"format": RUN.format, "profile": "lab", "status": "done", "seed": 0, "notebooks": [entry]}
    write_sealed(folder / RUN.manifest, told)
    row = {
        "name": "t2v_R@1",
        "value": 0.5,
        "low": 0.4,
        "high": 0.6,
        "chance": 0.1,
        "n": 10,
        "trivial": {},
        "protocol": "",
    }
    row |= {"notebook": "10_x", "card": {"task": "toy", "split": "toy", "rule": "ten"}}
    write_sealed(folder / METRICS, {"format": "vcwork-metrics-2", "results": [row]})


def _tiny(folder: Path) -> None:
    shutil.copytree(SHIPPED, folder, dirs_exist_ok=True)


def _read_tiny(folder: Path) -> None:
    """The tiny world's model that comes along, as it is looked at before it is taken."""
    identity = json.loads((SHIPPED / TRAINING.manifest).read_bytes())["identity"]
    Run(folder, identity, load_encoder).finished, read_manifest(folder, TRAINING)


def _stopped(folder: Path) -> None:
    """A project of one notebook, and a run of it that was stopped; told with everything that a record has."""
    (folder / "notebooks").mkdir()
    (folder / "notebooks" / "10_x.ipynb").write_bytes(_notebook("seed: int = 0  # random"))
    _run(folder)
    told = json.loads((folder / RUN.manifest).read_bytes())
    entry = told["notebooks"][0] | {"status": "interrupted", "threads": 1, "code": "x", "executed": None}
    told |= {"status": "interrupted", "notebooks": [entry], "started": "2026-11-27", "wall_s": 1.5, "seed": 0}
    told |= {"git": {}, "python": "3", "packages": {}, "hardware": {"processor": "x", "gpu": []}, "files": {}}
    told |= {"parameter_files": [], "changed": [], "peak_memory_mb": None, "peak_memory_how": ""}
    write_sealed(folder / RUN.manifest, {key: value for key, value in told.items() if key != SEALED})


def _resume(folder: Path) -> None:
    """`--resume` as far as its record is read: up to the first notebook."""

    def begun(plan: Any, out: Path, stopped: dict, **more: Any) -> None:
        log = runs.RunLog(plan, out, {"processor": "x", "gpu": []}, 0.0, [runs._new_entry(step) for step in plan.steps])
        log.state |= {"git": {}, "python": "3", "packages": {}}
        log.entries[0]["code"] = "x"
        log.take_up(stopped)

    quiet, here = contextlib.redirect_stdout(io.StringIO()), patch.dict(os.environ, VCWORK_ROOT=str(folder))
    with quiet, here, patch.multiple(runs, execute_plan=begun, exit_code=lambda log: 0):
        rerun.resume(folder, "lab")


ASKED = b"id,x\nq0,0.5\n"
INPUTS = {"scores": {"bytes": len(ASKED), "sha256": hashlib.sha256(ASKED).hexdigest(), "file": "a.csv"}}


def _bundle(**told: Any) -> bytes:
    """A reviewer's zip of an audit of a small file, with these things told otherwise."""
    pages = {name: sha256_json("x") for name in AUDIT.owns}
    asked = with_seal({"format": BUNDLE, "asked": {"scores": "a.csv"}, "inputs": INPUTS, "pages": pages} | told)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(AUDIT.manifest, json.dumps(asked))
        archive.writestr("inputs/scores.csv", ASKED)
        for name in pages:
            archive.writestr(name, "x")
    return file.getvalue()


def _read_bundle(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as into:
        read_bundle(folder / "a.zip", Path(into))


def _told_bundle(folder: Path) -> None:
    """What a bundle tells, in a whole one, with the right seal."""
    try:
        whole = _bundle(**json.loads((folder / "told.json").read_bytes()))
    except (ValueError, TypeError, RecursionError):  # no object, or not of JSON
        return
    (folder / "a.zip").write_bytes(whole)
    _read_bundle(folder)


FOLDERS = [
    Reader("index", "index.sqlite", _read_index, lay=_index),
    Reader("run", RUN.manifest, read_run, lay=_run, seal=True),
    Reader("metrics", METRICS, read_run, lay=_run, seal=True),
    Reader("resume", RUN.manifest, _resume, lay=_stopped, seal=True),
    Reader("tiny", TRAINING.manifest, _read_tiny, lay=_tiny, seal=True),
    Reader("bundle", "a.zip", _read_bundle, (_bundle(),)),
    Reader("bundle-told", "told.json", _told_bundle, (json.dumps({"inputs": INPUTS}).encode(),)),
    Reader("store", "manifest.json", _read_store, lay=_store, seal=True),
    Reader("shard", "shard-00000.npy", _read_store, lay=_store),
    Reader("caption-store", "manifest.json", _read_caption_store, lay=_caption_store, seal=True),
    Reader("corpus", "corpus.json", _read_corpus, lay=_corpus),
    Reader("truth", "truth.json", _read_corpus, lay=_corpus),
    Reader("checkpoint", "checkpoint.json", load_checkpoint, lay=_checkpoint, seal=True),
    Reader("vocabulary", "vocab.txt", load_checkpoint, lay=_checkpoint),
    Reader("ids", "ids.txt", lambda folder: read_id_list(folder / "ids.txt"), (b"a\nb\n",)),
    Reader("raw-captions", "raw.json", _entries, lay=_sources),
    Reader("packed-features", "train_0_data.npy", _read_packed, lay=_packed),
    Reader("packed-starts", "train_0_starts.npy", _read_packed, lay=_packed),
    Reader("verify", "manifest.json", lambda folder: verify([folder], told=lambda text: None), lay=_store, seal=True),
]

# ----------------------------------------------------------------------------------------------------- benchmarks


def _accounted(name: str, folder: Path) -> None:
    """Every annotation is a clip that can be used, or counted as missing."""
    for part in read_benchmark(name, folder).values():
        assert part.counts["clips"].present == len(part.clips) or part.role in ("train", "val")
        assert {clip.video for clip in part.clips} <= set(part.videos)
        assert all(0 <= clip.start_s < clip.end_s and clip.text for clip in part.clips)


def _benchmark(name: str, file: str) -> Reader:
    lay = {"crosstask": partial(made.crosstask, n=32)}.get(name, getattr(made, name))
    return Reader(f"{name}-{Path(file).suffix[1:]}", file, partial(_accounted, name), lay=lay)


OFFICIAL = "youcookii_annotations_trainval.json"
WINDOWS = {"qid": 1, "query": "q", "vid": "v", "duration": 9, "relevant_windows": [[0, 2], [4, 6.5]]}
SPANS = {
    "qvhighlights": (read_qvhighlights, "a.jsonl", json.dumps(WINDOWS).encode()),
    "charades": (read_charades, "a.txt", b"AB12C 0.5 3.25##a person opens a door.\nAB12C 2 4##somebody sits\n"),
    "own-spans": (read_own_spans, "a.csv", b"query_id,video,start_s,end_s,duration_s\nq,v,0,2,9\nq,v,4,6,9\n"),
    "predicted": (read_predicted, "a.jsonl", b'{"qid": 1, "pred_relevant_windows": [[0, 2, 0.5], [1, 3, 0.25]]}\n'),
    "predicted-csv": (read_predicted, "a.csv", b"query_id,start_s,end_s,score\nq,0,2,0.5\n"),
}  # fmt: skip
HIREST = (
    ("videos", hirest.read_videos, "all_data_val.json"), ("moments", hirest.read_moments, "all_data_val.json"),
    ("steps", hirest.read_steps, "all_data_val.json"), ("evaluation", hirest.read_steps, "evaluation.json"),
    ("predicted", hirest.read_predicted, "evaluation.json"),
)  # fmt: skip


def _qrels(folder: Path) -> None:
    (folder / "a.run").write_bytes(SCORES["run"])
    read_qrels(folder / "a.qrels", open_scores(folder / "a.run"))


BENCHMARKS = [
    *(
        Reader(f"hirest-{name}", file, lambda folder, read=read, file=file: read(folder / file), lay=made.hirest)
        for name, read, file in HIREST
    ),
    Reader("qrels", "a.qrels", _qrels, (b"q0 0 d1 2\nq0 0 d2 0\nq1 0 d1 1\n",)),
    *(
        Reader(name, file, lambda folder, read=read, file=file: read(folder / file), (good,))
        for name, (read, file, good) in SPANS.items()
    ),
    _benchmark("youcook2", "validation_youcook.csv"),
    _benchmark("youcook2", OFFICIAL),
    _benchmark("msrvtt", "MSRVTT_JSFUSION_test.csv"),
    _benchmark("msrvtt", "MSRVTT_data.json"),
    Reader(
        "msrvtt-full",
        "MSRVTT_data.json",
        lambda folder: benchmark_gallery("msrvtt", folder / "MSRVTT_data.json"),
        lay=made.msrvtt,
    ),
    Reader(
        "youcook2-official",
        OFFICIAL,
        lambda folder: benchmark_gallery("youcook2", folder / OFFICIAL),
        lay=made.youcook2,
    ),
    Reader(
        "questions",
        "a.csv",
        lambda folder: audit_tasks._questions(folder / "a.csv", ""),
        (b"answer,video,choice_0,choice_1\n0,a,x,y\n1,b,x,z\n", b"answer,video\n0,a\n"),
    ),
    _benchmark("msrvtt_qa", "MSR_MC_test.csv"),
    _benchmark("didemo", "test_data.json"),
    _benchmark("coin", "COIN.json"),
    _benchmark("crosstask", "tasks_primary.txt"),
    _benchmark("crosstask", "videos.csv"),
]

READERS = {reader.name: reader for reader in (*CAPTIONS, *VALUES, *ARRAYS, *FOLDERS, *BENCHMARKS)}
