"""The repository: set-up files, parameter files, documents, nobody's machine in it; which room may import which."""

import ast
import importlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import vcwork
from vcwork.base.files import read_json
from vcwork.review import claims
from vcwork.workbench.profiles import plan_notebook, profile_names
from vcwork.workbench.stored_notebooks import PERSONAL

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md"), *ROOT.glob("params/*.md")])
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


def test_the_lock_holds_the_pins_and_hashes_of_their_files(root: Path, pins: dict) -> None:
    text = re.sub(r"^#.*\n", "", (root / "locked.txt").read_text(), flags=re.M)
    locked: dict[str, set[str]] = {}
    for requirement, hashes in re.findall(r"^(\S[^\\\n]*?) *((?: \\\n    --hash=sha256:[0-9a-f]{64})+)\n", text, re.M):
        assert hashes, requirement
        locked.setdefault(plain(Requirement(requirement).name), set()).add(str(Requirement(requirement).specifier))
    assert text.count("==") >= len(re.findall(r"^\S", text, re.M)) == sum(len(same) for same in locked.values())
    assert locked == {name: {str(pin.specifier) for pin in same} for name, same in pins.items()}


def test_every_dependency_has_its_row(root: Path, project: dict) -> None:
    told = re.findall(r"^\| ([^|]+) \|", (root / "docs/dependencies.md").read_text("utf-8"), re.M)
    names = {plain(word) for cell in told for word in re.split(r"[,\s]+", cell)}
    for line in [
        *project["dependencies"],
        *(one for lines in project["optional-dependencies"].values() for one in lines),
    ]:
        assert plain(Requirement(line).name) in names, f"docs/dependencies.md has no row for {line}"


def test_weights_name_their_licence(root: Path) -> None:
    assets = yaml.safe_load((root / "vcwork/data/backbones/weights.yaml").read_text())
    told = (root / "docs/dependencies.md").read_text("utf-8")
    for name, asset in assets.items():
        assert asset.get("licence") and f"`{name}`" in told, f"{name}: its licence is not told"


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
        # floats of the original system, 3.3 MB in all; the tiny world's model, 516,000 of them
        floats = path.suffix == ".safetensors" or path.is_relative_to(root / "tests/data/reference")
        assert path.stat().st_size < (2_200_000 if floats else 1_500_000), f"{path.relative_to(root)} is large"
        assert path.relative_to(root).parts[0] not in ("outputs", ".venv") or path == root / "outputs/README.md"


def test_runs_have_a_place_that_git_leaves_alone(root: Path) -> None:
    """A clone has `outputs/` with a word of what comes there; runs themselves are ignored."""
    assert root / "outputs/README.md" in tracked(root)
    ignored = subprocess.run(["git", "check-ignore", "-q", "outputs/lab-1/run.json"], cwd=root)
    assert ignored.returncode == 0


def test_code_and_notebooks_are_lint_free(root: Path) -> None:
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "."]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    dead = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not dead


def test_every_item_of_the_source_documents_has_its_row():
    page = (ROOT / "docs/source_documents.md").read_text()
    rows = re.findall(r"^\| (\d\.\d+) \| (.*?) \| (.*?) \| (.*?) \|$", page, re.M)
    items = [f"{d}.{i}" for d, n in ((1, 32), (2, 6), (3, 20)) for i in range(1, n + 1)]
    assert [number for number, *_ in rows] == items
    told = {c.id: c for c in claims.CLAIMS if c.source.startswith("document")}
    for number, text, truth, where in rows:
        assert "](../" in where, f"{number}: where?"
        if number in told:  # the others are several claims each
            assert text == told[number].text
            assert truth.startswith({True: "agrees", False: "differs", None: "asked for"}[told[number].agrees]), number
        else:
            assert any(id.startswith(number) for id in told), number


def test_every_promise_names_a_test_that_is_there(root):
    """`docs/promises.md`: each line of its tables names tests as `file::test`."""
    page = (root / "docs/promises.md").read_text("utf-8")
    tables = re.findall(r"^\| promise \| what holds it \|\n\|---\|---\|\n((?:\|.*\n)+)", page, re.M)
    lines = [line.strip("| ").rpartition(" | ")[::2] for table in tables for line in table.splitlines()]
    assert len(tables) > 3 and len(lines) > 30
    for promise, held_by in lines:
        named = re.findall(r"`([\w/]+)::(\w+)`", held_by)
        assert named, f"no test is named for: {promise}"
        for file, test in named:
            source = (root / f"tests/{file}.py").read_text("utf-8")
            assert re.search(rf"^def {test}\(", source, re.M), f"{file}.py has no {test}, which is to hold: {promise}"


def test_what_was_tried_is_told_as_it_was_counted(root):
    """Numbers of docs/promises.md against the counts that faults and fuzzing keep; nothing went unnoticed by verify."""
    page = (root / "docs/promises.md").read_text("utf-8")
    counts, fuzzed = (json.loads((root / f"tests/{name}/counts.json").read_text()) for name in ("faults", "fuzz"))
    tried, runs = counts["in all"], {name: sum(each.values()) for name, each in fuzzed.items()}
    ended = f"{tried['ended equal']:,} equal, {tried['refused in one sentence']:,} refused"
    assert tried["ended equal"] + tried["refused in one sentence"] == tried["faults injected"]
    assert f"{tried['faults injected']:,} faults, all survived ({ended})" in page
    assert f"Of {tried['bits flipped']:,} flipped bits" in page and tried["unnoticed when verified"] == 0
    assert f"missed {tried['unnoticed at a cheap open']:,}: in" in page
    led = sum(each.get("atheris", 0) for each in fuzzed.values())
    assert f"{sum(runs.values()):,} executions over {len(runs)} readers, {led:,} of them led by atheris" in page


def test_walks_of_the_architecture_name_what_is_there():
    """Each hop: the functions it names stand in the files it links."""
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    hops = re.findall(r"^\| \d+ \| (.*?) \|", text, re.M)
    assert len(hops) == 19
    for hop in hops:
        files = [ROOT / "docs" / link for link in re.findall(r"\]\(([^)]+)\)", hop)]
        sources = "".join(file.read_text(encoding="utf-8") for file in files)
        for name in re.findall(r"`(?:\w+\.)?(\w+)`", hop):
            assert re.search(rf"(?:def|class) {name}\b", sources), f"{name} of: {hop}"


ROOMS = ["base", "core", "measure", "data", "encoders", "tasks", "search", "training", "review", "panels", "workbench"]


def test_rooms_and_nothing_else_at_the_top(root):
    found = {path.name for path in (root / "vcwork").iterdir() if path.name != "__pycache__"}
    assert found == {*ROOMS, "__init__.py", "__main__.py"}


def test_imports_go_one_way(root):
    """The contracts of pyproject.toml: layers, no circle, no torch where none is needed."""
    script = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([script, "--no-cache"], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]


def test_core_is_read_in_one_sitting(root):
    files = (root / "vcwork/core").glob("*.py")
    lines = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert sum(lines.values()) <= 1700, lines


@pytest.mark.parametrize("room", ROOMS)
def test_a_door_offers_what_is_there(root, room):
    """Every name resolves, always to the same thing: no file of the room has a door's name, which would hide it."""
    package = importlib.import_module(f"vcwork.{room}")
    assert package.__doc__ and package.__doc__.strip()
    files = {path.stem for path in (root / "vcwork" / room).iterdir()}
    names = getattr(package, "__all__", [])
    assert not files & set(names)
    for name in names:
        assert getattr(package, name) is getattr(package, name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = package.nothing


def test_public_names_stay_what_they_are():
    """`vcwork.search` is a room and a verb: it answers a call whatever was imported before."""
    assert len(vcwork.__all__) == 19
    for room in ROOMS:
        importlib.import_module(f"vcwork.{room}")
    for name in vcwork.__all__:
        assert callable(getattr(vcwork, name)), name
    from vcwork import evaluation, metrics, plots

    assert evaluation.annotated_clips and metrics.recall_at_k and plots.colour


def test_notebooks_come_in_by_the_doors(root):
    paths = set()
    for path in (root / "notebooks").glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "code":
                lines = cell.source.splitlines()
                paths |= {line.split()[1] for line in lines if line.startswith(("from vcwork", "import vcwork"))}
    assert paths <= {"vcwork", *(f"vcwork.{room}" for room in ROOMS)}


def loaded_by(code: str, names: set[str]) -> set[str]:
    """Which of these modules a fresh process has loaded after `code`."""
    code += f"\nimport sys\nprint('LOADED', *{names!r}.intersection(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    return set(done.stdout.rpartition("LOADED")[2].split())


def test_a_model_is_opened_and_trained_without_torchs_compiler(root):
    code = """
import torch
from vcwork.core.config import TrainConfig
from vcwork.core.step import Learner
from vcwork.encoders.checkpoint import load_model
model = load_model('vcwork/training/tiny')
learner = Learner(model, TrainConfig(warmup=0, first_update='warm'), 10)
before = model.video_mlp.linear1.bias.clone()
learner.learn(model.video_mlp.linear1.bias.square().sum())
learner.optimizer.load_state_dict(learner.optimizer.state_dict())
assert not torch.equal(before, model.video_mlp.linear1.bias)"""
    assert loaded_by(code, {"torch._dynamo", "sympy", "torch"}) == {"torch"}


def test_a_command_reads_notebooks_without_a_grammar_of_iris():
    names = {"nbformat", "jsonschema", "lark", "rfc3987_syntax.syntax_helpers"}
    assert loaded_by("import vcwork.__main__, nbformat", names) == {"nbformat", "jsonschema"}


def test_notebooks_import_nothing_heavy_before_they_use_it(root):
    """Beside torch and matplotlib, which they need at once: a second or more each, where a kernel starts."""
    imports = set()
    for path in (root / "notebooks").glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            source = re.sub(r"^[%!].*$", "", cell.source, flags=re.MULTILINE)
            nodes = ast.parse(source).body if cell.cell_type == "code" else []
            imports |= {ast.unparse(node) for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)}
    heavy = {
        "faiss",
        "sklearn",
        "scipy.stats",
        "transformers",
        "accelerate",
        "sympy",
        "jinja2",
        "anywidget",
        "nbformat",
        "papermill",
        "nbconvert",
    }
    assert len(imports) > 60 and not loaded_by("\n".join(sorted(imports)), heavy)


def test_commands_that_need_no_model_load_none():
    code = "from vcwork.__main__ import main\n"
    for command in ("list", "list 20", "check lab", "--help", "fetch --help", "seeds none", "papermill 99"):
        code += f"try:\n    main({command.split()})\nexcept SystemExit:\n    pass\n"
    assert not loaded_by(code, {"torch", "matplotlib", "nbformat", "av"})


def test_the_scale_pages_tables_are_what_is_stored(root, monkeypatch):
    monkeypatch.syspath_prepend(root)
    from benchmarks import scale

    text, stored = (root / scale.PAGE).read_text(encoding="utf-8"), read_json(root / scale.NUMBERS)
    assert scale.filled(text, stored) == text, "python -m benchmarks.scale --write"
    assert scale.gpu_hours(1, scale.ASSUMED) == pytest.approx(437e6 / 10_000 / 3600)
    stage = {"units": [1, 10, 100], "seconds": [0.1, 1.0, 36.0], "exponent": 2.0}
    assert scale.core_hours(stage, 1000) == pytest.approx(1.0), "ten times the size, a hundred times the time"
    assert "| training on 1 GPU | | 12.1 | 12.1 | 36 |" in scale.plan(stored, scale.ASSUMED, 3.0, 0.04)
