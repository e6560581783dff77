"""A library of videos: cut into videos, windows or seconds, asked by text and by video, searched for moments."""

import numpy as np
import pytest
import torch

from vcwork.base.errors import VcworkError
from vcwork.core.config import ModelConfig
from vcwork.core.model import VideoCLIP
from vcwork.core.text import Tokenizer
from vcwork.data.corpus import Corpus, Segment, Video
from vcwork.data.store import Contract, write_store
from vcwork.encoders.encoder import Encoder, encode_seconds, encode_text, encode_video
from vcwork.search import library
from vcwork.search.index import VideoIndex
from vcwork.search.quality import EFFORTS, kinds_table
from vcwork.tasks import moments

WIDTH, WINDOW = 6, 8
SENTENCES = ["chop the onion", "stir the soup", "peel the beet"]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    torch.manual_seed(0)
    contract = Contract("toy", "none", 1.0, 8, "none", WIDTH)
    sizes = {"hidden": 16, "heads": 2, "ffn": 32, "video_layers": 1, "text_layers": 1, "max_video_tokens": WINDOW}
    tokenizer = Tokenizer.train(2 * SENTENCES)
    model = VideoCLIP(ModelConfig(feature_dim=WIDTH, vocab_size=len(tokenizer), max_text_tokens=12, **sizes))
    return Encoder(model.eval(), tokenizer, contract, digest="random")


@pytest.fixture(scope="module")
def clips() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {f"m{i}": rng.normal(size=(n, WIDTH)).astype(np.float16) for i, n in enumerate([5, 8, 21, 40, 13])}


def test_one_vector_a_video(encoder, clips):
    index = library.build_library(encoder, clips)
    assert index.ids == list(clips) and index.encoder == encoder.digest
    np.testing.assert_allclose(index.vectors, encode_video(encoder, clips.values()), atol=1e-6)
    assert index.metadata[2] == {"video": "m2", "start_s": 0, "end_s": 21}


def test_one_vector_a_window_and_a_second(encoder, clips):
    index = library.build_library(encoder, clips, "window", window_s=10)
    spans = [(m["start_s"], m["end_s"]) for m in index.metadata if m["video"] == "m2"]
    assert spans == [(0, 10), (5, 15), (10, 20), (15, 21)]
    by_hand = encode_video(encoder, [clips["m2"][a:b] for a, b in spans])
    assert np.allclose([index.scores(by_hand[0], [f"m2@{a}" for a, _ in spans])], by_hand @ by_hand[0], atol=1e-4)
    index = library.build_library(encoder, clips, "second")
    assert len(index) == sum(map(len, clips.values()))
    assert np.allclose(index.vectors[13:34], encode_seconds(encoder, clips["m2"]), atol=1e-6)
    assert index.entry("m2@20") == {"video": "m2", "start_s": 20, "end_s": 21}


def test_a_feature_store_gives_the_same_library(encoder, clips, tmp_path):
    store = write_store(tmp_path, encoder.contract, clips)
    a, b = (library.build_library(encoder, source, "window") for source in (store, clips))
    assert a.ids == b.ids and np.array_equal(a.vectors, b.vectors)


def test_asking_by_text_and_by_video(encoder, clips):
    index = library.build_library(encoder, clips)
    vectors, texts = encode_video(encoder, clips.values()), encode_text(encoder, SENTENCES)
    for row, hits in zip(texts @ vectors.T, library.ask(index, encoder, SENTENCES, 3), strict=True):
        assert [hit.id for hit in hits] == [f"m{i}" for i in np.argsort(-row)[:3]]
    (hits,) = library.ask(index, encoder, [clips["m3"]], 5, by="video")
    assert [hit.id for hit in hits] == [f"m{i}" for i in np.argsort(-(vectors @ vectors[3]))]
    with pytest.raises(VcworkError, match="expected by 'text' or 'video', got 'sound'"):
        library.ask(index, encoder, SENTENCES, by="sound")
    with pytest.raises(VcworkError, match="made by encoder 'other', not 'random'"):
        library.ask(VideoIndex.build(vectors, list(clips), encoder="other"), encoder, SENTENCES)


@pytest.mark.parametrize("per", ["window", "second"])
def test_many_vectors_a_video_are_judged_by_the_best(encoder, clips, per):
    index = library.build_library(encoder, clips, per)
    text = encode_text(encoder, SENTENCES)[1]
    items = {}
    for id, meta, score in zip(index.ids, index.metadata, index.vectors @ text, strict=True):
        items.setdefault(meta["video"], []).append((score, id))
    best = {video: max(scored) for video, scored in items.items()}
    hits = library.ask(index, encoder, SENTENCES[1:2], 5, videos=True)[0]
    assert [hit.id for hit in hits] == [id for _, id in sorted(best.values(), reverse=True)]
    assert [hit.score for hit in hits] == pytest.approx(sorted((s for s, _ in best.values()), reverse=True), rel=1e-4)


