"""Sentences to token ids: a WordPiece vocabulary from a file, or a small one made from a corpus's own words.

The home-made vocabulary holds every word seen at least twice and every single character, so no text is without a
spelling. It is sorted, hence the same whenever the words are the same.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import BertWordPieceTokenizer
from torch import Tensor

from vcwork.base.errors import VcworkError, as_texts
from vcwork.base.files import atomic_write, read_text

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


class Tokenizer:
    """BERT WordPiece, lower-cased. `vocabulary` is the list of pieces, a piece's place is its id."""

    def __init__(self, vocabulary: list[str]):
        missing = [token for token in SPECIAL if token not in vocabulary]
        if missing:
            raise VcworkError(f"vocabulary: expected the pieces {', '.join(SPECIAL)}, missing {', '.join(missing)}")
        self.vocabulary = vocabulary
        self._inner = BertWordPieceTokenizer({piece: i for i, piece in enumerate(vocabulary)}, lowercase=True)
        self.pad, self.unk, self.cls, self.sep = (vocabulary.index(t) for t in SPECIAL[:4])

    def __len__(self) -> int:
        return len(self.vocabulary)

    @classmethod
    def train(cls, sentences: Iterable[str], min_count: int = 2) -> "Tokenizer":
        """Every word seen `min_count` times or more becomes a piece; letters spell the rest."""
        plain = BertWordPieceTokenizer({t: i for i, t in enumerate(SPECIAL)}, lowercase=True)
        counts: Counter[str] = Counter()
        for sentence in as_texts(sentences):
            text = plain.normalizer.normalize_str(sentence)
            counts.update(word for word, _ in plain.pre_tokenizer.pre_tokenize_str(text))
        letters = sorted({letter for word in counts for letter in word})
        words = sorted(word for word, n in counts.items() if n >= min_count and len(word) > 1)
        return cls([*SPECIAL, *letters, *(f"##{letter}" for letter in letters), *words])

    @classmethod
    def load(cls, path: str | Path) -> "Tokenizer":
        """From `vocab.txt`, or from the folder that holds it."""
        path = Path(path)
        path = path / "vocab.txt" if path.is_dir() else path
        return cls(read_text(path, "vocabulary file").splitlines())

    def save(self, folder: str | Path) -> None:
        with atomic_write(Path(folder) / "vocab.txt") as file:
            file.write("\n".join(self.vocabulary) + "\n")

    def tokens(self, sentences: list[str]) -> list[list[int]]:
        """Token ids without CLS and SEP."""
        return [e.ids for e in self._inner.encode_batch(as_texts(sentences), add_special_tokens=False)]

    def encode(self, sentences: list[str], max_tokens: int) -> tuple[Tensor, Tensor]:
        """ids and mask, both (B, L): CLS, at most `max_tokens` tokens, SEP, then padding to the longest."""
        return self.batch(self.tokens(sentences), max_tokens)

    def batch(self, tokens: Sequence[Any], max_tokens: int) -> tuple[Tensor, Tensor]:
        """As `encode`, for sentences that are tokens already, lists or arrays."""
        rows = [row[:max_tokens] for row in tokens]
        lengths = np.array([len(row) for row in rows], int)
        mask = np.arange(lengths.max(initial=0) + 2) < lengths[:, None] + 2  # (B, L)
        ids = np.full(mask.shape, self.pad)  # (B, L)
        ids[:, 0], ids[np.arange(len(rows)), lengths + 1] = self.cls, self.sep
        ids[:, 1:-1][mask[:, 2:]] = np.concatenate(rows) if rows else 0
        return torch.from_numpy(ids), torch.from_numpy(mask)
