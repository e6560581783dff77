"""What feeds a training: rows of different lengths, a generator's numbers read ahead, the next item made ahead."""

import itertools
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")


class Rows(Sequence):
    """Rows of whole numbers, one behind the other in `flat` (K,): row i is flat[offsets[i] : offsets[i + 1]]."""

    def __init__(self, flat: np.ndarray, offsets: np.ndarray) -> None:
        self.flat, self.offsets = flat, offsets

    @classmethod
    def of(cls, rows: Sequence[Any]) -> "Rows":
        """From any sequence of rows."""
        return cls(np.array([number for row in rows for number in row], int), np.cumsum([0, *map(len, rows)]))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: Any) -> Any:
        return self.flat[self.offsets[i] : self.offsets[i + 1]]


@contextmanager
def drawn_ahead(rng: np.random.Generator) -> Iterator[Any]:
    """Gives the same numbers as `rng`, one by one, at a quarter of the cost; afterwards `rng` goes on behind them.

    A pair's first draw stands behind the last one of the pair before, wherever that is, so draws made an array at a
    time would give other pairs. The words that they are made of are taken an array at a time instead, from PCG64,
    which NumPy promises never to change; a generator of another kind is given as it is.
    """
    bits = rng.bit_generator
    if not isinstance(bits, np.random.PCG64):
        yield rng
        return
    began = bits.state
    ahead = _Ahead(bits)
    try:
        yield ahead
    finally:
        bits.state = began
        bits.advance(ahead.used)
        bits.state = bits.state | {"has_uint32": int(ahead.half is not None), "uinteger": ahead.half or 0}


class _Ahead:
    """`random` and `integers` as NumPy's Generator makes them, from words of PCG64 taken many at once."""

    def __init__(self, bits: np.random.PCG64, block: int = 1024) -> None:
        self.half = bits.state["uinteger"] if bits.state["has_uint32"] else None  # what is left of a word
        self._bits, self._block, self._at, self._blocks = bits, block, block, -1
        self._words, self._fractions = [0], [0.0]

    @property
    def used(self) -> int:
        """Words taken."""
        return self._blocks * self._block + self._at

    def random(self, size: int | None = None) -> Any:
        """In [0, 1): the upper 53 bits of a word; or a list of so many."""
        if size is not None:
            if (end := self._at + size) > self._block:
                return [self.random() for _ in range(size)]
            begin, self._at = self._at, end
            return self._fractions[begin:end]
        if self._at == self._block:
            self._fill()
        self._at += 1
        return self._fractions[self._at - 1]

    def integers(self, low: int, high: int | None = None) -> int:
        """In [low, high), or [0, low): half a word times the range, drawn again where it would be uneven (Lemire)."""
        low, high = (0, low) if high is None else (low, high)
        size = high - low  # < 2^32
        if size == 1:
            return low
        product = self._half() * size
        if product & 0xFFFFFFFF < size:
            uneven = (1 << 32) % size
            while product & 0xFFFFFFFF < uneven:
                product = self._half() * size
        return low + (product >> 32)

    def _half(self) -> int:
        """The lower half of a word, then the upper one."""
        if self.half is not None:
            half, self.half = self.half, None
            return half
        if self._at == self._block:
            self._fill()
        word = self._words[self._at]
        self._at += 1
        self.half = word >> 32
        return word & 0xFFFFFFFF

    def _fill(self) -> None:
        words = self._bits.random_raw(self._block)
        self._words, self._fractions = words.tolist(), ((words >> np.uint64(11)) * 2.0**-53).tolist()
        self._at, self._blocks = 0, self._blocks + 1


def made_ahead(items: Iterable[T]) -> Generator[T]:
    """The items; while the caller works with one, a thread makes the next, so its draws must be nobody else's.

    What goes wrong there is raised here. When the caller stops (`close`) or is interrupted, the thread ends its item
    first; nothing is left running.
    """
    source = iter(items)
    with ThreadPoolExecutor(1, "made ahead") as thread:
        coming = thread.submit(list, itertools.islice(source, 1))
        while made := coming.result():
            coming = thread.submit(list, itertools.islice(source, 1))
            yield made[0]
