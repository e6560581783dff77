"""One contract for both places an index can lie: a folder of ours, and Milvus (Milvus Lite, a file here)."""

import numpy as np
import pytest
from checks import refused

from vcwork.search.index import VideoIndex

WIDTH, MANY = 16, 300
VECTORS = np.random.default_rng(0).standard_normal((MANY, WIDTH)).astype(np.float32)
QUERIES = np.random.default_rng(1).standard_normal((20, WIDTH)).astype(np.float32)
ITEMS = [{"video": f"m{i // 60}", "start_s": i, "text": f"knead the dough, crème no {i}"} for i in range(MANY)]


def ids_of(rows) -> list[str]:
    return [f'ü"{i}' for i in rows]  # a name that a filter has to quote


@pytest.fixture(params=["folder", "milvus"])
def place(request, tmp_path):
    if request.param == "folder":
        return str(tmp_path / "index")
    pytest.importorskip("pymilvus", reason="extra cluster (pymilvus, milvus-lite) is not installed")
    pytest.importorskip("milvus_lite", reason="extra cluster (pymilvus, milvus-lite) is not installed")
    return f"milvus:{tmp_path}/index.db"


@pytest.fixture
def index(place):
    VideoIndex.build(VECTORS, ids_of(range(MANY)), ITEMS, "enc-1").save(place)
    return VideoIndex.open(place, encoder="enc-1")


def brute(rows: list[int], k: int) -> list[list[str]]:
    order = np.argsort(-(QUERIES @ VECTORS[rows].T), axis=1, kind="stable")[:, :k]
    return [ids_of(np.array(rows)[line]) for line in order]


def found(index, k: int = 10) -> list[list[str]]:
    return [[hit.id for hit in hits] for hits in index.query(QUERIES, k)]


def test_what_was_saved_is_there(index):
    assert (len(index), index.ids, index.metadata) == (MANY, ids_of(range(MANY)), ITEMS)
    assert np.array_equal(index.vectors, VECTORS) and index.entry(ids_of([7])[0]) == ITEMS[7]
    assert ids_of([7])[0] in index and "nobody" not in index and (index.dimension, index.kind) == (WIDTH, "flat")
    assert index.beginning(ids_of([29])[0]) == dict(
        zip(ids_of([29, *range(290, 300)]), ITEMS[29:30] + ITEMS[290:], strict=True)
    )
    assert index.beginning("nobody") == {}
    some = ids_of([9, 2])
    np.testing.assert_allclose(index.scores(QUERIES[0], some), VECTORS[[9, 2]] @ QUERIES[0], rtol=1e-5)


def test_answers_are_brute_force(index):
    assert found(index) == brute(list(range(MANY)), 10)
    hit = index.query(QUERIES[0], 3)[0][2]
    assert hit.rank == 3 and hit.metadata == ITEMS[int(hit.id[2:])]
    assert hit.score == pytest.approx(float(VECTORS[int(hit.id[2:])] @ QUERIES[0]), rel=1e-5)
    assert len(index.query(QUERIES[0], 999)[0]) == MANY, "more than there are"
    for hits in index.query_videos(QUERIES, 5):
        assert [h.rank for h in hits] == [1, 2, 3, 4, 5] and len({h.metadata["video"] for h in hits}) == 5


def test_deleted_and_added_again(index, place):
    index.delete(ids_of(range(100)))
    index.add(-VECTORS[:1], ids_of([0]), [{"age": "new"}])
    (best,) = index.query(-10 * VECTORS[0], 1)[0]
    assert (best.id, best.metadata) == (ids_of([0])[0], {"age": "new"}) and index.ids == ids_of([*range(100, MANY), 0])
    index.delete(ids_of([0]))
    assert found(index) == brute(list(range(100, MANY)), 10)
    index.save(place)
    assert len(VideoIndex.open(place)) == MANY - 100
    index.delete(index.ids)
    assert index.query(QUERIES[:2]) == [[], []] and index.ids == [] and len(index.vectors) == 0
    index.add(VECTORS[:3], ids_of(range(3)))
    assert found(index, 2) == brute([0, 1, 2], 2)


def test_words_and_equal_vectors(index):
    assert index.words("CREME 77")[0].id == ids_of([77])[0]
    assert index.words("?!") == [] and index.words("") == [] and index.words('"AND NOT(', 3) == []
    index.add(np.tile(10 * QUERIES[0], (3, 1)), ["one", "two", "three"])
    assert [hit.id for hit in index.query(QUERIES[0], 5)[0]][:3] == ["one", "two", "three"], "the earlier first"


def test_bad_input_is_named_and_changes_nothing(index):
    for ask, message in (
        (lambda: index.add(VECTORS[:2], ["new", ids_of([3])[0]]), "is in the index already"),
        (lambda: index.add(VECTORS[:2], ["x", "x"]), "id 'x' is in the index already"),
        (lambda: index.add(np.ones((1, 5)), ["new"]), "width 16, got shape"),
        (lambda: index.add(np.full((1, WIDTH), np.nan), ["new"]), "NaN"),
        (lambda: index.add(VECTORS[:1], ["new"], [{"when": {1}}]), "JSON can hold"),
        (lambda: index.delete(["nobody"]), "not in the index of 300"),
        (lambda: index.entry("nobody"), "not in the index of 300"),
        (lambda: index.query(QUERIES[0], 0), "k of at least 1"),
        (lambda: index.query(np.full(WIDTH, np.nan)), "NaN"),
        (lambda: index.query(np.ones(7)), "width 16"),
    ):
        refused(message, ask)
        assert len(index) == MANY and "new" not in index


def test_an_approximate_kind_finds_most(place):
    VideoIndex.build(VECTORS, ids_of(range(MANY)), kind="ivf").save(place)
    index, truth = VideoIndex.open(place), brute(list(range(MANY)), 10)
    assert found(index) == truth, "so few cells are all looked into"
    index.rebuild()
    shares = [[len({h.id for h in hits} & set(right)) for hits, right in zip(index.query(QUERIES, 10, effort), truth,
              strict=True)] for effort in (1, 99)]  # fmt: skip
    assert np.mean(shares[0]) < np.mean(shares[1]) == 10


def test_what_is_not_there_is_said(place):
    refused("expected a.* index", VideoIndex.open, place)
    VideoIndex(4, "enc-1").save(place)
    assert len(VideoIndex.open(place)) == 0
    refused("made by encoder 'enc-1', asked for 'enc-2'", VideoIndex.open, place, encoder="enc-2")
