"""`python -m vcwork`: run a profile, one notebook, or check first. A mistake in the input is one message, exit code 2.

Relative paths start at the project's folder, wherever the command is typed. Where it is typed among somebody's data,
no module is imported from there, neither here nor in a process that is started.
"""

import contextlib
import os
import sys

if (here := os.getcwd() if os.path.isdir(".") else "") != os.path.dirname(os.path.dirname(os.path.realpath(__file__))):
    os.environ.setdefault("PYTHONSAFEPATH", "1")
    sys.path[:] = [folder for folder in sys.path if folder not in ("", here)]

with contextlib.suppress(OSError, ValueError, AttributeError):  # no terminal: no bars
    if not os.get_terminal_size(sys.__stderr__.fileno()).columns:  # some containers tell no size, and tqdm shows none
        os.environ |= {"TQDM_NCOLS": "80", "TQDM_NROWS": "24"} | os.environ

import argparse
import errno
import signal
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from vcwork.base.console import say, seed, share

GROUPS = {  # as in ./run help
    "see": "lab app list",
    "run": "run check papermill rerun seeds table notebooks",
    "own videos": "explore extract",
    "train": "pretrain finetune import export",
    "audit": "audit doctor verify",
    "data and weights": "fetch convert",
}
CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ENOSPC)  # a folder, not a fault of the program


def outside(error: ModuleNotFoundError) -> str:
    """What to do about a missing package; the error itself where the package is our own."""
    if not error.name or error.name.partition(".")[0] == "vcwork":
        raise error
    return (
        f"vcwork: {sys.executable} has no package {error.name!r}; use the project's environment: ./run COMMAND, or "
        ".venv/bin/python -m vcwork COMMAND after ./run setup"
    )


# nbformat loads jsonschema, and that a grammar of IRIs, against which nothing here is checked: 2 s of many a start
sys.modules.setdefault("rfc3987_syntax", None)  # as where it is not installed

try:
    from vcwork.base.errors import VcworkError
    from vcwork.base.files import project_root, resolve
    from vcwork.base.progress import waiting
    from vcwork.data.backbones import weights as fetch
    from vcwork.workbench import profiles
    from vcwork.workbench.parameters import read_parameters
except ModuleNotFoundError as error:
    say(outside(error), file=sys.stderr)
    sys.exit(2)
except KeyboardInterrupt:  # while all that loads
    say("vcwork: interrupted", file=sys.stderr)
    sys.exit(130)


