"""Corpora: the lab's layout, a person's folder, and a coverage report in which nothing missing is silent."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from checks import refused

from vcwork.data.captions import Caption
from vcwork.data.corpus import Segment, gather, open_corpus, scan_folder, subtitles_of
from vcwork.data.coverage import coverage_of
from vcwork.data.video import write_mp4

VTT = "WEBVTT\n\n00:00.000 --> 00:01.000\ncut onions\n\n00:01.000 --> 00:02.500\ncut onions and fry\n"


def _film(path, seconds=3):
    write_mp4(path, (np.full((32, 32, 3), 10 + i, np.uint8) for i in range(8 * seconds)), 8)


def _entry(id, **changes):
    paths = {"video": f"videos/{id}.mp4", "captions": f"captions/{id}.vtt", "truth": f"truth/{id}.json"}
    return {"id": id, **paths, "duration_s": 3.0, "split": "train", "recipe": "stew", **changes}


def _lab(folder, videos=None, **changes):
    """A corpus of two videos in the lab's layout."""
    for id in ("a", "b"):
        _film(folder / "videos" / f"{id}.mp4")
        for room, text in (("captions", VTT), ("truth", json.dumps(TRUTH))):
            (folder / room).mkdir(exist_ok=True)
            (folder / room / f"{id}.{'vtt' if room == 'captions' else 'json'}").write_text(text)
    raw = {
        "format": "vcwork-corpus-1", "name": "small", "complete": True, "config": {"seed": 7},
        "steps": {"s1": "cut the onions", "s2": "fry them"},
        "recipes": {"stew": {"name": "onion stew", "steps": ["s1", "s2"], "lookalike": None}},
        "videos": [_entry("a"), _entry("b", split="test")] if videos is None else videos,
    }  # fmt: skip
    (folder / "corpus.json").write_text(json.dumps(raw | changes))
    return folder


TRUTH = {
    "segments": [{"start_s": 0.5, "end_s": 1.5, "step": "s1", "caption": "onions get cut"},
                 {"start_s": 2, "end_s": 3, "step": "s2", "caption": "into the pan"}],
    "caption_segment": [0, 1],
    "mentions": [],
}  # fmt: skip


def test_open_lab_layout(tmp_path):
    corpus = open_corpus(_lab(tmp_path))
    assert corpus.name == "small" and list(corpus.videos) == ["a", "b"] and corpus.meta == {"config": {"seed": 7}}
    assert [video.id for video in corpus.split("test")] == ["b"] and corpus.split("val") == []
    assert corpus["a"].segments[0] == Segment(0.5, 1.5, "s1", "onions get cut")
    assert corpus.recipes["stew"].steps == ("s1", "s2") and corpus.steps["s2"] == "fry them"
    assert corpus.truth("a") == TRUTH
    assert corpus.raw_captions("a")[1].text == "cut onions and fry"
    assert corpus.captions("a") == [Caption(0, 1, "cut onions"), Caption(1, 2.5, "and fry")]
    assert coverage_of(corpus).complete


def test_captions_are_cut_at_the_videos_end_and_counted(tmp_path):
    corpus = open_corpus(_lab(tmp_path, [_entry("a", duration_s=2.0), _entry("b", duration_s=1.0)]))
    assert corpus.captions("a")[-1] == Caption(1, 2.0, "and fry")
    assert len(corpus.captions("b")) == 1 and len(corpus.raw_captions("b")) == 2
    assert "starts at 1.0 s, the video ends at 1.0 s" in corpus.caption_report("b").dropped[0]
    table = coverage_of(corpus).table()
    assert "captions cut at the video's end: 1" in table and "caption cues dropped: 1" in table


def test_indexed_captions_point_at_raw_cues(tmp_path):
    _lab(tmp_path)
    text = VTT.replace("cut onions and fry", "cut onions") + "\n00:02.600 --> 00:02.900\nwith salt\n"
    (tmp_path / "captions" / "a.vtt").write_text(text)
    indexed = open_corpus(tmp_path).indexed_captions("a")
    assert [(i, c.text, c.end_s) for i, c in indexed] == [(0, "cut onions", 2.5), (2, "with salt", 2.9)]


