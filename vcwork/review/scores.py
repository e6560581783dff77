"""Somebody's scores from a file: a matrix of texts by items, or embeddings of both, as blocks of rows.

.npy and .safetensors are read a block at a time, the others are held in memory. In .npz the
matrix is `scores` (or the only one), or `text` and `video` are embeddings; `query_ids` and `item_ids` say what rows and
columns are. safetensors keeps both in its metadata, as JSON. In .csv and .parquet the first column holds the queries'
ids, the other columns are items. A .json is {query: {videos: [ids], scores: [numbers]}}, as HiREST's evaluation reads
it. What that or a TREC run does not list stands behind all that it does.
Nothing is unpickled. Gap: a .npy in Fortran order is held in memory, as its rows lie nowhere together.
"""

import csv
import lzma
import struct
import sys
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.base.files import parse_json, read_text, resolve, sha256_file
from vcwork.data.benchmarks.reading import At, read_strict_json
from vcwork.measure.metrics import unit
from vcwork.measure.streamed import Rows

BLOCK = 1 << 24  # numbers read at a time, 64 MB of float32
TREC = (".run", ".trec", ".txt")
DENSE = (".npy", ".npz", ".safetensors")
SPARSE = (*TREC, ".json")  # which need not list every pair
BROKEN = (zipfile.BadZipFile, RuntimeError, EOFError, struct.error, zlib.error, lzma.LZMAError)  # zips of any bytes
IN_MEMORY = 1 << 32  # bytes: what formats that are held in memory may take


