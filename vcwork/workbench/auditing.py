"""`python -m vcwork audit SCORES …`: what stands beside somebody's number, as a page, JSON, LaTeX and one line.

Also `--bundle FILE.zip`, all that a reviewer needs in one file, and `audit --check FILE.zip`, which gives the same
verdicts on another machine or names the first difference.
"""

import argparse
import math
import tempfile
from pathlib import Path
from typing import Any

from vcwork.base.console import say, seed
from vcwork.base.errors import VcworkError
from vcwork.base.files import resolve
from vcwork.base.sealed import well_formed
from vcwork.measure.metrics import REFERENCE, TIES
from vcwork.measure.result import results_table
from vcwork.review import audit_tasks
from vcwork.review.audit import NOT_TOLD, Audit, as_dict, audit_retrieval
from vcwork.review.gallery import (
    BENCHMARKS,
    Gallery,
    benchmark_gallery,
    hirest_gallery,
    read_gallery,
    read_qrels,
    unknown_gallery,
)
from vcwork.review.scores import Scores, open_scores
from vcwork.workbench.audit_page import first_difference, line, read_bundle, write_audit, write_bundle

ASKED = ("scores", "video", "cosine", "task", "benchmark", "annotations", "items", "against", "against_video", "pool",
         "ties", "gamma", "costs", "trained_on", "seed")  # fmt: skip
