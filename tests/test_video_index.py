"""The vector database answers as brute force does, never reads back a wrong index; a library of videos, asked."""

import json
import os
import subprocess
import sys

import faiss
import numpy as np
import pytest
from checks import refused
from toys import toy_encoder

import vcwork.base.sealed as sealed
from vcwork.base.errors import VcworkError
from vcwork.base.files import sha256_file, sha256_json
from vcwork.core.text import Tokenizer
from vcwork.data.corpus import Corpus, Segment, Video
from vcwork.data.store import write_store
from vcwork.encoders.encoder import Encoder, encode_seconds, encode_text, encode_video
from vcwork.search import library
from vcwork.search.approximate import KINDS
from vcwork.search.exact import products
from vcwork.search.index import Hit, VideoIndex, without_overlap
from vcwork.search.quality import EFFORTS, kinds_table, recall_of, right_share
from vcwork.tasks import moments

WIDTH, MANY = 32, 3000
each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def vectors():
    return np.random.default_rng(0).standard_normal((200, 16)).astype(np.float32)


@pytest.fixture
def index(vectors):
    return VideoIndex.build(vectors, [f"v{i}" for i in range(200)], [{"start_s": i} for i in range(200)], "enc-1")


def clustered(n: int, seed: int = 1) -> np.ndarray:
    """Vectors around 40 centres, (n, WIDTH) float32, exact in float16 so that one brute force serves both."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((40, WIDTH))
    drawn = centres[rng.integers(0, 40, n)] + 0.4 * rng.standard_normal((n, WIDTH))
    return drawn.astype(np.float16).astype(np.float32)


@pytest.fixture(scope="module")
def many() -> np.ndarray:
    return clustered(MANY)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(before)


def ids_of(n: int) -> list[str]:
    return [f"v{i}" for i in range(n)]


def answers(lists: list[list[Hit]]) -> list[list[str]]:
    return [[hit.id for hit in hits] for hits in lists]


def brute(vectors: dict[str, np.ndarray], queries: np.ndarray, k: int) -> list[list[str]]:
    ids = list(vectors)
    scores = queries.astype(np.float64) @ np.array(list(vectors.values()), dtype=np.float64).T
    return [[ids[i] for i in np.argsort(-row, kind="stable")[:k]] for row in scores]


# ------------------------------------------------------------------------------------------------- exact answers


def test_query_equals_brute_force(index, vectors):
    queries = np.random.default_rng(1).standard_normal((30, 16)).astype(np.float32)
    scores = queries @ vectors.T
    order = np.argsort(-scores, axis=1)[:, :10]
    for q, hits in enumerate(index.query(queries, 10)):
        assert [hit.id for hit in hits] == [f"v{i}" for i in order[q]]
        assert [hit.score for hit in hits] == pytest.approx(scores[q, order[q]], rel=1e-5)
        assert [hit.rank for hit in hits] == list(range(1, 11))
        assert hits[0].metadata == {"start_s": order[q, 0]}


def test_answers_do_not_depend_on_the_batch_to_the_last_bit(many):
    index = VideoIndex.build(many, ids_of(MANY))
    queries = np.random.default_rng(2).standard_normal((300, WIDTH)).astype(np.float32)
    together = index.query(queries, 5)
    assert [index.query(query, 5)[0] for query in queries[:40]] == together[:40]
    assert index.query(queries[250:], 5) == together[250:]


def test_equal_scores_come_in_the_order_of_adding():
    later = VideoIndex.build(np.array([[1.0], [1], [2], [1], [2]]), list("abcde"))
    assert [hit.id for hit in later.query(np.ones(1), 3)[0]] == ["c", "e", "a"], "the tie at the end of the list"


def test_equal_vectors_score_equally_wherever_they_lie_and_the_first_wins():
    rng = np.random.default_rng(3)
    base = rng.standard_normal((37, 24)).astype(np.float32)
    index = VideoIndex.build(np.tile(base, (30, 1)), ids_of(37 * 30))
    for query in rng.standard_normal((20, 24)):
        best = int((base.astype(np.float64) @ query).argmax())
        hits = index.query(query, 30)[0]
        assert [hit.id for hit in hits] == [f"v{best + 37 * i}" for i in range(30)]
        assert len({hit.score for hit in hits}) == 1


def test_scores_that_differ_in_their_last_bits_are_ordered_by_the_pairs_own_product():
    rng = np.random.default_rng(8)
    vectors = rng.standard_normal(300) + 3e-7 * rng.standard_normal((4000, 300))
    index = VideoIndex.build(vectors, ids_of(4000))
    for query in rng.standard_normal((5, 300)).astype(np.float32):
        own = products(np.tile(query, (4000, 1)), index.vectors)
        order = np.argsort(-own, kind="stable")[:10]
        assert [(h.id, h.score) for h in index.query(query)[0]] == [(f"v{i}", own[i]) for i in order]


def test_more_answers_than_items_and_an_empty_index(index):
    assert len(index.query(np.ones(16), 999)[0]) == 200
    for kind in ("flat", "ivf", "pq", "hnsw"):
        assert VideoIndex(16, kind=kind).query(np.ones((2, 16)), 3) == [[], []]
        emptied = VideoIndex(16, kind=kind)
        emptied.add(np.ones((2, 16)), ["a", "b"])
        emptied.delete(["a", "b"])
        assert emptied.query(np.ones(16)) == [[]] and len(emptied.vectors) == 0
    VideoIndex(16, kind="hnsw").rebuild()


@pytest.mark.parametrize(("ask", "message"), [
    (lambda index, v: index.add(v[:2], ["new", "v3"]), "id 'v3' is in the index already"),
    (lambda index, v: index.add(v[:2], ["x", "x"]), "id 'x' is in the index already"),
    (lambda index, v: index.add(np.ones((1, 5)), ["new"]), "width 16, got shape"),
    (lambda index, v: index.add(np.full((1, 16), [np.nan] + 15 * [0]), ["new"]), "vectors holds 1 NaN"),
    (lambda index, v: index.add(v[:2], ["new"]), "2 vectors, 1 ids"),
    (lambda index, v: index.add(v[:1], ["new"], [{"when": {1, 2}}]), r"metadata of 'new'.*JSON can hold"),
    (lambda index, v: index.delete(["v1", "nobody"]), "not in the index of 200"),
    (lambda index, v: index.query(v[0], 0), "k of at least 1"),
])  # fmt: skip
def test_bad_input_is_named_and_changes_nothing(index, vectors, ask, message):
    refused(message, ask, index, vectors)
    assert len(index) == 200 and "new" not in index and np.array_equal(index.vectors, vectors)


# ------------------------------------------------------------------------------------------------- approximate kinds


@each_kind
def test_every_kind_finds_most_of_the_exact_answers_with_the_exact_scores(kind, many):
    queries = clustered(100, 2)
    exact = VideoIndex.build(many, ids_of(MANY))
    index = VideoIndex.build(many, ids_of(MANY), kind=kind)
    assert index.covered == (0 if kind == "flat" else MANY)
    found = recall_of(exact, index, queries)
    assert found.mean() > 0.9 and found.shape == (100,) and (kind != "flat" or found.mean() == 1)
    known = {(q, h.id): h.score for q, hits in enumerate(exact.query(queries, 10)) for h in hits}
    shared = [(known[q, h.id], h.score) for q, hits in enumerate(index.query(queries, 10)) for h in hits
              if (q, h.id) in known]  # fmt: skip
    assert len(shared) > 900 and all(a == b for a, b in shared), "a score is the same number in every kind"


def test_looking_everywhere_is_exact_and_looking_less_finds_less(many):
    queries, truth = clustered(100, 2), VideoIndex.build(many, ids_of(MANY))
    cells = VideoIndex.build(many, ids_of(MANY), kind="ivf")
    assert answers(cells.query(queries, 10, effort=MANY)) == answers(truth.query(queries, 10))
    shares = [recall_of(truth, cells, queries, effort=effort).mean() for effort in (1, 2, MANY)]
    assert shares[0] < shares[1] < shares[2] == 1


@each_kind
def test_the_same_vectors_give_the_same_index(kind, many, tmp_path):
    for folder in ("a", "b"):
        VideoIndex.build(many, ids_of(MANY), kind=kind).save(tmp_path / folder)
    (a, b) = ({p.name[:5]: sha256_file(p) for p in (tmp_path / f).iterdir() if p.suffix != ".json"} for f in "ab")
    assert a == b and len(a) == (2 if kind == "flat" else 3)


def test_too_few_vectors_are_refused_with_what_would_do(vectors):
    for kind, n, least in (("ivf", 77, 78), ("pq", 200, 624)):
        with pytest.raises(VcworkError, match=f"at least {least} vectors to train on, got {n}; use 'flat'"):
            VideoIndex.build(vectors[:n], ids_of(n), kind=kind)
    for kind, n in (("ivf", 78), ("hnsw", 3)):
        assert VideoIndex.build(vectors[:n], ids_of(n), kind=kind).covered == n
    refused("expected kind in", VideoIndex, 4, kind="lsh")


@each_kind
def test_deleted_items_never_come_back_and_their_ids_start_anew(kind, many):
    index = VideoIndex.build(many, ids_of(MANY), [{"age": "old"}] * MANY, kind=kind)
    queries = many[:50]
    gone = sorted({id for hits in answers(index.query(queries, 3)) for id in hits})
    index.delete(gone)
    assert index.covered == (0 if kind == "flat" else MANY), "few changes do not build it again"
    assert not {id for hits in answers(index.query(queries, 20)) for id in hits} & set(gone)
    assert all(len(hits) == 20 for hits in index.query(queries, 20))
    index.add(-many[:1], [gone[0]], [{"age": "new"}])
    assert gone[0] not in answers(index.query(queries[:1], 20))[0], "the old vector of a reused id is gone"
    (best,) = index.query(-10 * many[0], 1)[0]
    assert (best.id, best.metadata) == (gone[0], {"age": "new"})
    refused("not in the index", index.delete, [gone[1]])


@each_kind
def test_any_order_of_changes_equals_brute_force(kind, tmp_path):
    """Adding, deleting, saving, opening, building anew, at random, beside a dictionary."""
    rng = np.random.default_rng(6)
    everything, queries = clustered(2400), clustered(12, 3)
    model = dict(zip(ids_of(1200), everything[:1200], strict=True))
    index = VideoIndex.build(everything[:1200], ids_of(1200), kind=kind)
    next_row = 1200
    for step in range(14):
        if step % 5 == 4:
            index = VideoIndex.open(index.save(tmp_path))
        if step == 8:
            index.rebuild()
        gone = [str(i) for i in rng.choice(list(model), 40, replace=False)]
        index.delete(gone)
        for id in gone:
            del model[id]
        back = [*gone[:10], *(f"v{i}" for i in range(next_row, next_row + 50))]  # some ids again, other vectors
        added = everything[rng.integers(0, 2400, len(back))]
        index.add(added, back)
        model |= zip(back, added, strict=True)
        next_row += 50
        assert index.ids == list(model) and np.array_equal(index.vectors, np.array([*model.values()]))
        expected, found = brute(model, queries, 10), index.query(queries, 10, effort=1000)
        shared = [len(set(a) & set(b)) for a, b in zip(expected, answers(found), strict=True)]
        assert np.mean(shared) > (9.3 if kind in ("pq", "hnsw") else 9.9)
        for query, hits in zip(queries, found, strict=True):
            assert [h.score for h in hits] == pytest.approx([model[h.id] @ query for h in hits], rel=1e-5)
            assert len({h.id for h in hits}) == 10 and [h.score for h in hits] == sorted(h.score for h in hits)[::-1]


@pytest.mark.parametrize("kind", ["ivf", "pq", "hnsw"])
def test_it_is_built_again_when_much_has_changed_and_exact_when_little_is_left(kind, many):
    index = VideoIndex.build(many[:1000], ids_of(1000), kind=kind)
    index.add(many[1000:1100], [f"w{i}" for i in range(100)])
    index.query(many[0])
    assert index.covered == 1000, "a tenth is not more than a tenth"
    index.delete(["v5"])
    index.query(many[0])
    assert index.covered == len(index) == 1099
    index.delete(index.ids[40:])
    rest = dict(zip(index.ids, index.vectors, strict=True))
    assert answers(index.query(many[:20], 5)) == brute(rest, many[:20], 5)
    assert index.covered == (40 if kind == "hnsw" else 0)


@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_an_index_filled_bit_by_bit_is_built_at_the_first_question(kind, many):
    index, first = VideoIndex(WIDTH, kind=kind), 0
    for n in (1, 1, 5, 493, 1000, 1500):
        index.add(many[first : first + n], ids_of(MANY)[first : first + n])
        first += n
    assert index.covered == 0
    whole = VideoIndex.build(many, ids_of(MANY), kind=kind)
    assert index.query(many[:20], 90) == whole.query(many[:20], 90) and index.covered == whole.covered


def test_the_callers_array_may_change_afterwards(vectors):
    mine = vectors.copy()
    index = VideoIndex.build(mine, ids_of(200))
    mine[:] = 0
    assert np.array_equal(index.vectors, vectors)


# ------------------------------------------------------------------------------------------------- recall


def test_recall_counts_what_is_as_good_as_the_exact_answers():
    line = np.array([[4.0], [3], [2], [1]])
    whole, some = VideoIndex.build(line, list("abcd")), VideoIndex.build(line, list("abcd"))
    assert recall_of(whole, some, np.ones((2, 1)), 2).tolist() == [1, 1]
    some.query = lambda queries, k, effort: [[Hit(1, 4, "a"), Hit(2, 2, "c")], [Hit(1, 3, "b")]]
    assert recall_of(whole, some, np.ones((2, 1)), 2).tolist() == [0.5, 0.5]
    lists = some.query(None, 2, 0)
    assert right_share(lists, [["b"], ["c", "b"]]) == 0.5 == right_share(lists, [["c"], ["a"]])
    same = VideoIndex.build(np.ones((9, 2)), list("abcdefghi"))
    other = VideoIndex.build(np.ones((9, 2)), list("ihgfedcba"))
    assert recall_of(same, other, np.ones((1, 2)), 3).tolist() == [1], "of equal items any will do"
    refused("an exact index and one of its 4 items", recall_of, whole, same, np.ones((1, 1)))


# ------------------------------------------------------------------------------------------------- MaxSim, overlap


@each_kind
def test_maxsim_is_the_maximum_over_a_videos_vectors(kind, many):
    owner = np.random.default_rng(7).zipf(1.5, MANY).clip(max=300)  # one video holds a third of everything
    items = [{"video": f"m{o}", "start_s": i} for i, o in enumerate(owner)]
    index = VideoIndex.build(many, ids_of(MANY), items, kind=kind)
    queries = clustered(8, 9)
    scores, videos = queries @ many.T, np.unique(owner)
    best = np.array([[row[owner == v].max() for v in videos] for row in scores])
    for row, hits, raw in zip(best, index.query_videos(queries, 6), scores, strict=True):
        expected = [f"m{videos[i]}" for i in np.argsort(-row)[:6]]
        found = [hit.metadata["video"] for hit in hits]
        assert found == expected or (kind != "flat" and len(set(found) & set(expected)) >= 5)
        assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5, 6]
        assert [hit.score for hit in hits] == pytest.approx([raw[int(hit.id[1:])] for hit in hits], rel=1e-5)
    if kind == "flat":
        assert len(index.query_videos(queries[:1], 10_000)[0]) == len(videos)
    refused("expected 'video' in its metadata", VideoIndex.build(many[:3], list("abc")).query_videos, queries, 2)


def test_maxsim_keeps_what_the_deeper_search_found():
    index = VideoIndex.build(np.arange(12.0)[:, None], list("abcdefghijkl"))
    shallow = [Hit(i + 1, 5.0 - i, str(i), {"video": "x"}) for i in range(4)]
    deep = [Hit(1, 9.0, "better", {"video": "x"}), *shallow, Hit(6, 1.0, "other", {"video": "y"})]
    index.query = lambda vectors, k: [shallow if k < 12 else deep]  # an approximate index may do so
    (hits,) = index.query_videos(np.ones((1, 1)), 2)
    assert [(h.rank, h.id) for h in hits] == [(1, "better"), (2, "other")]


def test_overlapping_hits_of_one_moment_are_one_hit():
    spans = [("a", 0, 8), ("a", 4, 12), ("b", 4, 12), ("a", 8, 16), ("a", 16, 20)]
    hits = [Hit(i + 1, 9.0 - i, str(i), {"video": v, "start_s": s, "end_s": e}) for i, (v, s, e) in enumerate(spans)]
    kept = without_overlap(hits, 3)
    assert [h.id for h in kept] == ["0", "2", "3"], "windows that only touch do not overlap"
    assert [h.rank for h in kept] == [1, 2, 3] and [h.score for h in kept] == [9.0, 7.0, 6.0]
    assert len(without_overlap(hits, 99)) == 4


# ------------------------------------------------------------------------------------------------- on disk


@each_kind
def test_save_and_open(kind, many, tmp_path):
    stored = [{"video": f"ü{i % 7}", "start_s": i} for i in range(MANY)]
    index = VideoIndex.build(many, ids_of(MANY), stored, "enc-1", kind)
    index.delete(["v3", "v7"])
    index.add(many[:1], ["later"])
    index.save(tmp_path)
    again = VideoIndex.open(tmp_path, encoder="enc-1")
    assert again.query(many[:50], 5) == index.query(many[:50], 5)
    assert (again.ids, again.metadata, again.encoder) == (index.ids, index.metadata, "enc-1")
    assert (again.kind, again.covered) == (kind, index.covered) and np.array_equal(again.vectors, index.vectors)
    suffixes = {".npy", ".jsonl", ".json"} | ({".faiss"} if kind != "flat" else set())
    assert {p.suffix for p in tmp_path.iterdir()} == suffixes
    again.save(tmp_path)  # over the files it is mapped from
    assert VideoIndex.open(tmp_path).query(many[:50], 5) == index.query(many[:50], 5)


def test_an_empty_index_is_saved_too(tmp_path):
    assert len(VideoIndex.open(VideoIndex(4).save(tmp_path / "empty"))) == 0


def test_saving_again_replaces_and_leaves_no_rubbish(index, tmp_path):
    index.save(tmp_path)
    index.delete(["v7"])
    index.save(tmp_path)
    assert len(VideoIndex.open(tmp_path)) == 199
    assert len(list(tmp_path.iterdir())) == 3
    assert b'"v7"' not in b"".join(p.read_bytes() for p in tmp_path.glob("*.jsonl")), "a deleted item leaves the disk"


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from vcwork.search.index import VideoIndex

folder, kind = Path(sys.argv[1]), sys.argv[2]
vectors = np.random.default_rng(0).standard_normal((300, 16)).astype(np.float32)
VideoIndex.build(vectors, [f"v{i}" for i in range(300)], encoder="enc", kind=kind).save(folder)

def child(left):  # dies before a line of what writes, names and removes files: the one whose turn has come
    index = VideoIndex.open(folder)
    index.delete(["v7"])
    def trace(frame, event, arg):
        nonlocal left
        if os.path.join("vcwork", "base") not in frame.f_code.co_filename:
            return None
        left -= event == "line"
        if not left: os.kill(os.getpid(), signal.SIGKILL)
        return trace
    sys.settrace(trace)
    index.save(folder)
    os._exit(0)

os.fsync = lambda f: None  # a kill loses nothing that the system already has; only losing power would
seen = []
while True:
    pid = os.fork()
    if pid == 0:
        try: child(len(seen) + 1)
        finally: os._exit(3)
    status = os.waitpid(pid, 0)[1]
    index = VideoIndex.open(folder)
    best = index.query(vectors[7], 1)[0][0]
    assert len(index) == (300 if "v7" in index else 299) and (best.id == "v7") == ("v7" in index)
    if not os.WIFSIGNALED(status):
        assert os.WEXITSTATUS(status) == 0 and len(index) == 299
        break
    seen.append(len(index))
    if len(index) == 299:  # the new one: put the old one back for the next moment
        index.add(vectors[7:8], ["v7"])
        index.save(folder)
print(seen.count(300), seen.count(299), len(list(folder.iterdir())))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_a_kill_at_any_moment_of_saving_leaves_a_whole_index(kind, tmp_path):
    """A real SIGKILL before every line of `vcwork.base` that a save runs."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), kind],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    old, new, files = map(int, done.stdout.split())
    assert old > 20 and new > 2, "kills on both sides of the moment the manifest is replaced"
    assert files == (3 if kind == "flat" else 4), "what the kills left is cleaned by the next save"


