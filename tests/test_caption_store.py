"""Caption store: what goes in comes out, part by part, and a store that is not the one written is refused."""

import subprocess
import sys

import numpy as np
import pytest
from checks import edited, refused

from vcwork.base.sealed import seal
from vcwork.core.sampling import Track
from vcwork.core.text import SPECIAL, Tokenizer
from vcwork.data.howto100m.captions import (
    CAPTIONS,
    CaptionRule,
    CaptionWriter,
    as_stored,
    cut_tokens,
    open_caption_store,
    vocabulary_hash,
)
from vcwork.data.store import Contract, ShardWriter

TOKENIZER = Tokenizer([*SPECIAL, *"abcdefghij", *(f"##{letter}" for letter in "abcdefghij"), "salt", "stir"])
RULE = CaptionRule.of(TOKENIZER)


def tracks(n: int = 11, seed: int = 0) -> list[Track]:
    """Videos of 1 to 6 captions of 0 to 4 tokens."""
    rng, made = np.random.default_rng(seed), []
    for v in range(n):
        clips = 1 + v % 6
        starts = np.sort(rng.random(clips) * 100).astype(np.float32)
        rows = tuple(tuple(rng.integers(5, len(TOKENIZER), rng.integers(0, 5)).tolist()) for _ in range(clips))
        made.append(Track(f"v{v}", starts, starts + np.float32(2.5), rows, 7))
    return made


def same(a: Track, b: Track) -> bool:
    times = np.array_equal(a.start_s, b.start_s) and np.array_equal(a.end_s, b.end_s)
    tokens = [row.tolist() for row in a.tokens] == [row.tolist() for row in b.tokens]
    return a.video_id == b.video_id and tokens and times


def write(folder, rule, rows, failed=(), per_part=4096):
    """A store of these tracks, so many in a part."""
    writer = CaptionWriter(folder, rule)
    for n in range(0, len(rows), per_part):
        own = rows[n : n + per_part]
        videos = [as_stored(rule, track.video_id, track.start_s, track.end_s, track.tokens) for track in own]
        writer.write([track.video_id for track in own], videos)
    return writer.finish(TOKENIZER, dict(failed))


@pytest.fixture
def store(tmp_path):
    return write(tmp_path / "s", RULE, tracks(), {"gone": "no caption file"}, 4)


def test_what_goes_in_comes_out(store):
    assert len(store) == 11 and store.ids == [t.video_id for t in tracks()] and len(store.parts) == 3
    for track in tracks():
        assert same(store.track(track.video_id), track)
    assert store.track("v3").seconds == 0 and store.track("v3", 31).seconds == 31
    assert store.track("v3").start_s.dtype == np.float32 and store.track("v3").tokens.flat.dtype == np.uint16
    assert "v3" in store and "gone" not in store
    refused("no captions of video 'gone': no caption file", store.track, "gone")
    refused("'x': not among its 11 videos", store.track, "x")
    asked = CaptionRule.of(TOKENIZER, dedup="none")
    refused("another rule: dedup: asked for 'none', found 'words'", open_caption_store, store.folder, asked)


def test_a_part_that_stands_there_twice_is_refused(store):
    edited(store.folder, CAPTIONS, lambda manifest: manifest.update(parts=manifest["parts"][:1] * 2))
    refused("expected 8 videos, got 4 different ids", open_caption_store, store.folder)


def test_one_video_touches_one_part(store):
    again = open_caption_store(store.folder)
    again.track("v5")
    assert again._map.cache_info().currsize == 1 and not again.track("v5").start_s.flags.writeable
    assert again.track("v5").tokens.flat.dtype == np.uint16, "a small vocabulary needs two bytes a token"


SMALL_LIMIT = """
import resource, sys
import numpy as np
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
from vcwork.data.howto100m.captions import open_caption_store
from vcwork.data.store import open_store
captions, features = (open_it(f"{sys.argv[1]}/{name}", verify=False)
                      for open_it, name in ((open_caption_store, "captions"), (open_store, "features")))
kept = []
for v in np.random.default_rng(0).permutation(10_000):
    track, rows = captions.track(f"v{v // 5}"), features[f"v{v}"]
    assert track.tokens.flat.tolist() == [v // 5 % 7, 3] and rows.tolist() == [[v % 100]] and rows.dtype == np.float16
    kept.append(rows)
assert len(kept) == 10_000 and kept[1].base is not None, "views, not copies"
"""


