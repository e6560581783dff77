"""Audits of the other tasks: choices, labels of seconds, steps in order, spans, steps in time.

The numbers are the tasks' own. What comes per video is an .npz with an array a video, or a JSON {video: list}. Each
audit gets predictions and truth from files, and a second system's where there is one; what is absent, or there and not
asked for, is an error that names it, since a number over fewer videos is another number.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.base.files import resolve, sha256_file
from vcwork.data.benchmarks import hirest
from vcwork.data.benchmarks.msrvtt_qa import read_msrvtt_qa
from vcwork.data.benchmarks.reading import At, read_rows, read_strict_json, unlike
from vcwork.data.benchmarks.spans import SpanBenchmark, read_charades, read_own_spans, read_predicted, read_qvhighlights
from vcwork.measure import metrics
from vcwork.measure.card import BLANK, Card
from vcwork.measure.metrics import inside
from vcwork.measure.result import Result
from vcwork.review.annotated import read_annotations
from vcwork.review.audit import Audit, compared, last_words, said_of
from vcwork.review.blind import by_time, truths
from vcwork.review.scores import Scores, read_arrays
from vcwork.tasks import localization, segmentation, spans, videoqa

ORDER = "label k is taken for the k-th of the benchmark's step ids in sorted order, 0 for background"


def audit_qa(
    scores: Scores, answers: Path, *, benchmark: str = "", against: Scores | None = None, ties: str, trained_on: str,
    seed: int = 0,
) -> Audit:  # fmt: skip
    """Choices, scores (Q, C): `answers` is MSR-VTT-QA's TSV, or a csv `answer, video`, and choice_0 … if known."""
    right, videos, choices, split = _questions(answers, benchmark)
    found, draws = _whole(scores, len(right)), {"seed": seed}
    card = _card(split, trained_on, scores.sha256, "MSR-VTT-QA" if benchmark else "")
    beside = {}
    if choices:
        lengths = [[len(text) for text in texts] for texts in choices]
        beside = {"longest caption": np.array(lengths, dtype=float)}
    results = videoqa.evaluate(found, right, videos, beside, ties=ties, setting=card, **draws)
    many = f"{len(right):,} questions of {len(set(videos)):,} videos"
    made = _made("qa", scores.path, scores.sha256, split, many, results, card, against, scores.told)
    if against is not None:
        pairs = [metrics.choice_hits(each, right, ties) for each in (found, _whole(against, len(right)))]
        made.against.extend(compared({"qa_accuracy": pairs}, videos, {"n_boot": 1000, **draws}))
    return _worded(made, "Accuracy", trained_on)


def audit_segmentation(
    predicted: Path, truth: Path, *, benchmark: str = "", against: Path | None = None, trained_on: str, seed: int = 0
) -> Audit:
    """Labels a second, 0 for background: `truth` holds the same of each video, or is COIN's annotation file."""
    wanted, split, beside = _labels_of(truth, benchmark)
    here = _matched(predicted, {id: len(labels) for id, labels in wanted.items()}, "iu", 1)
    true, ids, card = [*wanted.values()], list(wanted), _card(split, trained_on, sha256_file(predicted), benchmark)
    results = segmentation.evaluate_labels([here[id] for id in ids], true, ids, beside, setting=card, seed=seed)
    many = f"{sum(map(len, true)):,} seconds of {len(ids):,} videos"
    notes = [ORDER] if benchmark else []
    made = _made("segmentation", predicted, card.model, split, many, results, card, against, notes)
    if against is not None:
        other = _matched(against, {id: len(labels) for id, labels in wanted.items()}, "iu", 1)
        pairs = [np.concatenate([each[id] == wanted[id] for id in ids]).astype(float) for each in (here, other)]
        videos = np.repeat(np.arange(len(ids)), list(map(len, true)))
        made.against.extend(compared({"frame_accuracy": pairs}, videos, {"n_boot": 1000, "seed": seed}))
    return _worded(made, "Frame accuracy", trained_on)


