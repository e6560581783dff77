"""Published benchmarks as our corpora: features beside annotations, what is counted, every task's arrays on them."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import made_benchmarks as made
import numpy as np
import pytest
import torch
from checks import Runs, refused
from toys import toy_encoder

from vcwork.base.errors import NoData, VcworkError
from vcwork.core.text import Tokenizer
from vcwork.data.benchmarks.coin import read_coin
from vcwork.data.benchmarks.corpora import SOURCES, benchmark_corpus, read_benchmark, splits_table
from vcwork.data.benchmarks.features import carve_val, contract_beside, with_features
from vcwork.data.benchmarks.youcook2 import read_youcook2_csv, read_youcook2_json
from vcwork.data.coverage import coverage_of
from vcwork.data.store import S3D_FEATURES
from vcwork.encoders.encoder import Encoder
from vcwork.review.annotated import read_annotations
from vcwork.review.corpus_numbers import describe
from vcwork.review.gallery import benchmark_gallery
from vcwork.tasks import cases as evaluation
from vcwork.tasks import didemo, localization, opponents, retrieval, videoqa
from vcwork.training.finetune_corpus import clip_set
from vcwork.workbench.profiles import plan_profile

SECONDS = {
    "youcook2": {id: 71 for id in ("t0", "t1", "t2", "t3", "v0", "v1")},
    "msrvtt": {f"video{i}": 12 for i in range(10)},
    "msrvtt_qa": {"video7": 12, "video9": 10},
    "didemo": {f"a{at}.mov": 30 for at in range(3)} | {f"b{at}.m4v": 23 for at in range(3)},
    "coin": {f"c{i}": 45 for i in range(8)},
    "crosstask": {id: 60 for id in ["held", *(f"p{i}" for i in range(34)), *(f"q{i}" for i in range(3)), "r0", "r1"]},
}


@pytest.fixture
def source(tmp_path: Path):
    """Makes a release with features; `seconds` overrides what has how many, 0: none."""

    def make(name: str, **seconds: int) -> Path:
        folder = getattr(made, name)(tmp_path / name)
        made.features(folder, {id: n for id, n in (SECONDS[name] | seconds).items() if n})
        return folder

    return make


def build(folder: Path):
    out = folder.parent / f"out-{folder.name}"
    return benchmark_corpus(folder.name, folder, out / "corpus", out / "features")


def accounting(corpus) -> dict:
    return json.loads((corpus.folder / "accounting.json").read_text())


def sizes(corpus) -> dict[str, int]:
    return {split: len(corpus.split(split)) for split in ("train", "val", "test") if corpus.split(split)}


def test_youcook2(source):
    corpus, store = build(source("youcook2"))
    assert sizes(corpus) == {"train": 3, "val": 1, "test": 2} and store.contract.backbone == "made"
    assert corpus.meta["benchmark"]["splits"] == {
        "train": "YouCook2 train 6 (official json) without val",
        "val": "YouCook2 train 2 (official json): val carved from it",
        "test": "YouCook2 val 4 (HowTo100M csv)",
    }
    assert "test: YouCook2 val 4 (HowTo100M csv)" in splits_table(corpus)
    v0, v1 = corpus.split("test")
    assert v0.segments[0].step == v1.segments[0].step == "cut the onion"  # one text, one step: group-positive
    assert v1.segments[0].sentence == "Cut the  onion" and v0.segments[1].step == "fry part 4"
    assert v0.recipe == "100" and corpus.recipes["100"].name == "recipe type 100" and v0.duration_s == 71
    report = coverage_of(corpus, store)
    assert not report.counts["videos"].missing and not report.counts["features"].missing
    assert report.denominators["test clips"] == (4, 4)
    again, same = build(corpus.folder.parents[1] / "youcook2")
    assert again.videos == corpus.videos and same.digest() == store.digest()


def test_either_file_of_youcook2_is_enough(source):
    folder = source("youcook2")
    (folder / "youcookii_annotations_trainval.json").rename(folder / "later.json")
    assert sizes(build(folder)[0]) == {"test": 2}
    (folder / "validation_youcook.csv").unlink()
    refused(r"found no file of youcook2, which needs validation_youcook.csv", read_benchmark, "youcook2", folder)
    (folder / "later.json").rename(folder / "youcookii_annotations_trainval.json")
    assert read_benchmark("youcook2", folder)["test"].split == "YouCook2 val 4 (official json)"


def test_a_gallery_that_lost_videos_has_another_name(source):
    folder = source("youcook2", v1=0, v0=20)
    corpus, store = build(folder)
    assert corpus.meta["benchmark"]["splits"]["test"] == "YouCook2 val 2 of 4 (HowTo100M csv)"
    test = accounting(corpus)["test"]
    assert test["counts"]["features"] == {"expected": 2, "missing": {"v1": "v1.npy is missing"}}
    assert test["counts"]["clips"]["missing"]["validation_youcook.csv line 4, v1"] == "no features"
    assert "clips that end after their features: 1" in test["notes"]  # 15 to 60 s, of which 5 s are there
    assert test["denominators"] == {"videos": [2, 1], "clips": [4, 2]}
    report = coverage_of(corpus, store)
    assert report.counts["features"].missing == {"v1": "v1.npy is missing"}
    assert report.denominators["test clips"] == (4, 2) and report.denominators["test videos"] == (2, 1)
    assert "test clips left out: 2; first: validation_youcook.csv line 4, v1: no features" in report.notes
    assert "test: clips that end after their features: 1" in report.notes


def test_clips_behind_the_features_are_counted(source):
    read = read_youcook2_csv(source("youcook2") / "validation_youcook.csv")
    left = with_features(read, {"v0": 12, "v1": 2}, {})
    assert [(c.video, c.start_s) for c in left.clips] == [("v0", 2)] and left.split.startswith("YouCook2 val 1 of 4")
    assert left.accounting.counts["clips"].missing["validation_youcook.csv line 3, v0"] == (
        "starts at 15 s, the features end at 12 s"
    )
    assert left.accounting.counts["videos"].missing == {"v1": "no clip begins before its features end"}
    assert left.accounting.counts["features"].missing == {} and "clips longer than 32 s: 0.0%" in left.accounting.notes
    assert with_features(read, {}, {}).split == "YouCook2 val 0 of 4 (HowTo100M csv)"


def test_features_of_another_rate_are_told(source):
    """Beyond 5 s and a tenth of the length, as far as lengths are known and files are cut."""
    corpus, _ = build(source("coin", c6=90, c7=49))
    note = "features of another length than their video: 1, first c6: features of 90 s, the video has 45 s"
    assert note in accounting(corpus)["test"]["notes"]
    assert "another length" not in str(accounting(corpus)["train"]["notes"])


def test_msrvtt(source):
    corpus, store = build(source("msrvtt", video9=0))
    assert corpus.meta["benchmark"]["splits"]["test"] == "MSR-VTT 1k-A 1 of 2" and sizes(corpus)["test"] == 2
    assert sizes(corpus)["train"] + sizes(corpus)["val"] == 8 and "9k" in corpus.meta["benchmark"]["splits"]["train"]
    video = corpus["video7"]
    assert [(s.start_s, s.end_s, s.sentence) for s in video.segments] == [(0, 12, "a thing is done")]
    assert video.recipe == "1" and len(corpus["video8"].segments) == 2  # category and length from the official json
    assert "video9" in corpus.videos and "video9" not in store
    assert coverage_of(corpus, store).denominators["test clips"] == (2, 1)


def test_msrvtt_alone_does_not_know_how_long_a_video_is(source):
    folder = source("msrvtt", video9=0)
    (folder / "MSRVTT_data.json").unlink()
    corpus, store = build(folder)
    assert list(corpus.videos) == ["video7"] and corpus["video7"].segments[0].end_s == 12
    assert corpus.missing_videos == {"video9": "video9.npy is missing, and nobody says how long the video is"}
    assert coverage_of(corpus, store).counts["videos"].present == 1


def test_a_file_in_place_of_its_folder(source):
    names = {"didemo": "test_data.json", "crosstask": "tasks_primary.txt", "coin": "COIN.json"}
    for name, file in (names | {"msrvtt_qa": "MSR_MC_test.csv"}).items():
        folder = source(name)
        whole, alone = (benchmark_gallery(name, path) for path in (folder, folder / file))
        assert alone.split == whole.split and alone.query_ids == whole.query_ids
        if name in names:
            assert read_annotations(folder / file, (name,)) == read_annotations(folder, (name,))
    folder = source("didemo")
    refused("the test split of none", read_annotations, folder / "val_data.json", ("didemo",))


def test_a_split_without_an_annotation_is_noted_with_the_others(source):
    """And where no split has one, file and reason are told."""
    folder = source("coin")
    path = folder / "COIN.json"

    def late(raw, some=("c6", "c7")):
        for id in some:
            for told in raw["database"][id]["annotation"]:
                told["segment"] = [90, 95]

    made.edit(path, late)
    why = "COIN.json annotation 0, c6: starts at 90 s, the video ends at 45 s"
    read = read_benchmark("coin", folder)
    assert read.keys() == {"train", "val"}
    assert f"COIN.json: COIN testing videos: no usable annotation among 4 ({why})" in read["train"].notes
    refused(r"test split .* COIN.json: COIN testing videos: no usable", read_annotations, folder, ("coin",))
    made.edit(path, lambda raw: late(raw, raw["database"]))
    refused(
        r"^COIN.json: COIN training .* \(COIN.json annotation 0, c0: starts at 90 s", read_benchmark, "coin", folder
    )
    folder = source("msrvtt")
    made.edit(folder / "MSRVTT_data.json", lambda raw: raw.update(videos=raw["videos"][7:8], sentences=[]))
    read = read_benchmark("msrvtt", folder)
    assert read.keys() == {"test"} and read["test"].videos["video7"].duration_s == 12
    assert "MSRVTT_data.json: MSR-VTT 9k train videos: no usable annotation among 0" in read["test"].notes
    folder = made.msrvtt_qa(folder)
    assert read_benchmark("msrvtt_qa", folder).keys() == {"test"}


def test_msrvtt_training_lists(source):
    folder = source("msrvtt")
    made.write_csv(folder / "MSRVTT_train.7k.csv", [["video_id"], ["video0"], ["video6"]])
    assert read_benchmark("msrvtt", folder)["train"].title.startswith("MSR-VTT 7k train")
    made.write_csv(folder / "MSRVTT_train.9k.csv", [["video_id"], ["video0"], ["video1"]])
    read = read_benchmark("msrvtt", folder)
    assert read["train"].title.startswith("MSR-VTT 9k train")
    assert "MSRVTT_train.7k.csv is left aside: MSRVTT_train.9k.csv is taken" in read["test"].notes
    whole = (folder / "MSRVTT_data.json").rename(folder / "train_val_videodatainfo.json")
    assert read_benchmark("msrvtt", folder)["train"].title.startswith("MSR-VTT 9k train"), "as the list is named"
    whole.rename(folder / "elsewhere.json")
    (test,) = read_benchmark("msrvtt", folder).values()
    assert "MSRVTT_train.9k.csv is left aside: no json tells of its videos" in test.notes
    (folder / "elsewhere.json").rename(folder / "MSRVTT_data.json")
    made.write_csv(folder / "MSRVTT_train.9k.csv", [["video_id"], ["video0"], ["video7"]])
    refused("train and test share 1 videos: video7", read_benchmark, "msrvtt", folder)


def test_crosstask(source):
    corpus, store = build(source("crosstask", p3=0))
    assert sizes(corpus) == {"train": 35, "val": 1, "test": 3} and "p3" not in store
    assert corpus.recipes["11"].steps == ("11:1", "11:2", "11:3") and corpus.steps["33:2"] == "pour water"
    listed = accounting(corpus)["test"]["counts"]["listed"]
    assert listed["missing"] == {"11_p3": "p3.npy is missing"}
    assert corpus.missing_videos == {"11_p3": "p3.npy is missing"}


def test_crosstask_without_held_out_videos_carves_them(source):
    folder = source("crosstask", p3=0)
    (folder / "videos_val.csv").unlink()
    parts = read_benchmark("crosstask", folder, set(SECONDS["crosstask"]) - {"p3"})
    assert parts["val"].videos and len(parts["train"].videos) + len(parts["val"].videos) == 35
    assert parts["train"].accounting.counts["listed"].missing == {"11_p3": "p3.npy is missing"}
    assert parts["train"].split.endswith("without val") and "val carved from it" in parts["val"].split


def test_crosstask_video_shorter_than_its_steps(source):
    folder = source("crosstask")
    video = next(iter(read_benchmark("crosstask", folder)["test"].videos))
    np.save(folder / "features" / f"{video}.npy", np.ones((2, made.WIDTH), np.float16))
    corpus, store = build(folder)
    assert video not in store and store.failed == {video: "2 s of features, 3 steps in order"}
    assert corpus.meta["benchmark"]["splits"]["test"].startswith("CrossTask test 3 of 4 videos")


def test_val_is_carved_by_id_whatever_else_is_there(tmp_path):
    folder = made.youcook2(tmp_path)
    train = read_youcook2_json(folder / "youcookii_annotations_trainval.json", "training")
    left, val = carve_val(train, 0.5)
    assert set(left.videos) | set(val.videos) == set(train.videos) and not set(left.videos) & set(val.videos)
    assert (left.role, val.role) == ("train", "val") and {c.video for c in val.clips} == set(val.videos)
    made.edit(folder / "youcookii_annotations_trainval.json", lambda raw: raw["database"].pop(next(iter(left.videos))))
    fewer = carve_val(read_youcook2_json(folder / "youcookii_annotations_trainval.json", "training"), 0.5)[1]
    assert fewer.videos == val.videos
    assert len(carve_val(train, 0.0)[1].videos) == 1  # at least one


def test_carved_val_is_near_a_tenth(real):
    train = read_coin(real / "annotations" / "COIN_sample.json", "training")
    assert 0.06 < len(carve_val(train)[1].videos) / len(train.videos) < 0.14


# ------------------------------------------------------------------------------------------------------ features


def test_contract_beside_the_features(tmp_path):
    made.features(tmp_path, {"a": 3})
    folder = tmp_path / "features"
    assert contract_beside(folder).width == made.WIDTH
    made.write_json(folder / "contract.json", made.CONTRACT | {"colour": "red"})
    refused("got colour as well", contract_beside, folder)
    made.write_json(folder / "contract.json", {"backbone": "made"})
    refused("'weights' is missing", contract_beside, folder)
    (folder / "contract.json").unlink()
    assert contract_beside(folder) == S3D_FEATURES


@pytest.mark.parametrize("save, message", [
    (lambda path: np.save(path, np.ones((4, 5), np.float32)), r"v0.npy: expected numbers \(T, 8\)"),
    (lambda path: np.save(path, np.full((4, 8), np.nan)), r"v0.npy: expected finite numbers"),
    (lambda path: np.save(path, np.ones((0, 8), np.float32)), r"v0.npy: expected numbers \(T, 8\), T > 0"),
    (lambda path: path.write_bytes(pickle.dumps(Runs(path.with_name("ran")))), "v0.npy: not readable as a whole"),
])  # fmt: skip
def test_a_feature_file_that_cannot_be_used_is_an_error(source, save, message):
    folder = source("youcook2")
    save(folder / "features" / "v0.npy")
    refused(message, build, folder)
    assert not (folder.parent / "out-youcook2" / "corpus" / "corpus.json").exists()
    assert not (folder / "features" / "ran").exists()


def test_features_of_nobody(source):
    folder = source("youcook2", stranger=9)
    corpus, _ = build(folder)
    assert "feature files of no listed video: 1, first stranger.npy" in accounting(corpus)["train"]["notes"]
    for path in (folder / "features").glob("[tv]*.npy"):
        path.unlink()
    refused(r"holds features of none of the 6 videos of YouCook2; expected t\d.npy, got stranger.npy", build, folder)
    folder = source("crosstask", stranger=9)
    for path in (folder / "features").glob("[hpqr]*.npy"):
        path.unlink()
    refused(r"CrossTask train: no usable annotation of 39 .*11_p0: p0.npy is missing", build, folder)
    folder = folder.with_name("youcook2")
    (folder / "features" / "stranger.npy").unlink()
    refused(r"expected features as <video id>.npy, found none; the annotations alone", build, folder)
    assert read_benchmark("youcook2", folder)["test"].accounting.complete  # they can still be read


def test_a_split_without_any_features_is_named_so(source):
    corpus, store = build(source("youcook2", t0=0, t1=0, t2=0, t3=0))
    assert corpus.meta["benchmark"]["splits"]["train"] == "YouCook2 train 0 of 6 (official json) without val"
    assert coverage_of(corpus, store).denominators["train clips"] == (6, 0)


def test_other_data_in_the_folders_is_refused(source):
    folder = source("youcook2")
    build(folder)
    np.save(folder / "features" / "v0.npy", np.zeros((71, made.WIDTH), np.float16))
    refused("holds other features", build, folder)
    path = folder / "validation_youcook.csv"
    path.write_text(path.read_text().replace("fry part 5", "fry it"))
    refused("holds another corpus", build, folder)


@pytest.mark.parametrize(("name", "file", "old", "new"), [
    ("coin", "COIN.json", '"duration": 45.0', '"duration": 44.0'),
    ("coin", "COIN.json", '"class": "MakeTea"', '"class": "BrewTea"'),
    ("crosstask", "tasks_primary.txt", "Make Tea", "Brew Tea"),
    ("crosstask", "tasks_related.txt", "grind,", "mill,"),
])  # fmt: skip
def test_a_corpus_is_not_opened_when_more_than_its_clips_has_changed(source, name, file, old, new):
    folder = source(name)
    if name == "crosstask":  # whose steps are clips' texts where they happen
        for path in (folder / "annotations").glob("33_*.csv"):
            path.write_text("2,10,50\n")
    build(folder)
    build(folder)
    (folder / file).write_text((folder / file).read_text().replace(old, new))
    refused("holds another corpus", build, folder)


def test_wrong_names_and_folders(tmp_path):
    refused(r"benchmark: expected one of youcook2, msrvtt, .*, got 'kinetics'", read_benchmark, "kinetics", tmp_path)
    with pytest.raises(VcworkError, match=r"nowhere: no such folder of coin, which needs COIN.json"):
        benchmark_corpus("coin", tmp_path / "nowhere", tmp_path / "c", tmp_path / "f")
    (tmp_path / "coin").mkdir()
    refused(r"/coin: found no file of coin, which needs COIN.json", read_benchmark, "coin", tmp_path / "coin")


# ------------------------------------------------------------------------------- what the notebooks do with them


def untrained(store) -> Encoder:
    """A model of the made features with random weights: shapes and names are tested here, not quality."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokenizer = Tokenizer.train([letters, " ".join(letters)])
    return replace(toy_encoder(tokenizer, made.WIDTH, max_video_tokens=32), contract=store.contract)


