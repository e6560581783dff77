"""Sphinx settings of the documentation site; it is built by `docs/build.py`, which copies this file beside the pages.

Nothing is executed (`nb_execution_mode`), nothing is loaded from elsewhere (no require.js, no MathJax, no web fonts).
Docstrings are plain text here: they are escaped before docutils reads them, and what stands in backticks becomes code.
"""

import inspect
import logging
import re

from vcwork.base.files import policy

logging.getLogger("faiss.loader").setLevel(logging.WARNING)  # it tells which build of itself it opened

project = "VideoCLIP Workbench"
author = "the authors of VideoCLIP Workbench"
copyright = "Apache-2.0"
extensions = ["myst_nb", "sphinx.ext.autodoc"]
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
    return "".join(_code(part[1:-1]) if part[:1] == "`" and len(part) > 2 else SPECIAL.sub(r"\\\1", part)
                   for part in re.split(r"(`[^`]+`)", text))  # fmt: skip


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


def guard(app, pagename, templatename, context, doctree):
    """Each page may load what lies beside it, and nothing from elsewhere."""
    context["metatags"] = policy("'self' 'unsafe-inline'") + context.get("metatags", "")


def setup(app):
    app.connect("html-page-context", guard)
    app.connect("autodoc-process-docstring", plain_docstring)
    app.connect("autodoc-skip-member", skip)
