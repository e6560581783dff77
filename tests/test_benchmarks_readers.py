"""Readers of published annotation files: made releases of every layout, every kind of bad input, and the real files."""

import json
import math
from pathlib import Path

import made_benchmarks as made
import numpy as np
import pytest
from checks import refused

from vcwork.base.errors import VcworkError
from vcwork.data.benchmarks.coin import read_coin, read_coin_taxonomy
from vcwork.data.benchmarks.common import check_no_leak
from vcwork.data.benchmarks.crosstask import read_crosstask, read_tasks, split_as_reference
from vcwork.data.benchmarks.didemo import read_didemo
from vcwork.data.benchmarks.msrvtt import read_msrvtt_1ka, read_msrvtt_ids, read_msrvtt_json
from vcwork.data.benchmarks.msrvtt_qa import read_msrvtt_qa
from vcwork.data.benchmarks.youcook2 import read_youcook2_csv, read_youcook2_json

# ------------------------------------------------------------------------------------------------------ YouCook2


@pytest.fixture
def youcook2(tmp_path: Path) -> Path:
    return made.youcook2(tmp_path)


def csv_of(folder: Path) -> Path:
    return folder / "validation_youcook.csv"


def json_of(folder: Path) -> Path:
    return folder / "youcookii_annotations_trainval.json"


def test_youcook2_csv(youcook2):
    read = read_youcook2_csv(csv_of(youcook2))
    assert read.split == "YouCook2 val 4 (HowTo100M csv)" and read.role == "test"
    first = read.clips[0]
    assert (first.video, first.start_s, first.end_s, first.text, first.recipe) == ("v0", 2, 12, "cut the onion", "100")
    assert first.where == "validation_youcook.csv line 2" and list(read.videos) == ["v0", "v1"]
    assert read.texts.count("cut the onion") == 2  # case and blanks aside
    assert read.accounting.notes == [
        "clips in the csv: 4 here, 3,350 published",
        "repeated rows: 0",
        "clips that share their text: 2",
        "texts beyond the distinct ones: 1",
        "clips longer than 32 s: 50.0%",
    ]


def test_a_csv_without_a_column_or_file(tmp_path):
    path = made.write_csv(tmp_path / "validation_youcook.csv", [["end", "start", "text", "video_id"], [1, 0, "a", "v"]])
    refused(r"line 1: expected the columns .*; missing task", read_youcook2_csv, path)
    refused("no such file", read_youcook2_csv, tmp_path / "none.csv")
    path.write_bytes(b"\xff\xfe\x00")
    refused("not readable as text", read_youcook2_csv, path)
    path.write_text("end,start,task,text,video_id\n")
    refused("no usable annotation among 0", read_youcook2_csv, path)
    path.write_text("end,start,task,text,text,video_id\n1,0,1,a,b,v\n")
    refused("line 1: expected each column once, got 'text' twice", read_youcook2_csv, path)
    path.write_text("end,start,task,text,video_id,note,note\n1,0,1,a,v,what,nobody reads\n")
    assert read_youcook2_csv(path).texts == ["a"]


def test_what_says_nothing_is_left_out_and_counted(youcook2):
    path = csv_of(youcook2)
    path.write_text(path.read_text() + "5,5,100,fry,v0\n9,8,100,  ,v0\n12,2,100,cut the onion,v0\n7,7,100,a,v2\n")
    read = read_youcook2_csv(path)
    assert read.split == "YouCook2 val 5 of 8 (HowTo100M csv)"
    assert read.accounting.counts["clips"].missing == {
        "validation_youcook.csv line 6, v0": "zero length at 5 s",
        "validation_youcook.csv line 7, v0": "no text",
        "validation_youcook.csv line 9, v2": "zero length at 7 s",
    }
    assert "repeated rows: 1" in read.accounting.notes and len(read.clips) == 5
    assert read.accounting.counts["videos"].missing == {"v2": "no usable annotation"} and "v2" not in read.videos


