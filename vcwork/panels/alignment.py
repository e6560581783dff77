"""A video, what is said in it, and every sentence's score at every second, to touch: `AlignmentExplorer`.

The class knows arrays only (`vcwork.panels.make_alignment` makes them) and computes nothing that `vcwork.tasks` does
not. Live, a new sentence goes to the kernel and its curve comes back, and a moment of another video opens that video in
place; the standalone page knows the stored sentences of its own video only.
Words that are typed find what is said in this video without any model; a page that `explore --serve` serves asks the
models for any other sentence.
Known gaps: in a notebook the clip travels inside the panel, small and without sound; a panel opened live and saved
shows its picture after a restart of the kernel only when it is run again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, asdict, dataclass, field
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from vcwork.base.errors import VcworkError
from vcwork.measure.metrics import check_scores
from vcwork.panels import plots
from vcwork.panels.base import Narrated, Panel, Span, packed
from vcwork.tasks.moments import Moment, best_moments

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


@dataclass(frozen=True, eq=False)
class AlignmentExplorer(Panel):
    """Scores (S, T) of S sentences over the T seconds of a video: lanes, heat map, curve, query.

    prediction: what a model calls each stretch; unit: what one column is; ask: sentence -> `Asked` (None: only stored
    sentences can be asked); videos: ids that can be opened by `opener`, id -> that video's panel, VcworkError where
    there is none (None: no other can be opened); pages: id -> the plain file name of that video's page where it lies
    beside this one's, for links; first: the row it opens at, None: the first whose truth is known.
    VcworkError where shapes do not fit; S = 0 is allowed, T = 0 is not.
    """

    module = "alignment.js"
    parts = ("words.js", "taken.js")
    video: Narrated
    rows: Sequence[Row]
    scores: np.ndarray
    _: KW_ONLY
    prediction: Sequence[Span] = ()
    ask: Callable[[str], Asked] | None = None
    top: int = 5
    videos: Sequence[str] = ()
    opener: "Callable[[str], AlignmentExplorer] | None" = None
    pages: Mapping[str, str] = field(default_factory=dict)
    first: int | None = None

    def __post_init__(self) -> None:
        scores, fitting = np.asarray(self.scores, dtype=np.float64), (len(self.rows), self.video.seconds)
        if scores.shape != fitting or not self.video.seconds:
            raise VcworkError(f"expected scores {fitting} of sentences and seconds, T >= 1, got {scores.shape}")
        self.set(scores=check_scores(scores) if len(scores) else scores)

    def update(self, sentence: str) -> dict[str, Any]:
        """What the panel shows for a sentence; nothing is changed. Faults become the `note` of the answer.

        `row`: its place among the stored ones, or None; `scores` (T,), `moments` of this video and `elsewhere`, best
        first, empty where nothing can be said.
        """
        sentence = " ".join(sentence.split())
        answer = _nothing(sentence)
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
        except VcworkError as error:
            return answer | {"note": str(error)}
        return answer | self._found(asked.scores, asked.elsewhere) | {"note": asked.note}

    def _found(self, scores: np.ndarray, elsewhere: Sequence[tuple[str, Moment]]) -> dict[str, Any]:
        """The parts of an answer that come from scores (T,); no moments where every second scores the same."""
        flat = float(scores.max() - scores.min()) <= 1e-9 * max(1.0, float(np.abs(scores).max()))
        return {
            "scores": [round(float(s), 5) for s in scores],
            "moments": [] if flat else [_plain(m) for m in best_moments(scores, self.top)],
            "elsewhere": [{"video": video, **_plain(moment)} for video, moment in elsewhere],
            "note": f"Every {self.unit} scores the same: nothing stands out." if flat else "",
        }

    def open(self, video_id: str, second: float = 0, sentence: str = "") -> dict[str, Any]:
        """Another video's whole panel, at a second and asked a sentence; nothing of this one is changed.

        `panel` and `media` are that panel's, None and {} where it cannot be opened and `note` says why; `answer` is its
        `update` of the sentence, None without one.
        """
        panel, note = self._of(video_id)
        told = {"video": video_id, "second": second, "panel": None, "media": {}, "answer": None, "note": note}
        if panel is None:
            return told
        answer = panel.update(sentence) if sentence.strip() else None
        return told | {"panel": panel.panel(), "media": panel.media(), "answer": answer}

    def _of(self, video_id: str) -> "tuple[AlignmentExplorer | None, str]":
        """The panel of a video, this one for its own id; or None, and why it does not open.

        The system's own words name whole paths, which are nobody's business.
        """
        try:
            if video_id == self.video.id:
                return self, ""
            if self.opener is None:
                raise VcworkError("this panel knows no other video")
            return self.opener(video_id), ""
        except (OSError, VcworkError, ValueError) as error:
            lost = error if isinstance(error, OSError) else error.__cause__
            gone = isinstance(lost, OSError)
            why = f"{lost.strerror or 'not readable'}; was the corpus moved?" if gone else str(error)
        return None, f"{video_id} cannot be opened: {why.rstrip('.')}."

    def answer(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """`{"ask": sentence}` is answered by `update`, `{"open": id}` by `open`, with its `second` and `sentence`.

        With `{"video": id}` the sentence is asked of that video, which the page has opened before.
        """
        if isinstance(message.get("open"), str):
            second, sentence = message.get("second"), message.get("sentence")
            second = float(second) if isinstance(second, int | float) else 0.0
            return self.open(message["open"], second, sentence if isinstance(sentence, str) else "")
        if not isinstance(message.get("ask"), str):
            return None
        video_id = message.get("video", self.video.id)
        panel, note = self._of(video_id if isinstance(video_id, str) else self.video.id)
        return panel.update(message["ask"]) if panel else _nothing(message["ask"], note)

    def panel(self) -> dict[str, Any]:
        """All that `alignment.js` draws, as JSON values; scores as 16-bit steps between `low` and `high`."""
        low, high = (float(self.scores.min()), float(self.scores.max())) if len(self.scores) else (0.0, 0.0)
        steps = np.rint((self.scores - low) / ((high - low) or 1.0) * 65535)  # (S, T)
        found = [self._found(scores, row.elsewhere) for row, scores in zip(self.rows, self.scores, strict=True)]
        named = dict.fromkeys(video for row in self.rows for video, _ in row.elsewhere)
        lanes = {"truth": self.video.truth, "predicted": self.prediction, "said": self.video.captions}
        return self.common() | {
            "video": self.video.id,
            "videos": list(self.videos) if self.opener is not None else [],
            "first": self.first,
            "pages": {video: self.pages[video] for video in named if video in self.pages},
            "seconds": self.video.seconds,
            "film": {key: getattr(self.video, key) for key in ("src", "file", "fps", "words")},
            "described": list(self.video.described),
            "rows": [
                {"text": row.text, "kind": row.kind, "spoken": row.spoken, "truth": row.truth}
                | {key: told[key] for key in ("moments", "elsewhere", "note")}
                for row, told in zip(self.rows, found, strict=True)
            ],
            "scores": packed(steps, "<u2"),
            "low": low,
            "high": high,
            "lanes": [{"name": name, "spans": spans, "coloured": name != "said"} for name, spans in lanes.items()],
        }

    def media(self) -> dict[str, bytes]:
        return {"video": self.video.clip} if self.video.clip else {}

    def words(self) -> str:
        sentences = f"{len(self.rows)} sentences with {self.video.seconds} {self.unit}s"
        return f"similarity of {sentences}, and lanes of {self.title}"

    def figure(self) -> Figure:
        """The same without a browser: lanes above the map of the first rows; its title says how many are left out."""
        n = min(len(self.rows), DRAWN_ROWS)
        heights = [0.9, 0.7 + 0.22 * max(n, 2)]
        fig, (above, ax) = plots.figure(9, 1 + sum(heights), rows=2, height_ratios=heights)
        lanes = {"truth": self.video.truth, "predicted": self.prediction}
        plots.timeline(above, lanes, self.video.seconds, plots.short(self.title, 90))
        above.set_xlabel("")
        handles, labels = above.get_legend_handles_labels()
        if handles:
            above.get_legend().remove()
            fig.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=plots.SMALL, frameon=False)
        if not n:
            plots.blank(ax, "\n".join(self.notes) or "no sentence to compare")
            return fig
        scores = self.scores[:n] - self.scores[:n].mean(1, keepdims=True)
        truth = [(start, end, i) for i, row in enumerate(self.rows[:n]) for start, end in row.truth]
        some = f"the first {n} of {len(self.rows)} sentences" if n < len(self.rows) else ""
        names = [plots.short(row.text, 48) for row in self.rows[:n]]
        plots.similarity_heatmap(ax, scores, names, truth, scores.argmax(1), some, "score above its mean")
        ax.set_xlabel(f"time in the video ({'s' if self.unit == 'second' else self.unit + 's'})")
        return fig


def _nothing(sentence: str, note: str = "") -> dict[str, Any]:
    """The answer that knows no score."""
    return {"sentence": sentence, "row": None, "scores": [], "moments": [], "elsewhere": [], "note": note}


def _plain(moment: Moment) -> dict[str, float]:
    return {name: round(float(value), 5) for name, value in asdict(moment).items()}
