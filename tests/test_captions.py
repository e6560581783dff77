"""Captions: every format, what real files do to them, and rolling repeats removed word by word."""

import json
import math
import random

import numpy as np
import pytest

from vcwork.base.errors import VcworkError
from vcwork.data.captions import (
    Caption,
    CaptionReport,
    CharacterDamage,
    deduplicate,
    deduplicate_characters,
    deduplicate_indexed,
    read_captions,
    read_raw_caption_json,
    repeated_word_share,
    write_vtt,
)

VTT = """WEBVTT
Kind: captions

NOTE a remark
over two lines

STYLE
::cue { color: white }

intro
00:00:01.500 --> 00:00:04.000 align:start position:0%
<v Ann>salt &amp; <00:00:02.000><c>pepper</c>
then&nbsp;stir

01:00:00.000 --> 01:00:02.250
late
"""


def _file(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def _spoken(*texts, each_s=1.0):
    return [Caption(i * each_s, (i + 1) * each_s, text) for i, text in enumerate(texts)]


def _texts(captions):
    return [caption.text for caption in captions]


def test_vtt_strips_what_is_not_speech(tmp_path):
    captions = read_captions(_file(tmp_path, "a.vtt", VTT))
    assert captions == [Caption(1.5, 4.0, "salt & pepper then stir"), Caption(3600.0, 3602.25, "late")]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_srt_with_and_without_numbers(tmp_path, newline):
    text = "1\n00:00:01,500 --> 00:00:02,000\n<i>one</i>\nmore\n\n00:00:03,000 --> 00:00:04,000\n{\\an8}two\n"
    captions = read_captions(_file(tmp_path, "a.SRT", text.replace("\n", newline)))
    assert captions == [Caption(1.5, 2.0, "one more"), Caption(3.0, 4.0, "two")]


def test_csv_and_txt(tmp_path):
    csv = read_captions(_file(tmp_path, "a.csv", 'start,end,text\n0.5,1.5,"a, b"\n2,3,\n4,5,c\n'))
    assert csv == [Caption(0.5, 1.5, "a, b"), Caption(4.0, 5.0, "c")]
    assert read_captions(_file(tmp_path, "a.txt", "one\n\ntwo\n")) == [
        Caption(0.0, math.inf, "one"),
        Caption(0.0, math.inf, "two"),
    ]


def test_raw_caption_json(tmp_path):
    raw = {"x": {"start": [2, 0], "end": [3, 1], "text": ["b\nb", "a"]}, "y": {"start": [], "end": [], "text": []}}
    report = CaptionReport()
    captions = read_raw_caption_json(_file(tmp_path, "raw.json", json.dumps(raw)), report)
    assert captions == {"x": [Caption(0, 1, "a"), Caption(2, 3, "b b")], "y": []}
    assert report == CaptionReport(reordered=1)
    raw["x"]["end"] = [3]
    with pytest.raises(VcworkError, match=r"raw\.json: x: expected .* lists of one length"):
        read_raw_caption_json(_file(tmp_path, "raw.json", json.dumps(raw)))


@pytest.mark.parametrize("content", [b"", b"\n", b"WEBVTT", b"WEBVTT\n\nNOTE nothing\n"])
def test_empty_vtt_is_an_empty_list(tmp_path, content):
    assert read_captions(_file(tmp_path, "a.vtt", content)) == []


@pytest.mark.parametrize("suffix", ["srt", "csv", "txt"])
def test_other_empty_files(tmp_path, suffix):
    assert read_captions(_file(tmp_path, f"a.{suffix}", b"")) == []


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks(tmp_path, encoding):
    captions = read_captions(_file(tmp_path, "a.vtt", VTT.replace("late", "café").encode(encoding)))
    assert captions[1].text == "café"


def test_not_utf8_names_file_and_byte(tmp_path):
    data = b"WEBVTT\n\n00:01.000 --> 00:02.000\ncaf\xe9\n"
    with pytest.raises(VcworkError, match=r"a\.vtt: expected UTF-8 text, got byte 0xe9 at offset 35, line 4"):
        read_captions(_file(tmp_path, "a.vtt", data))


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


def test_bad_srt_and_csv_cues_name_their_line(tmp_path):
    report = CaptionReport()
    srt = "1\n00:00:05,000 --> 00:00:04,000\nbad\n\n2\n00:00:05,000 --> 00:00:06,000\ngood\n"
    assert _texts(read_captions(_file(tmp_path, "a.srt", srt), report)) == ["good"]
    assert _texts(read_captions(_file(tmp_path, "a.csv", "start,end,text\n1,2,good\nx,2,bad\n"), report)) == ["good"]
    assert "a.srt, line 2: ends at 4.0 s, before its start" in report.dropped[0]
    assert "a.csv, line 3: malformed times" in report.dropped[1]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.vtt", "hello\n", "line 1: expected WEBVTT, got 'hello'"),
        ("a.vtt", "WEBVTT\n\n00:01.x --> 00:02.000\nbad\n", "no readable cue among 1; .*line 3: malformed times"),
        ("a.srt", "hello\n", "no readable cue"),
        ("a.csv", "begin,end,text\n1,2,x\n", "line 1: expected columns start,end,text, got 'begin,end,text'"),
        ("a.sub", "x", "expected captions as .vtt, .srt, .csv, .txt, got '.sub'"),
    ],
)
def test_unreadable_files_are_named(tmp_path, name, content, message):
    with pytest.raises(VcworkError, match=message) as caught:
        read_captions(_file(tmp_path, name, content))
    assert str(tmp_path / name) in str(caught.value)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(VcworkError, match=r"none\.vtt: could not be read"):
        read_captions(tmp_path / "none.vtt")