def test_youcook2_json(youcook2):
    train, val = (read_youcook2_json(json_of(youcook2), subset) for subset in ("training", "validation"))
    assert (train.split, train.role) == ("YouCook2 train 8 (official json)", "train")
    assert (val.split, val.role) == ("YouCook2 val 4 (official json)", "test")
    assert list(val.videos) == ["v0", "v1"] and val.videos["v0"].duration_s == 70.5
    assert val.tasks.keys() == {"100", "101"}
    assert val.clips[1].end_s == 60 and val.clips[0].text == "Cut  the onion" and val.texts[0] == "cut the onion"
    check_no_leak(train, val)
    with pytest.raises(VcworkError, match="subset: expected one of training, validation, got 'testing'"):
        read_youcook2_json(json_of(youcook2), "testing")


def test_annotations_and_the_end_of_the_video(youcook2):
    def change(raw):
        segments = [[0, 71], [65, 90], [70.5, 80], [80, 90]]  # within the last second; cut; two behind the end
        raw["database"]["v0"]["annotations"] = [{"segment": s, "id": 0, "sentence": f"s{s[0]}"} for s in segments]

    read = read_youcook2_json(made.edit(json_of(youcook2), change))
    assert [(c.start_s, c.end_s) for c in read.clips if c.video == "v0"] == [(0, 70.5), (65, 70.5)]
    assert "clips cut at the video's end: 1" in read.notes
    why = read.accounting.counts["clips"].missing
    assert why["youcookii_annotations_trainval.json annotation 2, v0"] == "starts at 70.5 s, the video ends at 70.5 s"
    assert len(why) == 2


def test_json_that_is_cut_short_or_says_a_thing_twice(youcook2):
    path = json_of(youcook2)
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    refused(r"trainval.json: not readable as JSON, cut short or damaged \(.*line", read_youcook2_json, path)
    path.write_text(whole.replace('"v1"', '"v0"'))
    line = next(i for i, text in enumerate(path.read_text().splitlines(), 1) if '"v0"' in text and i > 100)
    refused(f"line {line}: 'v0' is given twice in one object", read_youcook2_json, path)
    path.write_text(whole.replace("70.5", "NaN"))
    refused("holds NaN", read_youcook2_json, path)
    path.write_text("[]")
    refused("expected an object, got list", read_youcook2_json, path)


def test_youcook2_on_the_real_csv(real):
    read = read_youcook2_csv(real / "annotations" / "validation_youcook.csv")
    assert read.split == "YouCook2 val 3,350 (HowTo100M csv)" and len(read.clips) == 3350
    assert len(set(read.texts)) == 3273 and len(read.videos) == 436 and len(read.tasks) == 89
    assert {"clips that share their text: 141", "clips longer than 32 s: 15.4%"} < set(read.accounting.notes)
    assert read.accounting.complete and not read.notes


# ------------------------------------------------------------------------------------------------------- MSR-VTT


@pytest.fixture
def msrvtt(tmp_path: Path) -> Path:
    return made.msrvtt(tmp_path)


def read_1ka(folder: Path):
    return read_msrvtt_1ka(folder / "MSRVTT_JSFUSION_test.csv")


def read_info(folder: Path, split: str, **options):
    return read_msrvtt_json([folder / "MSRVTT_data.json"], split, **options)


def test_msrvtt_splits_have_names_and_do_not_leak(msrvtt):
    test = read_1ka(msrvtt)
    assert test.split == "MSR-VTT 1k-A 2" and test.role == "test" and math.isinf(test.clips[0].end_s)
    read = {split: read_info(msrvtt, split, test_ids=test.videos) for split in ("7k", "9k")}
    assert read["9k"].split == "MSR-VTT 9k train 8 videos" and read["7k"].split == "MSR-VTT 7k train 7 videos"
    assert {part.role for part in read.values()} == {"train"} and "video8" in read["9k"].videos
    assert len(read["7k"].clips) == 14 and read["7k"].clips[0].end_s == 12 and read["7k"].clips[0].recipe == "0"
    check_no_leak(read["9k"], test)
    whole = read_info(msrvtt, "7k", ids=["video7", "video9"])
    refused(r"7k train 2 videos and MSR-VTT 1k-A 2 share 2 videos: video7, video9", check_no_leak, whole, test)
    full = read_info(msrvtt, "full")
    assert (full.split, full.role, len(full.clips)) == ("MSR-VTT full test 3 videos", "test", 6)