def test_retrieval_counts_clips_of_one_text_as_right(source):
    corpus, store = build(source("youcook2"))
    clips = evaluation.annotated_clips(corpus, store, "test")
    same = clips.steps[:, None] == clips.steps
    assert same.sum(1).tolist() == [2, 1, 2, 1] and len(clips.features[1]) == 45
    card = evaluation.setting_of(corpus, "test", store)
    assert card.split == "YouCook2 val 4 (HowTo100M csv)" and card.missing == (0, 2)
    scores = evaluation.clip_scores(untrained(store), clips)
    results = retrieval.evaluate(scores, clips.steps, clips.steps, clips.videos, clips.videos, clips.recipes,
                                 setting=card, n_boot=2)  # fmt: skip
    assert all(result.protocol.split == card.split for result in results)


def test_videos_of_unknown_recipe_are_not_of_one_recipe(source):
    folder = source("msrvtt")
    (folder / "MSRVTT_data.json").unlink()
    clips = evaluation.annotated_clips(*build(folder), "test")
    assert list(clips.recipes) == ["video video7", "video video9"] and [len(f) for f in clips.features] == [12, 12]
    others = clips.videos, clips.videos, clips.recipes, clips.recipes
    found = retrieval.errors(np.eye(2)[::-1], np.eye(2, dtype=bool), *others)
    assert found["wrong recipe"] == 2 and found["right recipe, wrong video"] == 0