def audit_localization(
    scores: Path, truth: Path, *, benchmark: str = "", against: Path | None = None, trained_on: str, seed: int = 0
) -> Audit:
    """Scores (T, K) of each video's K steps in order: `truth` is CrossTask's folder, or a JSON
    {video: {task, intervals: [[[start, end], …] for each step]}}."""
    wanted, split = _steps_of(truth, benchmark)

    def cases(path: Path) -> list[localization.Case]:
        found = _matched(path, dict.fromkeys(wanted), "f", 2)
        for id, (_, intervals) in wanted.items():
            if found[id].shape[1] != len(intervals):
                raise VcworkError(f"{path}: {id}: expected scores (T, {len(intervals)} steps), got {found[id].shape}")
        return [localization.Case(found[id], steps, id, task) for id, (task, steps) in wanted.items()]

    mine, card = cases(scores), _card(split, trained_on, sha256_file(scores), benchmark)
    results = localization.evaluate(mine, setting=card, seed=seed)
    made = _made("localization", scores, card.model, split, f"{len(mine):,} videos", results, card, against)
    if against is not None:
        pairs, videos = zip(*(_step_hits(each) for each in (mine, cases(against))), strict=True)
        made.against.extend(compared({"recall_micro": pairs}, videos[0], {"n_boot": 1000, "seed": seed}))
    return _worded(made, "Recall, mean over tasks,", trained_on)


def audit_moments(predicted: Path, truth: Path, **told: Any) -> Audit:
    """Spans: `truth` is QVHighlights' jsonl, Charades-STA's text, HiREST's JSON, or a csv of one's own; `_of_spans`."""
    readers = {"qvhighlights": read_qvhighlights, "charades": read_charades, "hirest": hirest.read_moments,
               "": read_own_spans}  # fmt: skip
    return _of_spans("moments", predicted, readers[told["benchmark"]](truth), spans.evaluate, spans.scored, **told)


def audit_boundaries(predicted: Path, truth: Path, **told: Any) -> Audit:
    """Steps of each moment, in time alone: `truth` is HiREST's JSON, or a csv of one's own; see `_of_spans`."""
    found = (hirest.read_steps if told["benchmark"] else read_own_spans)(truth)
    return _of_spans("boundaries", predicted, found, spans.evaluate_boundaries, spans.scored_boundaries, **told)


def _of_spans(
    task: str, predicted: Path, told: SpanBenchmark, evaluate: Callable[..., list[Result]],
    scored: Callable[[Sequence[spans.Case]], np.ndarray], *, benchmark: str, against: Path | None, trained_on: str,
    seed: int,
) -> Audit:  # fmt: skip
    """Predicted spans against those told: `evaluate` gives the results, `scored` (N, results) what each case earns."""
    mine, card = _span_cases(predicted, told), _card(told.split, trained_on, sha256_file(predicted), benchmark)
    results = evaluate(mine, setting=card, seed=seed)
    videos = [case.video for case in mine]
    many = f"{len(mine):,} {'sentences' if task == 'moments' else 'moments'} of {len(set(videos)):,} videos"
    made = _made(task, predicted, card.model, told.split, many, results, card, against, told.notes)
    if against is not None:
        both = [scored(each) for each in (mine, _span_cases(against, told))]
        pairs = {r.name: [each[:, i] for each in both] for i, r in enumerate(results)}
        made.against.extend(compared(pairs, videos, {"n_boot": 1000, "seed": seed}))
    return _worded(made, results[0].name, trained_on)


# ------------------------------------------------------------------------------------------------- what is shared


def _card(split: str, trained_on: str, model: str, benchmark: str) -> Card:
    told = BLANK.but(f"trained on: {trained_on}", split=split, benchmark=benchmark)
    return told.but(model=model, features="not told")


def _made(
    task: str, path: Path, sha256: str, split: str, sizes: str, results: list, card: Card, against: Any,
    notes: Sequence[str] = (),
) -> Audit:  # fmt: skip
    other = getattr(against, "path", against)
    return Audit(task, path, sha256, split, sizes, results, card.benchmark, other=other.name if other else "",
                 notes=list(notes))  # fmt: skip


def _worded(made: Audit, name: str, trained_on: str) -> Audit:
    made.verdicts.extend([*said_of(made, name), *last_words(made, trained_on)])
    return made


