"""The claims that the ledger judges: the paper's numbers, what was found about them, where it stands today, and three
documents about it.

`claims.yaml` holds them, in our own words, with the cards of the published protocols; its head names the sources.
Published numbers are shares; `n` is how many queries, sentences or videos they stand on.
"""

from dataclasses import dataclass
from typing import Any

from vcwork.base.errors import VcworkError
from vcwork.base.files import own_yaml
from vcwork.measure.card import Card, as_card

_OPEN = Card()


@dataclass(frozen=True)
class Claim:
    """One claim and what it may be held against.

    published: a share (or what `unit` says); n: what it was averaged over, or `digits`: the decimals of a percentage
    that is exact (a count or a closed form) instead. than: (system, its published share), of which the claim says that
    it is lower; with its pool and k, where that R@k is of a smaller pool than the n of the claim. trivial: a result of
    `vcwork.review.blind`, a check of `vcwork.review.ledger`, or a number; measured: ("blind" or "check", name), or
    ("run", notebook, metric). card: the published protocol. beside: blind results worth reading next to it, which
    decide nothing. lab: (notebook, metric) whose direction on the lab world is shown. ours: metrics of ours that count
    as it counts. agrees: does the paper say so? truth: what it says.
    """

    id: str
    source: str
    text: str
    published: float | None = None
    n: int | None = None
    digits: int | None = None
    than: tuple[str, float] | tuple[str, float, int, int] | None = None
    trivial: str | float | None = None
    measured: tuple[str, ...] = ()
    card: Card = _OPEN
    beside: tuple[str, ...] = ()
    lab: tuple[str, str] | None = None
    ours: tuple[str, ...] = ()
    agrees: bool | None = None
    truth: str = ""
    unit: str = "share"


SOURCES = {"tables": "paper", "ablations": "paper", "findings": "found", "today": "today",
           **{f"document {i}": f"document {i}" for i in (1, 2, 3)}}  # fmt: skip


def as_claims(told: dict[str, Any]) -> dict[str, tuple[Claim, ...]]:
    """{part of the file: its claims}; VcworkError naming the claim with an unknown key, or without one it needs.

    A list is a tuple here, `trivial: [k, n]` the share k / n, `card` one of the file's own cards by name.
    """
    cards = {name: as_card(card) for name, card in told["cards"].items()}
    return {part: tuple(_claim(given, SOURCES[part], cards) for given in told[part]) for part in SOURCES}


def _claim(given: dict[str, Any], source: str, cards: dict[str, Card]) -> Claim:
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    try:
        if isinstance(values.get("trivial"), tuple):
            k, n = values["trivial"]
            values["trivial"] = k / n
        if "card" in values:
            values["card"] = cards[values["card"]]
        return Claim(source=source, **values)
    except (KeyError, TypeError, ValueError) as error:
        raise VcworkError(f"claims.yaml: claim {given.get('id')}: {error}") from None


PARTS = as_claims(own_yaml(__package__, "claims.yaml"))
ABLATIONS = PARTS["ablations"]
CLAIMS = tuple(claim for part in PARTS.values() for claim in part)
