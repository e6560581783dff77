"""The claim ledger: the rule of verdicts, closed forms, what counts as evidence; the lab world decides nothing."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest

from vcwork.base.errors import VcworkError
from vcwork.core.sampling import uniform_range
from vcwork.measure.card import Card
from vcwork.measure.result import Result
from vcwork.review import annotated, blind, claims, ledger
from vcwork.review.claims import CLAIMS, Claim
from vcwork.review.ledger import VERDICTS, Evidence, Span, judge


def span(value: float, half: float = 0.02) -> Span:
    return Span(value, value - half, value + half)


def result(name: str, value: float, split: str, half: float = 0.02, **card) -> Result:
    return Result(name, value, value - half, value + half, 0.1, Card("retrieval", split, **card), 100)


# --------------------------------------------------------------------------------------------------- the rule


@pytest.mark.parametrize("word, held_against", [
    ("contradicted", {"trivial": span(0.60)}),
    ("within noise", {"trivial": span(0.51)}),
    ("within noise", {"trivial": span(0.49)}),
    ("not testable here", {"trivial": span(0.40)}),
    ("within noise", {"z": 1.9}),
    ("within noise", {"z": -1.9}),
    ("contradicted", {"z": -2.0}),
    ("not testable here", {"z": 9.0}),
    ("confirmed", {"measured": span(0.52), "same_protocol": True}),
    ("contradicted", {"measured": span(0.56), "same_protocol": True}),
    ("contradicted", {"measured": span(0.44), "same_protocol": True}),
    ("not testable here", {"measured": span(0.50), "same_protocol": False}),
    ("not testable here", {}),
    ("confirmed", {"agrees": True}),
    ("contradicted", {"agrees": False}),
])  # fmt: skip
def test_each_line_of_the_rule(word: str, held_against: dict) -> None:
    assert judge(span(0.5), **held_against).word == word


def test_the_first_line_that_applies_decides() -> None:
    same = {"measured": span(0.5), "same_protocol": True}
    assert judge(span(0.5), trivial=span(0.6), **same).word == "contradicted", "well measured, and worth nothing"
    assert judge(span(0.5), trivial=span(0.4), z=1.0, **same).word == "within noise", "the difference is the claim"
    assert judge(span(0.5), trivial=span(0.4), z=3.0, **same).word == "confirmed"
    assert judge(None, trivial=span(0.1), **same).word == "not testable here"
    assert {judge(span(0.5)).word, judge(None).word} == {"not testable here"}
    assert judge(None, agrees=False).word == "contradicted"


def test_apart_is_in_half_widths_of_the_difference() -> None:
    assert ledger.apart(span(0.55, 0.03), span(0.50, 0.04)) == pytest.approx(1)
    assert ledger.apart(Span(1, 1, 1), Span(0, 0, 0)) == np.inf and ledger.apart(span(0.5, 0), span(0.5, 0)) == 0


def test_published_spans() -> None:
    low, high = ledger.published_span(Claim("a", "paper", "", 0.227, 3305))[1:]
    assert (round(low, 3), round(high, 3)) == (0.213, 0.242)
    exact = ledger.published_span(Claim("a", "found", "", 0.194, digits=1))
    assert exact.low == pytest.approx(0.1935) and exact.high == pytest.approx(0.1945)
    assert ledger.published_span(Claim("a", "document 1", "", agrees=True)) is None


# -------------------------------------------------------------------------------------------------- closed forms


def test_checks_against_draws_and_hand_counting() -> None:
    found = ledger.checks()
    assert found["random R@5 of 1000"] == pytest.approx(0.005) and found["random R@10 of 3305"] == pytest.approx(
        10 / 3305
    )
    assert found["constant scores, reference R@1"] == pytest.approx(0.001)
    assert found["constant scores, denominator over queries"] == 1000, "1,000,000 instead of 1,000"
    assert round(found["learning rate at the end"], 2) == 0.89
    assert round(100 * found["COIN background from its averages"], 1) == 58.8
    assert found["seconds silenced by a repeated label"] == 1


def test_kept_at_iou_is_what_the_sampler_draws() -> None:
    rng, kept, n = np.random.default_rng(0), 0, 40_000
    for _ in range(n):
        (a, b), (c, d) = uniform_range(32, rng), uniform_range(32, rng)
        both = max(0, min(b, d) - max(a, c))
        kept += both / (b - a + d - c - both) >= 0.5
    exact = ledger.kept_at_iou(32, 0.5)
    assert exact == pytest.approx(kept / n, abs=0.006) and round(100 * exact, 1) == 12.3
    assert ledger.kept_at_iou(32, 0.0) == pytest.approx(1), "chances of all pairs of ranges sum to 1"


# ------------------------------------------------------------------------------------------------- the claims


def test_every_claim_is_whole() -> None:
    ids = [c.id for c in CLAIMS]
    assert len(set(ids)) == len(ids)
    known = {r.name.removeprefix("made_up_") for r in blind.everything(annotated.made_annotations(), n_boot=2)}
    checks = ledger.checks()
    for claim in CLAIMS:
        numbers = claim.published is not None
        assert claim.source in ("paper", "found") or re.fullmatch(r"document [123]", claim.source)
        assert not (numbers and claim.agrees is not None), f"{claim.id}: a number or a statement, not both"
        assert numbers or claim.agrees is not None or claim.truth, f"{claim.id}: nothing to judge it by, and no reason"
        if numbers:
            assert 0 <= claim.published <= 1 or claim.unit == "count", claim.id
            assert (claim.n is None) or (claim.digits is None), claim.id
        if isinstance(claim.trivial, str):
            assert claim.trivial in known or claim.trivial in checks, claim.id
        assert all(name in known or name.endswith("_R@10") for name in claim.beside), claim.id
        if claim.measured and claim.measured[0] == "check":
            assert claim.measured[1] in checks, claim.id
        if claim.measured and claim.measured[0] == "blind":
            assert claim.measured[1].partition("/")[0] in known, claim.id


@pytest.mark.parametrize("change, message", [
    ((" published: 0", " publisht: 0"), "claim T1 YouCook2 zero-shot R@1: .*publisht"),
    (("card: YouCook2,", "card: YouKook2,"), "claim T1 YouCook2 zero-shot R@1: 'YouKook2'"),
    (("pool: 3305,", "gallery: 3305,"), "protocol card: expected the fields"),
])  # fmt: skip
def test_a_claim_that_cannot_be_read_is_named(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    text = (Path(claims.__file__).with_suffix(".yaml")).read_text(encoding="utf-8")
    (tmp_path / "claims.yaml").write_text(text.replace(*change, 1), encoding="utf-8")
    with pytest.raises(VcworkError, match=message):
        claims.read_claims(tmp_path / "claims.yaml")


def test_the_documents_are_covered_item_by_item() -> None:
    items = {1: 32, 2: 6, 3: 20}
    for document, n in items.items():
        of = {int(re.match(r"\d\.(\d+)", c.id)[1]) for c in CLAIMS if c.source == f"document {document}"}
        assert of == set(range(1, n + 1))


def test_notebooks_and_metrics_named_by_claims_exist(root: Path) -> None:
    recorded = {}
    for path in (root / "notebooks").glob("[0-9]*.ipynb"):
        text = path.read_text(encoding="utf-8")
        recorded[path.stem] = set(re.findall(r'"name": "([\w@]+)"', text))
    named = {c.lab for c in CLAIMS if c.lab} | {c.measured[1:] for c in CLAIMS if c.measured[:1] == ("run",)}
    assert named
    for notebook, metric in named:
        assert metric in recorded[notebook], f"{notebook} records no {metric}"


# ------------------------------------------------------------------------------------------------- the evidence


def judged(evidence: Evidence) -> dict[str, ledger.Entry]:
    return {e.claim.id: e for e in ledger.ledger(evidence)}


def test_without_evidence_nothing_measured_is_confirmed() -> None:
    entries = judged(ledger.gather())
    for entry in entries.values():
        if entry.claim.measured[:1] in (("run",), ("blind",)):
            assert entry.verdict.word != "confirmed" and not entry.measured, entry.claim.id
    assert entries["T2 DiDeMo R@1"].verdict.word == "not testable here"
    assert "needs annotations" in entries["T2 DiDeMo R@1"].trivial


def test_made_up_annotations_are_no_evidence() -> None:
    assert not ledger.gather(blind.everything(annotated.made_annotations(), n_boot=2)).blind


def test_published_numbers_alone_settle_some() -> None:
    words = {id: e.verdict.word for id, e in judged(ledger.gather()).items()}
    assert words["T1 MSR-VTT beats Support-Set R@1"] == "within noise", "30.9 and 30.1 of 1,000 queries"
    assert words["T5 CrossTask beats MIL-NCE"] == "contradicted", "33.9 is not above 40.5"
    assert words["T7 two transformers"] == words["T7 average pooling"] == "within noise"
    assert words["T7 retrieved clusters"] == "not testable here", "clear, but nobody measured it here"
    assert words["T4 COIN zero-shot"] == "within noise", "COIN's own averages give 58.8 % background"
    assert words["1.9"] == "contradicted" and words["1.10"] == "confirmed" and words["3.17"] == "not testable here"


def test_a_number_of_the_same_protocol_confirms_and_another_pool_does_not() -> None:
    claim = next(c for c in CLAIMS if c.id == "T1 MSR-VTT zero-shot R@1")
    key = claim.measured[1]
    way = {"benchmark": "MSR-VTT", "right": "own pair", "windows": "first", "cls": "attended"}

    def with_run(value: float, split: str, model: str = "abcdef12", **card) -> ledger.Entry:
        found = {key: [result("t2v_R@1", value, split, model="abcdef1234567890", **way | card)]}
        return ledger.ledger(ledger.gather(results=found, model=model), [claim])[0]

    same = {"pool": 1000, "captions": 1}
    assert with_run(0.105, "MSR-VTT 1k-A 1,000", **same).verdict.word == "confirmed"
    assert with_run(0.30, "MSR-VTT 1k-A 1,000", **same).verdict.word == "contradicted"
    other = with_run(0.105, "MSR-VTT 1k-A 968 of 1,000", pool=968, captions=1)
    assert other.verdict.word == "not testable here" and "split, pool differ: MSR-VTT 1k-A 968" in other.measured
    tricked = with_run(0.105, "MSR-VTT 1k-A 1,000", tricks=("dual softmax",), **same)
    assert tricked.verdict.word == "not testable here" and "tricks differ" in tricked.measured
    cut = with_run(0.105, "MSR-VTT 1k-A 1,000", **same, windows="overlapping", right="same group")
    assert cut.verdict.word == "not testable here" and "right, windows differ" in cut.measured
    for model in ("", "12345678"):
        somebodys = with_run(0.105, "MSR-VTT 1k-A 1,000", model, **same)
        assert somebodys.verdict.word == "not testable here" and "model differ" in somebodys.measured
    with pytest.raises(VcworkError, match="first 8 digits, got 'abc'"):
        with_run(0.1, "MSR-VTT 1k-A 1,000", "abc")


@pytest.mark.parametrize("split", ["lab test", "MSR-VTT 1k-A 1,000"])
def test_numbers_of_no_benchmark_have_a_column_of_their_own_and_decide_nothing(split: str) -> None:
    """Whatever a corpus calls its split: the card says whether it is a published one."""
    notebook = "30_text_video_retrieval"
    lab = {notebook: [result("t2v_R@1", 0.9, split, pool=1000, captions=1)]}
    before, after = judged(ledger.gather()), judged(ledger.gather(results=lab))
    assert {k: e.verdict for k, e in before.items()} == {k: e.verdict for k, e in after.items()}
    changed = [k for k in before if before[k] != after[k]]
    assert changed and all(after[k].lab and not after[k].measured for k in changed)
    assert after["T1 MSR-VTT zero-shot R@1"].lab == "above chance 10.0 %: 88.0 % to 92.0 %"
    for value, word in ((0.1, "not apart from"), (0.01, "below")):
        entry = judged(ledger.gather(results={notebook: [result("t2v_R@1", value, "lab test")]}))[
            "T1 YouCook2 zero-shot R@1"
        ]
        assert entry.lab.startswith(word)
    at = [ledger.COLUMNS.index(name) for name in ("published or stated", "measured here", "elsewhere: direction")]
    assert len(set(at)) == 3


def test_real_annotations_turn_the_didemo_claim(real: Path) -> None:
    if not (real / "annotations").is_dir():
        pytest.skip(f"{real / 'annotations'} is absent")
    found = annotated.read_annotations(real / "annotations")
    entries = judged(ledger.gather(blind.everything(found, n_boot=200)))
    words = {id: e.verdict.word for id, e in entries.items()}
    assert words["T2 DiDeMo R@1"] == words["T2 DiDeMo R@5"] == "contradicted"
    stated = ["found 4a", "found 4b", "found 14", "found 17", "found 18", "found 19"]
    assert [words[k] for k in stated] == ["confirmed"] * len(stated)
    assert words["found 6"] == "not testable here" and "COIN testing 228 videos" in entries["found 6"].measured
    assert "63.6 % youcook2_video_known_R@5" in entries["T1 YouCook2 zero-shot R@5"].trivial
    assert "of another split, CrossTask test 842 videos" in entries["T5 CrossTask zero-shot"].trivial


def test_a_blind_score_of_another_split_decides_nothing() -> None:
    claim = next(c for c in CLAIMS if c.id == "T2 DiDeMo R@1")
    for split, word in ((claim.card.split, "contradicted"), ("DiDeMo test 12 sentences", "not testable here")):
        entry = ledger.ledger(ledger.gather([result("didemo_prior_rank1", 0.9, split)]), [claim])[0]
        assert entry.verdict.word == word and "90.0 %" in entry.trivial


# --------------------------------------------------------------------------------------------- runs and rendering


def test_read_run(tmp_path: Path) -> None:
    found = result("t2v_R@1", 0.3, "lab test").as_dict()
    old = {key: value for key, value in found.items() if key != "card"} | {"name": "t2v_R@5"}
    rows = [{"notebook": "30_text_video_retrieval"} | row for row in (found, old)]
    payload = {"format": "vcwork-metrics-2", "results": rows}
    (tmp_path / "metrics.json").write_text(json.dumps(payload))
    rows = ledger.read_run(tmp_path)["30_text_video_retrieval"]
    assert [r.name for r in rows] == ["t2v_R@1"], "a record without a card has no split"
    (tmp_path / "metrics.json").write_text(json.dumps(payload | {"format": "else"}))
    with pytest.raises(VcworkError, match="expected the metrics of a run"):
        ledger.read_run(tmp_path)
    with pytest.raises(VcworkError, match="no such file"):
        ledger.read_run(tmp_path / "none")


def test_tables_hold_every_claim_and_escape_it() -> None:
    two = [dataclasses.replace(CLAIMS[0], text="a <b> & 5 % of x_1"), CLAIMS[-1]]
    entries = ledger.ledger(ledger.gather(), two)
    text, page = ledger.ledger_text(entries), ledger.ledger_html(entries)
    assert "a <b> & 5 % of x_1" in text and "a &lt;b&gt; &amp; 5 %" in page
    assert page.count("<tr") == 1 + len(entries)
    assert all(f"<th>{name}</th>" in page for name in ledger.COLUMNS)
    every = ledger.ledger(ledger.gather())
    totals = [int(n) for line in ledger.counts(every).splitlines()[2:] for n in re.findall(r"(?<= )\d+", line)[-4:]]
    assert sum(totals) == len(CLAIMS) and {e.verdict.word for e in every} == set(VERDICTS)
