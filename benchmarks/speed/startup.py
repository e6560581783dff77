"""Stage of starting up: what a notebook imports before its first result, beside `import torch`, in new processes."""

import ast
import subprocess
import sys
from collections.abc import Iterator

import nbformat

from benchmarks.speed.made import Size
from benchmarks.speed.timing import OURS, Asked, Row, in_turns
from vcwork.base.files import project_root

NOTEBOOKS = ("20_pretraining", "30_text_video_retrieval")


def imports(size: Size) -> Iterator[Row]:
    """All import statements of a notebook. Equality: they run, without an error."""
    for name in NOTEBOOKS:
        said = imports_of(name)
        if not size.repeats:
            _python(said)
            continue
        taken = in_turns({"import torch": lambda: _python("import torch"), OURS: lambda said=said: _python(said)},
                         size.repeats)  # fmt: skip
        yield Row(f"start-up, imports of notebook {name[:2]}", taken, 1, "processes", Asked("more", 2.0),
                  note="starting Python is in both")  # fmt: skip


def imports_of(notebook: str) -> str:
    """The import statements of a stored notebook, in order, a line each."""
    cells = nbformat.read(project_root() / "notebooks" / f"{notebook}.ipynb", as_version=4).cells
    code = ["".join(line for line in cell.source.splitlines(True) if not line.startswith("%"))
            for cell in cells if cell.cell_type == "code"]  # fmt: skip
    nodes = [node for source in code for node in ast.parse(source).body]
    return "\n".join(ast.unparse(node) for node in nodes if isinstance(node, ast.Import | ast.ImportFrom))


def _python(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], cwd=project_root(), check=True, stdout=subprocess.DEVNULL)
