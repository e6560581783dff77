"""Kinds of faults that public bug reports tell of, apart from films' bytes: the shared cases, where they are, and
siblings of each made here."""

import datetime
import json
import math
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from checks import refused

from vcwork import __main__ as cli
from vcwork.base.errors import VcworkError
from vcwork.base.files import resolve
from vcwork.data.backbones.image import get_backbone
from vcwork.data.benchmarks.corpora import benchmark_corpus, read_benchmark
from vcwork.data.captions import Caption, CaptionReport, deduplicate, read_captions
from vcwork.data.corpus import Corpus, Video, dealt, gather, scan_folder
from vcwork.data.extract import extract
from vcwork.data.howto100m.sources import read_id_list
from vcwork.data.store import load_npy
from vcwork.data.video import write_mp4
from vcwork.encoders import released
from vcwork.encoders.load import load_encoder
from vcwork.workbench import kernels, own_folder, own_videos
from vcwork.workbench.own_folder import look_at
from vcwork.workbench.own_pages import write_pages


def spoken(captions) -> list[tuple]:
    """(start, end, text), to the millisecond."""
    return [(round(c.start_s, 3), round(c.end_s, 3), c.text) for c in captions]


# ------------------------------------------------------------------------------------------------------------- words

ONE, TWO, THREE = (1.0, 3.0), (4.0, 6.0), (7.0, 9.0)
BOTH = [(*ONE, "first"), (*TWO, "second")]
ONIONS = [(*ONE, "peel the onion"), (*TWO, "I am late at work, back in ten minutes."), (*THREE, "stir the sauce")]
THREE_LINES = [(0.0, 2.7, "xx one"), (2.74, 3.76, "yy two"), (3.78, 4.0, "zz three")]
PARTED = ["first half and half", "second rest of it", "third end", "last one"]
WORDS = {
    "01-blank-line-in-cue/a.srt": ONIONS,
    "01-blank-line-in-cue/b.vtt": ONIONS,
    "03-angle-brackets/a.srt": [(*ONE, "or a MyList<Item> like before"), (*TWO, "if a < b and c > d then stop"),
                                (*THREE, "(Hana)<about 70 years ago>"), (10.0, 12.0, "real tag here")],
    **{f"04-WebVTT-mixed-case/{name}": THREE_LINES for name in ("a.vtt", "b.vtt", "c.srt")},
    "05-note-blocks/a.vtt": [(0.96, 5.194, "como vimos"), (5.262, 10.505, "gracas a todos")],
    "06-mislabelled/a.srt": [(*ONE, "hello there"), (*TWO, "second one")],
    "06-mislabelled/b.vtt": [(*ONE, "hello there"), (*TWO, "second one")],
    "07-timestamp-map/a.vtt": [(*ONE, "one"), (11.0, 13.0, "two (ten seconds later)")],
    "08-srt-from-zero/a.srt": [*BOTH, (*THREE, "third")],
    **{f"08-srt-from-zero/iso/{name}.srt": BOTH for name in (
        "blank_after_number", "blanks_between", "indented", "num_colon", "num_space", "preface", "time_trailing",
        "two_boms", "zero", "zero_space")},
    "08-srt-from-zero/iso/arrow.srt": [BOTH[1]],
    "08-srt-from-zero/iso/bare.srt": [(*ONE, "no header no numbers"), BOTH[1]],
    "08-srt-from-zero/iso/clock.srt": [(1.0, 3.5, "short clock"), (360001.0, 360003.0, "hundred hours")],
    "08-srt-from-zero/iso/dots.srt": [(*ONE, "first with dots"), BOTH[1]],
    **{f"08-srt-from-zero/iso/{name}": BOTH[:1] for name in ("hash1.srt", "leading_blank.srt", "two_boms.vtt")},
    "09-curly-brackets/a.srt": [(*ONE, "put {two} eggs in"), (*TWO, "first line second line"),
                                (*THREE, "microdvd italics")],
    "10-rewinding/a.vtt": [(0.0, 4.0, "alpha one"), (0.0, 3.0, "gamma three"), (4.0, 8.0, "beta two"),
                           *((62.962, 83.152, text) for text in ("delta four", "epsilon five", "zeta six"))],
    "11-zero-length/a.srt": [(1.0, 1.0, "zero words here"), BOTH[1]],
    **{f"12-line-separators/{name}": [(*at, text) for at, text in zip((ONE, TWO, THREE, (10.0, 12.0)), PARTED,
       strict=True)] for name in ("a.srt", "b.vtt")},
    "13-encodings/utf16_nomark.vtt": [(*ONE, "slice it")],
    "13-encodings/utf16le_nomark.srt": [(*ONE, "slice it")],
    "14-csv-quirks/clock.csv": [(*ONE, "add salt"), (*TWO, "stir")],
    "14-csv-quirks/commas.csv": [(*ONE, "add salt, pepper, and oil"), (*TWO, "quoted, fine"), (*THREE, "stir")],
    "14-csv-quirks/index.csv": [(*ONE, "add salt"), (*TWO, "stir")],
    **{f"14-csv-quirks/{name}.csv": [(*ONE, "add salt")] for name in ("semicolon", "sep")},
    **{f"32-other-suffixes/{name}": [(0.5, 1.5, "chop it")] for name in
       ("x.ass", "x.json3", "x.sbv", "x.tsv", "y.ttml")},
}  # fmt: skip
REFUSED = {
    "08-srt-from-zero/iso/html.srt": "no readable cue",
    "08-srt-from-zero/iso/microdvd.srt": "no readable cue",
    "13-encodings/cp1251.srt": "expected UTF-8 text, got byte 0xed at offset 32, line 3",
    "13-encodings/cp1252.srt": "expected UTF-8 text, got byte 0xe9 at offset 33, line 3",
}


@pytest.mark.parametrize("name", WORDS)
def test_every_word_comes_with_its_time(cases, name):
    report = CaptionReport()
    assert spoken(read_captions(cases / name, report)) == WORDS[name]
    assert len(report.dropped) == name.endswith(("arrow.srt", "preface.srt"))
    assert report.reordered == ("rewinding" in name)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_named(cases, name):
    with pytest.raises(VcworkError, match=REFUSED[name]) as caught:
        read_captions(cases / name)
    assert str(cases / name) in str(caught.value)


@pytest.mark.parametrize("name", ["a.vtt", "b.vtt"])
def test_youtube_s_first_words_come_first(cases, name):
    said = spoken(deduplicate(read_captions(cases / "15-youtube-timedtext" / name)))
    assert said == [(0.799, 2.879, "hi everyone today we are going to be"), (2.879, 4.08, "modeling a basic")]


def made(tmp_path, name, content) -> tuple[list[tuple], CaptionReport]:
    """What is read of a file with this content."""
    path, report = tmp_path / name, CaptionReport()
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return spoken(read_captions(path, report)), report


SRT, WEB = "1\n00:00:01,000 --> 00:00:03,000\n{}\n", "WEBVTT\n\n00:01.000 --> 00:03.000\n{}\n"