def test_segmentation_on_coin(source):
    corpus, store = build(source("coin"))
    seconds = evaluation.seconds_of_split(untrained(store), corpus, store, "test")
    assert seconds.steps == sorted(["7", "8", "9", "10"]) and seconds.scores[0].shape == (45, 4)
    at = seconds.steps.index("7") + 1
    assert np.flatnonzero(seconds.truths[0] == at).tolist() == list(range(5, 16))
    assert evaluation.seconds_of_split(untrained(store), corpus, store, "val").ids
    assert describe(corpus)["background"] == pytest.approx(1 - 21 / 45)


def test_localization_on_crosstask(source):
    corpus, store = build(source("crosstask"))
    seconds = evaluation.seconds_of_split(untrained(store), corpus, store, "test")
    cases = evaluation.localization_cases(seconds, corpus)
    assert len(cases) == 4 and cases[0].scores.shape == (60, 3) and cases[0].intervals == [[(2, 6.5)], [(10, 50)], []]
    assert localization.evaluate(cases, n_boot=2)[0].protocol.rule
    centres, _ = opponents.step_centres(corpus, store, "train")
    assert len(centres) == 35 and centres[0][0] == 4.25


def test_moments_on_didemo(source):
    corpus, store = build(source("didemo"))
    seconds = evaluation.seconds_of_split(untrained(store), corpus, store, "test")
    cases = evaluation.moment_cases(seconds)
    assert [case.video for case in cases] == ["a2.mov", "a2.mov", "b2.m4v"] and cases[0].intervals == [(5, 15)]
    assert describe(corpus)["background"] > 0  # two sentences choose the same chunks: they count once


