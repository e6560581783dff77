"""The repository itself: set-up files that agree with each other, parameter files that fit, nobody's machine in it."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from vcwork.workbench.profiles import plan_notebook, profile_names
from vcwork.workbench.stored_notebooks import PERSONAL

TEXT = {".py", ".md", ".toml", ".yaml", ".yml", ".txt", ".json", ".ipynb", ".sh", ".js", ".css", ".html", ".cfg", ""}


@pytest.fixture(scope="module")
def project(root: Path) -> dict:
    return tomllib.loads((root / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def environment(root: Path) -> dict:
    return yaml.safe_load((root / "environment.yml").read_text())


@pytest.fixture(scope="module")
def pins(root: Path) -> dict[str, list[Requirement]]:
    found: dict[str, list[Requirement]] = {}
    for line in (root / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            found.setdefault(plain(Requirement(line).name), []).append(Requirement(line))
    return found


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_environment_yml_cannot_drift(environment: dict, project: dict) -> None:
    python, pip, rest = environment["dependencies"]
    assert rest == {"pip": ["-c constraints.txt", "-e .[test,docs,app]"]} and pip == "pip"
    lowest = project["requires-python"].removeprefix(">=")
    assert python == f"python={lowest}", "conda's Python must be the lowest that pyproject.toml allows"


def test_every_dependency_has_a_pin_that_satisfies_it(project: dict, pins: dict) -> None:
    wanted = [project["dependencies"], *project["optional-dependencies"].values()]
    for requirement in (Requirement(line) for lines in wanted for line in lines):
        found = pins.get(plain(requirement.name), [])
        assert found, f"{requirement.name} has no pin in constraints.txt"
        for pin in found:
            version = str(pin.specifier).removeprefix("==")
            assert requirement.specifier.contains(version), f"{pin} does not satisfy {requirement}"


def test_pins_are_exact_and_anyone_can_resolve_them(pins: dict) -> None:
    for pin in (pin for same in pins.values() for pin in same):
        assert re.fullmatch(r"==[\w.]+", str(pin.specifier)), f"{pin}: expected one public version (no +cpu, no range)"
        assert pin.url is None
    assert str(pins["torch"][0].specifier) == "==2.13.0"


def test_installed_packages_are_the_pinned_ones(pins: dict) -> None:
    import importlib.metadata

    for name, same in pins.items():
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        here = [pin for pin in same if pin.marker is None or pin.marker.evaluate()]
        assert not here or SpecifierSet(str(here[0].specifier)).contains(version), f"{name} {version}, pinned {here[0]}"


def test_packages_are_listed_for_installation(root: Path) -> None:
    listed = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {".".join(path.parent.relative_to(root).parts) for path in (root / "vcwork").rglob("__init__.py")}
    with_code = {".".join(path.parent.relative_to(root).parts) for path in (root / "vcwork").rglob("*.py")}
    assert set(listed) == found == with_code


def test_licence_is_the_declared_one(root: Path, project: dict) -> None:
    assert project["license"] == "Apache-2.0"
    text = (root / "LICENSE").read_text()
    assert "Version 2.0, January 2004" in text and "END OF TERMS AND CONDITIONS" in text


@pytest.mark.parametrize("file", sorted(Path(__file__).parents[1].glob("params/*/*.y*ml")), ids=lambda p: p.stem)
def test_parameter_files_fit_their_notebooks(root: Path, file: Path) -> None:
    assert file.suffix == ".yaml"
    try:
        plan_notebook(root, file.stem.partition("--")[0], [file])
    except ValueError as error:  # data that this machine lacks is no fault of the file
        others = [line for line in str(error).splitlines() if "no such f" not in line and "nothing was run" not in line]
        assert not others, error


def test_profiles_are_folders_of_parameter_files(root: Path) -> None:
    folders = {path.name for path in (root / "params").iterdir() if path.is_dir()}
    assert folders == set(profile_names(root))


def tracked(root: Path) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [root / name for name in listed.stdout.split("\0") if name and (root / name).is_file()]


def test_nobodys_paths_are_tracked(root: Path) -> None:
    for path in tracked(root):
        if path.suffix in TEXT and path != Path(__file__):
            found = PERSONAL.search(path.read_text(encoding="utf-8"))
            assert not found, f"{path.relative_to(root)} holds a path of somebody's machine: {found[0]}"


def test_tracked_files_are_small_and_no_output(root: Path) -> None:
    for path in tracked(root):
        recorded = path.is_relative_to(
            root / "tests" / "data" / "reference"
        )  # floats of the original system: 3.3 MB in all
        assert path.stat().st_size < (1_700_000 if recorded else 1_500_000), f"{path.relative_to(root)} is large"
        assert path.relative_to(root).parts[0] not in ("outputs", ".venv") or path == root / "outputs/README.md"


def test_runs_have_a_place_that_git_leaves_alone(root: Path) -> None:
    """A clone has `outputs/` with a word of what comes there; runs themselves are ignored."""
    assert root / "outputs/README.md" in tracked(root)
    ignored = subprocess.run(["git", "check-ignore", "-q", "outputs/lab-1/run.json"], cwd=root)
    assert ignored.returncode == 0


def test_code_and_notebooks_are_lint_free(root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--no-cache", "."], cwd=root, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
