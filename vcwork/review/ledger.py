"""The claim ledger: each claim of `vcwork.review.claims` beside what is known of it, with a verdict by one stated rule.

`judge` is the rule, a pure function. What it is given: the published number with its binomial interval, the best score
of something that never looked, and what was measured here under the published protocol (split, gallery) with the
paper's model. Annotations give the blind scores (`vcwork.review.blind`), `checks` closed forms, a finished run its
metrics. Numbers of no published benchmark (the generated lab world, own corpora) decide nothing: a column of their own
says in which direction they point.
Gap: a paper's number comes without per-query results and from one training seed, so its interval is too narrow.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.base.files import resolve, template
from vcwork.measure import metrics
from vcwork.measure.intervals import unpaired_z, wilson
from vcwork.measure.result import Result, read_metrics, show, text_table
from vcwork.review import blind
from vcwork.review.claims import CLAIMS, Claim

VERDICTS = ("confirmed", "within noise", "not testable here", "contradicted")
Z_CLEAR = 1.96


class Span(NamedTuple):
    """A number with the interval it may lie in; low = value = high where it is exact."""

    value: float
    low: float
    high: float


class Verdict(NamedTuple):
    """One of `VERDICTS`, and why in a few words."""

    word: str
    why: str


# --------------------------------------------------------------------------------------------------- the rule


def judge(
    published: Span | None = None,
    *,
    trivial: Span | None = None,
    z: float | None = None,
    measured: Span | None = None,
    same_protocol: bool = False,
    agrees: bool | None = None,
) -> Verdict:
    """The verdict on one claim; the first line that applies decides.

    1. A statement about the paper: confirmed where the paper says so (`agrees`), contradicted where it says otherwise.
    2. No published number: not testable here.
    3. A trivial score clearly (`apart`) above the published number: contradicted, since the number was to show a skill;
       one not clearly below it: within noise.
    4. A difference to another system (`z` of published minus other): |z| below 1.96 is within noise, -1.96 or less
       contradicted. A clear difference goes on: one test set of one training seed confirms nothing here.
    5. Measured under the published protocol, with the paper's model: confirmed where the two are not apart, else
       contradicted. A number of another protocol or model never decides.
    6. Otherwise not testable here.
    """
    if agrees is not None:
        return Verdict("confirmed", "the paper says so") if agrees else Verdict("contradicted", "the paper differs")
    if published is None:
        return Verdict("not testable here", "no number to hold it against")
    if trivial is not None and apart(trivial, published) > 1:
        return Verdict("contradicted", "a rule that never looks scores higher")
    if trivial is not None and apart(trivial, published) >= -1:
        return Verdict("within noise", "not apart from a rule that never looks")
    if z is not None and abs(z) < Z_CLEAR:
        return Verdict("within noise", f"difference of published numbers, z = {z:.1f}")
    if z is not None and z < 0:
        return Verdict("contradicted", f"the other's published number is higher, z = {z:.1f}")
    if measured is not None and same_protocol:
        if abs(apart(measured, published)) <= 1:
            return Verdict("confirmed", "measured here under the same protocol")
        return Verdict("contradicted", "measured here under the same protocol, and it differs")
    if z is not None:
        return Verdict("not testable here", f"clear in the published numbers, z = {z:.1f}; nothing measured here")
    if measured is not None:
        return Verdict("not testable here", "measured here under another protocol or model")
    return Verdict("not testable here", "nothing measured here under its protocol")


def apart(a: Span, b: Span) -> float:
    """a - b in units of the 95 % half width of a difference of independent numbers; beyond 1 or -1 it is clear."""
    gap, half = a.value - b.value, math.hypot(a.high - a.low, b.high - b.low) / 2
    return gap / half if half else math.copysign(math.inf, gap) if gap else 0.0


def published_span(claim: Claim) -> Span | None:
    """The published number with its 95 % binomial interval (`n`), or with its rounding (`digits`, or exactly)."""
    if claim.published is None:
        return None
    value = claim.published
    if claim.n is not None:
        return Span(value, *wilson(value, claim.n))
    half = 0.0 if claim.digits is None else 0.5 * 10.0 ** -(claim.digits + 2) + 1e-12
    return Span(value, value - half, value + half)


# ------------------------------------------------------------------------------------------------ the evidence


def checks() -> dict[str, float]:
    """What follows from arithmetic alone, or from made-up scores: name -> number."""
    ties = blind.tie_rules(np.zeros((1000, 1000)))
    labels = {str(i): f"step {min(i, 40)}" for i in range(42)}  # the last two share a text
    gamma, _, best = blind.gamma_with_repeats(labels)
    updates = 17.5e6 / 4096 * 25  # pairs of an epoch over pairs of an update (8 x 512), 25 epochs
    found = {
        "constant scores, reference R@1": ties["reference"],
        "constant scores, denominator over queries": ties["denominator"] / ties["queries"],
        "seconds silenced by a repeated label": float(best <= gamma),
        "learning rate at the end": 1 - updates / 1e6,
        "share of centres": 34250 / 1.1e6,
        "COIN background from its averages": 1 - 3.91 * 14.91 / (2.36 * 60),  # steps, seconds each, minutes a video
        "draws kept at IoU 0.5": kept_at_iou(32, 0.5),
    }
    for n, k in itertools.product((3305, 1000), (1, 5, 10)):
        found[f"random R@{k} of {n}"] = metrics.chance_recall_at_k(n, k)
    return found


def kept_at_iou(length: int, least: float) -> float:
    """Chance that two ranges drawn as `sampling.uniform_range` does have an IoU of `least` at least; exact."""
    ranges = np.array([(a, b) for a in range(length) for b in range(a + 1, length + 1)])  # (R, 2)
    chance = 1 / length / (length - ranges[:, 0])  # any start, then any end after it
    iou = metrics.tiou(ranges[:, None], ranges[None])  # (R, R)
    return float(chance @ (iou >= least) @ chance)


@dataclass(frozen=True)
class Evidence:
    """What claims are held against: results of `blind` and of runs by name, closed forms, what the lab world gave.

    model: hash (or its beginning, 8 digits at least) of the paper's own model, as cards name it. Runs of any other
    model, or of any model while it is empty, decide nothing about the paper's numbers.
    """

    blind: Mapping[str, Result] = field(default_factory=dict)
    runs: Mapping[tuple[str, str], Result] = field(default_factory=dict)
    lab: Mapping[tuple[str, str], Result] = field(default_factory=dict)
    model: str = ""
    checks: Mapping[str, float] = field(default_factory=checks)


def gather(
    blind_results: Iterable[Result] = (), results: Mapping[str, Iterable[Result]] | None = None, model: str = ""
) -> Evidence:
    """Evidence from `blind.everything` (made-up results are none, and are left out) and from results by notebook.

    Results of the lab world, and of any corpus that is no published benchmark, go where only their direction is read.
    model: see `Evidence`; VcworkError if too short.
    """
    if 0 < len(model) < 8:
        raise VcworkError(f"model: expected a hash or its first 8 digits, got {model!r}")
    found = {r.name: r for r in blind_results if not r.name.startswith(blind.MADE_UP)}
    sides: tuple[dict, dict] = {}, {}
    for notebook, rows in (results or {}).items():
        for r in rows:
            elsewhere = not r.protocol.benchmark
            sides[elsewhere].setdefault((notebook, r.name), r)
    return Evidence(found, *sides, model)


def read_run(folder: str | Path) -> dict[str, list[Result]]:
    """The results of a finished run by notebook, from its `metrics.json`. VcworkError for another file or none.

    Records older than protocol cards have no split, so they are evidence for nothing and are left out.
    """
    rows: dict[str, list[Result]] = {}
    for notebook, result in read_metrics(resolve(folder)):
        rows.setdefault(notebook, []).extend([result] if result.protocol.split else [])
    return rows


def tiny_lab(seed: int = 0) -> dict[str, list[Result]]:
    """Retrieval, localization and segmentation on the tiny lab world (`workspace.prepare`), by the notebook that shows
    them; made and trained in seconds where it is not there yet."""
    from vcwork.tasks import cases, localization, opponents, retrieval, segmentation
    from vcwork.training.workspace import prepare  # torch: nothing else here needs it

    ws = prepare(seed=seed)
    clips = cases.annotated_clips(ws.corpus, ws.store, "test")
    val, test = (cases.seconds_of_split(ws.encoder, ws.corpus, ws.store, split) for split in ("val", "test"))
    options = {"setting": cases.setting_of(ws.corpus, "test", ws.store, ws.encoder), "seed": seed}
    scores, found = cases.clip_scores(ws.encoder, clips), cases.localization_cases(test, ws.corpus)
    gamma = segmentation.choose_gamma(val.scores, val.truths)
    clip_wise = opponents.of_retrieval(ws.corpus, clips, ws.encoder)
    in_order = opponents.of_localization(ws.corpus, ws.store, test)
    by_second = opponents.of_segmentation(ws.corpus, ws.store, test, val)
    truth = test.truths, test.ids
    return {
        "30_text_video_retrieval": retrieval.evaluate(scores, *clips.labels, **clip_wise, **options),
        "32_action_localization": localization.evaluate(found, **in_order, **options),
        "33_action_segmentation": segmentation.evaluate(test.scores, *truth, gamma, **by_second, **options),
    }


# -------------------------------------------------------------------------------------------------- the ledger


@dataclass(frozen=True)
class Entry:
    """One line: the claim, the numbers it was held against as texts ("" where there is none), and the verdict."""

    claim: Claim
    published: str
    trivial: str
    measured: str
    lab: str
    verdict: Verdict

    def cells(self) -> tuple[str, ...]:
        """The texts of `COLUMNS`."""
        why = "; ".join(part for part in (self.verdict.why, self.claim.truth) if part)
        claim = (self.claim.id, self.claim.text)
        return (*claim, self.published, self.trivial, self.measured, self.lab, self.verdict.word, why)


COLUMNS = ("id", "claim", "published or stated", "trivial", "measured here", "elsewhere: direction", "verdict", "why")


def ledger(evidence: Evidence, claims: Sequence[Claim] = CLAIMS) -> list[Entry]:
    """Every claim judged on this evidence."""
    return [_entry(claim, evidence) for claim in claims]


def _entry(claim: Claim, evidence: Evidence) -> Entry:
    published, trivial = published_span(claim), _trivial(claim, evidence)
    measured, same, where = _measured(claim, evidence)
    z = None
    if claim.than is not None and claim.published is not None and claim.n is not None:
        z = unpaired_z(claim.published, _other_share(claim), claim.n)
    verdict = judge(published, trivial=trivial, z=z, measured=measured, same_protocol=same, agrees=claim.agrees)
    return Entry(
        claim, _published_text(claim, published), _trivial_text(claim, evidence, trivial),
        "" if measured is None else _span_text(measured, claim.unit) + where, _lab_text(claim, evidence), verdict,
    )  # fmt: skip


def in_larger_pool(share: float, pool: int, larger: int, k: int) -> float:
    """The least that a published R@k of `pool` items can be among `larger`, of which these are a random part.

    Who is k + 1st there, or worse, is among the first k here only where not all of k better ones were drawn.
    """
    drawn = math.prod((pool - 1 - i) / (larger - 1 - i) for i in range(k))
    return max(0.0, (share - (1 - drawn)) / drawn)


def _other_share(claim: Claim) -> float:
    """What the other system has, at least, in the claim's own pool."""
    _, share, *pool = claim.than
    return in_larger_pool(share, pool[0], claim.n, pool[1]) if pool else share


