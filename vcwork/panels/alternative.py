"""What a matplotlib figure shows, in words: `describe`, the alternative text for who cannot see it.

It is read off what is drawn (names, bars, curves, maps, points), so that no figure needs a text of its own and none can
say something else than its picture. A notebook stores it beside the picture, and pages give it as the picture's `alt`.
JupyterLab shows a stored picture without any `alt`; so who runs a notebook there gets the picture as HTML that has one.
Known gaps: what an axes draws without a name is left out; a stored notebook in JupyterLab has none until it is run.
"""

import html
import os
import sys
from collections.abc import Iterator
from itertools import chain

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

MOST = 12  # things of a kind that are told of one axes
Told = Iterator[tuple[str, str]]  # the row that something stands in, or "", and what it is


def describe(fig: Figure) -> str:
    """One sentence for each axes: title, what it measures, and what is drawn there, row by row where it has rows."""
    told = (_axes(ax) for ax in fig.axes if ax.get_label() != "<colorbar>")
    return " ".join(filter(None, told)) or "An empty figure."


def _axes(ax: Axes) -> str:
    rows: dict[str, list[str]] = {}
    for row, what in chain(_bars(ax), _lines(ax), _points(ax), _maps(ax), _texts(ax)):
        rows.setdefault(row, []).append(what)
    parts = [f"{row + ': ' if row else ''}{_some(told)}" for row, told in rows.items()]
    over = " over ".join(filter(None, (ax.get_ylabel(), ax.get_xlabel())))
    head = ", ".join(" ".join(text.split()) for text in (ax.get_title(), over) if text)
    return f"{': '.join(filter(None, (head, '; '.join(parts))))}." if head or parts else ""


def _some(told: list[str]) -> str:
    return ", ".join(told[:MOST]) + (f" and {len(told) - MOST} more" if len(told) > MOST else "")


def _names(axis: Axis) -> dict[int, str]:
    """The names of an axis's ticks by place; none where its ticks are numbers that matplotlib chose."""
    if not isinstance(axis.get_major_locator(), FixedLocator):
        return {}
    texts = (" ".join(label.get_text().split()) for label in axis.get_ticklabels())
    return {round(at): text for at, text in zip(axis.get_ticklocs(), texts, strict=True) if text}


def _named(artist) -> str:
    label = str(artist.get_label() or "")
    return "" if label.startswith("_") else " ".join(label.split())


def _bars(ax: Axes) -> Told:
    """Bars and shaded spans; those of the colour of a named one have its name."""
    held = {patch: _named(bars) for bars in ax.containers if isinstance(bars, BarContainer) for patch in bars}
    patches = [p for p in ax.patches if hasattr(p, "get_width") and p.get_width() and (p in held or _named(p))]
    names = {p.get_facecolor(): held.get(p) or _named(p) for p in patches[::-1] if held.get(p) or _named(p)}
    rows = _names(ax.yaxis)
    for p in patches:
        row, name = rows.get(round(p.get_y() + p.get_height() / 2), ""), names.get(p.get_facecolor(), "")
        start, end = sorted((p.get_x(), p.get_x() + p.get_width()))
        place = f"{end:.3g}" if start == 0 and p in held and len(names) < 2 else f"{start:.3g} to {end:.3g}"
        yield row if p in held else "", f"{name} {place}".strip()
    for p in (p for p in ax.patches if hasattr(p, "get_data") and _named(p)):  # histograms
        values, edges, _ = p.get_data()
        top = int(np.argmax(values))
        yield "", f"{_named(p)}, most ({values[top]:.2g}) from {edges[top]:.3g} to {edges[top + 1]:.3g}"


def _lines(ax: Axes) -> Told:
    for line in (line for line in ax.lines if _named(line)):
        x, y = (np.asarray(values, float) for values in line.get_data())
        known = np.isfinite(y)
        if len(x) < 3 or not known.any():  # a reference, whose name has its value
            yield "", _named(line)
            continue
        x, y = x[known], y[known]
        low, high = (f"{y[at]:.3g} at {x[at]:.3g}" for at in (y.argmin(), y.argmax()))
        yield "", f"{_named(line)} from {y[0]:.3g} to {y[-1]:.3g}, lowest {low}, highest {high}"


def _points(ax: Axes) -> Told:
    """Points and strokes with a name, by row where the axes has rows."""
    rows = _names(ax.yaxis)
    for drawn in (c for c in ax.collections if _named(c)):
        name = _named(drawn)
        if isinstance(drawn, PathCollection) and rows:
            for x, y in np.asarray(drawn.get_offsets()):
                yield rows.get(round(y), ""), f"{name} {x:.3g}"
        elif isinstance(drawn, LineCollection) and rows:
            for ends in drawn.get_segments():
                (x, y), (to, _) = ends[0], ends[-1]
                middle = round(float(ends[:, 1].mean()))
                yield rows.get(middle, ""), f"{name} {x:.3g}" + (f" to {to:.3g}" if to != x else "")
        else:
            yield "", name


def _maps(ax: Axes) -> Told:
    """Numbers as colours: of each named row the highest, or else the range; pictures are counted."""
    pictures = [image for image in ax.images if np.ndim(image.get_array()) == 3]
    if pictures:
        yield "", f"{len(pictures)} picture{'s' if len(pictures) > 1 else ''}"
    rows, columns = _names(ax.yaxis), _names(ax.xaxis)
    for image in (image for image in ax.images if np.ndim(image.get_array()) == 2):
        values = np.ma.filled(image.get_array().astype(float), np.nan)
        if len(rows) != len(values):
            size = " by ".join(map(str, values.shape))
            yield "", f"{size} numbers from {np.nanmin(values):.3g} to {np.nanmax(values):.3g}"
            continue
        left, right, *_ = image.get_extent()
        for r, name in rows.items():
            at = int(np.nanargmax(values[r]))
            place = columns.get(at, f"{left + at * (right - left) / values.shape[1]:.3g}")
            yield name, f"highest {values[r, at]:.3g} at {place}"


def _texts(ax: Axes) -> Told:
    """What is written, where nothing but pictures or nothing at all is drawn."""
    if not (ax.lines or ax.containers or ax.collections or any(np.ndim(i.get_array()) == 2 for i in ax.images)):
        yield from (("", " ".join(text.get_text().split())) for text in ax.texts if text.get_text().strip())


def told_in_notebooks() -> None:
    """From now on a notebook stores `describe` as the text of each figure, and shows the figure with it."""
    if (shell := sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None) is not None:
        formatters = shell.display_formatter.formatters
        formatters["text/plain"].for_type(Figure, lambda fig, p, cycle: p.text(describe(fig)))
        formatters["text/html"].for_type(Figure, _with_words)


def _with_words(fig: Figure) -> str | None:
    """The picture with its words, where somebody sits at the notebook."""
    from IPython.core.pylabtools import print_figure

    if not someone_watches():
        return None
    words = html.escape(describe(fig))
    return f'<img alt="{words}" style="max-width: 100%" src="data:image/png;base64,{print_figure(fig, base64=True)}">'


def someone_watches() -> bool:
    """Does a person sit at this kernel's front end? False outside a notebook and in headless runs.

    Voilà runs a notebook as headless runs do, and then shows it to somebody.
    """
    from IPython import get_ipython

    if os.environ.get("SERVER_SOFTWARE", "").startswith("voila/"):
        return True
    kernel = getattr(get_ipython(), "kernel", None)
    try:
        return bool(kernel.get_parent("shell")["content"].get("allow_stdin", False))
    except (AttributeError, KeyError, TypeError):
        return False
