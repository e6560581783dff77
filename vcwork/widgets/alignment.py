"""A video, what is said in it, and every sentence's score at every second, to touch: `AlignmentExplorer`.

The class knows arrays only (`vcwork.explore` makes them) and computes nothing that `vcwork.tasks` does not. One module,
`alignment.js`, draws it in two hosts: as a live anywidget, where a new sentence goes to the kernel and its curve comes
back, and inside a standalone HTML text, which needs neither kernel nor network and knows the stored sentences only.
Captions and ids are data: they reach the page as JSON and the document through textContent, never as HTML.
Known gaps: the clip travels inside the panel, so a long video is not shown; a panel opened live and saved shows its
picture after a restart of the kernel only when it is run again; sound is not kept.
"""

import base64
import hashlib
import html
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from vcwork import plots
from vcwork.errors import VcworkError
from vcwork.metrics import check_scores
from vcwork.tasks.moments import Moment, moments

Span = tuple[float, float, str]  # start_s, end_s, label
SCRIPT = "alignment.js"
DRAWN_ROWS = 24  # of the static figure


@dataclass(frozen=True)
class Row:
    """A sentence of the map: `kind` groups rows, `spoken` is when it is said, `truth` where what it names happens."""

    text: str
    kind: str = "sentences"
    spoken: tuple[float, float] | None = None
    truth: tuple[tuple[float, float], ...] = ()
    elsewhere: tuple[tuple[str, Moment], ...] = ()


@dataclass(frozen=True)
class Asked:
    """Answer to a new sentence: scores (T,), the best moments of the whole library, and what has to be said of it."""

    scores: np.ndarray
    elsewhere: tuple[tuple[str, Moment], ...] = ()
    note: str = ""


