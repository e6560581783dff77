"""Build the documentation site: `./run docs [folder]`, by default into `outputs/docs`.

Sphinx reads one folder and leaves the project alone: `stage` puts into it the pages of `docs/`, the stored notebooks
with their outputs, the READMEs that pages quote, one page a module of `vcwork`, and one page for each other file that a
page links to. Links are rewritten on the way, so that the same text leads somewhere in the site and in the repository.
No notebook is executed and nothing is fetched. Warnings are errors, of every kind. Pages may say `{stored}` (an output
of a stored notebook), `{modules}`, and `{disagreements}` and `{choices}` of `vcwork.training.ingredients`, each a
fence.

Known gaps: a formula in a notebook that matplotlib cannot draw stays as TeX; a file linked to must be text.
"""

import ast
import os
import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import nbformat

from vcwork.base.errors import VcworkError
from vcwork.base.files import atomic_write
from vcwork.training import ingredients
from vcwork.workbench.notebook_html import STATE, draw_formulas, settle
from vcwork.workbench.recording import MIME

ROOT = Path(__file__).resolve().parents[1]
READMES = ("README.md", "SECURITY.md", "benchmarks/README.md", "params/README.md", "data/README.md")
LINK = re.compile(r"(?P<before>\]\()(?P<path>[^)#\s:]+)(?P<after>(#[^)\s]*)?\))")
INCLUDE = re.compile(r"(?P<before>^```+\{include\} )(?P<path>\S+)(?P<after>)$", re.MULTILINE)
STORED = re.compile(r"^```\{stored\} (?P<path>\S+) (?P<heading>#.*?) \| (?P<start>.+)\n```$", re.MULTILINE)
MODULES, DISAGREEMENTS, CHOICES = (f"```{{{name}}}\n```" for name in ("modules", "disagreements", "choices"))
LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".js": "javascript"}
IMAGES = {".png", ".jpg", ".svg"}
ROOMS = (
    "base",
    "core",
    "measure",
    "data",
    "data.backbones",
    "data.benchmarks",
    "data.howto100m",
    "data.lab",
    "encoders",
    "tasks",
    "search",
    "training",
    "review",
    "panels",
    "workbench",
)  # as the imports go, bottom first


def main(arguments: list[str]) -> int:
    """Stage and build; the exit code."""
    from sphinx.cmd.build import main as sphinx

    target = Path(arguments[0]).resolve() if arguments else ROOT / "outputs" / "docs"
    work = target.with_name(f"{target.name}-build")  # beside the site: sphinx wants no sources inside its output
    sources, trees = work / "sources", work / "trees"
    try:
        stage(ROOT, sources)
    except VcworkError as error:
        print(f"docs: {error}", file=sys.stderr)
        return 2
    # -a: every page again, because each has the list of pages in its margin
    code = sphinx(["-a", "-q", "-W", "--keep-going", "-b", "html", "-d", str(trees), str(sources), str(target)])
    if code:
        shutil.rmtree(trees, ignore_errors=True)  # a page that it missed may come: all is read anew next time
    else:
        print(f"done: {os.path.relpath(target / 'index.html')}")
    return code


def stage(root: Path, sources: Path) -> None:
    """Write all that sphinx reads into `sources`; files that did not change keep their time.

    VcworkError for a link to a file that is not there, with the page that has it.
    """
    written, linked = set(), set()

    def put(name: str, content: str | bytes) -> None:
        written.add(name)
        _write(sources / name, content.encode() if isinstance(content, str) else content)

    found = modules(root)
    for page in sorted((root / "docs").glob("*.md")):
        text = quote_stored(page.read_text(encoding="utf-8"), page)
        text = relink(text, page, page.name, root, linked)
        text = text.replace(DISAGREEMENTS, disagreements()).replace(CHOICES, choices())
        put(page.name, text.replace(MODULES, _module_list(found)))
    for name in READMES:
        put(name, relink((root / name).read_text(encoding="utf-8"), root / name, name, root, linked))
    for notebook in sorted((root / "notebooks").glob("[0-9]*.ipynb")):
        put(f"notebooks/{notebook.name}", _notebook(notebook, root, linked))
    for name in found:
        put(f"reference/{name}.md", _module_page(name))
    for path in sorted(linked):
        if Path(path).suffix in IMAGES:
            put(path, (root / path).read_bytes())
        else:
            put(f"{path}.md", _file_page(root, path))
    for name in ("conf.py", *(f"_static/{file.name}" for file in sorted((root / "docs/_static").iterdir()))):
        put(name, (root / "docs" / name).read_bytes())
    _remove_others(sources, written)


def relink(text: str, page: Path, staged: str, root: Path, linked: set[str]) -> str:
    """`text` of `page` with its links and includes as they must read in the staged file `staged`.

    A link to a module of `vcwork` leads to its reference; to a file without a page of its own, to a page made of it,
    and its path is added to `linked`.
    """

    def lead(match: re.Match) -> str:
        where = (page.parent / match["path"]).resolve()
        if not where.is_file() or not where.is_relative_to(root):
            raise VcworkError(f"{page.relative_to(root)}: the link {match['path']!r} leads to no file of the project")
        target = _staged(where.relative_to(root).as_posix(), linked, match.re is INCLUDE)
        return match["before"] + os.path.relpath(target, Path(staged).parent).replace(os.sep, "/") + match["after"]

    return INCLUDE.sub(lead, LINK.sub(lead, text))


