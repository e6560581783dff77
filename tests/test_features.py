"""Features: extraction that resumes and gives the same bytes each time, a store that refuses what is not whole."""

import errno
import json
import multiprocessing
import os
import re
import shutil
import struct
import subprocess
import sys
import threading
import time
import weakref
from dataclasses import replace

import numpy as np
import pytest
from checks import edited, flip, refused, tree

from vcwork.base import files
from vcwork.base.errors import VcworkError
from vcwork.base.progress import SecondsBar
from vcwork.base.sealed import MARK
from vcwork.data.backbones.image import Backbone, get_backbone
from vcwork.data.corpus import scan_folder
from vcwork.data.coverage import coverage_of
from vcwork.data.extract import contract_of, extract
from vcwork.data.store import STORE, Contract, load_npy, open_store, write_store

CONTRACT = Contract("toy", "none", 4.0, 16, "x / 255", 3)


class Toy:
    """Mean colour of a second; counts its calls."""

    name, weights, fps, size, normalisation, width = "toy", "none", 4, 16, "x / 255", 3
    calls = 0

    def __call__(self, frames):
        assert frames.shape[1:] == (16, 16, 3)
        Toy.calls += 1
        return (frames / 255).mean((0, 1, 2)).astype(np.float32)


class TorchSpy(Toy):
    """Reports whether torch came into the worker, and whether it is told to use one thread."""

    def __call__(self, frames):
        child = multiprocessing.parent_process() is not None
        return np.array([child, "torch" in sys.modules, os.environ.get("OMP_NUM_THREADS") == "1"], np.float32)


class Given(Toy):
    """Remembers what it gave; what of that somebody still holds when it is asked again is counted."""

    given, held = [], 0

    def __call__(self, frames):
        Given.held += sum(one() is not None for one in self.given)
        answer = super().__call__(frames)
        self.given.append(weakref.ref(answer))
        return answer


class Slowly(Toy):
    """A quarter of a second for each of film."""

    def __call__(self, frames):
        time.sleep(0.25)
        return super().__call__(frames)


class Killer(Toy):
    """Ends its process as an out-of-memory kill would."""

    def __call__(self, frames):
        os._exit(1)


class DiesEarly(Toy):
    """Its first worker is killed while the second one is started, which is when it is pickled again."""

    starts, taken = 0, ()

    def __getstate__(self):
        DiesEarly.starts += 1
        if DiesEarly.starts == 2:
            DiesEarly.taken = [os.dup(0) for _ in range(100)]  # the pipes opened next get the closed ones' numbers
            for worker in multiprocessing.active_children():
                worker.kill()
            time.sleep(0.5)  # the pool's own thread finds the dead one and closes its pipes
        return {}


class Answers(Toy):
    def __init__(self, answer):
        self.answer = answer

    def __call__(self, frames):
        return np.array(self.answer, np.float32)


@pytest.fixture(scope="module")
def clips(tmp_path_factory, make_films):
    """Five films of 1 to 5 seconds, each second with its own brightness, and one that cannot be decoded."""
    return make_films(tmp_path_factory.mktemp("clips"), 5)


@pytest.fixture
def corpus(clips):
    return scan_folder(clips)


def _arrays(**lengths):
    rng = np.random.default_rng(0)
    return {id: rng.normal(size=(length, 3)).astype(np.float32) for id, length in lengths.items()}


def test_one_feature_a_second(corpus, tmp_path):
    store = extract(corpus, Toy(), tmp_path / "f", workers=1, progress=False)
    assert store.ids == ["v1", "v2", "v3", "v4", "v5"] and store.lengths["v4"] == 4 and len(store) == 5
    assert store["v3"].shape == (3, 3) and store["v3"].dtype == np.float16 and "v6" not in store
    assert np.allclose(store["v3"][:, 1] * 255, [60, 61, 62], atol=2)
    assert store.contract == contract_of(Toy()) == CONTRACT and isinstance(Toy(), Backbone)
    assert sorted(tree(tmp_path / "f")) == ["manifest.json", "shard-00000.npy"]
    assert not store["v3"].flags.writeable


def test_workers_do_not_change_a_byte(corpus, tmp_path):
    for workers in (1, 2):
        extract(corpus, Toy(), tmp_path / str(workers), workers=workers, progress=False)
    assert tree(tmp_path / "1") == tree(tmp_path / "2")