def test_profile_paper_has_every_benchmark(root):
    """Its check passes before anybody has data: the folders are there, with notes on what belongs into them."""
    steps = {step.name: step for step in plan_profile(root, "paper").steps}
    made_by = {step.raw()["kind"]: step for name, step in steps.items() if name.startswith("10_") and "--" in name}
    assert made_by.keys() == SOURCES.keys()
    for kind, step in made_by.items():
        assert (root / step.raw()["source"] / "README.md").is_file(), kind
        readers = [other.raw() for other in steps.values() if other.waits_for(step)]
        readers = [raw["corpus"] for raw in readers if "corpus" in raw]  # the review waits for all, and opens none
        assert readers and set(readers) == {step.raw()["corpus"]}, kind
    assert "10_corpus_and_features" in steps and "20_pretraining" in steps


def test_captions_of_one_video_teach_as_one_clip(source):
    corpus, store = build(source("msrvtt"))
    train = clip_set(corpus, store, "train")
    assert len(train.clips) == len(corpus.split("train")) and {len(own) for own in train.sentences} == {2}
    assert train.clips[0].shape == (12, made.WIDTH) and train.clips[0].dtype == np.float32
    first = corpus.split("train")[0]
    assert train.sentences[0] == [s.sentence for s in first.segments]
    corpus, store = build(source("youcook2"))
    assert {len(own) for own in clip_set(corpus, store, "train").sentences} == {1}


