"""The tiny data that commands are tried on, made once in a folder, and the commands: `make`, `commands`."""

import hashlib
import importlib.util
import json
import os
import shutil
import sys
from pathlib import Path
from types import ModuleType

import numpy as np

from vcwork.core.text import Tokenizer
from vcwork.data.backbones.image import get_backbone
from vcwork.data.corpus import open_corpus
from vcwork.data.extract import extract
from vcwork.data.howto100m.convert import convert_howto100m
from vcwork.data.howto100m.sources import HowTo100M
from vcwork.data.kept import Kept
from vcwork.data.lab.make import LabConfig, make_corpus
from vcwork.data.store import open_store
from vcwork.encoders.released import export_released
from vcwork.search.index import VideoIndex
from vcwork.training.frames import train_frames
from vcwork.training.recipe import read_recipe
from vcwork.training.run import new_encoder, train

from .harness import Command, files_of

ROOT = Path(__file__).resolve().parents[2]
LAB = LabConfig(
    train_families=1, val_families=1, test_families=1, train_videos=2, val_videos=1, test_videos=1, steps=3, size=64,
    fps=8, step_min_s=2.0, step_max_s=3.0, gap_min_s=1.0, gap_max_s=2.0,
)  # fmt: skip
PRETRAIN = """
model: {hidden: 32, heads: 2, ffn: 64, video_layers: 1, text_layers: 1, feature_dropout: 0.1}
train:
  epochs: 3
  passes_per_epoch: 4
  lr: 1.0e-3
  warmup: 4
  save_every: 2
  keep: best
  word_dropout: 0.1
  pairs: {min_text_tokens: 4, max_text_tokens: 12, min_video_s: 2, max_video_s: 6}
  clusters: {videos_per_batch: 2, clips_per_video: 4, clips_for_vector: 2}
"""
FRAMES = """
frames: {width: 16, layers: 1, backbone_heads: 2, image_size: 32, frames: 2, temporal_layers: 1, hidden: 16, heads: 2,
         ffn: 32, projection: 8, text_layers: 1, max_text_tokens: 12}
train:
  epochs: 2
  passes_per_epoch: 2
  lr: 1.0e-3
  save_every: 1
  pairs: {min_text_tokens: 4, max_text_tokens: 12, min_video_s: 2, max_video_s: 3}
  clusters: {videos_per_batch: 2, clips_per_video: 2, clips_for_vector: 2, retrieve: false}
"""
FINETUNE = "task: {task}\nbatch_size: 4\ntrain: {epochs: 3, lr: 1.0e-3, warmup: 2, keep: best}\n"
NOTEBOOKS = {
    "10_makes": ("made: str = ''  # out: a folder", "import os\nos.makedirs(made)\nopen(made + '/x', 'w').close()"),
    "20_reads": (
        "made: str = ''  # folder: made by 10",
        "from vcwork.workbench.recording import record\n"
        "record([dict(name='t2v_R@1', value=0.5, low=0.4, high=0.6, chance=0.1, n=10, trivial={}, protocol='',"
        " card=dict(task='toy', split='toy', rule='ten'))], 'toy', hashes={})",
    ),
}
PROFILE = {"10_makes": "made: '{run}/made'", "20_reads": "made: '{run}/made'"}


def make(folder: Path) -> Path:
    """Films, a corpus, its features, a checkpoint, HowTo100M-shaped files, scores, a project of two notebooks; once."""
    os.environ.update(environment(folder))
    if not (folder / "made").exists():
        shutil.rmtree(folder, ignore_errors=True)
        corpus = make_corpus(folder / "corpus", LAB, workers=1, progress=False, kept=Kept(None))
        store = extract(corpus, get_backbone("motion"), folder / "features", workers=1, progress=False)
        _write_texts(folder)
        train(corpus, store, folder / "checkpoint", read_recipe(folder / "pretrain.yaml"))
        _write_films(folder / "films", corpus)
        _write_howto100m(folder / "howto100m", corpus, store)
        convert_howto100m(*_conversion(folder), progress=False)
        export_released(folder / "checkpoint", folder / "released.pt")
        _write_project(folder / "project")
        _write_site(folder / "site", folder / "project")
        np.save(folder / "scores.npy", np.random.default_rng(0).normal(size=(20, 20)).astype(np.float32))
        (folder / "made").touch()
    return folder


def environment(folder: Path) -> dict[str, str]:
    """What commands on the data of that folder are started with."""
    return {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "VCWORK_ROOT": str(folder / "project")}


