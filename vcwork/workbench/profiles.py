"""What will run with what: a profile's YAML files joined with the notebooks, every mistake found before anything runs.

A profile is a folder of `params/<profile>/<notebook>.yaml`. It runs the notebooks it has a file for; each file says
only what differs from that notebook's defaults, and may be empty. Nothing is inherited. `<notebook>--<label>.yaml` runs
the same notebook once more with other parameters, under that name.
The order is that of the numbers, except that a notebook waits for the one that writes what it reads inside `{run}`.
"""

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from vcwork.base.errors import VcworkError
from vcwork.base.files import at_home, read_yaml
from vcwork.measure.result import plain
from vcwork.workbench.parameters import Parameter, fill, from_text, nearest, read_parameters, strings

LABEL = "--"  # between a notebook's name and a run's own label


@dataclass(frozen=True)
class Step:
    """One notebook to execute: its source, its parameters, and the values that differ from the defaults.

    `name` is the notebook's, followed by `--label` where the profile runs it under a label. `filed`: what the parameter
    files gave, before anything else did.
    """

    name: str
    path: Path
    parameters: dict[str, Parameter]
    given: dict[str, Any]
    filed: dict[str, Any] = field(default_factory=dict)

    def raw(self) -> dict[str, Any]:
        """Every parameter's value, placeholders still in it."""
        return {name: parameter.default for name, parameter in self.parameters.items()} | self.given

    def changed(self, seed: int | None = None) -> list[str]:
        """Where the values are not those of files and defaults, in words; but the run's seed, which is told once."""
        before = {name: parameter.default for name, parameter in self.parameters.items()} | self.filed
        same = {key: (value, seed if key == "seed" else value) for key, value in before.items()}
        other = {key: value for key, value in self.given.items() if value not in same[key]}
        return [f"{self.name}: {key} is {value!r} instead of {before[key]!r}" for key, value in other.items()]

    def values(self, run: Path, root: Path) -> dict[str, Any]:
        """Every parameter's value for a run in folder `run`."""
        return fill(self.raw(), run, root)

    def paths(self, inputs: bool) -> list[str]:
        """What it reads (or else writes) inside the run's own folder, placeholders still in it."""
        kept = [n for n, p in self.parameters.items() if (p.is_input if inputs else p.help.startswith("out:"))]
        return [text.rstrip("/") for name in kept for text in strings(self.raw()[name]) if "{run}" in text]

    def waits_for(self, other: "Step") -> bool:
        """True when it reads what `other` writes, something inside that, or what all the others have recorded."""
        if "{run}" in self.paths(inputs=True) and "{run}" not in other.paths(inputs=True):
            return True
        made = other.paths(inputs=False) if other is not self else []
        return any(f"{needed}/".startswith(f"{folder}/") for needed in self.paths(inputs=True) for folder in made)

    def needs(self, run: Path, root: Path) -> list[str]:
        """The inputs inside the run's own folder that no earlier notebook has written, as `name = path`."""
        missing = []
        for name, value in self.raw().items():
            for text in (t for t in strings(value) if "{run}" in t):
                try:
                    self.parameters[name].require(fill(text, run, root), root)
                except VcworkError:
                    missing.append(f"{name} = {text}")
        return missing


@dataclass(frozen=True)
class Plan:
    """A checked list of notebooks; all that can still be missing is a `{run}` input that never appears.

    files: the parameter files, relative to the root; changed: what was asked for otherwise than these say, in words.
    """

    root: Path
    profile: str
    steps: list[Step]
    seed: int | None = None
    files: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)


class _Problems(list[str]):
    """Collects mistakes, so that one message tells them all."""

    @contextlib.contextmanager
    def at(self, where: str) -> Iterator[None]:
        try:
            yield
        except VcworkError as error:
            self.append(f"{where}: {error}")

    def raise_any(self) -> None:
        if len(self) == 1:
            raise VcworkError(self[0])
        if self:
            raise VcworkError(f"{len(self)} mistakes, nothing was run:", *(f"  {one}" for one in self))


def notebook_names(root: Path) -> list[str]:
    return sorted(path.stem for path in (root / "notebooks").glob("*.ipynb"))


def profile_names(root: Path) -> list[str]:
    """Names of the profiles: the folders of `params/` that hold a parameter file."""
    return sorted({path.parent.name for path in (root / "params").glob("*/*.yaml")})