def test_a_full_disk_within_faiss_is_named(many, tmp_path, monkeypatch):
    index = VideoIndex.build(many[:1000], ids_of(1000), kind="hnsw")
    index.save(tmp_path)

    def full(data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(faiss, "PyCallbackIOWriter", lambda write, made=faiss.PyCallbackIOWriter: made(full))
    refused(r"index-.*faiss: could not be written \(No space left", index.save, tmp_path)
    assert len(VideoIndex.open(tmp_path)) == 1000


def test_a_save_that_never_finished_is_not_an_index(index, tmp_path, monkeypatch):
    monkeypatch.setattr(sealed, "write_json", lambda path, value: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        index.save(tmp_path)
    refused("expected a finished index", VideoIndex.open, tmp_path)


def rewrite(folder, **changes) -> None:
    """The manifest with other values, its own digest made to fit: what a forger would do."""
    manifest = json.loads((folder / "manifest.json").read_text()) | changes
    manifest.pop("digest")
    (folder / "manifest.json").write_text(json.dumps(manifest | {"digest": sha256_json(manifest)}))


def forge(folder, key: str, path) -> None:
    """The manifest's digest and size of one file made to fit what the file now holds."""
    manifest = json.loads((folder / "manifest.json").read_text())
    digests, sizes = manifest["sha256"] | {key: sha256_file(path)}, manifest["bytes"] | {key: path.stat().st_size}
    rewrite(folder, sha256=digests, bytes=sizes)


@each_kind
def test_a_changed_byte_anywhere_is_refused(kind, many, tmp_path):
    VideoIndex.build(many, ids_of(MANY), kind=kind).save(tmp_path)
    for path in sorted(tmp_path.iterdir()):
        good = path.read_bytes()
        for at in (0, len(good) // 2, len(good) - 1):
            path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
            if path.name == "manifest.json" and at == len(good) - 1:
                continue  # only the line's end
            refused(path.name[:5], VideoIndex.open, tmp_path)
        path.write_bytes(good)
    assert len(VideoIndex.open(tmp_path)) == MANY


def test_wrong_and_foreign_indexes_are_refused(index, tmp_path):
    refused("expected a finished index", VideoIndex.open, tmp_path / "nothing")
    index.save(tmp_path)
    refused("made by encoder 'enc-1', asked for 'enc-2'", VideoIndex.open, tmp_path, encoder="enc-2")
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    files = manifest["files"]
    for change, message in (
        ({"format": "vcwork-index-1"}, "expected format 'vcwork-index-2', got 'vcwork-index-1'"),
        ({"count": "200"}, "count should be int"),
        ({"count": True}, "count should be int"),
        ({"files": files | {"vectors": "../../etc/passwd"}}, "expected a plain file name"),
        ({"files": files | {"vectors": ".."}}, "expected a plain file name"),
        ({"files": files | {"vectors": 3}}, "expected a plain file name"),
        ({"files": files | {"vectors": files["entries"]}}, "as file name of vectors"),
        ({"files": {}}, "of the same names"),
        ({"dimension": 5}, "expected vectors"),
        ({"places": 199}, "expected vectors"),
        ({"settings": manifest["settings"] | {"dtype": "float16"}}, "settings of another version"),
        ({"settings": {"kind": "magic"}}, "expected kind in"),
    ):
        rewrite(tmp_path, **change)
        refused(message, VideoIndex.open, tmp_path)
        (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"encoder": "enc-2"}))
    refused(r"manifest.json: its digest does not fit its content", VideoIndex.open, tmp_path, encoder="enc-2")
    for broken, message in (("{", "not readable as JSON"), ("[]", "got 'list'")):
        (tmp_path / "manifest.json").write_text(broken)
        refused(message, VideoIndex.open, tmp_path)


def test_files_of_two_indexes_are_never_mixed(many, tmp_path):
    """A forged manifest whose digests fit files that do not belong together."""
    for kind, n in (("ivf", 1000), ("hnsw", 1000), ("ivf", 999)):
        VideoIndex.build(many[:n], ids_of(n), kind=kind).save(tmp_path / f"{kind}{n}")
    home = tmp_path / "ivf1000"
    manifest = json.loads((home / "manifest.json").read_text())
    mine = home / manifest["files"]["index"]
    for other, message in (("hnsw1000", "got .'hnsw', 1000"), ("ivf999", "got .'ivf', 999")):
        (foreign,) = (tmp_path / other).glob("index-*")
        mine.write_bytes(foreign.read_bytes())
        forge(home, "index", mine)
        refused(message, VideoIndex.open, home)
    mine.write_bytes(b"IxFI" + bytes(40))
    forge(home, "index", mine)
    refused("faiss", VideoIndex.open, home)


def test_pickled_vectors_and_broken_entries_are_never_loaded(index, tmp_path):
    index.save(tmp_path)
    (file,) = tmp_path.glob("vectors-*.npy")
    good = file.read_bytes()
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    forge(tmp_path, "vectors", file)
    refused("not readable as a whole, plain", VideoIndex.open, tmp_path)
    file.write_bytes(good)
    forge(tmp_path, "vectors", file)
    (file,) = tmp_path.glob("entries-*.jsonl")
    lines = file.read_text().splitlines()
    for line, message in (
        ('["v0"]', "line 1: expected .id, metadata. or null"),
        ("[7, {}]", "line 1"),
        ("{", "line 1"),
        ("null", "expected .places, items. .200, 200., got 200 places, 199 ids"),
        (lines[1], "got 200 places, 199 ids"),
    ):
        file.write_text("\n".join([line, *lines[1:]]) + "\n")
        forge(tmp_path, "entries", file)
        refused(message, VideoIndex.open, tmp_path)


def test_a_folder_with_other_things_is_left_alone(index, tmp_path):
    (tmp_path / "holiday.mp4").write_bytes(b"precious")
    refused("holds other files and no index", index.save, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["holiday.mp4"]
    (tmp_path / "manifest.json").write_text('{"format": "vcwork-features-1"}')
    refused("expected format 'vcwork-index-2'", index.save, tmp_path)
    assert "features" in (tmp_path / "manifest.json").read_text()


FEATURES = 6
SENTENCES = ["chop the onion", "stir the soup", "peel the beet"]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return toy_encoder(Tokenizer.train(2 * SENTENCES), FEATURES, digest="random", max_text_tokens=12)


@pytest.fixture(scope="module")
def clips() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {f"m{i}": rng.normal(size=(n, FEATURES)).astype(np.float16) for i, n in enumerate([5, 8, 21, 40, 13])}


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
    refused("expected by 'text' or 'video', got 'sound'", library.ask, index, encoder, SENTENCES, by="sound")
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
    last = {v: clip for v, clip in clips.items() if v != "m3"} | {"m3": clips["m3"]}
    again = library.build_library(encoder, last, "second")
    assert index.ids == again.ids and np.array_equal(index.vectors, again.vectors)
    refused("already", library.add_video, index, encoder, "m3", clips["m3"], "second")
    refused("per in", library.build_library, encoder, clips, "minute")


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
