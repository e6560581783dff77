"""`explore --grade`: how good search is in this very folder (`vcwork.review.graded`), on command line and page.

Where a checkpoint was trained on some of the corpus, only captions of its other videos are asked; all are searched.
"""

import sys
from typing import Any

from markupsafe import Markup

from vcwork.base.console import say
from vcwork.base.errors import VcworkError
from vcwork.base.files import template
from vcwork.base.sealed import read_sealed, write_sealed
from vcwork.measure.card import Card
from vcwork.review.graded import MOST, Grade, grade
from vcwork.workbench.own_asking import asking, lines_of
from vcwork.workbench.own_videos import Own

FILE = "grade.json"


def grade_own(own: Own, most: int = MOST, progress: bool = True) -> Grade:
    """Grade a folder's search by its own captions, and keep the table for its page. VcworkError as `grade`."""
    here, only = asking(own, progress), held_out(own)
    lengths = {id: own.store.lengths[id] for id in own.ids}
    card = Card(split=f"{own.corpus.folder.name}: own captions", features=own.hashes.get("features", ""))
    card = card.but(model=own.encoder.digest if own.encoder is not None else "+".join(own.ready))
    made = grade(here.kinds, lines_of(own), lengths, most, only=only, card=card, progress=progress)
    if only is not None:
        left = f"Only captions of the {len(only)} videos that the checkpoint was not trained on were asked, among all."
        made.notes.append(left)
    made.notes.extend(here.told)
    if own.keeps:
        head, rows = made.rows()
        write_sealed(own.out / "cache" / FILE, {"key": here.key, "head": head, "rows": rows, "notes": made.notes})
    return made


def held_out(own: Own) -> set[str] | None:
    """Videos that the checkpoint was not trained on; None where it was trained on none of these, or on all."""
    card = own.encoder.card if own.encoder is not None else {}
    trained = own.corpus.name == card.get("corpus") or own.store.digest() == card.get("features")  # older: no name
    others = {id for id in own.ids if own.corpus[id].split != "train"}
    return others if trained and 0 < len(others) < len(own.ids) else None


def graded_html(own: Own) -> Markup:
    """The kept table, to stand above the wall of videos; nothing where there is none, or it is of another state."""
    path = own.out / "cache" / FILE
    try:
        kept: dict[str, Any] = read_sealed(path) if path.is_file() else {}
        if kept.get("key") != asking(own).key:
            return Markup("")
        return Markup(template(__package__, "own_grade.html.j2").render(kept))
    except VcworkError as error:
        say(f"{error}; --grade makes it again", file=sys.stderr)
        return Markup("")