def _trivial(claim: Claim, evidence: Evidence) -> Span | None:
    if claim.trivial is None or isinstance(claim.trivial, float | int):
        return None if claim.trivial is None else _exact(claim.trivial)
    if claim.trivial in evidence.checks:
        return _exact(evidence.checks[claim.trivial])
    found = evidence.blind.get(claim.trivial)
    return None if found is None or _elsewhere(claim, found) else Span(found.value, found.low, found.high)


def _exact(value: float) -> Span:
    return Span(*[float(value)] * 3)


def _elsewhere(claim: Claim, found: Result) -> str:
    """The split a blind score was counted on, where it is not the published one: such a score decides nothing."""
    return found.protocol.split if found.protocol.split != claim.card.split else ""


def _measured(claim: Claim, evidence: Evidence) -> tuple[Span | None, bool, str]:
    """The number measured here, whether its protocol is the published one, and where it was measured if not."""
    if not claim.measured:
        return None, False, ""
    kind, *key = claim.measured
    if kind == "check":
        return _exact(evidence.checks[key[0]]), True, ""
    name, _, extra = key[0].partition("/")
    found = evidence.blind.get(name) if kind == "blind" else evidence.runs.get((key[0], key[1]))
    if found is None:
        return None, False, ""
    other = found.protocol.differs(claim.card)
    if kind == "run" and not (evidence.model and found.protocol.model.startswith(evidence.model)):
        other.append("model")
    where = f" ({', '.join(other)} differ: {found.protocol.split})" if other else ""
    if extra or claim.n is None:
        return _exact(found.extra[extra] if extra else found.value), not other, where
    return Span(found.value, found.low, found.high), not other, where


