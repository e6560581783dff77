"""Small releases in the layouts of the published benchmarks, made up: no line of them is anybody's annotation."""

import csv
import json
from pathlib import Path

import numpy as np

WIDTH = 8
CONTRACT = {"backbone": "made", "weights": "none", "fps": 30, "size": 8, "normalisation": "none", "width": WIDTH}


def write_csv(path: Path, rows: list[list], delimiter: str = ",") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def write_json(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1))
    return path


def edit(path: Path, change) -> Path:
    """Change a JSON file in place."""
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw, indent=1))
    return path


def features(folder: Path, seconds: dict[str, int]) -> None:
    """`features/<id>.npy` [T, WIDTH] and the contract."""
    write_json(folder / "features" / "contract.json", CONTRACT)
    for number, (id, n) in enumerate(seconds.items()):
        array = np.random.default_rng(number).normal(size=(n, WIDTH))
        np.save(folder / "features" / f"{id}.npy", array.astype(np.float16))


def youcook2(folder: Path) -> Path:
    """Four training and two validation videos; the csv holds the validation clips."""
    database = {}
    for number, (id, subset) in enumerate([*((f"t{i}", "training") for i in range(4)), ("v0", "validation"),
                                           ("v1", "validation"), ("x0", "testing")]):  # fmt: skip
        annotations = [
            {"segment": [2, 12], "id": 0, "sentence": "Cut  the onion"},
            {"segment": [15, 60], "id": 1, "sentence": f"fry part {number}"},
        ]
        database[id] = {"duration": 70.5, "subset": subset, "recipe_type": str(100 + number % 2),
                        "video_url": "-"} | ({"annotations": annotations} if subset != "testing" else {})  # fmt: skip
    write_json(folder / "youcookii_annotations_trainval.json", {"database": database})
    rows = [["end", "start", "task", "text", "video_id"]]
    rows += [[12, 2, 100, "cut the onion", "v0"], [60, 15, 100, "fry part 4", "v0"]]
    rows += [[12, 2, 101, "Cut the  onion", "v1"], [60, 15, 101, "fry part 5", "v1"]]
    write_csv(folder / "validation_youcook.csv", rows)
    return folder


def msrvtt(folder: Path) -> Path:
    """Six train, one validate, three test videos of 12 s, two captions each; 1k-A is video7 and video9."""
    split_of = {i: "train" if i < 6 else "validate" if i == 6 else "test" for i in range(10)}
    videos = [{"video_id": f"video{i}", "split": split, "category": i % 3, "url": "-", "start time": 10.0,
               "end time": 22.0, "id": i} for i, split in split_of.items()]  # fmt: skip
    sentences = [{"video_id": f"video{i}", "caption": f"somebody does thing {i} way {n}", "sen_id": 2 * i + n}
                 for i in range(10) for n in range(2)]  # fmt: skip
    write_json(folder / "MSRVTT_data.json", {"info": {}, "videos": videos, "sentences": sentences})
    rows = [["key", "vid_key", "video_id", "sentence"]]
    rows += [["ret0", "msr7", "video7", "a thing is done"], ["ret1", "msr9", "video9", "another thing is done"]]
    write_csv(folder / "MSRVTT_JSFUSION_test.csv", rows)
    return folder


def msrvtt_qa(folder: Path) -> Path:
    """Three questions about two test videos."""
    rows = [["vid_key", "a1", "a2", "a3", "a4", "a5", "answer"]]
    rows += [["msr7", "a dog runs", "a cat", "a car", "rain", "a song", 0]]
    rows += [["msr9", "a dog", "a man cooks", "a car", "rain", "a song", 1]]
    rows += [["msr9", "snow", "a car", "food  is made", "wind", "Food is made", 4]]
    write_csv(folder / "MSR_MC_test.csv", rows, "\t")
    return folder