SEEN = np.eye(made.WIDTH)


@pytest.fixture
def plain_model(monkeypatch):
    """Vectors that can be read off: a second is its feature, a clip their mean, a text its number's direction."""

    def of_text(encoder, sentences):
        return np.stack([SEEN[[int(c) for c in s if c.isdigit()]].sum(0) for s in sentences])

    monkeypatch.setattr(evaluation, "encode_text", of_text)
    monkeypatch.setattr(evaluation, "encode_all_seconds", lambda encoder, clips: (np.asarray(c, float) for c in clips))
    monkeypatch.setattr(evaluation, "encode_video", lambda encoder, clips: np.stack([c.mean(0) for c in clips]))


def shows(folder: Path, features: dict[str, np.ndarray]):
    made.write_json(folder / "features" / "contract.json", made.CONTRACT)
    for id, array in features.items():
        np.save(folder / "features" / f"{id}.npy", array.astype(np.float16))
    return benchmark_corpus(folder.name, folder, folder.parent / "corpus", folder.parent / "store")


def shown(seconds: int, *spans: tuple[int, int, int]) -> np.ndarray:
    """(T, WIDTH): direction d in seconds [a, b), nothing else."""
    array = np.zeros((seconds, made.WIDTH))
    for a, b, d in spans:
        array[a:b, d] = 1
    return array