def test_out_of_order_cues_are_sorted(tmp_path):
    report = CaptionReport()
    captions = read_captions(_file(tmp_path, "a.csv", "start,end,text\n5,6,b\n1,9,a\n7,8,c\n"), report)
    assert _texts(captions) == ["a", "b", "c"] and report.reordered == 1


def test_rolling_lines_keep_each_word_once():
    rolled = _spoken("so today", "so today", "so today we cook", "we cook Onions", "onions and leek")
    assert _texts(deduplicate(rolled)) == ["so today", "we cook", "Onions", "and leek"]
    assert deduplicate(rolled)[0] == Caption(0, 2, "so today")  # the identical cue keeps it on screen
    assert [index for index, _ in deduplicate_indexed(rolled)] == [0, 2, 3, 4]
    assert repeated_word_share(rolled) == pytest.approx(7 / 14)


def test_words_are_never_cut():
    assert _texts(deduplicate(_spoken("put the sauce", "everything in"))) == ["put the sauce", "everything in"]


def test_longest_overlap_wins():
    assert _texts(deduplicate(_spoken("go on go on", "go on go on now"))) == ["go on go on", "now"]


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
    """A generator whose coin always falls the same way, and which counts its throws."""

    def __init__(self, heads: bool):
        self.value, self.throws = (0.9 if heads else 0.1), 0

    def random(self) -> float:
        self.throws += 1
        return self.value


@pytest.mark.parametrize(
    ("heads", "texts", "times"),
    [
        (True, ["put the sauce", "verything in"], [(0, 1), (1, 2)]),
        (False, ["put the sauc", "everything in"], [(0, 1), (1, 2)]),
    ],
)
def test_character_rule_loses_a_letter(heads, texts, times):
    kept, damage = deduplicate_characters(_spoken("put the sauce", "everything in"), Coin(heads))
    assert _texts(kept) == texts and [(c.start_s, c.end_s) for c in kept] == times
    assert (damage.overlaps, damage.truncated, damage.words_out) == (1, 1, 5)
    assert damage.truncated_share == 0.2, "one word of five lacks its e"


