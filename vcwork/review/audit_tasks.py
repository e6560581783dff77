"""Audits of the other tasks: choices, labels of seconds, steps in order, spans, steps in time.

The numbers are the tasks' own. What comes per video is an .npz with an array a video, or a JSON {video: list}. Each
audit gets predictions and truth from files, and a second system's where there is one; what is absent, or there and not
asked for, is an error that names it, since a number over fewer videos is another number.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.base.files import resolve, sha256_file
from vcwork.data.benchmarks import hirest
from vcwork.data.benchmarks.coin import LABELS
from vcwork.data.benchmarks.msrvtt_qa import read_msrvtt_qa
from vcwork.data.benchmarks.reading import At, read_rows, read_strict_json, same_ids
from vcwork.data.benchmarks.spans import SpanBenchmark, read_charades, read_own_spans, read_predicted, read_qvhighlights
from vcwork.measure import metrics
from vcwork.measure.card import BLANK, Card
from vcwork.measure.metrics import inside
from vcwork.measure.result import Result
from vcwork.review.annotated import read_annotations
from vcwork.review.audit import Audit, compared, last_words, said_of
from vcwork.review.blind import by_time, truths
from vcwork.review.scores import Scores, counted, open_scores, read_arrays
from vcwork.tasks import localization, segmentation, spans, videoqa

ORDER = "labels are taken for COIN's label ids, 1 to {}, and 0 for background"


class Asked(NamedTuple):
    """What is asked of all of them: a benchmark's name, a second system's file, what the model was trained on."""

    benchmark: str
    against: Path | None
    trained_on: str
    seed: int


def audit_qa(scores: Path, answers: Path, asked: Asked, ties: str) -> Audit:
    """Choices, scores (Q, C): `answers` is MSR-VTT-QA's TSV, or a csv `answer, video`, and choice_0 … if known."""
    right, videos, choices, split = _questions(answers, asked.benchmark)
    opened = open_scores(scores)
    both = [_whole(each, len(right)) for each in (opened, asked.against and open_scores(asked.against)) if each]
    if len(beyond := np.flatnonzero(right >= both[0].shape[1])):
        expected = f"expected an answer from 0 to {both[0].shape[1] - 1}, as there are scores"
        raise VcworkError(f"{answers}: question {beyond[0] + 1}: {expected}, got {right[beyond[0]]}")
    card = _card(split, asked, opened.sha256, "MSR-VTT-QA" if asked.benchmark else "")
    lengths = [[len(text) for text in texts] for texts in choices]
    beside = {"longest caption": np.array(lengths, dtype=float)} if choices else {}
    results = videoqa.evaluate(both[0], right, videos, beside, ties=ties, setting=card, seed=asked.seed)
    pairs = {"qa_accuracy": [metrics.choice_hits(each, right, ties) for each in both]}
    many = f"{len(right):,} questions of {len(set(videos)):,} videos"
    made = Audit("qa", opened.path, card.model, split, many, results, card.benchmark, notes=[*opened.told])
    return _made(made, "Accuracy", asked, pairs, videos)


def audit_segmentation(predicted: Path, truth: Path, asked: Asked, gamma: float | None = None) -> Audit:
    """Labels a second, 0 for background: `truth` holds the same of each video, or is COIN's annotation file.

    gamma: `predicted` holds scores (T, K) instead, of which a second's best step counts where it is above.
    """
    wanted, split, beside, highest = _labels_of(truth, asked.benchmark)
    ids, true = list(wanted), [*wanted.values()]
    said, found = _said(predicted, wanted, gamma, highest)
    card, draws = _card(split, asked, sha256_file(predicted)), {"seed": asked.seed}
    if found is None:
        results = segmentation.evaluate_labels(said, true, ids, beside, setting=card, **draws)
    else:
        results = segmentation.evaluate(found, true, ids, gamma, beside, setting=card, **draws)
    both = [said, *(_said(path, wanted, gamma, highest)[0] for path in [asked.against] if path)]
    hits = [np.concatenate([a == b for a, b in zip(each, true, strict=True)]).astype(float) for each in both]
    many = f"{sum(map(len, true)):,} seconds of {len(ids):,} videos"
    notes = [ORDER.format(highest)] if highest else []
    made = Audit("segmentation", predicted, card.model, split, many, results, card.benchmark, notes=notes)
    videos = np.repeat(np.arange(len(ids)), list(map(len, true)))
    return _made(made, "Frame accuracy", asked, {"frame_accuracy": hits}, videos)


