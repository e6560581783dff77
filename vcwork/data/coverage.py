"""The coverage report: expected, present, missing, and what it does to each denominator.

Scores are shares, and a share of the videos that happened to decode is not a share of the test set. Every table of
results can print this report beside it.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vcwork.base.errors import VcworkError
from vcwork.base.files import read_json
from vcwork.base.sealed import well_formed
from vcwork.data.corpus import SPLITS, Corpus, Video

if TYPE_CHECKING:
    from vcwork.data.store import FeatureStore


@dataclass(frozen=True)
class Count:
    """How many there should be, and why each of those that are not there is missing."""

    expected: int
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def present(self) -> int:
        return self.expected - len(self.missing)


@dataclass
class Coverage:
    """`counts` of videos, captions, features; `denominators` {name: (was, is)}; `notes` in plain words."""

    counts: dict[str, Count]
    denominators: dict[str, tuple[int, int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """True when nothing at all is missing."""
        return not any(count.missing for count in self.counts.values())

    def table(self, reasons: int = 5) -> str:
        """Plain text: the counts, up to `reasons` reasons of each kind, the denominators, the notes."""
        width = max([9, *map(len, self.counts)])
        lines = [f"{'':<{width}} {'expected':>9} {'present':>9} {'missing':>9}"]
        for name, count in self.counts.items():
            lines.append(f"{name:<{width}} {count.expected:>9} {count.present:>9} {len(count.missing):>9}")
        for name, count in self.counts.items():
            lines += [f"missing {name}: {key}: {why}" for key, why in list(count.missing.items())[:reasons]]
            if len(count.missing) > reasons:
                lines.append(f"missing {name}: and {len(count.missing) - reasons} more")
        lines += [f"{name}: {was} -> {now}" for name, (was, now) in self.denominators.items()]
        return "\n".join(lines + self.notes)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def coverage_of(corpus: Corpus, store: "FeatureStore | None" = None) -> Coverage:
    """Counts videos, captions and, with a store, features; reads every caption file once.

    Of a benchmark's corpus the notes tell, too, what its annotations' readers left out and found odd.
    Denominators: videos and true segments ("clips") of each split, and captions, before and after what is missing. A
    clip counts when its video has a feature for the second in which it starts.
    """
    videos = list(corpus.videos.values())
    unreadable = {video.id: _why_no_captions(corpus, video) for video in videos}
    missing_captions = {id: why for id, why in unreadable.items() if why}
    lost = set(corpus.missing_videos)
    counts = {"videos": Count(len({*corpus.videos, *lost}), dict(corpus.missing_videos))}
    counts["captions"] = Count(len(videos), missing_captions)
    if store is not None:
        never = "never extracted into this store"
        without = {id: store.failed.get(id, never) for id in corpus.videos if id not in store}
        counts["features"] = Count(len(videos), without)
    seconds = {v.id: _seconds(v, store) for v in videos}
    usable = sum(length > 0 for length in seconds.values())
    denominators = {"videos": (counts["videos"].expected, usable), **_by_split(corpus, seconds)}
    raw = {id: corpus.raw_captions(id) for id in corpus.videos if id not in missing_captions}
    kept = sum(len(corpus.captions(id)) for id in raw if seconds[id])
    denominators["captions (after de-duplication)"] = (sum(map(len, raw.values())), kept)
    return Coverage(counts, denominators, [*_caption_notes(corpus, list(raw)), *_account(corpus)])


def _why_no_captions(corpus: Corpus, video: Video) -> str:
    if video.captions is None:
        return corpus.missing_captions.get(video.id, "no caption file")
    try:
        corpus.raw_captions(video.id)
    except VcworkError as error:
        return corpus.relative(error)
    return ""


def _seconds(video: Video, store: "FeatureStore | None") -> float:
    """Seconds of `video` that can be used: its features', or without a store its own, when the file is there."""
    if store is not None:
        return store.lengths.get(video.id, 0)
    return (video.duration_s or float("inf")) if video.video else 0


def _by_split(corpus: Corpus, seconds: dict[str, float]) -> dict[str, tuple[int, int]]:
    denominators = {}
    for split in SPLITS:
        videos = corpus.split(split)
        if videos:
            denominators[f"{split} videos"] = (len(videos), sum(seconds[v.id] > 0 for v in videos))
        starts = [(v.id, segment.start_s) for v in videos for segment in v.segments]
        if starts:
            denominators[f"{split} clips"] = (len(starts), sum(start < seconds[id] for id, start in starts))
    return denominators


def _account(corpus: Corpus) -> list[str]:
    """A line for each split's clips that were left out, and for each note that is not of none."""
    path, notes = Path(corpus.folder) / "accounting.json", list[str]()
    if "benchmark" not in corpus.meta or not path.is_file():
        return notes
    corpus.check(path)
    with well_formed(path):
        for role, account in read_json(path).items():
            lost = account["counts"]["clips"]["missing"]
            notes += [f"{role} clips left out: {len(lost)}; first: {at}: {why}" for at, why in [*lost.items()][:1]]
            notes += [f"{role}: {note}" for note in account["notes"] if not note.endswith(": 0")]
    return notes


def _caption_notes(corpus: Corpus, ids: list[str]) -> list[str]:
    reports = [corpus.caption_report(id) for id in ids]
    dropped = [reason for report in reports for reason in report.dropped]
    notes = [f"caption cues dropped: {len(dropped)}; first: {corpus.relative(dropped[0])}"] if dropped else []
    for name, words in (
        ("clamped", "captions cut at the video's end"),
        ("reordered", "captions moved to their place in time"),
    ):
        total = sum(getattr(report, name) for report in reports)
        notes += [f"{words}: {total}"] if total else []
    return notes
