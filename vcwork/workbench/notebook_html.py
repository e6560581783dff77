"""An executed notebook as one HTML file that needs no network, and the figures in it.

nbconvert's own page loads require.js, MathJax, mermaid and the widget manager from elsewhere; without a network it
shows raw formulas and empty places. Here those scripts are left out, formulas are drawn by matplotlib, progress bars
are written as text from the saved widget state, other widgets show the static figure or text stored beside them.
"""

import base64
import html
import io
import re
from collections.abc import Collection
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import nbformat

from vcwork.base.files import atomic_write, policy, template
from vcwork.panels.dark import darkened, darkened_base64
from vcwork.workbench.page import dark

WIDGET = "application/vnd.jupyter.widget-view+json"
PANEL = 'class="vcwork-panel"'
STATE = "application/vnd.jupyter.widget-state+json"

# fenced or inline code first, so that a dollar sign inside code stays one
MATH = re.compile(
    r"(?P<code>```.*?```|`[^`]*`)|\$\$(?P<display>.+?)\$\$|"
    r"\$(?P<inline>[^\s$](?:[^$\n]*[^\s$])?)\$(?!\d)",
    re.DOTALL,
)

LINK = re.compile(r'<a href="(?![#"]|[a-z]+:)([^"#]*)(#[^"]*)?"')  # to something beside the notebook
HEADING = re.compile(r'(<h([1-6]) id=)"([^"]*)">(.*?)<a class="anchor-link" href="[^"]*"')


def write_html(notebook: Path, target: Path, names: Collection[str] = ()) -> None:
    """Write the executed `notebook` as a page of its own.

    Links to other notebooks lead to their pages among `names` (those of the run, in order); what is not in the run is
    no link. With `names` the page has links to the run's own page and to the notebooks before and after.
    """
    node = nbformat.read(notebook, as_version=4)
    state = node.metadata.pop("widgets", {}).get(STATE, {}).get("state", {})
    node.metadata["title"] = title(node) or notebook.stem
    for cell in node.cells:
        if cell.cell_type == "markdown":
            cell.source = draw_formulas(cell.source)
        elif cell.cell_type == "code":
            cell.outputs = [settle(output, state) for output in cell.outputs]
    resources = {"metadata": {"name": notebook.stem}, "names": list(names), "policy": policy("'unsafe-inline'")}
    page, _ = _exporter().from_notebook_node(node, resources=resources)
    head, found, body = page.partition("<main>")
    body = LINK.sub(lambda match: _link(unquote(match[1]), match[2] or "", notebook.stem, names), body)
    body = HEADING.sub(_heading, body)
    with atomic_write(target) as file:
        file.write(head.replace("<!-- contents -->", _contents(body)) + found + body)


@cache  # compiling its templates takes a quarter of a second
def _exporter() -> Any:
    from nbconvert import HTMLExporter  # slow to import, and only the runner needs it

    frame = (files(__package__) / "notebook.html.j2").read_text(encoding="utf-8")
    return HTMLExporter(raw_template=frame, filters={"darkened": darkened_base64})


def _heading(match: re.Match) -> str:
    """A heading whose place is a text and no address, and its link the address of that place."""
    place = unquote(html.unescape(match[3]))
    return f'{match[1]}"{html.escape(place)}">{match[4]}<a class="anchor-link" href="#{quote(place)}"'


def _contents(body: str) -> str:
    sections = [(place, re.sub("<[^>]*>", "", text)) for _, level, place, text in HEADING.findall(body) if level == "2"]
    return "".join(f'<a href="#{quote(html.unescape(place))}">{text}</a>' for place, text in sections)


def _link(path: str, anchor: str, own: str, names: Collection[str]) -> str:
    """Where `own`'s link to a notebook leads: to the run under the same label, or without one, or any."""
    name, label = path.rsplit("/", 1)[-1].removesuffix(".ipynb"), "".join(own.partition("--")[1:])
    wanted = [name + label, name, *sorted(other for other in names if other.startswith(f"{name}--"))]
    page = next((other for other in wanted if other in names and path.endswith(".ipynb")), None)
    return f'<a href="{quote(page)}.html{anchor}"' if page else '<a title="not in this run"'


