"""The paper's zero-shot numbers beside ours: on the benchmark they were measured on, and on nothing else.

Values and protocol cards are those of `vcwork.review.claims`; here stands which metric of which notebook they belong
to. A paper's number stands in the table for the benchmark's test split, as "not comparable (there pool 3,305)" while a
field of the two cards differs. Where they differ in something that is no field, the number stands in the protocol's
words, with the difference, and not in the column. Another split, and a corpus that is no benchmark, get nothing.
Gap: of two lists of one part and one length nobody can say here whether they hold the same items.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from vcwork.data.corpus import Corpus
from vcwork.measure.card import Card
from vcwork.measure.result import Result, show
from vcwork.review.claims import MOMENTS, TABLES, Claim


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
    (claim.card.benchmark, metric): _row(claim)
    for claim in TABLES for metric in _METRICS.get(claim.id, ())
}  # fmt: skip
"""{(benchmark, metric): the paper's zero-shot row}; benchmarks as `corpus.meta["benchmark"]["name"]` has them."""


def with_paper(results: Iterable[Result], corpus: Corpus) -> list[Result]:
    """The results, those of a benchmark's test split with the paper's number for it; never an error."""
    known = corpus.meta.get("benchmark", {"name": "", "splits": {}})
    tested = known["splits"].get("test")
    return [_with(r, ROWS.get((known["name"], r.name)) if r.protocol.split == tested else None) for r in results]


def _with(result: Result, row: Row | None) -> Result:
    if row is None:
        return result
    if other := _unlike(result, row):
        said = f"the paper's zero-shot {show(row.value)} is not comparable: {other}"
        return replace(result, protocol=result.protocol.but(said))
    card = row.card.but(f"zero-shot; the paper's split: {row.card.split}", split=result.protocol.split)
    return replace(result, paper=row.value, paper_protocol=card)


def _unlike(result: Result, row: Row) -> str:
    """What is not the paper's way, where the cards' fields alone would not say so; "" otherwise."""
    card = result.protocol
    if row.card.pool not in (None, card.pool):
        return ""  # the card says it
    if card.tricks:
        return f"there without {', '.join(card.tricks)}"
    absent, expected = card.missing or (0, 0)
    what, n = _COUNTED.get(row.card.task, "videos"), result.n if row.card.task in _COUNTED else expected - absent
    if row.card.task != "retrieval" and n != row.n:  # of a gallery the pool says it
        return f"measured on {row.n:,} {what}"
    return ""


_COUNTED = {"videoqa": "clips", "didemo": "sentences"}  # what was averaged; elsewhere the paper counts videos
