"""The claim ledger and the paper's numbers: what counts as evidence, and beside which results a number may stand."""

import dataclasses
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from checks import refused

from vcwork.base.files import parse_yaml
from vcwork.base.sealed import write_sealed
from vcwork.core.sampling import uniform_range
from vcwork.data.corpus import Corpus
from vcwork.measure import result as result_tables
from vcwork.measure.card import Card
from vcwork.measure.result import Result, as_result
from vcwork.review import annotated, blind, claims, ledger
from vcwork.review.claims import CLAIMS, Claim
from vcwork.review.ledger import VERDICTS, Evidence, Span, judge
from vcwork.review.published import ROWS, with_paper
from vcwork.tasks import retrieval


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


def test_the_least_a_number_of_a_smaller_pool_is_worth_in_a_larger_one() -> None:
    """Against draws: of 40 items, the queries' own ones at the ranks that gain most, 30 are drawn again and again."""
    rng, k, share = np.random.default_rng(0), 3, 0.4
    ranks = np.where(np.arange(1000) < 1000 * share, 1, k + 1)  # in the pool of 40
    keys = rng.random((1000, 200, 39)).argsort(-1)[..., :29]  # which of the other 39 are drawn with the own one
    found = ((keys < ranks[:, None, None] - 1).sum(-1) < k).mean()
    assert ledger.in_larger_pool(found, 30, 40, k) == pytest.approx(share, abs=0.01)
    assert ledger.in_larger_pool(0.5, 40, 40, 5) == 0.5 and ledger.in_larger_pool(0.01, 2, 40, 1) == 0.0


def test_who_leads_today_leads_in_any_pool() -> None:
    words = {e.claim.id: e for e in ledger.ledger(ledger.gather(), claims.PARTS["today"])}
    ahead = [id for id in words if "CLIP" not in id]
    assert {words[id].verdict.word for id in ahead} == {"contradicted"}, "still at the front: no longer"
    entry = words["today YouCook2 zero-shot R@1"]
    assert "39.6 % in a pool of 3,179, so at least 37.2 % in this one" in entry.published
    split = words["today DiDeMo CLIP R@1"].claim.card.split
    prior = {"rank1": 0.194, "rank5": 0.681, "mIoU": 0.254}  # of val alone, on the real files
    prior = [result(f"didemo_prior_{name}", value, split, 0.01) for name, value in prior.items()]
    told = {e.claim.id: e.verdict.word for e in ledger.ledger(ledger.gather(prior), claims.PARTS["today"])}
    clip = [told[f"today DiDeMo CLIP {name}"] for name in ("R@1", "R@5", "mIoU")]
    assert clip == ["within noise", "contradicted", "not testable here"]


def test_published_spans() -> None:
    low, high = ledger.published_span(Claim("a", "paper", "", 0.227, 3305))[1:]
    assert (round(low, 3), round(high, 3)) == (0.213, 0.242)
    exact = ledger.published_span(Claim("a", "found", "", 0.194, digits=1))
    assert exact.low == pytest.approx(0.1935) and exact.high == pytest.approx(0.1945)
    assert ledger.published_span(Claim("a", "document 1", "", agrees=True)) is None


# -------------------------------------------------------------------------------------------------- closed forms


def test_checks_against_draws_and_hand_counting() -> None:
    found = ledger.checks()
    assert found["random R@5 of 1000"] == pytest.approx(0.005)
    assert found["random R@10 of 3305"] == pytest.approx(10 / 3305)
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
        assert claim.source in ("paper", "found", "today") or re.fullmatch(r"document [123]", claim.source)
        assert not (numbers and claim.agrees is not None), f"{claim.id}: a number or a statement, not both"
        assert numbers or claim.agrees is not None or claim.truth, f"{claim.id}: nothing to judge it by, and no reason"
        if numbers:
            assert 0 <= claim.published <= 1 or claim.unit == "count", claim.id
            assert (claim.n is None) or (claim.digits is None), claim.id
        assert claim.than is None or len(claim.than) == 2 or claim.than[2] <= claim.n, f"{claim.id}: a larger pool"
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
def test_a_claim_that_cannot_be_read_is_named(change: tuple[str, str], message: str) -> None:
    text = (Path(claims.__file__).with_suffix(".yaml")).read_text(encoding="utf-8")
    refused(message, claims.as_claims, parse_yaml(text.replace(*change, 1)))


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
    refused("first 8 digits, got 'abc'", with_run, 0.1, "MSR-VTT 1k-A 1,000", "abc")


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
        entries = judged(ledger.gather(results={notebook: [result("t2v_R@1", value, "lab test")]}))
        assert entries["T1 YouCook2 zero-shot R@1"].lab.startswith(word)
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
    write_sealed(tmp_path / "metrics.json", payload)
    rows = ledger.read_run(tmp_path)["30_text_video_retrieval"]
    assert [r.name for r in rows] == ["t2v_R@1"], "a record without a card has no split"
    (tmp_path / "metrics.json").write_text(json.dumps(payload))
    refused("its own digest", ledger.read_run, tmp_path)
    write_sealed(tmp_path / "metrics.json", payload | {"format": "else"})
    refused("expected the metrics of a run", ledger.read_run, tmp_path)
    refused("no such file", ledger.read_run, tmp_path / "none")


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