def _span_text(span: Span, unit: str = "share") -> str:
    if unit != "share":
        return f"{span.value:,.0f}"
    exact = span.high - span.low < 2e-3
    return show(span.value) if exact else f"{show(span.value)} ({100 * span.low:.1f} .. {100 * span.high:.1f})"


def _published_text(claim: Claim, span: Span | None) -> str:
    if span is None:
        return ""
    told = _span_text(span, claim.unit) + (f" against {claim.than[0]} {show(claim.than[1])}" if claim.than else "")
    if claim.than and claim.than[2:]:
        told += f" in a pool of {claim.than[2]:,}, so at least {show(_other_share(claim))} in this one"
    return told


def _trivial_text(claim: Claim, evidence: Evidence, span: Span | None) -> str:
    parts = []
    if span is not None:
        named = claim.trivial if isinstance(claim.trivial, str) else "chance"
        parts.append(f"{_span_text(span)} {named}")
    elif claim.trivial in evidence.blind:
        parts.append(_beside(claim, evidence.blind[claim.trivial]))
    elif isinstance(claim.trivial, str):
        parts.append(f"needs annotations: {claim.trivial}")
    parts += [_beside(claim, evidence.blind[name]) for name in claim.beside if name in evidence.blind]
    return "; ".join(parts)


