"""Places of the right items in scores too large for memory, both ways at once, from blocks of rows that are read twice.

The same counts as `vcwork.measure.metrics.place` of the whole matrix and of its transpose. Which items are right is
told as pairs, not as a matrix. What else a pass can tell for its price comes along: how often each item is among the
first k, and what the first answers would be worth under dual softmax. NumPy alone.
Gap: a group that most queries and items share makes more pairs than it is worth; `Pairs.of` refuses it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.measure.metrics import Places, blocks

Rows = Callable[[], Iterator[np.ndarray]]  # anew at each call: float blocks (q, N), from the first row to the last
MOST_PAIRS = 1 << 26
COUNTED = 255  # rows whose marks fit a byte when they are summed


@dataclass(frozen=True)
class Pairs:
    """What is right: items[p] for queries[p], (P,) each, by query; of n_queries and n_items."""

    queries: np.ndarray
    items: np.ndarray
    n_queries: int
    n_items: int

    @classmethod
    def of(cls, query_labels: Sequence, item_labels: Sequence) -> "Pairs":
        """Every item with the label of the query, labels (Q,) and (N,)."""
        codes = np.unique(np.concatenate([np.asarray(query_labels), np.asarray(item_labels)]), return_inverse=True)[1]
        wanted, here = codes[: len(query_labels)], codes[len(query_labels) :]
        order, sizes = np.argsort(here, kind="stable"), np.bincount(here, minlength=codes.max() + 1)
        counts = sizes[wanted]  # (Q,)
        if (total := int(counts.sum())) > MOST_PAIRS:
            raise VcworkError(f"expected at most {MOST_PAIRS:,} right pairs, got {total:,}: are these really groups?")
        starts = (sizes.cumsum() - sizes)[wanted]
        inside = np.arange(total) - np.repeat(counts.cumsum() - counts, counts)
        items = order[np.repeat(starts, counts) + inside]
        return cls(np.repeat(np.arange(len(wanted)), counts), items, len(wanted), len(here))

    @property
    def turned(self) -> "Pairs":
        """The same from the items' side, by item."""
        order = np.lexsort((self.queries, self.items))
        return Pairs(self.items[order], self.queries[order], self.n_items, self.n_queries)

    def holds(self, others: "Pairs") -> np.ndarray:
        """(P,) of each of the other pairs, is it among these?"""
        mine, theirs = (each.queries.astype(np.int64) * self.n_items + each.items for each in (self, others))
        return np.isin(theirs, mine)

    @property
    def per_query(self) -> np.ndarray:
        """(Q,) right items."""
        return np.bincount(self.queries, minlength=self.n_queries)

    @property
    def per_item(self) -> np.ndarray:
        """(N,) queries that it is right for."""
        return np.bincount(self.items, minlength=self.n_items)


@dataclass(frozen=True)
class Streamed:
    """What two passes tell; queries and items without a right partner have places that mean nothing.

    found (N,): how often each item is among the `k` best, ties sharing the last places; dual: places of the queries
    under dual softmax over all of them.
    """

    to_item: Places
    to_query: Places
    dual: Places
    found: np.ndarray
    k: int


def place_streamed(rows: Rows, right: Pairs, k: int = 10) -> Streamed:
    """Both passes. VcworkError: NaN or +infinity, by row and column; blocks that are not (Q, N) together.

    An item that was not scored may be -infinity: it stands behind all that were.
    """
    k = min(k, right.n_items)
    first = _first_pass(rows, right, k)
    best_item = _best(first.values, right.items, right.n_items)
    best_dual = _best(2 * first.values - first.log_sum[right.items], right.queries, right.n_queries)
    counts_item, counts_dual = np.zeros((2, right.n_items), int), np.zeros((2, right.n_queries), int)
    for at, block in _checked(rows, right):
        for part in blocks(block.shape):
            _count_columns(block[part], best_item, counts_item)
            here = slice(at + part.start, at + part.start + len(block[part]))
            counts_dual[:, here] = _count_rows(2 * block[part] - first.log_sum, best_dual[here])
    best_query = _best(first.values, right.queries, right.n_queries)
    dual = 2 * first.values - first.log_sum[right.items]
    return Streamed(
        _places(first.counts, first.values == best_query[right.queries], right.queries, right.per_query, right.n_items),
        _places(counts_item, first.values == best_item[right.items], right.items, right.per_item, right.n_queries),
        _places(counts_dual, dual == best_dual[right.queries], right.queries, right.per_query, right.n_items),
        first.found,
        k,
    )


