"""Which file of a release is which split: the one registry of the published benchmarks.

A source folder holds the release's own annotation files under their own names. A file in its place, of any name, is
the one that the test split is in; what describes it is looked for beside it. DiDeMo's and CrossTask's keep their names.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from vcwork.base.errors import NoData, VcworkError
from vcwork.data.benchmarks.coin import SUBSETS, read_coin, read_coin_taxonomy
from vcwork.data.benchmarks.common import NONE_USABLE, Benchmark
from vcwork.data.benchmarks.crosstask import read_crosstask
from vcwork.data.benchmarks.didemo import read_didemo
from vcwork.data.benchmarks.msrvtt import described, read_msrvtt_1ka, read_msrvtt_ids, read_msrvtt_json
from vcwork.data.benchmarks.msrvtt_qa import read_msrvtt_qa
from vcwork.data.benchmarks.youcook2 import read_youcook2_csv, read_youcook2_json

SOURCES = {  # benchmark: its files, optional ones in brackets
    "youcook2": "validation_youcook.csv, youcookii_annotations_trainval.json (one of them is enough)",
    "msrvtt": "MSRVTT_JSFUSION_test.csv or msrvtt_test.csv [MSRVTT_data.json, or train_val_videodatainfo.json and "
    "test_videodatainfo.json] [MSRVTT_train.9k.csv or MSRVTT_train.7k.csv]",
    "msrvtt_qa": "MSR_MC_test.csv, or one .tsv [the json files of msrvtt]",
    "didemo": "test_data.json, val_data.json, train_data.json (one of them is enough)",
    "coin": "COIN.json or COIN_sample.json [taxonomy.csv]",
    "crosstask": "tasks_primary.txt, videos.csv, annotations/ [tasks_related.txt, videos_val.csv]",
}


def read_splits(name: str, source: Path, have: Collection[str] | None = None) -> dict[str, Benchmark]:
    """{role: split} of what the files of benchmark `name` in a folder, or one file, hold; {} where none is there.

    `have`: the videos that have features, for a draw that depends on them (CrossTask). VcworkError: a file is wrong.
    """
    return {part.role: part for part in _READERS[name](source, have)}


def lacking(parts: Mapping[str, Benchmark]) -> list[str]:
    """What was noted of splits that are not among those that were read."""
    return [note for part in parts.values() for note in part.notes if NONE_USABLE in note][:1]


def _youcook2(source: Path, have: Collection[str] | None) -> list[Benchmark]:
    csv, json = _first(source, "validation_youcook.csv"), _first(source, "youcookii_annotations_trainval.json")
    reads = [partial(read_youcook2_json, json, "training")] if json else []
    if csv:
        return _those_there(*reads, partial(read_youcook2_csv, csv))
    return _those_there(*reads, *([partial(read_youcook2_json, json, "validation")] if json else []))


def _msrvtt(source: Path, have: Collection[str] | None) -> list[Benchmark]:
    found = _first(source, "MSRVTT_JSFUSION_test.csv", "msrvtt_test.csv")
    if found is None:
        return []
    source = found.parent
    jsons = _videodatainfo(source)
    lists = [path for split in ("9k", "7k") if (path := source / f"MSRVTT_train.{split}.csv").is_file()]
    why = f"{lists[0].name} is taken" if lists and jsons else "no json tells of its videos"
    test = _those_there(partial(read_msrvtt_1ka, found))[0]
    test = replace(test, notes=(*test.notes, *(f"{path.name} is left aside: {why}" for path in lists[bool(jsons) :])))
    if not jsons:
        return [test]
    halved = [path.name for path in jsons] == ["train_val_videodatainfo.json"]
    split = lists[0].name.split(".")[1] if lists else "7k" if halved else "9k"
    test, ids = test if halved else described(test, jsons), read_msrvtt_ids(lists[0]) if lists else None
    return _those_there(partial(read_msrvtt_json, jsons, split, test.videos, ids), lambda: test)


def _msrvtt_qa(source: Path, have: Collection[str] | None) -> list[Benchmark]:
    tables = [source] if source.is_file() else [*source.glob("MSR_MC_test.csv"), *sorted(source.glob("*.tsv"))]
    jsons = _videodatainfo(_folder(source))
    if len(tables) > 1:
        raise VcworkError(f"{source}: expected one table, got {', '.join(path.name for path in tables)}")
    tests = _those_there(*(partial(read_msrvtt_qa, path) for path in tables))
    if not jsons or not tests:
        return tests
    return _those_there(partial(read_msrvtt_json, jsons, "7k", tests[0].videos), lambda: tests[0])


def _videodatainfo(source: Path) -> list[Path]:
    one = source / "MSRVTT_data.json"
    halves = [source / f"{half}_videodatainfo.json" for half in ("train_val", "test")]
    return [one] if one.is_file() else [path for path in halves if path.is_file()]


def _didemo(source: Path, have: Collection[str] | None) -> list[Benchmark]:
    test = source if source.is_file() else source / "test_data.json"
    paths = [*(_folder(source) / f"{split}_data.json" for split in ("train", "val")), test]
    return _those_there(*(partial(read_didemo, path) for path in paths if path.is_file()))


def _coin(source: Path, have: Collection[str] | None) -> list[Benchmark]:
    found = _first(source, "COIN.json", "COIN_sample.json")
    if found is None:
        return []
    sheet = found.parent / "taxonomy.csv"
    taxonomy = read_coin_taxonomy(sheet) if sheet.is_file() else None
    return _those_there(*(partial(read_coin, found, subset, taxonomy) for subset in SUBSETS))


def _crosstask(source: Path, have: Collection[str] | None) -> list[Benchmark]:
    found = _first(source, "tasks_primary.txt")
    if found is None or found.name != "tasks_primary.txt":
        return []
    source = found.parent
    names = ["train", "test", *(["val"] if (source / "videos_val.csv").is_file() else [])]
    return _those_there(*(partial(read_crosstask, source, part, have) for part in names))


def _those_there(*reads: Callable[[], Benchmark]) -> list[Benchmark]:
    """The splits that files hold, with a note on those they lack; VcworkError where they lack all."""
    parts, absent = [], []
    for read in reads:
        try:
            parts.append(read())
        except NoData as error:
            absent.append(str(error))
    if absent and not parts:
        raise VcworkError("; ".join(absent))
    return [replace(part, notes=(*part.notes, *absent)) for part in parts]


def _folder(source: Path) -> Path:
    return source.parent if source.is_file() else source


def _first(source: Path, *names: str) -> Path | None:
    """The first of these that a folder holds; a file itself, if it is of their kind."""
    if source.is_file():
        return source if source.suffix == Path(names[0]).suffix else None
    return next((source / name for name in names if (source / name).is_file()), None)


_READERS: dict[str, Callable[[Path, Collection[str] | None], list[Benchmark]]] = {
    "youcook2": _youcook2,
    "msrvtt": _msrvtt,
    "msrvtt_qa": _msrvtt_qa,
    "didemo": _didemo,
    "coin": _coin,
    "crosstask": _crosstask,
}