def test_workers_are_light(corpus, tmp_path):
    store = extract(corpus, TorchSpy(), tmp_path / "f", workers=2, progress=False)
    assert np.array_equal(np.unique(np.concatenate([store[id] for id in store.ids]), axis=0), [[1, 0, 1]])


def test_what_a_network_gave_is_not_held_until_the_film_ends(corpus, tmp_path):
    """A row in torch's memory for each second left holes between what the network takes: 11 GB for three hours."""
    extract(corpus, Given(), tmp_path, workers=1, progress=False)
    assert len(Given.given) == 15 and Given.held == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_bar_goes_on_within_a_film(clips, tmp_path, capsys, workers):
    corpus = scan_folder(clips)
    corpus.videos = {id: video for id, video in corpus.videos.items() if id in ("v4", "v5")}
    extract(corpus, Slowly(), tmp_path, workers=workers)
    told = [int(n) for n in re.findall(r"(\d+)/9 \[", capsys.readouterr().err)]
    assert told == sorted(told) and told[-1] == 9 and {*told} - {0, 4, 5, 9}, "more than whole films"


def test_a_bar_counts_films_where_a_length_is_unknown(capsys):
    with SecondsBar("features", {"a": 7.5, "b": 0, "c": 9}, ["b", "c"], True) as bar:
        bar.more(5)
        for film in ("b", "c"):
            bar.ended(film)
    told = re.findall(r"(\d+)/3 \[", capsys.readouterr().err)
    assert {*told} <= {"1", "2", "3"} and told[0] == "1" and told[-1] == "3"


def test_a_bar_of_seconds_passes_nobody_by(capsys):
    """A film that fails in its middle counts whole, one longer than its header says no more than it was said to be."""
    with SecondsBar("features", {"a": 2.5, "b": 10, "c": 4.5}, ["b", "c"], True) as bar:
        numbers = []
        for told, what in ((bar.more, 3), (bar.ended, "b"), (bar.more, 6), (bar.ended, "c")):
            told(what)
            numbers.append(bar._bar.n)
    assert numbers == [6, 12, 17, 17] and "17/17" in capsys.readouterr().err


