"""The `run` script with a pretended Python and uv: what is set up when, and what a failure leaves behind."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vcwork import __main__ as cli

pytestmark = pytest.mark.skipif(shutil.which("sh") is None, reason="needs a POSIX shell")

PYTHON = """#!/bin/sh
printf '%s\\n' "python $*" >>"$CALLS"
case "$1 $2" in
    "-c import sys"*) exit "${OLD:-0}" ;;
    "--version "*) echo "Python ${VERSION:-3.11.7}" ;;
    "-m venv") sleep "${SLOW:-0}"; mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    "-m pip") exit "${PIP_FAILS:-0}" ;;
    "-m vcwork") echo "kept in ${PYTHONPYCACHEPREFIX:-} ${PYTHONDONTWRITEBYTECODE:-}" >>"$CALLS" ;;
esac
"""
UV = """#!/bin/sh
printf '%s\\n' "uv $* links=${UV_FIND_LINKS:-none}" >>"$CALLS"
[ "$1" = pip ] && exit "${UV_FAILS:-0}"
exit 0
"""


class Copy:
    """A copy of the project's set-up files beside pretended programs."""

    def __init__(self, root: Path, folder: Path, uv: bool = True) -> None:
        self.root, self.folder, self.calls = root, folder / "a project", folder / "calls"
        self.programs = folder / "programs"
        self.programs.mkdir(parents=True)
        (self.folder / "notebooks").mkdir(parents=True)
        for name in ("run", "pyproject.toml", "constraints.txt"):
            shutil.copy(root / name, self.folder / name)
        for name, text in {"python3": PYTHON, **({"uv": UV} if uv else {})}.items():
            (self.programs / name).write_text(text)
            (self.programs / name).chmod(0o755)
        for name in ("sh", "dirname", "cat", "cksum", "rm", "mkdir", "cp", "sleep"):
            (self.programs / name).symlink_to(shutil.which(name))

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        self.calls.write_text("")
        variables = {"PATH": str(self.programs), "CALLS": str(self.calls), **environment}
        command = [str(self.folder / "run"), *arguments]
        return subprocess.run(command, cwd="/", env=variables, capture_output=True, text=True)

    def called(self, start: str) -> list[str]:
        return [line for line in self.calls.read_text().splitlines() if line.startswith(start)]

    @property
    def stamp(self) -> Path:
        return self.folder / ".venv" / ".vcwork-setup"


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Copy:
    return Copy(root, tmp_path)


def test_first_command_installs_and_the_second_does_not(copy: Copy) -> None:
    first = copy.run("workbench", "--seed", "3")
    assert first.returncode == 0, first.stderr
    assert copy.called("uv pip install") and copy.called("python -m vcwork run lab --seed 3")
    assert copy.run("papermill", "20", "-p", "lr", "1").returncode == 0
    assert not copy.called("uv pip") and copy.called("python -m vcwork papermill 20 -p lr 1")


def test_where_no_bytecode_may_lie_beside_sources_it_lies_in_venv(copy: Copy) -> None:
    copy.run("list", PYTHONDONTWRITEBYTECODE="1")
    assert copy.called("kept in") == [f"kept in {copy.folder}/.venv/bytecode "]
    copy.run("list", PYTHONDONTWRITEBYTECODE="1", PYTHONPYCACHEPREFIX="/elsewhere")
    assert copy.called("kept in") == ["kept in /elsewhere "]
    copy.run("list")
    assert copy.called("kept in") == ["kept in  "], "a plain Python keeps it where it always does"


def test_changed_constraints_or_a_moved_folder_install_again(copy: Copy) -> None:
    copy.run("setup")
    with open(copy.folder / "constraints.txt", "a") as file:
        file.write("# changed\n")
    copy.run("setup")
    assert copy.called("uv pip install") and not copy.called("python -m venv")
    copy.folder = copy.folder.rename(copy.folder.with_name("moved"))
    copy.run("setup")
    assert copy.called("uv pip install")


def test_a_failed_set_up_leaves_no_stamp_and_is_repeated(copy: Copy) -> None:
    failed = copy.run("setup", UV_FAILS="1", PIP_FAILS="1")
    assert failed.returncode == 2 and "set-up failed" in failed.stderr and not copy.stamp.exists()
    assert copy.run("setup").returncode == 0 and copy.stamp.exists()
    with open(copy.folder / "pyproject.toml", "a") as file:
        file.write("# changed\n")
    assert copy.run("setup", UV_FAILS="1", PIP_FAILS="1").returncode == 2
    assert not copy.stamp.exists(), "the old stamp must not vouch for a half-updated environment"


def test_pip_takes_over_when_uv_cannot_install(copy: Copy) -> None:
    done = copy.run("setup", UV_FAILS="1")
    assert done.returncode == 0 and "trying pip" in done.stderr
    assert copy.called("python -m pip install -q -c constraints.txt -e .[test,docs,app]")


def test_pip_installs_where_there_is_no_uv(root: Path, tmp_path: Path) -> None:
    copy = Copy(root, tmp_path, uv=False)
    assert copy.run("setup").returncode == 0  # the pretended `pip install uv` brings no uv program
    assert copy.stamp.exists()


def test_local_wheels_of_pip_are_shown_to_uv(copy: Copy) -> None:
    copy.run("setup", PIP_FIND_LINKS="/wheels")
    assert all(line.endswith("links=/wheels") for line in copy.called("uv pip"))
    (copy.stamp).unlink()
    copy.run("setup", PIP_FIND_LINKS="/wheels", UV_FIND_LINKS="/mine")
    assert all(line.endswith("links=/mine") for line in copy.called("uv pip"))