@dataclass(frozen=True)
class Scores:
    """`rows()` gives blocks (q, N) of the matrix (Q, N) from the first row on; ids where the file tells them.

    sha256: of the file, or of both; `told`: what a reader must know of how it was read.
    """

    path: Path
    shape: tuple[int, int]
    rows: Rows
    sha256: str
    query_ids: Sequence[str] | None = None
    item_ids: Sequence[str] | None = None
    told: list[str] = field(default_factory=list)

    def ordered(self, queries: np.ndarray | None, items: np.ndarray | None) -> "Scores":
        """The same with rows and columns in another order, each the places in this one, or None for as it is.

        A column -1 holds what was not scored.
        """
        if queries is None and items is None:
            return self

        def columns(block: np.ndarray) -> np.ndarray:
            return block if items is None else np.where(items >= 0, block[:, items], -np.inf).astype(block.dtype)

        def rows() -> Iterator[np.ndarray]:
            if queries is None:
                yield from map(columns, self.rows())
            elif (np.diff(queries) > 0).all():  # some of the rows, in their order
                at = 0
                for block in self.rows():
                    here = queries[(queries >= at) & (queries < at + len(block))] - at
                    at += len(block)
                    if len(here):
                        yield columns(block[here])
            else:
                whole = np.concatenate(list(self.rows()))  # rows from anywhere: all of them are needed
                yield from (columns(whole[part]) for part in np.array_split(queries, -(-whole.size // BLOCK)))

        if queries is not None and not (np.diff(queries) > 0).all():
            _fits(self.path, self.shape, "its rows lie in another order than the annotations'")
        ids = [each if order is None or each is None else None
               for each, order in ((self.query_ids, queries), (self.item_ids, items))]  # fmt: skip
        shape = self.shape[0] if queries is None else len(queries), self.shape[1] if items is None else len(items)
        return replace(self, rows=rows, query_ids=ids[0], item_ids=ids[1], shape=shape)


def counted(ids: Sequence[str] | None) -> np.ndarray | None:
    """Where 0, 1, … stand among ids that are these in another order; None for any others."""
    numbers = [str(i) for i in range(len(ids or ()))]
    if ids is None or list(ids) == numbers or set(ids) != set(numbers):
        return None
    return np.argsort(np.array(ids, dtype=int))


def open_scores(path: str | Path, video: str | Path | None = None, cosine: bool = False) -> Scores:
    """A score matrix; with `video`, `path` holds the texts' embeddings and `video` the items'.

    VcworkError: another kind of file, not a matrix of real numbers with a fraction, ids missing or doubled, embeddings
    of two widths, or more than is held in memory.
    """
    path = resolve(path)
    if video is not None:
        text, videos = (_opened(each, DENSE, "embeddings") for each in (path, resolve(video)))
        return _products(path, _only(path, text), _only(resolve(video), videos), cosine, resolve(video))
    found = _opened(path, READERS, "scores")
    if isinstance(found, Scores):
        return _checked(found)
    if {"text", "video"} <= set(found):
        return _checked(_products(path, found["text"], found["video"], cosine))
    if cosine:
        raise VcworkError(f"{path}: --cosine is for embeddings, got scores")
    return _checked(_of(path, found["scores"] if "scores" in found else _only(path, found)))


# -------------------------------------------------------------------------------------------------- matrices


@dataclass(frozen=True)
class _Matrix:
    """An array (M, N) that is read by rows, and ids of its rows and columns where they are known."""

    shape: tuple[int, int]
    read: Any  # (start, end) -> rows
    ids: tuple[Sequence[str] | None, Sequence[str] | None] = (None, None)


def _opened(path: Path, kinds: Collection[str], what: str) -> Any:
    if not path.is_file():
        raise VcworkError(f"{path}: no such file")
    if path.suffix not in kinds:
        raise VcworkError(f"{path}: expected {what} as {', '.join(kinds)}, got {path.suffix or 'no suffix'}")
    return READERS[path.suffix](path)


def _only(path: Path, found: dict[str, _Matrix]) -> _Matrix:
    if len(found) != 1:
        raise VcworkError(f"{path}: expected one matrix, or one named `scores`, got {', '.join(found) or 'none'}")
    return next(iter(found.values()))


def _of(path: Path, matrix: _Matrix, sparse: bool = False) -> Scores:
    n, width = matrix.shape
    step = max(1, BLOCK // width)

    def rows() -> Iterator[np.ndarray]:
        for at in range(0, n, step):
            block = _floats(matrix.read(at, min(n, at + step)))
            yield block if sparse else _finite(path, "scores", block, at)

    return Scores(path, matrix.shape, rows, sha256_file(path), *matrix.ids)


def _floats(rows: np.ndarray) -> np.ndarray:
    return rows.astype(np.float32) if rows.dtype.itemsize < 4 else rows


def _products(path: Path, text: _Matrix, video: _Matrix, cosine: bool, other: Path | None = None) -> Scores:
    """Dot products, or cosines, of two sets of embeddings (Q, D) and (N, D), made anew at each pass."""
    if text.shape[1] != video.shape[1]:
        raise VcworkError(f"{path}: expected embeddings of one width, got texts {text.shape} and items {video.shape}")

    def ready(file: Path, what: str, rows: np.ndarray, first: int = 0) -> np.ndarray:
        rows = _finite(file, f"embeddings of {what}", _floats(rows), first)
        if cosine and not (some := rows.any(1)).all():
            nothing = f"got only zeros in row {first + int(some.argmin())}"
            raise VcworkError(f"{file}: expected embeddings of {what} that have a direction, {nothing}")
        return unit(rows) if cosine else rows

    items = ready(other or path, "items", video.read(0, video.shape[0]))
    step = max(1, BLOCK // max(video.shape))

    def rows() -> Iterator[np.ndarray]:
        for at in range(0, text.shape[0], step):
            queries = ready(path, "texts", text.read(at, min(text.shape[0], at + step)), at)
            with np.errstate(over="ignore", invalid="ignore"):
                yield _finite(path, "products", queries @ items.T, at)  # (q, N)

    digest = sha256_file(path) + (f"+{sha256_file(other)}" if other else "")
    told = ["cosines of the embeddings" if cosine else "dot products of the embeddings"]
    return Scores(path, (text.shape[0], video.shape[0]), rows, digest, text.ids[0], video.ids[0], told)


def _finite(path: Path, what: str, rows: np.ndarray, first: int = 0) -> np.ndarray:
    if not (np.isfinite(rows.min()) and np.isfinite(rows.max())):
        row, column = np.argwhere(~np.isfinite(rows))[0]
        came = f"{rows[row, column]} at row {first + row}, column {column}"
        raise VcworkError(f"{path}: expected finite {what}, got {came} (float16 ends at 65,504)")
    return rows


def _matrix(
    path: Path, name: str, shape: Sequence[int], dtype: np.dtype, read: Any, ids: Any = (None, None)
) -> _Matrix:
    """VcworkError unless it is a matrix of floats: whole numbers are more often ranks, where lower is better."""
    if len(shape) != 2 or 0 in shape:
        raise VcworkError(f"{path}: expected {name} as texts by items (Q, N), got shape {tuple(shape)}")
    if dtype.kind != "f" or dtype.itemsize > 8:
        raise VcworkError(f"{path}: expected {name} in float16, float32 or float64, higher is better, got {dtype}")
    return _Matrix((int(shape[0]), int(shape[1])), read, ids)


def _fits(path: Path, shape: Sequence[int], why: str, itemsize: int = 4) -> None:
    if (size := int(np.prod(np.array(shape, dtype=object))) * itemsize) > IN_MEMORY:
        most = f"at most {IN_MEMORY >> 30} GB"
        raise VcworkError(f"{path}: {why}, so it is held in memory, {most}; it has {size >> 30} GB: save it as .npy")


# --------------------------------------------------------------------------------------------------- formats


def _npy(path: Path) -> dict[str, _Matrix]:
    with path.open("rb") as file:
        shape, fortran, dtype = _header(path, file)
        start = file.tell()
    if path.stat().st_size < start + int(np.prod(np.array(shape, dtype=object))) * dtype.itemsize:
        raise VcworkError(f"{path}: cut short: its header tells of {shape} {dtype}")
    if fortran:
        _fits(path, shape, "a .npy in Fortran order", dtype.itemsize)
        whole = np.load(path, allow_pickle=False)
        return {"scores": _matrix(path, "scores", shape, dtype, lambda a, b: whole[a:b])}

    def read(first: int, end: int) -> np.ndarray:
        width = shape[1] * dtype.itemsize
        found = np.fromfile(path, dtype, (end - first) * shape[1], offset=start + first * width)
        return found.reshape(end - first, shape[1])

    return {"scores": _matrix(path, "scores", shape, dtype, read)}


def _header(path: Path, file: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    try:
        version = np.lib.format.read_magic(file)
        reads = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        return reads[version](file)
    except Exception as error:  # a header of any bytes may raise anything
        raise VcworkError(f"{path}: not readable as a plain .npy array (cut, damaged or of Python objects)") from error


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Plain arrays of an .npz, by name; VcworkError for anything else, and for more than is held in memory."""
    try:
        with zipfile.ZipFile(path) as archive:
            size, entries = 0, archive.infolist()
            if len({entry.filename for entry in entries}) < len(entries):
                raise ValueError("two arrays of one name")
            for entry in entries:
                with archive.open(entry) as file:
                    shape, _, dtype = _header(Path(f"{path}/{entry.filename}"), file)
                size += int(np.prod(np.array(shape, dtype=object))) * dtype.itemsize
            _fits(path, (size,), "an archive", 1)
        with np.load(path, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except (*BROKEN, ValueError, OSError, KeyError) as error:
        if isinstance(error, VcworkError):
            raise
        raise VcworkError(f"{path}: not readable as an .npz of plain arrays ({error})") from error


def _npz(path: Path) -> dict[str, _Matrix]:
    arrays = read_arrays(path)
    ids = {name: _texts(path, name, arrays.pop(name)) for name in ("query_ids", "item_ids") if name in arrays}
    both = ids.get("query_ids"), ids.get("item_ids")
    wanted = {name: array for name, array in arrays.items() if array.ndim == 2}
    return {
        name: _matrix(path, name, array.shape, array.dtype, lambda a, b, array=array: array[a:b], _for(name, both))
        for name, array in wanted.items()
    }


def _safetensors(path: Path) -> dict[str, _Matrix]:
    from safetensors import SafetensorError, safe_open

    try:
        file = safe_open(path, "numpy")
        names, metadata = list(file.keys()), file.metadata() or {}
        arrays = {name: file.get_slice(name) for name in names}
        told = {name: np.array(parse_json(metadata[name])) for name in ("query_ids", "item_ids") if name in metadata}
    except (SafetensorError, OSError, ValueError) as error:
        raise VcworkError(f"{path}: not readable as safetensors ({error})") from error
    types = {"F16": np.float16, "F32": np.float32, "F64": np.float64}
    ids = {name: _texts(path, name, array) for name, array in told.items()}
    both = ids.get("query_ids"), ids.get("item_ids")
    out = {}
    for name, array in arrays.items():
        if array.get_dtype() not in types:
            raise VcworkError(f"{path}: expected {name} in F16, F32 or F64, got {array.get_dtype()}")
        read = lambda a, b, array=array: array[a:b]  # noqa: E731
        out[name] = _matrix(path, name, array.get_shape(), np.dtype(types[array.get_dtype()]), read, _for(name, both))
    return out


def _for(name: str, both: tuple) -> tuple:
    """Ids of rows and columns of the matrix `name`: embeddings have rows alone."""
    return {"text": (both[0], None), "video": (both[1], None)}.get(name, both)


def _texts(path: Path, name: str, array: np.ndarray) -> list[str]:
    if array.ndim != 1 or array.dtype.kind not in "Uiu":
        raise VcworkError(
            f"{path}: expected {name} as a list of texts or whole numbers, got {array.dtype} {array.shape}"
        )
    return [str(each) for each in array.tolist()]


def _csv(path: Path) -> Scores:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, strict=True)
            head = next(lines, [])
            ids, rows = [], []
            for line in filter(None, lines):
                if len(line) != len(head):
                    raise VcworkError(f"{path}: line {lines.line_num}: expected {len(head)} cells, got {len(line)}")
                ids.append(line[0])
                rows.append(_numbers(path, lines.line_num, line[1:]))
    except (csv.Error, UnicodeDecodeError, OSError) as error:
        raise VcworkError(f"{path}: not readable as csv ({error})") from error
    return _table(path, ids, head[1:], rows)


def _numbers(path: Path, line: int, cells: list[str]) -> np.ndarray:
    try:
        return np.array(cells, dtype=float)
    except ValueError as error:
        raise VcworkError(f"{path}: line {line}: expected numbers after the first cell ({error})") from None


def _table(path: Path, ids: list[str], items: list[str], rows: list[np.ndarray]) -> Scores:
    if not rows or not items:
        raise VcworkError(f"{path}: expected a column of query ids and a column for each item, with a line a query")
    whole = np.stack(rows)
    if (whole == np.round(whole)).all():
        raise VcworkError(f"{path}: expected scores, higher is better, got whole numbers only (ranks?)")
    return _of(path, _Matrix(whole.shape, lambda a, b: whole[a:b], (ids, items)))


def _parquet(path: Path) -> Scores:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise VcworkError(f"{path}: reading parquet needs pyarrow (pip install pyarrow); or save it as .npy") from None
    try:
        about = parquet.ParquetFile(path)
        names = about.schema_arrow.names
        _fits(path, (about.metadata.num_rows, len(names)), "a parquet table", 8)
        table = about.read()
        ids = [str(each) for each in table.column(0).to_pylist()]
        columns = [column.to_numpy() for column in table.columns[1:]]
        whole = np.stack([np.asarray(column, dtype=float) for column in columns], 1) if columns else np.zeros((0, 0))
    except (ArrowException, OSError, ValueError, TypeError) as error:
        raise VcworkError(f"{path}: not readable as a table of ids and numbers ({error})") from error
    return _table(path, ids, names[1:], list(whole))


def trec_pairs(path: Path, form: str, low: float = -sys.float_info.max) -> dict[tuple[str, str], float]:
    """{(query, item): score or grade} of a TREC file with lines of this form; VcworkError names a line that is not."""
    names, found = form.split(), dict[tuple[str, str], float]()
    wanted = next(name for name in ("score", "grade") if name in names)
    for number, line in enumerate(read_text(path).splitlines(), 1):
        at, cells = At(path, f"line {number}"), line.split()
        if cells and len(cells) != len(names):
            at.fail(f"expected `{form}`, got {len(cells)} cells")
        if cells and (cells[0], cells[2]) in found:
            at.fail(f"item {cells[2]!r} of query {cells[0]!r} comes twice")
        if cells:
            found[cells[0], cells[2]] = at.number(cells[names.index(wanted)], wanted, low)
    return found


def _trec(path: Path) -> Scores:
    """The score of a line counts, its rank does not."""
    return _sparse(path, trec_pairs(path, "query Q0 item rank score tag"), "a TREC run")


def _ranked(path: Path) -> Scores:
    found: dict[tuple[str, str], float] = {}
    for query, told in At(path).entry(read_strict_json(path)).items():
        at = At(path, f"query {query!r}")
        at.entry(told, videos=list, scores=list)
        if len(told["videos"]) != len(told["scores"]) or len(set(map(str, told["videos"]))) < len(told["videos"]):
            at.fail("expected a score for each of its videos, and each video once")
        for video, score in zip(told["videos"], told["scores"], strict=True):
            found[query, str(video)] = at.number(score, "scores")
    return _sparse(path, found, "a ranking")


def _sparse(path: Path, found: dict[tuple[str, str], float], what: str) -> Scores:
    """A matrix of what is scored, {(query, item): score}; everything else is -infinity."""
    if not found:
        raise VcworkError(f"{path}: holds no score")
    queries, items = ({id: i for i, id in enumerate(dict.fromkeys(ids))} for ids in zip(*found, strict=True))
    _fits(path, (len(queries), len(items)), what)
    whole = np.full((len(queries), len(items)), -np.inf)
    for (query, item), score in found.items():
        whole[queries[query], items[item]] = score
    scores = _of(path, _Matrix(whole.shape, lambda a, b: whole[a:b], (list(queries), list(items))), sparse=True)
    listed = f"{what} of {len(found):,} of {whole.size:,} pairs; what it does not list stands behind"
    return replace(scores, told=[listed])


READERS = {
    ".npy": _npy, ".npz": _npz, ".safetensors": _safetensors, ".csv": _csv, ".parquet": _parquet,
    ".json": _ranked, **dict.fromkeys(TREC, _trec),
}  # fmt: skip


def _checked(scores: Scores) -> Scores:
    for what, ids, n in (("query", scores.query_ids, scores.shape[0]), ("item", scores.item_ids, scores.shape[1])):
        if ids is None:
            continue
        if len(ids) != n:
            raise VcworkError(f"{scores.path}: expected {n} {what} ids, got {len(ids)}")
        if len(set(ids)) != n:
            twice = Counter(ids).most_common(1)[0][0]
            raise VcworkError(f"{scores.path}: {what} id {twice!r} is there twice")
    return scores