@pytest.mark.parametrize("form", [SRT, WEB])
@pytest.mark.parametrize("text, words", [
    ("\n\nsalt\n\n\npepper\n\n", "salt pepper"),
    ("<I>salt</I> and <b.loud>pepper</b>", "salt and pepper"),
    ("<font color='red' size=3>salt</font>", "salt"),
    ("{\\i1}salt{\\i0}", "salt"),
    ("{\\an8}{\\p1}m 0 0 l 100 0 100 100{\\p0}salt", "salt"),
    ("a <3 you", "a <3 you"),
    ("x<y and y>z", "x<y and y>z"),
    ("vector<int> v", "vector<int> v"),
    ("1 << 2 >> 1", "1 << 2 >> 1"),
    ("{salt}", "{salt}"),
    ("salt<br/>pepper", "salt pepper"),
    ("salt &amp; pepper", "salt & pepper"),
    ("AT&T, stop&notify", "AT&T, stop&notify"),
    ("<i>salt</i>\npepper", "salt pepper"),
    ("2", "2"),
    ("salt\n3", "salt 3"),
    ("1 --> 2 is a map", "1 --> 2 is a map"),
    ("1 --> 2", "1 --> 2"),
    ("12:30 --> 13:45 train", "12:30 --> 13:45 train"),
    ("at\n12:30 --> 13:45", "at 12:30 --> 13:45"),
    ("10:30:15 --> go left", "10:30:15 --> go left"),
    ("WebVTT is a format", "WebVTT is a format"),
    ("see\n\nWebVTT is\na format", "see WebVTT is a format"),
    ("open from 10:30 --> later", "open from 10:30 --> later"),
    ("go --> there", "go --> there"),
    ("\u202bsalt\u202c", "salt"),
    ("zero\x00byte", "zerobyte"),
    ("\u3000salt\u00a0pepper", "salt pepper"),
])  # fmt: skip
def test_words_that_are_no_markup_stay(tmp_path, form, text, words):
    name = "a.vtt" if form == WEB else "a.srt"
    assert made(tmp_path, name, form.format(text))[0] == [(*ONE, words)]


@pytest.mark.parametrize("timing, times", [
    ("00:01,000 --> 00:03,000", ONE),
    ("0:0:1.0 --> 0:0:3", ONE),
    ("00:00:01:000 --> 00:00:03:000", ONE),
    ("1.0 --> 3.0", ONE),
    ("[00:00:01.000 --> 00:00:03.000]", ONE),
    ("00:00:01,000-->00:00:03,000", ONE),
    ("00:00:01,000 --> 00:00:03,000 X1:100 X2:200 Y1:1 Y2:2", ONE),
    ("\t00:00:01,000\t-->\t00:00:03,000", ONE),
    ("123:00:01,5 --> 123:00:03,25", (442801.5, 442803.25)),
])  # fmt: skip
def test_times_as_people_write_them(tmp_path, timing, times):
    for name in ("a.srt", "a.vtt"):
        assert made(tmp_path, name, f"{timing}\nsalt\n")[0] == [(*times, "salt")]


@pytest.mark.parametrize("timing", [
    "-00:00:01,000 --> 00:00:03,000", "00:00:61,000 --> 00:01:03,000", "00:00:03,000 --> 00:00:01,000",
    "00:00:01,000 -> 00:00:03,000", "00:00:01,000 -- > 00:00:03,000", "00:00:01 -> 00:00:03", "00:00:01,000 -->",
    "00:00:01,00 -> 00:00:03,00", "00.00.01,000 --> 00.00.03,000", "00: 00: 01,000 --> 00: 00: 03,000",
    "00:00:01,000 → 00:00:03,000", "00:00:01:12 --> 00:00:03:01", "00:00:01;000 -> 00:00:03;000",
])  # fmt: skip
def test_times_that_cannot_be_are_counted_with_their_line(tmp_path, timing):
    cues = [f"1\n{timing}\nsalt\n\n", "2\n00:00:04,000 --> 00:00:06,000\nsecond\n\n"]
    for name in ("a.srt", "a.vtt"):
        for line, text in ((2, "".join(cues)), (6, "".join(cues[::-1]))):
            said, report = made(tmp_path, name, text)
            assert said == [BOTH[1]] and len(report.dropped) == 1 and f"{name}, line {line}: " in report.dropped[0]


@pytest.mark.parametrize("before, line", [
    ("hello words\n\n", 3), ("NOTE one\ntwo\n\nhello\nwords\n\nid\n", 6), ("STYLE\n::cue {}\n\nhello words\n\n2\n", 6),
    ("X-TIMESTAMP-MAP=LOCAL:00:00.000,MPEGTS:0\n\n", 0), ("id 1\n", 0), ("7\n\n", 0),
])  # fmt: skip
def test_words_before_the_first_times_are_counted(tmp_path, before, line):
    """What WebVTT has there that is no words is not."""
    said, report = made(tmp_path, "a.vtt", f"WEBVTT\n\n{before}00:01.000 --> 00:03.000\nfirst\n")
    assert said == BOTH[:1] and len(report.dropped) == bool(line)
    assert not line or f"a.vtt, line {line}: 'hello" in report.dropped[0]


@pytest.mark.parametrize("name, form", [
    ("a.vtt", "WEBVTT\n\n00:01.000 --> 00:03.000\n{}\n\n00:04.000 --> 00:06.000\n{}\n"),
    ("a.srt", "00:00:01,000 --> 00:00:03,000\n{}\n\n00:00:04,000 --> 00:00:06,000\n{}\n"),
    ("a.sbv", "0:00:01.000,0:00:03.000\n{}\n\n0:00:04.000,0:00:06.000\n{}\n"),
])  # fmt: skip
@pytest.mark.parametrize(
    "one, two", [("1", "2"), ("$10", "11!"), ("the winner is\nnumber\n7", "8"), ("first\n\n7\n", "8")]
)
def test_words_that_are_numbers_stay_where_cues_have_none(tmp_path, name, form, one, two):
    assert made(tmp_path, name, form.format(one, two))[0] == [(*ONE, " ".join(one.split())), (*TWO, two)]


