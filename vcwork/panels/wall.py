"""All videos of a folder on one page: thumbnails, who is like whom, and a search over what is said: `VideoWall`.

The class knows plain data only (`vcwork.workbench.own_pages` makes it). A sentence answers with where it is said and,
where a model had looked for it, with its best moments in all videos. Videos and moments link to the videos' own pages.
Known gaps: only stored sentences can be found here; another one needs the model, on the command line or in notebook 40.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from vcwork.base.errors import VcworkError
from vcwork.panels import plots
from vcwork.panels.base import Panel, sheet

MOST_SHOWN = 60  # sentences listed at once
SIDE = 96  # pixels of a thumbnail
DRAWN = 24  # videos of the static figure


@dataclass(frozen=True)
class Card:
    """A video: `page` is the address of its own page ("" for none), `near` are (place among the cards, cosine)."""

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


class VideoWall(Panel):
    """Cards and thumbnails, one for one, and stored sentences; pictures (H, W, 3) uint8, or None for a grey one.

    VcworkError where a card or sentence names a video that is not there, for another number of pictures, and for a
    page that is not a plain relative address.
    """

    module = "wall.js"

    def __init__(
        self,
        cards: Sequence[Card],
        pictures: Sequence[np.ndarray | None],
        said: Sequence[Said] = (),
        *,
        title: str = "",
        notes: Sequence[str] = (),
    ) -> None:
        self.cards, self.said, self.title, self.notes = list(cards), list(said), title, list(notes)
        if len(pictures) != len(self.cards):
            raise VcworkError(f"expected a picture or None for each of {len(self.cards)} videos, got {len(pictures)}")
        grey = np.full((SIDE, SIDE, 3), 128, np.uint8)
        self.pictures = [grey if picture is None else np.asarray(picture) for picture in pictures]
        named = [j for card in self.cards for j, _ in card.near]
        named += [place for one in self.said for place in (one.video, *(hit[0] for hit in one.hits))]
        for card in self.cards:
            if not re.fullmatch(r"[\w./-]*", card.page, re.ASCII):
                raise VcworkError(f"{card.id}: expected a plain relative address, got {card.page!r}")
        for place in named:
            if not 0 <= place < len(self.cards):
                raise VcworkError(f"expected places of {len(self.cards)} videos, got {place}")

    def update(self, query: str) -> dict[str, Any]:
        """Places of the stored sentences that hold every word of the query, in their order; nothing is changed.

        `found` are at most MOST_SHOWN of them, `count` how many there are, `note` what has to be said instead.
        """
        words = query.lower().split()
        answer = {"found": [], "count": 0, "note": ""}
        if not words:
            return answer
        if not self.said:
            return answer | {"note": "Nothing is said in these videos: no captions were found."}
        found = [i for i, one in enumerate(self.said) if all(word in one.text.lower() for word in words)]
        note = "" if found else f"None of {len(self.said)} stored sentences has these words."
        return {"found": found[:MOST_SHOWN], "count": len(found), "note": note}

    def panel(self) -> dict[str, Any]:
        """All that `wall.js` draws."""
        _, where = sheet(self.pictures, SIDE)
        said = [[one.text, one.video, one.start_s, one.hits] for one in self.said]
        return self.common() | {
            "cards": [asdict(card) for card in self.cards],
            "said": said,
            "thumbs": where,
            "most": MOST_SHOWN,
        }

    def media(self) -> dict[str, bytes]:
        """The thumbnails on one picture."""
        return {"thumbs": sheet(self.pictures, SIDE)[0]} if self.cards else {}

    def figure(self) -> Figure:
        """The first videos' thumbnails with their names."""
        n = min(len(self.cards), DRAWN)
        columns = min(6, max(1, n))
        rows = max(1, -(-n // columns))
        fig, axes = plots.figure(9, 1.9 * rows + 0.4, rows, columns, squeeze=False)
        for ax in axes.flat:
            ax.set_axis_off()
        for ax, card, picture in zip(axes.flat, self.cards[:n], self.pictures, strict=False):
            ax.imshow(picture)
            ax.set_title(card.id if len(card.id) <= 22 else f"{card.id[:21]}…", fontsize=plots.SMALL)
        if not n:
            axes.flat[0].text(0.5, 0.5, "\n".join(self.notes) or "no video", ha="center", va="center")
        return fig

    def words(self) -> str:
        """What the picture shows."""
        return f"thumbnails of {len(self.cards)} videos"
