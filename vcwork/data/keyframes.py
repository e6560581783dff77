"""Real data that comes as features, without video files: YouCook2 keyframes; 50Salads, a label for every row.

A keyframes folder holds `videos_<split>.csv` (video_id, recipe_type), `captions_<split>.json` ({id: {start, end,
text}}) and `features/<backbone>/<id>.npy`, one row a step. There is one keyframe a step, so "second" i of such a video
is step i: times count steps, not seconds of the film. What is absent or does not fit is left out and counted; a broken
file is an error.
Known gap: nothing here knows when a step happened in the film, so no moment of it can be shown.

A folder in the layout of 50Salads holds `features/<id>.npy` [T, W], `groundTruth/<id>.txt` (one label a row),
`mapping.txt` (number and label) and `split<n>_{train,test}.txt` (one id a line). What does not fit is an error.
"""

import csv
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.base.files import read_json, resolve, sha256_json, write_json
from vcwork.data.captions import Caption, write_vtt
from vcwork.data.corpus import Corpus, Recipe, Video, open_corpus, save_corpus
from vcwork.data.coverage import Count, Coverage
from vcwork.data.store import Contract, FeatureStore, open_store, write_store

KEYFRAME_SPLITS = ("train", "val")


@dataclass(frozen=True)
class Keyframes:
    """Videos by split; of each its recipe type, features (K, W) float32 and K captions, one a keyframe.

    Only videos that have both features and captions, of the same number, are here; `coverage` tells of the rest.
    """

    folder: Path
    width: int
    ids: dict[str, list[str]]
    recipe: dict[str, str] = field(default_factory=dict)
    features: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    captions: dict[str, list[Caption]] = field(default_factory=dict, repr=False)
    coverage: Coverage = field(default_factory=lambda: Coverage({}))

    def frames(self, split: str) -> np.ndarray:
        """Keyframes of a split below each other, (N, W) float32, in the order of `ids[split]`."""
        return np.concatenate([self.features[id] for id in self._split(split)])

    def sentences(self, split: str) -> list[str]:
        """The N captions that belong to `frames(split)`, row by row."""
        return [caption.text for id in self._split(split) for caption in self.captions[id]]

    def video_of(self, split: str) -> np.ndarray:
        """Video id of each row of `frames(split)`, (N,)."""
        return np.array([id for id in self._split(split) for _ in self.captions[id]])

    def _split(self, split: str) -> list[str]:
        if split not in self.ids:
            raise VcworkError(f"split: expected one of {', '.join(self.ids)}, got {split!r}")
        return self.ids[split]


def read_keyframes(folder: str | Path, backbone: str = "mobilenet_v2", width: int = 1280) -> Keyframes:
    """Both splits of a keyframe folder; `width` is what every feature must have.

    Counted, not an error: a listed video without features or captions, or with another number of one than of the
    other; captions or features of a video that no csv lists. VcworkError, naming file and key: a missing folder or
    file, a video in both splits, features of another width or type, NaN, captions without a start and end each.
    """
    folder = resolve(folder)
    stored = folder / "features" / backbone
    for path in (folder, stored):
        if not path.is_dir():
            raise VcworkError(f"{path}: no such folder")
    tables = {split: _read_table(folder / f"videos_{split}.csv") for split in KEYFRAME_SPLITS}
    texts = {split: _read_captions(folder / f"captions_{split}.json") for split in KEYFRAME_SPLITS}
    if twice := sorted(tables["train"].keys() & tables["val"].keys()):
        raise VcworkError(f"{folder / 'videos_val.csv'}: {twice[0]} is a train video as well, {len(twice)} in all")
    read = Keyframes(folder, width, {split: [] for split in KEYFRAME_SPLITS})
    missing: dict[str, dict[str, str]] = {"videos": {}, "captions": {}, "features": {}}
    for split, table in tables.items():
        for id, recipe in table.items():
            _add(read, split, id, recipe, texts[split].get(id, []), stored / f"{id}.npy", missing)
    if not any(read.ids.values()):
        raise VcworkError(f"{folder}: none of {sum(map(len, tables.values()))} videos has both features and captions")
    _count(read.coverage, read.ids, tables, missing, _unlisted(tables, texts, stored))
    return read