def didemo(folder: Path) -> Path:
    """Two videos a split; the second has five chunks."""
    for at, split in enumerate(("train", "val", "test")):
        entries = []
        for number, (video, n) in enumerate(((f"a{at}.mov", 6), (f"a{at}.mov", 6), (f"b{at}.m4v", 5))):
            times = [[n - 1, n - 1], [1, 2], [1, 2], [0, 0]]
            entries.append({"num_segments": n, "description": f"someone waves {number}", "dl_link": "-", "times": times,
                            "video": video, "annotation_id": 10 * at + number})  # fmt: skip
        write_json(folder / f"{split}_data.json", entries)
    return folder


def hirest(folder: Path) -> Path:
    """Three queries and four videos: one answers as a whole, one has no steps, one a step of no length."""
    told = {"relevant": True, "clip": True, "v_duration": 60.4}
    steps = [{"index": i, "heading": "do", "absolute_bounds": [10 + 8 * i, 18 + 8 * i]} for i in range(3)]
    last = [*steps, {"index": 3, "heading": "done", "absolute_bounds": [34, 34]}]
    queries = {
        "Make Tea": {"a.mp4": told | {"bounds": [10, 34], "steps": last},
                     "b.mp4": told | {"clip": False, "bounds": [0, 0], "steps": []}},
        "Use a Grill": {"c.mp4": told | {"bounds": [5, 61], "steps": []}},
        "Sew a Bag": {"d.mp4": told | {"bounds": [10, 34], "steps": steps}},
    }  # fmt: skip
    write_json(folder / "all_data_val.json", queries)
    bounds = {"a.mp4": [[10, 20], [20, 30]], "d.mp4": [[10.0, 34.0]]}
    write_json(folder / "evaluation.json", {video: {"captions": [], "bounds": each} for video, each in bounds.items()})
    return folder


def coin(folder: Path) -> Path:
    """Six training and two testing videos of two classes; labels 7 and 9 have the same text."""
    database, labels = {}, {"MakeTea": {7: "stir", 8: "pour water"}, "MixPaint": {9: "Stir", 10: "open the can"}}
    for number in range(8):
        name = ("MakeTea", "MixPaint")[number % 2]
        annotation = [{"id": str(id), "segment": [5.0 + 20 * k, 15.5 + 20 * k], "label": label}
                      for k, (id, label) in enumerate(labels[name].items())]  # fmt: skip
        database[f"c{number}"] = {
            "recipe_type": number % 2, "annotation": annotation, "video_url": "-", "start": 3.0, "end": 40.0,
            "duration": 45.0, "class": name, "subset": "training" if number < 6 else "testing",
        }  # fmt: skip
    write_json(folder / "COIN.json", {"database": database})
    return folder


def crosstask(folder: Path, n: int = 34) -> Path:
    """A primary task of `n` videos and one of three, a related one of two, one video held out."""
    folder.mkdir(parents=True, exist_ok=True)
    primary = {"11": ("Make Tea", ["boil water", "pour water", "stir"]), "22": ("Toast", ["cut bread", "toast bread"])}
    related = {"33": ("Make Coffee", ["grind", "pour water"])}
    for name, tasks in (("primary", primary), ("related", related)):
        blocks = [f"{id}\n{title}\n-\n{len(s)}\n{','.join(s)}\n\n" for id, (title, s) in tasks.items()]
        (folder / f"tasks_{name}.txt").write_text("".join(blocks))
    rows = [["11", f"p{i}", "-"] for i in range(n)] + [["22", f"q{i}", "-"] for i in range(3)]
    rows += [["33", f"r{i}", "-"] for i in range(2)]
    write_csv(folder / "videos.csv", [*rows, ["11", "held", "-"]])
    write_csv(folder / "videos_val.csv", [["11", "held", "-"]])
    for task, video, _ in [*rows, ["11", "held", "-"]]:
        write_csv(folder / "annotations" / f"{task}_{video}.csv", [[1, 2.0, 6.5], [2, 10, 50]])
    return folder
