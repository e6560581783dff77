"""Captions: every format, what real files do to them, and rolling repeats removed word by word."""

import csv
import math
import random

import pytest
from checks import refused

from vcwork.data.captions import (
    Caption,
    CaptionReport,
    captions_of_entry,
    deduplicate,
    deduplicate_indexed,
    read_captions,
    repeated_word_share,
    write_vtt,
)
from vcwork.data.howto100m.stores import deduplicate_characters


def _file(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def _spoken(*texts, each_s=1.0):
    return [Caption(i * each_s, (i + 1) * each_s, text) for i, text in enumerate(texts)]


def _texts(captions):
    return [caption.text for caption in captions]


def test_an_entry_of_raw_caption_json():
    report, entry = CaptionReport(), {"start": [2, 0], "end": [3, 1], "text": ["b\nb", "a"]}
    assert captions_of_entry("raw.json: x", entry, report) == [Caption(0, 1, "a"), Caption(2, 3, "b b")]
    assert report == CaptionReport(reordered=1)
    for wrong in (entry | {"end": [3]}, {"start": []}, []):
        refused(r"raw\.json: x: expected .* lists of one length", captions_of_entry, "raw.json: x", wrong, report)


@pytest.mark.parametrize("content", [b"", b"\n", b"WEBVTT", b"WEBVTT\n\nNOTE nothing\n"])
def test_files_without_captions_are_empty_lists(tmp_path, content):
    assert read_captions(_file(tmp_path, "a.vtt", content)) == []
    for suffix in ("srt", "csv", "txt"):
        assert read_captions(_file(tmp_path, f"a.{suffix}", b"")) == []
    head = '<tt xmlns="http://www.w3.org/ns/ttml"><head><title>x</title></head><body/></tt>'
    for name, text in (
        ("a.ass", "[Script Info]\nTitle: a\n[Events]\nFormat: Start, End, Text\n"),
        ("a.lrc", "[ar:me]\n"),
        ("a.ttml", head),
    ):
        assert read_captions(_file(tmp_path, name, text)) == []


GOOD_AROUND = "WEBVTT\n\n00:01.000 --> 00:02.000\none\n\n{}\nbad\n\n00:05.000 --> 00:06.000\ntwo"
BAD_TIMES = ["00:01.x00 --> 00:02.000", "00:99.000 --> 00:99.500", "00:03.000 -> 00:04.000", "--> 00:02.000"]


@pytest.mark.parametrize("bad", [*BAD_TIMES, "00:09.000 --> 00:02.000"])
def test_bad_vtt_cue_is_dropped_and_counted(tmp_path, bad):
    path = _file(tmp_path, "a.vtt", GOOD_AROUND.format(bad))
    report = CaptionReport()
    assert _texts(read_captions(path, report)) == ["one", "two"]
    assert len(report.dropped) == 1 and report.dropped[0].startswith(f"{path}, line 6: ")
    with pytest.warns(UserWarning, match=r"a\.vtt: 1 cues dropped"):
        read_captions(path)
    table = _file(tmp_path, "a.csv", "start,end,text\n1,2,good\nx,2,bad\n")
    assert _texts(read_captions(table, report)) == ["good"] and "a.csv, line 3: malformed times" in report.dropped[1]


SRT = "1\n00:00:01,000 --> 00:00:03,000\nhello\n"


@pytest.mark.parametrize("name, text, said", [
    ("a.ass", SRT, [(1, 3, "hello")]),  # what it is, whatever its name
    ("a.lrc", SRT, [(1, 3, "hello")]),
    ("a.srt", "00:00:01 --> 00:00:03\nhello\n00:00:03 --> 00:00:05\nbye\n", [(1, 3, "hello"), (3, 5, "bye")]),
    ("a.srt", "0:00:01 --> 0:00:03 hello\n0:00:03 --> 0:00:05 bye\n", [(1, 3, "hello"), (3, 5, "bye")]),
    ("a.srt", "00:01 --> 00:03\nhello\n\n00:03 --> 00:05\nbye\n", [(1, 3, "hello"), (3, 5, "bye")]),
    ("a.srt", "00:01 --> 00:03\nhello\n00:03 --> 00:05\nbye\n", [(1, 3, "hello"), (3, 5, "bye")]),
    ("a.srt", "00:01 --> 00:03 hello\n00:03 --> 00:05 bye\n", [(1, 3, "hello"), (3, 5, "bye")]),
    ("a.txt", "00:01 --> 00:03 hello\n00:03 --> 00:05 bye\n", [(1, 3, "hello"), (3, 5, "bye")]),
    ("a.srt", SRT + r"open C:\new\Notes or \\server\home then\Nsave\nit\hnow:\Nyes", [
        (1, 3, r"hello open C:\new\Notes or \\server\home then save it now: yes")]),
    ("a.srt", SRT + r"in C:\Nvidia\bin, D:\home, Q:\nets\bin c:\new <i>E:\now</i>", [
        (1, 3, r"hello in C:\Nvidia\bin, D:\home, Q:\nets\bin c:\new E:\now")]),
    ("a.srt", SRT + r"Q:\NWhat is it? A:\NA pan\Nand a pot C:\NYes x:\N- a:\nb n:\No\Np", [
        (1, 3, "hello Q: What is it? A: A pan and a pot C: Yes x: - a: b n: o p")]),
    ("a.ass", "[Events]\n" + r"Dialogue: 0,0:00:01.00,0:00:03.00,,,0,0,0,,C:\New\hday", [(1, 3, "C: ew day")]),
    ("a.json", '[{"start": 0, "end": 1, "text": 5}, {"start": 1, "end": 2, "text": null}]', [(0, 1, "5")]),
    ("a.tsv", 'start\tend\ttext\n0\t2\t"two\nlines"\n', [(0, 2, "two lines")]),
    ("a.csv", 'start,end,text\n0,2,"x" y\n2,4,"two\nlines"\n', [(0, 2, "x y"), (2, 4, "two lines")]),
])  # fmt: skip
def test_words_and_times_as_they_are_meant(tmp_path, name, text, said):
    report = CaptionReport()
    found = read_captions(_file(tmp_path, name, text), report)
    assert [(c.start_s, c.end_s, c.text) for c in found] == said and not report.dropped


def test_a_csv_is_split_once(tmp_path, monkeypatch):
    """All rows tell whether its times are milliseconds; a second reading of them cost as much as the first."""
    readers, split = [], csv.reader
    monkeypatch.setattr(csv, "reader", lambda *args, **how: readers.append(args) or split(*args, **how))
    assert _texts(read_captions(_file(tmp_path, "a.csv", "start,end,text\n0,2,a\n2,4,b\n"))) == ["a", "b"]
    assert len(readers) == 1


def test_rolling_lines_keep_each_word_once():
    rolled = _spoken("so today", "so today", "so today we cook", "we cook Onions", "onions and leek")
    assert _texts(deduplicate(rolled)) == ["so today", "we cook", "Onions", "and leek"]
    assert deduplicate(rolled)[0] == Caption(0, 2, "so today")  # the identical cue keeps it on screen
    assert [index for index, _ in deduplicate_indexed(rolled)] == [0, 2, 3, 4]
    assert repeated_word_share(rolled) == pytest.approx(7 / 14)


@pytest.mark.parametrize("shown, kept", [
    (("put the sauce", "everything in"), ["put the sauce", "everything in"]),  # words are never cut
    (("go on go on", "go on go on now"), ["go on go on", "now"]),  # the longest overlap wins
])  # fmt: skip
def test_what_counts_as_a_repeat(shown, kept):
    assert _texts(deduplicate(_spoken(*shown))) == kept


def test_a_repeat_after_silence_is_speech():
    apart = [Caption(0, 1, "stir"), Caption(60, 61, "stir")]
    assert deduplicate(apart) == apart and repeated_word_share(apart) == 0


def test_untimed_captions_do_not_roll():
    both = [Caption(0, math.inf, "knead the dough"), Caption(0, math.inf, "dough is kneaded")]
    assert deduplicate(both) == both


def test_deduplicate_on_generated_rolls_returns_the_speech():
    rng = random.Random(0)
    words = [f"w{i}" for i in range(300)]  # all different, so the speech is known
    cuts = sorted(rng.sample(range(1, 300), 60))
    lines = [words[a:b] for a, b in zip([0, *cuts], [*cuts, 300], strict=True)]
    shown = _spoken(*(" ".join((lines[i - 1] if i else []) + line) for i, line in enumerate(lines)))
    assert " ".join(_texts(deduplicate(shown))).split() == words
    assert deduplicate(deduplicate(shown)) == deduplicate(shown)
    assert repeated_word_share([]) == 0.0


class Coin:
    """A generator whose coin always falls the same way."""

    def __init__(self, heads: bool):
        self.value = 0.9 if heads else 0.1

    def random(self) -> float:
        return self.value


HALVES = [Caption(0, 4, "put the sauce in"), Caption(3, 6, "in the pot")]
LONGER = [Caption(0, 3, "cut the carrot"), Caption(1, 5, "carrot"), Caption(2, 4, "cut the carrot and stir")]
TWICE = _spoken("now that we chop that", "that we chop that onion")


@pytest.mark.parametrize("heads, rows, kept", [
    (True, _spoken("put the sauce", "everything in"), _spoken("put the sauce", "verything in")),
    (False, _spoken("put the sauce", "everything in"), _spoken("put the sauc", "everything in")),
    (True, HALVES, [Caption(0, 4, "put the sauce in"), Caption(4, 6, "the pot")]),
    (False, HALVES, [Caption(0, 3, "put the sauce"), Caption(3, 6, "in the pot")]),
    (True, TWICE, _spoken("now that we chop that", "hat we chop that onion")),  # a t, not a sentence
    (None, LONGER, [Caption(0, 5, "cut the carrot and stir")]),  # None: no coin is thrown
    (None, _spoken("take the pan", "an", "take the pancake"), [Caption(0, 3, "take the pancake")]),
    (None, [], []),
])  # fmt: skip
def test_the_reference_s_rule_on_characters(heads, rows, kept):
    assert deduplicate_characters(rows, None if heads is None else Coin(heads)) == kept
    assert _texts(deduplicate(TWICE)) == ["now that we chop that", "onion"], "ours sees the words"


def test_write_vtt_reads_back(tmp_path):
    captions = [Caption(0.0, 0.0, "a"), Caption(1.2345, 3725.9996, "x < y & z --> {w}"), Caption(5, 6, "NOTE well")]
    path = tmp_path / "new" / "a.vtt"
    write_vtt(path, captions)
    back = read_captions(path)
    assert _texts(back) == _texts(captions)
    assert (back[1].start_s, back[1].end_s) == (1.234, 3726.0)
    for wrong in (Caption(0, math.inf, "a"), Caption(2, 1, "a"), Caption(0, 1, " ")):
        refused("caption 0 needs text", write_vtt, path, [wrong])
    assert read_captions(path) == back and [p.name for p in path.parent.iterdir()] == ["a.vtt"]


def test_real_howto100m_files(real):
    files = sorted((real / "howto100m_asr").glob("*.csv"))
    assert len(files) == 80
    report = CaptionReport()
    captions = {path.stem: read_captions(path, report) for path in files}
    shares = [repeated_word_share(rows) for rows in captions.values()]
    assert report.dropped == [] and 0.25 < sum(shares) / 80 < 0.4 and max(shares) < 0.6
    for rows in captions.values():
        kept = deduplicate(rows)
        assert repeated_word_share(kept) < 0.03 and len(kept) <= len(rows)
        assert set(" ".join(_texts(kept)).split()) == set(" ".join(_texts(rows)).split())
