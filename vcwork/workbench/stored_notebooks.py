"""The notebooks as they are stored: executed top to bottom with their defaults, and clean.

`refresh` runs them again in place. A notebook that fails, or whose output shows a path of this machine, keeps its
stored state. What was stored is listed as the project's own, which JupyterLab trusts (`vcwork.workbench.servers`).
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path

import nbformat

from vcwork.base.console import say
from vcwork.base.errors import VcworkError
from vcwork.base.files import atomic_write
from vcwork.data.engines import cores
from vcwork.workbench import kernels
from vcwork.workbench.profiles import find_notebook, notebook_names
from vcwork.workbench.servers import keep_own

KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE = {
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
}
PERSONAL = re.compile(
    r"(?<![\w.:/])/(?:home|root|Users|work|private|tmp)/\w[\w./-]*"
    r"|[A-Z]:\\+Users\\+\w+"
)


def refresh(root: Path, names: Iterable[str] = ()) -> list[str]:
    """Execute the stored notebooks (all, or those named) in place; returns one line per notebook that failed."""
    failures = []
    kernels.get_ready(cores())
    for name in [find_notebook(root, text) for text in names] or notebook_names(root):
        say(name)
        try:
            refresh_one(root / "notebooks" / f"{name}.ipynb")
            keep_own(root, f"{name}.ipynb")
        except VcworkError as error:
            failures.append(f"{name}: {error}")
            say(f"    {error}")
    return failures


def refresh_one(path: Path, timeout_s: int = 600) -> None:
    """Execute one notebook with its defaults and store it. VcworkError, and nothing changed, when a cell fails."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError

    notebook = clean(nbformat.read(path, as_version=4))
    client = NotebookClient(
        notebook,
        timeout=timeout_s,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
        extra_arguments=["--log-level=ERROR"],
        kernel_manager_class=kernels.manager(path.parent, Path(os.devnull), {}),
    )
    try:
        client.execute()
    except CellExecutionError as error:
        raise VcworkError(f"{error.ename}: {error.evalue}") from None
    except (CellTimeoutError, RuntimeError) as error:  # the latter from a kernel that died or never answered
        raise VcworkError(str(error).splitlines()[0]) from None
    notebook.metadata["language_info"] = LANGUAGE
    personal = personal_paths(notebook)
    if personal:
        raise VcworkError(f"not stored, because it shows a path of this machine: {personal[0]}")
    with atomic_write(path) as file:
        nbformat.write(notebook, file)


def clean(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook without outputs, counts, and metadata other than tags, slide type and kernel."""
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": LANGUAGE})
    for cell in notebook.cells:
        kept = {key: cell.metadata[key] for key in ("tags", "jupyter") if key in cell.metadata}
        cell.metadata = nbformat.from_dict(kept)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def personal_paths(notebook: nbformat.NotebookNode) -> list[str]:
    """Absolute paths of somebody's machine, in sources and in the texts of outputs (pictures are not read)."""
    texts = []
    for cell in notebook.cells:
        texts.append(cell.source)
        for output in cell.get("outputs", []):
            texts += [output.get("text", ""), *output.get("traceback", [])]
            texts += [str(value) for mime, value in output.get("data", {}).items() if not mime.startswith("image/")]
    return [match[0] for text in texts for match in PERSONAL.finditer(text)]
