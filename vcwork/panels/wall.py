"""All videos of a folder on one page: thumbnails, who is like whom, and a search over what is said: `VideoWall`.

The class knows plain data only (`vcwork.workbench.own_pages` makes it). A sentence answers with where it is said and,
where a model had looked for it, with its best moments in all videos. Videos and moments link to the videos' own pages.
Known gaps: only stored sentences can be found here; another one needs the model, on the command line or in notebook 40.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from vcwork.panels import plots
from vcwork.panels.base import Panel

MOST_SHOWN = 60  # sentences listed at once
SIDE = 96  # pixels of a thumbnail
DRAWN = 24  # videos of the static figure


@dataclass(frozen=True)
class Card:
    """A video: `page` is its own page's plain relative address ("" for none), `near` are (place of a card, cosine)."""

    id: str
    seconds: float
    captions: int = 0
    page: str = ""
    notes: tuple[str, ...] = ()
    near: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Said:
    """A stored sentence: said in the card of place `video`, from `start_s` (None: nobody knows when).

    hits: (place of the card, start_s, end_s, peak_s, score) of its best moments in all videos, best first.
    """

    text: str
    video: int
    start_s: float | None = None
    hits: tuple[tuple[int, float, float, float, float], ...] = ()


@dataclass(frozen=True, eq=False)
class VideoWall(Panel):
    """Cards, and stored sentences; pictures: one of a card's place, which is grey without."""

    module = "wall.js"
    side = SIDE
    cards: Sequence[Card]
    said: Sequence[Said] = ()

    def panel(self) -> dict[str, Any]:
        """All that `wall.js` draws and searches."""
        said = [[one.text, one.video, one.start_s, one.hits] for one in self.said]
        return self.common() | {"cards": [asdict(card) for card in self.cards], "said": said, "most": MOST_SHOWN}

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
        """What the picture shows."""
        return f"thumbnails of {len(self.cards)} videos"
