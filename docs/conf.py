"""Sphinx settings of the documentation site; it is built by `docs/build.py`, which copies this file beside the pages.

Nothing is executed (`nb_execution_mode`), nothing is loaded from elsewhere (no require.js, no MathJax, no web fonts).
Docstrings are plain text here: they are escaped before docutils reads them, and what stands in backticks becomes code,
one in asterisks emphasis. A search shows the words around what it found; their text lies in `_static/excerpts.js`,
because a page from disk may fetch nothing. A picture of a notebook has a twin for the dark (`darkened`).
"""

import base64
import html
import inspect
import json
import logging
import re
import sys
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import nbformat
from docutils import nodes

from vcwork.base.console import say
from vcwork.base.files import policy
from vcwork.base.progress import bar
from vcwork.panels.dark import darkened

logging.getLogger("faiss.loader").setLevel(logging.WARNING)  # it tells which build of itself it opened

project = "VideoCLIP Workbench"
author = "the authors of VideoCLIP Workbench"
copyright = "Apache-2.0"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.githubpages"]  # the last only writes .nojekyll
root_doc = "index"
exclude_patterns = ["README.md", "SECURITY.md"]  # quoted by pages, no page itself

nb_execution_mode = "off"
nb_ipywidgets_js = {}  # else require.js and the widget manager come from a CDN
nb_merge_streams = True
myst_enable_extensions = []  # a dollar sign is a dollar sign: formulas of notebooks arrive drawn
myst_heading_anchors = 3

