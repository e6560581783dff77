"""A typed sentence: what a model knows of it, and its vector."""

from collections.abc import Sequence

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.core.text import Tokenizer
from vcwork.encoders.encoder import Encoder, encode_text


def understood(encoder: Encoder, sentence: str) -> tuple[np.ndarray, str]:
    """Vector (D,) of a sentence, and a note of the words that the model does not know, "" where it knows all.

    VcworkError where it knows none of them.
    """
    words = sentence.split()
    strange = unknown_words(encoder.tokenizer, words)
    if len(strange) == len(words):
        raise VcworkError("The model knows none of these words, so its answer would mean nothing. Try others.")
    note = f"Not known to the model, spelt out or left out: {', '.join(strange)}." if strange else ""
    return encode_text(encoder, [sentence])[0], note


def unknown_words(tokenizer: Tokenizer | None, words: Sequence[str]) -> list[str]:
    """The words that the vocabulary has only as single letters or not at all; longer pieces count as known.

    Empty where the tokenizer does not show its vocabulary (a peer's): then nothing is said.
    """
    if not isinstance(tokenizer, Tokenizer):
        return []
    pieces = [[tokenizer.vocabulary[i] for i in ids] for ids in tokenizer.tokens(list(words))]

    def strange(word: str, parts: list[str]) -> bool:
        letters = all(part == "[UNK]" or len(part.removeprefix("##")) == 1 for part in parts)
        return letters and (len(word) > 1 or not parts or "[UNK]" in parts)

    return [word for word, parts in zip(words, pieces, strict=True) if strange(word, parts)]