def find_notebook(root: Path, text: str) -> str:
    """The notebook of `notebooks/` meant by its name, its number (`20`) or its path there.

    VcworkError with the nearest name otherwise."""
    names = notebook_names(root)
    folder, _, name = text.replace("\\", "/").rpartition("/")
    stem, ours = name.removesuffix(".ipynb"), root / "notebooks"
    matches = [name for name in names if name == stem or name.split("_")[0] == stem]
    if len(matches) == 1 and (not folder or (root / at_home(folder)).resolve() == ours.resolve()):
        return matches[0]
    raise VcworkError(f"unknown notebook {text!r}{nearest(stem, names)}; notebooks: {', '.join(names) or 'none'}")


def notebook_path(root: Path, text: str) -> Path:
    """The notebook that lies at a path, wherever that is; else the one of `notebooks/` that `find_notebook` means."""
    path = root / at_home(text)
    there = path.suffix == ".ipynb" and path.is_file()
    return path if there else root / "notebooks" / f"{find_notebook(root, text)}.ipynb"


def plan_profile(
    root: Path, profile: str, seed: int | None = None, only: Iterable[str] = (), settings: Iterable[str] = ()
) -> Plan:
    """Check a whole profile. `only` picks notebooks; each of `settings` is `NOTEBOOK.param=value`.

    Raises VcworkError listing every mistake found in names, types and paths."""
    problems = _Problems()
    files = _profile_files(root, profile, problems)
    chosen = list(files)
    with problems.at("--only"):
        wanted = [name for text in only for name in _among(root, text, chosen)]
        chosen = [name for name in chosen if not wanted or name in wanted]
    overrides: dict[str, dict[str, str]] = {name: {} for name in files}
    for setting in settings:
        with problems.at(f"--set {setting}"):
            notebook, name, text = _split_setting(setting)
            for step in _among(root, notebook, chosen):
                if name in overrides[step]:
                    raise VcworkError(f"{step}.{name} is set twice")
                overrides[step][name] = text
    steps = [_ours(root, name, problems, [files[name]], overrides[name], seed) for name in chosen]
    problems.raise_any()
    steps = _in_order(steps)
    changed = [f"{len(chosen)} of its {len(files)} notebooks"] * (len(chosen) < len(files))
    changed += [f"seed {seed}"] * any(step.changed() != step.changed(seed) for step in steps)
    changed += [text for step in steps for text in step.changed(seed)]
    return Plan(root, profile, steps, seed, [relative(files[step.name], root) for step in steps], changed)


def plan_notebook(
    root: Path, notebook: str, files: Iterable[Path] = (), overrides: dict[str, str] | None = None
) -> Plan:
    """Check one notebook, here or anywhere (`notebook_path`), with parameter files and `-p name value` pairs.

    Raises VcworkError like `plan_profile`."""
    path, problems, files = notebook_path(root, notebook), _Problems(), list(files)
    step = _step(path, path.stem, problems, root, files, overrides or {})
    problems.raise_any()
    return Plan(root, path.stem, [step], None, [relative(path, root) for path in files], step.changed())


def plan_again(root: Path, record: Mapping[str, Any]) -> Plan:
    """What a run's record tells: the same notebooks, each with the values it had, whatever the defaults are now.

    Raises VcworkError like `plan_profile`, as for a parameter that is gone since."""
    problems, steps = _Problems(), []
    for entry in record["notebooks"]:
        with problems.at(entry["name"]):
            notebook, _, label = entry["name"].partition(LABEL)
            name = find_notebook(root, notebook) + (LABEL + label if label else "")
            steps.append(_ours(root, name, problems, recorded=entry["parameters"] | entry["given"]))
    if not steps:
        problems.append("the record tells of no notebook")
    problems.raise_any()
    told = record.get("seed"), record.get("parameter_files", []), record.get("changed", [])
    return Plan(root, record["profile"], _in_order(steps), *told)