def test_interrupted_extraction_resumes_to_the_same_bytes(corpus, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    extract(corpus, Toy(), whole, workers=1, progress=False)

    class Interrupted(Toy):
        def __call__(self, frames):
            if Toy.calls == 5:  # within the third film
                raise KeyboardInterrupt
            return super().__call__(frames)

    Toy.calls = 0
    with pytest.raises(KeyboardInterrupt):
        extract(corpus, Interrupted(), broken, workers=1, progress=False)
    refused("incomplete feature store: run the extraction again", open_store, broken)
    Toy.calls = 0
    extract(corpus, Toy(), broken, workers=1, progress=False)
    assert Toy.calls == 3 + 4 + 5 and tree(broken) == tree(whole)


def test_finished_store_is_reused_but_not_for_other_or_edited_videos(clips, tmp_path):
    corpus = scan_folder(shutil.copytree(clips, tmp_path / "v"))
    store = extract(corpus, Toy(), tmp_path / "f", workers=1, progress=False)
    Toy.calls = 0
    assert extract(corpus, Toy(), tmp_path / "f", progress=False).digest() == store.digest() and Toy.calls == 0
    shutil.copy(clips / "v3.mp4", tmp_path / "v" / "v2.mp4")
    edited, fewer = scan_folder(tmp_path / "v"), scan_folder(clips)
    del fewer.videos["v2"]
    for other in (edited, fewer):
        with pytest.raises(VcworkError, match="features of another corpus, 1 videos differ, among them 'v2'"):
            extract(other, Toy(), tmp_path / "f", progress=False)


def test_of_the_lab_world_features_are_kept_for_the_next_run(corpus, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VCWORK_ROOT", str(tmp_path))

    class Coded(Toy):
        code = "1"

    digests, first, again = set(), ("1", "lab", 15), ("1", "lab", 0)
    for code, name, calls in (first, again, ("2", "lab", 15), ("1", "mine", 15)):
        Coded.code, Toy.calls = code, 0
        folder = tmp_path / f"{code}-{name}-{calls}"
        store = extract(replace(corpus, name=name), Coded(), folder, workers=1, progress=calls == 0)
        assert Toy.calls == calls
        digests.add(store.digest())
    assert len(digests) == 1 and "features of 5 of 5 videos come from an earlier run" in capsys.readouterr().out


def test_other_contract_names_both(corpus, tmp_path):
    extract(corpus, Toy(), tmp_path, workers=1, progress=False)
    with pytest.raises(VcworkError, match=r"size: asked for 32, found 16; width: asked for 5, found 3"):
        open_store(tmp_path, replace(CONTRACT, size=32, width=5))
    toy = Toy()
    toy.weights = "abc"
    refused("weights: asked for 'abc', found 'none'", extract, corpus, toy, tmp_path, progress=False)
    assert replace(CONTRACT, fps=5.0).digest() != CONTRACT.digest()


def test_undecodable_videos_are_counted_not_fatal(real, tmp_path):
    corpus = scan_folder(real / "clips" / "odd")
    store = extract(corpus, Toy(), tmp_path, workers=2, progress=False)
    assert store.ids == ["unordered", "video_90"]
    assert store.failed["corrupted"].startswith("corrupted.mp4: could not be decoded")
    report = coverage_of(corpus, store)
    assert (report.counts["features"].expected, report.counts["features"].present) == (3, 2)
    assert report.denominators["videos"] == (3, 2) and "test videos: 3 -> 2" in report.table()
    with pytest.raises(VcworkError, match=r"no features of video 'corrupted': corrupted\.mp4: could not"):
        store["corrupted"]


def test_no_video_at_all_is_an_error(real, tmp_path):
    corpus = scan_folder(real / "clips" / "odd")
    for id in ("unordered", "video_90"):
        del corpus.videos[id]
    refused(r"no video gave features; .*corrupted", extract, corpus, Toy(), tmp_path, progress=False)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([0, np.nan, 0], "expected finite numbers .* got nan at second 0, column 1"),
        ([0, 0, 1e6], "within float16's .* got 1000000.0"),
        ([0, 0], r"expected numbers \(T, 3\), T > 0, got float32 \(1, 2\)"),
    ],
)
def test_bad_features_name_the_video(corpus, tmp_path, workers, answer, message):
    with pytest.raises(VcworkError, match=r"v\d\.mp4: features of toy: .*") as caught:
        extract(corpus, Answers(answer), tmp_path, workers=workers, progress=False)
    if "v1.mp4" in str(caught.value):
        assert caught.match(message)
    refused(r"incomplete|found none", open_store, tmp_path)


def test_a_killed_worker_is_explained(corpus, tmp_path):
    with pytest.raises(VcworkError, match=r"a worker process ended .* run again to resume"):
        extract(corpus, Killer(), tmp_path, workers=2, progress=False)


def test_a_worker_killed_while_the_next_one_starts_is_explained(corpus, tmp_path):
    with pytest.raises(VcworkError, match=r"a worker process ended .* run again to resume"):
        extract(corpus, DiesEarly(), tmp_path, workers=2, progress=False)
    assert DiesEarly.starts == 2
    for number in DiesEarly.taken:
        os.close(number)


@pytest.mark.parametrize("writes_before", [0, 3, 5, 6])
def test_full_disk_leaves_nothing_readable_and_resumes(corpus, tmp_path, monkeypatch, writes_before):
    replace_, count = os.replace, iter(range(100))

    def full(source, target):
        if next(count) >= writes_before:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace_(source, target)

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(VcworkError, match=r"could not be written .No space left on device"):
        extract(corpus, Toy(), tmp_path, workers=1, progress=False)
    refused("incomplete", open_store, tmp_path)
    assert not list(tmp_path.rglob("*.part"))
    monkeypatch.undo()
    assert len(extract(corpus, Toy(), tmp_path, workers=1, progress=False)) == 5


NO_ROOM = """
import resource, signal, sys
import numpy as np
from vcwork.data.store import Contract, write_store
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the limit then answers like a full disk, with an OSError
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
write_store(sys.argv[1], Contract("toy", "none", 4.0, 16, "x / 255", 100), {"a": np.zeros((4000, 100))})
"""


def test_a_write_that_really_fails(tmp_path):
    pytest.importorskip("resource", reason="file size limits are POSIX")
    run = subprocess.run([sys.executable, "-c", NO_ROOM, tmp_path], capture_output=True, text=True, check=False)
    assert "VcworkError" in run.stderr and "shard-00000.npy: could not be written (File too large)" in run.stderr
    assert [path.name for path in tmp_path.iterdir()] == [MARK], "nothing but the mark that it was begun"