@pytest.mark.parametrize("text, said", [
    ("WEBVTT - a title\n\nintro\n00:01.000 --> 00:03.000\nfirst\n\n\n\n00:04.000 --> 00:06.000\n\nsecond", BOTH),
    ("WEBVTT\n\nNOTE\n\n00:01.000 --> 00:03.000\nfirst\n\nNOTE two\nlines\n\n00:04.000 --> 00:06.000\nsecond", BOTH),
    ("WEBVTT\n\nNOTE\n00:01.000 --> 00:03.000\nfirst\n\nSTYLE\n::cue {}\n\n00:04.000 --> 00:06.000\nsecond", BOTH),
    ("WEBVTT\nKind: captions\n6\n00:01.000 --> 00:03.000\nfirst\n\n7\n\n00:04.000 --> 00:06.000\nsecond", BOTH),
    ("\n\nwebvtt\n\n00:01.000 --> 00:03.000\n<v Ann>first</v>\n\nid 2\n00:04.000 --> 00:06.000\n<lang en>second", BOTH),
    ("WEBVTT\nX-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:900000\n\n00:01.000 --> 00:03.000\nfirst\n\nWEBVTT\n"
     "X-TIMESTAMP-MAP=LOCAL:00:00:10.000,MPEGTS:1800000\n\n00:04.000 --> 00:06.000\nsecond", BOTH),
    ("WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:8589934591,LOCAL:00:00.000\n\n00:01.000 --> 00:03.000\nfirst\n\nWEBVTT\n"
     "X-TIMESTAMP-MAP=MPEGTS:269999,LOCAL:00:00.000\n\n00:01.000 --> 00:03.000\nsecond", BOTH),
    ("WEBVTT\n\n00:01.000 --> 00:03.000\nfirst\n\nWEBVTT\nKind: captions\n\n00:04.000 --> 00:06.000\nsecond", BOTH),
    ("WEBVTT\n\nNOTE a remark\nover two lines\n\n00:01.000 --> 00:03.000 align:start position:0%\n<v Ann><00:02.000>"
     "<c>first</c>\n\n00:04.000 --> 00:06.000\nsecond&nbsp;", BOTH),
])  # fmt: skip
def test_webvtt_as_it_comes(tmp_path, text, said):
    for newline in ("\n", "\r\n", "\r"):
        assert made(tmp_path, "a.vtt", text.replace("\n", newline))[0] == said
    assert made(tmp_path, "a.srt", text)[0] == said


@pytest.mark.parametrize("text, said", [
    ("1\n\n00:00:01,000 --> 00:00:03,000\n\nfirst\n\n2\n\n00:00:04,000 --> 00:00:06,000\n\nsecond", BOTH),
    ("00:00:01,000 --> 00:00:03,000\n3\n\n2\n00:00:04,000 --> 00:00:06,000\n2\n", [(*ONE, "3"), (*TWO, "2")]),
    ("1\n00:00:01,000 --> 00:00:03,000\n10\n2\n00:00:04,000 --> 00:00:06,000\n9", [(*ONE, "10"), (*TWO, "9")]),
    ("1\n00:00:01,000 --> 00:00:03,000\nfirst\n2\n00:00:04,000 --> 00:00:06,000\nsecond", BOTH),
    ("[00:00:01.000 --> 00:00:03.000]  first\n[00:00:04.000 --> 00:00:06.000]  second", BOTH),
    ("1\n00:00:01,000 --> 00:00:03,000\n\n2\n00:00:04,000 --> 00:00:06,000\nsecond", BOTH[1:]),
    ("99\n00:00:01,000 --> 00:00:03,000\nfirst\n\n99\n00:00:04,000 --> 00:00:06,000\nsecond", BOTH),
])  # fmt: skip
def test_subrip_as_it_comes(tmp_path, text, said):
    for name in ("a.srt", "a.txt"):
        assert made(tmp_path, name, text)[0] == said


ASS = "[V4+ Styles]\nFormat: Name\nStyle: Default\n[Events]\nFormat: {}\n"
TTML = '<tt xmlns="http://www.w3.org/ns/ttml" {}><body><div>{}</div></body></tt>'