@pytest.fixture
def didemo_world(tmp_path):
    """Sentence 0 of a2.mov is about chunk 1, say all; 1 of a2.mov and 2 of b2.m4v about 1 to 2, most say."""
    test = {"a2.mov": shown(30, (5, 10, 0), (20, 30, 1)), "b2.m4v": shown(23, (5, 15, 2))}
    others = {f"{id}{at}.{kind}": shown(25) for at in (0, 1) for id, kind in (("a", "mov"), ("b", "m4v"))}
    folder = made.didemo(tmp_path / "didemo")
    made.edit(folder / "test_data.json", lambda raw: raw[0].update(times=[[1, 1]] * 4))
    return shows(folder, test | others)


def test_didemo_sentences_keep_all_choices(didemo_world):
    corpus, _ = didemo_world
    told = evaluation.didemo_sentences(corpus, "val")
    assert [(v, text) for v, text, _ in told] == [(f"{v}", f"someone waves {i}") for i, v in
                                                  enumerate(("a1.mov", "a1.mov", "b1.m4v"))]  # fmt: skip
    assert told[2][2] == [(4, 4), (1, 2), (1, 2), (0, 0)]
    prior = didemo.fit_moment_frequency([times for _, _, times in told])
    assert prior[didemo.SEGMENTS.index((1, 2))] == 6 and prior.sum() == 12