def hold_place(target: Path, name: str) -> None:
    """A page for a notebook of the run that has none yet, and may never have one: links lead there from the start."""
    if not target.exists():
        with atomic_write(target) as file:
            file.write(template(__package__, "absent.html.j2").render(name=name))


@cache  # an executed notebook stays as it is
def panel_of(notebook: Path) -> str:
    """The HTML of the first panel that an executed notebook shows; "" without one."""
    for cell in nbformat.read(notebook, as_version=4).cells:
        for output in cell.get("outputs", []):
            if PANEL in (text := "".join(output.get("data", {}).get("text/html", ""))):
                return text
    return ""


def write_figures(notebook: Path, folder: Path) -> dict[str, str]:
    """Save every PNG output of the executed `notebook` into `folder`; file name -> what it shows, in order.

    Beside each lies its twin for the dark, `dark(name)`.
    """
    names: dict[str, str] = {}
    for cell in nbformat.read(notebook, as_version=4).cells:
        for output in cell.get("outputs", []):
            png = output.get("data", {}).get("image/png")
            if png:
                name = f"{notebook.stem}-{len(names) + 1}.png"
                names[name] = "".join(output.data.get("text/plain", ""))
                light = base64.b64decode("".join(png))
                for file_name, picture in ((name, light), (dark(name), darkened(light))):
                    with atomic_write(folder / file_name, "wb") as file:
                        file.write(picture)
    return names


def title(notebook: nbformat.NotebookNode) -> str:
    """The notebook's first heading without its markup, or nothing."""
    for cell in notebook.cells:
        match = re.search(r"^#+\s+(.+)$", cell.source, re.MULTILINE) if cell.cell_type == "markdown" else None
        if match:
            return re.sub(r"[*`$]", "", match[1]).strip()
    return ""


def settle(output: nbformat.NotebookNode, state: dict[str, Any]) -> nbformat.NotebookNode:
    """A widget's output without the widget: what is stored beside it, or the last text its saved state shows."""
    view = output.get("data", {}).pop(WIDGET, None)
    if view and not set(output.data) - {"text/plain"}:
        text = widget_text(view["model_id"], state)
        if text:
            output.data["text/plain"] = text
    return output


def widget_text(model_id: str, state: dict[str, Any]) -> str:
    """The readable parts of a widget and its children, from a notebook's saved widget state; a bar becomes blocks."""
    model = state.get(model_id, {}).get("state", {})
    if "bar_style" in model and model.get("max"):
        return "█" * round(20 * float(model.get("value", 0)) / float(model["max"]))
    own = [html.unescape(re.sub(r"<[^>]*>", "", str(model.get(key) or ""))) for key in ("description", "value")]
    parts = own + [widget_text(child.removeprefix("IPY_MODEL_"), state) for child in model.get("children", [])]
    return " ".join(part.strip() for part in parts if part.strip())


def draw_formulas(markdown: str) -> str:
    """Markdown with every `$formula$` that matplotlib understands drawn as an inline SVG; the others stay as text."""
    return MATH.sub(_draw_match, markdown)


def _draw_match(match: re.Match) -> str:
    if match["code"]:
        return match[0]
    image = _formula_image(" ".join((match["display"] or match["inline"]).split()))
    if image is None:
        return match[0]
    return f"\n\n{image}\n\n" if match["display"] else image


def _formula_image(formula: str) -> str | None:
    from matplotlib import mathtext, rc_context
    from matplotlib.font_manager import FontProperties

    svg = io.BytesIO()
    try:
        with rc_context({"savefig.facecolor": "none"}):
            mathtext.math_to_image(f"${formula}$", svg, format="svg", dpi=72, prop=FontProperties(size=11))
    except Exception:  # mathtext knows only a part of TeX: the reader then sees the source
        return None
    data = base64.b64encode(svg.getvalue()).decode()
    return f'<img class="formula" alt="{html.escape(formula)}" src="data:image/svg+xml;base64,{data}"/>'