def _beside(claim: Claim, found: Result) -> str:
    other = _elsewhere(claim, found)
    return f"{show(found.value)} {found.name}" + (f" (of another split, {other})" if other else "")


def _lab_text(claim: Claim, evidence: Evidence) -> str:
    """Which way the lab world points, with its interval; never a number to compare with a published one."""
    found = None if claim.lab is None else evidence.lab.get(claim.lab)
    if found is None:
        return ""
    name, best = found.best_trivial
    word = "above" if found.low > best else "below" if found.high < best else "not apart from"
    return f"{word} {name} {show(best)}: {show(found.low)} to {show(found.high)}"


# --------------------------------------------------------------------------------------------------- rendering


def counts(entries: Sequence[Entry]) -> str:
    """How many claims of each source got each verdict, as text."""
    sources = dict.fromkeys(e.claim.source for e in entries)
    rows = [[source, *(sum(e.claim.source == source and e.verdict.word == word for e in entries) for word in VERDICTS)]
            for source in sources]  # fmt: skip
    return text_table(["source", *VERDICTS], rows)


def ledger_text(entries: Sequence[Entry]) -> str:
    """The ledger as text: a line with id, verdict and claim, and under it what it was held against."""
    width = max(len(e.claim.id) for e in entries)
    lines = []
    for e in entries:
        _, claim, published, trivial, measured, lab, word, why = e.cells()
        lines.append(f"{e.claim.id.ljust(width)}  {word.upper() if word == 'contradicted' else word}: {claim}")
        held = {"published": published, "trivial": trivial, "measured here": measured, "elsewhere": lab, "why": why}
        lines += [f"{'':{width}}    {name}: {text}" for name, text in held.items() if text]
    return "\n".join(lines)


def ledger_html(entries: Sequence[Entry]) -> str:
    """A self-contained HTML table (`ledger.html`), texts escaped, a column for each of `COLUMNS`."""
    rows = [(e.verdict.word.replace(" ", "-"), e.cells()) for e in entries]
    return template(__package__, "ledger.html").render(columns=COLUMNS, rows=rows)