def quote_stored(text: str, page: Path) -> str:
    """`text` with each ```{stored} NOTEBOOK ## HEADING | START``` replaced by an output of the stored notebook.

    It is the first text below that heading that begins with START. VcworkError where there is none.
    """

    def output(match: re.Match) -> str:
        below = False
        for cell in nbformat.read(page.parent / match["path"], as_version=4).cells:
            if cell.cell_type == "markdown" and re.search(r"^#", cell.source, re.MULTILINE):
                below = match["heading"] in cell.source.split("\n")
            for shown in cell.get("outputs", []) if below else []:
                told = shown.get("text") or shown.get("data", {}).get("text/plain", "")
                if told.startswith(match["start"]):
                    return f"```text\n{told.rstrip()}\n```"
        raise VcworkError(f"{page.name}: {match['path']} has no output below {match['heading']!r} that begins with "
                          f"{match['start']!r}")  # fmt: skip

    return STORED.sub(output, text)


def _staged(path: str, linked: set[str], include: bool) -> str:
    """Where the project's file `path` stands among the sources."""
    if re.fullmatch(r"docs/[^/]+\.md", path):
        return path.removeprefix("docs/")
    if include or path in READMES or path.startswith("notebooks/"):
        return path
    if path.startswith("vcwork/") and path.endswith(".py"):
        return f"reference/{module_name(path)}.md"
    linked.add(path)
    return path if Path(path).suffix in IMAGES else f"{path}.md"


def module_name(path: str) -> str:
    """`vcwork/tasks/__init__.py` -> `vcwork.tasks`."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def modules(root: Path) -> dict[str, str]:
    """Every module of the library and the first paragraph of its docstring, without importing any; by name."""
    found = {}
    for file in sorted((root / "vcwork").rglob("*.py")):
        if file.stem != "__main__":
            doc = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
            found[module_name(file.relative_to(root).as_posix())] = " ".join(doc.split("\n\n")[0].split())
    return found


def _module_list(found: dict[str, str]) -> str:
    """All modules by room, as Markdown: a room's own docstring, then its files."""
    out = []
    for room in ("vcwork", *(f"vcwork.{name}" for name in ROOMS)):
        files = [
            name for name in found if name.rpartition(".")[0] == room and name.removeprefix("vcwork.") not in ROOMS
        ]
        out += ["", f"## {room}", "", f"[{room}](reference/{room}.md): {_plain(found[room])}", ""]
        out += [f"- [{name}](reference/{name}.md): {_plain(found[name])}" for name in files]
    return "\n".join(out)


def disagreements() -> str:
    """`vcwork.training.ingredients.disagreements` as a Markdown table."""
    return _table(("ingredient", *ingredients.SOURCES), ingredients.disagreements())


def choices() -> str:
    """All ingredients with their choices and who says so, as Markdown."""
    out = []
    for one in ingredients.INGREDIENTS:
        rows = [(c.name, "; ".join([*(f"{who}: {what}" for who, what in c.says.items()), *filter(None, (c.note,))]),
                 f"[{module_name(c.elsewhere)}](reference/{module_name(c.elsewhere)}.md)" if c.elsewhere else "switch")
                for c in one.choices]  # fmt: skip
        out.append(f"**{one.name}**: {one.question}\n\n{_table(('choice', 'who says so', 'where'), rows)}")
    return "\n\n".join(out)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *([cell.replace("|", r"\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plain(text: str) -> str:
    """A docstring's line inside Markdown: what is no code is escaped."""
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([\\*_<\[$])", r"\\\1", part) for part in parts)


def _module_page(name: str) -> str:
    # orphan: the page Reference lists them; 110 lines more in the sidebar of every page help nobody
    head = f"---\norphan: true\n---\n\n# {name}\n\n[Reference](../reference.md)\n"
    return f"{head}\n```{{eval-rst}}\n.. automodule:: {name}\n   :members:\n   :ignore-module-all:\n```\n"


def _file_page(root: Path, path: str) -> str:
    """A page that shows a text file of the project."""
    text = (root / path).read_text(encoding="utf-8")
    fence = "`" * (1 + max((len(run) for run in re.findall("`{3,}", text)), default=2))
    return f"---\norphan: true\n---\n\n# {path}\n\n{fence}{LANGUAGES.get(Path(path).suffix, 'text')}\n{text}\n{fence}\n"


def _notebook(path: Path, root: Path, linked: set[str]) -> str:
    """A stored notebook as the site shows it: widgets as what is stored beside them, formulas drawn."""
    node = nbformat.read(path, as_version=4)
    state = node.metadata.pop("widgets", {}).get(STATE, {}).get("state", {})
    for cell in node.cells:
        if cell.cell_type == "markdown":
            cell.source = draw_formulas(relink(cell.source, path, f"notebooks/{path.name}", root, linked))
        elif cell.cell_type == "code":
            cell.outputs = [settle(output, state) for output in cell.outputs]
            for output in cell.outputs:
                output.get("data", {}).pop(MIME, None)  # the numbers for programs; the table for people stays
    return nbformat.writes(node) + "\n"


def _write(path: Path, content: bytes) -> None:
    if not path.is_file() or path.read_bytes() != content:
        with atomic_write(path, "wb") as file:
            file.write(content)


def _remove_others(sources: Path, written: set[str]) -> None:
    """Pages of an earlier build whose source is gone."""
    for file in sources.rglob("*"):
        if file.is_file() and file.relative_to(sources).as_posix() not in written and "__pycache__" not in file.parts:
            file.unlink()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
