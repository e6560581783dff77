"""The vector database answers as brute force does, and never reads back a wrong, foreign or half-written index."""

import json

import numpy as np
import pytest

import vcwork.search as search
from vcwork.errors import VcworkError
from vcwork.search import Hit, VideoIndex, without_overlap


@pytest.fixture
def vectors():
    return np.random.default_rng(0).standard_normal((200, 16)).astype(np.float32)


@pytest.fixture
def index(vectors):
    return VideoIndex.build(vectors, [f"v{i}" for i in range(200)], [{"start_s": i} for i in range(200)], "enc-1")


def test_query_equals_brute_force(index, vectors):
    queries = np.random.default_rng(1).standard_normal((30, 16)).astype(np.float32)
    scores = queries @ vectors.T
    order = np.argsort(-scores, axis=1)[:, :10]
    for q, hits in enumerate(index.query(queries, 10)):
        assert [hit.id for hit in hits] == [f"v{i}" for i in order[q]]
        assert [hit.score for hit in hits] == pytest.approx(scores[q, order[q]], rel=1e-5)
        assert [hit.rank for hit in hits] == list(range(1, 11))
        assert hits[0].metadata == {"start_s": order[q, 0]}


def test_answers_do_not_depend_on_the_batch(index):
    queries = np.random.default_rng(2).standard_normal((7, 16))
    together = index.query(queries, 5)
    for q, hits in enumerate(together):
        assert [hit.id for hit in index.query(queries[q], 5)[0]] == [hit.id for hit in hits]


def test_equal_scores_come_in_the_order_of_adding():
    index = VideoIndex.build(np.ones((5, 3)), list("edcba"))
    assert [hit.id for hit in index.query(np.ones(3), 5)[0]] == list("edcba")
    assert [hit.id for hit in index.query(np.ones(3), 2)[0]] == list("ed")


def test_more_answers_than_items_and_an_empty_index(index):
    assert len(index.query(np.ones(16), 999)[0]) == 200
    assert VideoIndex(16).query(np.ones((2, 16)), 3) == [[], []]


def test_add_and_delete_equal_a_fresh_index(index, vectors):
    index.delete([f"v{i}" for i in range(0, 200, 2)])
    assert len(index) == 100 and "v0" not in index and "v1" in index
    index.add(vectors[:1], ["v0"], [{"start_s": 0}])
    rows = [*range(1, 200, 2), 0]
    fresh = VideoIndex.build(vectors[rows], [f"v{i}" for i in rows], [{"start_s": i} for i in rows])
    assert index.query(vectors[:9], 7) == fresh.query(vectors[:9], 7)
    assert np.array_equal(index.vectors, vectors[rows])


def test_bad_input_is_named_and_changes_nothing(index, vectors):
    with pytest.raises(VcworkError, match="id 'v3' is in the index already"):
        index.add(vectors[:2], ["new", "v3"])
    with pytest.raises(VcworkError, match="id 'x' is in the index already"):
        index.add(vectors[:2], ["x", "x"])
    with pytest.raises(VcworkError, match="width 16, got shape"):
        index.add(np.ones((1, 5)), ["new"])
    with pytest.raises(VcworkError, match="vectors holds 1 NaN"):
        index.add(np.full((1, 16), [np.nan] + 15 * [0]), ["new"])
    with pytest.raises(VcworkError, match="2 vectors, 1 ids"):
        index.add(vectors[:2], ["new"])
    with pytest.raises(VcworkError, match="not in the index of 200"):
        index.delete(["v1", "nobody"])
    with pytest.raises(VcworkError, match="k of at least 1"):
        index.query(vectors[0], 0)
    assert len(index) == 200


def test_save_and_open(index, vectors, tmp_path):
    index.save(tmp_path / "index")
    again = VideoIndex.open(tmp_path / "index", encoder="enc-1")
    assert again.query(vectors[:5], 5) == index.query(vectors[:5], 5)
    assert (again.ids, again.metadata, again.encoder) == (index.ids, index.metadata, "enc-1")
    assert {p.suffix for p in (tmp_path / "index").iterdir()} == {".npy", ".json"}
    empty = VideoIndex(4).save(tmp_path / "empty")
    assert len(VideoIndex.open(empty)) == 0


