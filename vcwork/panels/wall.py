"""All videos of a folder on one page: thumbnails, who is like whom, one search over words and pictures: `VideoWall`.

The class knows plain data only (`vcwork.workbench.own_pages` makes it). Typed words are looked for in every sentence
and name, by BM25 and in the page itself. A stored sentence also answers with the sentences nearest in meaning and,
where a model had looked for it, with its best moments in all videos. Videos and moments link to the videos' own pages.
A page that `explore --serve` serves asks the models for any other sentence.
Known gaps: pictures are files of their own beside the page; the static figure has the first DRAWN only.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from vcwork.panels import plots
from vcwork.panels.base import Panel, as_script

MOST_SHOWN = 60  # hits, or cards, drawn at once
SIDE = 96  # pixels of a thumbnail
DRAWN = 24  # videos of the static figure
SUBTITLES, SPEECH, DESCRIBED = "subtitles", "speech", "described"  # where words come from; described: without times


@dataclass(frozen=True)
class Card:
    """A video: `page` is its own page's plain relative address and `picture` its thumbnail's ("" for none).

    near: (place of a card, cosine); words: SUBTITLES, SPEECH, DESCRIBED or "" for none; file and fps are for lists that
    are taken away, fps 0 where unknown.
    """

    id: str
    seconds: float
    captions: int = 0
    page: str = ""
    notes: tuple[str, ...] = ()
    near: tuple[tuple[int, float], ...] = ()
    picture: str = ""
    words: str = ""
    file: str = ""
    fps: float = 0.0


@dataclass(frozen=True)
class Said:
    """A stored sentence: said in the card of place `video` from `start_s` to `end_s` (None: nobody knows when).

    hits: (place of the card, start_s, end_s, peak_s, score) of its best moments in all videos, best first; like: places
    of the stored sentences nearest to it in meaning, nearest first.
    """

    text: str
    video: int
    start_s: float | None = None
    end_s: float | None = None
    hits: tuple[tuple[int, float, float, float, float], ...] = ()
    like: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class VideoWall(Panel):
    """Cards, and stored sentences; pictures: one of a card's place, for the static figure.

    beside: the plain name of the file that holds the sentences, `sentences()`, where they are too many for the page.
    """

    module = "wall.js"
    parts = ("words.js", "taken.js")
    side = SIDE
    cards: Sequence[Card]
    said: Sequence[Said] = ()
    beside: str = ""

    def panel(self) -> dict[str, Any]:
        said = [] if self.beside else self._rows()
        about = {"said": said, "beside": self.beside, "stored": len(self.said), "most": MOST_SHOWN}
        return self.common() | {"cards": [asdict(card) for card in self.cards]} | about

    def sentences(self) -> str:
        """The file beside the page: a script, since a page on a disk may load nothing else."""
        return f"vcworkWords({as_script(self._rows())});\n"

    def _rows(self) -> list[list[Any]]:
        return [[one.text, one.video, one.start_s, one.end_s, one.hits, one.like] for one in self.said]

    def media(self) -> dict[str, bytes]:
        """None: pictures are files beside the page."""
        return {}

    def figure(self) -> Figure:
        """The first videos' thumbnails with their names."""
        n = min(len(self.cards), DRAWN)
        if not n:
            return plots.empty("\n".join(self.notes) or "no video")
        columns = min(6, n)
        rows = -(-n // columns)
        fig, axes = plots.figure(9, 1.9 * rows + 0.4, rows, columns, squeeze=False)
        for ax in axes.flat:
            ax.set_axis_off()
        for i, ax in zip(range(n), axes.flat, strict=False):
            ax.imshow(self.pictures[i][0] if i in self.pictures else np.full((SIDE, SIDE, 3), 128, np.uint8))
            ax.set_title(plots.short(self.cards[i].id, 22), fontsize=plots.SMALL)
        return fig

    def words(self) -> str:
        return f"thumbnails of {len(self.cards)} videos"
