"""What a benchmark pays to someone who never looks at a video: ceilings, priors and shares from its annotations alone.

Each function takes plain lists (see `vcwork.review.annotated` for where they come from) and returns `Result`s
whose card names the task "annotations": the value is what a rule without any content scores, chance what a random one
does. A system's number on that benchmark means what it adds to these. Nothing here needs a model or a feature.
Gap: intervals over videos describe the sample of videos, not how another team would have annotated them.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from vcwork.base.errors import VcworkError
from vcwork.measure import metrics, trivial
from vcwork.measure.card import Card
from vcwork.measure.intervals import sum_by_video
from vcwork.measure.metrics import check_lengths, inside, truth_labels
from vcwork.measure.result import Result, mean_result, ratio_result
from vcwork.review.annotated import Annotations, Clips, Located, Moments, Segmented
from vcwork.tasks import didemo
from vcwork.tasks.segmentation import frame_results, text_gamma

TASK = "annotations"
KS, WINDOW_S = (1, 5), 32

# -------------------------------------------------------------------------------------------------- retrieval


def known_hits(labels: Sequence, k: int) -> np.ndarray:
    """R@k of each query (N,) for someone who knows only the label of what is searched: min(1, k / items with it).

    With the texts as labels this is the ceiling of every model, because two clips with one text cannot be told apart;
    with videos or recipes as labels it is what knowing the video or the recipe alone is worth.
    """
    if k < 1 or not len(labels):
        raise VcworkError(f"expected k of at least 1 and some labels, got {k} and {len(labels)}")
    size = Counter(labels)
    return np.array([min(1.0, k / size[label]) for label in labels])


def retrieval(clips: Clips, name: str, *, setting: str = "", n_boot: int = 1000, seed: int = 0) -> list[Result]:
    """What knowing the text, the video or the recipe alone scores among all clips.

    Named `<name>_ceiling_R@k` (the text: no model can do better), `<name>_video_known_R@k`, `<name>_recipe_known_R@k`.
    The first result's extra: distinct_texts, queries_sharing_a_text, clips_a_video, and longer_than_32_s where the
    clips have times. Labels that are missing, or different for every clip, are left out.
    """
    n = check_lengths(texts=clips.texts, videos=clips.videos)
    labels = {"text": clips.texts, "video": clips.videos, "recipe": clips.recipes}
    used = {what: each for what, each in labels.items() if len(each) == n and (what == "text" or len(set(each)) < n)}
    card = Card(TASK, setting or name, f"text to clip, {n} queries", n, ties="expected", interval="videos")
    results = []
    for what, each in used.items():
        rule = card.but(f"only the {what} is known" + ("; no model can do better" if what == "text" else ""))
        label = f"{name}_ceiling" if what == "text" else f"{name}_{what}_known"
        for k in KS:
            hits, chance = known_hits(each, k), metrics.chance_recall_at_k(n, k)
            results.append(mean_result(f"{label}_R@{k}", hits, clips.videos, chance, rule, n_boot=n_boot, seed=seed))
    results[0].extra.update(_described(clips))
    return results


def tie_rules(scores: np.ndarray) -> dict[str, float]:
    """R@1 of a square (Q, Q) under each tie rule and by the reference code's metric, with what that one divides by.

    Without ties all are one number and the denominator is Q; constant scores make Q * Q "queries" of Q.
    """
    found = {ties: metrics.recall_at_k(scores, 1, ties=ties) for ties in metrics.TIES}
    found["reference"] = metrics.recall_at_k(scores, 1, ties=metrics.REFERENCE)
    return found | {"denominator": int(metrics.place(scores).tied.sum()), "queries": len(scores)}


def _described(clips: Clips) -> dict[str, float]:
    copies = Counter(clips.texts)
    out = {
        "distinct_texts": len(copies),
        "queries_sharing_a_text": sum(n for n in copies.values() if n > 1),
        "clips_a_video": len(clips.texts) / len(set(clips.videos)),
    }
    if len(clips.durations_s):
        out[f"longer_than_{WINDOW_S}_s"] = float(np.mean(np.asarray(clips.durations_s) > WINDOW_S))
    return out


# --------------------------------------------------------------------------------------------- DiDeMo's moments


def moments(
    found: Moments, name: str = "didemo", *, setting: str = "", n_boot: int = 1000, seed: int = 0
) -> list[Result]:
    """rank1, rank5 and mIoU of the moment frequencies of `found.fit`, over `found.times`; see `tasks.didemo`.

    Without sentences to fit on, each video has the frequencies of all others.
    Trivial: the benchmark's list order, which is what equal scores earn under ties by list.
    """
    check_lengths(times=found.times, videos=found.videos)
    own = {video: 0.0 for video in found.videos}  # what is taken off again for a video
    if not found.fit:
        for times, video in zip(found.times, found.videos, strict=True):
            own[video] = own[video] + didemo.fit_moment_frequency([times])
    prior = didemo.fit_moment_frequency(found.fit or found.times)
    cases = [didemo.Case(prior - own[video], times, video)
             for times, video in zip(found.times, found.videos, strict=True)]  # fmt: skip
    others = f"{len(found.fit)} other sentences" if found.fit else "the other videos' sentences"
    card = Card(TASK, setting or name, f"moment frequency of {others}")
    results = didemo.evaluate_moments(cases, setting=card, n_boot=n_boot, seed=seed)
    return [_renamed(r, f"{name}_prior_{r.name.removeprefix('moment_')}") for r in results]


def _renamed(r: Result, name: str) -> Result:
    return replace(r, name=name, protocol=r.protocol.but(task=TASK))


# ---------------------------------------------------------------------------------------------- segmentation


def truths(videos: Segmented, round_up: bool = True) -> list[np.ndarray]:
    """Label of every second of each video: 0, or the step's id, which is a number in COIN.

    Lengths by ceil, or by floor. Segments cover [floor(start), ceil(end)), later ones on top.
    """
    index = {step: int(step) - 1 for each in videos.segments for _, _, step in each}
    whole = math.ceil if round_up else math.floor
    return [truth_labels(each, index, whole(s)) for each, s in zip(videos.segments, videos.durations_s, strict=True)]


def segmentation(
    videos: Segmented, name: str = "coin", *, setting: str = "", n_boot: int = 1000, seed: int = 0
) -> list[Result]:
    """Frame accuracy of silence, of relative time, and of the task's name with relative time.

    Named `<name>_all_background` (extra: labels, distinct_labels_share), `<name>_all_background_floor` (video lengths
    rounded down), `<name>_relative_time`, `<name>_task_and_time`, and of the last `..._foreground_recall` and
    `..._class_mean_recall`. The priors are fitted on `training` videos and scored on the others; without any, silence
    is all there is.
    """
    n = check_lengths(segments=videos.segments, durations_s=videos.durations_s, training=videos.training)
    fit, test = ([i for i in range(n) if bool(videos.training[i]) is trained] for trained in (True, False))
    if len(test) < 2:
        raise VcworkError(f"{name}: expected at least 2 videos that are not for training, got {len(test)}")
    labels, shorter = truths(videos), truths(videos, round_up=False)
    truth, short, ids = ([each[i] for i in test] for each in (labels, shorter, videos.ids))
    guesses = {  # predicted, truth, what else the card says
        "all_background": (_silence(truth), truth, ""),
        "all_background_floor": (_silence(short), short, "lengths cut"),
    }
    for key, said in by_time(videos, labels, fit, test).items():
        guesses[key.replace(" ", "_")] = said, truth, ""
    results, options = [], {"n_boot": n_boot, "seed": seed}
    for key, (predicted, true, more) in guesses.items():
        card = Card(TASK, setting or name, f"{len(test)} videos", interval="videos").but(more)
        card = card.but(f"{sum(map(len, true))} seconds; chance: the same labels at random seconds")
        rows = frame_results(predicted, true, ids, {"all background": _silence(true)}, card, options)
        found = {r.name: r for r in rows}
        results.append(_renamed(found["frame_accuracy"], f"{name}_{key}"))
    for metric in ("foreground_recall", "class_mean_recall") if fit else ():
        results.append(_renamed(found[metric], f"{name}_task_and_time_{metric}"))
    if videos.labels:
        texts = list(videos.labels.values())
        results[0].extra.update(labels=len(texts), distinct_labels_share=len(set(texts)) / len(texts))
    return results


def by_time(
    videos: Segmented, labels: Sequence[np.ndarray], fit: Sequence[int], test: Sequence[int]
) -> dict[str, list[np.ndarray]]:
    """What training videos `fit` say of the `test` ones, as `trivial.by_time` has it; labels (T,) of all videos."""
    known, asked = ([videos.tasks[i] for i in some] for some in (fit, test))
    return trivial.by_time([labels[i] for i in fit], known, [len(labels[i]) for i in test], asked)


def _silence(truth: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [trivial.all_background(len(t)) for t in truth]


def gamma_with_repeats(labels: dict[str, str]) -> tuple[float, float, float]:
    """The paper's gamma for label texts as made-up vectors, a random one of length about 1 for each *text*.

    Returns (gamma with the repeats kept, as the reference code does; gamma without; the largest score any of 1000
    seconds gets, each a text's vector plus noise as long as itself). Where a text repeats, the first is a text's
    similarity with itself.
    """
    rng, texts, width = np.random.default_rng(0), list(labels.values()), 64
    vector = {text: rng.normal(size=width) / math.sqrt(width) for text in dict.fromkeys(texts)}
    rows = np.stack([vector[text] for text in texts])  # (K, D)
    seconds = 0.5 * rows[rng.integers(len(rows), size=1000)] + 0.5 * rng.normal(size=(1000, width)) / math.sqrt(width)
    return text_gamma(rows, naive=True), text_gamma(rows, texts), float((seconds @ rows.T).max())


# ---------------------------------------------------------------------------------------------- localization


def localization(
    videos: Located, name: str = "crosstask", *, setting: str = "", n_boot: int = 1000, seed: int = 0
) -> list[Result]:
    """Recall, mean over tasks, of `<name>_uniform_in_order` and `<name>_random_in_order`; chance: any second.

    Videos with fewer seconds than steps are left out; the card counts them. Random ones are exact expectations.
    """
    check_lengths(intervals=videos.intervals, durations_s=videos.durations_s, tasks=videos.tasks, ids=videos.ids)
    masks = [np.array([inside(spans, math.ceil(s)) for spans in each])
             for each, s in zip(videos.intervals, videos.durations_s, strict=True)]  # fmt: skip
    keep = [i for i, m in enumerate(masks) if m.shape[1] >= m.shape[0] and m.any()]
    if len(keep) < 2:
        raise VcworkError(f"{name}: expected at least 2 videos with annotated steps, got {len(keep)}")
    masks, tasks, ids = ([each[i] for i in keep] for each in (masks, videos.tasks, videos.ids))
    groups = np.array(tasks)[:, None] == np.unique(tasks)  # (V, G)
    present = np.array([m.any(1).sum() for m in masks])[:, None] * groups
    rules: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "uniform in order": lambda m: m[np.arange(len(m)), trivial.uniform_in_order(*m.shape)],
        "random in order": trivial.random_in_order_hits,
        "random": trivial.random_hits,
    }
    hits = {key: np.array([rule(m).sum() for m in masks])[:, None] * groups for key, rule in rules.items()}
    total = {key: float(np.mean(h.sum(0) / present.sum(0))) for key, h in hits.items()}
    left = len(videos.ids) - len(keep)
    rule = f"recall of {int(present.sum())} steps, mean over {groups.shape[1]} tasks; chance: any second"
    card = Card(TASK, setting or name, rule, missing=(left, len(videos.ids)), interval="videos")
    results = []
    for key in ("uniform in order", "random in order"):
        others = {other: total[other] for other in ("random in order",) if other != key}
        parts = sum_by_video(hits[key], ids), sum_by_video(present, ids)
        label, rule = f"{name}_{key.replace(' ', '_')}", card.but(videos.note)
        results.append(ratio_result(label, *parts, total["random"], rule, trivial=others, n_boot=n_boot, seed=seed))
    return results


# ------------------------------------------------------------------------------------------------- everything


MADE_UP = "made_up_"


def everything(found: Annotations, *, n_boot: int = 1000, seed: int = 0) -> list[Result]:
    """All of the above for every benchmark that is there, names beginning with the benchmark's.

    Made-up annotations put `MADE_UP` before every name, so that no table takes them for the benchmark.
    """
    makers: dict[str, Callable[..., list[Result]]] = {
        "youcook2": retrieval, "msrvtt": retrieval, "didemo": moments, "coin": segmentation, "crosstask": localization,
    }  # fmt: skip
    options, prefix = {"n_boot": n_boot, "seed": seed}, MADE_UP * found.made_up
    results = []
    for name in found.found():
        results += makers[name](getattr(found, name), prefix + name, setting=found.splits[name], **options)
    return results