def test_saving_again_replaces_and_leaves_no_rubbish(index, tmp_path):
    index.save(tmp_path)
    index.delete(["v7"])
    index.save(tmp_path)
    assert len(VideoIndex.open(tmp_path)) == 199
    assert len(list(tmp_path.iterdir())) == 3


def test_a_crash_while_saving_keeps_the_old_index(index, tmp_path, monkeypatch):
    index.save(tmp_path)
    index.delete(["v7"])

    def full_disk(path, value):
        raise VcworkError(f"{path}: could not be written (No space left on device)")

    monkeypatch.setattr(search, "write_json", full_disk)
    with pytest.raises(VcworkError, match="No space left"):
        index.save(tmp_path)
    assert len(VideoIndex.open(tmp_path)) == 200
    monkeypatch.undo()
    index.save(tmp_path)  # cleans what the crash left
    assert len(VideoIndex.open(tmp_path)) == 199 and len(list(tmp_path.iterdir())) == 3


def test_a_save_that_never_finished_is_not_an_index(index, tmp_path, monkeypatch):
    monkeypatch.setattr(search, "write_json", lambda path, value: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        index.save(tmp_path)
    with pytest.raises(VcworkError, match="no index here"):
        VideoIndex.open(tmp_path)


def test_wrong_foreign_and_altered_indexes_are_refused(index, tmp_path):
    with pytest.raises(VcworkError, match="no index here"):
        VideoIndex.open(tmp_path / "nothing")
    index.save(tmp_path)
    with pytest.raises(VcworkError, match="made by encoder 'enc-1', asked for 'enc-2'"):
        VideoIndex.open(tmp_path, encoder="enc-2")
    (file,) = tmp_path.glob("vectors-*.npy")
    good = file.read_bytes()
    file.write_bytes(good[:-4] + b"\0\0\0\1")
    with pytest.raises(VcworkError, match=r"vectors-.*not the file the manifest describes"):
        VideoIndex.open(tmp_path)
    file.write_bytes(good)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    for key, value, message in (
        ("format", "other", 'expected format vcwork-index-1, got "other"'),
        ("count", "200", "count should be int"),
        ("files", {"vectors": "../../etc/passwd", "entries": "x"}, "no plain file name"),
        ("dimension", 5, "expected vectors"),
    ):
        (tmp_path / "manifest.json").write_text(json.dumps(manifest | {key: value}))
        with pytest.raises(VcworkError, match=message):
            VideoIndex.open(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(VcworkError, match="not readable as JSON"):
        VideoIndex.open(tmp_path)


def test_a_pickled_vector_file_is_never_loaded(index, tmp_path):
    index.save(tmp_path)
    (file,) = tmp_path.glob("vectors-*.npy")
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    manifest["sha256"]["vectors"] = search.sha256_file(file)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(VcworkError, match="not a plain array"):
        VideoIndex.open(tmp_path)


def test_a_folder_with_other_things_is_left_alone(index, tmp_path):
    (tmp_path / "holiday.mp4").write_bytes(b"precious")
    with pytest.raises(VcworkError, match="holds other files and no index"):
        index.save(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["holiday.mp4"]
    (tmp_path / "manifest.json").write_text('{"format": "vcwork-features-1"}')
    with pytest.raises(VcworkError, match="expected format vcwork-index-1"):
        index.save(tmp_path)
    assert "features" in (tmp_path / "manifest.json").read_text()


def test_overlapping_hits_of_one_moment_are_one_hit():
    spans = [("a", 0, 8), ("a", 4, 12), ("b", 4, 12), ("a", 8, 16), ("a", 16, 20)]
    hits = [Hit(i + 1, 9.0 - i, str(i), {"video": v, "start_s": s, "end_s": e}) for i, (v, s, e) in enumerate(spans)]
    kept = without_overlap(hits, 3)
    assert [h.id for h in kept] == ["0", "2", "3"], "windows that only touch do not overlap"
    assert [h.rank for h in kept] == [1, 2, 3] and [h.score for h in kept] == [9.0, 7.0, 6.0]
    assert len(without_overlap(hits, 99)) == 4