autodoc_default_options = {"undoc-members": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 100
add_module_names = False
html_theme = "furo"
html_title = "VideoCLIP Workbench"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_show_search_summary = False  # it fetches pages, which a browser refuses to a page from disk

HIDDEN = {"model_config", "model_post_init", "model_fields", "model_computed_fields"}  # pydantic's own
FIELD = re.compile(r"Alias for field number \d+")
SPECIAL = re.compile(r"([\\*`|_\[\]<>])")
MARKED = re.compile(r"(`[^`]+`|(?<![\w*])\*\w[\w’' -]*\*(?![\w*]))")  # `code` and *emphasis* in a docstring
PICTURE = re.compile(r'<img [^>]*?src="(?:\.\./)*_images/(?P<name>[\w.-]+)\.png"[^>]*>')
PARAMETERS = re.compile(r"<dl>\n((?:<dd>.*</dd>\n)+)</dl>")  # a long signature's, which are no list of definitions
EXCERPT = 60_000  # characters of a page that a search may quote
told: dict[str, str] = {}  # page -> its text
drawn: set[str] = set()  # names of the pictures that have a twin


def as_text(lines: list[str]) -> list[str]:
    """A docstring's lines as reStructuredText that says the same: text escaped, `code` as code, indented blocks kept.

    A name that begins with `vcwork.` becomes a link where the reference has it.
    """
    out: list[str] = []
    for block in re.split(r"\n\s*\n", inspect.cleandoc("\n".join(lines)).expandtabs()):
        rows = block.split("\n")
        if all(row.startswith("    ") for row in rows):
            out += ["::", "", *rows, ""]
        elif any(row.lstrip().startswith(("* ", "- ")) for row in rows[:2]):
            out += [*(f"| {_escape(row.strip())}" for row in rows), ""]
        else:
            out += [_escape(" ".join(row.strip() for row in rows)), ""]
    return out


def _escape(text: str) -> str:
    return "".join(_marked(part) if n % 2 else SPECIAL.sub(r"\\\1", part) for n, part in enumerate(MARKED.split(text)))


def _marked(text: str) -> str:
    return _code(text[1:-1]) if text.startswith("`") else f"\\ {text}\\ "


def _code(text: str) -> str:
    if re.fullmatch(r"vcwork(\.\w+)+", text):
        return f"\\ :py:obj:`{text}`\\ "
    return f"\\ ``{text.strip()}``\\ " if text.strip() else ""


def plain_docstring(app, what, name, obj, options, lines):
    """Escape what autodoc found; a field of a named tuple says nothing that its name does not."""
    lines[:] = [] if FIELD.fullmatch("".join(lines).strip()) else as_text(lines)


def skip(app, what, name, obj, skip, options):
    """Leave out what pydantic adds to every model, and fields: the signature above them has them all."""
    field = what == "class" and not (callable(obj) or isinstance(obj, property | classmethod | staticmethod))
    return True if field or name in HIDDEN else None


def finish_page(app, pagename, templatename, context, doctree):
    """A page may load what lies beside it, and nothing from elsewhere; its text is kept, its pictures get a twin."""
    context["metatags"] = str(policy("'self' 'unsafe-inline'")) + context.get("metatags", "")
    if pagename == "search":
        app.add_js_file("excerpts.js", priority=400)  # before site.js, which reads it
    if doctree is not None:
        told_of = alternatives(Path(app.srcdir) / f"{pagename}.ipynb")
        body = PICTURE.sub(lambda picture: _twins(picture, told_of), context["body"])
        context["body"] = PARAMETERS.sub(
            lambda found: f'<span class="parameters">{found[1].replace("dd>", "span>")}</span>', body
        )
        told[pagename] = page_text(doctree)[:EXCERPT]
        step(app)


def page_text(doctree: nodes.document) -> str:
    """What a reader reads: paragraphs, headings, code and outputs; no script and no comment."""
    blocks = (node for node in doctree.findall(nodes.TextElement) if not isinstance(node.parent, nodes.TextElement))
    return " ".join(
        " ".join(block.astext().split()) for block in blocks if not isinstance(block, nodes.raw | nodes.comment)
    )


def alternatives(notebook: Path) -> dict[str, str]:
    """What each picture of a notebook shows, in words, by the name myst-nb gives it: the digest of its bytes."""
    cells = nbformat.read(notebook, as_version=4).cells if notebook.is_file() else []
    shown = [o.data for cell in cells for o in cell.get("outputs", []) if "image/png" in o.get("data", {})]
    return {sha256(base64.b64decode(d["image/png"])).hexdigest(): str(d.get("text/plain", "")) for d in shown}


def _twins(match: re.Match, told_of: Mapping[str, str]) -> str:
    """The picture for the light, and the one for the dark, which the page's style shows instead."""
    drawn.add(match["name"])
    tag = re.sub(r' class="[^"]*"', "", match[0])
    if match["name"] in told_of:
        tag = re.sub(r'alt="[^"]*"', lambda _: f'alt="{html.escape(told_of[match["name"]])}"', tag)
    dark = tag.replace(f'{match["name"]}.png"', f'{match["name"]}.dark.png"').replace("<img ", '<img loading="lazy" ')
    return "".join(t.replace("<img ", f'<img class="only-{k}" ') for k, t in (("light", tag), ("dark", dark)))


def begin(app, env, docnames):
    """Count what is read and then written; a log gets one line."""
    total, watched = len(docnames) + len(env.found_docs), sys.stderr.isatty()
    app.progress = bar(total=total, wanted=watched, desc="pages read and written", unit="page")
    if not watched:
        say(f"{len(docnames)} pages to read and {len(env.found_docs)} to write, a minute or two", file=sys.stderr)


def step(app, *_):
    app.progress.update()


def finish(app, error):
    """Write what pages look for: the texts that a search quotes, and the pictures for the dark."""
    app.progress.close()
    if error is None:
        out = Path(app.outdir)
        quoted = json.dumps(told, ensure_ascii=False, sort_keys=True)
        (out / "_static" / "excerpts.js").write_text(f"window.excerpts = {quoted};\n", encoding="utf-8")
        for name in sorted(drawn):
            light = out / "_images" / f"{name}.png"
            light.with_suffix(".dark.png").write_bytes(darkened(light.read_bytes()))


def setup(app):
    app.connect("env-before-read-docs", begin)
    app.connect("source-read", step)
    app.connect("html-page-context", finish_page)
    app.connect("build-finished", finish)
    app.connect("autodoc-process-docstring", plain_docstring)
    app.connect("autodoc-skip-member", skip)
