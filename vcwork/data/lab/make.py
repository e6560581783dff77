"""Write a lab corpus to disk: resumable, a process a core, the same bytes from the same seed.

Every video is drawn from its own random stream, so neither the number of workers nor an interruption changes it, and a
film that an earlier run has made is taken from `outputs/cache`. Until `corpus.json` is there, which is written last and
seals every file, `.parts` has a record of each video that is whole.
"""

import functools
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from vcwork.base.console import say
from vcwork.base.errors import VcworkError
from vcwork.base.files import alone, read_json, resolve, sha256_json, write_json
from vcwork.base.progress import bar
from vcwork.base.sealed import begin, differs, read_sealed, seal, write_manifest, write_sealed
from vcwork.data.captions import Caption, write_vtt
from vcwork.data.corpus import CORPUS, Corpus, open_corpus
from vcwork.data.engines import each
from vcwork.data.kept import Kept, code_digest
from vcwork.data.lab.render import film
from vcwork.data.lab.story import Story, write_story
from vcwork.data.lab.world import SPLITS, LabRecipe, make_recipes
from vcwork.data.video import write_mp4

_PATHS = {"video": "videos/{}.mp4", "captions": "captions/{}.vtt", "truth": "truth/{}.json"}
PARTS = ".parts"
VERSION = 2  # raised when the same config would show or say something else


