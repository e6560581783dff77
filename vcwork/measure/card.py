"""The protocol card: how a number was measured, in fields that programs compare and a sentence that people read.

R@1 among 27 clips and R@1 among 3,305 are two different quantities with one name. So a `vcwork.measure.result.Result`
carries a `Card`, a table refuses a result whose card leaves out what its task needs (`NEEDS`), and two results are
compared only on one split. Plain Python. Gap: a card says what was declared; whether a list of videos really is that
split it cannot know, beyond the hashes of model and features.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from vcwork.base.errors import VcworkError

CHOICES: dict[str, tuple[str, ...]] = {  # fields that programs compare word by word, and what they may say
    "ties": ("expected", "optimistic", "pessimistic", "reference"),
    "right": ("own pair", "same group"),  # retrieval: which items count as right where several show the same
    "cls": ("attended", "hidden"),  # may the seconds of a video look at its CLS?
    "windows": ("overlapping", "first"),  # clips longer than the model's window: averaged windows, or the first alone
    "gamma": ("chosen on val", "repeats dropped", "repeats kept"),  # background: labels of one text once, or as many
}
TIES = CHOICES["ties"]

# what a table demands of a card, by task; a task that is not listed needs a split and a rule
NEEDS: dict[str, tuple[str, ...]] = {
    "retrieval": ("split", "pool", "captions", "ties"),
    "videoqa": ("split", "pool", "ties"),
    "localization": ("split", "rule"),
    "segmentation": ("split", "pool", "rule"),
    "classification": ("split", "pool", "ties"),
    "moments": ("split", "rule"),
    "spans": ("split", "rule"),
    "boundaries": ("split", "rule"),
    "library search": ("split", "pool", "ties"),
    "didemo": ("split", "pool", "ties"),
    "neighbours": ("pool", "rule"),
}
MODELLED = frozenset(NEEDS) - {"neighbours"}  # of these a record also names the model and the features
COMPARED = ("split", "pool", "captions", *CHOICES, "tricks")  # where a published number has to agree


@dataclass(frozen=True)
class Card:
    """How one number was measured. Every field may be empty while a result is being made; tables check (`NEEDS`).

    task: name of the task; split: corpus or benchmark, and the split's name; rule: what counts as right and what else
    a reader must know, as text; pool: items to choose from (a mean where it differs); captions: texts for one video or
    clip; missing: (absent, expected) items; truncation: (rule, share of the items it touches); ties: one of `TIES`;
    tricks: what the test saw beyond the model, empty for none; transductive: a trick saw other test queries;
    model, features: hashes, or a name where there is none; interval: what is drawn again; tied: how many of the items
    had a tie that the rule decided; benchmark: its name, where the corpus is a published one; right, cls, windows,
    gamma: one of their `CHOICES`, empty where the task has no such thing. Raises VcworkError where a field cannot be
    what it says.
    """

    task: str = ""
    split: str = ""
    rule: str = ""
    pool: float | None = None
    captions: float | None = None
    missing: tuple[int, int] | None = None
    truncation: tuple[str, float] | None = None
    ties: str = ""
    tricks: tuple[str, ...] = ()
    model: str = ""
    features: str = ""
    interval: str = ""
    tied: int | None = None
    benchmark: str = ""
    right: str = ""
    cls: str = ""
    windows: str = ""
    gamma: str = ""
    transductive: bool = False

    def __post_init__(self) -> None:
        for name in ("missing", "truncation", "tricks"):  # JSON knows lists only
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("task", "split", "rule", "model", "features", "interval", "benchmark"):
            self._check(name, isinstance(getattr(self, name), str), "a text")
        for name in ("pool", "captions"):
            value = getattr(self, name)
            self._check(name, value is None or (_number(value) and value > 0), "a number above 0")
            object.__setattr__(self, name, getattr(value, "item", lambda value=value: value)())  # NumPy's, as Python's
        self._check("missing", self.missing is None or _is_missing(self.missing), "(absent, expected) counts")
        self._check("truncation", self.truncation is None or _is_cut(self.truncation), "(rule, share from 0 to 1)")
        self._check("transductive", isinstance(self.transductive, bool), "true or false")
        self._check("tied", self.tied is None or (isinstance(self.tied, int) and self.tied >= 0), "a count")
        for name, choices in CHOICES.items():
            self._check(name, getattr(self, name) in ("", *choices), f"one of {', '.join(choices)}")
        named = isinstance(self.tricks, tuple) and all(isinstance(t, str) and t for t in self.tricks)
        self._check("tricks", named, "a tuple of names")

    def _check(self, name: str, good: bool, expected: str) -> None:
        if not good:
            raise VcworkError(f"protocol card: expected {name} to be {expected}, got {getattr(self, name)!r}")

    def __str__(self) -> str:
        """The sentence for tables: only what the card knows, the tests' tricks never left out."""
        return join(
            self.split, self.rule, _pool(self.pool), _captions(self.captions), _missing(self.missing),
            f"{self.truncation[0]} ({self.truncation[1]:.0%})" if self.truncation else "",
            f"CLS {self.cls}" if self.cls else "", f"gamma {self.gamma}" if self.gamma else "",
            _ties(self.ties, self.tied),
            f"TEST-TIME TRICK: {', '.join(self.tricks)}" if self.tricks else "",
            f"95 % interval over {self.interval}" if self.interval else "",
            ", ".join(f"{name} {_short(value)}" for name, value in self._hashes().items()),
        )  # fmt: skip

    def _hashes(self) -> dict[str, str]:
        return {name: value for name in ("model", "features") if (value := getattr(self, name))}

    def but(self, rule: str = "", **changes: Any) -> "Card":
        """This card with `rule` added to its rule and other fields replaced."""
        return replace(self, rule=join(self.rule, rule), **changes)

    def lacks(self, recorded: bool = False) -> list[str]:
        """Fields that a table of this task needs and the card leaves empty; a record also needs model and features."""
        needed = ("task", *NEEDS.get(self.task, ("split", "rule")))
        needed += ("model", "features") if recorded and self.task in MODELLED else ()
        return [name for name in needed if not getattr(self, name)]

    def differs(self, other: "Card") -> list[str]:
        """Names of the `COMPARED` fields in which `other` states something else than this card.

        How long clips are read makes no difference where none is longer than the window.
        """
        alike = ("windows",) if self.truncation is not None and not self.truncation[1] else ()
        return [name for name in COMPARED
                if name not in alike and getattr(other, name) not in ("", None, getattr(self, name))]  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """The fields that are not empty, for JSON."""
        return {
            name: value for name, value in asdict(self).items() if value is not False and value not in ("", None, ())
        }