@pytest.mark.parametrize("name, text, said", [
    ("a.ass", ASS.format("Layer, Start, End, Text") + "Comment: 0,0:00:00.00,0:00:09.00,not shown\n"
     "Dialogue: 0,0:00:04.00,0:00:06.00,{\\pos(1,2)\\k20}sec{\\k20}ond\n"
     "Dialogue: 0,0:00:01.00,0:00:03.00,first\\None, more\\htext\n", [(*ONE, "first one, more text"), BOTH[1]]),
    ("a.ssa", ASS.format("Marked, Start, End, Style, Text") + "Dialogue: Marked=0,0:00:01.00,0:00:03.00,D,"
     "{\\p1}m 0 0 l 1 1{\\p0}\nDialogue: Marked=0,0:00:01.00,0:00:03.00,D,first\n", BOTH[:1]),
    ("a.ass", "[Events]\nDialogue: 0,0:00:01.00,0:00:03.00,D,,0,0,0,,{TLC: or one?}fir{*\\b1}st\n", BOTH[:1]),
    ("a.sbv", "0:00:01.000,0:00:03.000\nfirst\n\n0:00:04.000,0:00:06.000\n\nsecond\n", BOTH),
    ("a.lrc", "[00:01.00]first\n[00:01.00]erst\n[00:03.00]", [(*ONE, "first"), (*ONE, "erst")]),
    ("a.lrc", "[ar:x]\n[offset:+2000]\n[00:03.00]first\n[00:05.00]\n[00:06.00]second\n[00:08.00]\n", BOTH),
    ("a.lrc", "[offset: -500]\n[00:00:50]first\n[00:02.50]\n[75:00.0]late\n",
     [(*ONE, "first"), (4500.5, 4505.5, "late")]),
    ("a.lrc", "[ti:a song]\n[00:01.00]first\n[00:03.00]\n[00:04.00]<00:04.00>sec<00:05.00>ond\n[00:06.00]\n", BOTH),
    ("a.json3", json.dumps({"events": [{"tStartMs": 0}, {"tStartMs": 1000, "dDurationMs": 2000, "segs": [
        {"utf8": None}, {"utf8": "fi"}, {"utf8": "rst", "tOffsetMs": 9}]},
        {"tStartMs": 2990, "aAppend": 1, "segs": [{"utf8": "\n"}]},
        {"tStartMs": 4000, "dDurationMs": 2000, "segs": [{"utf8": "second"}]}]}), BOTH),
    ("a.json", json.dumps({"text": "x", "segments": [{"start": 1.0, "end": 3.0, "text": " first"},
                                                     {"start": 4, "end": 6, "text": " second"}]}), BOTH),
    ("a.json", json.dumps([{"text": "first", "start": 1.0, "duration": 2.0},
                           {"text": "second", "start": 4.0, "duration": 2.0}]), BOTH),
    ("a.json", json.dumps({"transcription": [{"offsets": {"from": 1000, "to": 3000}, "text": " first"},
                                             {"offsets": {"from": 4000, "to": 6000}, "text": " second"}]}), BOTH),
    ("a.json", json.dumps({"chunks": [{"timestamp": [1.0, 3.0], "text": "first"},
                                      {"timestamp": [4.0, None], "text": "second"}]}), [BOTH[0], (4, 9, "second")]),
    ("a.ttml", TTML.format("", '<p begin="1s" end="3000ms">first</p><p begin="00:00:04.000" dur="2s">second</p>'),
     BOTH),
    ("a.dfxp", TTML.format('xmlns:t="http://www.w3.org/ns/ttml#parameter" t:tickRate="100" t:frameRate="25"',
     '<p begin="100t" end="00:00:03:00">fir<span>st</span></p><p begin="100f" end="6s">second</p>'), BOTH),
    ("a.json", json.dumps({"segments": [], "chunks": [{"timestamp": [1, 3], "text": "first"}]}), BOTH[:1]),
    ("a.ttml", TTML.format("", '<p><span begin="1s" end="3s">first</span><span begin="4s" dur="2s">second</span></p>'),
     BOTH),
    ("a.ttml", TTML.format("", '<div begin="1s" end="3s"><p>fir<span>st</span></p></div>'), BOTH[:1]),
    ("a.ttml", TTML.format("", '<div begin="1s" end="6s"><p dur="2s">first</p><p begin="3s" end="9s">second</p></div>'),
     BOTH),
    ("a.ttml", TTML.format("", '<div timeContainer="seq" begin="1s"><p dur="2s">first</p><p begin="1s" dur="2s">second'
     "</p></div>"), BOTH),
    ("a.ttml", TTML.format('xmlns:t="#parameter" t:frameRate="24" t:frameRateMultiplier="1000 1001"',
     '<p begin="86400f" end="00:00:00:00">-</p><p begin="86400f" dur="24f">late</p>'), [(3603.6, 3604.601, "late")]),
    ("a.ttml", TTML.format('xmlns:t="#parameter" t:timeBase="smpte" t:frameRate="30" t:frameRateMultiplier="1000 1001"',
     '<p begin="01:00:00:00" end="01:00:01:00">late</p>'), [(3603.6, 3604.601, "late")]),
    ("a.ttml", TTML.format('xmlns:t="#" t:timeBase="smpte" t:frameRateMultiplier="1000 1001" t:dropMode="dropNTSC"',
     '<p begin="01:00:00:00" end="01:00:01:00">late</p>'), [(3600.0, 3601.0, "late")]),
    ("a.ttml", TTML.format("", '<p begin="1t" end="3t">first</p>'), BOTH[:1]),
    ("a.ttml", TTML.format('xmlns:m="http://www.w3.org/2006/10/ttaf1#metadata"',
     '<m:desc>x</m:desc><p begin="1s" end="3s"><metadata><m:title>x</m:title></metadata>fi<m:desc>x</m:desc>'
     '<set begin="1s"/>rst</p>'
     '<div begin="4s" end="5s"><image><source><data>iVBO</data></source></image></div>'), BOTH[:1]),
    ("a.ttml", TTML.format("", '<p begin="1s">first</p><p begin="3s">-</p><p begin="4s" end="6s">second</p>'
     '<p begin="9s">last</p>'), [BOTH[0], (3, 4, "-"), BOTH[1], (9, 14, "last")]),
    ("a.ttml", TTML.format("", '<p begin="1s"><span begin="0s" end="2s">fi<br/>rst</span><span begin="3s" dur="2s">'
     "second</span></p>"), [(*ONE, "fi rst"), BOTH[1]]),
    ("a.ttml", TTML.format("", '<p begin="1s" end="7s" timeContainer="seq"><metadata/>all <b>the</b> time'
     '<span dur="2s">first</span><span begin="1s" dur="2s">second</span></p>'), [(1, 7, "all the time"), BOTH[0],
     BOTH[1]]),
    ("a.ttml", TTML.format("", '<p begin="1s" end="3s"><span begin="0s" end="1s">on</span><span begin="1s">ion</span> '
     '<span begin="1500ms" end="2s">first</span></p>'), [(*ONE, "onion first")]),  # a line word by word
    ("a.ttml", TTML.format("", '<p begin="4s" end="6s"><span begin="4s" end="5s">sec</span><span begin="5s">ond</span>'
     "</p>"), BOTH[1:]),  # Apple's lyrics
    ("a.srv1", '<transcript><text start="1" dur="2">&lt;i&gt;first&lt;/i&gt;</text></transcript>', BOTH[:1]),
    ("a.srv1", '<transcript><text start="1" dur="2">first</text><text start="4" dur="2">second</text></transcript>',
     BOTH),
    ("a.srv3", '<timedtext><body><p t="1000" d="2000"><s>fi</s><s t="5">rst</s></p><p t="4000" d="2000">second</p>'
     "</body></timedtext>", BOTH),
    ("a.tsv", "start\tend\ttext\n1000\t3000\tfirst\n4000\t6000\tsecond\n", BOTH),
    ("a.tsv", "start\tend\ttext\n1\t3\tfirst\n4\t6\tsecond\n", BOTH),
    ("a.tsv", 'start\tend\ttext\n1000\t3000\t"first\n4000\t6000\tsecond."\n', [(*ONE, '"first'), (*TWO, 'second."')]),
    ("a.tsv", '"start"\t"end"\t"text"\n1\t3\t"fi""r""st"\n4\t6\t"second"\n', [(*ONE, 'fi"r"st'), BOTH[1]]),
    ("a.csv", 'start,end,speaker,text\n1000,3000,0," first"\n4000,6000,1," second"\n', BOTH),  # whisper.cpp's
    ("a.csv", 'start,end,text\n1000,3000,"first"\n90000,93000,"last"\n', [BOTH[0], (90, 93, "last")]),
    ("a.csv", "start,end,text\n86300,86500,a\n86500,86700,b\n", [(86300, 86500, "a"), (86500, 86700, "b")]),
    ("a.tsv", "start\tend\ttext\n1000\t3000\tfirst\n4000\t\n", BOTH[:1]),
    ("a.csv", "start,end,text\n0,300,Chop\n300,900,Stir\n", [(0, 300, "Chop"), (300, 900, "Stir")]),
    ("a.csv", "\ufeffText;Start;End\nfirst;1,0;3,0\nsecond;0:04;0:06\n", BOTH),
    ("a.csv", "sep=;\nstart;end;text\n1;3;first\n4;6;second\n", BOTH),
    ("a.csv", 'id,end,start,text\n7,3,1,first\n8,6,4,"second"\n', BOTH),
    ("a.csv", 'start,end,text\n1,3,"first, then"\n2,3,\n4,6,second\n', [(*ONE, "first, then"), BOTH[1]]),
])  # fmt: skip
def test_other_forms_of_words_with_times(tmp_path, name, text, said):
    assert made(tmp_path, name, text)[0] == said


def test_a_surplus_cell_that_has_no_place_is_counted(tmp_path):
    said, report = made(tmp_path, "a.csv", "text,start,end\nfirst,1,3\nadd salt, pepper,4,6\n")
    assert said == BOTH[:1] and "a.csv, line 3" in report.dropped[0]


@pytest.mark.parametrize("name, text, where", [
    ("a.lrc", "[00:01.00]first\nuntimed words\n[00:03.00]\n", "a.lrc, line 2: 'untimed words'"),
    ("a.json", '[{"start": 1, "end": 3, "text": "first"}, {"start": 4, "end": 6, "sentence": "x"}]',
     "a.json, entry 1: no text among start, end, sentence"),
    ("a.json", '[{"start": 1, "end": 3, "text": "first"}, {"start": 4, "end": 6, "text": ["x"]}]',
     "a.json, entry 1: expected text, got"),
    ("a.json3", '{"events": [{"tStartMs": 1000, "dDurationMs": 2000, "segs": [{"utf8": "first"}]}, '
     '{"tStartMs": 4000, "segs": [{"utf8": ["x"]}]}]}', "a.json3, entry 1: expected text, got [['x']]"),
    ("a.ttml", TTML.format("", '<p begin="1s" end="3s">first</p><p>untimed</p><p/>'), "a.ttml, p 1: malformed times"),
    ("a.ttml", TTML.format("", 'loose<p begin="1s" end="3s">first</p>'), "a.ttml, div 1: malformed times"),
    ("a.ttml", TTML.format("", '<p begin="1s" end="3s">first</p><div begin="x"><p begin="1s" end="2s">x</p></div>'),
     "a.ttml, p 1: malformed times"),
])  # fmt: skip
def test_words_without_times_and_times_without_words_are_counted(tmp_path, name, text, where):
    said, report = made(tmp_path, name, text)
    assert said == BOTH[:1] and len(report.dropped) == 1 and where in report.dropped[0]