def _said(
    path: Path, wanted: Mapping[str, np.ndarray], gamma: float | None, highest: int | None
) -> tuple[list[np.ndarray], list[np.ndarray] | None]:
    """Labels (T,) of each video as the file has them; or from its scores (T, K) and gamma, and these as well.

    highest: of the labels that there are, where it is known.
    """
    lengths = {id: len(labels) for id, labels in wanted.items()}
    if gamma is None:
        found = _matched(path, lengths, "iu", 1, highest)
        return [found[id] for id in wanted], None
    found = _matched(path, lengths, "f", 2)
    steps, most = sorted({each.shape[1] for each in found.values()}), max(each.max() for each in wanted.values())
    if len(steps) > 1 or not most <= steps[0] <= (highest or steps[0]):
        many = f"{most} {f'to {highest}' if highest else 'or more'}"
        raise VcworkError(f"{path}: expected scores of the same steps in all videos, {many}, got {steps}")
    return [segmentation.segment(found[id], gamma) for id in wanted], [found[id] for id in wanted]


def audit_localization(scores: Path, truth: Path, asked: Asked, costs: bool = False) -> Audit:
    """Scores (T, K) of each video's K steps in order: `truth` is CrossTask's folder, or a JSON
    {video: {task, intervals: [[[start, end], …] for each step]}}.

    costs: the file holds what CrossTask's dynamic program sums up, lower is better, and no softmax is made of it.
    """
    wanted, split = _steps_of(truth, asked.benchmark)

    def cases(path: Path) -> list[localization.Case]:
        found = _matched(path, dict.fromkeys(wanted), "f", 2)
        for id, (_, intervals) in wanted.items():
            if found[id].shape[1] != len(intervals):
                raise VcworkError(f"{path}: {id}: expected scores (T, {len(intervals)} steps), got {found[id].shape}")
        logs = {id: -each if costs else localization.log_softmax(each) for id, each in found.items()}
        return [localization.Case(logs[id], steps, id, task) for id, (task, steps) in wanted.items()]

    both = [cases(path) for path in (scores, asked.against) if path]
    card = _card(split, asked, sha256_file(scores))
    results = localization.evaluate(both[0], raw=True, setting=card, seed=asked.seed)
    hits, videos = zip(*map(_step_hits, both), strict=True)
    made = Audit("localization", scores, card.model, split, f"{len(wanted):,} videos", results, card.benchmark)
    return _made(made, "Recall, mean over tasks,", asked, {"recall_micro": hits}, videos[0])


def audit_moments(predicted: Path, truth: Path, asked: Asked) -> Audit:
    """Spans: `truth` is QVHighlights' jsonl, Charades-STA's text, HiREST's JSON, or a csv of one's own."""
    readers = {"qvhighlights": read_qvhighlights, "charades": read_charades, "hirest": hirest.read_moments,
               "": read_own_spans}  # fmt: skip
    return _of_spans("moments", predicted, readers[asked.benchmark](truth), spans.evaluate, spans.scored, asked)


def audit_boundaries(predicted: Path, truth: Path, asked: Asked) -> Audit:
    """Steps of each moment, in time alone: `truth` is HiREST's JSON, or a csv of one's own."""
    found = (hirest.read_steps if asked.benchmark else read_own_spans)(truth)
    return _of_spans("boundaries", predicted, found, spans.evaluate_boundaries, spans.scored_boundaries, asked)