def commands(world: Path) -> dict[str, Command]:
    """Every long command, on this data."""
    here, films = {name: str(world / name) for name in ("corpus", "features", "checkpoint")}, str(world / "films")
    data = ("--corpus", here["corpus"], "--features", here["features"])
    source = world / "howto100m"
    ids = [f"--ids={split}={source / split}.lst" for split in ("train", "val")]
    convert = ("--captions", str(source / "csv"), "--features", str(source / "npy"), "--vocab", str(source), "--quiet")
    small = (
        "--videos-per-part",
        "2",
        "--shard-rows",
        "20",
        "--width",
        str(open_store(here["features"]).contract.width),
    )
    audit = ("audit", str(world / "scores.npy"))
    made = [
        Command("extract", ("extract", films, "--out", "{out}", "--workers", "1")),
        Command("pretrain", ("pretrain", str(world / "pretrain.yaml"), *data, "--checkpoint", "{out}")),
        Command("pretrain converted", (
            "pretrain", str(world / "pretrain.yaml"), "--converted", str(world / "converted"), "--checkpoint", "{out}"
        )),
        Command(
            "pretrain frames", (str(world / "frames.yaml"), here["corpus"], "{out}"), f"{__name__}:pretrain_frames"
        ),
        Command("import", ("import", str(world / "released.pt"), "{out}", "--vocabulary", str(source), "--heads", "2",
                           "--lenient")),
        *(
            Command(
                f"finetune {task}",
                ("finetune", str(world / f"{task}.yaml"), *data, "--checkpoint", here["checkpoint"], "--out", "{out}"),
            )
            for task in ("retrieval", "segmentation")
        ),
        Command("convert", ("convert", "howto100m", *ids, *convert, *small, "--out", "{out}")),
        Command(
            "explore",
            ("explore", films, "--checkpoint", here["checkpoint"], "--out", "{out}", "--no-speech", "--offline",
             "--workers", "1"),
            content=explored,
        ),
        Command("index", ("{out}",), f"{__name__}:grow_index", content=indexed),
        Command("lab", ("{out}",), f"{__name__}:film_lab"),
        Command("audit", (*audit, "--out", "{out}")),
        Command("audit bundle", (*audit, "--out", "{out}/audit", "--bundle", "{out}/bundle.zip")),
        Command("docs", (str(world / "site"), "{out}"), f"{__name__}:build_docs"),
        Command("extract in two processes", ("extract", films, "--out", "{out}", "--workers", "2")),
        Command("lab in two processes", ("{out}",), f"{__name__}:film_lab_in_two"),
        Command("run", ("run", "tiny", "--out", "{out}"), content=numbers, again=False),
    ]  # fmt: skip
    return {command.name: command for command in made}


# ----------------------------------------------------------------------------------------- commands that are no command