def test_the_moment_that_is_shown_is_ranked_first(didemo_world, plain_model):
    corpus, store = didemo_world
    cases = evaluation.didemo_cases(None, corpus, store, "test")
    assert [case.video for case in cases] == ["a2.mov", "a2.mov", "b2.m4v"]
    assert didemo.SEGMENTS[int(cases[0].scores.argmax())] == (1, 1) and cases[0].scores.max() == 1
    tied = {didemo.SEGMENTS[i] for i in np.flatnonzero(np.isclose(cases[2].scores, 1))}
    assert tied == {(1, 1), (2, 2), (1, 2)}, "chunks 1 and 2 show it in full, alone and together"
    wrong = cases[1].scores  # shown in chunks 4 and 5, its annotators said 1 to 2
    assert didemo.SEGMENTS[int(wrong.argmax())] == (4, 4) and wrong[didemo.SEGMENTS.index((1, 2))] == 0
    assert np.isneginf(cases[2].scores[didemo.SEGMENTS.index((5, 5))]), "b2 ends before chunk 5"
    each = didemo.score(cases)
    assert each.rank1.tolist() == [1, 0, 0] and each.iou[0] == 1
    found = {r.name: r.value for r in didemo.evaluate_moments(cases, n_boot=2)}
    assert found["moment_rank1"] == pytest.approx(1 / 3)


def test_the_reference_averages_padding_too(didemo_world, monkeypatch):
    """In b2, 23 s long, its moments that reach past the end hold states of padding; those that do not are the same."""
    corpus, store = didemo_world
    encoder = toy_encoder(Tokenizer.train(["someone waves 0 1 2"] * 3), made.WIDTH, max_video_tokens=32)
    ours, theirs = (evaluation.didemo_cases(encoder, corpus, store, "test", r) for r in (False, True))
    np.testing.assert_allclose(ours[0].scores, theirs[0].scores, rtol=1e-4, atol=1e-4)  # 30 s: no padding in it
    last = np.array([segment[1] for segment in didemo.SEGMENTS])
    short = [case.scores for case in (ours[2], theirs[2])]
    assert np.array_equal(np.isneginf(short[0]), np.isneginf(short[1]))
    np.testing.assert_allclose(short[0][last < 4], short[1][last < 4], rtol=1e-4, atol=1e-4)
    past = (last == 4) & np.isfinite(short[0])
    assert past.any() and not np.isclose(short[0][past], short[1][past], rtol=1e-3).any()
    rows = torch.zeros(1, 32, made.WIDTH)
    rows[0, :23] = torch.from_numpy(np.asarray(store["b2.m4v"], np.float32))
    with torch.no_grad():
        states = encoder.model.encode_video(rows, torch.arange(32)[None] < 23).states[0]  # (32, D)
        text = evaluation.encode_text(encoder, [corpus.steps[corpus["b2.m4v"].segments[0].step]])[0]
    by_hand = states[20:25].mean(0).numpy() @ text
    assert theirs[2].scores[didemo.SEGMENTS.index((4, 4))] == pytest.approx(by_hand, rel=1e-4)


