"""The reference code's de-duplication of captions, which works on characters and cuts words: to compare with its runs.

Of each caption and the last one kept: what that one ends with is dropped; what starts with that one replaces it; else
the *shortest* start of the caption that ends the one before counts as repeated, were it a single letter, and a coin
decides which of the two loses it. An `end_s` before its `start_s` can come out, as it can there.
Source: VideoCLIP's reference code, described in its pre-processing. Departs: the coin is a generator's, not a global
one; captions arrive cleaned and sorted; no captions are no error.
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from vcwork.data.captions import Caption


def deduplicate_characters(captions: Iterable[Caption], rng: np.random.Generator) -> list[Caption]:
    """What the rule keeps. For comparison, not for use."""
    kept: list[Caption] = []
    for now in captions:
        last = kept[-1] if kept else Caption(now.start_s, now.start_s, "\n")  # ends nothing and starts nothing
        if last.text.endswith(now.text):
            kept[-1] = replace(last, end_s=max(last.end_s, now.end_s))
        elif now.text.startswith(last.text):
            kept[-1] = Caption(min(last.start_s, now.start_s), max(last.end_s, now.end_s), now.text)
        elif n := _shortest_overlap(last.text, now.text):
            kept[-1:] = _split(last, now, n, heads=rng.random() > 0.5)
        else:
            kept.append(now)
    return kept


def _shortest_overlap(last: str, now: str) -> int:
    """The smallest n for which the first n characters of `now` end `last`; 0 where there is none."""
    return next((n for n in range(1, min(len(last), len(now))) if last.endswith(now[:n])), 0)


def _split(last: Caption, now: Caption, n: int, heads: bool) -> tuple[Caption, Caption]:
    """Both, the `n` characters in the first (heads) or the second; neither is empty, as neither holds the other."""
    if heads:
        start_s = max(last.end_s, now.start_s)
        return replace(last, end_s=start_s), Caption(start_s, max(now.end_s, start_s), now.text[n:].strip())
    return Caption(last.start_s, min(last.end_s, now.start_s), last.text[:-n].strip()), now