def test_shards_do_not_change_features_or_digest(tmp_path):
    arrays = _arrays(b=4, a=7, long=20, c=1)
    one = write_store(tmp_path / "one", CONTRACT, arrays)
    many = write_store(tmp_path / "many", CONTRACT, arrays, shard_rows=8)
    assert len(one.manifest["shards"]) == 1 and len(many.manifest["shards"]) == 4
    assert one.digest() == many.digest() and many.ids == list(arrays)
    for id, array in arrays.items():
        assert np.array_equal(one[id], array.astype(np.float16)) and np.array_equal(many[id], one[id])
    changed = dict(arrays, a=arrays["a"] + 1)
    assert write_store(tmp_path / "other", CONTRACT, changed).digest() != one.digest()
    refused("already holds a feature store", write_store, tmp_path / "one", CONTRACT, arrays)
    refused("no features to store", write_store, tmp_path / "none", CONTRACT, {})
    refused("incomplete feature store", open_store, tmp_path / "none")
    refused("expected a finished feature store", open_store, tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("lengths", [6], "holds 7 rows, its videos 6"),
        ("files", {}, r"expected its shards \['shard-00000.npy'\] as its files, got \[\]"),
    ],
)
def test_a_manifest_that_contradicts_its_shards_is_refused(tmp_path, key, value, message):
    write_store(tmp_path, CONTRACT, _arrays(a=7))
    edited(tmp_path, STORE, {key: value})
    refused(message, open_store, tmp_path)