PAPERS_WAY = {"right": "own pair", "windows": "first", "cls": "attended"}


def corpus(name: str = "", test: str = "") -> Corpus:
    """A benchmark whose test split has this full name; without a name, no benchmark."""
    meta = {"benchmark": {"name": name, "splits": {"train": "some train", "test": test}}} if name else {}
    return Corpus(None, name or "lab", {}, meta=meta)


def beside(*results: Result, benchmark: str) -> list[Result]:
    return with_paper(results, corpus(benchmark, results[0].protocol.split))


def number(name: str, split: str, pool: float, n: int = 1000, task: str = "retrieval", **more) -> Result:
    card = Card(task, split, "some rule", pool=pool, captions=1, ties="expected", **PAPERS_WAY)
    trivial = {"constant score": 0.0, "longest caption": 0.0, "list order": 0.0}
    return Result(name, 0.2, 0.1, 0.3, 1 / pool, card, n, trivial, **more)


def cell(one: Result) -> str:
    return result_tables.row(one)["paper"]


def test_every_row_is_a_number_of_the_papers_tables():
    """Against Tables 1 to 5 of the paper, typed here once more."""
    typed = {
        ("YouCook2", "t2v_R@1"): 0.227, ("YouCook2", "t2v_R@5"): 0.504, ("YouCook2", "t2v_R@10"): 0.631,
        ("MSR-VTT", "t2v_R@1"): 0.104, ("MSR-VTT", "t2v_R@5"): 0.222, ("MSR-VTT", "t2v_R@10"): 0.300,
        ("YouCook2", "t2v_instance_R@1"): 0.227, ("MSR-VTT", "t2v_instance_R@1"): 0.104,
        ("MSR-VTT-QA", "qa_accuracy"): 0.739, ("COIN", "paper_gamma_frame_accuracy"): 0.589,
        ("CrossTask", "recall"): 0.339, ("DiDeMo", "moment_rank1"): 0.166, ("DiDeMo", "moment_rank5"): 0.469,
        ("DiDeMo", "reference_moment_rank1"): 0.166, ("DiDeMo", "reference_moment_rank5"): 0.469,
    }  # fmt: skip
    assert {key: claim.published for key, claim in ROWS.items()} == typed


def test_the_papers_number_stands_where_the_protocol_is_its_own():
    (found,) = beside(number("t2v_R@1", "MSR-VTT 1k-A 1,000", 1000), benchmark="MSR-VTT")
    assert cell(found) == "10.4 %" and "MSR-VTT 1k-A 1,000" in found.paper_protocol.rule
    assert as_result(found.as_dict()).paper_protocol == found.paper_protocol


@pytest.mark.parametrize("split, pool", [
    ("YouCook2 val 3,350 (HowTo100M csv)", 3350), ("YouCook2 val 3,260 of 3,350 (HowTo100M csv)", 3260),
    ("YouCook2 val 4 (official json)", 4),
])  # fmt: skip
def test_another_gallery_of_the_same_part_is_named_and_no_error(split: str, pool: int):
    (found,) = beside(number("t2v_R@1", split, pool), benchmark="YouCook2")
    assert cell(found) == "not comparable (there pool 3,305)" and "22.7" not in result_tables.results_table([found])
    assert "YouCook2 val 3,305 (paper)" in found.paper_protocol.rule


@pytest.mark.parametrize("field, ours, said", [
    ("windows", "overlapping", "windows first"), ("cls", "hidden", "cls attended"), ("cls", "", "cls attended"),
    ("right", "same group", "right own pair"),
])  # fmt: skip
def test_a_number_read_another_way_is_not_comparable_and_says_in_what(field: str, ours: str, said: str):
    one = number("t2v_R@5", "MSR-VTT 1k-A 1,000", 1000)
    one = replace(one, protocol=one.protocol.but(**{field: ours}))
    (found,) = beside(one, benchmark="MSR-VTT")
    assert cell(found) == f"not comparable (there {said})" and "22.2" not in result_tables.results_table([found])


def test_how_long_clips_are_read_does_not_matter_where_none_is_long():
    one = number("t2v_R@5", "MSR-VTT 1k-A 1,000", 1000)
    for share, there in ((0.0, "22.2 %"), (0.154, "not comparable (there windows first)")):
        card = one.protocol.but(windows="overlapping", truncation=("clips over 32 s in windows", share))
        assert cell(beside(replace(one, protocol=card), benchmark="MSR-VTT")[0]) == there