@pytest.mark.parametrize("changes, message", [
    ({"format": "other"}, "expected format 'vcwork-corpus-1', got 'other'"),
    ({"complete": False}, "not complete"),
    ({"videos": [{"id": "a"}]}, "expected another structure"),
    ({"videos": [_entry("a"), _entry("a")]}, "'a' appears twice"),
    ({"videos": [_entry("../a")]}, "expected a video id as a path inside the folder"),
    ({"videos": [_entry("a", video="../../a.mp4")]}, "video: expected a path inside the corpus folder"),
    ({"videos": [_entry("a", video="/etc/passwd")]}, "expected a path inside the corpus folder"),
    ({"videos": [_entry("a", captions="C:\\a.vtt")]}, "expected a path inside the corpus folder"),
    ({"videos": [_entry("a", split="dev")]}, "expected split to be one of train, val, test, got 'dev'"),
    ({"videos": [_entry("a", recipe="soup")]}, "unknown recipe 'soup'"),
    ({"videos": [{"id": "a", "duration_s": 2.5}]}, "video a: expected split to be one of train, val, test, got None"),
    ({"videos": [_entry("a", duration_s=-1)]}, "expected duration_s"),
    ({"videos": [_entry("a", duration_s=True)]}, "expected duration_s in seconds, got True"),
    ({"videos": [_entry("a", truth="truth/none.json")]}, r"none\.json: no such file"),
    ({"steps": {"s1": "cut"}}, r"a\.json: segment 1: unknown step"),
])  # fmt: skip
def test_bad_corpus_json_is_refused(tmp_path, changes, message):
    refused(message, open_corpus, _lab(tmp_path, **changes))


def test_unknown_names(tmp_path):
    corpus = open_corpus(_lab(tmp_path))
    refused("no video 'x' among 2", corpus.captions, "x")
    refused("expected one of train, val, test, got 'dev'", corpus.split, "dev")


def test_missing_files_change_the_denominators(tmp_path):
    _lab(tmp_path)
    (tmp_path / "videos" / "b.mp4").unlink()
    (tmp_path / "captions" / "a.vtt").write_bytes(b"WEBVTT\n\n00:00.000 --> 00:01.000\ncaf\xe9\n")
    corpus = open_corpus(tmp_path)
    report = coverage_of(corpus)
    assert corpus["b"].video is None and not report.complete
    assert report.counts["videos"].missing == {"b": "videos/b.mp4 is missing"}
    assert list(report.counts["captions"].missing) == ["a"]
    assert report.denominators["test videos"] == (1, 0) and report.denominators["test clips"] == (2, 0)
    assert report.denominators["train clips"] == (2, 2) and report.denominators["videos"] == (2, 1)
    assert "test clips: 2 -> 0" in report.table() and str(tmp_path) not in report.table()
    json.dumps(report.as_dict())


def test_scan_folder_goes_on_and_counts(tmp_path):
    for name in ("good", "silent", "language", "badcaptions"):
        _film(tmp_path / f"{name}.mp4")
    (tmp_path / "zero.mp4").write_bytes(b"")
    (tmp_path / "good.vtt").write_text(VTT)
    (tmp_path / "good.txt").write_text("not this one\n")
    (tmp_path / "language.en.vtt").write_text(VTT)
    (tmp_path / "badcaptions.srt").write_text("nonsense")
    (tmp_path / "alone.vtt").write_text(VTT)
    corpus = scan_folder(tmp_path)
    assert list(corpus.videos) == ["badcaptions", "good", "language", "silent"]
    assert corpus["good"].captions.name == "good.vtt" and corpus["good"].duration_s == 3.0
    assert len(corpus.captions("language")) == 2 and corpus.captions("silent") == []
    assert set(corpus.missing_videos) == {"zero", "alone"}
    assert corpus.missing_videos["alone"] == "alone.vtt has no video of the same name"
    counts = coverage_of(corpus).counts
    assert (counts["videos"].expected, counts["videos"].present) == (6, 4)
    assert counts["captions"].present == 2 and counts["captions"].missing["silent"] == "no caption file"
    assert str(tmp_path) not in coverage_of(corpus).table()