def _profile_files(root: Path, profile: str, problems: _Problems) -> dict[str, Path]:
    """Notebook name -> parameter file, in order; a file that names no notebook is a mistake."""
    profiles, names = profile_names(root), notebook_names(root)
    if profile not in profiles:
        known = ", ".join(profiles) or "none"
        raise VcworkError(f"unknown profile {profile!r}{nearest(profile, profiles)}; profiles in params/: {known}")
    found = {}
    for path in sorted((root / "params" / profile).iterdir()):
        if path.suffix.lower() not in (".yaml", ".yml"):
            continue
        notebook, dashes, label = path.stem.partition(LABEL)
        if notebook in names and path.suffix == ".yaml" and bool(dashes) == bool(label):
            found[path.stem] = path
        else:
            problems.append(
                f"{relative(path, root)}: expected <notebook>.yaml or <notebook>--<label>.yaml, and there is no such "
                f"notebook{nearest(notebook, names)}"
            )
    return found


def _ours(root: Path, name: str, problems: _Problems, *given: Any, **more: Any) -> Step:
    """A step of the notebook of `notebooks/` that is called `name`, but for a label."""
    return _step(root / "notebooks" / f"{name.partition(LABEL)[0]}.ipynb", name, problems, root, *given, **more)


def _step(
    path: Path,
    name: str,
    problems: _Problems,
    root: Path,
    files: Iterable[Path] = (),
    overrides: Mapping[str, str] = MappingProxyType({}),
    seed: int | None = None,
    recorded: Mapping[str, Any] = MappingProxyType({}),
) -> Step:
    """A notebook with the values of files, of texts, a seed, or of an earlier run as far as they are no defaults."""
    parameters, given, filed = {}, {}, {}
    with problems.at(relative(path.parent, root)):
        parameters = read_parameters(path)
        for file in files:
            given |= _read_given(file, parameters, root, problems)
        filed = dict(given)
        for key, text in overrides.items():
            with problems.at(f"{name}.{key}"):
                given[key] = _known(parameters, key).check(from_text(text, _known(parameters, key).annotation))
        for key, value in recorded.items():
            with problems.at(f"{name}.{key}"):
                if plain(_known(parameters, key).default, key) != value:
                    given[key] = parameters[key].check(value)
        if seed is not None:
            with problems.at(f"--seed, {name}"):
                if given.setdefault("seed", _known(parameters, "seed").check(seed)) != seed:
                    raise VcworkError(f"has a seed of its own by file or --set, {given['seed']}; leave one of them out")
    step = Step(name, path, parameters, given, filed)
    for key, value in step.raw().items():
        with problems.at(f"{name}.{key}"):
            parameters[key].check_path(value, root)
    return step


def _read_given(file: Path, parameters: dict[str, Parameter], root: Path, problems: _Problems) -> dict[str, Any]:
    given = {}
    with problems.at(relative(file, root)):
        for key, value in read_yaml(file).items():
            with problems.at(f"{relative(file, root)}: {key}"):
                given[key] = _known(parameters, key).check(value)
    return given


def _known(parameters: dict[str, Parameter], name: str) -> Parameter:
    if name not in parameters:
        accepted = ", ".join(parameters) or "none"
        raise VcworkError(f"unknown parameter {name!r}{nearest(name, parameters)}; accepted: {accepted}")
    return parameters[name]


def _in_order(steps: list[Step]) -> list[Step]:
    """By name, but after whatever writes their inputs; VcworkError for two that wait for each other."""
    steps, done = sorted(steps, key=lambda step: step.name), []
    while steps:
        ready = [step for step in steps if not any(step.waits_for(other) for other in steps)]
        if not ready:
            raise VcworkError(f"{' and '.join(step.name for step in steps)}: each reads what another of them writes")
        done.append(ready[0])
        steps.remove(ready[0])
    return done


def _among(root: Path, text: str, names: list[str]) -> list[str]:
    """The steps meant by a notebook's name or number (all its labels), or by `20--label`."""
    notebook, _, label = text.partition(LABEL)
    name = find_notebook(root, notebook) + (LABEL + label if label else "")
    found = [step for step in names if name in (step, step.partition(LABEL)[0])]
    if not found:
        raise VcworkError(f"{name} is not among the notebooks to run ({', '.join(names) or 'none'})")
    return found


def _split_setting(setting: str) -> tuple[str, str, str]:
    match = re.fullmatch(r"([^=.]+)\.([^=.]+)=(.*)", setting, re.DOTALL)
    if not match:
        raise VcworkError("expected NOTEBOOK.param=value, for example 20.lr=1e-3")
    return match[1], match[2], match[3]


def relative(path: Path, root: Path) -> str:
    """A path as it is told: from the root where it lies inside."""
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