def test_character_rule_one_and_two_need_no_coin():
    coin = Coin(True)
    rows = [Caption(0, 3, "cut the carrot"), Caption(1, 5, "carrot"), Caption(2, 4, "cut the carrot and stir")]
    kept, damage = deduplicate_characters(rows, coin)
    assert kept == [Caption(0, 5, "cut the carrot and stir")], "min of the starts, max of the ends"
    assert (coin.throws, damage.dropped, damage.replaced, damage.truncated, damage.swallowed) == (0, 1, 1, 0, 0)
    kept, damage = deduplicate_characters(_spoken("take the pan", "an", "take the pancake"), coin)
    assert _texts(kept) == ["take the pancake"] and damage.swallowed == 2, "'an' and 'pan' were words of their own"


def test_character_rule_overlap_of_whole_words_and_its_times():
    rows = [Caption(0, 4, "put the sauce in"), Caption(3, 6, "in the pot")]
    kept, damage = deduplicate_characters(rows, Coin(True))
    assert kept == [Caption(0, 4, "put the sauce in"), Caption(4, 6, "the pot")] and damage.truncated == 0
    kept, _ = deduplicate_characters(rows, Coin(False))
    assert kept == [Caption(0, 3, "put the sauce"), Caption(3, 6, "in the pot")]


def test_character_rule_takes_the_shortest_overlap_and_so_misses_the_true_one():
    rows = _spoken("now that we chop that", "that we chop that onion")
    kept, damage = deduplicate_characters(rows, Coin(True))
    assert _texts(kept) == ["now that we chop that", "hat we chop that onion"], "a t, not a sentence"
    assert damage.missed == 1 and damage.truncated == 1
    assert _texts(deduplicate(rows)) == ["now that we chop that", "onion"], "ours sees the words"


def test_character_rule_on_what_broke_the_reference():
    empty = CharacterDamage(captions_in=3, empty=3)
    assert deduplicate_characters(_spoken("", " \n", math.nan), Coin(True)) == ([], empty)
    assert deduplicate_characters([], Coin(True)) == ([], CharacterDamage()) and CharacterDamage().truncated_share == 0
    kept, damage = deduplicate_characters(_spoken("", " a\nb ", ""), Coin(True))
    assert _texts(kept) == ["a b"] and (damage.captions_in, damage.empty, damage.captions_out) == (3, 2, 1)


def test_character_rule_depends_on_the_generator_alone():
    rows = _spoken(*["put the sauce", "everything in", "now stir it", "take the egg", "good"] * 8)
    again = [deduplicate_characters(rows, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert again[0] == again[1] and again[0] != again[2]


def test_write_vtt_reads_back(tmp_path):
    captions = [Caption(0.0, 0.0, "a"), Caption(1.2345, 3725.9996, "x < y & z --> {w}"), Caption(5, 6, "NOTE well")]
    path = tmp_path / "new" / "a.vtt"
    write_vtt(path, captions)
    back = read_captions(path)
    assert _texts(back) == _texts(captions)
    assert (back[1].start_s, back[1].end_s) == (1.234, 3726.0)
    for wrong in (Caption(0, math.inf, "a"), Caption(2, 1, "a"), Caption(0, 1, " ")):
        with pytest.raises(VcworkError, match="caption 0 needs text"):
            write_vtt(path, [wrong])
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


def test_character_rule_on_real_files(real):
    damage, unheard = CharacterDamage(), 0
    for number, path in enumerate(sorted((real / "howto100m_asr").glob("*.csv"))):
        rows = read_captions(path)
        kept, one = deduplicate_characters(rows, np.random.default_rng([0, number]))
        damage += one
        said = {word for caption in rows for word in caption.text.split()}
        unheard += sum(word not in said for caption in kept for word in caption.text.split())
    assert damage.captions_in == 8006 and damage.words_out > 21_000
    assert 0.014 < damage.truncated_share < 0.018, "1.6 % of the words lack letters"
    assert 0.5 * damage.truncated < unheard <= damage.truncated, "words nobody said; some stumps are words by chance"


def test_real_clips(real):
    for path in sorted((real / "clips").glob("*.vtt")):
        captions = read_captions(path)
        assert 3 <= len(captions) <= 4 and deduplicate(captions) == captions
    assert len(read_captions(real / "clips" / "pastry-chef-cutting-a-loaf-into-slices.txt")) == 2