@dataclass(frozen=True)
class _First:
    """Scores (P,) of the right pairs, counts (2, Q) above and tied, log-sum-exp (N,) over queries, found (N,)."""

    values: np.ndarray
    counts: np.ndarray
    log_sum: np.ndarray
    found: np.ndarray


def _first_pass(rows: Rows, right: Pairs, k: int) -> _First:
    counts, found = np.zeros((2, right.n_queries), int), np.zeros(right.n_items)
    values, top, total = None, np.full(right.n_items, -np.inf, np.float32), np.zeros(right.n_items)
    for at, block in _checked(rows, right):
        mine = slice(*np.searchsorted(right.queries, [at, at + len(block)]))
        queries, items = right.queries[mine] - at, right.items[mine]
        if values is None:
            values = np.empty(len(right.queries), block.dtype)
        values[mine] = block[queries, items]
        best = _best(values[mine], queries, len(block))  # (q,)
        for part in blocks(block.shape):
            rows_here = block[part]  # (r, N)
            counts[:, at + part.start : at + part.start + len(rows_here)] = _count_rows(rows_here, best[part])
            found += _among_first(rows_here, k)
            top, total = _log_sum(rows_here, top, total)
    assert values is not None  # _checked has seen at least one block
    with np.errstate(divide="ignore"):
        log_sum = np.where(top > -np.inf, top + np.log(total), 0.0)  # an item that no query was scored with stays last
    return _First(values, counts, log_sum.astype(values.dtype), found)


def _checked(rows: Rows, right: Pairs) -> Iterator[tuple[int, np.ndarray]]:
    """Each block and the number of its first row."""
    at, shape = 0, (right.n_queries, right.n_items)
    for block in rows():
        if block.ndim != 2 or block.shape[1] != shape[1] or at + len(block) > shape[0]:
            raise VcworkError(f"expected scores {shape}, got a block {block.shape} from row {at}")
        if not block.max() < np.inf:  # NaN, too, is not
            row, column = np.argwhere(~(block < np.inf))[0]
            came = f"{block[row, column]} at row {at + row}, column {column}"
            raise VcworkError(f"expected finite scores, got {came} (float16 ends at 65,504)")
        yield at, block
        at += len(block)
    if at != shape[0] or not at:
        raise VcworkError(f"expected scores {shape}, got {at} rows")


def _best(values: np.ndarray, owners: np.ndarray, n: int) -> np.ndarray:
    """Highest of the values (P,) of each owner, (n,); -infinity where it has none."""
    best = np.full(n, -np.inf, values.dtype)
    np.maximum.at(best, owners, values)
    return best


def _count_rows(rows: np.ndarray, best: np.ndarray) -> np.ndarray:
    """(2, r): how many of a row's scores are above, and how many equal, its own value of best (r,)."""
    return np.array(
        [[np.count_nonzero(row > b), np.count_nonzero(row == b)] for row, b in zip(rows, best, strict=True)]
    ).T


def _count_columns(rows: np.ndarray, best: np.ndarray, counts: np.ndarray) -> None:
    """Add to counts (2, N) how many of the rows (r, N) are above, and how many equal, each column's best (N,)."""
    for start in range(0, len(rows), COUNTED):
        part = rows[start : start + COUNTED]
        for count, marks in zip(counts, (part > best, part == best), strict=True):
            count += np.add.reduce(marks.view(np.uint8), axis=0, dtype=np.uint8)


def _among_first(rows: np.ndarray, k: int) -> np.ndarray:
    """(N,): how many of the rows have each item among their k best; items tied for the last place share what is left.

    As `vcwork.review.geometry.hubness` counts.
    """
    last = np.partition(rows, -k, axis=1)[:, -k][:, None]  # (r, 1)
    above, equal = rows > last, rows == last
    left = (k - above.sum(1)) / equal.sum(1)  # (r,)
    counts = np.zeros(rows.shape[1])
    np.add.at(counts, np.nonzero(above)[1], 1)
    row, item = np.nonzero(equal)
    np.add.at(counts, item, left[row])
    return counts


