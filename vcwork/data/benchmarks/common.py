"""What the readers of published annotation files share: clips, splits with names, the rules, an account of it all.

Two kinds of bad input, decided once for all benchmarks. A file that says something impossible is a VcworkError naming
file, line or entry, and video id: cut short, a missing column, a malformed number, an end before its start, an id that
could leave a folder, a key or video given twice where it must be unique. An annotation that says nothing usable is left
out and counted with its reason: zero length, begins after the video's end, no text. One that reaches beyond the video's
end is cut there and counted. Rows that repeat are kept, because the published galleries hold them, and counted.
A split's name holds how many it has, so that a gallery which lost videos cannot pass for the published one.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from vcwork.base.errors import NoData, VcworkError
from vcwork.base.files import resolve
from vcwork.data.benchmarks.reading import At
from vcwork.data.coverage import Count, Coverage

NONE_USABLE = "no usable annotation"
WINDOW_S = 32  # seconds of a clip that VideoCLIP reads; the rest of a longer one is cut off


@dataclass(frozen=True)
class Clip:
    """A stretch [start_s, end_s) of a video and its text; end_s is infinite for all of a video of unknown length.

    `recipe` is its recipe type, task or class, `step` the label's id, each "" where the benchmark has none. `where` is
    file name and line or entry.
    """

    video: str
    start_s: float
    end_s: float
    text: str
    recipe: str = ""
    step: str = ""
    where: str = ""


@dataclass(frozen=True)
class Listed:
    """A video of a split: its length (0: nobody says) and its recipe type, task or class."""

    duration_s: float = 0.0
    recipe: str = ""


@dataclass(frozen=True)
class Task:
    """A recipe, task or class: its name in words, and its step ids in the release's order."""

    name: str
    steps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Benchmark:
    """One split of one benchmark: its videos and clips, in the file's order, and the account of what is not among them.

    `title` is the split's name with `{n}` in it, `unit` says what n counts, `role` is what it may be used for: train,
    val or test. `counts` of videos and clips (features, once known), `pools` {name: (was, is)} of what features left,
    `notes` of what was changed. `steps` {step id: label}, `tasks` {recipe id: Task}, empty where there are none.
    """

    name: str
    title: str
    role: str
    unit: str
    clips: tuple[Clip, ...]
    videos: dict[str, Listed]
    counts: dict[str, Count]
    notes: tuple[str, ...] = ()
    pools: dict[str, tuple[int, int]] = field(default_factory=dict)
    steps: dict[str, str] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)

    @property
    def split(self) -> str:
        """The split's full name, which belongs to every number measured on it."""
        count = self.counts[self.unit]
        of = f" of {count.expected:,}" if count.missing else ""
        return self.title.format(n=f"{count.present:,}{of}")

    @property
    def texts(self) -> list[str]:
        return [plain(clip.text) for clip in self.clips]

    @property
    def accounting(self) -> Coverage:
        """Expected, present, missing and why; and what the clips themselves tell: repeats, and how many are cut."""
        rows = {(c.video, c.start_s, c.end_s, plain(c.text)) for c in self.clips}
        texts = Counter(self.texts)
        told = {
            "repeated rows": len(self.clips) - len(rows),
            "clips that share their text": sum(n for n in texts.values() if n > 1),
            "texts beyond the distinct ones": len(self.clips) - len(texts),
        }
        notes = [*self.notes, *(f"{what}: {n}" for what, n in told.items())]
        lengths = [clip.end_s - clip.start_s for clip in self.clips]
        if lengths and math.inf not in lengths:
            over = sum(length > WINDOW_S for length in lengths) / len(lengths)
            notes.append(f"clips longer than {WINDOW_S} s: {over:.1%}")
        return Coverage(self.counts, self.pools, notes)


def plain(text: str) -> str:
    """A text as compared: lower-cased, white space normalised."""
    return " ".join(text.lower().split())


