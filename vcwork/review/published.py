"""The paper's zero-shot numbers beside ours: on the benchmark they were measured on, and on nothing else.

Values and protocol cards are those of `vcwork.review.claims`; here stands which metric of which notebook they belong
to. How names of splits are compared: "YouCook2 val 3,350 (HowTo100M csv)" and "YouCook2 val 3,305 (paper)" are one
*part* of one benchmark (`part_of`: without numbers and what is in brackets), so that the paper's number stands in the
table, as "not comparable (pool)" while the galleries differ. Where they differ in something else than a field of the
card, the number stands in the protocol's words, with the difference, and not in the column. Another part, and a corpus
that is no benchmark, get nothing.
Gap: of two lists of one part and one length nobody can say here whether they hold the same items.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from vcwork.data.corpus import Corpus
from vcwork.measure.card import Card
from vcwork.measure.result import Result, show
from vcwork.review.claims import MOMENTS, TABLES, Claim

_NUMBERS = re.compile(r"(?<!\S)[\d,]+( of [\d,]+)?(?!\S)")  # "3,305", and "3,260 of 3,350" where items were lost


@dataclass(frozen=True)
class Row:
    """A published share, how many items it stands on, and the card of its protocol."""

    value: float
    n: int
    card: Card


def _row(claim: Claim) -> Row:
    card = claim.card
    if card is MOMENTS:  # 20 in a video without its last chunk, where also two moments are the same seconds: ties count
        card = card.but("21 moments a video, less those beyond its end", pool=None, ties="reference")
    return Row(claim.published, claim.n, card)


_METRICS = {  # claim: the metrics of ours that count as it counts
    **{f"T1 {where} zero-shot R@{k}": (f"t2v_R@{k}",) for where in ("YouCook2", "MSR-VTT") for k in (5, 10)},
    **{f"T1 {where} zero-shot R@1": ("t2v_R@1", "t2v_instance_R@1") for where in ("YouCook2", "MSR-VTT")},
    "T2 DiDeMo R@1": ("moment_rank1", "reference_moment_rank1"),
    "T2 DiDeMo R@5": ("moment_rank5", "reference_moment_rank5"),
    "T3 QA zero-shot": ("qa_accuracy",),
    "T4 COIN zero-shot": ("paper_gamma_frame_accuracy",),  # the paper's gamma needs no labelled video
    "T5 CrossTask zero-shot": ("recall",),
}
ROWS: dict[tuple[str, str], Row] = {
    (claim.card.split.split(" ")[0], metric): _row(claim)
    for claim in TABLES for metric in _METRICS.get(claim.id, ())
}  # fmt: skip
"""{(benchmark, metric): the paper's zero-shot row}; benchmarks as `corpus.meta["benchmark"]["name"]` has them."""


def with_paper(results: Iterable[Result], corpus: Corpus) -> list[Result]:
    """The results, those of a benchmark with the paper's number for the same part of it; never an error."""
    benchmark = corpus.meta.get("benchmark", {}).get("name", "")
    return [_with(result, ROWS.get((benchmark, result.name))) for result in results]


def part_of(split: str) -> str:
    """Benchmark and part of a split's full name: "YouCook2 val 3,305 (paper)" -> "YouCook2 val"."""
    return " ".join(_NUMBERS.sub("", split.split(" (")[0]).split())


def _with(result: Result, row: Row | None) -> Result:
    if row is None or part_of(row.card.split) != part_of(result.protocol.split):
        return result
    if other := _unlike(result, row):
        said = f"the paper's zero-shot {show(row.value)} is not comparable: {other}"
        return replace(result, protocol=result.protocol.but(said))
    card = row.card.but(f"zero-shot; the paper's split: {row.card.split}", split=result.protocol.split)
    return replace(result, paper=row.value, paper_protocol=card)


def _unlike(result: Result, row: Row) -> str:
    """What is not the paper's way, where the cards' fields alone would not say so; "" otherwise."""
    card, pool = result.protocol, result.protocol.pool
    if row.card.pool not in (None, pool):
        return ""  # the card says it
    if card.tricks:
        return f"there without {', '.join(card.tricks)}"
    if _count(card.split) != _count(row.card.split):
        return f"measured on {row.card.split}"
    if row.card.task in ("videoqa", "didemo") and result.n != row.n:
        return f"measured on {row.n:,} items"
    if row.card.task == "retrieval" and "only its own pair counts" not in card.rule:
        k = int(result.name.rpartition("@")[2])
        if not math.isclose(result.chance, k / pool):  # somewhere two items are right
            return "there only the very pair counts (ties: reference, and instance_R@1)"
    return ""


def _count(split: str) -> str:
    """How many the split has, as its name says: the first number of it."""
    found = _NUMBERS.search(split)
    return found[0].split(" ")[0] if found else ""