class LabConfig(BaseModel):
    """Sizes and habits of the generated world. The defaults are the `lab` profile."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = 0
    train_families: int = Field(40, ge=1)  # look-alike pairs of recipes
    val_families: int = Field(6, ge=1)
    test_families: int = Field(10, ge=1)
    train_videos: int = Field(3, ge=1)  # videos of each recipe
    val_videos: int = Field(2, ge=1)
    test_videos: int = Field(3, ge=1)
    steps: int = Field(6, ge=3, le=6)  # steps of a recipe
    size: int = Field(112, ge=64, le=512, multiple_of=16)  # pixels
    fps: int = Field(10, ge=8, le=30)
    step_min_s: float = 4.0
    step_max_s: float = 9.0
    gap_min_s: float = 3.0
    gap_max_s: float = 9.0
    skip_prob: float = Field(0.25, ge=0, le=1)
    repeat_prob: float = Field(0.2, ge=0, le=1)
    swap_prob: float = Field(0.4, ge=0, le=1)
    mention_prob: float = Field(0.8, ge=0, le=1)
    follow_prob: float = Field(0.7, ge=0, le=1)
    offset_mean_s: float = 0.0
    offset_sd_s: float = 2.5
    speech_words_per_s: float = 2.9
    pause_s: float = 0.5
    roll_prob: float = Field(0.4, ge=0, le=1)

    @classmethod
    def named(cls, size: str, seed: int = 0) -> "LabConfig":
        """`tiny` (a notebook's default), `lab` (the main job) or `large` (ten times lab)."""
        if size not in _SIZES:
            raise VcworkError(f"lab corpus size: expected one of {', '.join(_SIZES)}, got {size!r}")
        families, videos, steps = _SIZES[size]
        counts = {f"{split}_families": n for split, n in zip(SPLITS, families, strict=True)}
        counts |= {f"{split}_videos": n for split, n in zip(SPLITS, videos, strict=True)}
        return cls(seed=seed, steps=steps, **counts)


_SIZES = {  # families of train, val, test; videos of each recipe there; steps
    "tiny": ((10, 2, 4), (2, 1, 1), 4),
    "lab": ((40, 6, 10), (3, 2, 3), 6),
    "large": ((80, 12, 30), (15, 5, 8), 6),
}


def make_corpus(
    folder: str | Path, config: LabConfig | None = None, workers: int | None = None, progress: bool = True,
    kept: Kept | None = None,
) -> Corpus:  # fmt: skip
    """Generate the corpus in `folder`, or open it when the same one is already there.

    workers: processes that film, by default one a core. kept: where films of earlier runs lie, by default
    `outputs/cache`; Kept(None) films all of them. Raises VcworkError if `folder` holds anything else. An interrupted
    run goes on where it stopped.
    """
    config, folder = config or LabConfig(), resolve(folder)
    wanted = sha256_json({"version": VERSION, **config.model_dump()})
    with alone(folder):
        if not _finished(folder, wanted):
            begin(folder, CORPUS)
            stories = plan(config)
            write_json(folder / "lab.json", {"digest": wanted, "config": config.model_dump()})
            _shoot_all(folder, stories, config, workers, progress, Kept() if kept is None else kept)
            files = {"lab.json": seal(folder / "lab.json")}
            files |= {name: sealed for story in stories for name, sealed in _files(folder, story.id).items()}
            write_manifest(folder, CORPUS, _describe(stories, config) | {"files": files})
        shutil.rmtree(folder / PARTS, ignore_errors=True)
    return open_corpus(folder)


def plan(config: LabConfig) -> list[Story]:
    """All stories of a corpus, without filming them."""
    world = config.model_dump()
    stories = []
    for split in SPLITS:
        recipes = make_recipes(split, world[f"{split}_families"], config.steps, config.seed)
        for recipe in recipes:
            for take in range(world[f"{split}_videos"]):
                rng = np.random.default_rng([config.seed, 3, SPLITS.index(split), int(recipe.id.split("r")[-1]), take])
                stories.append(write_story(f"{recipe.id}-{take}", recipe, rng, **world))
    return stories


def _finished(folder: Path, wanted: str) -> bool:
    """Whether `folder` holds this corpus, whole; VcworkError for another one."""
    if (folder / "lab.json").exists() and read_json(folder / "lab.json").get("digest") != wanted:
        raise VcworkError(
            f"{folder}: holds a lab corpus of another configuration or version; delete it or choose another"
        )
    return (folder / CORPUS.manifest).exists()


def _shoot_all(
    folder: Path, stories: list[Story], config: LabConfig, workers: int | None, progress: bool, kept: Kept
) -> None:
    here = Path(__file__).parent
    code = code_digest(*sorted([*here.glob("*.py"), *here.glob("*.yaml"), here.parent / "video.py"]))
    shown = config.model_dump(include={"seed", "size", "fps"})
    todo = [story for story in stories if not _files(folder, story.id)]
    decided = {story.id: ["film", code, shown, asdict(story)] for story in todo}
    jobs = [story for story in todo if not kept.take(decided[story.id], _film(folder, story.id))]
    new = {story.id for story in jobs}
    for story in todo:
        if story.id not in new:
            _write_words(folder, story)
    if progress and len(jobs) < len(todo):
        say(f"{len(todo) - len(jobs)} of {len(stories)} films come from an earlier run: {kept.where}")
    shot = each(functools.partial(shoot, folder, config), jobs, workers)
    for id in bar(shot, progress and bool(jobs), total=len(jobs), desc="filming", unit="video"):
        kept.keep(decided[id], _film(folder, id))


def shoot(folder: Path, config: LabConfig, story: Story) -> str:
    """Write one video, its captions and truth and, last, the record that it is whole. Its id."""
    index = [SPLITS.index(story.recipe.split), *story.id.encode()]
    rng = np.random.default_rng([config.seed, 4, *index])
    write_mp4(_film(folder, story.id), film(story, config.size, config.fps, rng), config.fps, cabac=False)
    _write_words(folder, story)
    return story.id


def _film(folder: Path, id: str) -> Path:
    return folder / _PATHS["video"].format(id)


def _files(folder: Path, id: str) -> dict[str, dict]:
    """{file of a video: its seal}, as recorded when it was whole; {} where it is not, or no longer."""
    try:
        files = read_sealed(folder / PARTS / f"{id}.json")["files"]
    except VcworkError:
        return {}
    return {} if any(differs(folder / name, sealed) for name, sealed in files.items()) else files


def _write_words(folder: Path, story: Story) -> None:
    """Captions, truth and, last, the record that the video is whole."""
    write_vtt(folder / _PATHS["captions"].format(story.id), [Caption(c.start_s, c.end_s, c.text) for c in story.cues])
    segments = [{"start_s": h.start_s, "end_s": h.end_s, "step": h.step.id, "caption": h.sentence}
                for h in story.happenings]  # fmt: skip
    truth = {"segments": segments, "caption_segment": [c.segment for c in story.cues], "mentions": story.mentions}
    write_json(folder / _PATHS["truth"].format(story.id), truth)
    names = [path.format(story.id) for path in _PATHS.values()]
    write_sealed(folder / PARTS / f"{story.id}.json", {"files": {name: seal(folder / name) for name in names}})


def _describe(stories: list[Story], config: LabConfig) -> dict:
    recipes: dict[str, LabRecipe] = {s.recipe.id: s.recipe for s in stories}
    steps = dict(sorted((step.id, step) for recipe in recipes.values() for step in recipe.steps))
    return {
        "name": "lab",
        "complete": True,
        "config": config.model_dump(),
        "steps": {id: step.sentence for id, step in steps.items()},
        "step_parts": {id: asdict(step) for id, step in steps.items()},
        "recipes": {
            r.id: {"name": r.name, "steps": [s.id for s in r.steps], "lookalike": r.lookalike, "split": r.split}
            for r in recipes.values()
        },
        "videos": [
            {"id": s.id, **{key: path.format(s.id) for key, path in _PATHS.items()}, "duration_s": s.duration_s,
             "split": s.recipe.split, "recipe": s.recipe.id} for s in stories
        ],
    }  # fmt: skip
