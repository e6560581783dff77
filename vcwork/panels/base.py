"""What every panel is: state that is JSON, a picture without a browser, one JavaScript module in two hosts: `Panel`.
And what panels are given: a video with what is said and happens in it, pictures that travel as a sheet.

A panel says what it shows (`panel`, `media`, `figure`); this file brings it into a page. `common.js` and the panel's
own module are one text, run by anywidget beside a live kernel, or inside a standalone HTML text that needs neither
kernel nor network. Data reaches the page as JSON or bytes, never as HTML or code.
Most panels are frozen dataclasses, checked once when they are made; `dataclasses.replace` makes another one.
"""

import base64
import hashlib
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from typing import Any, ClassVar

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

from vcwork.base.errors import VcworkError
from vcwork.base.files import script_hash, template
from vcwork.panels import plots
from vcwork.panels.alternative import describe, someone_watches

COMMON = "common.js"
Span = tuple[float, float, str]  # start_s, end_s, label
Pictures = Mapping[int, Sequence[np.ndarray]]  # frames (H, W, 3) uint8 by the place of what they show


@dataclass(frozen=True)
class Narrated:
    """A video of a panel: captions and true segments (start_s, end_s, text) over its `seconds`.

    names: the step each caption speaks of, "" for none; empty where nobody knows. clip: an mp4 that browsers play; src:
    a relative address of one, instead. described: lines that belong to the video and to no second of it. words: where
    captions and lines come from. file and fps name the film in lists that are taken away, fps 0 where unknown.
    VcworkError for times that run backwards or never end.
    """

    id: str
    seconds: int
    captions: Sequence[Span] = ()
    truth: Sequence[Span] = ()
    names: Sequence[str] = ()
    clip: bytes | None = None
    src: str = ""
    described: Sequence[str] = ()
    words: str = ""
    file: str = ""
    fps: float = 0.0

    def __post_init__(self) -> None:
        for start, end, label in (*self.captions, *self.truth):
            if not 0 <= start <= end or not np.isfinite(end):
                raise VcworkError(f"{label!r}: expected times in seconds, start <= end, got {start} to {end}")


@dataclass(frozen=True)
class Sheet:
    """Pictures on one JPEG, row by row: its `measures` {"side", "columns", "n"}, and which are those of a place.

    JavaScript's `thumbnail` cuts the i-th out.
    """

    jpeg: bytes
    measures: dict[str, int]
    where: dict[int, list[int]]