def test_msrvtt_published_lists(msrvtt):
    path = made.write_csv(msrvtt / "MSRVTT_train.7k.csv", [["video_id"], ["video0"], ["video6"], ["video77"]])
    read = read_info(msrvtt, "7k", ids=read_msrvtt_ids(path))
    assert read.split == "MSR-VTT 7k train 2 of 3 videos"
    assert read.accounting.counts["videos"].missing == {"video77": "in the list, not in the json"}
    refused("share 1 videos: video6", read_info, msrvtt, "7k", ids=read_msrvtt_ids(path), test_ids=["video6"])
    made.write_csv(path, [["video_id"], ["video0"], ["video0"]])
    refused(r"7k.csv: line 3: video video0: listed twice", read_msrvtt_ids, path)
    made.write_csv(path, [["video_id"]])
    refused("lists no video", read_msrvtt_ids, path)


def test_msrvtt_halves_are_read_together(msrvtt):
    raw = json.loads((msrvtt / "MSRVTT_data.json").read_text())
    test = {v["video_id"] for v in raw["videos"] if v["split"] == "test"}
    halves = []
    for name, keep in (("train_val", lambda id: id not in test), ("test", lambda id: id in test)):
        part = {key: [x for x in raw[key] if keep(x["video_id"])] for key in ("videos", "sentences")}
        halves.append(made.write_json(msrvtt / f"{name}_videodatainfo.json", part))
    whole = read_info(msrvtt, "9k", test_ids=["video7", "video9"])
    both = read_msrvtt_json(halves, "9k", ["video7", "video9"])
    assert both.videos == whole.videos and both.split == whole.split and both.texts == whole.texts
    refused("the json holds none; give both halves", read_msrvtt_json, halves[:1], "9k", ["video7", "video9"])
    refused("video video0: listed twice", read_msrvtt_json, [halves[0], halves[0]], "7k")


def test_msrvtt_video_without_captions_is_counted(msrvtt):
    made.edit(msrvtt / "MSRVTT_data.json", lambda raw: raw["sentences"].__delitem__(slice(0, 2)))
    read = read_info(msrvtt, "7k")
    assert read.split == "MSR-VTT 7k train 6 of 7 videos"
    assert read.accounting.counts["videos"].missing == {"video0": "no usable annotation"}


def test_msrvtt_wrong_questions(msrvtt):
    for split, message in (("test", "split: expected one of 7k, 9k"), ("9k", "needs the video ids of 1k-A")):
        refused(message, read_info, msrvtt, split)


def test_msrvtt_on_the_real_csv(real):
    read = read_msrvtt_1ka(real / "annotations" / "msrvtt_test.csv")
    assert read.split == "MSR-VTT 1k-A 1,000" and len(read.clips) == len(read.videos) == 1000
    assert len(set(read.texts)) == 995 and "longer than" not in read.accounting.table() and read.accounting.complete
    official_train = {f"video{i}" for i in range(7010)}  # the official numbering: 6,513 train, 497 validate, 2,990 test
    check_no_leak(official_train, read)


# ---------------------------------------------------------------------------------------------------- MSR-VTT-QA


def test_msrvtt_qa(tmp_path):
    read = read_msrvtt_qa(made.msrvtt_qa(tmp_path) / "MSR_MC_test.csv")
    assert read.split == "MSR-VTT-QA multiple choice 3" and list(read.videos) == ["video7", "video9"]
    assert [(q.video, q.answer, q.text) for q in read.clips] == [
        ("video7", 0, "a dog runs"), ("video9", 1, "a man cooks"), ("video9", 4, "Food is made")
    ]  # fmt: skip
    assert read.clips[1].choices == ("a dog", "a man cooks", "a car", "rain", "a song")
    assert "questions whose right caption is also a wrong one: 1" in read.notes
    (tmp_path / "commas.csv").write_text((tmp_path / "MSR_MC_test.csv").read_text().replace("\t", ","))
    assert read_msrvtt_qa(tmp_path / "commas.csv").clips[2].choices == read.clips[2].choices


