"""Figures: functions that take an Axes and arrays, draw, and return the Axes. Matplotlib only.

`figure` makes small ones that keep labels inside. Colours are Okabe and Ito's, safe for colour-blind readers (their
yellow, too pale on white, gave way to a wine red); maps of numbers use cividis. Axes carry units.
A picture convinces nobody alone: print the number it should show beside it.
"""

import base64
import io
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from vcwork.base.errors import VcworkError
from vcwork.measure.metrics import check_scores
from vcwork.measure.result import Result
from vcwork.panels.alternative import told_in_notebooks
from vcwork.training.switchboard import Effect, name_of

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#882255", "#000000")
MARKERS = "osD^vPX*"
STROKES = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (6, 2, 1, 2)))  # of curves, so that none is told by its colour alone
GREY, LIGHT, SMALL = "#7f7f7f", "#d9d9d9", 8
MAP = "cividis"
DOSED = {"lag": "seconds late", "noise": "share of words", "background": "share of seconds"}
SIDES = ("left", "right", "top", "bottom")
plt.rcParams["text.usetex"] = False  # LaTeX is a program, and a matplotlibrc beside somebody's films may ask for it
plt.rcParams["text.parse_math"] = False  # names of files and words that are said may hold a dollar sign, or two


def figure(width: float = 6.5, height: float = 3.0, rows: int = 1, columns: int = 1, **more: Any) -> tuple[Figure, Any]:
    """A figure and its Axes (an array of them for several rows or columns); the layout keeps labels inside."""
    made = plt.subplots(rows, columns, figsize=(width, height), layout="constrained", dpi=100, **more)
    told_in_notebooks()  # after the first figure, at which matplotlib's own way to show one is set up
    return made


def colour(i: int) -> str:
    """The i-th colour of the palette, starting again after eight."""
    return COLOURS[i % len(COLOURS)]


def finish(
    ax: Axes, title: str = "", xlabel: str = "", ylabel: str = "", keep: Sequence[str] = ("left", "bottom")
) -> Axes:
    """Title, labels and a legend outside the data, where something is named; `keep`: the sides of the frame to draw."""
    for side, spine in ax.spines.items():
        spine.set_visible(side in keep)
    legend(ax)
    ax.set_title(title, fontsize=SMALL + 2)
    ax.set_xlabel(xlabel, fontsize=SMALL + 1)
    ax.set_ylabel(ylabel, fontsize=SMALL + 1)
    ax.tick_params(labelsize=SMALL)
    return ax


def legend(ax: Axes) -> None:
    """A legend outside the data, right of it."""
    if ax.get_legend_handles_labels()[0]:
        at = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.02), "borderaxespad": 0}
        ax.legend(fontsize=SMALL, frameon=False, handlelength=1.5, **at)


def scale(ax: Axes, image: Any, label: str) -> None:
    """What the colours of an image mean."""
    bar = ax.figure.colorbar(image, ax=ax, pad=0.01, fraction=0.04)
    bar.set_label(label, fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL - 1)


def ink_on(i: int) -> str:
    """What can be read on the i-th colour."""
    return "black" if sum(to_rgb(colour(i))) > 1.4 else "white"