BENCHMARKS_OF = {
    "retrieval": BENCHMARKS, "qa": ("msrvtt_qa",), "segmentation": ("coin",), "localization": ("crosstask",),
    "moments": ("qvhighlights", "charades", "hirest"), "boundaries": ("hirest",),
}  # fmt: skip
FILES = ("scores", "video", "annotations", "items", "against", "against_video", "pool")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `audit`."""
    kinds = "texts by items: .npy, .npz, .safetensors, .csv, .parquet, or a TREC run (.run)"
    parser.add_argument("scores", nargs="?", default="", help=f"{kinds}; with --video the texts' embeddings")
    parser.add_argument("--video", default="", metavar="FILE", help="the items' embeddings")
    parser.add_argument("--cosine", action="store_true", help="embeddings are scaled to length 1 first")
    parser.add_argument("--task", choices=tuple(BENCHMARKS_OF), default="retrieval", help="what the scores are for")
    known = "; ".join(f"{task}: {', '.join(names)}" for task, names in BENCHMARKS_OF.items())
    parser.add_argument("--benchmark", default="", metavar="NAME", help=f"with --annotations; {known}")
    parser.add_argument("--annotations", default="", metavar="FILE", help="its own annotation file, or its folder")
    items = "what is right, in a file of your own; retrieval: a csv text, item_id, and where known query_id, video, "
    items += "group, recipe, seconds, or a TREC .qrels (nDCG); the other tasks: docs/audit.md"
    parser.add_argument("--items", default="", metavar="FILE", help=items)
    parser.add_argument("--against", default="", metavar="FILE", help="a second system's scores, for a paired test")
    parser.add_argument("--against-video", default="", metavar="FILE", help="its items' embeddings")
    kept = "retrieval: only these items, an id a line: the gallery of another paper, where it is known"
    parser.add_argument("--pool", default="", metavar="FILE", help=kept)
    rules = "what equal scores count (default: expected; reference: as the paper's code counts)"
    parser.add_argument("--ties", choices=(*TIES, REFERENCE), default="expected", help=rules)
    above = "segmentation: SCORES are (seconds, steps) of each video, and the best step counts where it is above this"
    parser.add_argument("--gamma", type=float, metavar="NUMBER", help=above)
    summed = "localization: SCORES are the costs that CrossTask's dynamic program sums up; no softmax is made of them"
    parser.add_argument("--costs", action="store_true", help=summed)
    seen = "what the model was trained on, in words; it stands beside the numbers"
    parser.add_argument("--trained-on", default=NOT_TOLD, metavar="TEXT", help=seen)
    parser.add_argument("--seed", type=seed, default=0, help="of the intervals' draws (default: 0)")
    parser.add_argument("--out", default="", metavar="FOLDER", help="page, JSON, LaTeX (default: outputs/audit/NAME)")
    parser.add_argument("--bundle", default="", metavar="FILE.zip", help="also all of it in one file, for a reviewer")
    parser.add_argument("--check", default="", metavar="FILE.zip", help="audit a bundle's inputs again and compare")


def main(options: argparse.Namespace) -> int:
    """`audit`: 0; of `--check` 1 where something differs."""
    if bool(options.check) == bool(options.scores):
        raise VcworkError("audit: expected SCORES, or --check FILE.zip alone")
    if options.check:
        return check_bundle(resolve(options.check))
    asked = {name: getattr(options, name) for name in ASKED}
    bundle = resolve(options.bundle) if options.bundle else None
    if bundle is not None and bundle.exists():
        raise VcworkError(f"{bundle}: exists already; choose another name")
    if bundle is not None and options.annotations and not resolve(options.annotations).is_file():
        raise VcworkError("--bundle: expected --annotations to be the file itself, which travels in it, got a folder")
    made = audit(**asked)
    out = resolve(options.out or Path("outputs") / "audit" / Path(options.scores).stem)
    named = {name: Path(value).name if name in FILES else value for name, value in asked.items()}
    told = write_audit(made, out, named)
    say(results_table(made.results), "", *made.verdicts, *made.notes, "", f"{out / 'index.html'}", told, sep="\n")
    if bundle is not None:
        write_bundle(made, bundle, named, {name: resolve(asked[name]) for name in FILES if asked[name]})
        say(f"bundle: {bundle}")
    return 0


def audit(
    scores: str | Path, video: str | Path = "", cosine: bool = False, task: str = "retrieval", benchmark: str = "",
    annotations: str | Path = "", items: str | Path = "", against: str | Path = "", against_video: str | Path = "",
    pool: str | Path = "", ties: str = "expected", gamma: float | None = None, costs: bool = False,
    trained_on: str = NOT_TOLD, seed: int = 0,
) -> Audit:  # fmt: skip
    """The audit of a file of scores, arguments as on the command line; VcworkError for what does not fit together."""
    if bool(benchmark) != bool(annotations) or (benchmark and items):
        raise VcworkError("audit: expected --benchmark with --annotations, or --items alone, or neither")
    if against_video and not against:
        raise VcworkError("audit: --against-video goes with --against")
    if benchmark not in ("", *BENCHMARKS_OF[task]):
        raise VcworkError(f"--benchmark: expected {' or '.join(BENCHMARKS_OF[task])} for {task}, got {benchmark!r}")
    if gamma is not None and not (task == "segmentation" and math.isfinite(gamma)):
        raise VcworkError(f"--gamma: expected a number, and --task segmentation, got {gamma} for {task}")
    if costs and task != "localization":
        raise VcworkError(f"--costs: expected --task localization, got {task}")
    if task != "retrieval":
        if video or cosine or pool or not (benchmark or items):
            expected = "expected SCORES and --items or --benchmark, no embeddings and no --pool"
            raise VcworkError(f"audit --task {task}: {expected}")
        truth = resolve(annotations or items)
        asked = audit_tasks.Asked(benchmark, resolve(against) if against else None, trained_on, seed)
        more = {"segmentation": {"gamma": gamma}, "localization": {"costs": costs}, "qa": {"ties": ties}}.get(task, {})
        path = resolve(scores)
        if not path.is_file():
            raise VcworkError(f"{path}: no such file")
        return getattr(audit_tasks, f"audit_{task}")(path, truth, asked, **more)
    found = open_scores(scores, video or None, cosine)
    gallery = _gallery(found, benchmark, annotations, items)
    other = open_scores(against, against_video or None, cosine) if against else None
    return audit_retrieval(found, gallery, against=other, pool=pool, ties=ties, trained_on=trained_on, seed=seed)


def _gallery(found: Scores, benchmark: str, annotations: str | Path, items: str | Path) -> Gallery:
    """What the scores are about, as far as it was told."""
    if benchmark == "hirest":
        return hirest_gallery(annotations, found)
    if benchmark:
        return benchmark_gallery(benchmark, annotations)
    if Path(items).suffix == ".qrels":
        return read_qrels(items, found)
    return read_gallery(items) if items else unknown_gallery(found)


def check_bundle(path: Path) -> int:
    """Audit what a bundle holds again: 0 and the same verdicts, or 1 and the first difference.

    VcworkError: not a bundle, a changed one, or one whose inputs were too large to travel in it.
    """
    if not path.is_file():
        raise VcworkError(f"{path}: no such file")
    with tempfile.TemporaryDirectory() as folder:
        told, inputs = read_bundle(path, Path(folder))
        if absent := [name for name in told["inputs"] if name not in inputs]:
            where = told["inputs"][absent[0]]["file"]
            raise VcworkError(f"{path}: {where} was too large to travel in it; audit the file itself and compare")
        made = audit(**_asked(path, told), **inputs)
    here = as_dict(made)
    differs = first_difference({name: told.get(name) for name in here if name != "scores"},
                               {name: value for name, value in here.items() if name != "scores"})  # fmt: skip
    before = [] if "pages" in told else ["its page and table bear no digest: bundles had none when it was written"]
    found = f"differs: {differs}" if differs else "the same numbers and verdicts"
    say(f"{path.name}: {found}", line(made), *before, sep="\n")
    return int(bool(differs))


def _asked(path: Path, told: dict[str, Any]) -> dict[str, Any]:
    """What a bundle says was asked beside its files, which must be all that it asks for: it reads none of this machine.

    VcworkError: what the command line would not take.
    """
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_arguments(parser)
    with well_formed(path):
        if {name for name in FILES if told["asked"].get(name)} != {*told["inputs"]} or "scores" not in told["inputs"]:
            raise VcworkError(f"{path}: audit.json asks for other files than those that travel in it")
        asked = {name: told["asked"][name] for name in ASKED if name in told["asked"] and name not in FILES}
        given = {f"--{name.replace('_', '-')}": value for name, value in asked.items()}
        words = [key if value is True else f"{key}={value}" for key, value in given.items()
                 if value is not None and value is not False]  # fmt: skip
        try:
            taken = vars(parser.parse_args(words))
        except argparse.ArgumentError as error:
            raise VcworkError(f"{path}: audit.json, asked: {error}") from None
        if wrong := [name for name, value in asked.items() if taken[name] != value]:
            raise VcworkError(f"{path}: audit.json, asked: {wrong[0]}: as in no command line, {asked[wrong[0]]!r}")
    return asked