# -------------------------------------------------------------------------------------------------------- DiDeMo


def test_didemo(tmp_path):
    read = read_didemo(made.didemo(tmp_path) / "test_data.json")
    assert read.split == "DiDeMo test 3 sentences (moments, not paragraphs)" and read.role == "test"
    assert read.clips[0].chunks == ((5, 5), (1, 2), (1, 2), (0, 0)) and read.clips[0].n_chunks == 6
    assert (read.clips[0].start_s, read.clips[0].end_s) == (5, 15)  # chunks 1 and 2, chosen twice
    assert {id: v.duration_s for id, v in read.videos.items()} == {"a2.mov": 30, "b2.m4v": 25}
    assert read_didemo(tmp_path / "val_data.json").role == "val"
    path = made.edit(tmp_path / "test_data.json", lambda raw: raw[0].update(times=[[4, 4], [0, 1], [0, 1], [4, 4]]))
    assert read_didemo(path).clips[0].start_s == 20  # of choices made equally often the first


def test_didemo_needs_to_know_the_split(tmp_path):
    path = made.write_json(tmp_path / "some.json", {})
    refused(r"split: expected one of train, val, test, got 'some.json'", read_didemo, path)
    refused("expected a list of descriptions, got dict", read_didemo, path.rename(tmp_path / "val_data.json"))


def test_didemo_on_the_real_files(real):
    test, val = (read_didemo(real / "annotations" / "didemo" / f"{split}_data.json") for split in ("test", "val"))
    assert len(test.clips) == 4021 and len(test.videos) == 1037 and len(val.clips) == 4180 and len(val.videos) == 1094
    assert test.accounting.complete and "clips longer than 32 s: 0.0%" in test.accounting.notes
    check_no_leak(val, test)


# ---------------------------------------------------------------------------------------------------------- COIN


def test_coin(tmp_path):
    path = made.coin(tmp_path) / "COIN.json"
    train, test = read_coin(path, "training"), read_coin(path)
    assert (train.split, test.split) == ("COIN training 6 videos", "COIN testing 2 videos")
    assert test.steps == {"7": "stir", "8": "pour water", "9": "Stir", "10": "open the can"}  # same text, two ids
    assert test.tasks["MixPaint"].name == "mix paint" and test.tasks["MixPaint"].steps == ("9", "10")
    found = [(c.video, c.step, c.start_s, c.end_s) for c in test.clips[:2]]
    assert found == [("c6", "7", 5, 15.5), ("c6", "8", 25, 35.5)]
    assert "different label texts: 3 of 4 labels" in test.accounting.notes
    check_no_leak(train, test)


def test_coin_taxonomy(tmp_path):
    path = made.coin(tmp_path) / "COIN.json"
    rows = [["Target Id", "Action Id", "Action Label"], [0, 7, "stir"], [0, 8, "pour water"], [1, 9, "stir"]]
    sheet = made.write_csv(tmp_path / "taxonomy.csv", rows)
    with pytest.raises(VcworkError, match=r"annotation 1: video c1: label id: expected one of 3 .*, got 10"):
        read_coin(path, taxonomy=read_coin_taxonomy(sheet))
    made.write_csv(sheet, [*rows, [1, 10, "open the can"], [1, 700, "dry"]])
    assert list(read_coin(path, taxonomy=read_coin_taxonomy(sheet)).steps) == ["7", "8", "9", "10", "700"]
    made.write_csv(sheet, [*rows, [1, 7, "stir"]])
    refused(r"taxonomy.csv: line 5: label id 7 is given twice", read_coin_taxonomy, sheet)


