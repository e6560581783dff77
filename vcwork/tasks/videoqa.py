"""Multiple-choice VideoQA as the paper plays it: a clip, five captions, pick the right one (video-to-text ranking).

It is not open question answering: nothing is asked. Easy choices come from other groups at random, hard ones from
the same video or recipe, where knowing the topic is worth nothing.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.measure import metrics, trivial
from vcwork.measure.card import BLANK, Card
from vcwork.measure.metrics import check_lengths
from vcwork.measure.result import Result, mean_result


def build_choices(
    groups: Sequence,
    n_choices: int = 5,
    seed: int = 0,
    *,
    hard: bool = False,
    near: Sequence[Sequence] = (),
) -> tuple[np.ndarray, np.ndarray]:
    """Candidate captions for every clip: (choices (N, C) indexes into the captions, answer (N,) position of i itself).

    groups (N,): what each caption says; the C - 1 wrong ones are of other groups and of different ones.
    hard=True takes wrong ones first from items that share a label of `near` (sequences (N,): videos, recipes),
    filled up at random. Raises VcworkError where there are fewer groups than choices.
    """
    groups = np.unique(np.asarray(groups), return_inverse=True)[1]
    if n_choices < 2 or groups.max(initial=-1) + 1 < n_choices:
        raise VcworkError(f"{n_choices} choices need as many different groups, got {groups.max(initial=-1) + 1}")
    if hard and not near:
        raise VcworkError("hard choices need `near`: the video or recipe of each item")
    near = [np.asarray(labels) for labels in near] if hard else []
    for labels in near:
        check_lengths(groups=groups, near=labels)
    rng = np.random.default_rng(seed)
    choices = np.array([_choices(i, groups, near, n_choices, rng) for i in range(len(groups))])
    order = rng.permuted(np.tile(np.arange(n_choices), (len(groups), 1)), axis=1)
    return np.take_along_axis(choices, order, 1), (order == 0).argmax(1)


def _choices(i: int, groups: np.ndarray, near: list[np.ndarray], n_choices: int, rng: np.random.Generator) -> list[int]:
    """i first, then wrong ones in random order, near ones before others, each of a new group."""
    order = rng.permutation(len(groups))
    if near:
        close = np.any([labels[order] == labels[i] for labels in near], axis=0)
        order = np.concatenate([order[close], order[~close]])
    order = order[groups[order] != groups[i]]
    first = np.sort(np.unique(groups[order], return_index=True)[1])[: n_choices - 1]
    return [i, *order[first].tolist()]


def evaluate(
    scores: np.ndarray,
    answer: Sequence[int],
    video_ids: Sequence,
    beside: Mapping[str, np.ndarray] | None = None,
    silent: np.ndarray | None = None,
    *,
    name: str = "qa_accuracy",
    ties: str = "expected",
    setting: Card = BLANK,
    **draws: int,
) -> list[Result]:
    """Accuracy; scores (N, C) of each clip's candidates, answer (N,) positions.

    beside: scores (N, C) of trivial predictors, by their name in `trivial.REGISTRY`; silent (N,) bool: clips of steps
    that are never spoken of, which get a row of their own. `vcwork.tasks.opponents` makes both.
    """
    answer, video_ids = np.asarray(answer), np.asarray(video_ids)
    hits, n_choices = metrics.choice_hits(scores, answer, ties), np.shape(scores)[1]
    trivial.registered("videoqa", beside or {})
    blind = {"constant score": trivial.constant(len(answer), n_choices)} | dict(beside or {})
    known = {key: metrics.choice_hits(each, answer, ties) for key, each in blind.items()}
    tied = metrics.place(scores, answer[:, None] == np.arange(n_choices)).n_ties
    rule = f"{n_choices} captions to choose from, one right"
    protocol = setting.but(rule, task="videoqa", pool=n_choices, ties=ties, tied=tied, interval="videos")
    chance = 1 / n_choices
    results = [mean_result(name, hits, video_ids, chance, protocol, beside=known, **draws)]
    if silent is not None and len(np.unique(video_ids[silent])) > 1:
        own, some = protocol.but("steps never spoken of in their video"), {k: v[silent] for k, v in known.items()}
        results.append(
            mean_result(f"{name}_silent", hits[silent], video_ids[silent], chance, own, beside=some, **draws)
        )
    return results