def _whole(scores: Scores, n: int) -> np.ndarray:
    if scores.shape[0] != n:
        raise VcworkError(f"{scores.path}: expected scores of {n:,} questions, got {scores.shape}")
    found = np.concatenate(list(scores.rows()))
    if not np.isfinite(found).all():
        row, column = np.argwhere(~np.isfinite(found))[0]
        raise VcworkError(f"{scores.path}: expected finite scores, got {found[row, column]} at {row}, {column}")
    return found


def _questions(path: Path, benchmark: str) -> tuple[np.ndarray, list[str], list[list[str]], str]:
    """Answers (Q,), videos, the choices' texts where they are known, and the split's name."""
    if benchmark:
        part = read_msrvtt_qa(path)
        asked = part.clips
        return (
            np.array([q.answer for q in asked]),
            [q.video for q in asked],
            [list(q.choices) for q in asked],
            part.split,
        )
    right, videos, choices = [], [], []
    for at, row in read_rows(path, ("answer", "video")):
        right.append(at.whole(row["answer"], "answer"))
        videos.append(row["video"])
        choices.append([text for name, text in row.items() if name.startswith("choice_")])
    if not right:
        raise VcworkError(f"{path}: holds no question")
    return np.array(right), videos, choices if all(choices) else [], f"{path.stem} {len(right):,} questions"


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


def _matched(path: Path, lengths: Mapping[str, int | None], kinds: str, ndim: int) -> dict[str, np.ndarray]:
    """Arrays of exactly these videos, of these lengths and of numbers of such kinds."""
    found = by_video(path)
    _the_same(path, found, lengths, "videos")
    for id, length in lengths.items():
        array = found[id]
        if array.ndim != ndim or array.dtype.kind not in kinds or not len(array) or length not in (None, len(array)):
            wanted = f"{'whole numbers' if kinds == 'iu' else 'scores'} of {length or 'its'} seconds"
            raise VcworkError(f"{path}: {id}: expected {wanted}, got {array.dtype} {array.shape}")
        if kinds == "f" and not np.isfinite(array).all():
            raise VcworkError(f"{path}: {id}: expected finite scores")
        if kinds == "iu" and array.min() < 0:
            raise VcworkError(f"{path}: {id}: expected labels from 0, background, got {array.min()}")
    return found


def _labels_of(path: Path, benchmark: str) -> tuple[dict[str, np.ndarray], str, dict[str, list[np.ndarray]]]:
    """True labels (T,) of each video, the split's name, and what a benchmark's training videos say blindly."""
    if not benchmark:
        found = by_video(path)
        return _matched(path, dict.fromkeys(found), "iu", 1), f"{path.stem} {len(found):,} videos", {}
    told = read_annotations(path if path.is_dir() else path.parent, ("coin",))
    coin, labels = told.coin, truths(told.coin)
    fit, test = ([i for i, trained in enumerate(coin.training) if trained == wanted] for wanted in (True, False))
    return {coin.ids[i]: labels[i] for i in test}, told.splits["coin"], by_time(coin, labels, fit, test)


def _steps_of(path: Path, benchmark: str) -> tuple[dict[str, tuple[str, list]], str]:
    """{video: (task, intervals of each step)}, and the split's name."""
    if benchmark:
        told = read_annotations(path, ("crosstask",))
        found = told.crosstask
        return dict(zip(found.ids, zip(found.tasks, found.intervals, strict=True), strict=True)), told.splits[
            "crosstask"
        ]
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
    for case, seconds in zip(cases, localization.localize_all([case.scores for case in cases]), strict=True):
        for step, second in zip(case.intervals, seconds, strict=True):
            if step:
                hits.append(float(inside(step, len(case.scores))[second]))
                videos.append(case.video)
    return np.array(hits), videos


def _span_cases(path: Path, told: SpanBenchmark) -> list[spans.Case]:
    found = (hirest.read_predicted if path.suffix == ".json" else read_predicted)(path)
    _the_same(path, found, [each.id for each in told.sentences], "sentences")
    return [spans.Case(found[each.id], each.truth, each.video, each.duration_s) for each in told.sentences]


def _the_same(path: Path, found: Iterable[str], wanted: Iterable[str], what: str) -> None:
    """VcworkError unless both hold the same ids."""
    wanted = list(wanted)
    if told := unlike(found, wanted):
        raise VcworkError(f"{path}: expected the {len(wanted):,} {what} of the annotations, got {told}")