def test_coin_without_a_label(tmp_path):
    """An annotation without one is counted, whatever its id is elsewhere; a row of the taxonomy takes nothing away."""
    path = made.coin(tmp_path) / "COIN.json"
    read = read_coin(made.edit(path, lambda raw: raw["database"]["c0"]["annotation"][0].update(label=" ")), "training")
    assert read.counts["clips"].missing == {"COIN.json annotation 0, c0": "no text"} and read.steps["7"] == "stir"
    rows = [["Action Id", "Action Label"], [7, "stir"], [8, ""], [9, "stir"], [10, "open the can"], [11, " "]]
    taxonomy = read_coin_taxonomy(made.write_csv(tmp_path / "taxonomy.csv", rows))
    read = read_coin(path, taxonomy=taxonomy)
    assert read.steps == {"7": "stir", "8": "pour water", "9": "stir", "10": "open the can"}
    assert "rows of the taxonomy without a label: 2" in read.notes


def test_coin_counts_what_is_cut_or_left_out(tmp_path):
    def change(raw):
        spans = [[40.0, 60.0], [45.0, 50.0], [3.0, 3.0]]
        raw["database"]["c6"]["annotation"] = [{"id": "7", "label": "stir", "segment": span} for span in spans]
        raw["database"]["c7"]["annotation"] = []

    read = read_coin(made.edit(made.coin(tmp_path) / "COIN.json", change))
    assert [(c.start_s, c.end_s) for c in read.clips] == [(40, 45)] and read.split == "COIN testing 1 of 2 videos"
    assert "clips cut at the video's end: 1" in read.notes
    assert read.accounting.counts["clips"].expected == 3 and len(read.accounting.counts["clips"].missing) == 2
    assert read.accounting.counts["videos"].missing == {"c7": "no usable annotation"}


def test_coin_on_the_real_sample(real):
    train, test = (read_coin(real / "annotations" / "COIN_sample.json", s) for s in ("training", "testing"))
    assert len(train.videos) + len(test.videos) == 800 and len(train.clips) + len(test.clips) == 3152
    assert len(test.steps) == 625 and test.accounting.complete and test.accounting.counts["clips"].missing == {}
    check_no_leak(train, test)


# ----------------------------------------------------------------------------------------------------- CrossTask


@pytest.fixture
def crosstask(tmp_path: Path) -> Path:
    return made.crosstask(tmp_path)


def test_crosstask_is_split_as_the_reference_does(crosstask):
    train, val, test = (read_crosstask(crosstask, part) for part in ("train", "val", "test"))
    videos = [f"p{i}" for i in range(34)]
    np.random.seed(0)  # the reference's own way: the global generator, one draw a task
    drawn = np.random.choice(videos, 30, replace=False).tolist()
    assert set(test.videos) == set(videos) - set(drawn) and list(val.videos) == ["held"]
    assert set(train.videos) == {*drawn, "q0", "q1", "q2", "r0", "r1"}  # few, or related: all of them train
    assert test.split == "CrossTask test 4 videos of 1 tasks (30 a task to train, RandomState(0))"
    check_no_leak(train, test)
    check_no_leak(val, test)
    assert train.steps["11:3"] == "stir" and train.tasks["22"].steps == ("22:1", "22:2")
    assert [(c.step, c.start_s, c.end_s) for c in test.clips[:2]] == [("11:1", 2, 6.5), ("11:2", 10, 50)]


def test_crosstask_draw_goes_on_from_task_to_task():
    pairs = [(task, f"{task}{i}") for task in ("a", "b") for i in range(5)]
    parts = split_as_reference(pairs, {"a", "b"}, 2)
    np.random.seed(0)
    for task in ("a", "b"):
        drawn = np.random.choice([f"{task}{i}" for i in range(5)], 2, replace=False)
        assert {video for (_, video), part in parts.items() if part == "train" and video[0] == task} == set(drawn)


def test_crosstask_draw_depends_on_what_is_there(crosstask):
    everything = {f"p{i}" for i in range(34)} | {"q0", "q1", "r0", "r1", "held"}
    whole, less = read_crosstask(crosstask), read_crosstask(crosstask, have=everything - {"p5"})
    assert less.split == "CrossTask test 3 videos of 1 tasks (30 a task to train, RandomState(0))" != whole.split
    assert less.accounting.counts["listed"].missing == {"11_p5": "p5.npy is missing", "22_q2": "q2.npy is missing"}
    (crosstask / "annotations" / "11_p7.csv").rename(crosstask / "annotations" / "11_zz.csv")
    read = read_crosstask(crosstask)
    assert "annotation files of no listed video: 1, first 11_zz.csv" in read.notes
    assert read.accounting.counts["listed"].missing == {"11_p7": "annotations/11_p7.csv is missing"}
    assert read.accounting.counts["listed"].expected == 39 and read.accounting.counts["videos"].expected == 3