@pytest.mark.parametrize("name, text", [("a.ass", "[Events]\n"), ("a.lrc", "[ti:a song]\n"), ("a.json", "[]"),
    ("a.json", '{"segments": []}'), ("a.json3", '{"events": [{"tStartMs": 0}]}'), ("a.csv", "start,end,text\n"),
    ("a.ttml", "<tt><head><metadata><title>x</title></metadata></head><body><p/></body></tt>")])  # fmt: skip
def test_a_file_of_its_form_without_cues_is_an_empty_list(tmp_path, name, text):
    assert made(tmp_path, name, text) == ([], CaptionReport())


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", *(f"utf-{n}{end}" for n in (16, 32) for end in ("", "-le", "-be"))]
)
def test_encodings_that_can_be_told(tmp_path, encoding):
    text = "1\n00:00:01,000 --> 00:00:03,000\nнарежьте лук 日本 一一\n"
    assert made(tmp_path, "a.srt", text.encode(encoding))[0] == [(*ONE, "нарежьте лук 日本 一一")]


@pytest.mark.parametrize("form", ["{}" + 99 * "\0", 40 * "\0" + "{}", "{}" + 40 * "\0" + "{}"])
def test_zeros_of_a_broken_file_are_no_encoding(tmp_path, form):
    assert made(tmp_path, "a.srt", form.format(*2 * [SRT.format("first\n")]))[0][0] == BOTH[0]


@pytest.mark.parametrize("encoding", ["cp1251", "gbk", "shift_jis", "koi8-r"])
def test_encodings_that_cannot_be_told_are_not_guessed(tmp_path, encoding):
    with pytest.raises(VcworkError, match=r"a\.srt: expected UTF-8 text, got byte 0x.. at offset \d+, line 3"):
        made(tmp_path, "a.srt", SRT.format("лук").encode(encoding))


@pytest.mark.parametrize("name, text, why", [
    ("a.srt", "1\n00:00:00,000 --> 00:00:00,000\nfirst\n\n2\n00:00:00,000 --> 00:00:00,000\nsecond\n", "all begin and"),
    ("a.json", "{", "not readable as JSON"),
    ("a.json", '{"camera": "x"}', "expected a transcript"),
    ("a.ttml", "<tt><p>", "not readable as XML"),
    ("a.ttml", '<!DOCTYPE tt [<!ENTITY a "aaaa">]><tt/>', "document type"),
    ("a.tsv", "a\tb\n", "expected columns start,end,text"),
    ("a.json", '{"segments": [{"start": 0, "end": 1, "transcript": "hello"}]}',
     "no readable cue among 1; .*entry 0: no text"),
    ("a.ass", "hello\n", r"a\.ass: expected \[Events\]"),
    ("a.ass", "Dialogue: 0,0:00:01.00,0:00:03.00,D,,0,0,0,,x", r"a\.ass: expected \[Events\]"),
    ("a.lrc", "one\ntwo\n", "no readable cue among 2; .*line 1"),
    ("a.ttml", "<html><body><h1>404</h1></body></html>", "no readable cue among 1; .*h1 0"),
    ("a.srv3", '<transcript><line t="1">hello</line></transcript>', "no readable cue among 1; .*line 0"),
    ("a.csv", 'start,end,text\n7,9,"open\n10,11,stir\n12,13,last\n', r"a\.csv, line 2: not readable as csv"),
    ("a.csv", 'start,end,text\n1,2,"a\nb"\n7,9,"open\n10,11,"stir" it\n', r"a\.csv, line 4: not readable as csv"),
    ("a.json", 9999 * "[", "not readable as JSON|expected a transcript"),
    ("a.vtt", "hello\n", r"a\.vtt, line 1: expected WEBVTT, got 'hello'"),
    ("a.vtt", "WEBVTT\n\n00:01.x --> 00:02.000\nbad\n", r"no readable cue among 1; .*a\.vtt, line 3: malformed times"),
    ("a.srt", "hello\n", r"a\.srt: no readable cue"),
    ("a.vtt", "WEBVTT\n\nhello there", r"a\.vtt: no readable cue; .* got 'hello there' at line 3"),
    ("a.vtt", "WEBVTT\n\n1\n00:01;000 -> 00:03;000\nhello\n", r"no readable cue among 1; .*line 4: malformed times"),
    ("a.csv", "start,end,text,Text\n1,2,x,y\n", "line 1: expected each column once, got 'text' twice"),
    ("a.csv", "begin,end,text\n1,2,x\n", "line 1: expected columns start,end,text, got 'begin,end,text'"),
    ("a.sub", "x", r"a\.sub: expected captions as .vtt, .srt, .*, .txt, got '.sub'"),
])  # fmt: skip
def test_files_that_are_not_what_they_are_called(tmp_path, name, text, why):
    refused(why, made, tmp_path, name, text)
    refused(r"none\.vtt: could not be read", read_captions, tmp_path / "none.vtt")


def test_half_a_letter_becomes_a_mark_that_files_can_hold(tmp_path):
    said, _ = made(tmp_path, "a.json", '[{"text": "caf\\udce9 \\ud83c\\udf72", "start": 1, "duration": 2}]')
    assert said == [(*ONE, "caf\ufffd 🍲")]


def test_plain_lines_have_no_times(tmp_path):
    assert made(tmp_path, "a.txt", "ratio 1:2\nknead --> rest\n")[0] == [
        (0.0, math.inf, "ratio 1:2"), (0.0, math.inf, "knead --> rest")]  # fmt: skip
    assert Caption(0.0, math.inf, "ratio 1:2") in read_captions(tmp_path / "a.txt")


# ----------------------------------------------------------------------------------------------------------- folders


