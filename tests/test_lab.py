"""The lab world: zero-shot by construction, hard enough to be interesting, the same bytes from the same seed."""

import os
import shutil
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from checks import flip, refused

from vcwork.base.errors import VcworkError
from vcwork.base.files import sha256_file
from vcwork.data import kept
from vcwork.data.backbones.image import get_backbone
from vcwork.data.captions import repeated_word_share
from vcwork.data.corpus import open_corpus
from vcwork.data.extract import extract
from vcwork.data.kept import Kept
from vcwork.data.lab import make
from vcwork.data.lab.make import LabConfig, make_corpus, plan, shoot
from vcwork.data.lab.render import hand_path
from vcwork.data.lab.world import ACTION, THING, combination_split, make_recipes
from vcwork.data.video import iter_seconds, probe

SMALL = LabConfig(train_families=1, val_families=1, test_families=1, train_videos=1, val_videos=1, test_videos=1)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("lab") / "corpus", SMALL, progress=False, kept=Kept(None))


@pytest.fixture(scope="module")
def stories():
    return plan(LabConfig())


def test_test_recipes_show_only_unseen_combinations(stories):
    seen = {name: {(h.step.action, h.step.thing) for s in stories if s.recipe.split == name for h in s.happenings}
            for name in ("train", "val", "test")}  # fmt: skip
    assert not seen["train"] & seen["test"] and not seen["train"] & seen["val"] and not seen["val"] & seen["test"]
    trained = {(s.action, s.thing) for r in {s.recipe for s in stories if s.recipe.split == "train"} for s in r.steps}
    assert {a for a, _ in trained} == set(ACTION) and {t for _, t in trained} == set(THING), "every part was seen"


def test_every_combination_belongs_to_one_split():
    deal = combination_split(0)
    assert len(deal) == len(ACTION) * len(THING)
    for thing in THING:
        splits = [deal[action, thing] for action in ACTION]
        assert (splits.count("train"), splits.count("val"), splits.count("test")) == (7, 2, 3)


def test_lookalikes_share_half_their_steps_and_are_mutual():
    recipes = {r.id: r for r in make_recipes("train", 10, 6, seed=3)}
    for recipe in recipes.values():
        twin = recipes[recipe.lookalike]
        assert twin.lookalike == recipe.id and twin.name != recipe.name
        assert 3 <= len(set(recipe.steps) & set(twin.steps)) < 6
    assert len({r.name for r in recipes.values()}) == 20


def test_statistics_keep_what_the_design_promises(stories):
    seconds = sum(s.duration_s for s in stories)
    background = 1 - sum(h.end_s - h.start_s for s in stories for h in s.happenings) / seconds
    assert 0.42 < background < 0.6, background
    offsets = [m["offset_s"] for s in stories for m in s.mentions]
    assert min(offsets) < -2 and max(offsets) > 2, "narration before and after the action"
    happenings = sum(len(s.happenings) for s in stories)
    assert 0.6 < len(offsets) / happenings < 0.9, "some steps are never mentioned"
    assert sum(len(s.happenings) for s in stories if s.recipe.split == "test") >= 200
    assert all(
        len(s.cues) == len([c for c in s.cues if c.end_s > c.start_s and c.end_s <= s.duration_s]) for s in stories
    )


def test_words_per_second_and_rolling_repeats(corpus):
    words = sum(len(c.text.split()) for v in corpus.videos.values() for c in corpus.captions(v.id))
    assert 1.8 < words / sum(v.duration_s for v in corpus.videos.values()) < 3.0
    shares = [repeated_word_share(corpus.raw_captions(v)) for v in corpus.videos]
    assert 0.1 < np.mean(shares) < 0.45


def test_opposite_actions_are_the_same_picture_played_backwards():
    t = np.linspace(0, 1, 50, endpoint=False)
    stir, fold = (hand_path(ACTION[name].path, 1.0, t, 0.0) for name in ("stir", "fold"))
    np.testing.assert_allclose(stir[1:][::-1], fold[1:], atol=1e-12)
    assert all(np.abs(hand_path(a.path, a.hz, t, 0.3)).max() <= 1 + 1e-9 for a in ACTION.values()), "within reach"


def test_files_are_what_a_browser_plays_and_truth_fits_them(corpus):
    for video in corpus.videos.values():
        info = probe(video.video)
        assert (info.width, info.height) == (112, 112) and info.duration_s == pytest.approx(video.duration_s, abs=0.2)
        assert sum(1 for _ in iter_seconds(video.video, 10, 64)) == video.duration_s
        truth = corpus.truth(video.id)
        assert len(truth["caption_segment"]) == len(corpus.raw_captions(video.id))
        assert all(0 <= s.start_s < s.end_s <= video.duration_s and s.step in corpus.steps for s in video.segments)


def test_same_seed_same_bytes_whatever_the_workers(corpus, tmp_path):
    again = make_corpus(tmp_path / "again", SMALL, workers=1, progress=False, kept=Kept(None))
    for video in corpus.videos.values():
        assert sha256_file(video.video) == sha256_file(again[video.id].video)
        assert sha256_file(video.captions) == sha256_file(again[video.id].captions)
    other = plan(SMALL.model_copy(update={"seed": 1}))
    assert [h.step.id for s in other for h in s.happenings] != [h.step.id for s in plan(SMALL) for h in s.happenings]


def test_whole_corpus_is_reused_and_another_configuration_refused(corpus):
    before = (corpus.folder / "corpus.json").stat().st_mtime_ns
    make_corpus(corpus.folder, SMALL, progress=False)
    assert (corpus.folder / "corpus.json").stat().st_mtime_ns == before
    refused("another configuration", make_corpus, corpus.folder, SMALL.model_copy(update={"seed": 9}), progress=False)