def grow_index(arguments: list[str]) -> int:
    """Six savings of an index, each with some more vectors and one deleted; goes on from what was saved."""
    folder = Path(arguments[0])
    index = VideoIndex.open(folder, "maker") if (folder / "index.sqlite").exists() else VideoIndex(8, "maker", "flat")
    while (done := sum(not id.startswith("x") for id in index.ids) // 20) < 6:
        vectors = np.random.default_rng(done).normal(size=(21, 8)).astype(np.float32)
        ids = [*(f"{done}-{n}" for n in range(20)), f"x{done}"]
        index.add(vectors, ids, [{"text": f"word {id}"} for id in ids])
        if done:
            index.delete([f"x{done - 1}"])
        index.save(folder)
    return 0


def film_lab(arguments: list[str], workers: int = 1) -> int:
    """The lab's corpus."""
    make_corpus(arguments[0], LAB, workers=workers, progress=False, kept=Kept(None))
    return 0


def pretrain_frames(arguments: list[str]) -> int:
    """`pretrain` by a recipe of frames, decoded in this process: others take longer to start."""
    recipe, corpus, folder = arguments
    train_frames(open_corpus(corpus), folder, read_recipe(recipe), workers=0)
    return 0


def build_docs(arguments: list[str]) -> int:
    """The documentation of a project of a few pages."""
    build = _docs()
    build.ROOT = Path(arguments[0])
    return build.main(arguments[1:])


def _docs() -> ModuleType:
    """The builder, which is in no package."""
    spec = importlib.util.spec_from_file_location("docs_build", ROOT / "docs" / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def film_lab_in_two(arguments: list[str]) -> int:
    """The same by two workers."""
    return film_lab(arguments, 2)


# --------------------------------------------------------------------------------------------------- what must be equal


def indexed(folder: Path) -> dict[str, str]:
    """Of an index: ids, metadata, vectors; no file beside them that nobody speaks of."""
    index = VideoIndex.open(folder)
    told = [index.ids, index.metadata, [hit.id for hit in index.words("word 3", 5)]]
    files = [path.name for path in folder.iterdir() if path.suffix not in (".lock", ".faiss")]
    vectors = index.vectors.tobytes()
    return {"told": json.dumps(told), "files": " ".join(sorted(files)), "vectors": hashlib.sha256(vectors).hexdigest()}


def explored(folder: Path) -> dict[str, str]:
    """Of own videos: pages and everything kept; of an index what it holds."""
    out = {}
    for name, digest in files_of(folder).items():
        path = folder / name
        if path.name == "index.sqlite":
            out |= {f"{name} {key}": value for key, value in indexed(path.parent).items()}
        elif path.suffix != ".faiss" and path.name != "explore.json":
            out[name] = digest
    return out


def numbers(folder: Path) -> dict[str, str]:
    """Of a run: its status and its metrics."""
    status = json.loads((folder / "run.json").read_text())["status"]
    return {"status": status, "metrics": (folder / "metrics.json").read_text()}


# ------------------------------------------------------------------------------------------------------------- making


def _write_texts(folder: Path) -> None:
    (folder / "pretrain.yaml").write_text(PRETRAIN)
    (folder / "frames.yaml").write_text(FRAMES)
    for task in ("retrieval", "segmentation"):
        (folder / f"{task}.yaml").write_text(FINETUNE.replace("{task}", task))


def _write_films(folder: Path, corpus) -> None:
    folder.mkdir()
    for name, video in zip("abc", corpus.split("test") + corpus.split("val"), strict=False):
        shutil.copy(video.video, folder / f"{name}.mp4")
        if name != "c":
            shutil.copy(video.captions, folder / f"{name}.vtt")


def _write_howto100m(folder: Path, corpus, store) -> None:
    for room in ("csv", "npy"):
        (folder / room).mkdir(parents=True)
    for split in ("train", "val"):
        (folder / f"{split}.lst").write_text("".join(f"{video.id}\n" for video in corpus.split(split)))
        for video in corpus.split(split):
            rows = [f"{c.start_s},{c.end_s},{c.text}\n" for c in corpus.captions(video.id)]
            (folder / "csv" / f"{video.id}.csv").write_text("start,end,text\n" + "".join(rows))
            np.save(folder / "npy" / f"{video.id}.npy", store[video.id])
    new_encoder(corpus, store, read_recipe(folder.parent / "pretrain.yaml")).tokenizer.save(folder)


def _conversion(folder: Path) -> tuple:
    """What a training on converted data is given: source, folder, words, contract."""
    source = folder / "howto100m"
    lists = {split: source / f"{split}.lst" for split in ("train", "val")}
    contract = open_store(folder / "features").contract
    shapes = HowTo100M(lists, str(source / "csv"), str(source / "npy"))
    return shapes, folder / "converted", Tokenizer.load(source), contract


def _write_project(folder: Path) -> None:
    import nbformat
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

    for room in ("notebooks", "params/tiny"):
        (folder / room).mkdir(parents=True)
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    for name, (parameters, source) in NOTEBOOKS.items():
        head = new_code_cell(f"seed: int = 0  # random\n{parameters}", metadata={"tags": ["parameters"]})
        cells = [new_markdown_cell(f"# What does {name} do?"), head, new_code_cell(source)]
        nbformat.write(new_notebook(cells=cells, metadata=kernel), folder / "notebooks" / f"{name}.ipynb")
        (folder / "params" / "tiny" / f"{name}.yaml").write_text(PROFILE[name])


def _write_site(folder: Path, project: Path) -> None:
    """A project of the documentation's builder: its settings, two pages, READMEs, notebooks, doors."""
    shutil.copytree(ROOT / "docs" / "_static", folder / "docs" / "_static")
    shutil.copy(ROOT / "docs" / "conf.py", folder / "docs")
    shutil.copytree(project / "notebooks", folder / "notebooks")
    for path in [*(ROOT / "vcwork").rglob("__init__.py"), ROOT / "vcwork" / "base" / "errors.py"]:
        (folder / path.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / path.relative_to(ROOT))
    quoted = _docs().READMES
    for name in quoted:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"# What is in {name}\n\nSome words.\n")
    pages = ["reference", "reproduction"]
    tree = [*pages, *(name.removesuffix(".md") for name in quoted if "/" in name), "notebooks/*", "reference/*"]
    (folder / "docs" / "index.md").write_text("\n".join(["# Start", "", "```{toctree}", ":glob:", "", *tree, "```"]))
    for page in pages:
        (folder / "docs" / f"{page}.md").write_text("# A page\n\nIts [notebook](../notebooks/10_makes.ipynb).\n")


if __name__ == "__main__":
    print(make(Path(sys.argv[1])))