def test_crosstask_listing_trouble(crosstask):
    path = crosstask / "videos.csv"
    whole = path.read_text()
    path.write_text(whole + "99,z0,-\n22,r0,-\n")
    made.write_csv(crosstask / "annotations" / "22_r0.csv", [[1, 0, 4]])
    train = read_crosstask(crosstask, "train")
    assert train.accounting.counts["listed"].missing == {"99_z0": "task 99 is in no list of tasks"}
    assert train.accounting.counts["videos"].missing == {"22_r0": "under task 33 already"}
    test_video = next(iter(read_crosstask(crosstask).videos))
    path.write_text(whole + f"22,{test_video},-\n")
    made.write_csv(crosstask / "annotations" / f"22_{test_video}.csv", [[1, 0, 4]])
    train, test = read_crosstask(crosstask, "train"), read_crosstask(crosstask)
    assert train.accounting.counts["videos"].missing == {f"22_{test_video}": "a test video under another task"}
    check_no_leak(train, test)
    path.write_text(whole + "11,p3,-\n")
    refused(r"videos.csv: line \d+: video p3: listed twice for task 11", read_crosstask, crosstask)


def test_crosstask_held_out_video_under_another_task(crosstask):
    with open(crosstask / "videos_val.csv", "a") as file:
        file.write("22,p0,-\n")
    made.write_csv(crosstask / "annotations" / "22_p0.csv", [[1, 0, 4]])
    val = read_crosstask(crosstask, "val")
    assert list(val.videos) == ["held"]
    assert val.accounting.counts["videos"].missing == {"22_p0": "in videos.csv under task 11"}


def test_crosstask_without_its_optional_files(crosstask):
    for name in ("videos_val.csv", "tasks_related.txt"):
        (crosstask / name).unlink()
    read = read_crosstask(crosstask, "train")
    assert read.notes == ("videos_val.csv is absent", "tasks_related.txt is absent")
    assert set(read.accounting.counts["listed"].missing) == {"33_r0", "33_r1"}
    refused(r"CrossTask val .*: no usable annotation", read_crosstask, crosstask, "val")


def test_crosstask_empty_annotations_are_counted(crosstask):
    video = next(iter(read_crosstask(crosstask).videos))
    (crosstask / "annotations" / f"11_{video}.csv").write_text("")
    read = read_crosstask(crosstask)
    assert read.accounting.counts["videos"].missing == {video: "no usable annotation"}
    assert read.split.startswith("CrossTask test 3 of 4 videos")


@pytest.mark.parametrize("text, message", [
    ("11\nTea\n-\n2\na,b,c\n", "line 5: task 11: expected 2 steps, got 3: 'a,b,c'"),
    ("11\nTea\n-\ntwo\na,b\n", "line 4: task 11: number of steps: expected a whole number, got 'two'"),
    ("11\nTea\n-\n2\na,\n", "line 5: task 11: expected 2 steps, got 2: 'a,'"),
    ("11\nTea\u2028\n-\n2\na,b\x85,c\n", "line 5: task 11: expected 2 steps, got 3"),
    ("11\nTea\n-\n", "line 4: task 11: number of steps: expected a whole number, got ''"),
    ("11\nTea\n-\n1\na\n\n11\nTea\n-\n1\na\n", "line 7: task 11 is given twice"),
    ("\n\n", "holds no task"),
])  # fmt: skip
def test_crosstask_bad_tasks(tmp_path, text, message):
    path = tmp_path / "tasks_primary.txt"
    path.write_text(text)
    refused(message, read_tasks, path)


def test_crosstask_a_task_in_both_lists_or_no_annotations(crosstask):
    (crosstask / "tasks_related.txt").write_text("11\nTea\n-\n1\na\n")
    refused(r"tasks_related.txt: task 11 is a primary task as well", read_crosstask, crosstask)
    refused("annotations: no such folder", read_crosstask, crosstask / "features")
    refused("part: expected one of train, val, test, got 'valid'", read_crosstask, crosstask, "valid")