def main(arguments: list[str] | None = None) -> int:
    """Parse `arguments` (the command line's by default), do it, and return the exit code."""
    for stream in (sys.stdout, sys.stderr):  # a console may not have the letters of a film's name
        with contextlib.suppress(AttributeError):  # or be no console
            stream.reconfigure(errors="backslashreplace")
    try:  # some commands import for seconds to say what they take
        options = _parser(sys.argv[1:] if arguments is None else arguments).parse_args(arguments)
        return options.do(options)
    except VcworkError as error:
        say(f"vcwork: {as_typed(str(error), sys.argv[1:] if arguments is None else arguments)}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:  # what only one command needs
        say(outside(error), file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in CLOSED:
            raise
        way = "where it is to be written, give a folder elsewhere: --out FOLDER"
        say(f"vcwork: {error.filename}: {error.strerror}; {way}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:  # a training says what it keeps
        say(f"vcwork: {error if str(error) else 'interrupted'}", file=sys.stderr)
        return 130


def as_typed(message: str, arguments: Sequence[str]) -> str:
    """A message with each path below the project's folder as it stands in the arguments, `--set NAME=PATH` included."""
    for text in {part for argument in arguments for part in (argument, argument.partition("=")[2]) if part}:
        with contextlib.suppress(VcworkError):  # of no home folder
            message = message.replace(str(resolve(text)), text)
    return message


def _parser(arguments: list[str]) -> argparse.ArgumentParser:
    how = {"formatter_class": argparse.RawDescriptionHelpFormatter, "add_help": False}
    usage = "python -m vcwork COMMAND [arguments]      (COMMAND --help tells a command's arguments)"
    parser = argparse.ArgumentParser(prog="python -m vcwork", usage=usage, **how)
    parser.add_argument("-h", "--help", action="help", help=argparse.SUPPRESS)
    commands = parser.add_subparsers(prog=parser.prog, required=True, metavar="COMMAND", help=argparse.SUPPRESS)

    run = _command(commands, "run", run_profile, "execute a profile's notebooks and write a page of results")
    _profile_options(run)
    run.add_argument("--out", metavar="FOLDER", help="the run's folder, which must not exist (default: a new one)")
    run.add_argument("--at-once", type=int, metavar="N", help="notebooks side by side (default: as suits)")
    run.add_argument("--resume", default="", metavar="RUN", help="go on with a run that was stopped; done is kept")
    _profile_options(_command(commands, "check", check_profile, "find a profile's mistakes without running anything"))

    one = _command(commands, "papermill", run_notebook, "execute one notebook with parameters checked first")
    one.add_argument("notebook", help="number, name, or the path of any notebook")
    one.add_argument("out", nargs="?", metavar="OUT", help="also copy the executed notebook to this path")
    one.add_argument("--out", dest="run", default="", metavar="FOLDER", help="the run's folder (default: a new one)")
    one.add_argument("-f", dest="files", action="append", default=[], metavar="YAML", help="file of parameters")
    one.add_argument(
        "-p", dest="pairs", action="append", nargs=2, default=[], metavar=("NAME", "VALUE"), help="one parameter"
    )

    back = _command(commands, "rerun", rerun_run, "repeat a run from its record, and name every difference")
    back.add_argument("run", metavar="RUN", help="the folder of a run")
    back.add_argument("--out", metavar="FOLDER", help="the new run's folder, which must not exist")
    back.add_argument("--at-once", type=int, metavar="N", help="notebooks side by side (default: as suits)")

    many = _command(commands, "seeds", compare_seeds, "mean and range of every metric over runs of different seeds")
    many.add_argument("runs", nargs="+", metavar="RUN", help="folders of finished runs of one profile")

    about = "what stands beside somebody's number: chance, intervals, ties, pool, hubs, from a file of scores"
    seen = commands.add_parser("audit", description=about)
    if arguments[:1] == ["audit"]:  # importing it takes a moment
        from vcwork.workbench import auditing

        auditing.add_arguments(seen)
        seen.set_defaults(do=auditing.main)

    ill = _command(commands, "doctor", see_doctor, "one clip through two pipelines: where they part, and what it does")
    ill.add_argument("clip", help="a video file")
    way = "MODEL (a CLIP's or SigLIP's folder or hub name), MODEL,fps=2,crop=none,…, or a YAML file; docs/audit.md"
    ill.add_argument("--a", required=True, metavar="PIPELINE", help=way)
    ill.add_argument("--b", required=True, metavar="PIPELINE", help="the other one")
    ill.add_argument("--text", action="append", default=[], metavar="SENTENCE", help="to score with; repeatable")

    write = _command(commands, "table", write_tables, "keep the numbers of runs of different seeds, and write tables")
    write.add_argument("runs", nargs="*", metavar="RUN", help="folders of finished runs; none: those kept before")
    write.add_argument("--into", nargs="+", default=[], metavar="FILE", help="documents with <!-- table: lab -->")

    names = _command(commands, "list", list_notebooks, "show notebooks, their parameters, and the profiles")
    names.add_argument("names", nargs="*", help="notebooks to show in full (default: all by name only)")
    train = _command(commands, "pretrain", pretrain, "train by a recipe file; under torchrun on many GPUs")
    train.add_argument("recipe", help="YAML, such as params/paper/recipes/pretraining.yaml")
    train.add_argument("--corpus", metavar="FOLDER", help="a corpus, with --features; alone for a recipe of frames")
    train.add_argument("--features", metavar="FOLDER", help="its features")
    train.add_argument("--converted", metavar="FOLDER", help="or HowTo100M-shaped data, made by convert")
    train.add_argument("--checkpoint", required=True, metavar="FOLDER", help="where to write; goes on if interrupted")
    train.add_argument("--seed", type=seed, help="instead of the recipe's")
    tune = _command(commands, "finetune", finetune_checkpoint, "go on training for one task, by a recipe file")
    tune.add_argument("recipe", help="YAML, such as params/paper/recipes/finetune_retrieval_youcook2.yaml")
    tune.add_argument("--corpus", required=True, metavar="FOLDER", help="with annotated train (and val) videos")
    tune.add_argument("--features", required=True, metavar="FOLDER", help="its features, as the checkpoint's")
    tune.add_argument("--checkpoint", required=True, metavar="FOLDER", help="what to begin with")
    tune.add_argument("--out", required=True, metavar="FOLDER", help="where to write; must not hold a checkpoint")
    tune.add_argument("--seed", type=seed, help="instead of the recipe's")
    fetch.add_arguments(_command(commands, "fetch", fetch.main, "download weights and vocabularies, or list them"))
    convert = commands.add_parser("convert", description="HowTo100M-shaped data to ours: convert howto100m --help")
    if arguments[:1] == ["convert"]:  # importing it takes seconds
        from vcwork.data.howto100m import convert as howto100m

        kinds = convert.add_subparsers(required=True, metavar="KIND")
        howto100m.add_arguments(_command(kinds, "howto100m", howto100m.main, "id lists, captions and features"))
    into = _command(commands, "import", import_checkpoint, "read a released (fairseq-format) VideoCLIP checkpoint")
    into.add_argument("checkpoint", help="the file, such as checkpoint_best.pt")
    into.add_argument("folder", help="where our checkpoint goes; must be empty or absent")
    into.add_argument("--vocabulary", default="", metavar="VOCAB", help="bert-base-uncased's vocab.txt, or its folder")
    into.add_argument("--s3d", default="", metavar="WEIGHTS", help="s3d_howto100m.pth that its features come from")
    into.add_argument("--heads", type=int, help="attention heads (needed at any width but 768)")
    into.add_argument("--lenient", action="store_true", help="take what fits, leave the rest at its random start")
    back = _command(commands, "export", export_checkpoint, "write a checkpoint in the released layout")
    back.add_argument("folder", help="a checkpoint of ours")
    back.add_argument("file", help="the file to write; must not exist")

    _explore_options(
        _command(commands, "explore", explore_videos, "your own videos in one go: features, search, pages")
    )

    eye = _command(commands, "extract", extract_features, "features of every video of a folder, corpus or address")
    eye.add_argument("source", help="a folder of videos, a corpus, or an address that fsspec reads (s3://BUCKET/FILMS)")
    eye.add_argument("--out", required=True, metavar="FOLDER", help="the feature store; goes on if interrupted")
    models = "motion (default), s3d, s3d:WEIGHTS, peer:FOLDER, an image model's folder, or package.module:Class"
    eye.add_argument("--backbone", default="motion", metavar="MODEL", help=models)
    eye.add_argument("--workers", type=int, metavar="N", help="of one core each (default: one a core)")
    engines = "ray: on the cluster that $RAY_ADDRESS names (auto: the one of this machine), or on a new one here"
    eye.add_argument("--engine", choices=("processes", "ray"), default="processes", help=engines)

    sure = _command(commands, "verify", verify_folders, "whether what lies here is whole, every byte of it read")
    sure.add_argument("paths", nargs="+", metavar="PATH", help="a folder with all below it, or a file")
    sure.add_argument("--seal", action="store_true", help="take manifests edited, or of an older version, as they are")

    for name, do, help in (
        ("lab", open_lab, "JupyterLab at the first notebook; what follows goes to `jupyter lab`"),
        ("app", open_app, "a notebook as an app without its code: NOTEBOOK, and what follows goes to `voila`"),
    ):
        passing_on = {"prefix_chars": "+", "add_help": False}  # any option
        server = commands.add_parser(name, description=help, **passing_on)
        server.add_argument("arguments", nargs="*")
        server.set_defaults(do=do)

    again = _command(commands, "notebooks", refresh_notebooks, "execute the stored notebooks in place, with defaults")
    again.add_argument("names", nargs="*", help="number, name or path (default: all)")
    parser.description = "\n\n".join(_group(wanted, names, commands.choices) for wanted, names in GROUPS.items())
    return parser


def _group(wanted: str, names: str, commands: Mapping[str, argparse.ArgumentParser]) -> str:
    """What somebody may want, and the commands for it, a line each."""
    return "\n".join([wanted, *(f"  {name:<10} {commands[name].description}" for name in names.split())])


def _command(commands: argparse._SubParsersAction, name: str, do: object, help: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, description=help)
    parser.set_defaults(do=do)
    return parser


def _profile_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("profile", help="a folder in params/")
    parser.add_argument("--seed", type=seed, help="the seed of every notebook, none of which may have another")
    parser.add_argument("--only", default="", metavar="20,30", help="only these notebooks of the profile")
    many = {"action": "append", "default": [], "metavar": "NOTEBOOK.param=value"}
    parser.add_argument("--set", dest="settings", help="one parameter; as many as wanted", **many)


def _explore_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="videos, with subtitles of the same name where there are any; or a corpus")
    models = "ours, a CLIP, SigLIP, X-CLIP, VideoPrism or PE-AV model's, or its hub name (openai/clip-vit-base-patch32)"
    parser.add_argument("--checkpoint", default="", metavar="FOLDER", help=models)
    parser.add_argument(
        "--backbone",
        default="",
        metavar="MODEL",
        help="of the features: an image model's folder, s3d, s3d:WEIGHTS, peer:FOLDER, or package.module:Class of "
        "your own (default: the checkpoint's, or motion)",
    )
    parser.add_argument("--accept-contract", action="store_true", help="take a checkpoint trained on other features")
    parser.add_argument("--out", default="", metavar="FOLDER", help="cache and pages (default: in outputs/explore)")
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="only the first N videos")
    parser.add_argument("--links", action="store_true", help="also links to videos outside of the folder")
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="processes (default: as the work needs)")
    parser.add_argument("--top", type=int, default=5, metavar="N", help="moments of an answer")
    parser.add_argument(
        "--query", action="append", default=[], metavar="TEXT", help="print its best moments, write no page; repeatable"
    )
    like = "what looks like it: a picture, VIDEO@12.5 or VIDEO@10-15; repeatable"
    parser.add_argument("--like", action="append", default=[], metavar="WHAT", help=like)
    parser.add_argument("--clips", default="", metavar="FOLDER", help="write what is found there, too, each as mp4")
    parser.add_argument("--anyway", action="store_true", help="also moments that are too weak to count as found")
    rate = "share of questions without an answer that may get one (default: 0.05)"
    parser.add_argument("--false-alarms", type=share, default=0.05, metavar="RATE", help=rate)
    heard = "what hears what is said where no subtitle tells: a CTranslate2 Whisper's folder or hub name"
    parser.add_argument("--speech", default="whisper-tiny.en", metavar="MODEL", help=f"{heard} (default: tiny.en)")
    parser.add_argument("--no-speech", dest="speech", action="store_const", const="", help="listen to nothing")
    tongue = "of several subtitles of a video the one to take (default: a name without a language, then English)"
    parser.add_argument("--language", default="", metavar="en", help=tongue)
    parser.add_argument("--drift", action="store_true", help="also measure how far subtitles are from what is said")
    fixed = "measure it and write a corrected copy, NAME.fixed.vtt, beside each subtitle that is off"
    parser.add_argument("--fix", action="store_true", help=fixed)
    parser.add_argument("--offline", action="store_true", help="fetch no weights; what is there is used")
    shots = "moments that are shown are whole shots (TransNetV2: a quarter of a film's length on one core, once)"
    parser.add_argument("--shots", action="store_true", help=shots)
    kinds = "keep what --query finds: FILE.csv, FILE.edl (CMX3600) or FILE.vtt"
    parser.add_argument("--save", default="", metavar="FILE", help=kinds)
    parser.add_argument("--portable", action="store_true", help="films travel inside their pages, small where large")
    parser.add_argument(
        "--serve", action="store_true", help="serve the pages to this machine; any sentence is answered"
    )
    parser.add_argument("--port", type=int, default=0, metavar="N", help="of --serve (default: any that is free)")
    grade = "tell how good search is here, by the folder's own captions, in a table and on the page"
    parser.add_argument("--grade", action="store_true", help=grade)
    parser.add_argument("--lab", action="store_true", help="open JupyterLab at notebook 40 with this folder")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")