def test_adding_and_deleting_whole_videos(encoder, clips):
    index = library.build_library(encoder, clips, "second")
    index.delete([f"m3@{second}" for second in range(40)])
    assert "m3" not in {m["video"] for m in index.metadata}
    library.add_video(index, encoder, "m3", clips["m3"], "second")
    again = library.build_library(
        encoder, {**{v: c for v, c in clips.items() if v != "m3"}, "m3": clips["m3"]}, "second"
    )
    assert index.ids == again.ids and np.array_equal(index.vectors, again.vectors)
    with pytest.raises(VcworkError, match="already"):
        library.add_video(index, encoder, "m3", clips["m3"], "second")
    with pytest.raises(VcworkError, match="per in"):
        library.build_library(encoder, clips, "minute")


def test_moments_of_a_library_are_those_of_its_videos(encoder, clips):
    index = library.build_library(encoder, clips, "second")
    text = encode_text(encoder, SENTENCES)[0]
    curves = {video: encode_seconds(encoder, clip) @ text for video, clip in clips.items()}
    assert library.seconds_scores(index, text, "m3") == pytest.approx(curves["m3"], rel=1e-4)
    every = [(m.score, v, m.start_s) for v, curve in curves.items() for m in moments.best_moments(curve, 4)]
    found = library.find_moments(index, text, top=4, videos=5)
    assert [(f.video, f.moment.start_s) for f in found] == [(v, s) for _, v, s in sorted(every, reverse=True)[:4]]
    for a in found:
        for b in found:
            apart = a.moment.end_s + 2 <= b.moment.start_s or b.moment.end_s + 2 <= a.moment.start_s
            assert a is b or a.video != b.video or apart, "peaks of one video keep their distance"
    one = library.find_moments(index, text, top=4, videos=1)
    assert {f.video for f in one} == {max(curves, key=lambda v: curves[v].max())}


def test_moments_need_one_vector_a_second(encoder, clips):
    text = encode_text(encoder, SENTENCES)[0]
    for per in ("video", "window"):
        with pytest.raises(VcworkError, match="expected one vector a second in the index"):
            library.find_moments(library.build_library(encoder, clips, per), text)


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
def test_a_library_of_any_kind_finds_the_video_itself(encoder, clips, kind, tmp_path):
    index = library.build_library(encoder, clips, "second", kind=kind)
    index = VideoIndex.open(index.save(tmp_path), encoder=encoder.digest)
    for video, clip in clips.items():
        seconds = encode_seconds(encoder, clip)
        hits = index.query(seconds[2], 5, effort=100)[0]
        others = {h.id: h.score for h in hits}
        assert f"{video}@2" in others or min(others.values()) >= seconds[2] @ seconds[2]


def test_windows_of_some_videos_with_and_without_an_encoder(encoder, clips, tmp_path):
    store, some = write_store(tmp_path, encoder.contract, clips), ["m2", "m3"]
    ours = library.window_library(store, some, 10, encoder)
    known = library.build_library(encoder, {v: store[v] for v in some}, "window", 10)
    assert (ours.ids, ours.metadata, ours.encoder) == (known.ids, known.metadata, known.encoder)
    np.testing.assert_allclose(ours.vectors, known.vectors, atol=1e-6)
    plain = library.window_library(store, some, 10)
    assert plain.ids == known.ids and plain.encoder == f"mean features {store.digest()}"
    np.testing.assert_allclose(np.linalg.norm(plain.vectors, axis=1), 1, rtol=1e-5)


def test_an_item_is_right_where_its_middle_lies_in_the_step(encoder, clips, tmp_path):
    videos = {id: Video(id, None, None, 40.0, "test", None, (Segment(7, 12, "s1"),)) for id in ("m2", "m3")}
    index = library.window_library(write_store(tmp_path, encoder.contract, clips), ["m2", "m3"], 10, encoder)
    right = library.right_items(Corpus(tmp_path, "toy", videos, {"s1": "chop"}, {}), index)
    assert right == {"s1": ["m2@5", "m3@5"]}  # 5 to 15 s: the middle is at 10
    hits = index.query(index.vectors[:1], k=len(index))[0]
    table = library.hits_table(hits, right["s1"]).splitlines()
    assert sum(line.endswith("right") for line in table) == 2 and len(table) == 2 + len(index)
    assert not any(word in library.hits_table(hits) for word in ("right", "wrong"))


def test_every_kind_of_index_beside_the_exact_one(encoder, clips):
    index = library.build_library(encoder, clips, "second")
    table = kinds_table(index, index.vectors[:3], 5, [["m0@0"], ["m0@1"], ["m0@2"]])
    kinds = [line.split()[0] for line in table.splitlines()[2:]]
    assert set(kinds) == set(EFFORTS) and "exact R@5" in table and "flat  all     100.0 %" in table
    assert "R@5" not in kinds_table(index, index.vectors[:3], 5)