def test_crosstask_on_the_real_sample(real):
    train, test = (read_crosstask(real / "annotations" / "crosstask", part) for part in ("train", "test"))
    assert len(test.tasks) == 6 and len(train.videos) == 180 and len(test.videos) == 1022 - 180
    assert {len([v for v in train.videos.values() if v.recipe == task]) for task in train.tasks} == {30}
    assert len(train.clips) + len(test.clips) == 8761 and test.accounting.complete
    check_no_leak(train, test)


# ----------------------------------------------------------------------------------- whatever stands in the files

YOUCOOK2, YOUCOOK2_CSV = "youcook2/youcookii_annotations_trainval.json", "youcook2/validation_youcook.csv"
MSRVTT, MSRVTT_CSV = "msrvtt/MSRVTT_data.json", "msrvtt/MSRVTT_JSFUSION_test.csv"
MSRVTT_QA, DIDEMO, COIN = "msrvtt_qa/MSR_MC_test.csv", "didemo/test_data.json", "coin/COIN.json"
CROSSTASK = "crosstask/annotations/22_q0.csv"

READS = {
    YOUCOOK2: read_youcook2_json,
    YOUCOOK2_CSV: read_youcook2_csv,
    MSRVTT: lambda path: read_msrvtt_json([path], "7k"),
    MSRVTT_CSV: read_msrvtt_1ka,
    MSRVTT_QA: read_msrvtt_qa,
    DIDEMO: read_didemo,
    COIN: read_coin,
    CROSSTASK: lambda path: read_crosstask(path.parent.parent, "train"),
    "crosstask/videos.csv": lambda path: read_crosstask(path.parent),
    "crosstask/tasks_primary.txt": lambda path: read_crosstask(path.parent),
}
ENTRY = {  # of a JSON file, what is changed in it
    YOUCOOK2: lambda raw: raw["database"]["v0"],
    MSRVTT: lambda raw: raw,
    DIDEMO: lambda raw: raw[0],
    COIN: lambda raw: raw["database"]["c6"],
}


def release(folder: Path, name: str) -> Path:
    """The file `name` of a made release."""
    benchmark, _, file = name.partition("/")
    return getattr(made, benchmark)(folder) / file