def _plan(options: argparse.Namespace) -> profiles.Plan:
    only = [name for name in options.only.split(",") if name]
    if options.only and not only:
        raise VcworkError(f"--only: expected notebooks such as 20,30, got {options.only!r}")
    return profiles.plan_profile(project_root(), options.profile, options.seed, only, options.settings)


def run_profile(options: argparse.Namespace) -> int:
    """`run`: 0 when every notebook is done, 1 when one is not, 2 for a mistake found before, 130 when interrupted."""
    if not options.resume:
        return _execute(_plan(options), **_how(options))
    if options.only or options.settings or options.out or options.seed is not None:
        raise VcworkError(
            "--resume: goes on with what the run was begun with; leave --seed, --only, --set and --out out"
        )
    with waiting("loading packages"):
        from vcwork.workbench.rerun import resume

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return resume(resolve(options.resume), options.profile, _how(options)["at_once"])


def rerun_run(options: argparse.Namespace) -> int:
    """`rerun`: 0 when every number is the same, 1 when one is not, 130 when interrupted."""
    with waiting("loading packages"):
        from vcwork.workbench.rerun import rerun

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return rerun(resolve(options.run), **_how(options))


def _how(options: argparse.Namespace) -> dict[str, Any]:
    if options.at_once is not None and options.at_once < 1:
        raise VcworkError(f"--at-once: expected 1 or more, got {options.at_once}")
    return {"out": resolve(options.out) if options.out else None, "at_once": options.at_once or 0}