def keyframes_corpus(
    source: str | Path, folder: str | Path, features: str | Path, backbone: str = "mobilenet_v2", width: int = 1280
) -> tuple[Corpus, FeatureStore]:
    """A keyframe folder as a corpus in `folder` and a store in `features`, so that notebooks run on it unchanged.

    Each caption is also a true segment with a step of its own, and each recipe type a recipe; there is no video file
    and no test split. Called again it opens what is there; VcworkError when that came from other data.
    """
    read, folder = read_keyframes(source, backbone, width), resolve(folder)
    texts = {id: [caption.text for caption in captions] for id, captions in read.captions.items()}
    digest = sha256_json({"ids": read.ids, "texts": texts, "recipe": read.recipe})
    if not (folder / "corpus.json").exists():
        save_corpus(_as_corpus(read, folder, digest))
    corpus = open_corpus(folder)
    if corpus.meta.get("source_digest") != digest:
        raise VcworkError(f"{folder}: holds another corpus ({corpus.name}); choose another folder")
    contract = Contract(backbone, "as published", 1.0, 224, "as published", width)
    return corpus, _store_once(features, contract, {id: read.features[id] for id in corpus.videos})


def _as_corpus(read: Keyframes, folder: Path, digest: str) -> Corpus:
    """Caption and truth files written, corpus.json not yet."""
    meta = {"second_is": "step", "rolling_captions": False, "source_digest": digest}
    corpus, members = Corpus(folder, read.folder.name, {}, meta=meta), {}
    for split, ids in read.ids.items():
        for id in ids:
            captions, kind = read.captions[id], f"type-{read.recipe[id]}"
            steps = {f"{id}/{i}": caption.text for i, caption in enumerate(captions)}
            corpus.steps |= steps
            members.setdefault(kind, []).extend(steps)
            paths = {key: folder / key / f"{id}.{suffix}" for key, suffix in (("captions", "vtt"), ("truth", "json"))}
            write_vtt(paths["captions"], [Caption(i, i + 1, c.text) for i, c in enumerate(captions)])
            write_json(paths["truth"], _keyframe_truth(steps))
            corpus.videos[id] = Video(id, None, duration_s=float(len(captions)), split=split, recipe=kind, **paths)
    corpus.recipes = {kind: Recipe(kind, f"recipe {kind}", tuple(steps)) for kind, steps in members.items()}
    return corpus


def _keyframe_truth(steps: dict[str, str]) -> dict:
    segments = [{"start_s": i, "end_s": i + 1, "step": s, "caption": text} for i, (s, text) in enumerate(steps.items())]
    return {"segments": segments, "caption_segment": list(range(len(steps))), "mentions": []}


def _store_once(folder: str | Path, contract: Contract, arrays: dict[str, np.ndarray]) -> FeatureStore:
    if not (resolve(folder) / "manifest.json").exists():
        return write_store(folder, contract, arrays)
    store = open_store(folder, contract)
    if store.ids != list(arrays) or any(not np.array_equal(store[id], a) for id, a in arrays.items()):
        raise VcworkError(f"{store.folder}: holds other features; choose another folder")
    return store


def _add(
    read: Keyframes, split: str, id: str, recipe: str, captions: list[Caption], path: Path,
    missing: dict[str, dict[str, str]],
) -> None:  # fmt: skip
    """Put a complete video into `read`; of another, the reason into `missing`."""
    if not captions:
        missing["captions"][id] = f"captions_{split}.json has none"
    if not path.is_file():
        missing["features"][id] = f"{path.name} is missing"
    if not captions or not path.is_file():
        return
    features = _read_features(path, read.width)
    if len(features) != len(captions):
        missing["videos"][id] = f"{len(features)} keyframes, {len(captions)} captions"
        return
    read.ids[split].append(id)
    read.recipe[id], read.features[id], read.captions[id] = recipe, features, captions


def _read_features(path: Path, width: int | None) -> np.ndarray:
    """(K, width) float32; None: whatever width it has."""
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise VcworkError(f"{path}: not readable as a feature array ({error})") from error
    fits = array.ndim == 2 and array.shape[1] == (array.shape[1] if width is None else width)
    if not fits or not np.issubdtype(array.dtype, np.floating):
        raise VcworkError(f"{path}: expected floats (K, {width or 'W'}), got {array.dtype} {array.shape}")
    if not np.isfinite(array).all():
        raise VcworkError(f"{path}: holds {int((~np.isfinite(array)).sum())} values that are NaN or infinite")
    return array.astype(np.float32)