def _of_spans(
    task: str, predicted: Path, told: SpanBenchmark, evaluate: Callable[..., list[Result]],
    scored: Callable[[Sequence[spans.Case]], np.ndarray], asked: Asked,
) -> Audit:  # fmt: skip
    """Predicted spans against those told: `evaluate` gives the results, `scored` (N, results) what each case earns."""
    both = [_span_cases(path, told) for path in (predicted, asked.against) if path]
    card = _card(told.split, asked, sha256_file(predicted))
    results = evaluate(both[0], setting=card, seed=asked.seed)
    videos, earned = [case.video for case in both[0]], [scored(each) for each in both]
    many = f"{len(videos):,} {'sentences' if task == 'moments' else 'moments'} of {len(set(videos)):,} videos"
    pairs = {result.name: [each[:, i] for each in earned] for i, result in enumerate(results)}
    made = Audit(task, predicted, card.model, told.split, many, results, card.benchmark, notes=[*told.notes])
    return _made(made, results[0].name, asked, pairs, videos)


# ------------------------------------------------------------------------------------------------- what is shared


def _card(split: str, asked: Asked, model: str, benchmark: str | None = None) -> Card:
    benchmark = asked.benchmark if benchmark is None else benchmark
    return BLANK.but(f"trained on: {asked.trained_on}", split=split, benchmark=benchmark, model=model,
                     features="not told")  # fmt: skip


def _made(made: Audit, name: str, asked: Asked, pairs: Mapping[str, Sequence], videos: Sequence) -> Audit:
    """The audit in words, its first number called `name`; pairs: of each metric what the systems earn item by item."""
    if asked.against:
        made = replace(made, other=asked.against.name)
        made.against.extend(compared(pairs, videos, {"n_boot": 1000, "seed": asked.seed}))
    made.verdicts.extend([*said_of(made, name), *last_words(made, asked.trained_on)])
    return made


def _whole(scores: Scores, n: int) -> np.ndarray:
    """Scores (Q, C) of all questions; ids that count from 0 say which, others are passed over."""
    if scores.shape[0] != n:
        raise VcworkError(f"{scores.path}: expected scores of {n:,} questions, got {scores.shape}")
    found = np.concatenate(list(scores.ordered(*map(counted, (scores.query_ids, scores.item_ids))).rows()))
    if not np.isfinite(found).all():
        raise VcworkError(f"{scores.path}: expected a score of every choice, some are not listed")
    return found


def _questions(path: Path, benchmark: str) -> tuple[np.ndarray, list[str], list[list[str]], str]:
    """Answers (Q,), videos, the choices' texts where they are known, and the split's name."""
    if benchmark:
        part = read_msrvtt_qa(path)
        rows, split = [(q.answer, q.video, list(q.choices)) for q in part.clips], part.split
    else:
        rows = [(at.whole(row["answer"], "answer"), row["video"], [row[k] for k in row if k.startswith("choice_")])
                for at, row in read_rows(path, ("answer", "video"), optional=("choice_",))]  # fmt: skip
        split = f"{path.stem} {len(rows):,} questions"
    if not rows:
        raise VcworkError(f"{path}: holds no question")
    right, videos, choices = map(list, zip(*rows, strict=True))
    return np.array(right), videos, choices if all(choices) else [], split


def by_video(path: Path) -> dict[str, np.ndarray]:
    """{video: array} of an .npz, or of a JSON {video: list}; VcworkError for anything else, or over 4 GB."""
    path = resolve(path)
    if path.suffix == ".json":
        raw = At(path).entry(read_strict_json(path))
        try:
            return {id: np.array(rows) for id, rows in raw.items()}
        except ValueError as error:
            raise VcworkError(f"{path}: expected a list of numbers a video ({error})") from error
    return read_arrays(path)