@pytest.mark.parametrize("videos, subtitle, owner", [
    (["Part 1.mp4", "Part 1.5.mp4"], "Part 1.5.en.vtt", "Part 1.5.mp4"),
    (["Part 1.mp4"], "Part 1.5.en.vtt", None),
    (["S01.mp4", "S01.E02.mp4"], "S01.E02.srt", "S01.E02.mp4"),
    (["S01.mp4"], "S01.E02.srt", None),
    (["a.mp4"], "a b.vtt", None),
    (["a.mp4"], "a.mp4.srt", "a.mp4"),
    (["a.mp4"], "a.en-US.forced.srt", "a.mp4"),
    (["a.mp4"], "a.zh-Hans.vtt", "a.mp4"),
    (["a.mp4"], "a.English.txt", "a.mp4"),
    (["a.mp4"], "a.1080p.srt", None),
    (["Rocky.mp4"], "Rocky.II.srt", None),
    (["Rocky.mp4"], "Rocky.one.srt", None),
    (["Rocky.mp4"], "Rocky.vi.srt", "Rocky.mp4"),
    (["a..b...mp4"], "a..b...en.vtt", "a..b...mp4"),
    (["caf\u00e9.mp4"], "cafe\u0301.vtt", "caf\u00e9.mp4"),
    (["one/a.mp4", "two/a.mp4"], "two/a.vtt", "two/a.mp4"),
])  # fmt: skip
def test_a_subtitle_belongs_to_the_video_whose_whole_name_it_begins_with(videos, subtitle, owner):
    found, alone = subtitles_of([Path(video) for video in videos], [Path(subtitle)])
    assert [str(video) for video, theirs in found.items() if theirs] == ([owner] if owner else [])
    assert alone == ([] if owner else [Path(subtitle)])


def test_what_was_saved_is_sealed_and_gathering_again_seals_what_was_corrected(tmp_path):
    films, folder = tmp_path / "films", tmp_path / "corpus"
    films.mkdir()
    _film(films / "a.mp4")
    (films / "a.vtt").write_text(VTT)
    first = gather(scan_folder(films), folder)
    assert list(first.files) == ["captions/a.vtt"] and len(first.captions("a")) == 2
    (films / "a.vtt").write_text(VTT.replace("fry", "try"))  # by its owner: the corpus holds links
    refused(r"captions/a\.vtt: damaged or edited", open_corpus(folder).captions, "a")
    again = gather(scan_folder(films), folder)
    assert again.captions("a")[1].text == "and try" and again.files != first.files


@pytest.mark.parametrize("files, message", [
    ({}, "expected videos .* found 0 other files"),
    ({"a.vtt": VTT}, "expected videos .* found 1 other files"),
    ({"a.mp4": ""}, r"none of 1 videos can be read; a\.mp4: could not be decoded"),
])  # fmt: skip
def test_folders_without_a_usable_video(tmp_path, files, message):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    refused(message, scan_folder, tmp_path)
    refused("no such folder", scan_folder, tmp_path / "none")


def test_what_may_not_be_entered_is_told_and_costs_nothing_else(tmp_path):
    _film(tmp_path / "a.mp4")
    for name in ("below/corpus.json", "b.mp4"):  # the system refuses to look at these, as in a folder that is closed
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to("n" * 300)
    corpus = scan_folder(tmp_path)
    assert list(corpus.videos) == ["a"] and set(corpus.missing_videos) == {"b.mp4", "below/corpus.json"}
    assert all("could not be read (" in why for why in corpus.missing_videos.values())
    (tmp_path / "a.mp4").unlink()
    refused(r"found 0 other files; .* could not be read", scan_folder, tmp_path)


def test_two_videos_of_one_name(tmp_path):
    _film(tmp_path / "a.mp4")
    shutil.copy(tmp_path / "a.mp4", tmp_path / "a.mov")
    (tmp_path / "a.vtt").write_text(VTT)
    corpus = scan_folder(tmp_path)
    assert list(corpus.videos) == ["a.mov", "a.mp4"]
    assert len(corpus.captions("a.mov")) == len(corpus.captions("a.mp4")) == 2, "one subtitle, the same film twice"