@pytest.mark.parametrize("name, change, message", [
    (YOUCOOK2_CSV, "12,15,100,fry,v0", "line 6: video v0: ends before it starts, 15 to 12 s"),
    (YOUCOOK2_CSV, "x,2,100,fry,v0", "line 6: video v0: end: expected seconds, got 'x'"),
    (YOUCOOK2_CSV, "1_0,2,100,fry,v0", "line 6: video v0: end: expected seconds, got '1_0'"),
    (YOUCOOK2_CSV, "5,-2,100,fry,v0", "line 6: video v0: start: expected seconds, got '-2'"),
    (YOUCOOK2_CSV, "nan,2,100,fry,v0", "line 6: video v0: end: expected seconds, got 'nan'"),
    (YOUCOOK2_CSV, "5,2,1.5,fry,v0", "line 6: video v0: task: expected a whole number, got '1.5'"),
    (YOUCOOK2_CSV, "5,2,101,fry,v0", "line 6: video v0: task 101, and another one"),
    (YOUCOOK2_CSV, "5,2,100,fry,../v0", "line 6: expected a video id without /"),
    (YOUCOOK2_CSV, "5,2,100,fry,", "line 6: expected a video id"),
    (YOUCOOK2_CSV, "5,2,100,fry, v0", "line 6: expected a video id .* and without blanks around it, got ' v0'"),
    (YOUCOOK2_CSV, "5,2,100,fry", "line 6: expected 5 cells, got 4"),
    (YOUCOOK2_CSV, '5,2,100,"fry,v0', "line 6: not readable as csv"),
    (YOUCOOK2, lambda v: v.update(subset="train"), "v0: subset: expected one of training, .*, got 'train'"),
    (YOUCOOK2, lambda v: v.pop("duration"), "video v0: 'duration' is missing"),
    (YOUCOOK2, lambda v: v.update(duration=True), "video v0: duration: expected int or float, got True"),
    (YOUCOOK2, lambda v: v.pop("annotations"), "video v0: 'annotations' is missing"),
    (YOUCOOK2, lambda v: v["annotations"][1].update(segment=[1]), r"annotation 1: video v0: segment: .*\[start, end\]"),
    (YOUCOOK2, lambda v: v["annotations"][1].update(segment=[9, 3]), "annotation 1: video v0: ends before it starts"),
    (YOUCOOK2, lambda v: v["annotations"][1].update(segment=[None, 3]), "video v0: start: expected seconds"),
    (YOUCOOK2, lambda v: v["annotations"][0].update(sentence=5), "annotation 0: .* sentence: expected str, got 5"),
    (MSRVTT, lambda r: r["videos"].append(r["videos"][0]), "videos entry 10: video video0: listed twice"),
    (MSRVTT, lambda r: r["videos"][1].update(split="valid"), "video1: split: expected one of train, validate"),
    (MSRVTT, lambda r: r["videos"][1].update({"end time": 3}), "video video1: ends before it starts, 10 to 3 s"),
    (MSRVTT, lambda r: r["videos"][1].pop("end time"), "video video1: end time: expected seconds, got None"),
    (MSRVTT, lambda r: r["sentences"][3].update(video_id="v99"), "sentences entry 3: video v99: a caption of a video"),
    (MSRVTT_CSV, "ret2,msr7,video7,again", "line 4: video video7: listed twice"),
    (MSRVTT_CSV, "ret2,msr8,video1,again", "line 4: video video1: vid_key: expected msr1, got 'msr8'"),
    (MSRVTT_CSV, "ret2,8,video8,again", "line 4: video video8: vid_key: expected msr and a number, got '8'"),
    (MSRVTT_QA, "msr1\ta\tb\tc\td\te\t5", "line 5: video video1: answer: expected 0 to 4, got 5"),
    (MSRVTT_QA, "msr1\ta\tb\tc\td\te\t-1", "line 5: video video1: answer: expected 0 to 4, got -1"),
    (MSRVTT_QA, "msr1\ta\tb\t \td\te\t1", "line 5: video video1: a3: expected a caption, got none"),
    (DIDEMO, lambda e: e.update(times=[[1, 6]]), "entry 0: video a2.mov: times: expected 1 to 5, got 6"),
    (DIDEMO, lambda e: e.update(times=[[3, 1]]), "entry 0: video a2.mov: times: expected 3 to 5, got 1"),
    (DIDEMO, lambda e: e.update(times=[[1]]), r"times: expected \[first, last\] chunks, got \[1\]"),
    (DIDEMO, lambda e: e.update(times=[]), "video a2.mov: times: no annotator chose anything"),
    (DIDEMO, lambda e: e.update(num_segments=7), "entry 1: video a2.mov: num_segments 6, and another one in"),
    (DIDEMO, lambda e: e.update(annotation_id=21), "entry 1: video a2.mov: annotation_id 21 is given twice"),
    (COIN, lambda v: v["annotation"][0].update(id="779"), "annotation 0: video c6: label id: .* 1 to 778, got 779"),
    (COIN, lambda v: v["annotation"][0].update(label="boil"), "c6: label id 7 is 'stir' elsewhere, got 'boil'"),
    (COIN, lambda v: v.update(subset="validation"), "video c6: subset: expected one of training, testing"),
    (CROSSTASK, "3,1,2", "line 3: video q0: step of task 22: expected 1 to 2, got 3"),
])  # fmt: skip
def test_a_bad_line_or_entry_is_named(tmp_path, name, change, message):
    path = release(tmp_path, name)
    if isinstance(change, str):
        path.write_text(path.read_text() + change + "\n")
    else:
        made.edit(path, lambda raw: change(ENTRY[name](raw)))
    with pytest.raises(VcworkError, match=message) as caught:
        READS[name](path)
    assert str(path) in str(caught.value)