def film(path, seconds: int = 2) -> None:
    """A small grey film."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mp4(path, (np.full((16, 16, 3), 20 + 4 * i, np.uint8) for i in range(5 * seconds)), 5)


def told(corpus) -> str:
    """All that is said of files that are not used."""
    return "\n".join([*corpus.missing_videos.values(), *corpus.missing_captions.values()])


OWNERS = {
    "34-name-is-prefix": {"Part 1": "", "Part 1.5": "words of part one and a half", "S01": "",
                          "S01.E02": "words of episode two"},
    "37-nfc-nfd": {"caf\u00e9": "words of the café"},
    "36-odd-names": {"-vPIhQuqbQ0": "words -vPIhQ", "a..b..": "words a..b..", "con": "words con.mp",
                     "🍲 soup?": "words 🍲 soup",
                     "Make [Best] {Soup} #1 100% – 日本語 ⧸ 'q' \"x\" & <b>": "words Make ["},
}  # fmt: skip


@pytest.mark.parametrize("name", OWNERS)
def test_each_film_has_its_own_words(cases, name):
    corpus = look_at(cases / name)
    assert {id: " ".join(c.text for c in corpus.captions(id)) for id in corpus.videos} == OWNERS[name]


def test_other_suffixes_are_read_or_told(cases, tmp_path):
    folder = shutil.copytree(cases / "32-other-suffixes", tmp_path / "x")
    (folder / "x.sub").write_text("{1}{50}chop it")
    (folder / "x.smi").write_text("<SAMI>")
    (folder / "cover.jpg").write_bytes(b"")
    corpus = look_at(folder)
    assert list(corpus.videos) == ["v", "w", "x", "y"]
    assert [c.text for c in corpus.captions("x")] == [c.text for c in corpus.captions("y")] == ["chop it"]
    assert all(name in told(corpus) for name in ("x.sub: subtitles in a form that is not read; save them as .srt",
               "x.smi: subtitles in a form", "cover.jpg: neither a film nor words", "README.txt"))  # fmt: skip


def test_subtitles_inside_a_film_are_told(cases, tmp_path):
    shutil.copy(cases / "24-mkv-longer-track/subs/late_subs.mkv", tmp_path / "a.mkv")
    assert "a.mkv: the subtitles inside it (und) are not read; save them beside it" in told(look_at(tmp_path))
    (tmp_path / "a.srt").write_text(SRT.format("salt"))
    assert told(look_at(tmp_path)) == ""


def test_a_home_that_nobody_knows(tmp_path, monkeypatch):
    def nobody(who):
        raise KeyError(who)

    monkeypatch.delenv("HOME", raising=False)
    for name in ("getpwuid", "getpwnam"):
        monkeypatch.setattr(f"pwd.{name}", nobody)
    for path in ("~", "~/films"):
        refused("no home folder is known here .HOME is not set.; write the whole path", resolve, path)
    monkeypatch.setenv("VCWORK_ROOT", str(tmp_path))
    assert resolve("~films/a") == tmp_path / "~films" / "a" and resolve(tmp_path) == tmp_path


def test_folders_below_are_read_and_films_of_one_name_stay_two(tmp_path):
    for name in ("a/x.mp4", "b/x.mp4", "b/c/y.mp4", "z.mp4", ".hidden/h.mp4"):
        film(tmp_path / "films" / name)
    for name in ("a/x.srt", "b/x.srt"):
        (tmp_path / "films" / name).write_text(SRT.format(f"words of {name}"))
    (tmp_path / "films" / "z.x.srt").write_text(SRT.format("nobody's"))
    corpus = look_at(tmp_path / "films")
    assert list(corpus.videos) == ["a/x", "b/c/y", "b/x", "z"]
    assert [c.text for c in corpus.captions("b/x")] == ["words of b/x.srt"] and "z.x.srt has no video" in told(corpus)
    gathered = gather(corpus, tmp_path / "corpus")
    assert list(gathered.videos) == list(corpus.videos)
    assert [c.text for c in gathered.captions("a/x")] == ["words of a/x.srt"]
    assert gathered["a/x"].video.resolve() == (tmp_path / "films/a/x.mp4").resolve()
    store = extract(gathered, get_backbone("motion"), tmp_path / "features", workers=1, progress=False)
    assert store.ids == list(corpus.videos) and store.lengths["b/c/y"] == 2


def test_folders_that_are_links_or_ours_are_told(tmp_path):
    film(tmp_path / "films" / "a.mp4")
    film(tmp_path / "films" / "pages" / "media" / "a.mp4")
    film(tmp_path / "films" / "world" / "videos" / "b.mp4")
    (tmp_path / "films" / "pages" / "explore.json").write_text("{}")
    (tmp_path / "films" / "world" / "corpus.json").write_text("{}")
    (tmp_path / "films" / "again").symlink_to(tmp_path / "films", target_is_directory=True)
    (tmp_path / "films" / "sub").mkdir()
    (tmp_path / "films" / "sub" / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    corpus = look_at(tmp_path / "films")
    assert list(corpus.videos) == ["a"]
    for line in ("pages: holds explore.json", "world: holds corpus.json", "again: is a link to a folder",
                 "sub/gone.mp4 is a link that leads nowhere"):  # fmt: skip
        assert line in told(corpus)


def test_names_that_are_no_utf8_are_told(tmp_path):
    film(tmp_path / "films" / "good.mp4")
    for name in (b"caf\xe9.mp4", b"caf\xe9.srt", b"good.\xff.srt"):
        shutil.copy(tmp_path / "films" / "good.mp4", os.fsencode(tmp_path / "films") + b"/" + name)
    os.mkdir(os.fsencode(tmp_path / "films") + b"/d\xe9")
    shutil.copy(tmp_path / "films" / "good.mp4", os.fsencode(tmp_path / "films") + b"/d\xe9/in.mp4")
    corpus = look_at(tmp_path / "films")
    assert list(corpus.videos) == ["good"]
    for name in ("caf\\xe9.mp4", "caf\\xe9.srt", "good.\\xff.srt", "d\\xe9/in.mp4"):
        assert f"{name}: its name is not UTF-8; rename it" in told(corpus)
    told(corpus).encode()
    refused("the folder's name is not UTF-8", look_at, os.fsdecode(os.fsencode(tmp_path / "films") + b"/d\xe9"))


def test_a_name_of_two_lines_is_told_on_one(tmp_path):
    film(tmp_path / "a\nnot used: b.mp4")
    (tmp_path / "a\nnot used: b.srt").write_text(SRT)
    (tmp_path / "c\nd.srt").write_text(SRT)
    corpus = look_at(tmp_path)
    assert list(corpus.videos) == ["a\\nnot used: b"] and corpus.captions("a\\nnot used: b")
    assert "c\\nd.srt has no video of the same name" in told(corpus)
    assert not any("\n" in text for pair in corpus.missing_captions.items() for text in pair)


@pytest.mark.parametrize("text, why", [
    ("<html>404</html>", "a.vtt, line 1: expected WEBVTT"),
    ("WEBVTT FILE\n\n1\n00:01;000 -> 00:03;000\nhello\n", "a.vtt, line 4: malformed times"),
])  # fmt: skip
def test_a_broken_subtitle_gives_way_to_the_next(tmp_path, text, why):
    film(tmp_path / "a.mp4")
    (tmp_path / "a.vtt").write_text(text)
    (tmp_path / "a.srt").write_text(SRT.format("salt"))
    film(tmp_path / "b.mp4", 8)
    (tmp_path / "b.srt").write_text(
        "1\n00:00:02,000 --> 00:00:01,000\nfirst\n\n2\n00:00:04,000 --> 00:00:06,000\nsecond\n"
    )
    corpus = look_at(tmp_path)
    assert [c.text for c in corpus.captions("a")] == ["salt"]
    assert why in told(corpus) and "a.srt is used" in told(corpus)
    assert "b.srt: 1 cues are left out; b.srt, line 2: ends at 1.0 s, before" in told(corpus)


def test_a_folder_that_changes_while_it_is_read_costs_what_changes(tmp_path, monkeypatch):
    for name in "abc":
        film(tmp_path / "films" / f"{name}.mp4")
    (tmp_path / "films" / "a.srt").write_text(SRT.format("salt"))
    corpus = look_at(tmp_path / "films")
    (tmp_path / "films" / "a.mp4").unlink()
    whole = own_folder.sha256_file

    def grows(path):
        if path.name == "b.mp4":
            with open(path, "ab") as file:
                file.write(b"more")
        return whole(path)

    monkeypatch.setattr(own_folder, "sha256_file", grows)
    digests, _ = own_folder.digests(corpus, tmp_path / "files.json")
    assert list(digests) == ["c"]
    assert "a.mp4: could not be read (No such file" in told(corpus) and "b.mp4 changes while it is read" in told(corpus)
    store = extract(corpus, get_backbone("motion"), tmp_path / "features", workers=1, progress=False)
    assert "a" in store.failed and "c" in store.ids, "gone since it was looked at"


@pytest.mark.parametrize(
    "n, counts", [(1, (1, 0, 0)), (2, (1, 1, 0)), (3, (1, 1, 1)), (8, (6, 1, 1)), (50, (40, 5, 5))]
)
def test_videos_are_dealt_to_splits_by_a_rule_that_is_said(n, counts):
    videos = {f"v{i}": Video(f"v{i}", None, Path("x.srt"), 9.0, "test") for i in range(n)}
    corpus = dealt(Corpus(Path("x"), "x", videos))
    assert tuple(len(corpus.split(name)) for name in ("train", "val", "test")) == counts
    assert "80/10/10 %" in corpus.meta["split_rule"] and "sha256" in corpus.meta["split_rule"]
    more = dealt(Corpus(Path("x"), "x", videos | {"new": Video("new", None, None, 9.0, "test")}))
    assert all(more[id].split == corpus[id].split for id in videos), "a video without captions moves no other"


def test_shares_that_are_none_are_refused(tmp_path):
    film(tmp_path / "a.mp4")
    for shares in ("80/20", "a/b/c", "80/10/20", "-10/100/10", "/", "Train", ""):
        refused("three shares that make 100", scan_folder, tmp_path, shares)
    assert scan_folder(tmp_path, "0/0/100")["a"].split == "test"


# ------------------------------------------------------------------------------------------------------- checkpoints


@pytest.mark.parametrize("name, note", [
    ("plain.pt", ""), ("plain.safetensors", ""), ("bf16.pt", ""), ("namespace.pt", ""),
    ("ddp.pt", "prefix taken off: module.mmmodel."), ("compiled.pt", "prefix taken off: _orig_mod.mmmodel."),
    ("lightning.pt", "prefix taken off: model.mmmodel."), ("extra_none.pt", "no tensors, left out: "),
    ("numpy_scalar.pt", "left unread beside the weights: numpy._core.multiarray.scalar, numpy.dtype"),
    ("numpy_array.pt", "numpy._core.multiarray._reconstruct, numpy.dtype, numpy.ndarray"),
    ("omegaconf.pt", "left unread beside the weights: omegaconf.dictconfig.DictConfig"),
])  # fmt: skip
def test_checkpoints_as_training_leaves_them(cases, name, note):
    folder, notes = cases / "51-fairseq-checkpoint", []
    state, plain = released.read_released(folder / name, notes), released.read_released(folder / "plain.pt")
    assert state.keys() == plain.keys() and ("\n".join(notes) == note if not note else note in "\n".join(notes))
    same = [torch.equal(state[n], plain[n].to(state[n].dtype)) for n in plain]
    assert all(same)


@pytest.mark.parametrize("name, why", [
    ("html.pt", "not readable as a checkpoint"), ("text.pt", "not readable as a checkpoint"),
    ("optimizer_only.pt", "expected a dict of tensors.*got optimizer"),
    ("whole_module.pt", r"torch\.nn\.modules\.linear\.Linear\); where it was made, save the weights alone"),
])  # fmt: skip
def test_checkpoints_without_a_way_in_say_what_to_do(cases, name, why):
    path = cases / "51-fairseq-checkpoint" / name
    with pytest.raises(VcworkError, match=why) as caught:
        released.read_released(path)
    assert str(path) in str(caught.value)


ANCHOR = "video_encoder.videomlp.linear1.weight"


@pytest.mark.parametrize("wrap", [
    lambda w: {"model": {"module.module.mmmodel." + ANCHOR: w}},
    lambda w: {"model": {"mmmodel._orig_mod." + ANCHOR: w}},
    lambda w: {"model": {"mmmodel.video_encoder._orig_mod.videomlp.linear1.weight": w}},
    lambda w: {"state_dict": {"net.mmmodel." + ANCHOR: w, "net.mmmodel.step": 3}},
    lambda w: {"ema": {"x": w}, "module": {"module." + ANCHOR: w}, "step": w},
    lambda w: {"args": Settings(1), "best": np.float64(0.5), "rng": np.random.get_state(), "model": {ANCHOR: w}},
    lambda w: {"when": datetime.datetime(2026, 1, 1), "at": Path("x"), "kind": complex(1, 2), "model": {ANCHOR: w}},
])  # fmt: skip
def test_wrappers_and_numbers_do_not_stand_in_the_way(tmp_path, wrap, monkeypatch):
    monkeypatch.setattr(Settings, "__module__", "omegaconf.dictconfig")
    monkeypatch.setitem(sys.modules, "omegaconf", types.ModuleType("omegaconf"))
    there = types.ModuleType("omegaconf.dictconfig")
    there.Settings = Settings
    monkeypatch.setitem(sys.modules, "omegaconf.dictconfig", there)
    weight = torch.arange(6.0).view(2, 3)
    torch.save(wrap(weight), tmp_path / "a.pt")
    monkeypatch.delitem(sys.modules, "omegaconf.dictconfig")  # not installed where it is read
    assert torch.equal(released.read_released(tmp_path / "a.pt")[ANCHOR], weight)
    assert not Settings.restored, "nothing of the file was run"


class Settings:
    """A class that would notice being restored."""

    restored = False

    def __init__(self, value: int) -> None:
        self.value = value

    def __setstate__(self, state: object) -> None:
        Settings.restored = True


@pytest.mark.parametrize("function, arguments", [(os.system, ("touch {}",)), (eval, ("open('{}', 'w')",)),
                                                 (print, ("{}",))])  # fmt: skip
def test_functions_in_a_checkpoint_are_refused_whatever_stands_beside(tmp_path, function, arguments):
    class Runs:
        def __reduce__(self):
            return function, tuple(argument.format(tmp_path / "proof") for argument in arguments)

    torch.save({"best": np.float64(1), "cfg": Runs(), "model": {ANCHOR: torch.zeros(1)}}, tmp_path / "bad.pt")
    refused(r"refused|not readable", released.read_released, tmp_path / "bad.pt")
    assert not (tmp_path / "proof").exists()


# ------------------------------------------------------------------------------------ features, benchmarks, models


@pytest.mark.parametrize("name", ["40-features-odd/features/npz.npy", "40-features-odd/npz_as_npy/features/vid1.npy"])
def test_an_archive_under_the_name_of_an_array_is_told(cases, name):
    for mapped in (False, True):
        refused(r"\.npy: expected one plain .npy array, got an archive", load_npy, cases / name, mapped)


def coin(folder, video: dict) -> Path:
    """COIN.json of one video, with features."""
    (folder / "features").mkdir(parents=True)
    (folder / "COIN.json").write_text(json.dumps({"database": {"aaaaaaaaaaa": video}}))
    np.save(folder / "features" / "aaaaaaaaaaa.npy", np.zeros((26, 512), np.float32))
    return folder


@pytest.mark.parametrize("subset, role, other", [("testing", "test", "training"), ("training", "train", "testing")])
def test_a_benchmark_with_one_split_is_read_and_said(tmp_path, subset, role, other):
    video = {"recipe_type": 1, "class": "MakeSoup", "subset": subset, "duration": 26.0, "start": 0, "end": 26,
             "annotation": [{"id": "1", "segment": [1.0, 5.0], "label": "chop"}]}  # fmt: skip
    parts = read_benchmark("coin", coin(tmp_path / "coin", video))
    assert list(parts) == [role] and f"COIN {other}" in " ".join(parts[role].notes)
    corpus, store = benchmark_corpus("coin", tmp_path / "coin", tmp_path / "corpus", tmp_path / "features")
    assert [v.split for v in corpus.videos.values()] == [role] and store.ids == ["aaaaaaaaaaa"]


def test_coin_with_testing_alone(cases, tmp_path):
    shutil.copytree(cases / "44-coin-quirks" / "testing_only", tmp_path / "coin")
    part = read_benchmark("coin", tmp_path / "coin")["test"]
    assert [(clip.start_s, clip.end_s) for clip in part.clips] == [(1.0, 5.0), (20.0, 26.0)]
    assert len(part.counts["clips"].missing) == 2


@pytest.mark.parametrize("name, why", [
    ("wrong_projection", r"text_projection.weight expected \(512, 32\), got \(16, 32\)"),
    ("prefix", r"46 weights of CLIPModel are absent.*the file has 46 other names, such as module\."),
    ("bin_only", "pickled weights .* are not read"), ("cut_weights", "not usable as a CLIPModel"),
    ("no_preprocessor", "expected an image processor"), ("dual", "expected model_type"),
])  # fmt: skip
def test_a_model_s_folder_says_what_is_wrong_with_it(cases, name, why):
    refused(why, load_encoder, cases / "50-clip-folders" / name)


@pytest.mark.parametrize("name", ["base", "half", "old_preprocessor", "processor_only", "trainer"])
def test_a_model_s_folder_as_people_save_it(cases, name):
    assert load_encoder(cases / "50-clip-folders" / name).model.config.embedding == 16


# ------------------------------------------------------------------------------- consoles, kernels, closed folders


@pytest.mark.parametrize("encoding", ["cp437", "cp1252", "ascii", "utf-8"])
def test_a_console_that_lacks_letters_gets_them_escaped(root, tmp_path, encoding):
    code = "from vcwork.__main__ import main; print(main(['list']), '\\u65e5\\u672c \\u2192'); "
    code += "raise SystemExit(main(['list', '日本']))"
    told = dict(os.environ, PYTHONIOENCODING=encoding, PYTHONPATH=str(root))
    done = subprocess.run([sys.executable, "-c", code], env=told, capture_output=True, check=False)
    assert done.returncode == 2 and b"Traceback" not in done.stderr, done.stderr.decode(encoding, "replace")
    assert ("日本" if encoding == "utf-8" else "\\u65e5") in done.stdout.decode(encoding)


@pytest.mark.parametrize("spec", [["/no/such/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
                                  ["/no/such/kernel", "{connection_file}"]])  # fmt: skip
def test_notebooks_run_in_the_program_s_python_whatever_a_kernelspec_says(tmp_path, monkeypatch, spec):
    there = tmp_path / "jupyter" / "kernels" / "python3"
    there.mkdir(parents=True)
    (there / "kernel.json").write_text(json.dumps({"argv": spec, "display_name": "Python 3", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    made = kernels.manager(tmp_path, tmp_path / "log.txt", {})(kernel_name="python3")
    assert made.kernel_spec.argv[0] == sys.executable and "ipykernel_launcher" in made.kernel_spec.argv


def test_a_project_that_cannot_be_written_is_one_line_and_a_way_round(tmp_path, monkeypatch, capsys):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "params").mkdir()
    (tmp_path / "outputs").write_text("no folder can be made here")
    film(tmp_path / "films" / "a.mp4")
    monkeypatch.setenv("VCWORK_ROOT", str(tmp_path))
    cell = {"cell_type": "code", "id": "a", "metadata": {"tags": ["parameters"]}, "source": "a: int = 1  # a number",
            "outputs": [], "execution_count": None}  # fmt: skip
    book = {"cells": [cell], "nbformat": 4, "nbformat_minor": 5, "metadata": {}}
    (tmp_path / "notebooks" / "a.ipynb").write_text(json.dumps(book))
    assert cli.main(["papermill", "a"]) == 2
    told = capsys.readouterr().err
    assert str(tmp_path / "outputs") in told and "--out FOLDER" in told and told.count("\n") == 1
    assert cli.main(["explore", str(tmp_path / "films"), "--offline"]) == 2
    told = capsys.readouterr().err
    assert "could not be written; give a folder elsewhere: --out FOLDER" in told and told.count("\n") == 1


def test_a_table_is_no_list_of_ids(cases):
    with pytest.raises(VcworkError, match=r"HowTo100M_v1\.csv, line 1: expected one video id, got 'video_id,"):
        read_id_list(cases / "41-howto100m-quirks" / "HowTo100M_v1.csv")
    assert "-vPIhQuqbQ0" in read_id_list(cases / "41-howto100m-quirks" / "train.lst")


def test_files_that_vanish_after_the_look_cost_themselves_alone(tmp_path):
    for name in "abc":
        film(tmp_path / "films" / f"{name}.mp4", 4)
        (tmp_path / "films" / f"{name}.srt").write_text(SRT.format(f"words of {name}"))
    corpus = look_at(tmp_path / "films")
    (tmp_path / "films" / "a.mp4").unlink()
    (tmp_path / "films" / "b.srt").unlink()
    own = own_videos.own_videos(corpus, out=tmp_path / "out", offline=True, progress=False, workers=1)
    assert own.ids == ["b", "c"] and [c.text for c in own.corpus.captions("b")] == ["words of b"]
    assert "not used: a.mp4: could not be read (No such file or directory)" in own_videos.summary(own)
    assert write_pages(own, progress=False).is_file()