def blank(ax: Axes, text: str, **more: Any) -> Axes:
    """An Axes with nothing to draw, and why."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, text, ha="center", va="center", **more)
    return ax


def empty(text: str) -> Figure:
    """A figure of a panel that has nothing to draw, and why."""
    fig, ax = figure(6, 1)
    blank(ax, text, wrap=True)
    return fig


def png(fig: Figure, dpi: int) -> str:
    """The figure as a PNG in base64; it is closed. A sign that no font here has is an empty box."""
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        fig.savefig(out, format="png", dpi=dpi)
    plt.close(fig)
    return base64.b64encode(out.getvalue()).decode()


def short(text: str, width: int = 36) -> str:
    """The text on one line of at most `width` characters, cut between words."""
    return textwrap.shorten(str(text), width, placeholder=" …")


# --------------------------------------------------------------------------------------------- over time


def similarity_heatmap(
    ax: Axes,
    scores: np.ndarray,
    names: Sequence[str],
    truth: Sequence[tuple[float, float, int]] = (),
    chosen: Sequence[float] | None = None,
    title: str = "",
    label: str = "score (dot product)",
) -> Axes:
    """Scores of K steps over T seconds, (K, T); truth: (start_s, end_s, row) framed; chosen (K,): a dot in each row."""
    scores = check_scores(scores)
    if len(names) != len(scores):
        raise VcworkError(f"expected {len(scores)} step names, got {len(names)}")
    k, t = scores.shape
    image = ax.imshow(scores, aspect="auto", cmap=MAP, interpolation="nearest", extent=(0, t, k - 0.5, -0.5))
    for start, end, row in truth:
        ax.add_patch(Rectangle((start, row - 0.46), end - start, 0.92, fill=False, edgecolor="black", lw=2.6))
        ax.add_patch(Rectangle((start, row - 0.46), end - start, 0.92, fill=False, edgecolor="white", lw=1.3))
    if chosen is not None:
        ax.scatter(np.asarray(chosen) + 0.5, range(k), s=26, color=COLOURS[5], edgecolor="white", lw=0.8, zorder=3)
    ax.set_yticks(range(k), [short(name) for name in names])
    scale(ax, image, label)
    ax.set_xlim(0, t)
    return finish(ax, title, "time in the video (s)", keep=SIDES)


def timeline(
    ax: Axes,
    lanes: Mapping[str, Sequence[tuple[float, float, str]]],
    duration_s: float | None = None,
    title: str = "",
) -> Axes:
    """Segments (start_s, end_s, label) in lanes, such as truth and prediction; one colour and number for each label."""
    labels = list(dict.fromkeys(label for lane in lanes.values() for _, _, label in lane))
    end_s = duration_s or max((end for lane in lanes.values() for _, end, _ in lane), default=1)
    for row, lane in enumerate(lanes.values()):
        ax.add_patch(Rectangle((0, row - 0.38), end_s, 0.76, color="#f3f3f3", lw=0))
        for start, end, label in lane:
            i = labels.index(label)
            ax.barh(
                row, end - start, 0.76, start, color=colour(i), edgecolor="white", lw=0.8, label=_first(ax, i, label)
            )
            if end - start > 0.03 * end_s:
                ax.text((start + end) / 2, row, str(i + 1), ha="center", va="center", fontsize=SMALL, color=ink_on(i))
    ax.set_yticks(range(len(lanes)), list(lanes))
    ax.set_ylim(len(lanes) - 0.5, -0.5)
    ax.set_xlim(0, end_s)
    return finish(ax, title, "time in the video (s)", keep=("bottom",))


def pair_spans(
    ax: Axes,
    pairs: Sequence[Any],
    truth: Sequence[tuple[float, float, str]] = (),
    duration_s: float | None = None,
    title: str = "",
) -> Axes:
    """Positive pairs of one video as two bars each, text above video; true steps (start_s, end_s, label) shaded."""
    end_s = duration_s or max(p.video_end for p in pairs)
    for i, (start, end, label) in enumerate(truth):
        ax.axvspan(start, end, color=LIGHT, alpha=0.6, lw=0, label="a step happens" if i == 0 else None)
        ax.text((start + end) / 2, -0.88, label, ha="center", va="top", fontsize=SMALL)
    for row, pair in enumerate(pairs):
        spans = {"text clip": (pair.text_start_s, pair.text_end_s), "video clip": (pair.video_start, pair.video_end)}
        for i, (name, (start, end)) in enumerate(spans.items()):
            ax.barh(row - 0.19 + 0.38 * i, end - start, 0.34, start, color=colour(i), label=name if row == 0 else None)
    ax.set_yticks(range(len(pairs)), [f"pair {row + 1}" for row in range(len(pairs))])
    ax.set_ylim(len(pairs) - 0.4, -0.95)
    ax.set_xlim(0, end_s)
    return finish(ax, title, "time in the video (s)", keep=("bottom",))


def _first(ax: Axes, i: int, label: str) -> str:
    """The legend's text the first time a label is drawn, then nothing."""
    text = f"{i + 1} {short(label)}"
    return "_" if text in ax.get_legend_handles_labels()[1] else text