def test_interrupted_corpus_is_not_a_corpus_and_goes_on(corpus, tmp_path):
    folder = tmp_path / "cut"
    shutil.copytree(corpus.folder, folder)
    (folder / "corpus.json").unlink()
    (folder / "truth" / f"{next(iter(corpus.videos))}.json").unlink()
    with pytest.raises(VcworkError):
        open_corpus(folder)
    assert make_corpus(folder, SMALL, progress=False, kept=Kept(None)).videos.keys() == corpus.videos.keys()


@pytest.fixture
def copied(corpus, tmp_path):
    """A corpus that may be damaged, and its first video."""
    folder = shutil.copytree(corpus.folder, tmp_path / "copied")
    return folder, next(iter(corpus.videos))


def test_captions_truth_and_films_cannot_change_unnoticed(copied, tmp_path):
    folder, id = copied
    flip(folder / "captions" / f"{id}.vtt")
    refused(rf"captions/{id}\.vtt: damaged or edited: .* verify --seal", open_corpus(folder).captions, id)
    refused("damaged or edited", open_corpus(folder).digest)  # so no training
    flip(folder / "captions" / f"{id}.vtt")
    flip(folder / "truth" / f"{id}.json")
    refused(rf"truth/{id}\.json: damaged or edited", open_corpus, folder)
    flip(folder / "truth" / f"{id}.json")
    opened = open_corpus(folder)
    flip(folder / "truth" / f"{id}.json")
    refused("damaged or edited", opened.truth, id)
    flip(folder / "truth" / f"{id}.json")
    flip(folder / "videos" / f"{id}.mp4")
    store = extract(opened, get_backbone("motion"), tmp_path / "f", workers=1, progress=False)
    assert id not in store and f"{id}.mp4: damaged or edited" in store.failed[id], "it costs that film alone"
    with open(folder / "videos" / f"{id}.mp4", "ab") as film:
        film.write(b"more")
    assert "is not the film that was made" in open_corpus(folder).missing_videos[id], "seen at a cheap open"


@pytest.mark.parametrize("name", ["videos/{}.mp4", "captions/{}.vtt", "truth/{}.json", ".parts/{}.json"])
def test_an_interrupted_corpus_believes_nothing_that_was_damaged(corpus, tmp_path, monkeypatch, name):
    folder = tmp_path / "cut"
    monkeypatch.setattr(make, "write_manifest", lambda *_: exec("raise KeyboardInterrupt"))
    with pytest.raises(KeyboardInterrupt):
        make_corpus(folder, SMALL, progress=False, kept=Kept(None))
    monkeypatch.undo()
    shot = []
    monkeypatch.setattr(make, "shoot", lambda *told: shot.append(told[-1].id) or shoot(*told))
    damaged = next(iter(corpus.videos))
    flip(folder / name.format(damaged))
    make_corpus(folder, SMALL, workers=1, progress=False, kept=Kept(None))
    assert shot == [damaged]
    for path in corpus.folder.rglob("*"):
        assert path.is_dir() or path.read_bytes() == (folder / path.relative_to(corpus.folder)).read_bytes()
    assert not (folder / ".parts").exists()


FILMING = """
import sys
from vcwork.data.kept import Kept
from vcwork.data.lab.make import LabConfig, make_corpus
if __name__ == "__main__":
    make_corpus(sys.argv[1], LabConfig.named("lab"), 2, False, Kept(None))
"""


def test_a_killed_film_leaves_no_worker_behind(tmp_path):
    (tmp_path / "filming.py").write_text(FILMING)
    running = subprocess.Popen([sys.executable, tmp_path / "filming.py", tmp_path / "lab"])
    deadline = time.monotonic() + 60
    while not (films := list((tmp_path / "lab").glob("truth/*"))) and time.monotonic() < deadline:
        time.sleep(0.1)
    workers = psutil.Process(running.pid).children(recursive=True)
    running.kill()
    running.wait()
    assert films and len(workers) >= 2
    assert psutil.wait_procs(workers, timeout=20)[1] == []


def test_a_second_run_takes_the_films_of_the_first_and_notices_a_damaged_one(corpus, tmp_path, monkeypatch, capsys):
    shot, total = [], len(corpus.videos)
    monkeypatch.setattr(make, "shoot", lambda *told: shot.append(told) or shoot(*told))
    make_corpus(tmp_path / "first", SMALL, workers=1, progress=False, kept=Kept(tmp_path / "kept"))
    assert len(shot) == total == len(list((tmp_path / "kept").iterdir()))
    damaged = min((tmp_path / "kept").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    second = make_corpus(tmp_path / "second", SMALL, workers=1, kept=Kept(tmp_path / "kept"))
    assert len(shot) == len(corpus.videos) + 1
    assert f"{len(corpus.videos) - 1} of {len(corpus.videos)} films come from an earlier run" in capsys.readouterr().out
    for video in corpus.videos.values():
        for kind in ("video", "captions", "truth"):
            assert sha256_file(getattr(video, kind)) == sha256_file(getattr(second[video.id], kind))
    assert damaged.is_file(), "the same name, and whole again"
    monkeypatch.setattr(kept, "LIMIT", damaged.stat().st_size)
    os.utime(damaged, (2e9, 2e9))
    assert Kept(tmp_path / "kept") and [*(tmp_path / "kept").iterdir()] == [damaged], "the last one used stays"
    other = SMALL.model_copy(update={"size": 96})
    make_corpus(tmp_path / "third", other, workers=1, progress=False, kept=Kept(tmp_path / "kept"))
    assert len(shot) == 2 * total + 1


def test_unknown_size_is_named():
    refused("tiny, lab, large", LabConfig.named, "huge")