def check_profile(options: argparse.Namespace) -> int:
    for step in _plan(options).steps:
        say(step.name, *(f"    {name} = {value!r}" for name, value in step.given.items()), sep="\n")
    return 0


def run_notebook(options: argparse.Namespace) -> int:
    files = [resolve(file) for file in options.files]
    if len(pairs := dict(options.pairs)) < len(options.pairs):
        raise VcworkError(f"-p: expected each name once, got {', '.join(name for name, _ in options.pairs)}")
    plan = profiles.plan_notebook(project_root(), options.notebook, files, pairs)
    paths = {"out": options.run, "copy_to": options.out}
    return _execute(plan, **{name: resolve(path) if path else None for name, path in paths.items()})


def _execute(plan: profiles.Plan, **options: Any) -> int:
    with waiting("loading packages"):
        from vcwork.workbench import runs  # Jupyter's packages; checking does not need them

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite stop also leaves a page of what was done
    return runs.run(plan, **options)


def compare_seeds(options: argparse.Namespace) -> int:
    from vcwork.workbench import seeds

    say(seeds.summarise(options.runs))
    return 0


def see_doctor(options: argparse.Namespace) -> int:
    """`doctor`: the stages in a table, and the diagnosis in a sentence."""
    from vcwork.measure.result import text_table
    from vcwork.review.doctor import EXAMPLES, diagnose, read_pipeline

    found = diagnose(options.clip, read_pipeline(options.a), read_pipeline(options.b), options.text or EXAMPLES)
    head = ("stage", "a", "b", "alone", "with all before", "moves a score")
    scores = [(text, f"{a:.4f}", f"{b:.4f}") for text, a, b in zip(found.texts, found.first, found.second, strict=True)]
    say(text_table(head, found.rows()), text_table(("sentence", "a", "b"), scores), found.told(), sep="\n\n")
    return 0


