"""Action localization as CrossTask plays it: the steps of the task are known, and their order; when does each happen?

`localize` gives every step exactly one second, in order, by dynamic programming; `localize_unordered` gives each step
its best second on its own. The order alone is worth a lot, so `evaluate` puts predictors beside it that know the
order and nothing else. A hit is a chosen second inside an annotated interval of that step, [floor(start), ceil(end)).
A hit says nothing of how long the step takes: `extents` grows the second to a stretch, whose IoU is measured, too.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.measure import trivial
from vcwork.measure.card import Card, as_card
from vcwork.measure.intervals import sum_by_video
from vcwork.measure.metrics import check_scores, tiou
from vcwork.measure.result import Result
from vcwork.tasks.common import Intervals, check_lengths, group_mean, inside, ratio_result


class Case(NamedTuple):
    """One video: scores (T, K) of its task's K steps, per step the annotated (start_s, end_s), and the two ids."""

    scores: np.ndarray
    intervals: Sequence[Intervals]
    video: str
    task: str


def localize(scores: np.ndarray) -> np.ndarray:
    """One second for each step, in order, all different: (T, K) logits or log-probabilities -> (K,) int.

    Minimises the summed -log softmax over the K steps; background is free. Taking log-probabilities is safe: their
    log-softmax is themselves. Raises VcworkError where T < K. Source: CrossTask (CVPR 2019), as VideoCLIP decodes it.
    """
    return ordered_seconds(-_log_softmax(check_scores(scores)))


def localize_unordered(scores: np.ndarray) -> np.ndarray:
    """The best second of each step on its own, (T, K) -> (K,): log softmax over steps, then the first maximum."""
    return _log_softmax(check_scores(scores)).argmax(0)