def test_untimed_captions_last_as_long_as_the_video(tmp_path):
    _film(tmp_path / "a.mp4")
    (tmp_path / "a.txt").write_text("knead the dough\ndough is kneaded\n")
    assert scan_folder(tmp_path).captions("a") == [Caption(0, 3, "knead the dough"), Caption(0, 3, "dough is kneaded")]


def test_real_clips(real):
    corpus = scan_folder(real / "clips")
    counts = coverage_of(corpus).counts
    assert counts["videos"].present == 11 and counts["captions"].present == 8
    assert [id for id in corpus.videos if "/" in id] == ["odd/corrupted", "odd/unordered", "odd/video_90"]
    assert max(c.end_s for c in corpus.captions("nasa_13013")) == 13.0  # its last caption runs on after the end


def test_light_imports_stay_light():
    code = "import sys, vcwork.data.captions, vcwork.data.corpus, vcwork.data.extract; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(os.sep != "/", reason="no such names")
def test_a_name_that_no_corpus_can_tell_costs_its_film_alone(tmp_path):
    own, out = tmp_path / "own", tmp_path / "out"
    for name in ("good.mp4", "back\\slash.mp4", "two\nlines.mp4"):
        _film(own / name)
    for _ in range(2):
        corpus = gather(scan_folder(own), out)
        assert list(corpus.videos) == ["good"] and len(corpus.missing_videos) == 2
        assert all("rename the film" in why for why in corpus.missing_videos.values())


def test_an_empty_subtitle_does_not_stand_before_one_with_words(tmp_path):
    _film(tmp_path / "a.mp4")
    for name, text in (("a.vtt", "WEBVTT\n"), ("a.srt", "1\n00:00:00,000 --> 00:00:01,000\nhello\n")):
        (tmp_path / name).write_text(text)
    assert [c.text for c in scan_folder(tmp_path).captions("a")] == ["hello"]


def test_gathered_corpus_leaves_the_source_alone(tmp_path):
    own, out = tmp_path / "own", tmp_path / "out"
    _film(own / "a.mp4")
    (own / "a.vtt").write_text(VTT)
    _film(own / "b.mp4")
    (own / "bad.mp4").write_bytes(b"no video")
    before = sorted(path.name for path in own.iterdir())
    corpus = gather(scan_folder(own), out)
    assert sorted(path.name for path in own.iterdir()) == before
    assert [video.id for video in corpus.split("test")] == ["a", "b"] and list(corpus.missing_videos) == ["bad"]
    assert corpus["a"].video == out / "videos/a.mp4" and corpus["a"].video.read_bytes() == (own / "a.mp4").read_bytes()
    assert [c.text for c in corpus.captions("a")] == ["cut onions", "and fry"] and corpus["b"].captions is None
    assert gather(scan_folder(own), out).videos == corpus.videos
    _film(own / "c.mp4")
    refused("holds another corpus", gather, scan_folder(own), out)


def test_gathering_copies_where_links_are_refused(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("a privilege is not held")

    monkeypatch.setattr("pathlib.Path.symlink_to", refuse)
    _film(tmp_path / "own" / "a.mp4")
    corpus = gather(scan_folder(tmp_path / "own"), tmp_path / "out")
    assert not corpus["a"].video.is_symlink() and coverage_of(corpus).counts["videos"].present == 1


@pytest.mark.parametrize(
    ("name", "was", "now", "counts"),
    [("captions/a.vtt", "fry", "try", True), ("truth/a.json", "0.5", "0.6", True), ("captions/b.vtt", "fry", "try", 0)],
)
def test_the_digest_of_a_corpus_knows_what_a_training_reads(tmp_path, name, was, now, counts):
    """Not of the test split: nothing of it is trained on."""
    first = open_corpus(_lab(tmp_path)).digest()
    assert open_corpus(tmp_path).digest() == first
    path = tmp_path / name
    path.write_text(path.read_text().replace(was, now))
    assert (open_corpus(tmp_path).digest() != first) == bool(counts)