def check_no_leak(train: Benchmark | Iterable[str], test: Benchmark | Iterable[str]) -> None:
    """VcworkError naming the videos that are in both; benchmarks or video ids."""
    ids = [set(part.videos) if isinstance(part, Benchmark) else set(part) for part in (train, test)]
    if both := sorted(ids[0] & ids[1]):
        names = [part.split if isinstance(part, Benchmark) else "" for part in (train, test)]
        more = f" and {len(both) - 5} more" if len(both) > 5 else ""
        where = f"{names[0] or 'train'} and {names[1] or 'test'}"
        raise VcworkError(f"{where} share {len(both)} videos: {', '.join(both[:5])}{more}")


class Tally:
    """Collects the clips of one split of one file, or several, by the rules above, and closes the account."""

    def __init__(self, *paths: str | Path) -> None:
        self.files = ", ".join(resolve(path).name for path in paths)
        self.clips: list[Clip] = []
        self.videos: dict[str, Listed] = {}
        self.expected = 0
        self.missing: dict[str, str] = {}  # clips
        self.lost: dict[str, str] = {}  # videos
        self.changed: Counter[str] = Counter()
        self.notes: list[str] = []

    def video(self, at: At, listed: Listed, what: str = "") -> None:
        """Take a video, once, or as often as `what` is told of it that was told before."""
        if self.videos.get(at.video, listed) != listed:
            at.fail(f"{what}, and another one in an earlier place")
        if at.video in self.videos and not what:
            at.fail("listed twice")
        self.videos[at.video] = listed

    def add(self, at: At, clip: Clip, duration_s: float = 0.0) -> None:
        """Take a clip, cut it at its video's end (0: unknown), or say why not."""
        self.expected += 1
        if clip.end_s < clip.start_s:
            at.fail(f"ends before it starts, {clip.start_s:g} to {clip.end_s:g} s")
        if why := _unusable(clip, duration_s):
            self.missing[f"{at.short}, {at.video}"] = why
            return
        if duration_s and math.isfinite(clip.end_s):
            self.changed["clips cut at the video's end"] += clip.end_s > math.ceil(duration_s)
        self.clips.append(replace(clip, end_s=min(clip.end_s, duration_s or math.inf), where=at.short))

    def compare(self, found: int, published: int, what: str) -> None:
        """A note where a file has another number than the published one."""
        if found != published:
            self.notes.append(f"{what}: {found:,} here, {published:,} published")

    def close(
        self, name: str, title: str, role: str, unit: str,
        steps: Mapping[str, str] | None = None, tasks: Mapping[str, Task] | None = None,
    ) -> Benchmark:  # fmt: skip
        """The benchmark; NoData where not one clip is left. Videos without any clip are missing videos."""
        there = {clip.video for clip in self.clips}
        if not there:
            first = next((f" ({where}: {why})" for where, why in self.missing.items()), "")
            split = " ".join(title.format(n="").split())
            raise NoData(f"{self.files}: {split}: {NONE_USABLE} among {self.expected}{first}")
        lost = dict.fromkeys((id for id in self.videos if id not in there), NONE_USABLE) | self.lost
        counts = {"videos": Count(len({*self.videos, *lost}), lost), "clips": Count(self.expected, self.missing)}
        notes = [*self.notes, *(f"{what}: {n}" for what, n in self.changed.items() if n)]
        videos = {id: listed for id, listed in self.videos.items() if id not in lost}
        own = {"steps": dict(steps or {}), "tasks": dict(tasks or {})}
        return Benchmark(name, title, role, unit, tuple(self.clips), videos, counts, tuple(notes), **own)


def numbered(kind: str, videos: Mapping[str, Listed]) -> dict[str, Task]:
    """Recipes that have a number and no name, such as "category 3"."""
    return {listed.recipe: Task(f"{kind} {listed.recipe}") for listed in videos.values() if listed.recipe}


def _unusable(clip: Clip, duration_s: float) -> str:
    if not clip.text.strip():
        return "no text"
    if clip.start_s == clip.end_s:
        return f"zero length at {clip.start_s:g} s"
    if duration_s and clip.start_s >= duration_s:
        return f"starts at {clip.start_s:g} s, the video ends at {duration_s:g} s"
    return ""