def write_tables(options: argparse.Namespace) -> int:
    """`table`: keep the runs' numbers in docs/numbers; write them into documents, or print the table."""
    from vcwork.workbench import seeds

    if options.runs:
        say(*seeds.keep(options.runs), sep="\n")
    if options.into:
        seeds.fill(options.into)
    else:
        say(seeds.table(seeds.kept("lab"), "lab"))
    return 0


def pretrain(options: argparse.Namespace) -> int:
    from vcwork.core.engine import Engine
    from vcwork.training.recipe import read_recipe

    recipe = read_recipe(options.recipe, options.seed)
    given = [name for name in ("corpus", "features", "converted") if getattr(options, name)]
    wanted = [["corpus"]] if recipe.frames else [["corpus", "features"], ["converted"]]
    if given not in wanted:
        expected = "--corpus alone, frames are read from its videos" if recipe.frames else (
            "--corpus and --features, or --converted alone")  # fmt: skip
        raise VcworkError(f"pretrain: expected {expected}")
    encoder = _pretrained(recipe, options)
    if Engine().main:
        say(f"{options.checkpoint}: {encoder.digest}")
    return 0


def _pretrained(recipe, options: argparse.Namespace):
    """The encoder, from a corpus and its features, from its videos, or from converted data."""
    from vcwork.data.corpus import open_corpus
    from vcwork.training.run import train, train_converted

    if options.converted:
        from vcwork.data.howto100m.convert import open_converted

        return train_converted(open_converted(options.converted), options.checkpoint, recipe, progress=True)
    corpus = open_corpus(resolve(options.corpus))
    if recipe.frames:
        from vcwork.training.frames import train_frames

        return train_frames(corpus, options.checkpoint, recipe, progress=True)
    from vcwork.data.store import open_store

    return train(corpus, open_store(options.features), options.checkpoint, recipe, progress=True)