def _matched(
    path: Path, lengths: Mapping[str, int | None], kinds: str, ndim: int, highest: int | None = None
) -> dict[str, np.ndarray]:
    """Arrays of exactly these videos, of these lengths and of numbers of such kinds; whole ones up to the highest."""
    found = by_video(path)
    same_ids(path, found, lengths, "videos")
    for id, length in lengths.items():
        array = found[id]
        if array.ndim != ndim or array.dtype.kind not in kinds or not len(array) or length not in (None, len(array)):
            wanted = f"{'whole numbers' if kinds == 'iu' else 'scores'} of {length or 'its'} seconds"
            raise VcworkError(f"{path}: {id}: expected {wanted}, got {array.dtype} {array.shape}")
        if kinds == "f" and not np.isfinite(array).all():
            raise VcworkError(f"{path}: {id}: expected finite scores")
        if kinds == "iu" and array.min() < 0:
            raise VcworkError(f"{path}: {id}: expected labels from 0, background, got {array.min()}")
        if highest and kinds == "iu" and array.max() > highest:
            raise VcworkError(f"{path}: {id}: expected labels up to {highest}, got {array.max()}")
    return found


def _labels_of(
    path: Path, benchmark: str
) -> tuple[dict[str, np.ndarray], str, dict[str, list[np.ndarray]], int | None]:
    """True labels (T,) of each video, the split's name, what a benchmark's training videos say blindly, and the
    highest label that there is, where that is known."""
    if not benchmark:
        found = by_video(path)
        return _matched(path, dict.fromkeys(found), "iu", 1), f"{path.stem} {len(found):,} videos", {}, None
    told = read_annotations(path, ("coin",))
    coin, labels = told.coin, truths(told.coin)
    fit, test = ([i for i, trained in enumerate(coin.training) if trained == wanted] for wanted in (True, False))
    highest = max(LABELS, *map(int, coin.labels))
    return {coin.ids[i]: labels[i] for i in test}, told.splits["coin"], by_time(coin, labels, fit, test), highest


def _steps_of(path: Path, benchmark: str) -> tuple[dict[str, tuple[str, list]], str]:
    """{video: (task, intervals of each step)}, and the split's name."""
    if benchmark:
        told = read_annotations(path, ("crosstask",))
        found, split = told.crosstask, told.splits["crosstask"]
        return dict(zip(found.ids, zip(found.tasks, found.intervals, strict=True), strict=True)), split
    out: dict[str, tuple[str, list]] = {}
    for id, raw in At(resolve(path)).entry(read_strict_json(path)).items():
        at = At(resolve(path), video=id)
        entry = at.entry(raw, task=str, intervals=list)
        if any(not isinstance(step, list) for step in entry["intervals"]):
            at.fail("intervals: expected a list of [start, end] for each step")
        out[id] = entry["task"], [[at.span(span) for span in step] for step in entry["intervals"]]
    if not out:
        raise VcworkError(f"{path}: holds no video")
    return out, f"{path.stem} {len(out):,} videos"


def _step_hits(cases: Sequence[localization.Case]) -> tuple[np.ndarray, list[str]]:
    """Of every step that is present, was its second right? And its video."""
    hits, videos = [], []
    for case, seconds in zip(cases, localization.ordered_seconds([-case.scores for case in cases]), strict=True):
        for step, second in zip(case.intervals, seconds, strict=True):
            if step:
                hits.append(float(inside(step, len(case.scores))[second]))
                videos.append(case.video)
    return np.array(hits), videos


def _span_cases(path: Path, told: SpanBenchmark) -> list[spans.Case]:
    found = (hirest.read_predicted if path.suffix == ".json" else read_predicted)(path)
    same_ids(path, found, [each.id for each in told.sentences], "sentences")
    return [spans.Case(found[each.id], each.truth, each.video, each.duration_s) for each in told.sentences]