def test_ten_thousand_files_are_read_with_256_open(tmp_path):
    """In a process of its own, which may open 256: every shard, and parts of five files, are read, and all are held."""
    captions, ids = CaptionWriter(tmp_path / "captions", RULE), [f"v{v}" for v in range(10_000)]
    features = ShardWriter(tmp_path / "features", Contract("toy", "none", 1.0, 8, "none", 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _: None)  # nobody pulls the plug here
        for v, id in enumerate(ids):
            if v < 2000:
                captions.write([id], [as_stored(RULE, id, [0], [1], [[v % 7, 3]])])
            features.write([id], [np.full((1, 1), v % 100, np.float16)])
    captions.finish(TOKENIZER, {})
    features.finish({"failed": {}})
    done = subprocess.run([sys.executable, "-c", SMALL_LIMIT, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_digest_knows_content_and_order_but_not_parts(tmp_path, store):
    def written(name, rows, rule=RULE, per_part=4096):
        return write(tmp_path / name, rule, rows, {}, per_part).digest()

    assert written("one part", tracks()) == written("one each", tracks(), per_part=1) == store.digest()
    others = [tracks(seed=1), tracks()[::-1], tracks()[:-1]]
    digests = {written(str(n), rows) for n, rows in enumerate(others)}
    digests |= {written("cut", tracks(), CaptionRule.of(TOKENIZER, cut="reference")), store.digest()}
    assert len(digests) == 5


def test_large_vocabulary_is_stored_in_four_bytes(tmp_path):
    rule = CaptionRule("hash", 70_000)
    writer = CaptionWriter(tmp_path, rule)
    writer.write(["v"], [as_stored(rule, "v", [0], [1], [[69_999, 3]])])
    stored = np.load(tmp_path / "part-00000" / "tokens.npy")
    assert stored.tolist() == [69_999, 3] and stored.dtype == np.int32
    refused(r"v: expected tokens below 70000, got 3\.\.70000", as_stored, rule, "v", [0], [1], [[3, 70_000]])


def test_tokenizer_comes_back_and_is_checked(store):
    assert store.tokenizer().vocabulary == TOKENIZER.vocabulary and store.rule.vocab_size == len(TOKENIZER)
    (store.folder / "vocab.txt").write_text("\n".join([*SPECIAL, "a"]))
    refused(r"vocab\.txt: missing, or not the file of manifest\.json", store.tokenizer)
    store.manifest["files"]["vocab.txt"] = seal(store.folder / "vocab.txt")
    refused(r"vocab\.txt: not the vocabulary", store.tokenizer)
    assert vocabulary_hash(TOKENIZER) != vocabulary_hash(Tokenizer([*SPECIAL, "a"]))


def test_cuts_by_name():
    text = "salt " * 40
    assert len(cut_tokens([text], TOKENIZER, "none")[0]) == 40
    assert len(cut_tokens([text], TOKENIZER, "reference")[0]) == 20, "96 characters: 19 words and s, which is unknown"
    assert len(cut_tokens(["a " * 60], TOKENIZER, "reference")[0]) == 32, "48 words fit in 96 characters, 32 are kept"
    salt = TOKENIZER.vocabulary.index("salt")
    assert cut_tokens(["salt \ud800 salt"], TOKENIZER, "none")[0] == [salt, salt], "half a character is not a crash"
    for name, value in (("dedup", "letters"), ("cut", "short")):
        refused(f"{name}: expected .* got '{value}'", CaptionRule.of, TOKENIZER, **{name: value})


def _numbers(store, name, change):
    """An array of the second part changed, and everything sealed anew, as somebody might who means harm."""
    path = store.folder / "part-00001" / f"{name}.npy"
    np.save(path, change(np.load(path)))
    edited(store.folder, CAPTIONS, lambda m: m["files"].update({f"part-00001/{name}.npy": seal(path)}))
    return open_caption_store(store.folder)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("start_s", lambda x: x.astype(np.float64), "expected float32"),
        ("end_s", lambda x: x[:-1], r"expected float32 \("),
        ("tokens", lambda x: x.astype(np.int64), "expected uint16"),
        ("token_offsets", lambda x: x - 1, "places that rise from 0 to the number of tokens"),
        ("token_offsets", lambda x: x[::-1].copy(), "places that rise from 0"),
        ("clip_offsets", lambda x: x + np.eye(1, len(x), len(x) - 1, dtype=int)[0], "the number of clips"),
        ("clip_offsets", lambda x: x.astype(np.float64), "expected int64"),
    ],
)
def test_a_part_that_is_sealed_and_wrong_inside_is_one_sentence(store, name, change, message):
    refused(rf"part-00001/{name}\.npy: .*{message}", _numbers(store, name, change).track, "v5")