BLANK = Card()  # nothing said yet: what a task's `evaluate` extends where it is given no setting


def as_card(given: "Card | str | dict[str, Any]") -> Card:
    """A card from one, from its dictionary, or from a sentence alone (older records, and settings given as text)."""
    if isinstance(given, Card):
        return given
    if isinstance(given, str):
        return Card(rule=given)
    known = {field.name for field in fields(Card)}
    if not isinstance(given, dict) or given.keys() - known:
        raise VcworkError(f"protocol card: expected the fields {', '.join(sorted(known))}, got {given!r}")
    return Card(**given)


def one_split(cards: Sequence[Card], what: str) -> None:
    """VcworkError naming both splits where two of these cards speak of different ones."""
    for other in cards[1:]:
        if other.split != cards[0].split:
            both = " and ".join(repr(c.split or "unknown (a record without a card)") for c in (cards[0], other))
            raise VcworkError(f"{what}: numbers of two splits are not compared: {both}")


def join(*parts: str) -> str:
    """The non-empty parts, between semicolons."""
    return "; ".join(part for part in parts if part)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def _is_missing(value: Any) -> bool:
    return len(value) == 2 and all(isinstance(n, int) for n in value) and 0 <= value[0] <= value[1]


def _is_cut(value: Any) -> bool:
    return len(value) == 2 and isinstance(value[0], str) and _number(value[1]) and 0 <= value[1] <= 1


def _pool(pool: float | None) -> str:
    return "" if pool is None else f"pool of {pool:,.1f}".removesuffix(".0")


def _captions(each: float | None) -> str:
    return "" if each is None else f"{each:.1f}".removesuffix(".0") + f" text{'s' * (each != 1)} each"


def _missing(missing: tuple[int, int] | None) -> str:
    return "" if missing is None else f"{missing[0] or 'none'} of {missing[1]} missing"


def _ties(rule: str, tied: int | None) -> str:
    met = "" if tied is None else f"{tied or 'no'} tie{'s' * (tied != 1)}"
    return f"{rule} ties" + f" ({met})" * bool(met) if rule else met


def _short(name: str) -> str:
    """A hash by its first eight digits, anything else as it is."""
    return name[:8] if re.fullmatch(r"[0-9a-f]{16,}", name) else name
