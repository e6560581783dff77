"""The paper's zero-shot numbers beside ours: on the benchmark they were measured on, and on nothing else.

Values, protocol cards and which metric of ours counts as the paper's stand in `claims.yaml`. A paper's number stands in
the table for the benchmark's test split, as "not comparable (there pool 3,305)" while a field of the two cards differs.
Where they differ in something that is no field, the number stands in the protocol's words, with the difference, and not
in the column. Another split, and a corpus that is no benchmark, get nothing.
Gap: of two lists of one part and one length nobody can say here whether they hold the same items.
"""

from collections.abc import Iterable
from dataclasses import replace

from vcwork.data.corpus import Corpus
from vcwork.measure.result import Result, show
from vcwork.review.claims import CLAIMS, Claim

ROWS: dict[tuple[str, str], Claim] = {
    (claim.card.benchmark, metric): claim for claim in CLAIMS for metric in claim.ours
}
"""{(benchmark, metric): the paper's zero-shot row}; benchmarks as `corpus.meta["benchmark"]["name"]` has them."""


def with_paper(results: Iterable[Result], corpus: Corpus) -> list[Result]:
    """The results, those of a benchmark's test split with the paper's number for it; never an error."""
    known = corpus.meta.get("benchmark", {"name": "", "splits": {}})
    tested = known["splits"].get("test")
    return [_with(r, ROWS.get((known["name"], r.name)) if r.protocol.split == tested else None) for r in results]


def _with(result: Result, claim: Claim | None) -> Result:
    if claim is None:
        return result
    if other := _unlike(result, claim):
        said = f"the paper's zero-shot {show(claim.published)} is not comparable: {other}"
        return replace(result, protocol=result.protocol.but(said))
    card = claim.card.but(f"zero-shot; the paper's split: {claim.card.split}", split=result.protocol.split)
    return replace(result, paper=claim.published, paper_protocol=card)


def _unlike(result: Result, claim: Claim) -> str:
    """What is not the paper's way, where the cards' fields alone would not say so; "" otherwise."""
    card, task = result.protocol, claim.card.task
    if claim.card.pool not in (None, card.pool):
        return ""  # the card says it
    if card.tricks:
        return f"there without {', '.join(card.tricks)}"
    absent, expected = card.missing or (0, 0)
    what, n = _COUNTED.get(task, "videos"), result.n if task in _COUNTED else expected - absent
    if task != "retrieval" and n != claim.n:  # of a gallery the pool says it
        return f"measured on {claim.n:,} {what}"
    return ""


_COUNTED = {"videoqa": "clips", "didemo": "sentences"}  # what was averaged; elsewhere the paper counts videos