def score_curve(
    ax: Axes,
    scores: np.ndarray,
    moments: Sequence[Any] = (),
    truth: Sequence[tuple[float, float]] = (),
    title: str = "",
    label: str = "score (dot product)",
) -> Axes:
    """One query's score a second (T,); truth intervals shaded, moments (with start_s, end_s, peak_s) numbered."""
    scores = check_scores(scores, ndim=1)
    for i, (start, end) in enumerate(truth):
        ax.axvspan(start, end, color=COLOURS[2], alpha=0.25, lw=0, label="truth" if i == 0 else None)
    ax.plot(np.arange(len(scores)) + 0.5, scores, color=COLOURS[0], lw=1.4, label="score")
    low, high = float(scores.min()), float(scores.max())
    room = (high - low or 1.0) * 0.12
    for i, moment in enumerate(moments):
        at, top = min(int(moment.peak_s), len(scores) - 1), high + room
        ax.plot([moment.start_s, moment.end_s], [top, top], color=COLOURS[5], lw=4, solid_capstyle="butt",
                label="moments, best first" if i == 0 else None)  # fmt: skip
        ax.plot(moment.peak_s, scores[at], "o", color=COLOURS[5], ms=4)
        ax.text((moment.start_s + moment.end_s) / 2, top + room / 3, str(i + 1), ha="center", fontsize=SMALL)
    ax.set_xlim(0, len(scores))
    ax.set_ylim(low - room, high + (2.6 if len(moments) else 1) * room)
    return finish(ax, title, "time in the video (s)", label)


