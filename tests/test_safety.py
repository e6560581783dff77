"""Nothing that came as data is run or steers what shows it: terminals, readers of every kind, servers, pages."""

import ast
from pathlib import Path

import nbformat
import pytest
from nbformat.sign import NotebookNotary

from vcwork.__main__ import main
from vcwork.base.console import say, shown
from vcwork.base.files import sha256_file
from vcwork.workbench import servers
from vcwork.workbench.servers import keep_own, own_notebooks, trust_own

ROOT = Path(__file__).resolve().parents[1]
STEERING = "\x1b]0;owned\x07\x1b[2J\r\u202egnp.\x9b31m"  # a window's title, a wiped screen, text that runs backwards

# ------------------------------------------------------------------------------------------------------- terminals


def test_what_is_printed_cannot_steer_a_terminal(capsys):
    say("films/", STEERING, "two\nlines\tof onion, ножом, 切る, שלום", sep="")
    told = capsys.readouterr().out
    assert not set("\x1b\x07\r\u202e\x9b") & set(told)
    assert (
        told == "films/" + r"\x1b]0;owned\x07\x1b[2J\r\u202egnp.\x9b31m" + "two\nlines\tof onion, ножом, 切る, שלום\n"
    )
    assert shown(STEERING.encode("unicode_escape").decode()) == STEERING.encode("unicode_escape").decode()


@pytest.mark.parametrize("command", [["check"], ["list"], ["papermill"], ["import"], ["explore"], ["table"]])
def test_a_name_in_a_message_cannot_steer_the_terminal(command, capsys, tmp_path):
    more = [str(tmp_path / "out")] if command == ["import"] else []
    assert main([*command, STEERING, *more]) == 2
    told = capsys.readouterr()
    assert "owned" in told.err and not set("\x1b\x07\r\u202e\x9b") & set(told.out + told.err)


def test_the_library_prints_by_that_function_alone():
    for path in (ROOT / "vcwork").rglob("*.py"):
        called = [
            n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Name) and n.id == "print"
        ]
        assert not called or path.name == "console.py", f"{path.relative_to(ROOT)}: use vcwork.base.console.say"


# ------------------------------------------------------------------------------------------------------- notebooks


def test_the_projects_own_notebooks_are_those_that_lie_there(root):
    """`notebooks/own.sha256` is written by `./run notebooks`, which executes and stores them."""
    lying = {path.name: sha256_file(path) for path in (root / "notebooks").glob("*.ipynb")}
    assert own_notebooks(root) == lying, "execute and store them again: ./run notebooks NAME"


def test_the_lab_trusts_the_projects_own_notebooks_and_no_others(tmp_path, monkeypatch):
    """A stranger's beside them, one changed since, one of an own name that somebody replaced: none shows scripts."""
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for i, name in enumerate(("own", "changed", "stranger")):
        shown = nbformat.v4.new_output("display_data", {"text/html": f"<script>alert({i})</script>"})
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=[shown])])
        nbformat.write(notebook, folder / f"{name}.ipynb")
        if name != "stranger":
            keep_own(tmp_path, f"{name}.ipynb")
    (folder / "changed.ipynb").write_text((folder / "changed.ipynb").read_text("utf-8").replace("alert(1)", "steal()"))
    assert trust_own(tmp_path) == ["own.ipynb"]
    notary = NotebookNotary()
    trusted = [path.stem for path in folder.glob("*.ipynb") if notary.check_signature(nbformat.read(path, 4))]
    assert trusted == ["own"]


@pytest.mark.parametrize("command", [["lab", "--no-browser"], ["app", "40", "--port=1"]])
def test_servers_are_told_to_stay_at_home(command, root, monkeypatch):
    called = []
    monkeypatch.setattr(servers.os, "execve", lambda program, line, environment: called.append((line, environment)))
    monkeypatch.setattr(servers, "trust_own", lambda root: [])
    monkeypatch.chdir(root)
    main(command)
    [(line, environment)] = called
    assert line[-1] == command[-1] and str(servers.TEMPLATES) in environment["JUPYTER_PATH"]
    assert not any("0.0.0.0" in part or "allow_origin" in part or part.endswith("token=") for part in line)
    if command[0] == "app":
        assert {"--token", "--Voila.ip=127.0.0.1", "--template=vcwork"} <= set(line)


def test_an_app_needs_a_notebook(capsys):
    assert main(["app"]) == 2 and main(["app", "--port=1"]) == 2 and main(["app", "77"]) == 2
    assert capsys.readouterr().err.count("\n") == 3
