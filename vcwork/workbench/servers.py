"""JupyterLab and Voilà for who sits at this machine: on its own address, with a token, nothing loaded from elsewhere.

A notebook's stored scripts run when it is trusted. Trusted are those whose bytes are the project's own, as OWN_FILE
lists them, and whatever the user has saved in JupyterLab; a notebook that somebody else put into the folder is not.
Known gap: settings in the user's own Jupyter configuration count, also where they open the server to others.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from vcwork.base.console import say
from vcwork.base.files import atomic_write, sha256_file
from vcwork.workbench.profiles import notebook_path

OWN_FILE = "notebooks/own.sha256"  # a line a notebook, as sha256sum writes and checks them
TEMPLATES = Path(__file__).with_name("jupyter")
POLICY = (  # of Voilà's page: what panels and widgets need, all of it from this server
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "connect-src 'self'; object-src 'none'; frame-ancestors 'self'"
)


def lab(root: Path, arguments: Sequence[str]) -> NoReturn:
    """Become JupyterLab at the first notebook, the whole project beside it: results, docs, parameters."""
    start = "notebooks/00_start_here.ipynb"  # also in the address that is printed where no browser is opened
    say(f"JupyterLab starts at {start}; Ctrl-C ends it")
    trust_own(root)
    first = [f"--LabApp.default_url=/lab/tree/{start}"] if (root / start).is_file() else []
    become(root, "jupyter", "lab", *first, f"--ServerApp.root_dir={root}", *arguments)


def app(root: Path, notebook: str, arguments: Sequence[str]) -> NoReturn:
    """Become Voilà, which shows a notebook, by its number, name or path, as an app without its code."""
    headers = {"headers": {"Content-Security-Policy": POLICY}}
    why = "--VoilaExecutor.cell_error_instruction=The terminal in which the app was started tells why."
    own = ("--token", "--template=vcwork", "--Voila.ip=127.0.0.1", f"--Voila.tornado_settings={headers}", why)
    path = notebook_path(root, notebook)
    say(f"Voilà starts with {path.stem}; Ctrl-C ends it")
    become(root, "voila", str(path), *own, *arguments)


def become(root: Path, *command: str) -> NoReturn:
    """Run a Python module in this process's place: Ctrl-C and questions are its own, and no other stays behind.

    It runs in `root`, where Jupyter looks for settings, which may be programs; so never among somebody's data.
    """
    paths = os.pathsep.join(filter(None, [str(TEMPLATES), os.environ.get("JUPYTER_PATH", "")]))
    environment = os.environ | {"JUPYTER_PATH": paths, "VCWORK_ROOT": str(root.resolve())}
    line = [sys.executable, "-P", "-m", *command]
    if command[0] == "jupyter" and getattr(os, "geteuid", lambda: 1)() == 0 and "--allow-root" not in command:
        say("running as root, as containers do, which JupyterLab refuses unasked: it is told --allow-root")
        line.insert(5, "--allow-root")
    os.chdir(root)
    sys.stdout.flush()
    if os.name != "posix":
        sys.exit(subprocess.call(line, env=environment))
    os.execve(sys.executable, line, environment)


def own_notebooks(root: Path) -> dict[str, str]:
    """sha256 by file name of the notebooks as the project stores them; {} without a list."""
    path = root / OWN_FILE
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def keep_own(root: Path, name: str) -> None:
    """List a notebook as it lies there as the project's own."""
    own = own_notebooks(root) | {name: sha256_file(root / "notebooks" / name)}
    with atomic_write(root / OWN_FILE) as file:
        file.writelines(f"{digest}  {name}\n" for name, digest in sorted(own.items()))


def trust_own(root: Path) -> list[str]:
    """Mark the project's own notebooks as trusted; their names."""
    import nbformat
    from nbformat.sign import NotebookNotary

    trusted = []
    for name, digest in own_notebooks(root).items():
        path = root / "notebooks" / name
        if path.is_file() and sha256_file(path) == digest:
            NotebookNotary().sign(nbformat.read(path, as_version=4))
            trusted.append(name)
    return trusted
