"""Build the documentation site: `./run docs [FOLDER] [--run RUN]`, by default into `outputs/docs`.

Sphinx reads one folder and leaves the project alone: `stage` puts into it the pages of `docs/`, the notebooks with
their outputs, the READMEs that pages quote, one page a module of `vcwork`, and one page for each other file that a
page links to. Links are rewritten on the way, so that the same text leads somewhere in the site and in the repository.
Notebooks are those of a run (`--run`: of the lab world, say, as the published site has them), and those it lacks as
they are stored; each page says which. No notebook is executed and nothing is fetched. Warnings are errors, of every
kind. Pages may say `{stored}` (an output of a stored notebook), `{modules} ROOM`, and `{disagreements}` and `{choices}`
of `vcwork.training.ingredients`, each a fence.

Known gaps: a formula in a notebook that matplotlib cannot draw stays as TeX; a file linked to must be text.
"""

import argparse
import ast
import itertools
import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import nbformat

from vcwork.base.errors import VcworkError
from vcwork.base.files import atomic_write
from vcwork.base.progress import waiting
from vcwork.base.sealed import check
from vcwork.training import ingredients
from vcwork.workbench.notebook_html import STATE, draw_formulas, settle
from vcwork.workbench.recording import MIME
from vcwork.workbench.records import RUN, cells_digest, check_ended, read_run
from vcwork.workbench.stored_notebooks import personal_paths

ROOT = Path(__file__).resolve().parents[1]
READMES = ("README.md", "SECURITY.md", "benchmarks/README.md", "params/README.md", "data/README.md")
LINK = re.compile(r"(?P<before>\]\()(?P<path>[^)#\s:]+)(?P<after>(#[^)\s]*)?\))")
INCLUDE = re.compile(r"(?P<before>^```+\{include\} )(?P<path>\S+)(?P<after>)$", re.MULTILINE)
STORED = re.compile(r"^```\{stored\} (?P<path>\S+) (?P<heading>#.*?) \| (?P<start>.+)\n```$", re.MULTILINE)
MODULES = re.compile(r"^```\{modules\} (?P<room>\S+)\n```$", re.MULTILINE)
DISAGREEMENTS, CHOICES = (f"```{{{name}}}\n```" for name in ("disagreements", "choices"))
MARKED = re.compile(r"(`[^`]+`|(?<![\w*])\*\w[\w’' -]*\*(?![\w*]))")  # `code` and *emphasis* in a docstring
LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".js": "javascript"}
IMAGES = {".png", ".jpg", ".svg"}
STORED_NOTE = (
    "As it is stored: run with its defaults, on a tiny world and a model trained for seconds, which often ties with "
    "what guesses. It shows how things are measured; how good they are, measured for minutes, is in "
    "[Reproduction](../reproduction.md)."
)


class Ran(NamedTuple):
    """A notebook that a run executed, and what the site says of it."""

    file: Path
    note: str


def main(arguments: list[str]) -> int:
    """Stage and build; the exit code."""
    asked = parser().parse_args(arguments)
    target = asked.folder.resolve()
    work = target.with_name(f"{target.name}-build")  # beside the site: sphinx wants no sources inside its output
    sources, trees, made = work / "sources", work / "trees", work / "made"
    try:
        with waiting("gathering pages and notebooks"):
            from sphinx.cmd.build import main as sphinx

            stage(ROOT, sources, executed(ROOT, asked.run) if asked.run else {})
    except VcworkError as error:
        print(f"docs: {error}", file=sys.stderr)
        return 2
    shutil.rmtree(made, ignore_errors=True)  # Sphinx stamps links to styles and scripts that it finds there
    # -a: every page again, because each has the list of pages in its margin
    code = sphinx(["-a", "-q", "-W", "--keep-going", "-b", "html", "-d", str(trees), str(sources), str(made)])
    if code:
        shutil.rmtree(trees, ignore_errors=True)  # a page that it missed may come: all is read anew next time
        return code
    try:
        with waiting("putting the site in its place"):
            shutil.copytree(made, target, dirs_exist_ok=True)
    except OSError as error:  # shutil's own tells of every file
        reason = error.args[0][0][2] if isinstance(error, shutil.Error) else error.strerror
        print(f"docs: {target}: could not be written ({reason})", file=sys.stderr)
        return 2
    print(f"done: {os.path.relpath(target / 'index.html')}")
    return 0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser("./run docs", description="The site, of pages, docstrings and notebooks.")
    made.add_argument("folder", nargs="?", type=Path, default=ROOT / "outputs" / "docs", help="where to (outputs/docs)")
    made.add_argument("--run", type=Path, metavar="RUN", help="a run of `./run workbench`, whose notebooks to show "
                      "(without it, and where it lacks one: as stored, on a tiny world)")  # fmt: skip
    return made


def executed(root: Path, folder: Path) -> dict[str, Ran]:
    """The notebooks that the run `folder` has executed, by name; those under a label are left out.

    VcworkError where it has not ended, one is damaged, or is not the notebook that `notebooks/` holds now.
    """
    record, _ = read_run(folder)
    check_ended(folder, record)
    found = {}
    for entry in record["notebooks"]:
        source = root / "notebooks" / f"{entry['name']}.ipynb"
        if entry["status"] != "done" or not source.is_file():
            continue
        if entry["code"] != cells_digest(nbformat.read(source, as_version=4)):
            raise VcworkError(
                f"{folder}: ran another {entry['name']} than notebooks/ holds now; expected the same code: run it again"
            )
        check(folder / entry["executed"], record["files"][entry["executed"]], RUN.manifest)
        found[entry["name"]] = Ran(folder / entry["executed"], _note(record, entry))
    return found