def test_a_damaged_part_of_an_interrupted_extraction_is_made_again(corpus, tmp_path):
    """Of each of five parts one bit: none of them may come into the store."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    extract(corpus, Toy(), whole, workers=1, progress=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vcwork.data.extract.write_store", lambda *_, **__: exec("raise KeyboardInterrupt"))
        with pytest.raises(KeyboardInterrupt):
            extract(corpus, Toy(), broken, workers=1, progress=False)
    parts = sorted((broken / ".parts").iterdir())
    assert len(parts) == 5
    for part in parts:
        flip(part, 1)
    Toy.calls = 0
    extract(corpus, Toy(), broken, workers=1, progress=False)
    assert Toy.calls == 15 and tree(broken) == tree(whole)


def test_of_two_extractions_at_once_the_second_opens_what_the_first_has_made(corpus, tmp_path, capsys):
    class Slow(Toy):
        def __call__(self, frames):
            time.sleep(0.1)
            return super().__call__(frames)

    Toy.calls, made = 0, []
    ask = lambda: made.append(extract(corpus, Slow(), tmp_path / "f", workers=1, progress=False).digest())  # noqa: E731
    threads = [threading.Thread(target=ask) for _ in range(2)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(made) == 2 and len(set(made)) == 1 and Toy.calls == 15
    assert "another process is at work" in capsys.readouterr().err


def _npy(tmp_path, header: str | bytes, data: bytes = b"\0" * 24, version: int = 1):
    head = header.encode() if isinstance(header, str) else header
    size = struct.pack("<H" if version == 1 else "<I", len(head))
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY" + bytes([version, 0]) + size + head + data)
    return tmp_path / "x.npy"


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 3)}\n",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-2, -3)}\n",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4)}\n",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4)}\n",
        "{'descr': '|O', 'fortran_order': False, 'shape': (3,)}\n",
        "{'descr': [('a', '<f4'), ('a', '<f4')], 'fortran_order': False, 'shape': (3,)}\n",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "9" * 400 + ",)}\n",
        "(" * 9000,
        "{" * 200_000,
        "__import__('os').mkdir('made')\n",
        "{'descr': '<f4\x00', 'fortran_order': False, 'shape': (6,)}\n",
        b"\xff" * 100,
        "",
    ],
)
def test_a_header_of_any_kind_is_one_sentence(tmp_path, header, mmap):
    for version in (1, 2, 3, 9):
        path = _npy(tmp_path, header, version=version) if version > 1 or len(header) < 1 << 16 else tmp_path / "none"
        refused(r"not readable as a whole, plain \.npy array", load_npy, path, mmap)
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<i8", "?", "<U3"])
def test_what_numpy_saves_is_read(tmp_path, dtype, mmap):
    for n, array in enumerate((np.arange(12).reshape(3, 4).astype(dtype), np.zeros((0, 5), dtype), np.array(7, dtype))):
        for order in "CF":
            np.save(tmp_path / "a.npy", np.asarray(array, order=order))
            read = load_npy(tmp_path / "a.npy", mmap)
            assert np.array_equal(read, array) and read.dtype == array.dtype and read.shape == array.shape, n
            assert read.flags.writeable != mmap


def test_motion_backbone_keeps_its_promises():
    backbone = get_backbone("motion")
    frames = np.random.default_rng(0).integers(0, 255, (backbone.fps, backbone.size, backbone.size, 3), dtype=np.uint8)
    for shown in (frames, frames[:1], np.zeros_like(frames)):
        feature = backbone(shown)
        assert feature.shape == (backbone.width,) and feature.dtype == np.float32
        assert np.isfinite(feature.astype(np.float16)).all()
    assert isinstance(backbone, Backbone) and contract_of(backbone).backbone == backbone.name


@pytest.fixture(scope="module")
def mobilenet(real):
    return get_backbone(str(real / "backbones" / "mobilenet_v2"), fps=2)


def test_hugging_face_backbone(mobilenet):
    assert (mobilenet.name, mobilenet.size, mobilenet.width) == ("hf:mobilenet_v2", 224, 1280)
    assert len(mobilenet.weights) == 64 and isinstance(mobilenet, Backbone)
    frames = np.random.default_rng(0).integers(0, 255, (2, 224, 224, 3), dtype=np.uint8)
    both = mobilenet(frames)
    assert both.dtype == np.float32
    assert np.allclose(both, (mobilenet(frames[:1]) + mobilenet(frames[1:])) / 2, atol=1e-4)


def test_hugging_face_preprocessing_by_hand(mobilenet, real):
    import torch
    from transformers import AutoModel

    frames = np.random.default_rng(0).integers(0, 255, (1, 224, 224, 3), dtype=np.uint8)
    pixels = torch.from_numpy(frames / 255 * 2 - 1).float().permute(0, 3, 1, 2)
    model = AutoModel.from_pretrained(real / "backbones" / "mobilenet_v2").float().eval()
    with torch.inference_mode():
        by_hand = model(pixel_values=pixels).pooler_output.flatten(1)[0].numpy()
    assert np.allclose(mobilenet(frames), by_hand, atol=1e-4)
    assert mobilenet(frames[:, :100, :120]).shape == (1280,)


def test_real_clips_through_mobilenet(mobilenet, real, tmp_path):
    corpus = scan_folder(real / "clips")
    for id in [id for id in corpus.videos if id not in ("pastry-chef-cutting-a-loaf-into-slices", "nasa_13013")]:
        del corpus.videos[id]
    one = extract(corpus, mobilenet, tmp_path / "1", workers=1, progress=False)
    two = extract(corpus, mobilenet, tmp_path / "2", workers=2, progress=False)
    assert one.lengths == {"nasa_13013": 13, "pastry-chef-cutting-a-loaf-into-slices": 4}
    assert one.digest() == two.digest()


def test_a_model_saved_without_its_pooler_is_averaged_not_pooled_at_random(tmp_path):
    import torch
    from safetensors.torch import load_file, save_file
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(image_size=16, patch_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
    model = ViTForImageClassification(config).eval()
    model.save_pretrained(tmp_path)
    about = {"size": {"height": 16, "width": 16}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(about))
    frames = np.random.default_rng(0).integers(0, 255, (1, 16, 16, 3), dtype=np.uint8)
    feature = get_backbone(str(tmp_path))(frames)
    with torch.inference_mode():
        pixels = torch.from_numpy(frames / 255 * 2 - 1).float().permute(0, 3, 1, 2)  # (1, 3, H, W)
        by_hand = model.vit(pixel_values=pixels).last_hidden_state.mean(1)[0].numpy()  # (width,)
    assert np.allclose(feature, by_hand, atol=1e-5)

    weights = load_file(tmp_path / "model.safetensors")
    save_file({k: v for k, v in weights.items() if "layernorm_before" not in k}, tmp_path / "model.safetensors")
    refused(r"2 weights of the model are absent, among them .*layernorm_before", get_backbone, str(tmp_path))


def test_unknown_backbones_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    named = "backbone 'no such/model/at all': expected 'motion', 's3d', 'efficientnet-lite0', a folder"
    refused(named, get_backbone, "no such/model/at all")
    refused(r"expected weights in \.safetensors", get_backbone, str(tmp_path))
