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
from vcwork.measure.card import BLANK, Card
from vcwork.measure.intervals import sum_by_video
from vcwork.measure.metrics import Intervals, check_lengths, check_scores, inside, tiou
from vcwork.measure.result import Result, group_mean, ratio_result

EQUAL = "of equal seconds the first; in order, the last step takes the video's last"  # as the reference code does
CELLS = 1 << 20  # seconds times states of the videos that `ordered_seconds` decodes together: 9 MB


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
    return localize_all([scores])[0]


def localize_all(scores: Sequence[np.ndarray]) -> list[np.ndarray]:
    """`localize` of many videos at once, (T, K) each, which is far quicker than one by one and gives the same."""
    return ordered_seconds([-log_softmax(each) for each in scores])


def localize_unordered(scores: np.ndarray) -> np.ndarray:
    """The best second of each step on its own, (T, K) -> (K,): log softmax over steps, then the first maximum."""
    return log_softmax(scores).argmax(0)


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


def ordered_seconds(costs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Seconds t_1 < ... < t_K of least total cost[t_k, k]; of each video a cost (T, K) -> (K,).

    States 0..2K: odd ones are steps (exactly one second), even ones the background around them (any length, free).
    A state is reached by staying (background only), from the state before, or, for a step, from the step before;
    of equal ones the first named wins: each step takes the first of equal seconds, the last step the video's last where
    that is one. Sums in float64. Videos go through together, as many as `CELLS` hold, longest first: so those that are
    not over at a second are the first ones. VcworkError where T < K, or where every way costs infinity.
    """
    costs = [check_scores(cost, "cost") for cost in costs]
    for n_seconds, n_steps in (cost.shape for cost in costs):
        if n_seconds < n_steps:
            raise VcworkError(f"{n_steps} steps do not fit in order into {n_seconds} seconds")
    order = sorted(range(len(costs)), key=lambda i: -len(costs[i]))
    states = 2 * max((cost.shape[1] for cost in costs), default=0) + 1
    found: dict[int, np.ndarray] = {}
    while len(found) < len(order):
        rest = order[len(found) :]
        part = rest[: max(1, CELLS // (states * len(costs[rest[0]])))]
        found |= zip(part, _ordered([costs[i] for i in part]), strict=True)
    return [found[i] for i in range(len(costs))]


def _ordered(costs: list[np.ndarray]) -> list[np.ndarray]:
    """`ordered_seconds` of videos of which none is longer than the one before it."""
    lengths, steps = np.array([cost.shape for cost in costs]).T  # (V,) each
    local = np.zeros((lengths[0], len(costs), 2 * steps.max() + 1))  # (T, V, S): a video's own states come first
    for v, cost in enumerate(costs):
        local[: len(cost), v, 1 : 2 * steps[v] : 2] = cost
    going_on = (lengths > np.arange(lengths[0])[:, None]).sum(1)  # (T,) videos that have a second t
    best, back = np.full(local.shape[1:], np.inf), np.zeros(local.shape, np.int8)
    best[:, 0], best[:, 1] = 0, local[0, :, 1]
    for t, n in enumerate(going_on[1:], 1):
        best[:n], back[t, :n] = _next(best[:n])
        best[:n] += local[t, :n]
    rows, last = np.arange(len(costs)), 2 * steps
    state = np.where(best[rows, last] < best[rows, last - 1], last, last - 1)  # (V,)
    if np.isinf(best[rows, state]).any():
        raise VcworkError("expected seconds in order that the steps can have, got costs that are infinite on every way")
    seconds = np.zeros((len(costs), steps.max()), int)
    for t in range(len(local) - 1, -1, -1):
        mine = rows[: going_on[t]]
        step = mine[state[mine] % 2 == 1]
        seconds[step, state[step] // 2] = t
        state[mine] -= back[t, mine, state[mine]]
    return [row[:k] for row, k in zip(seconds, steps, strict=True)]


def _next(best: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least cost of coming into each state, (V, S), and from where: 0 stayed, 1 the state, 2 the step before."""
    stay, before = best.copy(), np.full(best.shape, np.inf)
    stay[:, 1::2] = np.inf  # a step is one second
    before[:, 1:] = best[:, :-1]
    back, least = (before < stay).astype(np.int8), np.minimum(stay, before)
    two_before = best[:, 1:-2:2]  # of each step but the first
    back[:, 3::2][two_before < least[:, 3::2]] = 2
    least[:, 3::2] = np.minimum(least[:, 3::2], two_before)
    return least, back


def log_softmax(scores: np.ndarray) -> np.ndarray:
    """Of each second over the K steps, (T, K) -> (T, K); of a step alone, whose share is always 1, its scores."""
    scores = check_scores(scores)
    if scores.shape[1] == 1:
        return scores
    shifted = scores - scores.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def evaluate(
    cases: Sequence[Case],
    prior: tuple[float, float] | None = None,
    heard: Sequence[np.ndarray] | None = None,
    silent: Sequence[np.ndarray] | None = None,
    *,
    raw: bool = False,
    setting: Card = BLANK,
    **draws: int,
) -> list[Result]:
    """Recall of steps that are present: mean over tasks, over all steps (micro), and without knowing the order; then
    `step_tIoU`, the IoU of each present step's stretch (`extents` of the ordered seconds) with its best interval.

    Chance deals K random seconds out in order (for the unordered recall: any second). Trivial: uniform in order; with
    `prior`, from `trivial.fit_linear_in_time`, linear in time; with `heard`, each case's scores (T, K) by what is said,
    those through the same decoding. silent, per case (K,) bool: steps never spoken of, which get recalls of their own.
    raw: scores are taken as they are, for minus CrossTask's costs, and no softmax over a video's steps is made of them.
    `vcwork.tasks.opponents.of_localization` makes the three. Raises VcworkError naming a video that is wrong.
    """
    cases = [Case(*case) for case in cases]
    if not cases:
        raise VcworkError("localization: no videos to score")
    masks = [_mask(case) for case in cases]
    cases = [case._replace(scores=check_scores(case.scores)) for case in cases] if raw else _normalised(cases)
    said = [trivial.spoken_in_order(np.asarray(each)) for each in heard] if heard is not None else None
    picks, present = _picks(cases, prior, said), [m.any(1) for m in masks]
    each = (case.scores for case in cases)
    tied = sum(int(((s == s.max(0)).sum(0) > 1).sum()) for s in each)  # steps whose best second is not the only one
    card = setting.but(EQUAL, tied=tied, task="localization", interval="videos")
    hits = _hits(masks, picks)
    results = _recalls(cases, present, hits, card, draws)
    results.append(_step_iou(cases, masks, picks, said, card, draws))
    if silent is not None:
        quiet = [there & np.asarray(never) for there, never in zip(present, silent, strict=True)]
        results += _recalls(cases, quiet, hits, card, draws, silent=True) if any(map(np.any, quiet)) else []
    return results


def _normalised(cases: Sequence[Case]) -> list[Case]:
    return [case._replace(scores=log_softmax(case.scores)) for case in cases]


def _mask(case: Case) -> np.ndarray:
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


Picks = dict[str, list[np.ndarray]]  # by predictor: of each case the seconds of its steps, or what they earn, (K,)


def _picks(cases: list[Case], prior: tuple[float, float] | None = None, said: list[np.ndarray] | None = None) -> Picks:
    """The seconds of each case's steps, in order, each alone, and as those say who know the order or the words.

    cases: their scores are what is summed up, so logs of a softmax."""
    shapes = [case.scores.shape[::-1] for case in cases]
    picks = {
        "ordered": ordered_seconds([-case.scores for case in cases]),
        "free": [case.scores.argmax(0) for case in cases],
        "uniform in order": [trivial.uniform_in_order(*shape) for shape in shapes],
    }
    if prior is not None:
        picks["linear in time"] = [trivial.linear_in_time(*shape, prior) for shape in shapes]
    if said is not None:
        picks["bag of words"] = localize_all(said)
        picks["bag of words, free"] = [localize_unordered(each) for each in said]
    return picks


def _hits(earns: list[np.ndarray], picks: Picks) -> Picks:
    """What each step earns by its second, exactly or on average; earns (K, T) of each case."""
    each_step = lambda values, seconds: values[np.arange(len(values)), seconds].astype(float)  # noqa: E731
    hits = {name: [each_step(*row) for row in zip(earns, each, strict=True)] for name, each in picks.items()}
    hits["random in order"] = [trivial.random_in_order_hits(values) for values in earns]
    return hits | {"random": [trivial.random_hits(values) for values in earns]}


def _recalls(
    cases: list[Case], present: list[np.ndarray], hits: Picks, card: Card, draws: dict[str, int], silent: bool = False
) -> list[Result]:
    """The three recalls of the steps `present` (K,) in each case; of silent ones two, over all of them."""
    if not any(map(np.any, present)):
        raise VcworkError("localization: no step of any video is annotated")
    tasks = np.array([case.task for case in cases])
    groups = (tasks[:, None] == np.unique(tasks)).astype(float)  # (n, G)
    free = hits | {"bag of words": hits["bag of words, free"]} if "bag of words" in hits else hits
    known, alone = (hits, "ordered", "random in order"), (free, "free", "random")
    rows = [
        ("recall", *known, groups, "steps and order known, mean over tasks"),
        ("recall_micro", *known, None, "steps and order known, over all steps"),
        ("recall_unordered", *alone, groups, "steps known, order not, mean over tasks"),
    ]
    if silent:
        rule = "over all that are never spoken of"
        rows = [("recall_silent", *known, None, f"steps and order known, {rule}"),
                ("recall_unordered_silent", *alone, None, f"steps known, {rule}")]  # fmt: skip
    card = card.but(f"{_many(present, cases)} of {groups.shape[1]} tasks")
    return [_share(name, cases, present, earned, (ours, chance), card.but(f"{rule}; chance: {chance}"), draws, by)
            for name, earned, ours, chance, by, rule in rows]  # fmt: skip


def _many(present: list[np.ndarray], cases: list[Case]) -> str:
    return f"{sum(int(each.sum()) for each in present)} steps present in {len(cases)} videos"


def _share(
    name: str, cases: list[Case], present: list[np.ndarray], earned: Picks, who: tuple[str, str], card: Card,
    draws: dict[str, int], groups: np.ndarray | None = None, opponents: bool = True,
) -> Result:  # fmt: skip
    """What is earned of all that is present (K,) in each case, by the first of `who`; by the second it is chance."""
    groups, videos = np.ones((len(cases), 1)) if groups is None else groups, [case.video for case in cases]

    def by_video(each: list[np.ndarray]) -> np.ndarray:  # (V, G)
        sums = [[float((values * there).sum())] for values, there in zip(each, present, strict=True)]
        return sum_by_video(np.array(sums) * groups, videos)

    totals = by_video(present)
    mine, luck = (by_video(earned[key]) for key in who)
    known = [key for key in trivial.REGISTRY["localization"] if key in earned and opponents]
    beside = {key: (by_video(earned[key]), totals) for key in known}
    return ratio_result(name, mine, totals, group_mean(luck, totals), card, beside=beside, **draws)


def _step_iou(
    cases: list[Case], masks: list[np.ndarray], picks: Picks, said: list[np.ndarray] | None, card: Card,
    draws: dict[str, int],
) -> Result:  # fmt: skip
    """Over all present steps. Chance: one second each, random but in order; trivial: K equal parts, in order."""
    kept = [i for i, m in enumerate(masks) if m.any()]
    cases, masks = [cases[i] for i in kept], [masks[i] for i in kept]
    picks = {name: [each[i] for i in kept] for name, each in picks.items()}
    spans = {"ordered": [extents(case.scores, at) for case, at in zip(cases, picks["ordered"], strict=True)]}
    edges = [np.arange(len(m) + 1) * m.shape[1] / len(m) for m in masks]
    spans["uniform in order"] = [np.stack([each[:-1], each[1:]], 1) for each in edges]
    if said is not None:
        heard = zip([said[i] for i in kept], picks["bag of words"], strict=True)
        spans["bag of words"] = [extents(*each) for each in heard]
    line = {name: each for name, each in picks.items() if name == "linear in time"}
    earned = _hits([_second_iou(case, m) for case, m in zip(cases, masks, strict=True)], line)
    earned |= {name: [_best_iou(*row) for row in zip(cases, each, strict=True)] for name, each in spans.items()}
    present = [m.any(1) for m in masks]
    rule = "stretch around the second in which the step is best; chance: one second, random in order"
    rule = f"{_many(present, cases)}; {rule}"
    return _share("step_tIoU", cases, present, earned, ("ordered", "random in order"), card.but(rule), draws)


def _best_iou(case: Case, spans: np.ndarray) -> np.ndarray:
    """The largest IoU of each step's span with one of its annotated intervals; spans (K, 2) -> (K,), 0 where absent."""
    return np.array([tiou(np.asarray(own, float), span).max() if own else 0.0
                     for own, span in zip(map(list, case.intervals), spans, strict=True)])  # fmt: skip


def _second_iou(case: Case, mask: np.ndarray) -> np.ndarray:
    """(K, T): the best IoU with an annotated interval that each single second would have; 0 for absent steps."""
    seconds = np.stack([np.arange(mask.shape[1]), np.arange(mask.shape[1]) + 1], 1).astype(float)  # (T, 2)
    out = np.zeros(mask.shape)
    for k, own in enumerate(map(list, case.intervals)):
        if own:
            out[k] = tiou(np.asarray(own, float)[:, None], seconds).max(0)
    return out


def ladder(
    cases: Sequence[Case],
    everything: Sequence[np.ndarray],
    columns: Sequence[np.ndarray],
    *,
    setting: Card = BLANK,
    **draws: int,
) -> list[Result]:
    """The same scores with one privilege more on each rung, counted over all steps or seconds of all videos.

    everything: per video (T, C), its seconds against all C steps of the split; columns: per video (K,), where the
    case's own steps stand among them. The last rung also knows which steps occur, which CrossTask does not tell.
    """
    check_lengths(cases=cases, everything=everything, columns=columns)
    cases = [Case(*case) for case in cases]
    rows = [(c, _mask(c), w, np.asarray(at)) for c, w, at in zip(cases, everything, columns, strict=True)]
    rows = [row for row in rows if row[1].any()]
    if not rows:
        raise VcworkError("localization: no step of any video is annotated")
    cases, masks, wide, columns = ([*column] for column in zip(*rows, strict=True))
    own = [np.arange(len(mask)) for mask in masks]
    occur = [m.any(1) for m in masks]
    known = [case._replace(scores=case.scores[:, there]) for case, there in zip(cases, occur, strict=True)]
    left = [m[there] for m, there in zip(masks, occur, strict=True)]
    hits, free, ordered = _hits(masks, _picks(_normalised(cases))), ("free", "random"), ("ordered", "random in order")
    rungs = (
        ("seconds_named", "every second of a step is named among all steps of the split; chance: any of them",
         *_named(wide, columns, masks), ordered),
        ("seconds_named_task", "every second of a step is named among the steps of its task; chance: any of them",
         *_named([case.scores for case in cases], own, masks), ordered),
        ("recall_one_second", "task known, one second a step is enough; chance: any second", occur, hits, free),
        ("recall_in_order", "task and order known, one second a step, in order; chance: random in order",
         occur, hits, ordered),
        ("recall_steps_known",
         "task, order and which steps occur known, one second a step; chance: random in order",
         [m.any(1) for m in left], _hits(left, _picks(_normalised(known))), ordered),
    )  # fmt: skip
    card = setting.but(f"{len({c.video for c in cases})} videos", task="localization ladder", interval="videos")
    return [_share(name, cases, *rung, card.but(rule), draws, opponents=False) for name, rule, *rung in rungs]


def _named(scores: list, columns: list, masks: list[np.ndarray]) -> tuple[list[np.ndarray], Picks]:
    """Which seconds (T,) of each case belong to a step; whether the best of all columns is it, and how often by chance.

    scores (T, C) and columns (K,), where the case's own steps stand among the C.
    """
    named: Picks = {"ordered": [], "random in order": []}
    for each, own, mask in zip(scores, columns, masks, strict=True):
        full = np.zeros(each.T.shape, dtype=bool)  # (C, T)
        full[own] = mask
        named["ordered"].append(full[check_scores(each).argmax(1), np.arange(full.shape[1])])
        named["random in order"].append(full.mean(0))
    return [mask.any(0) for mask in masks], named