def finetune_checkpoint(options: argparse.Namespace) -> int:
    from tqdm.auto import tqdm

    from vcwork.core.engine import Engine
    from vcwork.data.corpus import open_corpus
    from vcwork.data.store import open_store
    from vcwork.encoders.load import load_encoder
    from vcwork.training.finetune import FinetuneRecipe, FinetuneRecord
    from vcwork.training.finetune_corpus import finetune
    from vcwork.training.recipe import read_recipe

    recipe = read_recipe(options.recipe, options.seed, FinetuneRecipe)
    corpus, store = open_corpus(resolve(options.corpus)), open_store(options.features)
    encoder = load_encoder(options.checkpoint, store.contract)
    with tqdm(desc="fine-tuning", unit="step", disable=not Engine().main) as bar:

        def watch(record: FinetuneRecord) -> None:
            bar.update()
            bar.set_postfix(epoch=record.epoch + 1, loss=f"{record.loss:.2f}", flat=f"{record.flat:.2f}", refresh=False)
            if record.validation is not None and not bar.disable:
                bar.write(f"epoch {record.epoch + 1}/{recipe.train.epochs} validation {record.validation:.3f}")

        tuned = finetune(corpus, store, encoder, recipe, options.out, watch)
    if Engine().main:
        say(f"{options.out}: {tuned.digest}")
    return 0


def _check_together(options: argparse.Namespace) -> None:
    """VcworkError for an option of `explore` that would have no effect beside the others, and for numbers too small."""
    if options.limit < 0 or options.top < 1 or options.workers < 0:
        raise VcworkError("explore: expected --limit and --workers of at least 0, --top of at least 1")
    asked = bool(options.query or options.like)
    for idle, names, why in (
        (not asked, "clips save anyway", "goes with --query or --like"),
        (asked, "grade portable serve lab open", "goes without --query and --like, which write no page"),
        (options.lab, "portable serve open", "goes without --lab, which writes no page"),
        (not options.serve, "port", "goes with --serve"),
    ):
        if idle and (name := next(filter(vars(options).get, names.split()), "")):
            raise VcworkError(f"explore: --{name} {why}")


def explore_videos(options: argparse.Namespace) -> int:
    """`explore`: 0 when all is written or answered, 1 when a query has no answer, 2 when there is nothing to grade."""
    _check_together(options)
    from vcwork.workbench import taken
    from vcwork.workbench.own_folder import look_at

    if options.save:
        taken.check_target(resolve(options.save))
    corpus = look_at(options.folder, options.links, options.language)
    say(f"{corpus.folder.name}: {len(corpus.videos)} videos that can be read")
    with waiting("loading packages"):
        from vcwork.data.backbones.image import given_backbone
        from vcwork.workbench import own_videos  # torch: seconds

    names = ("checkpoint", "out", "limit", "workers", "speech", "drift", "fix", "offline", "shots")
    given = {name: getattr(options, name) for name in names} | {"backbone": given_backbone(options.backbone)}
    own = own_videos.own_videos(corpus, accept_contract=options.accept_contract, **given)
    say(own_videos.summary(own))
    if options.query or options.like:
        from vcwork.workbench.own_asking import answers, asking

        asking(own, progress=True)
        names = ("anyway", "false_alarms", "clips")
        how = {"likes": options.like, **{name: getattr(options, name) for name in names}}
        kept: list[tuple[str, Any]] = []
        lines, all_answered = answers(own, options.query, options.top, kept=kept, **how)
        say(*lines, sep="\n")
        if options.save:
            hits = [hit for query, answer in kept for hit in taken.taken(own, query, answer.hits)]
            say(*(f"saved: {file}" for file in taken.save_hits(resolve(options.save), hits)), sep="\n")
        return 0 if all_answered else 1
    code = 0
    if options.grade:
        from vcwork.workbench.own_grade import grade_own

        try:
            say(grade_own(own).text())
        except VcworkError as error:  # a folder without captions has its pages all the same
            say(f"vcwork: {error}", file=sys.stderr)
            code = 2
    from vcwork.workbench import own_pages  # a query needs no panel

    if options.lab:
        return own_pages.open_lab(own, options.checkpoint, options.accept_contract)
    index = own_pages.write_pages(own, options.top, portable=options.portable, false_alarms=options.false_alarms)
    say(f"done: {index}")
    if not options.serve:
        _open(index.resolve().as_uri(), options.open)
        return code

    def told(address: str) -> None:
        say(f"serving {address}\nfor this machine alone; Ctrl-C ends it")
        _open(address, options.open)

    from vcwork.workbench.own_serving import serve_pages

    serve_pages(own, options.top, options.port, told, options.false_alarms)
    say("stopped")
    return code