def _read_table(path: Path) -> dict[str, str]:
    """{video id: recipe type}, in the file's order."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            rows, columns = list(reader), reader.fieldnames or []
    except FileNotFoundError:
        raise VcworkError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise VcworkError(f"{path}: not readable as csv ({error})") from error
    if lost := {"video_id", "recipe_type"} - set(columns):
        raise VcworkError(f"{path}: expected the columns video_id and recipe_type, missing {', '.join(sorted(lost))}")
    return {row["video_id"]: row["recipe_type"] for row in rows if row["video_id"]}


def _read_captions(path: Path) -> dict[str, list[Caption]]:
    """{video id: captions sorted by start}, checked: as many starts and ends as texts, in order, no empty text."""
    raw = read_json(path)
    if not isinstance(raw, dict):
        raise VcworkError(f"{path}: expected an object {{video id: {{start, end, text}}}}, got {type(raw).__name__}")
    return {id: _captions(f"{path}: {id}", entry) for id, entry in raw.items()}


def _captions(where: str, entry: object) -> list[Caption]:
    try:
        lists = [list(entry[key]) for key in ("start", "end", "text")]
        captions = [Caption(float(a), float(b), str(text).strip()) for a, b, text in zip(*lists, strict=True)]
    except (KeyError, TypeError, ValueError) as error:
        raise VcworkError(f"{where}: expected lists start, end, text of one length ({error!r})") from error
    for caption, before in zip(captions, [None, *captions], strict=False):
        ordered = caption.start_s <= caption.end_s and (before is None or before.start_s <= caption.start_s)
        if not ordered or not caption.text:
            raise VcworkError(f"{where}: expected texts in time order, none empty, got {caption}")
    return captions


def _unlisted(tables: dict[str, dict], texts: dict[str, dict], stored: Path) -> list[str]:
    """What belongs to no listed video."""
    listed = {id for table in tables.values() for id in table}
    captions = [f"captions_{split}.json: {id}" for split in texts for id in texts[split] if id not in tables[split]]
    return captions + sorted(path.name for path in stored.glob("*.npy") if path.stem not in listed)


def _count(
    coverage: Coverage, ids: dict[str, list[str]], tables: dict[str, dict], missing: dict[str, dict[str, str]],
    unlisted: list[str],
) -> None:  # fmt: skip
    expected = sum(map(len, tables.values()))
    coverage.counts.update({kind: Count(expected, reasons) for kind, reasons in missing.items()})
    coverage.denominators.update({f"{split} videos": (len(tables[split]), len(ids[split])) for split in tables})
    if unlisted:
        coverage.notes.append(f"in no csv of their split, left out: {len(unlisted)}; first: {unlisted[0]}")


# ------------------------------------------------------------------------------------- 50Salads: labels for rows


@dataclass(frozen=True)
class FrameLabels:
    """Videos by split; of each features (T, W) float32 and labels (T,) int64; `names[c]` is the label of class c."""

    folder: Path
    names: list[str]
    ids: dict[str, list[str]]
    features: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    labels: dict[str, np.ndarray] = field(default_factory=dict, repr=False)


def read_frame_labels(folder: str | Path, split: int = 1, width: int | None = None) -> FrameLabels:
    """Train and test videos of one split; `width`: what every feature must have, else that of the first.

    VcworkError, naming file and line: what is missing or unreadable, a label that `mapping.txt` does not know, another
    number of labels than of rows, a video listed twice.
    """
    folder = resolve(folder)
    names = _read_mapping(folder / "mapping.txt")
    paths = {part: folder / f"split{split}_{part}.txt" for part in ("train", "test")}
    ids = {part: _lines(path) for part, path in paths.items()}
    listed = [id for part in ids.values() for id in part]
    if twice := [id for id in listed if listed.count(id) > 1]:
        raise VcworkError(f"{paths['test']}: {twice[0]} is listed twice in {paths['train'].name} and this file")
    read = FrameLabels(folder, names, ids)
    number = {name: c for c, name in enumerate(names)}
    for id in listed:
        path, truth = folder / "features" / f"{id}.npy", folder / "groundTruth" / f"{id}.txt"
        features = _read_features(path, width)
        width = features.shape[1]
        labels = _lines(truth)
        for line, label in enumerate(labels, 1):
            if label not in number:
                raise VcworkError(f"{truth}: line {line}: expected a label of mapping.txt, got {label!r}")
        if len(labels) != len(features):
            raise VcworkError(f"{truth}: expected a label for each of {len(features)} rows, got {len(labels)}")
        read.features[id], read.labels[id] = features, np.array([number[x] for x in labels], dtype=np.int64)
    return read


def _read_mapping(path: Path) -> list[str]:
    """Labels in the order of their numbers, which are 0, 1, ..."""
    table: dict[int, str] = {}
    for line, text in enumerate(_lines(path), 1):
        number, _, name = text.partition(" ")
        if not number.isdecimal() or not name.strip() or int(number) in table or name.strip() in table.values():
            raise VcworkError(f"{path}: line {line}: expected a new number and a new label, got {text!r}")
        table[int(number)] = name.strip()
    if sorted(table) != list(range(len(table))):
        raise VcworkError(f"{path}: expected the numbers 0 to {len(table) - 1}, got {sorted(table)}")
    return [table[c] for c in range(len(table))]


def _lines(path: Path) -> list[str]:
    """Lines without the blanks around them and without empty ones at the end; at least one."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").rstrip().splitlines()]
    except FileNotFoundError:
        raise VcworkError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise VcworkError(f"{path}: not readable as text ({error})") from error
    if not lines:
        raise VcworkError(f"{path}: empty")
    return lines