def test_a_terminal_is_told_how_long_a_silent_step_goes_on_and_a_log_is_not(copy: Copy) -> None:
    pty = pytest.importorskip("pty")
    terminal, end = pty.openpty()
    variables = {"PATH": str(copy.programs), "CALLS": str(copy.calls), "SLOW": "2.5"}
    done = subprocess.run([copy.folder / "run", "setup"], env=variables, stderr=end, stdout=end)
    os.close(end)
    told = os.read(terminal, 65536).decode()
    assert done.returncode == 0 and "making .venv, 2 s" in told and "4 s" not in told, told
    assert told.endswith("run: ready: .venv\r\n")
    shutil.rmtree(copy.folder / ".venv")
    assert "2 s" not in copy.run("setup", SLOW="2.5").stderr


def test_an_old_python_is_named(copy: Copy) -> None:
    done = copy.run("test", OLD="1", VERSION="3.9.1")
    assert done.returncode == 2 and "needs Python 3.11 or newer, found: Python 3.9.1" in done.stderr
    assert not (copy.folder / ".venv").exists()


def test_tests_run_library_and_notebooks_or_what_is_named(copy: Copy) -> None:
    copy.run("test")
    [told] = copy.called("python -m pytest")
    assert told.endswith(" --nbval-lax --nbval-current-env --nbval-cell-timeout 300 tests notebooks")
    copy.run("test", "tests/test_x.py", "-k", "a b")
    assert copy.called("python -m pytest tests/test_x.py -k a b")


def test_docs_are_built_where_one_says(copy: Copy) -> None:
    assert copy.run("docs").returncode == 0 and copy.called("python docs/build.py") == ["python docs/build.py"]
    copy.run("docs", "my site")
    assert copy.called("python docs/build.py my site")


def test_exit_codes_reach_the_caller(copy: Copy) -> None:
    copy.run("setup")
    python = copy.folder / ".venv" / "bin" / "python"
    python.write_text(PYTHON + '[ "$2" = vcwork ] && exit 130\nexit 0\n')
    assert copy.run("workbench").returncode == 130


def test_help_needs_no_set_up_and_an_unknown_command_is_one_sentence(copy: Copy) -> None:
    done = copy.run("help")
    assert done.returncode == 0 and "workbench" in done.stdout and not (copy.folder / ".venv").exists()
    wrong = copy.run("wrokbench")
    assert wrong.returncode == 2 and wrong.stderr == "run: unknown command: wrokbench (./run help lists them)\n"


def test_every_command_of_the_library_is_one_of_the_script(copy: Copy) -> None:
    told = subprocess.run([sys.executable, "-m", "vcwork", "--help"], cwd=copy.root, capture_output=True, text=True)
    commands = re.findall(r"^  (\w+) ", told.stdout, re.MULTILINE)
    assert {"list", "check", "explore", "convert", "pretrain", "run"} <= set(commands)
    listed = copy.run("help").stdout
    groups = re.findall(r"^([a-z][a-z ]+)$", told.stdout, re.MULTILINE)
    assert groups == list(cli.GROUPS) == re.findall(r"^([a-z][a-z ]+)$", listed, re.MULTILINE)[: len(groups)]
    for wanted, names in cli.GROUPS.items():
        part = listed.split(f"\n{wanted}\n")[1].split("\n\n")[0]
        assert all(re.search(rf"^  (.*, )?{name if name != 'run' else 'workbench'}\b", part, re.MULTILINE)
                   for name in names.split()), wanted  # fmt: skip
    for command in commands:
        if command != "run":  # `workbench` and `profile` are
            assert copy.run(command, "a b").returncode == 0
            assert copy.called(f"python -m vcwork {command} a b")
            assert re.search(rf"\b{command}\b", listed), f"./run help leaves out {command}"


def test_ctrl_c_while_a_command_loads_is_one_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def loading(arguments: list[str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_parser", loading)
    assert cli.main(["convert", "--help"]) == 130 and capsys.readouterr().err == "vcwork: interrupted\n"


def test_lint_looks_at_everything_and_fails_with_any(copy: Copy) -> None:
    copy.run("setup")
    contracts = copy.folder / ".venv" / "bin" / "lint-imports"
    for code in (0, 1):
        contracts.write_text(f"#!/bin/sh\nexit {code}\n")
        contracts.chmod(0o755)
        assert copy.run("lint").returncode == code
        for what in ("ruff check", "ruff format --check", "mypy"):
            assert copy.called(f"python -m {what}"), what


@pytest.mark.parametrize("flag", ["-S", "-I"])
def test_outside_the_environment_one_sentence_says_what_to_do(root: Path, flag: str, tmp_path: Path) -> None:
    """`-S`: no site packages at all; `-I` with a made path: an isolated Python that has the source and nothing else."""
    start = f"import sys, runpy; sys.path[:] = [p for p in sys.path if 'site-packages' not in p] + [{str(root)!r}]; "
    start += "sys.argv = ['vcwork', 'list']; runpy.run_module('vcwork', run_name='__main__', alter_sys=True)"
    done = subprocess.run([sys.executable, flag, "-c", start], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1 and "./run setup" in done.stderr and "no package" in done.stderr


def test_scripts_are_executable(root: Path) -> None:
    for name in ("run", ".ci/run"):
        assert os.access(root / name, os.X_OK), f"{name} is not executable"
    assert 'run" test' in (root / ".ci" / "run").read_text()
