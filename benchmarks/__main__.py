"""How fast is it? Every stage of the work, our path beside a reference-like one, and beside what the machine can do.

Equal losses, gradients, vectors and scores are asserted before anything is timed; the two paths run in turns. Run it
alone on the machine: seconds mean nothing beside other work.
"""

import argparse
import ast
import importlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.speed import page, record
from benchmarks.speed.timing import Row, median, ratios
from vcwork.base.errors import VcworkError
from vcwork.base.files import project_root, write_json

# each a function of benchmarks.speed, loaded when it is run: processes that a stage starts load this file, too
STAGES = {
    "data": "data.pairs",
    "step": "model.step",
    "captions": "model.captions",
    "labels": "model.labels",
    "clips": "model.clips",
    "segmentation": "model.segmentation",
    "localization": "model.localization",
    "retrieval": "metrics.of_retrieval",
    "segmented": "metrics.of_segmentation",
    "neighbours": "search.neighbours",
    "vectors": "search.vectors",
    "s3d": "video.s3d",
    "decode": "video.decoding",
    "extraction": "data.extraction",
    "startup": "startup.imports",
    "gpu": "gpu.step",
}


def stage(name: str) -> Callable[[Any], Iterator[Row]]:
    """What measures a stage: a size (`made.Size`) in, rows out."""
    module, function = STAGES[name].split(".")
    return getattr(importlib.import_module(f"benchmarks.speed.{module}"), function)


def main(arguments: list[str] | None = None) -> int:
    options = parsed(arguments)
    try:
        if options.check:
            from benchmarks.speed import made

            for name in options.stages or STAGES:
                _ = [*stage(name)(made.CHECK)]
        elif not options.page:
            measure(options)
        if options.page or options.write:
            print(page.write())
    except VcworkError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    except AssertionError as error:
        print(f"benchmarks: not equal, so not timed: {error}", file=sys.stderr)
        return 1
    return 0


def measure(options: argparse.Namespace) -> None:
    """Run the stages, and put what they took where it is to be kept."""
    from benchmarks.speed import floor, made

    size = made.QUICK if options.quick else made.FULL
    machine, run, target = floor.machine(), floor.run_record(), options.json
    if options.write:
        target = target or project_root() / page.RESULTS / f"speed-{machine['name']}.json"
    run["floors"] = floor.measure()
    rows: dict[str, list[Row]] = {}
    for name in options.stages or STAGES:
        if found := [*shown(name, size)]:
            rows[name] = found
        if target:  # after every stage, so that a later one cannot lose what came before
            write_json(target, record.merged(target, machine, run, rows))


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    stages = "\n".join(f"  {name:14s}{_first_line(_docstring(name))}" for name in STAGES)
    longer = "\n".join(f"  {path.name:24s}{_job(path)}" for path in sorted(Path(__file__).parent.glob("[a-z]*.py")))
    out = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog=f"stages (all, in this order, unless some are named):\n{stages}\n\n"
        f"longer experiments, each run as python benchmarks/NAME.py:\n{longer}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    out.add_argument("stages", nargs="*", metavar="STAGE", help="which to run (default: all)")
    out.add_argument("--json", type=Path, metavar="FILE", help="put the record into this file; other stages in it stay")
    out.add_argument("--quick", action="store_true", help="two repeats on less of everything")
    out.add_argument("--check", action="store_true", help="tiny sizes: equalities are asserted, nothing is timed")
    out.add_argument("--write", action="store_true", help=f"keep the record in {page.RESULTS} and redraw {page.PAGE}")
    out.add_argument("--page", action="store_true", help=f"only redraw {page.PAGE} from the stored records")
    options = out.parse_args(arguments)
    if options.quick and options.write:
        out.error("--write keeps whole measurements; leave out --quick, or use --json")
    if unknown := [name for name in options.stages if name not in STAGES]:
        out.error(f"expected stages among {', '.join(STAGES)}, got {', '.join(unknown)}")
    return options


def shown(name: str, size: Any) -> Iterator[Row]:
    """A stage's rows, each printed as it comes."""
    start = time.monotonic()
    for row in stage(name)(size):
        seconds = ", ".join(f"{way} {median(taken):.3g} s" for way, taken in row.seconds.items())
        times = f"  {median(ratios(row)):.2f} x" if ratios(row) else ""
        print(f"{row.name:44s} {seconds}{times}", flush=True)
        yield row
    print(f"  {name}: {time.monotonic() - start:.0f} s in all", file=sys.stderr, flush=True)


def _docstring(name: str) -> str:
    """Of a stage's function, without loading its module."""
    module, function = STAGES[name].split(".")
    tree = ast.parse((Path(__file__).parent / "speed" / f"{module}.py").read_text(encoding="utf-8"))
    return next(ast.get_docstring(node) for node in tree.body if getattr(node, "name", "") == function)


def _job(path: Path) -> str:
    return _first_line(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))))


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0]


if __name__ == "__main__":
    sys.exit(main())