class AlignmentExplorer:
    """Scores (S, T) of S sentences over T seconds beside the video: lanes, heat map, curve, query.

    rows: S texts or `Row`s; captions, truth, prediction: (start_s, end_s, label); video: an mp4 that browsers play, or
    None; notes: what is missing and why, shown in the panel; unit: what one column is; ask: sentence -> `Asked` (None:
    only stored sentences can be asked). VcworkError where shapes do not fit; S = 0 is allowed, T = 0 is not.
    """

    def __init__(
        self,
        scores: np.ndarray,
        rows: Sequence[Row | str],
        *,
        captions: Sequence[Span] = (),
        truth: Sequence[Span] = (),
        prediction: Sequence[Span] = (),
        video: bytes | None = None,
        title: str = "",
        notes: Sequence[str] = (),
        unit: str = "second",
        ask: Callable[[str], Asked] | None = None,
        top: int = 5,
    ) -> None:
        self.rows = [row if isinstance(row, Row) else Row(row) for row in rows]
        scores = np.asarray(scores, dtype=np.float64)
        if scores.ndim != 2 or len(scores) != len(self.rows) or not scores.shape[1]:
            raise VcworkError(f"expected scores (S, T), T >= 1, of {len(self.rows)} sentences, got {scores.shape}")
        self.scores = check_scores(scores) if len(scores) else scores
        self.captions, self.truth, self.prediction = list(captions), list(truth), list(prediction)
        for start, end, label in [*self.captions, *self.truth, *self.prediction]:
            if not 0 <= start <= end or not np.isfinite(end):
                raise VcworkError(f"{label!r}: expected times in seconds, start <= end, got {start} to {end}")
        self.video, self.title, self.unit = video, title, unit
        self.notes, self.ask, self.top = list(notes), ask, top

    @property
    def seconds(self) -> int:
        return self.scores.shape[1]

    def update(self, sentence: str) -> dict[str, Any]:
        """What the panel shows for a sentence; nothing is changed. Faults become the `note` of the answer.

        `row`: its place among the stored ones, or None; `scores` (T,), `moments` of this video and `elsewhere`, best
        first, empty where nothing can be said.
        """
        sentence = " ".join(sentence.split())
        answer = {"sentence": sentence, "row": None, "scores": [], "moments": [], "elsewhere": [], "note": ""}
        stored = [i for i, row in enumerate(self.rows) if row.text.casefold() == sentence.casefold()]
        if not sentence:
            return answer | {"note": "Type a sentence first."}
        if stored:
            row = self.rows[stored[0]]
            return answer | {"row": stored[0]} | self._found(self.scores[stored[0]], row.elsewhere)
        if self.ask is None:
            return answer | {"note": "Without a model only the stored sentences can be asked."}
        try:
            asked = self.ask(sentence)
            scores = check_scores(asked.scores, "the answer's scores", ndim=1)
            if scores.shape != (self.seconds,):
                raise VcworkError(f"expected scores ({self.seconds},) for a sentence, got {scores.shape}")
        except VcworkError as error:
            return answer | {"note": str(error)}
        return answer | self._found(scores, asked.elsewhere) | {"note": asked.note}

    def _found(self, scores: np.ndarray, elsewhere: Sequence[tuple[str, Moment]]) -> dict[str, Any]:
        """The parts of an answer that come from scores (T,); no moments where every second scores the same."""
        flat = float(scores.max() - scores.min()) <= 1e-9 * max(1.0, float(np.abs(scores).max()))
        return {
            "scores": [round(float(s), 5) for s in scores],
            "moments": [] if flat else [_plain(m) for m in moments(scores, self.top)],
            "elsewhere": [{"video": video, **_plain(moment)} for video, moment in elsewhere],
            "note": f"Every {self.unit} scores the same: nothing stands out." if flat else "",
        }

    def panel(self) -> dict[str, Any]:
        """All that `alignment.js` draws, as JSON values; scores as 16-bit steps between `low` and `high`."""
        low, high = (float(self.scores.min()), float(self.scores.max())) if len(self.scores) else (0.0, 0.0)
        steps = np.rint((self.scores - low) / ((high - low) or 1.0) * 65535).astype("<u2")  # (S, T)
        rows = []
        for row, scores in zip(self.rows, self.scores, strict=True):
            found = self._found(scores, row.elsewhere)
            kept = {key: found[key] for key in ("moments", "elsewhere", "note")}
            rows.append({"text": row.text, "kind": row.kind, "spoken": row.spoken, "truth": row.truth, **kept})
        lanes = [("truth", self.truth, True), ("predicted", self.prediction, True), ("said", self.captions, False)]
        return {
            "title": self.title,
            "unit": self.unit,
            "seconds": self.seconds,
            "rows": rows,
            "scores": base64.b64encode(steps.tobytes()).decode(),
            "low": low,
            "high": high,
            "lanes": [{"name": name, "spans": spans, "coloured": coloured} for name, spans, coloured in lanes],
            "notes": self.notes,
            "palette": list(plots.COLOURS),
            "map": [matplotlib.colors.to_hex(c) for c in matplotlib.colormaps[plots.MAP](np.linspace(0, 1, 64))],
        }

    def figure(self) -> Figure:
        """The same without a browser: lanes above the map of the first rows; its title says how many are left out."""
        known = {"truth": self.truth, "predicted": self.prediction}
        n = min(len(self.rows), DRAWN_ROWS)
        heights = [0.9, 0.7 + 0.22 * max(n, 2)]
        fig, (above, ax) = plots.figure(9, 1 + sum(heights), rows=2, height_ratios=heights)
        plots.timeline(above, known, self.seconds, plots.short(self.title, 90))
        above.set_xlabel("")
        handles, labels = above.get_legend_handles_labels()
        if handles:
            above.get_legend().remove()
            fig.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=plots.SMALL, frameon=False)
        if not n:
            ax.set_axis_off()
            ax.text(0.5, 0.5, "\n".join(self.notes) or "no sentence to compare", ha="center", va="center")
            return fig
        scores = self.scores[:n] - self.scores[:n].mean(1, keepdims=True)
        truth = [(start, end, i) for i, row in enumerate(self.rows[:n]) for start, end in row.truth]
        some = f"the first {n} of {len(self.rows)} sentences" if n < len(self.rows) else ""
        names = [plots.short(row.text, 48) for row in self.rows[:n]]
        plots.similarity_heatmap(ax, scores, names, truth, scores.argmax(1), some, "score above its mean")
        ax.set_xlabel(f"time in the video ({'s' if self.unit == 'second' else self.unit + 's'})")
        return fig

    def png(self, dpi: int = 80) -> bytes:
        """`figure` as a picture."""
        figure, out = self.figure(), io.BytesIO()
        figure.savefig(out, format="png", dpi=dpi)
        plt.close(figure)
        return out.getvalue()

    def html(self) -> str:
        """The panel as an HTML text that runs by itself; where scripts do not run, the picture is seen instead."""
        state = {"panel": self.panel(), "live": False}
        video = base64.b64encode(self.video).decode() if self.video else ""
        digest = hashlib.sha256((as_script(state) + video).encode()).hexdigest()[:12]
        picture = base64.b64encode(self.png()).decode()
        words = html.escape(f"{self.title}: lanes and similarity of every sentence with every {self.unit}")
        return (
            f'<div class="vcwork-panel" data-panel="{digest}">'
            f'<img style="max-width:100%" alt="{words}" src="data:image/png;base64,{picture}"></div>\n'
            f'<script type="module">\n{script()}\n'
            f"standalone({json.dumps(digest)}, {as_script(state)}, {json.dumps(video)});\n</script>"
        )

    def page(self) -> str:
        """A whole HTML document with the panel alone."""
        head = '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        head += '<meta name="viewport" content="width=device-width, initial-scale=1">'
        style = "<style>:root { color-scheme: light dark; } body { margin: 1rem; }</style>"
        return f"{head}<title>{html.escape(self.title)}</title>{style}</head>\n<body>\n{self.html()}\n</body></html>\n"

    def widget(self) -> Any:
        """The live panel, an anywidget; sentences typed into it are answered by `update`."""
        import anywidget  # only where somebody watches
        import traitlets

        class Panel(anywidget.AnyWidget):
            _esm = script()
            panel = traitlets.Dict().tag(sync=True)
            video = traitlets.Bytes(b"").tag(sync=True)
            live = traitlets.Bool(True).tag(sync=True)

        made = Panel(panel=self.panel(), video=self.video or b"")
        made.on_msg(lambda widget, content, _: self.receive(content, widget.send))
        return made

    def receive(self, content: Any, send: Callable[[dict], None]) -> None:
        """A message of the page; `{"ask": sentence}` is answered with `{"answer": ...}`, anything else is let be."""
        if isinstance(content, dict) and isinstance(content.get("ask"), str):
            send({"answer": self.update(content["ask"])})

    def show(self, live: bool | None = None) -> None:
        """Display the panel: live where somebody sits at the notebook, always with the HTML and a picture beside it.

        live=None asks the kernel whether its front end can answer questions: JupyterLab can, nbclient, papermill and
        nbval say that they cannot, and get no widget, which nobody could open afterwards.
        """
        from IPython.display import display

        bundle = {
            "text/plain": f"AlignmentExplorer({self.title!r}, {len(self.rows)} sentences, {self.seconds} {self.unit}s)",
            "text/html": self.html(),
            "image/png": base64.b64encode(self.png()).decode(),
        }
        if someone_watches() if live is None else live:
            made = self.widget()._repr_mimebundle_()
            bundle |= made[0] if isinstance(made, tuple) else made or {}
        display(bundle, raw=True)


def _plain(moment: Moment) -> dict[str, float]:
    return {name: round(float(value), 5) for name, value in asdict(moment).items()}


def script() -> str:
    """The source of the JavaScript module."""
    return files("vcwork.widgets").joinpath(SCRIPT).read_text(encoding="utf-8")


def as_script(value: Any) -> str:
    """A value as a JavaScript literal that cannot end the script element around it, whatever its texts hold."""
    text = json.dumps(value, allow_nan=False)  # ASCII only, so U+2028 and U+2029 are escaped as well
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def someone_watches() -> bool:
    """Does a person sit at this kernel's front end? False outside a notebook and in headless runs."""
    from IPython import get_ipython

    kernel = getattr(get_ipython(), "kernel", None)
    try:
        return bool(kernel.get_parent("shell")["content"].get("allow_stdin", False))
    except (AttributeError, KeyError, TypeError):
        return False