def seconds(gamma: str, cls: str, videos: int = 2797) -> Result:
    """COIN's frame accuracy; repeated labels kept or dropped, CLS hidden or attended."""
    way = {"gamma": gamma, "cls": cls, "windows": "overlapping"}
    card = Card("segmentation", "COIN testing 2,797 videos", "some rule", 778, missing=(0, videos), **way)
    known = {"all background": 0.5, "majority step": 0.1}
    return Result("paper_gamma_frame_accuracy", 0.6, 0.5, 0.7, 0.1, card, 400_000, known)


@pytest.mark.parametrize("one, there", [
    (seconds("repeats kept", "hidden"), "58.9 %"),
    (seconds("repeats dropped", "hidden"), "not comparable (there gamma repeats kept)"),
    (seconds("repeats kept", "attended"), "not comparable (there cls hidden)"),
    (seconds("repeats dropped", "attended"), "not comparable (there cls hidden, gamma repeats kept)"),
    (seconds("repeats kept", "hidden", 2700), ""),
])  # fmt: skip
def test_zero_shot_coin_needs_the_papers_gamma_and_a_hidden_cls(one: Result, there: str):
    (found,) = beside(one, benchmark="COIN")
    assert cell(found) == there and (there or "measured on 2,797 videos" in found.protocol.rule)


def test_other_splits_other_corpora_and_other_metrics_get_nothing():
    one = number("t2v_R@1", "YouCook2 val 3,305 (paper)", 3305)
    assert with_paper([one], corpus("YouCook2", "YouCook2 val 3,305 (paper)"))[0].paper == 0.227
    carved = replace(one, protocol=one.protocol.but(split="YouCook2 train 900 (official json): val carved from it"))
    mdr = replace(one, name="t2v_MdR")
    for known in (corpus("YouCook2", one.protocol.split), corpus("YouCook2")):
        assert with_paper([carved, mdr], known) == [carved, mdr]
    for other in (corpus(), corpus("MSR-VTT", "MSR-VTT 1k-A 1,000")):  # whatever a lab corpus calls its split
        assert with_paper([one], other) == [one]


def test_a_difference_that_no_field_of_the_card_holds_is_said_in_words():
    fewer = number("qa_accuracy", "MSR-VTT-QA multiple choice 2,900 of 2,990", 5, 2900, "videoqa")
    whole = number("qa_accuracy", "MSR-VTT-QA multiple choice 2,990", 5, 2990, "videoqa")
    (fewer,), (whole,) = (beside(one, benchmark="MSR-VTT-QA") for one in (fewer, whole))
    assert cell(fewer) == "" and cell(whole) == "73.9 %"
    assert "73.9 % is not comparable: measured on 2,990 clips" in str(fewer.protocol)
    assert fewer.protocol.split != whole.protocol.split and fewer.protocol.pool == 5


def test_repeated_texts_are_not_the_papers_way_but_the_very_pair_is():
    way = PAPERS_WAY | {"split": "MSR-VTT 1k-A 1,000"}
    scores, card = np.eye(1000), Card(**{key: value for key, value in way.items() if key != "right"})
    for groups, there in ((np.arange(1000), "10.4 %"), (np.arange(1000) // 2, "not comparable (there right own pair)")):
        own = retrieval.evaluate(scores, groups, groups, np.arange(1000), np.arange(1000), setting=card, n_boot=2)
        named = {r.name: r for r in beside(*own, benchmark="MSR-VTT")}
        assert cell(named["t2v_R@1"]) == there and cell(named["t2v_instance_R@1"]) == "10.4 %"
    own = retrieval.evaluate(scores, groups, groups, np.arange(1000), np.arange(1000), ties="reference", setting=card,
                             n_boot=2)  # fmt: skip
    assert [cell(r) for r in beside(*own, benchmark="MSR-VTT")] == ["10.4 %", "22.2 %", "30.0 %", ""]


def test_moments_have_a_mean_pool_and_the_benchmarks_own_order():
    split = "DiDeMo test 4,021 sentences (moments, not paragraphs)"
    mean = number("moment_rank5", split, 20.9, 4021, "didemo")
    order = replace(mean, name="reference_moment_rank5", protocol=mean.protocol.but(ties="reference"))
    found = beside(mean, order, benchmark="DiDeMo")
    assert [cell(r) for r in found] == ["not comparable (there ties reference)", "46.9 %"]


def test_a_test_time_trick_is_never_compared():
    one = number("t2v_R@1", "MSR-VTT 1k-A 1,000", 1000)
    one = replace(one, protocol=one.protocol.but(tricks=("dual softmax",)))
    (found,) = beside(one, benchmark="MSR-VTT")
    assert cell(found) == "" and "10.4 % is not comparable: there without dual softmax" in found.protocol.rule