def _note(record: dict, entry: dict) -> str:
    given = "".join(f", `{name}: {value}`" for name, value in sorted(entry["given"].items()))
    changed = f" Changed against the profile: {'; '.join(record['changed'])}." if record.get("changed") else ""
    where = f"As it ran in profile `{record['profile']}` (seed {entry['parameters'].get('seed')})"
    return f"{where}, {entry['started'][:10]}, {entry['wall_s']:.0f} s{given}.{changed}"


def stage(root: Path, sources: Path, ran: Mapping[str, Ran] = MappingProxyType({})) -> None:
    """Write all that sphinx reads into `sources`, `ran` instead of the stored notebooks of these names.

    Files that did not change keep their time. VcworkError for a link to a file that is not there, with its page.
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
        put(page.name, MODULES.sub(lambda match: _links(match["room"], found, "reference/"), text))
    for name in READMES:
        put(name, relink((root / name).read_text(encoding="utf-8"), root / name, name, root, linked))
    for notebook in sorted(set((root / "notebooks").glob("*.ipynb")) - {root / "notebooks/template.ipynb"}):
        put(f"notebooks/{notebook.name}", _notebook(notebook, root, linked, ran.get(notebook.stem)))
    for name in found:
        put(f"reference/{name}.md", _module_page(name, found))
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


class Module(NamedTuple):
    """The first paragraph of a module's docstring, and the public names that it defines itself and tells of."""

    job: str
    defines: list[str]


def modules(root: Path) -> dict[str, Module]:
    """Every module of the library, by name, without importing any.

    Autodoc is told what each defines: asked for all members, it loads three times as many to find whose they are.
    """
    found = {}
    for file in sorted((root / "vcwork").rglob("*.py")):
        if file.stem != "__main__":
            tree = ast.parse(file.read_text(encoding="utf-8"))
            job = " ".join((ast.get_docstring(tree) or "").split("\n\n")[0].split())
            names = itertools.starmap(_defined, itertools.pairwise([*tree.body, None]))
            defines = [name for name in names if name and not name.startswith("_")]
            found[module_name(file.relative_to(root).as_posix())] = Module(job, defines)
    return found


def _defined(node: ast.stmt, after: ast.stmt | None) -> str:
    """The name of a class, a function, or a value with a text of its own behind it; of all else, none."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return node.name
    target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
    told = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
    return target.id if told and isinstance(target, ast.Name) else ""


def files_of(room: str, found: Iterable[str]) -> list[str]:
    """The modules that lie in a room itself, not in a folder of it."""
    doors = {name.rpartition(".")[0] for name in found}
    return [name for name in found if name.rpartition(".")[0] == room and name not in doors]


def _links(room: str, found: Mapping[str, Module], folder: str) -> str:
    """The files of a room, as links in one line."""
    return " · ".join(f"[{name.rpartition('.')[2]}]({folder}{name}.md)" for name in [room, *files_of(room, found)])


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
    """A docstring's line inside Markdown: what is neither code nor emphasis is escaped."""
    return "".join(
        part if n % 2 else re.sub(r"([\\*_<\[$])", r"\\\1", part) for n, part in enumerate(MARKED.split(text))
    )


def _module_page(name: str, found: Mapping[str, Module]) -> str:
    """A module's own docstring and what it defines; a room's door lists the room's files instead."""
    room = name.count(".") == 1 and files_of(name, found)
    head = "" if room else "---\norphan: true\n---\n\n"  # in the margin stand rooms alone: 110 lines more help nobody
    up = name.rpartition(".")[0]
    back = f"[{up}]({up}.md)" if name.count(".") > 1 else "[Reference](../reference.md)"
    listed = "".join(f"\n- [{file}]({file}.md): {_plain(found[file].job)}" for file in files_of(name, found))
    members = f"   :members: {', '.join(found[name].defines)}\n" if found[name].defines else ""
    module = f"```{{eval-rst}}\n.. automodule:: {name}\n{members}```\n"
    return f"{head}# {name}\n\n{back}\n\n{module}{listed}\n"


def _file_page(root: Path, path: str) -> str:
    """A page that shows a text file of the project."""
    text = (root / path).read_text(encoding="utf-8")
    fence = "`" * (1 + max((len(run) for run in re.findall("`{3,}", text)), default=2))
    return f"---\norphan: true\n---\n\n# {path}\n\n{fence}{LANGUAGES.get(Path(path).suffix, 'text')}\n{text}\n{fence}\n"


def _notebook(path: Path, root: Path, linked: set[str], ran: Ran | None = None) -> str:
    """A notebook as the site shows it, stored or as it ran: widgets as what is stored beside them, formulas drawn.

    Its parameters stand in the note below its title; VcworkError where an output names a place of somebody's machine.
    """
    text = (ran.file if ran else path).read_text(encoding="utf-8").replace(f"{root}{os.sep}", "")  # of a run
    node = nbformat.reads(text, as_version=4)
    state = node.metadata.pop("widgets", {}).get(STATE, {}).get("state", {})
    node.cells = [cell for cell in node.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    if places := personal_paths(node):
        raise VcworkError(f"{ran.file if ran else path}: shows a path of a machine, {places[0]}; a site may not")
    for cell in node.cells:
        if cell.cell_type == "markdown":
            cell.source = draw_formulas(relink(cell.source, path, f"notebooks/{path.name}", root, linked))
        elif cell.cell_type == "code":
            cell.outputs = [settle(output, state) for output in cell.outputs]
            for output in cell.outputs:
                output.get("data", {}).pop(MIME, None)  # the numbers for programs; the table for people stays
    node.cells[0].source += f"\n\n```{{note}}\n{ran.note if ran else STORED_NOTE}\n```\n"
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
