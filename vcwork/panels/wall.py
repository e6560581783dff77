"""All videos of a folder on one page: thumbnails, who is like whom, and a search over what is said: `VideoWall`.

The class knows plain data only (`vcwork.workbench.own_pages` makes it). A sentence answers with where it is said and,
where a model had looked for it, with its best moments in all videos. Videos and moments link to the videos' own pages.
Known gaps: only stored sentences can be found here; another one needs the model, on the command line or in notebook 40.
"""

import re
from collections.abc import Sequence
from dataclasses import KW_ONLY, asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from vcwork.base.errors import VcworkError
from vcwork.panels import plots
from vcwork.panels.base import Panel
from vcwork.panels.parts import Pictures

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

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w./-]*", self.page, re.ASCII):
            raise VcworkError(f"{self.id}: expected a plain relative address, got {self.page!r}")


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
    """Cards and thumbnails, one for one, and stored sentences; thumbs (H, W, 3) uint8, or None for a grey one.

    VcworkError where a card or sentence names a video that is not there, and for another number of thumbs.
    """

    module = "wall.js"
    side = SIDE
    cards: Sequence[Card]
    thumbs: Sequence[np.ndarray | None]
    said: Sequence[Said] = ()
    _: KW_ONLY
    title: str = ""
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        if len(self.thumbs) != len(self.cards):
            raise VcworkError(
                f"expected a picture or None for each of {len(self.cards)} videos, got {len(self.thumbs)}"
            )
        named = [j for card in self.cards for j, _ in card.near]
        named += [place for one in self.said for place in (one.video, *(hit[0] for hit in one.hits))]
        if wrong := [place for place in named if not 0 <= place < len(self.cards)]:
            raise VcworkError(f"expected places of {len(self.cards)} videos, got {wrong[0]}")

    @cached_property
    def pictures(self) -> Pictures:
        """One of each card."""
        grey = np.full((SIDE, SIDE, 3), 128, np.uint8)
        return {i: [grey if thumb is None else np.asarray(thumb)] for i, thumb in enumerate(self.thumbs)}

    def panel(self) -> dict[str, Any]:
        """All that `wall.js` draws and searches."""
        said = [[one.text, one.video, one.start_s, one.hits] for one in self.said]
        return self.common() | {"cards": [asdict(card) for card in self.cards], "said": said, "most": MOST_SHOWN}

    def figure(self) -> Figure:
        """The first videos' thumbnails with their names."""
        n = min(len(self.cards), DRAWN)
        columns = min(6, max(1, n))
        rows = max(1, -(-n // columns))
        fig, axes = plots.figure(9, 1.9 * rows + 0.4, rows, columns, squeeze=False)
        for ax in axes.flat:
            ax.set_axis_off()
        for i, ax in zip(range(n), axes.flat, strict=False):
            ax.imshow(self.pictures[i][0])
            ax.set_title(plots.short(self.cards[i].id, 22), fontsize=plots.SMALL)
        if not n:
            plots.blank(axes.flat[0], "\n".join(self.notes) or "no video")
        return fig

    def words(self) -> str:
        """What the picture shows."""
        return f"thumbnails of {len(self.cards)} videos"
