"""A notebook's parameters: reading them from its cell, and checking a value against one.

A parameter is an annotated literal in the cell tagged `parameters`: `lr: float = 1.0e-3  # peak learning rate`.
A comment that begins with `folder:` or `file:` marks an input path, `out:` an output path; `last | best: …` names all
values that a text may have, `empty` for none. papermill itself only warns
about an unknown parameter and takes any type. The cell is read with `ast`, because papermill's own reading drops a
line that holds a second `=`, even in its comment.

Nothing of a cell is executed, neither to read it nor to check it: a notebook may be a stranger's.
Values may hold `{root}` (the project) and `{run}` (the run's own folder, unknown until it starts).
"""

import ast
import difflib
import io
import os
import re
import tokenize
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from vcwork.base.console import SEEDS
from vcwork.base.errors import VcworkError
from vcwork.base.files import at_home, parse_yaml, read_json

TYPES = {"None": None} | {kind.__name__: kind for kind in (int, float, str, bool, list, dict, tuple)}
PLACEHOLDERS = ("run", "root")


@dataclass(frozen=True)
class Parameter:
    """One line of a notebook's parameters cell; `default` is the literal's value."""

    name: str
    annotation: str
    default: Any
    help: str

    @property
    def is_input(self) -> bool:
        """True for a path that must exist before the notebook starts."""
        return self.help.startswith(("folder:", "file:"))

    def check(self, value: Any) -> Any:
        """The value in the annotated type: an int is a fine float, 1 is no bool. VcworkError says what came instead."""
        adapter = TypeAdapter(annotated_type(self.annotation), config=ConfigDict(strict=True, allow_inf_nan=False))
        try:
            value = adapter.validate_python(value)
        except ValidationError:
            came = f"{value!r} ({type(value).__name__})"
            raise VcworkError(f"expected {self.annotation}, got {came}{_hint(value, self.annotation)}") from None
        if self.choices and (wrong := [text for text in strings(value) if (text or "empty") not in self.choices]):
            accepted = f"expected one of {', '.join(self.choices)}"
            raise VcworkError(f"{accepted}, got {wrong[0]!r}{nearest(wrong[0], self.choices)}")
        if value == "empty" and value in self.choices:
            return ""
        if self.name == "seed" and isinstance(value, int) and value not in SEEDS:
            raise VcworkError(f"expected a whole number from 0 to 2^63 - 1, got {value}")
        return value

    @property
    def choices(self) -> list[str]:
        """The values that a text may have; [] where it is free."""
        names = self.help.partition(":")[0]
        return names.split(" | ") if " | " in names else []

    def check_path(self, value: Any, root: Path) -> None:
        """Refuse an input path that is not there (inside `{run}` it may still come), and unknown placeholders."""
        for text in strings(value) if self.is_input or self.help.startswith("out:") else []:
            unknown = [found for found in re.findall(r"\{(.*?)\}", text) if found not in PLACEHOLDERS]
            if unknown:
                raise VcworkError(f"unknown placeholder {{{unknown[0]}}} in {text!r}; accepted: {{run}}, {{root}}")
            if text and "{run}" not in text:
                self.require(fill(text, run=root, root=root), root)

    def require(self, text: str, root: Path) -> None:
        """VcworkError unless the input path `text` (relative ones start at `root`) is the folder or file it must be."""
        path = root / at_home(text)
        there = os.path.isdir(path) if self.help.startswith("folder:") else os.path.isfile(path)  # of any length
        if self.is_input and not there:
            raise VcworkError(f"no such {self.help.split(':')[0]}: {path}")


def read_parameters(path: Path) -> dict[str, Parameter]:
    """The parameters of a notebook, in order; VcworkError when its parameters cell is absent or holds anything else.

    So it is for a notebook of another language, or of another format than 4.
    """
    try:  # as JSON, because importing nbformat takes a moment
        notebook = read_json(path)
        if notebook["nbformat"] != 4 or not isinstance(notebook["nbformat_minor"], int):
            raise TypeError
        about, cells = notebook["metadata"], [("".join(cell["source"]), cell) for cell in notebook["cells"]]
        language = about.get("language_info", {}).get("name") or about.get("kernelspec", {}).get("language") or "python"
        another = "python" not in language.lower()
        sources = [
            source
            for source, cell in cells
            if cell["cell_type"] == "code" and "parameters" in cell["metadata"].get("tags", [])
        ]
    except (KeyError, TypeError, AttributeError):
        raise VcworkError(f"{path.name}: not a notebook of format 4") from None
    if another:
        raise VcworkError(f"{path.name}: expected a notebook in Python, got one in {language}")
    if len(sources) != 1:
        raise VcworkError(f"{path.name}: expected one code cell tagged `parameters`, found {len(sources)}")
    return parse_parameters(sources[0], path.name)