def _log_sum(rows: np.ndarray, top: np.ndarray, total: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Running maximum (N,), and sum (N,) of exponentials beside it, after these rows (r, N)."""
    now = np.maximum(top, rows.max(0))
    with np.errstate(invalid="ignore"):  # -inf less -inf, where nothing was scored yet
        total = total * np.nan_to_num(np.exp(top - now)) + np.nan_to_num(np.exp(rows - now)).sum(0, dtype=float)
    return now, total


def _places(counts: np.ndarray, best: np.ndarray, owners: np.ndarray, right: np.ndarray, n_items: int) -> Places:
    """From counts (2, n) above and tied, and which pairs (P,) have their owner's best score."""
    return Places(counts[0], counts[1], np.bincount(owners[best], minlength=len(right)), n_items, right)


def gathered(rows: Rows, pairs: Pairs) -> np.ndarray:
    """Scores (P,) of some pairs."""
    values = np.empty(len(pairs.queries))
    for at, block in _checked(rows, pairs):
        mine = slice(*np.searchsorted(pairs.queries, [at, at + len(block)]))
        values[mine] = block[pairs.queries[mine] - at, pairs.items[mine]]
    return values


def standing(rows: Rows, pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """How many items score higher than each pair's item, and how many as high, itself included; (P,) each."""
    above, tied = np.empty((2, len(pairs.queries)), int)
    for at, block in _checked(rows, pairs):
        for query in np.unique(pairs.queries[slice(*np.searchsorted(pairs.queries, [at, at + len(block)]))]):
            mine = slice(*np.searchsorted(pairs.queries, [query, query + 1]))
            row = np.sort(block[query - at])
            low, high = (np.searchsorted(row, block[query - at, pairs.items[mine]], side) for side in ("left", "right"))
            above[mine], tied[mine] = len(row) - high, high - low
    return above, tied


def place_among(pool: Pairs, values: np.ndarray, right: np.ndarray) -> tuple[Places, np.ndarray]:
    """Places within a pool of each query's own, values and right (P,) of its pairs; and the pools' sizes (Q,).

    Queries without a right item there have places that mean nothing.
    """
    best = _best(np.where(right, values, -np.inf), pool.queries, pool.n_queries)[pool.queries]  # (P,)

    def count(marks: np.ndarray) -> np.ndarray:
        return np.bincount(pool.queries[marks], minlength=pool.n_queries)

    same = values == best
    return Places(count(values > best), count(same), count(same & right), pool.n_items, count(right)), pool.per_query


# ----------------------------------------------------------------------------------------- from places alone


def kept(places: Places, keep: np.ndarray) -> Places:
    """Places of some of the queries."""
    rows = {name: getattr(places, name)[keep] for name in ("above", "tied", "relevant_tied", "n_relevant")}
    return replace(places, **rows)


def told(query_labels: np.ndarray, item_labels: np.ndarray, right: Pairs) -> Places:
    """Places under `trivial.known_group`, without its matrix: items of the query's own label come first, all tied."""
    codes = np.unique(np.concatenate([query_labels, item_labels]), return_inverse=True)[1]
    wanted, here = codes[: right.n_queries], codes[right.n_queries :]
    size = np.bincount(here, minlength=codes.max() + 1)[wanted]  # (Q,)
    inside = np.bincount(right.queries[wanted[right.queries] == here[right.items]], minlength=right.n_queries)
    none = inside == 0  # nothing right in its own group: the first right item is tied with all the others
    above, tied = np.where(none, size, 0), np.where(none, right.n_items - size, size)
    return Places(above, tied, np.where(none, right.per_query, inside), right.n_items, right.per_query)


def hit_in_pool(places: Places, n: int) -> np.ndarray:
    """(Q,): chance that the one right item is first among itself and n - 1 others drawn from the gallery.

    The closed form of `vcwork.review.retrieval_audit.pool_curve` for queries with one right item: none of those above
    is drawn, and of the tied ones any order is as likely as another. VcworkError where a query has several.
    """
    from scipy.special import gammaln

    if (places.n_relevant != 1).any():
        raise VcworkError("a pool's closed form is for queries with one right item; draw pools instead")
    others, drawn = places.n_items - 1, n - 1

    def none_of(above: np.ndarray) -> np.ndarray:  # C(others - above, drawn) / C(others, drawn)
        left = others - above
        with np.errstate(invalid="ignore"):
            logs = gammaln(left + 1) - gammaln(left - drawn + 1) - gammaln(others + 1) + gammaln(others - drawn + 1)
        return np.where(left >= drawn, np.exp(logs), 0.0)

    total = np.zeros(len(places.above))
    for j in range(int(places.tied.max())):  # the right item behind j of the tied ones
        total += np.where(j < places.tied, none_of(places.above + j), 0.0)
    return np.minimum(total / places.tied, 1.0)  # a logarithm away from 1