def frame_strip(ax: Axes, frames: Sequence[np.ndarray], captions: Sequence[str] = (), title: str = "") -> Axes:
    """Frames (H, W, 3) uint8 of one size side by side, each with its caption below, wrapped to its width.

    Alone in its figure, the strip sets the figure's height to what it needs.
    """
    if not len(frames) or len({np.shape(f) for f in frames}) > 1 or (captions and len(captions) != len(frames)):
        raise VcworkError(f"expected frames of one size and as many captions, got {[np.shape(f) for f in frames]}")
    height, width = np.shape(frames[0])[:2]
    gap = max(2, width // 20)
    across = len(frames) * (width + gap) - gap
    alone = len(ax.figure.axes) == 1
    inch = across / (ax.figure.get_figwidth() * (0.97 if alone else 0.55))  # data units in an inch
    letters = max(6, int(width / inch * 72 / (SMALL * 0.56)))
    texts = [textwrap.fill(str(c), letters, max_lines=4, placeholder=" …") for c in captions]
    deep = height + inch * (0.08 + 1.3 * SMALL / 72 * max((t.count("\n") + 1 for t in texts), default=0))
    for i, frame in enumerate(frames):
        left = i * (width + gap)
        ax.imshow(frame, extent=(left, left + width, height, 0), interpolation="nearest")
        if captions:
            text = ax.text(left + width / 2, height + 0.06 * inch, texts[i], ha="center", va="top", fontsize=SMALL)
            text.set_in_layout(False)
    ax.set_xlim(0, across)
    ax.set_ylim(deep, 0)
    ax.set_aspect("equal")
    ax.set_xticks([])
    ax.set_yticks([])
    if alone:
        ax.figure.set_figheight(deep / inch + (0.35 if title else 0.1))
    return finish(ax, title, keep=())


# ------------------------------------------------------------------------------------- training and numbers


def loss_curve(
    ax: Axes,
    steps: np.ndarray,
    losses: Mapping[str, np.ndarray],
    references: Mapping[str, float] | None = None,
    smooth: int = 1,
    title: str = "",
    ylabel: str = "loss (nats)",
    xlabel: str = "training step",
) -> Axes:
    """Curves (S,) by name; smooth: raw values pale, their running mean over so many steps on top; references: lines."""
    for i, (name, values) in enumerate(losses.items()):
        values, at = check_scores(values, name, ndim=1), np.asarray(steps)
        n = max(1, min(smooth, len(values)))
        if n > 1:
            ax.plot(at, values, color=colour(i), lw=0.8, alpha=0.3)
            at = at[(n - 1) // 2 : len(at) - n // 2]  # in the middle of what is averaged, so nothing seems to lag
            values = np.convolve(values, np.ones(n) / n, "valid")
        ax.plot(at, values, color=colour(i), ls=STROKES[i % 4], lw=1.6, label=name)
    for i, (name, value) in enumerate((references or {}).items()):
        ax.axhline(value, color=GREY, lw=1.1, ls=("--", ":", "-.")[i % 3], label=f"{name} = {value:.3g}")
    return finish(ax, title, xlabel, ylabel)


def bars_with_intervals(ax: Axes, results: Sequence[Result], title: str = "") -> Axes:
    """Value and 95 % interval of results that are shares, in percent, with chance and the best trivial score."""
    results = [r for r in results if r.unit == "share"]
    if not results:
        raise VcworkError("no result is a share, so there is nothing to draw on a percent axis")
    y, value = np.arange(len(results)), np.array([100 * r.value for r in results])
    ends = 100 * np.array([[r.low, r.high] for r in results]).T
    ax.barh(y, value, 0.6, color=COLOURS[4], label="value")
    ax.hlines(y, *ends, color="black", lw=1.5, label="95 % interval over videos")
    ax.vlines([100 * r.chance for r in results], y - 0.38, y + 0.38, color=COLOURS[5], lw=2, label="chance")
    best = [(i, 100 * r.best_trivial[1]) for i, r in enumerate(results) if r.best_trivial[0] != "chance"]
    if best:
        rows, scores = zip(*best, strict=True)
        ax.scatter(scores, rows, marker="D", s=24, color=COLOURS[1], edgecolor="black", lw=0.6, zorder=3,
                   label="best trivial score")  # fmt: skip
    for i, (v, high) in enumerate(zip(value, ends[1], strict=True)):
        right = max(v, high, *(score for row, score in best if row == i), 100 * results[i].chance)
        ax.text(right + 1.5, i, f"{v:.1f}", va="center", fontsize=SMALL)
    ax.set_yticks(y, [r.name for r in results])
    ax.set_ylim(len(results) - 0.5, -0.5)
    ax.set_xlim(0, 108)
    ax.set_xticks(range(0, 101, 20))
    return finish(ax, title, "percent")


def stacked_bars(ax: Axes, rows: Mapping[str, Mapping[str, float]], title: str = "", xlabel: str = "percent") -> Axes:
    """What each row is made of: its parts (counts or shares) in percent of the row, one colour a part."""
    parts = list(dict.fromkeys(part for row in rows.values() for part in row))
    if not parts or any(sum(row.values()) <= 0 for row in rows.values()):
        raise VcworkError(f"expected rows of parts that sum to more than 0, got {rows}")
    left = np.zeros(len(rows))
    for i, part in enumerate(parts):
        share = np.array([100 * row.get(part, 0) / sum(row.values()) for row in rows.values()])
        ax.barh(range(len(rows)), share, 0.6, left, color=colour(i), edgecolor="white", lw=0.8, label=part)
        for y in np.flatnonzero(share > 6):
            ax.text(
                left[y] + share[y] / 2, y, f"{share[y]:.0f}", ha="center", va="center", fontsize=SMALL, color=ink_on(i)
            )
        left += share
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlim(0, 100)
    finish(ax, title, xlabel).get_legend().set_title("from left to right", {"size": SMALL})
    return ax


def gamma_curve(
    ax: Axes, curve: Any, marks: Mapping[str, float] | None = None, background: float | None = None, title: str = ""
) -> Axes:
    """What each gamma gives, from `tasks.segmentation.gamma_curve`; marks: named gammas; background: its true share."""
    lines = {
        "frame accuracy": curve.frame_accuracy,
        "foreground recall": curve.foreground_recall,
        "foreground precision": np.where(curve.predicted_background < 1, curve.foreground_precision, np.nan),
        "predicted background": curve.predicted_background,
    }
    if background is not None:
        ax.axhline(100 * background, color=GREY, lw=1, ls="--", label="all background (frame accuracy)")
    over_gamma(ax, curve.gamma, lines, {f"gamma {name}": value for name, value in (marks or {}).items()})
    return finish(ax, title, "gamma (a second is background unless its best score is above)", "percent of seconds")


def over_gamma(ax: Axes, gammas: np.ndarray, lines: Mapping[str, np.ndarray], marks: Mapping[str, float]) -> Axes:
    """Shares (G,) over gammas (G,) in percent, by name; marks: named gammas, inside or outside of these."""
    for i, (name, values) in enumerate(lines.items()):
        ax.plot(gammas, 100 * values, color=colour(i), lw=1.5, ls=STROKES[i], label=name)
    upright(ax, marks)
    spread, ends = np.ptp(gammas) or 1.0, [*gammas, *marks.values()]
    ax.set_xlim(min(ends) - 0.02 * spread, max(ends) + 0.02 * spread)
    ax.set_ylim(0, 102)
    return finish(ax)


def upright(ax: Axes, marks: Mapping[str, float]) -> None:
    for i, (name, x) in enumerate(marks.items()):
        ax.axvline(x, color="black", lw=1.2, ls=("-", "--", ":")[i % 3], label=f"{name} = {x:.3g}")


def histogram(
    ax: Axes,
    values: np.ndarray | Mapping[str, np.ndarray],
    bins: int | np.ndarray = 30,
    references: Mapping[str, float] | None = None,
    xlabel: str = "",
    ylabel: str = "share",
    title: str = "",
) -> Axes:
    """Histogram of one or several sets of values as shares of each set; references: named vertical lines."""
    sets = values if isinstance(values, Mapping) else {"": values}
    sets = {name: check_scores(v, name or "values", ndim=1) for name, v in sets.items()}
    edges = np.histogram_bin_edges(np.concatenate(list(sets.values())), bins)
    for i, (name, v) in enumerate(sets.items()):
        share = np.histogram(v, edges)[0] / len(v)
        ax.stairs(share, edges, fill=True, color=colour(i), alpha=0.35)
        ax.stairs(
            share, edges, color=colour(i), ls=STROKES[i % 4], lw=1.3, label=f"{name} (n = {len(v)})" if name else None
        )
    upright(ax, references or {})
    return finish(ax, title, xlabel, ylabel)


# ---------------------------------------------------------------------------------------- maps and matrices


def pca_2d(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First two principal components: (N, D) -> coordinates (N, 2) and the share of variance of each (2,).

    The largest entry of each direction is made positive, so the map does not flip from run to run.
    """
    vectors = check_scores(vectors, "vectors").astype(float)
    if min(vectors.shape) < 2:
        raise VcworkError(f"a map needs at least 2 vectors of width 2, got {vectors.shape}")
    centred = vectors - vectors.mean(0)
    _, size, directions = np.linalg.svd(centred, full_matrices=False)
    directions = directions[:2]
    directions = directions * np.sign(directions[[0, 1], np.abs(directions).argmax(1)])[:, None]
    return centred @ directions.T, size[:2] ** 2 / max((size**2).sum(), 1e-30)


def embedding_scatter(
    ax: Axes,
    xy: np.ndarray,
    labels: Sequence[str],
    max_legend: int = 8,
    shares: np.ndarray | None = None,
    title: str = "",
) -> Axes:
    """Points (N, 2) coloured by label; the `max_legend` most frequent labels are named, the others grey.

    shares (2,): variance explained, written on the axes; distances on the map are not distances between embeddings.
    """
    xy, labels = check_scores(xy, "xy"), np.asarray(labels)
    if xy.shape != (len(labels), 2):
        raise VcworkError(f"expected xy ({len(labels)}, 2), one point for each label, got {xy.shape}")
    names, counts = np.unique(labels, return_counts=True)
    shown = names[np.argsort(-counts, kind="stable")][:max_legend]
    for i, name in enumerate(shown):
        at = labels == name
        ax.scatter(*xy[at].T, s=18, color=colour(i), marker=MARKERS[(i // 8 + i) % 8], lw=0.3, edgecolor="white",
                   label=f"{short(name, 28)} (n = {at.sum()})")  # fmt: skip
    rest = ~np.isin(labels, shown)
    if rest.any():
        name = f"{len(names) - len(shown)} others (n = {rest.sum()})"
        ax.scatter(*xy[rest].T, s=12, color=LIGHT, lw=0, label=name, zorder=0.5)
    percent = ["", ""] if shares is None else [f" ({100 * s:.0f} % of variance)" for s in shares]
    return finish(ax, title, f"component 1{percent[0]}", f"component 2{percent[1]}")


def matrix(
    ax: Axes,
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    fmt: str = "{:.2f}",
    label: str = "",
    boxes: Sequence[tuple[int, int]] = (),
    title: str = "",
) -> Axes:
    """A labelled table of numbers as colours, (R, C); numbers are written up to 200 cells; boxes: (row, column)."""
    values = check_scores(values, "values")
    if values.shape != (len(rows), len(columns)):
        raise VcworkError(f"expected values ({len(rows)}, {len(columns)}), got {values.shape}")
    image = ax.imshow(values, cmap=MAP, aspect="auto", interpolation="nearest")
    middle = (float(values.min()) + float(values.max())) / 2
    if values.size <= 200 and fmt:
        for (r, c), value in np.ndenumerate(values):
            ink = "white" if value < middle else "black"
            ax.text(c, r, fmt.format(value), ha="center", va="center", fontsize=SMALL - 1, color=ink)
    for r, c in boxes:
        ax.add_patch(Rectangle((c - 0.5, r - 0.5), 1, 1, fill=False, edgecolor=COLOURS[5], lw=2))
    turn = max((len(str(c)) for c in columns), default=0) > 6
    names = [short(c, 28) for c in columns]
    ax.set_xticks(range(len(columns)), names, rotation=40 if turn else 0, ha="right" if turn else "center",
                  rotation_mode="anchor")  # fmt: skip
    ax.set_yticks(range(len(rows)), [short(r) for r in rows])
    scale(ax, image, label)
    return finish(ax, title, keep=SIDES)


def score_matrix(ax: Axes, scores: np.ndarray, videos: Sequence, title: str = "") -> Axes:
    """Scores (N, N) of every sentence with every clip, lines where the next video begins (up to 30 videos)."""
    image = ax.imshow(check_scores(scores), cmap=MAP, interpolation="nearest")
    videos = np.asarray(videos)
    edges = np.flatnonzero(videos[1:] != videos[:-1]) + 0.5
    for edge in edges if len(edges) < 30 else ():
        ax.axhline(edge, color="white", lw=0.5)
        ax.axvline(edge, color="white", lw=0.5)
    scale(ax, image, "score (dot product)")
    return finish(ax, title, "clip n", "sentence q", keep=SIDES)


def recall_curves(ax: Axes, curves: Mapping[str, np.ndarray], title: str = "") -> Axes:
    """R@k in percent over k = 1 .. N - 1, on a log scale, by name; from `tasks.retrieval.recall_curves`."""
    n = len(next(iter(curves.values()))) + 1
    percent = {name: 100 * values for name, values in curves.items()}
    loss_curve(ax, np.arange(1, n), percent, title=title, ylabel="R@k (percent)", xlabel=f"k of {n} clips, log scale")
    ax.set_xscale("log")
    ticks = [k for k in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if k < n]
    ax.set_xticks(ticks, ticks, minor=False)
    ax.minorticks_off()
    return ax


def draw_curve(ax: Axes, results: Sequence[Result], title: str = "") -> Axes:
    """A curve of shares in percent, its range over seeds shaded; lines: zero-shot, and the best score without looking.

    Steps between numbers of labels are drawn equally wide; the best trivial score is the highest along the curve.
    """
    at, mean = np.arange(len(results)), 100 * np.array([r.value for r in results])
    low, high = (100 * np.array([end(r.extra["values"]) for r in results]) for end in (min, max))
    name, score = max((r.best_trivial for r in results), key=lambda item: item[1])
    lines = {"zero-shot": mean[0], short(name, 20): 100 * score}
    loss_curve(ax, at, {"mean over seeds": mean}, lines, title=title, ylabel="percent", xlabel="labelled videos")
    ax.fill_between(at, low, high, color=colour(0), alpha=0.2, lw=0)
    ax.plot(at, mean, "o", color=colour(0), ms=4)
    labels = [f"{r.extra['n']} a recipe\n({r.extra['labelled']:.0f})" if r.extra["n"] else "none" for r in results]
    ax.set_xticks(at, labels)
    ax.set_ylim(0, 1.08 * max(high.max(), 100 * score))
    return ax


def draw_curves(curves: Mapping[str, Sequence[Result]]) -> Figure:
    """`draw_curve` of each in a panel of its own, two in a row, by title."""
    fig, axes = figure(10.0, 2.6 * -(-len(curves) // 2), -(-len(curves) // 2), 2, squeeze=False)
    for ax in axes.flat[len(curves) :]:
        ax.axis("off")
    for ax, (title, results) in zip(axes.flat, curves.items(), strict=False):
        draw_curve(ax, results, title)
    return fig


def plot_effects(ax: Axes, found: Sequence[Effect]) -> None:
    """Differences in points with their intervals, the clear ones in colour and their marks filled."""
    for y, e in enumerate(reversed(found)):
        tone = colour(0) if e.clear else "grey"
        ax.plot([100 * e.low, 100 * e.high], [y, y], color=tone, lw=1.5)
        ax.plot(100 * e.difference, y, "o", color=tone, fillstyle="full" if e.clear else "none", ms=4)
    ax.axvline(0, color="grey", lw=0.8)
    ax.set_ylim(-0.7, len(found) - 0.3)
    ax.set_yticks(range(len(found)), [name_of(e.setting) for e in reversed(found)])
    ax.set_xlabel(f"{found[0].metric}, points against the baseline" if found else "")


def dose_curves(found: Sequence[Mapping[str, Any]], metric: str) -> Figure:
    """A column a factor: a metric against the dose, means over worlds and dotted chance; below, what each dose changes
    within a world, with its interval. found: rows of `benchmarks/results/dose.json`.
    """
    names, factors = (list(dict.fromkeys(c[key] for c in found)) for key in ("objective", "factor"))
    fig, axes = figure(1.6 + 2.3 * len(factors), 4.6, 2, len(factors), sharex="col", sharey="row", squeeze=False)
    for (top, below), factor in zip(axes.T, factors, strict=True):
        some = sorted((c for c in found if (c["factor"], c["metric"]) == (factor, metric)), key=lambda c: c["at"])
        for i, name in enumerate(names):
            line = [c for c in some if c["objective"] == name]
            at, mean = [c["at"] for c in line], [100 * c["mean"] for c in line]
            change, low, high = 100 * np.array([[c["change"][key] for c in line] for key in ("mean", "low", "high")])
            style = {"color": colour(i), "ls": STROKES[i % 4], "marker": MARKERS[i], "ms": 3, "lw": 1.2, "label": name}
            top.plot(at, mean, **style)
            below.plot(at, change, **style)
            below.vlines(at, low, high, color=colour(i), lw=0.7)
        top.axhline(100 * np.mean([c["chance"] for c in some]), color=GREY, lw=0.8, ls=":")
        below.axhline(0, color=GREY, lw=0.8)
        finish(top, factor, ylabel=f"{metric} (percent)" * (top is axes[0, 0])).set_ylim(0)
        finish(below, "", DOSED.get(factor, "share"), "change (points)" * (top is axes[0, 0]))
        for ax in (below, *([top] if top is not axes[0, -1] else [])):
            ax.get_legend().remove()
    return fig