def open_lab(options: argparse.Namespace) -> NoReturn:
    from vcwork.workbench import servers

    servers.lab(project_root(), options.arguments)


def open_app(options: argparse.Namespace) -> NoReturn:
    from vcwork.workbench import servers

    if not options.arguments or options.arguments[0].startswith("-"):
        raise VcworkError("app: expected a notebook's number, name or path, then what goes to `voila`")
    servers.app(project_root(), *options.arguments[:1], options.arguments[1:])


def _open(address: str, wanted: bool) -> None:
    if wanted:
        import webbrowser

        webbrowser.open(address)


def extract_features(options: argparse.Namespace) -> int:
    """`extract`: the store, what it holds, and every video that gave no features."""
    from vcwork.data.addresses import is_address
    from vcwork.data.backbones.image import given_backbone
    from vcwork.data.corpus import scan_folder
    from vcwork.data.extract import extract
    from vcwork.workbench.own_folder import look_at
    from vcwork.workbench.own_videos import backbone_for

    if options.workers is not None and options.workers < 1:
        raise VcworkError("extract: expected --workers of at least 1")
    corpus = scan_folder(options.source) if is_address(options.source) else look_at(options.source)
    eye = backbone_for(None, given_backbone(options.backbone))
    store = extract(corpus, eye, options.out, options.workers, engine=options.engine)
    for id, why in (corpus.missing_videos | store.failed).items():
        say(f"no features: {id}: {why}")
    say(f"{options.out}: {len(store)} videos, {sum(store.lengths.values())} features of {eye.name}: {store.digest()}")
    return 0


def import_checkpoint(options: argparse.Namespace) -> int:
    """`import`: the report of every key, then where it went."""
    from vcwork.encoders.released import import_released

    given = (options.vocabulary, options.heads, not options.lenient, options.s3d)
    report = import_released(options.checkpoint, options.folder, *given)
    say(report.text())
    hint = "" if options.vocabulary else "; without --vocabulary it reads token ids, not sentences"
    say(f"written to {options.folder}{hint}")
    return 0


def export_checkpoint(options: argparse.Namespace) -> int:
    """`export`: says which tensors had to be made up."""
    from vcwork.encoders.released import export_released

    made_up = export_released(options.folder, options.file)
    say(f"written to {options.file}; made up, because nothing here uses them: {', '.join(made_up) or 'none'}")
    return 0


def list_notebooks(options: argparse.Namespace) -> int:
    root = project_root()
    if not options.names:
        say("notebooks:", *profiles.notebook_names(root), sep="\n    ")
        say("profiles:", *profiles.profile_names(root), sep="\n    ")
    for text in options.names:
        path = profiles.notebook_path(root, text)
        known = read_parameters(path).values()
        say(path.stem, *(f"    {p.name}: {p.annotation} = {p.default!r}  # {p.help}" for p in known), sep="\n")
    return 0


def verify_folders(options: argparse.Namespace) -> int:
    """`verify`: 0 when all is whole, 1 when something is not."""
    from vcwork.workbench.verify import verify

    return 0 if verify(map(resolve, options.paths), options.seal) else 1


def refresh_notebooks(options: argparse.Namespace) -> int:
    """`notebooks`: 1 when one of them failed."""
    from vcwork.workbench import stored_notebooks as stored  # nbformat takes a moment to import

    return 1 if stored.refresh(project_root(), options.names) else 0


if __name__ == "__main__":
    sys.exit(main())