def sheet(pictures: Pictures, side: int = 64) -> Sheet:
    """All pictures, made square, in order of their places. VcworkError for something else than (H, W, 3) uint8."""
    where, flat = {}, []
    for place, some in sorted(pictures.items()):
        where[int(place)] = list(range(len(flat), len(flat) + len(some)))
        flat += [_square(np.asarray(picture), side) for picture in some]
    columns = max(1, min(32, len(flat)))
    whole = Image.new("RGB", (columns * side, max(1, -(-len(flat) // columns)) * side))
    for i, picture in enumerate(flat):
        whole.paste(picture, (i % columns * side, i // columns * side))
    out = io.BytesIO()
    whole.save(out, "JPEG", quality=70)
    return Sheet(out.getvalue(), {"side": side, "columns": columns, "n": len(flat)}, where)


def _square(picture: np.ndarray, side: int) -> Image.Image:
    """The middle of a picture (H, W, 3), `side` pixels wide and high."""
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise VcworkError(f"expected pictures (H, W, 3) uint8, got {picture.dtype} {picture.shape}")
    short = min(picture.shape[:2])
    top, left = ((n - short) // 2 for n in picture.shape[:2])
    return Image.fromarray(picture[top : top + short, left : left + short]).resize((side, side))


def packed(values: np.ndarray, kind: str) -> str:
    """An array as base64 of its bytes, which JavaScript reads as a typed array."""
    return base64.b64encode(np.ascontiguousarray(values, dtype=kind).tobytes()).decode()


@dataclass(frozen=True, eq=False, kw_only=True)
class Panel:
    """One panel: `module` names its JavaScript file, `title` stands above it, `notes` say what is missing and why.

    parts: JavaScript files that come before the module's own; beside: one that its page loads. unit: what times count;
    pictures: thumbnails by place, which travel as one sheet, `side` pixels each.
    """

    module: ClassVar[str] = ""
    parts: ClassVar[tuple[str, ...]] = ()
    side: ClassVar[int] = 64
    beside = ""
    title: str = ""
    notes: Sequence[str] = ()
    unit: str = "second"
    pictures: Pictures = field(default_factory=dict)

    def set(self, **values: Any) -> None:
        """For `__post_init__`: fields as they were checked."""
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def panel(self) -> dict[str, Any]:
        """All that the module draws, as JSON values without NaN; begins with `self.common()`."""
        raise NotImplementedError

    def media(self) -> dict[str, bytes]:
        """Files of the page by name: the sheet of thumbnails, and in some panels a clip."""
        return {"sheet": self.sheet.jpeg} if self.sheet else {}

    @cached_property
    def sheet(self) -> Sheet | None:
        """All pictures on one, or None without any."""
        return sheet(self.pictures, self.side) if any(map(len, self.pictures.values())) else None

    def figure(self) -> Figure:
        """The same without a browser."""
        raise NotImplementedError

    def words(self) -> str:
        """What the panel is about, in a few words; `picture` adds what its figure says."""
        return self.title

    def answer(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """What to send back for a message of the page; None lets it be. Nothing of the panel changes.

        Bytes by name under `media` travel beside it, as files.
        """
        return None

    def common(self) -> dict[str, Any]:
        """Title, notes, unit, colours, and where on the sheet the pictures of each place are."""
        colours = matplotlib.colormaps[plots.MAP](np.linspace(0, 1, 64))
        return {
            "title": self.title,
            "notes": list(self.notes),
            "unit": self.unit,
            "palette": list(plots.COLOURS),
            "map": [matplotlib.colors.to_hex(c) for c in colours],
            "sheet": self.sheet.measures if self.sheet else None,
            "pictures": {str(place): where for place, where in self.sheet.where.items()} if self.sheet else {},
        }

    def picture(self) -> tuple[str, str]:
        """`figure` as a PNG in base64, and what it shows in words."""
        figure = self.figure()
        return plots.png(figure, 80), f"{self.words()}. {describe(figure)}"

    def html(self, picture: tuple[str, str] | None = None) -> str:
        """The panel as an HTML text that runs by itself; where scripts do not run, the picture is seen instead.

        picture: `picture`, where it is made already.
        """
        state = as_script({"panel": self.panel(), "live": False})
        media = as_script({name: base64.b64encode(data).decode() for name, data in self.media().items()})
        digest = hashlib.sha256((state + media).encode()).hexdigest()[:12]
        start = f"standalone({json.dumps(digest)}, {state}, {media});"
        return template(__package__, "panel.html.jinja").render(
            digest=digest,
            picture=picture or self.picture(),
            code=Markup(f"{script(*self.parts, self.module)}\n{start}"),
        )

    def page(self, above: str = "") -> str:
        """A whole HTML document with the panel; above: what stands before it, escaped unless it is Markup."""
        panel = self.html()
        own = re.findall(r'<script type="module">(.*?)</script>', panel, re.DOTALL)
        scripts = " ".join([*map(script_hash, own), self.beside and "'self'"])
        parts = {"title": self.title, "panel": Markup(panel), "above": above, "scripts": Markup(scripts)}
        return template(__package__, "page.html.jinja").render(parts)

    def widget(self) -> Any:
        """The live panel, an anywidget; its messages are answered by `answer`."""
        import anywidget  # only where somebody watches
        import traitlets

        class Live(anywidget.AnyWidget):
            _esm = script(*self.parts, self.module)
            panel = traitlets.Dict().tag(sync=True)
            media = traitlets.Dict().tag(sync=True)
            live = traitlets.Bool(True).tag(sync=True)

        made = Live(panel=self.panel(), media=self.media())
        made.on_msg(lambda widget, content, _: self.receive(content, widget.send))
        _keep_for_its_cell(made)
        return made

    def receive(self, content: Any, send: Callable[..., None]) -> None:
        """A message of the page: `{"answer": ...}` goes back where `answer` has one, with the `view` that asked."""
        answer = self.answer(content) if isinstance(content, dict) else None
        if answer is None:
            return
        back: dict[str, Any] = {"answer": answer} | {key: content[key] for key in ("view",) if key in content}
        if "media" not in answer:
            return send(back)
        files = answer["media"]
        back["answer"] = {key: value for key, value in answer.items() if key != "media"}
        send(back | {"files": list(files)}, list(files.values()))

    def show(self, live: bool | None = None) -> None:
        """Display the panel: live where somebody sits at the notebook, always with the HTML and a picture beside it.

        live=None asks the kernel whether its front end can answer questions: JupyterLab can, nbclient, papermill and
        nbval say that they cannot, and get no widget, which nobody could open afterwards.
        """
        from IPython.display import display

        wanted = someone_watches() if live is None else live
        display(self.bundle(self.widget() if wanted else None), raw=True)

    def bundle(self, widget: Any = None) -> dict[str, Any]:
        """What is displayed, by MIME type: words, HTML, a picture, and where there is one the live widget."""
        picture = self.picture()  # drawing takes longest, so once
        shown = {
            "text/plain": f"{type(self).__name__}({self.title!r}): {picture[1]}",
            "text/html": self.html(picture),
            "image/png": picture[0],
        }
        made = widget._repr_mimebundle_() if widget is not None else None
        return shown | ((made[0] if isinstance(made, tuple) else made) or {})


_live: dict[str, tuple[str, list[Any]]] = {}  # of each cell: which run of it, and the widgets that this run has shown


def _keep_for_its_cell(widget: Any) -> None:
    """Close the widgets that an earlier run of the cell has shown: ipywidgets keeps every one that nobody closes."""
    from IPython import get_ipython

    try:
        parent = get_ipython().kernel.get_parent("shell")
        cell, run = parent["metadata"]["cellId"], parent["header"]["msg_id"]
    except (AttributeError, KeyError, TypeError):
        return  # nobody tells which cell this is, or runs one twice
    before, shown = _live.get(cell, (run, []))
    if before != run:
        for old in shown:
            old.close()
        shown = []
    _live[cell] = run, [*shown, widget]


def script(*modules: str) -> str:
    """The JavaScript of a panel: what all share, then its own."""
    here = files("vcwork.panels")
    return "\n".join(here.joinpath(name).read_text(encoding="utf-8") for name in (COMMON, *modules))


def as_script(value: Any) -> str:
    """A value as a JavaScript literal that cannot end the script element around it, whatever its texts hold."""
    text = json.dumps(value, allow_nan=False)  # ASCII only, so U+2028 and U+2029 are escaped as well
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