def test_sentences_behind_the_features_are_left_out(tmp_path, plain_model):
    folder = made.didemo(tmp_path / "didemo")
    made.edit(folder / "test_data.json", lambda raw: raw[0].update(times=[[5, 5]] * 4))
    corpus, store = shows(folder, {"a2.mov": shown(20, (5, 15, 1))})
    cases = evaluation.didemo_cases(None, corpus, store, "test")
    assert [(case.video, case.times[0]) for case in cases] == [("a2.mov", (5, 5))]
    assert len(cases) == 1 and np.isfinite(cases[0].scores).sum() == didemo.candidates(20).sum() == 18


def test_a_corpus_that_is_not_didemo_plays_it_with_its_segments(tmp_path, plain_model):
    folder = made.youcook2(tmp_path / "youcook2")
    corpus, store = shows(folder, {"v0": shown(71), "v1": shown(71)})
    assert ("v0", "cut the onion", [(0, 2)]) in evaluation.didemo_sentences(corpus, "test")
    bare = replace(corpus, videos={i: replace(v, segments=()) for i, v in corpus.videos.items()})
    assert evaluation.didemo_sentences(bare, "test") == []
    with pytest.raises(NoData, match="no test sentence of DiDeMo has features"):
        evaluation.didemo_cases(None, bare, store, "test")
    clips = evaluation.annotated_clips(corpus, store, "test")
    assert evaluation.published_choices(corpus, clips, "test") is None


def test_a_paragraph_is_all_sentences_of_a_video(didemo_world, plain_model):
    corpus, store = didemo_world
    scores, videos = evaluation.didemo_paragraphs(None, corpus, store, "test")
    assert videos == ["a2.mov", "b2.m4v"]
    assert scores[0, 0] == pytest.approx(15 / 30, rel=1e-3) and scores[1, 1] == pytest.approx(10 / 23, rel=1e-3)
    assert scores[0, 1] == scores[1, 0] == 0
    names = [r.name for r in didemo.evaluate_paragraphs(scores, videos, n_boot=2)]
    assert all(name.startswith("paragraph_") for name in names)


def test_published_choices_point_at_the_clips_own_captions(tmp_path, plain_model):
    corpus, store = shows(made.msrvtt_qa(tmp_path / "msrvtt_qa"), {"video7": shown(12), "video9": shown(10)})
    clips = evaluation.annotated_clips(corpus, store, "test")
    captions, choices, answer = evaluation.published_choices(corpus, clips, "test")
    assert captions[:3] == clips.sentences == ["a dog runs", "a man cooks", "Food is made"]
    assert len(captions) == len(set(captions)) and answer.tolist() == [0, 1, 4]
    texts = [[captions[i] for i in row] for row in choices]
    assert texts[0] == ["a dog runs", "a cat", "a car", "rain", "a song"]
    assert texts[2] == ["snow", "a car", "food  is made", "wind", "Food is made"]
    assert choices[np.arange(3), answer].tolist() == [0, 1, 2]
    scores = np.zeros((3, len(captions)))
    scores[0, 0] = scores[1, captions.index("rain")] = 1  # right, wrong, and five equal ones
    (found,) = videoqa.evaluate(scores[np.arange(3)[:, None], choices], answer, clips.videos, n_boot=2)
    assert found.value == pytest.approx((1 + 0 + 1 / 5) / 3)


def test_two_questions_with_one_caption_keep_their_own_choices(tmp_path, plain_model):
    folder = made.msrvtt_qa(tmp_path / "msrvtt_qa")
    rows = [["vid_key", "a1", "a2", "a3", "a4", "a5", "answer"]]
    rows += [["msr7", "a dog", "b", "c", "d", "e", 0], ["msr7", "v", "w", "x", "y", "a dog", 4]]
    made.write_csv(folder / "MSR_MC_test.csv", rows, "\t")
    corpus, store = shows(folder, {"video7": shown(12)})
    clips = evaluation.annotated_clips(corpus, store, "test")
    captions, choices, answer = evaluation.published_choices(corpus, clips, "test")
    assert [captions[i] for i in choices[1]] == ["v", "w", "x", "y", "a dog"] and answer.tolist() == [0, 4]
    assert json.loads((corpus.folder / "truth" / "video7.json").read_text())["segments"][1]["answer"] == 4