def extents(scores: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Each step's second grown, both ways, while it is the best of the K steps; (T, K), (K,) -> (K, 2) [start, end).

    Ours: CrossTask asks for a second only. The chosen second itself belongs to its step whatever scores best there.
    """
    scores = check_scores(scores)
    best = scores == scores.max(1, keepdims=True)  # (T, K)
    out = np.zeros((len(seconds), 2), dtype=int)
    for k, second in enumerate(seconds):
        other = np.flatnonzero(~best[:, k])
        before, after = other[other < second], other[other > second]
        out[k] = before[-1] + 1 if len(before) else 0, after[0] if len(after) else len(scores)
    return out


def ordered_seconds(cost: np.ndarray) -> np.ndarray:
    """Seconds t_1 < ... < t_K of least total cost[t_k, k]; cost (T, K) -> (K,).

    States 0..2K: odd ones are steps (exactly one second), even ones the background around them (any length, free).
    A state is reached by staying (background only), from the state before, or, for a step, from the step before;
    of equal ones the first named wins. Sums in float64.
    """
    cost = check_scores(cost, "cost").astype(float)
    n_seconds, n_steps = cost.shape
    if n_seconds < n_steps:
        raise VcworkError(f"{n_steps} steps do not fit in order into {n_seconds} seconds")
    n_states = 2 * n_steps + 1
    best, back = np.full(n_states, np.inf), np.zeros((n_seconds, n_states), dtype=int)
    best[0], best[1] = 0, cost[0, 0]
    local = np.zeros((n_seconds, n_states))
    local[:, 1::2] = cost
    for t in range(1, n_seconds):
        ways = _ways(best)  # (3, 2K + 1)
        back[t] = ways.argmin(0)  # 0: stay, 1: state before, 2: step before
        best = np.take_along_axis(ways, back[t][None], 0)[0] + local[t]
    state = n_states - 1 if best[-1] < best[-2] else n_states - 2
    seconds = np.zeros(n_steps, dtype=int)
    for t in range(n_seconds - 1, -1, -1):
        if state % 2:
            seconds[state // 2] = t
        state -= back[t, state]
    return seconds


def _ways(best: np.ndarray) -> np.ndarray:
    """Cost of coming into each state by staying, from one before, from two before; inf where not allowed."""
    ways = np.full((3, len(best)), np.inf)
    ways[0, 0::2] = best[0::2]
    ways[1, 1:] = best[:-1]
    ways[2, 3::2] = best[1:-2:2]
    return ways


def _log_softmax(scores: np.ndarray) -> np.ndarray:
    shifted = scores - scores.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def evaluate(
    cases: Sequence[Case],
    prior: tuple[float, float] | None = None,
    heard: Sequence[np.ndarray] | None = None,
    silent: Sequence[np.ndarray] | None = None,
    *,
    setting: Card | str = "",
    n_boot: int = 1000,
    seed: int = 0,
) -> list[Result]:
    """Recall of steps that are present: mean over tasks, over all steps (micro), and without knowing the order; then
    `step_tIoU`, the IoU of each present step's stretch (`extents` of the ordered seconds) with its best interval.

    Chance deals K random seconds out in order (for the unordered recall: any second). Trivial: uniform in order; with
    `prior`, from `trivial.fit_linear_in_time`, linear in time; with `heard`, each case's scores (T, K) by what is said,
    those through the same decoding. silent, per case (K,) bool: steps never spoken of, which get recalls of their own.
    `vcwork.tasks.opponents.of_localization` makes the three. Raises VcworkError naming a video that is wrong.
    """
    cases = [Case(*case) for case in cases]
    if not cases:
        raise VcworkError("localization: no videos to score")
    masks = [_masks(case) for case in cases]
    picks = _picks([case.scores for case in cases], prior)
    if heard is not None:
        told = _picks([trivial.spoken_in_order(np.asarray(said)) for said in heard], None)
        picks |= {"bag of words": told["ordered"], "bag of words, free": told["free"]}
    hits = {name: [_hits(m, s) for m, s in zip(masks, each, strict=True)] for name, each in picks.items()}
    hits["random in order"] = [trivial.random_in_order_hits(m) for m in masks]
    hits["random"] = [trivial.random_hits(m) for m in masks]
    each = [_log_softmax(case.scores) for case in cases]
    tied = sum(int(((s == s.max(0)).sum(0) > 1).sum()) for s in each)  # steps whose best second is not the only one
    setting, options = as_card(setting).but("of equal seconds the first", tied=tied), {"n_boot": n_boot, "seed": seed}
    setting = setting.but(task="localization", interval="videos")
    results = _recalls(cases, masks, hits, None, setting, options)
    results.append(_step_iou(cases, masks, picks, heard, setting, options))
    if silent is not None and any((m.any(1) & quiet).any() for m, quiet in zip(masks, silent, strict=True)):
        results += _recalls(cases, masks, hits, silent, setting, options)
    return results


def _picks(scores: Sequence[np.ndarray], prior: tuple[float, float] | None) -> dict[str, list[np.ndarray]]:
    """The seconds (K,) of each case's steps, in order, each alone, and as those say who know the order only."""
    shapes = [each.shape[::-1] for each in scores]
    picks = {
        "ordered": [localize(each) for each in scores],
        "free": [localize_unordered(each) for each in scores],
        "uniform in order": [trivial.uniform_in_order(*shape) for shape in shapes],
    }
    return picks if prior is None else picks | {"linear in time": [trivial.linear_in_time(*s, prior) for s in shapes]}


def _recalls(
    cases: list[Case], masks: list[np.ndarray], hits: dict, only: Sequence[np.ndarray] | None, setting: Card,
    options: dict,
) -> list[Result]:  # fmt: skip
    """The three recalls; of the steps that `only` (K,) names in each case, the last two, called `..._silent`."""
    kept = [np.ones(len(m)) for m in masks] if only is None else only
    videos, tasks = [c.video for c in cases], np.array([c.task for c in cases])
    by_task, as_one = (tasks[:, None] == np.unique(tasks)).astype(float), np.ones((len(cases), 1))  # (n, G), (n, 1)
    present = _column([m.any(1) for m in masks], kept)  # absent steps can be neither hit nor missed
    if not present.any():
        raise VcworkError("localization: no step of any video is annotated")
    sums = {name: _column(each, kept) for name, each in hits.items()}  # (n, 1)
    size = f"{int(present.sum())} steps present in {len(cases)} videos of {by_task.shape[1]} tasks"
    rows = (
        ("recall", "ordered", "random in order", by_task, "steps and order known, mean over tasks"),
        ("recall_micro", "ordered", "random in order", as_one, "steps and order known, over all steps"),
        ("recall_unordered", "free", "random", by_task, "steps known, order not, mean over tasks"),
    )
    if only is not None:
        rows = [(f"{name}_silent", *how, as_one, f"{rule.split(',')[0]}, over all that are never spoken of")
                for name, *how, _, rule in (rows[0], rows[2])]  # fmt: skip
    results = []
    for name, ours, chance, groups, rule in rows:
        alone = {"bag of words": "bag of words, free"} if ours == "free" else {}
        known = {key: sums[alone.get(key, key)] for key in trivial.REGISTRY["localization"] if key in sums}
        beside = {key: _by_video(each * groups, present * groups, videos) for key, each in known.items()}
        protocol = setting.but(f"{size}; {rule}; chance: {chance}")
        mine, luck = (_by_video(sums[key] * groups, present * groups, videos) for key in (ours, chance))
        results.append(ratio_result(name, *mine, group_mean(*luck), protocol, beside=beside, **options))
    return results


def _column(each: Sequence[np.ndarray], kept: Sequence[np.ndarray]) -> np.ndarray:
    """Sums over the kept steps of each case, (n, 1)."""
    return np.array([(values * keep).sum() for values, keep in zip(each, kept, strict=True)], dtype=float)[:, None]


def _by_video(hits: np.ndarray, totals: np.ndarray, videos: list[str]) -> tuple[np.ndarray, np.ndarray]:
    return sum_by_video(hits, videos), sum_by_video(totals, videos)


def _step_iou(
    cases: list[Case], masks: list[np.ndarray], picks: dict, heard: Sequence[np.ndarray] | None, setting: Card,
    options: dict,
) -> Result:  # fmt: skip
    """Over all present steps. Chance: one second each, random but in order; trivial: K equal parts, in order."""
    kept = [i for i, m in enumerate(masks) if m.any()]
    sums: dict[str, list[float]] = {}
    for i in kept:
        case, mask = cases[i], masks[i]
        n_steps, n_seconds = mask.shape
        edges = np.arange(n_steps + 1) * n_seconds / n_steps
        single = _second_iou(case, mask)  # (K, T)
        row = {
            "": _best_iou(case, extents(case.scores, picks["ordered"][i])),
            "uniform in order": _best_iou(case, np.stack([edges[:-1], edges[1:]], 1)),
            "random in order": trivial.random_in_order_hits(single).sum(),
            "random": single.mean(1).sum(),
        }
        if "linear in time" in picks:
            row["linear in time"] = _hits(single, picks["linear in time"][i]).sum()
        if heard is not None:
            said = trivial.spoken_in_order(np.asarray(heard[i]))
            row["bag of words"] = _best_iou(case, extents(said, picks["bag of words"][i]))
        for name, value in row.items():
            sums.setdefault(name, []).append(value)
    totals, videos = np.array([masks[i].any(1).sum() for i in kept], float), [cases[i].video for i in kept]
    beside = {name: _by_video(np.array(values), totals, videos) for name, values in sums.items()}
    mine, chance = beside.pop(""), group_mean(*beside["random in order"])
    rule = (
        f"{int(totals.sum())} steps present in {len(kept)} videos; stretch around the second in which the step is best"
    )
    card = setting.but(f"{rule}; chance: one second, random in order")
    return ratio_result("step_tIoU", *mine, chance, card, beside=beside, **options)


def _best_iou(case: Case, spans: np.ndarray) -> float:
    """Sum over present steps of the largest IoU with an annotated interval; spans (K, 2)."""
    each = [tiou(np.asarray(own, float), span).max() for own, span in zip(map(list, case.intervals), spans, strict=True)
            if own]  # fmt: skip
    return float(np.sum(each))


def _second_iou(case: Case, mask: np.ndarray) -> np.ndarray:
    """(K, T): the best IoU with an annotated interval that each single second would have; 0 for absent steps."""
    seconds = np.stack([np.arange(mask.shape[1]), np.arange(mask.shape[1]) + 1], 1).astype(float)  # (T, 2)
    out = np.zeros(mask.shape)
    for k, own in enumerate(map(list, case.intervals)):
        if own:
            out[k] = tiou(np.asarray(own, float)[:, None], seconds).max(0)
    return out


def _masks(case: Case) -> np.ndarray:
    """(K, T) bool: the seconds in which each step happens."""
    try:
        n_seconds, n_steps = check_scores(case.scores).shape
        if n_seconds < n_steps:
            raise VcworkError(f"{n_steps} steps do not fit in order into {n_seconds} seconds")
        if len(case.intervals) != n_steps:
            raise VcworkError(f"expected intervals for {n_steps} steps, got {len(case.intervals)}")
        return np.array([inside(spans, n_seconds) for spans in case.intervals])
    except VcworkError as error:
        raise VcworkError(f"video {case.video}: {error}") from None


def _hits(mask: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    return mask[np.arange(len(mask)), seconds].astype(float)


def ladder(
    cases: Sequence[Case],
    everything: Sequence[np.ndarray],
    columns: Sequence[np.ndarray],
    *,
    setting: Card | str = "",
    n_boot: int = 1000,
    seed: int = 0,
) -> list[Result]:
    """The same scores with one privilege more on each rung, counted over all steps or seconds of all videos.

    everything: per video (T, C), its seconds against all C steps of the split; columns: per video (K,), where the
    case's own steps stand among them. The last rung also knows which steps occur, which CrossTask does not tell.
    """
    check_lengths(cases=cases, everything=everything, columns=columns)
    cases = [Case(*case) for case in cases]
    rows = [(c, _masks(c), w, np.asarray(at)) for c, w, at in zip(cases, everything, columns, strict=True)]
    rows = [row for row in rows if row[1].any()]
    if not rows:
        raise VcworkError("localization: no step of any video is annotated")
    occur = [(mask[mask.any(1)], case.scores[:, mask.any(1)]) for case, mask, _, _ in rows]
    rungs = {
        "seconds_named": [_named(wide, at, mask) for _, mask, wide, at in rows],
        "seconds_named_task": [_named(case.scores, np.arange(len(mask)), mask) for case, mask, _, _ in rows],
        "recall_one_second": [_found(m, localize_unordered(c.scores), trivial.random_hits(m)) for c, m, _, _ in rows],
        "recall_in_order": [_found(m, localize(c.scores), trivial.random_in_order_hits(m)) for c, m, _, _ in rows],
        "recall_steps_known": [_found(m, localize(s), trivial.random_in_order_hits(m)) for m, s in occur],
    }
    options, videos = {"n_boot": n_boot, "seed": seed}, [case.video for case, _, _, _ in rows]
    setting = as_card(setting)
    return [_rung(name, _RUNGS[name], counts, videos, setting, options) for name, counts in rungs.items()]


_RUNGS = {
    "seconds_named": "every second of a step is named among all steps of the split; chance: any of them",
    "seconds_named_task": "every second of a step is named among the steps of its task; chance: any of them",
    "recall_one_second": "task known, one second a step is enough; chance: any second",
    "recall_in_order": "task and order known, one second a step, in order; chance: random in order",
    "recall_steps_known": "task, order and which steps occur known, one second a step; chance: random in order",
}


def _named(scores: np.ndarray, columns: np.ndarray, mask: np.ndarray) -> tuple[float, float, float]:
    """Step seconds named right by the best of all columns, how many there are, and how many chance would name."""
    full = np.zeros(scores.T.shape, dtype=bool)  # (C, T)
    full[columns] = mask
    step = mask.any(0)
    right = full[check_scores(scores).argmax(1), np.arange(full.shape[1])]
    return right[step].sum(), step.sum(), full.mean(0)[step].sum()


def _found(mask: np.ndarray, seconds: np.ndarray, chance: np.ndarray) -> tuple[float, float, float]:
    """Steps hit, steps present, and how many of them chance (K,) would hit."""
    return _hits(mask, seconds).sum(), mask.any(1).sum(), chance.sum()


def _rung(name: str, rule: str, counts: list, videos: list, setting: Card, options: dict) -> Result:
    hits, totals, chance = (sum_by_video(column, videos) for column in np.array(counts, dtype=float).T)  # (V,) each
    protocol = setting.but(f"{len(hits)} videos; {rule}", task="localization ladder", interval="videos")
    return ratio_result(name, hits, totals, float(chance.sum() / totals.sum()), protocol, **options)
