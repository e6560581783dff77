"""Lists that are taken away: what a spreadsheet, an editing program and a player read is what was found."""

import csv
import io
import json
from dataclasses import asdict, replace

import pytest
from checks import refused

from vcwork.data.captions import read_captions
from vcwork.panels.base import script
from vcwork.workbench.taken import Taken, as_csv, as_edl, as_vtt, save_hits

NASTY = '=cmd|"/c calc"!A1\n--> <script>alert(1)</script> & $$ \u2028 é \x07'
HITS = [
    Taken("knead, the dough", "a", 12.5, 15.25, 0.125, "said and shown", "knead the dough", "a.mp4", 25.0),
    Taken(NASTY, "-b", 0, 0, -0.33335, "shown", "", "@b.mp4", 30000 / 1001),
    Taken("x", NASTY, 3599.9996, 3661.0625, 2.5, "", NASTY, "", 0.0),
    Taken("\u00a0\n＝1", "|v", 3, 4, 0.5),
]


def test_a_spreadsheet_gets_texts_and_no_formulas():
    text = as_csv(HITS)
    assert text.startswith("\ufeffrank,query,video") and text.count("\r\n") == 5
    rows = list(csv.DictReader(io.StringIO(text[1:], newline="")))
    assert rows[0]["query"] == "knead, the dough" and (rows[0]["start"], rows[0]["end_s"]) == ("00:00:12.500", "15.250")
    assert rows[1]["query"] == f"'{NASTY}" and rows[1]["video"] == "'-b" and rows[1]["file"] == "'@b.mp4"
    assert rows[1]["score"] == "-0.3334" and rows[2]["start"] == "01:00:00.000", "a number stays a number"
    for row in rows:
        assert not any(
            row[name].lstrip(" ")[:1] in "=+-@\t\r" for name in ("query", "video", "file", "text") if row[name]
        )


@pytest.mark.parametrize(
    "start", ["=", "+", "-", "@", "\t", "\r", "  =", "\n=", "\u00a0=", "\ufeff@", "＝", "＋", "－", "＠", "|"]
)
def test_whatever_a_spreadsheet_takes_for_a_formula_is_a_text(start):
    text = as_csv([Taken(f"{start}1+1", "v", 0, 1, 0.5)])
    [row] = csv.DictReader(io.StringIO(text[1:], newline=""))
    assert row["query"] == f"'{start}1+1" and as_csv([Taken("1 + 1 = 2", "v", 0, 1, 0.5)]).count("'") == 0


def test_an_edl_counts_frames():
    lines = as_edl(HITS[:2]).splitlines()
    assert lines[0].startswith("TITLE: knead, the dough") and lines[0].endswith("(25.000 frames a second)")
    assert lines[1] == "FCM: NON-DROP FRAME"
    assert lines[3] == "001  AX       B     C        00:00:12:13 00:00:15:06 00:00:00:00 00:00:02:18"
    assert lines[4:6] == ["* FROM CLIP NAME: a.mp4", "* COMMENT: said and shown: knead the dough"]
    assert lines[7].endswith("00:00:00:00 00:00:00:01 00:00:02:18 00:00:02:19"), "a moment of no length is one frame"
    many = as_edl(HITS[:1] * 1003)
    assert many.count("* FROM CLIP") == 999 and "4 more hits have no room" in many
    assert "(29.970 frames a second)" in as_edl(HITS[1:2]) and "00:00:59:28" in as_edl(
        [Taken("q", "a", 59.99, 61, 0, fps=30000 / 1001)]), "29.97 a second are counted by thirty"  # fmt: skip


def test_a_player_reads_the_cues_again(tmp_path):
    files = save_hits(tmp_path / "found.vtt", [HITS[0], HITS[0], HITS[2]])
    assert [file.name.partition(".")[0] for file in files] == ["found"] * 2 and len({*files}) == 2
    first, third = (read_captions(file) for file in files)
    assert [(c.start_s, c.end_s, c.text) for c in first] == [(12.5, 15.25, "knead the dough")] * 2
    assert len(third) == 1 and "<script>" in third[0].text, "markup is text again"
    assert save_hits(tmp_path / "one.vtt", HITS[:1]) == [tmp_path / "one.vtt"]


def test_what_cannot_be_written_is_one_sentence(tmp_path):
    refused(r"expected a file ending in \.csv, \.edl, \.vtt, got '\.xlsx'", save_hits, tmp_path / "a.xlsx", HITS)
    (tmp_path / "file").write_text("")
    refused("could not be written", save_hits, tmp_path / "file" / "a.csv", HITS)
    save_hits(tmp_path / "odd.edl", [replace(HITS[0], query="onion caf\udce9")])
    assert "onion caf?" in (tmp_path / "odd.edl").read_text("utf-8"), "a byte of the command line that is no letter"
    assert save_hits(tmp_path / "none.csv", []) and (tmp_path / "none.csv").read_text("utf-8-sig").count("\n") == 1


def test_a_list_is_never_written_over_a_file(tmp_path):
    (tmp_path / "found.b_c.vtt").write_text("mine")
    other = [*HITS[:1], replace(HITS[0], video="b_c")]
    for _ in range(2):
        refused(r"found\.b_c\.vtt: exists already; choose another name", save_hits, tmp_path / "found.vtt", other)
    assert (tmp_path / "found.b_c.vtt").read_text() == "mine" and len([*tmp_path.iterdir()]) == 1
    save_hits(tmp_path / "a.csv", HITS)
    refused(r"a\.csv: exists already", save_hits, tmp_path / "a.csv", HITS)


@pytest.mark.parametrize("name", ["asCsv", "asEdl", "asVtt"])
def test_the_page_writes_the_same(browser, name):
    hits = HITS if name != "asVtt" else [HITS[2], HITS[0]]
    python = {"asCsv": as_csv, "asEdl": as_edl, "asVtt": as_vtt}[name](hits)
    source = script("taken.js").replace("export default", "")
    page = browser.new_page()
    made = page.evaluate(f"() => {{ {source}\nreturn {name}({json.dumps([asdict(hit) for hit in hits])}); }}")
    page.close()
    assert made == python