def parse_parameters(source: str, where: str) -> dict[str, Parameter]:
    """Read `name: type = literal  # help` lines; VcworkError names the line that is anything else."""
    try:
        body, tokens = ast.parse(source).body, list(tokenize.generate_tokens(io.StringIO(source).readline))
    except SyntaxError as error:
        raise VcworkError(f"{where}: parameters cell: line {error.lineno}: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:  # bytes that are no text, or nested without end
        raise VcworkError(f"{where}: parameters cell: {error or 'nested too deeply'}") from None
    comments = {t.start[0]: t.string.lstrip("# ").strip() for t in tokens if t.type == tokenize.COMMENT}
    found = {}
    for node in body:
        try:
            name, annotation = node.target.id, ast.unparse(node.annotation)
            annotated_type(annotation)
            one = Parameter(name, annotation, ast.literal_eval(node.value), comments.get(node.end_lineno, ""))
        except (AttributeError, ValueError, TypeError):
            line = source.splitlines()[node.lineno - 1].strip()
            raise VcworkError(f"{where}: parameters cell: expected `name: type = literal`, got {line!r}") from None
        if name in found:
            raise VcworkError(f"{where}: parameters cell: {name!r} is given twice")
        try:
            one.check(one.default)
        except VcworkError as error:
            raise VcworkError(f"{where}: parameters cell: {name}: {error}") from None
        found[name] = one
    return found


def annotated_type(annotation: str) -> Any:
    """The Python type of an annotation made of plain built-in types: `int`, `list[str]`, `float | None`."""
    try:
        return _type_of(ast.parse(annotation, mode="eval").body)
    except (SyntaxError, TypeError, KeyError, RecursionError):
        raise VcworkError(f"annotation {annotation!r}: expected built-in types such as int or list[str]") from None


def _type_of(node: ast.AST) -> Any:
    """The type that a node of an annotation names; KeyError or TypeError for all but names of TYPES, `|` and `[]`."""
    match node:
        case ast.Name(id=name) | ast.Constant(value=None as name):
            return TYPES[str(name)]
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _type_of(left) | _type_of(right)
        case ast.Subscript(value=ast.Name(id="list" | "dict" | "tuple" as name), slice=inside):
            items = inside.elts if isinstance(inside, ast.Tuple) else [inside]
            return TYPES[name][tuple(_type_of(item) for item in items)]
    raise TypeError


def from_text(text: str, annotation: str) -> Any:
    """A value typed on the command line: text stays text for `str`, anything else is read as YAML, 1e-3 included."""
    if annotation == "str":
        return text
    try:
        value = parse_yaml(text)
    except VcworkError as error:
        raise VcworkError(f"expected {annotation}, got {text[:80]!r} ({error})") from None
    return float(value) if annotation == "float" and _is_number(value) else value


def fill(value: Any, run: Path, root: Path) -> Any:
    """Replace `{run}` and `{root}` in every string of a value, whatever it is nested in."""
    if isinstance(value, str):
        return value.replace("{run}", str(run)).replace("{root}", str(root))
    if isinstance(value, list | tuple):
        return type(value)(fill(item, run, root) for item in value)
    if isinstance(value, dict):
        return {key: fill(item, run, root) for key, item in value.items()}
    return value


def strings(value: Any) -> list[str]:
    """The texts in a value that is one text or a list of them."""
    items = value if isinstance(value, list | tuple) else [value]
    return [item for item in items if isinstance(item, str)]


def nearest(text: str, names: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the most similar name, or nothing."""
    close = difflib.get_close_matches(str(text), list(names), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _hint(value: Any, annotation: str) -> str:
    if ("float" not in annotation and "int" not in annotation) or not _is_number(value):
        return ""
    if "e" not in value.lower():
        return f"; write {value} without quotes"
    if "float" in annotation:
        return "; YAML reads 1e-3 as text, write 1.0e-3"
    return f"; write {float(value):.0f}" if float(value).is_integer() else ""


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return isinstance(value, str)
