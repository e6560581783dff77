"""One's own videos: nothing is made twice, nothing is lost by an interruption, and every bad input has one message."""

import csv
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import unquote

import av
import nbformat
import numpy as np
import pytest
from checks import refused
from PIL import Image

from vcwork.__main__ import main
from vcwork.base.errors import VcworkError
from vcwork.base.files import alone
from vcwork.data import extract as features
from vcwork.data.captions import Caption, read_captions, write_vtt
from vcwork.data.corpus import gather
from vcwork.data.video import probe
from vcwork.encoders.encoder import encode_seconds, encode_text
from vcwork.workbench import own_asking, own_folder, own_pages, own_serving, own_videos, servers
from vcwork.workbench.own_asking import ask, ask_like
from vcwork.workbench.own_folder import look_at, place_of, plain_name
from vcwork.workbench.own_pages import open_lab, write_pages
from vcwork.workbench.own_videos import own_videos as make
from vcwork.workbench.verify import verify


@pytest.fixture(scope="module")
def checkpoint(ws) -> str:
    assert ws.encoder.digest  # trained now, where it is not there yet
    return str(ws.tiny / "checkpoint")


@pytest.fixture(autouse=True)
def no_weights(monkeypatch):
    """What other tests have fetched changes nothing here."""
    monkeypatch.setattr(own_videos, "WANTED", ())


@pytest.fixture
def folder(ws, tmp_path) -> Path:
    """Four videos, three of them with captions."""
    made = tmp_path / "my videos"
    made.mkdir()
    for name, video in zip("abcd", ws.corpus.split("test"), strict=False):
        shutil.copy(video.video, made / f"{name}.mp4")
        if name != "d":
            shutil.copy(video.captions, made / f"{name}.vtt")
    return made


@pytest.fixture
def run(folder, tmp_path, checkpoint, monkeypatch):
    """`run()` makes everything and says how many videos were extracted and embedded for it."""
    counts = {"extracted": 0, "embedded": 0}
    one, seconds = features._one, own_videos.add_video

    def extracting(*args):
        counts["extracted"] += 1
        return one(*args)

    def embedding(*args):
        counts["embedded"] += 1
        return seconds(*args)

    monkeypatch.setattr(features, "_one", extracting)
    monkeypatch.setattr(own_videos, "add_video", embedding)

    def made(with_checkpoint=True, **more):
        counts.update(extracted=0, embedded=0)
        own = make(folder, checkpoint if with_checkpoint else "", out=tmp_path / "out", progress=False, **more)
        return own, counts["extracted"], counts["embedded"]

    return made


def _wall(index: Path) -> dict:
    text = index.read_text(encoding="utf-8")
    at = text.index('{"panel": ', text.index("standalone("))
    return json.JSONDecoder().raw_decode(text[at:])[0]["panel"]


# ------------------------------------------------------------------------------------------------- the whole road


def test_from_a_folder_to_pages_and_nothing_twice(run, folder):
    own, extracted, embedded = run()
    assert (own.ids, extracted, embedded) == (["a", "b", "c", "d"], 4, 4)
    index = write_pages(own, progress=False)
    pages = {path.name: path.stat().st_mtime_ns for path in (own.out / "videos").iterdir()}
    assert set(pages) == {"a.html", "b.html", "c.html", "d.html"}
    wall = _wall(index)
    assert [card["id"] for card in wall["cards"]] == own.ids and wall["title"] == "my videos"
    assert [card["captions"] for card in wall["cards"]] == [len(own.corpus.captions(id)) for id in own.ids]
    assert "No captions: there is no subtitle file; no sound." in wall["cards"][3]["notes"]
    assert {text for text, *_ in wall["said"]} == {c.text for id in own.ids for c in own.corpus.captions(id)}
    assert all(len(hits) == 5 for *_, hits, _ in wall["said"])
    links = _wall(own.out / "videos" / "a.html")["pages"]
    assert links and all((own.out / "videos" / name).is_file() for name in links.values()), "moments lead to the others"
    page = (own.out / "videos" / "a.html").read_text(encoding="utf-8")
    assert 'href="../index.html"' in page and "https://" not in page
    assert all(f'href="{own.ids[other]}.html"' in page for other, _ in wall["cards"][0]["near"])
    assert str(folder.parent) not in page + index.read_text(encoding="utf-8"), "paths of a machine are told to nobody"

    own, extracted, embedded = run()
    assert (extracted, embedded, own.told) == (0, 0, [])
    write_pages(own, progress=False)
    assert {path.name: path.stat().st_mtime_ns for path in (own.out / "videos").iterdir()} == pages


def pressed(function, calls: int):
    """The function, interrupted after so many calls."""
    left = iter(range(calls))

    def called(*args, **more):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return function(*args, **more)

    return called


def test_an_interruption_costs_only_what_was_under_way(run, monkeypatch):
    for module, name in ((features, "_one"), (own_videos, "add_video")):
        with monkeypatch.context() as patch:
            patch.setattr(own_videos, "SAVE_EVERY_S", -1)
            patch.setattr(module, name, pressed(getattr(module, name), 2 if module is features else 1))
            with pytest.raises(KeyboardInterrupt):
                run()
    with monkeypatch.context() as patch:
        patch.setattr(own_videos, "add_video", pressed(own_videos.add_video, 1))
        with pytest.raises(KeyboardInterrupt) as kept:  # as a notebook does, with all that its frames hold
            run()
    own, extracted, embedded = run()
    assert kept and (extracted, embedded) == (0, 3), "two were extracted before the first interruption, one embedded"
    again = encode_seconds(own.encoder, own.store["b"])
    assert np.allclose(own.library.scores(again[2], ["b@2"]), again[2] @ again[2], rtol=1e-5)

    explore = own_pages.explore
    monkeypatch.setattr(own_pages, "explore", pressed(explore, 2))
    with pytest.raises(KeyboardInterrupt):
        write_pages(own, progress=False)
    assert not (own.out / "index.html").exists()
    monkeypatch.setattr(own_pages, "explore", pressed(explore, 2))
    assert write_pages(own, progress=False).exists(), "two of four pages were there"


def test_a_changed_a_new_and_a_vanished_file(run, folder):
    own, *_ = run()
    write_pages(own, progress=False)
    shutil.copy(folder / "c.mp4", folder / "a.mp4")
    (folder / "b.mp4").unlink()
    shutil.copy(folder / "d.mp4", folder / "e.mp4")
    own, extracted, embedded = run()
    assert (own.ids, extracted, embedded) == (["a", "c", "d", "e"], 0, 2), (
        "a film of known content is not decoded again"
    )
    assert own.told == [f"Since last time: 1 {what}." for what in ("new (e)", "changed (a)", "gone (b)")]
    assert own_videos.problems(own) == ["b.vtt has no video of the same name"]
    assert np.array_equal(own.store["a"], own.store["c"]) and np.array_equal(own.store["e"], own.store["d"])
    assert {entry["video"] for entry in own.library.metadata} == set(own.ids) == set(own.means.ids)
    assert np.allclose(own.library.scores(np.ones(own.library.dimension), ["a@0"]),
                       encode_seconds(own.encoder, own.store["c"])[0].sum(), rtol=1e-4)  # fmt: skip
    index = write_pages(own, progress=False)
    assert {path.name for path in (own.out / "videos").iterdir()} == {f"{id}.html" for id in own.ids}
    assert any("gone (b)" in note for note in _wall(index)["notes"])
    (folder / "c.mp4").unlink()
    served, *_ = run()
    assert served.ids == ["a", "d", "e"]
    shutil.copy(folder / "d.mp4", folder / "f.mp4")
    assert run()[0].ids == ["a", "d", "e", "f"], "what was forgotten is saved, and keeps no other run waiting"
    assert len(list((own.out / "cache").glob("features-*"))) == 1, "the older features are not kept twice"


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _kinds_of(files: dict[str, bytes]) -> dict[tuple[str, str], list[str]]:
    """Files of a cache that are alike: by folder (names of content left out) and suffix."""
    kinds: dict[tuple[str, str], list[str]] = {}
    for name in (name for name in sorted(files) if files[name]):
        folder, _, file = name.rpartition("/")
        kinds.setdefault((re.sub(r"-[0-9a-f]{12}", "", folder), Path(file).suffix), []).append(name)
    return kinds


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_whatever_of_the_cache_is_damaged_is_made_again_and_told(run, folder, capfd, damage):
    (folder / "d.mp4").rename(folder / "d.mov")  # needs a copy
    for name in ("b.mp4", "b.vtt", "c.mp4", "c.vtt"):
        (folder / name).unlink()

    def made() -> tuple[Path, str]:
        own = run()[0]
        assert len(own.library) == sum(own.store.lengths.values())
        write_pages(own, progress=False)
        return own.out, "\n".join([*own.told, capfd.readouterr().err])

    out, _ = made()
    whole = _bytes(out)
    shown = {name: data for name, data in whole.items() if not name.startswith("cache/")}
    kinds = _kinds_of(whole)
    assert len(kinds) > 12 and ("films", ".mp4") in kinds
    for kind in kinds:
        now = _bytes(out)
        names = _kinds_of(now).get(kind, [])
        for name in names:
            data = bytearray(now[name])
            for sixth in range(1, 6):
                data[len(data) * sixth // 6] ^= 4
            (out / name).write_bytes(data if damage == "flipped" else data[: len(data) // 2])
        assert kind == ("", ".html") or not names or not verify([out], told=str)
        told = made()[1]
        again = _bytes(out)
        assert all(again[name] == data for name, data in shown.items() if name != "index.html"), kind
        if kind != ("", ".html"):  # the wall is written anew each time
            assert any(Path(name).name in told for name in names) or not names, kind
    assert verify([out], told=str)
    assert made()[1] == "" and {name: data for name, data in _bytes(out).items() if name in shown} == shown


def test_what_others_put_beside_the_pages_stays(run, folder):
    own, *_ = run()
    write_pages(own, progress=False)
    theirs = [own.out / name for name in ("videos/notes.html", "thumbnails/mine.jpg", "films/cut.mp4", "cache/x.json")]
    for path in theirs:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    (folder / "b.mp4").unlink()
    (folder / "c.mp4").write_bytes((folder / "c.mp4").read_bytes()[:-4000])  # no longer to be decoded
    write_pages(run()[0], progress=False)
    there = {path.name for path in (own.out / "videos").glob("?.html")}
    assert there == {"a.html", "d.html"} and {path.read_text() for path in theirs} == {"mine"}


AT_ONCE = """
import sys
from vcwork.workbench import own_videos
from vcwork.workbench.own_pages import write_pages
own_videos.WANTED = ()
own = own_videos.own_videos(sys.argv[1], sys.argv[2], out=sys.argv[3], progress=False)
write_pages(own, progress=False)
"""


def test_two_runs_on_one_cache_wait_for_each_other(run, folder, tmp_path, checkpoint):
    command = [sys.executable, "-c", AT_ONCE, folder, checkpoint, tmp_path / "out"]
    with alone(tmp_path / "out"):
        at_once = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
        for process in at_once:
            assert any("another process is at work in it" in line for line in process.stderr), "it waits, and says so"
    said = [process.communicate(timeout=240)[1] for process in at_once]
    assert [process.returncode for process in at_once] == [0, 0], said
    pages = _bytes(tmp_path / "out" / "videos")
    own, extracted, embedded = run()
    assert (extracted, embedded) == (0, 0)
    write_pages(own, progress=False)
    assert _bytes(tmp_path / "out" / "videos") == pages and len(pages) == 4


def test_a_limit_takes_nothing_away(run):
    own, *_ = run(limit=2)
    assert own.ids == ["a", "b"] and set(own.means.ids) == {"a", "b"}
    write_pages(own, progress=False)
    own, extracted, embedded = run()
    assert (len(own.ids), extracted, embedded) == (4, 2, 2)
    write_pages(own, progress=False)
    own, extracted, embedded = run(limit=1)
    assert (own.ids, extracted, embedded) == (["a"], 0, 0)
    assert {entry["video"] for entry in own.library.metadata} == {"a"}
    write_pages(own, progress=False)
    assert len(list((own.out / "videos").iterdir())) == 4
    assert run()[1:] == (0, 0)


def test_a_folder_that_moved_keeps_what_was_made(run, folder, tmp_path, checkpoint):
    run()
    folder.rename(tmp_path / "elsewhere")
    own = make(tmp_path / "elsewhere", checkpoint, out=tmp_path / "out", progress=False)
    assert len(own.ids) == 4 and own.told == []
    (tmp_path / "third").mkdir()
    refused(r"was made for .*elsewhere; choose another", place_of, tmp_path / "third", tmp_path / "out")


def test_without_a_checkpoint_there_is_the_rest(run, folder):
    own, extracted, embedded = run(with_checkpoint=False)
    assert (extracted, embedded, own.library) == (4, 0, None)
    assert any("No checkpoint" in line and "notebook 20" in line for line in own.told)
    index = write_pages(own, progress=False)
    wall = _wall(index)
    cosines = [cosine for card in wall["cards"] for _, cosine in card["near"]]
    assert all(cosine >= own_pages.LIKE for cosine in cosines), "what is unlike is not called like"
    assert all(hits == [] for *_, hits, _ in wall["said"])
    assert "No checkpoint" in own_videos.summary(own)
    word = own.corpus.captions("a")[0].text.split()[-1]
    lines, answered = own_asking.answers(own, [word, "xqzt"])
    assert answered is False and any(word in line and "said" in line for line in lines[1:])
    assert any(line.startswith("  nothing found") for line in lines)
    assert {hit.evidence for hit in ask(own, word).hits} == {("said",)}


def test_what_is_found_is_handed_over_as_mp4_and_never_over_a_file(run, tmp_path, capsys):
    own, *_ = run(with_checkpoint=False)
    word = own.corpus.captions("a")[0].text.split()[-1]
    hits = ask(own, word).hits
    lines, _ = own_asking.answers(own, [word], clips=str(tmp_path / "clips"))
    written = sorted((tmp_path / "clips").iterdir())
    assert len(written) == len(hits) and sum(str(tmp_path / "clips") in line for line in lines) == len(hits)
    for hit in hits:
        clip = tmp_path / "clips" / f"{hit.video}_{hit.start_s:.1f}-{hit.end_s:.1f}s.mp4"
        assert probe(clip).duration_s == pytest.approx(hit.end_s - hit.start_s, abs=0.2)
    before = {path: path.read_bytes() for path in written}
    lines, _ = own_asking.answers(own, [word], clips=str(tmp_path / "clips"))
    assert sum("not cut" in line and "not written over" in line for line in lines) == len(hits)
    assert {path: path.read_bytes() for path in written} == before
    assert main(["explore", str(own.corpus.folder), "--clips", str(tmp_path / "clips")]) == 2
    assert "--clips goes with --query or --like" in capsys.readouterr().err


# ----------------------------------------------------------------------------------------------------------- asking


def test_a_sentence_is_found_where_it_is_said_and_where_the_checkpoint_sees_it(run, monkeypatch):
    own, *_ = run()
    sentence = own.corpus.captions("b")[0].text
    hits = ask(own, sentence, top=50, anyway=True).hits
    text = encode_text(own.encoder, [sentence])[0]
    best = {id: float((encode_seconds(own.encoder, own.store[id]) @ text).max()) for id in own.ids}
    shown = max((hit for hit in hits if "pictures" in hit.strengths), key=lambda hit: hit.strengths["pictures"])
    assert shown.video == max(best, key=best.get)
    assert shown.strengths["pictures"] == pytest.approx(max(best.values()), rel=1e-4)
    said = next(hit for hit in ask(own, sentence).hits if hit.text == sentence)
    assert said.strengths["words"] == pytest.approx(1) and "said" in said.evidence
    assert {hit.video for hit in ask(own, sentence, top=50, anyway=True, only="c").hits} == {"c"}
    assert ask(own, sentence).hits == ask(run()[0], sentence).hits, "the floor that is kept is the floor"
    lines, answered = own_asking.answers(own, [sentence, "xqzt wkvv", "  "])
    assert not answered and sum("nothing found" in line for line in lines) == 2
    assert any("no words" in line for line in lines) and any("Not known to the model" in line for line in lines)
    assert any("do not believe" in line for line in lines), "this checkpoint knows the drawn world alone"
    assert any("5% are to get one" in line for line in lines)
    refused("rate from 0.002", ask, own, sentence, false_alarms=0.001)
    told = own_asking.served(own)(sentence, "", False)
    assert json.loads(json.dumps(told))["hits"][0]["evidence"] and told["found"]
    monkeypatch.setattr(own_asking, "MOST_SERVED", 1)
    told = own_asking.served(own)(sentence, "", True)
    assert len(told["hits"]) == 1 and "These are the best 1; there are more." in told["note"]
    none = own_asking.served(own, 0.003)(f"unicorn umbrella {sentence.split()[0]}", "", False)
    assert not none["hits"] and "weaker moments are not shown" in none["note"] and "--anyway" not in none["note"]


def test_what_looks_like_a_picture_a_frame_or_a_stretch(run, folder, tmp_path):
    shutil.copy(folder / "a.mp4", tmp_path / "elsewhere.mp4")
    own, *_ = run(with_checkpoint=False)
    assert ask_like(own, f"{tmp_path / 'elsewhere.mp4'}@3", anyway=True).hits[0].video == "a"
    found = ask_like(own, "a@3-5", top=50, anyway=True).hits
    assert found and all(hit.video != "a" or hit.end_s <= 3 or hit.start_s >= 5 for hit in found), "not itself"
    Image.new("RGB", (90, 40), "teal").save(tmp_path / "teal.png")
    assert len(ask_like(own, str(tmp_path / "teal.png"), anyway=True).hits) > 0
    floor = own_asking.like_floor(own, 0.05)
    assert 0 < floor.low < 0.05 < floor.high < 0.5 and floor.queries <= sum(own.store.lengths.values())
    for wrong, told in {
        "a@x": "SECONDS",
        "a@999": "nothing of the film",
        "a@-3": "expected VIDEO@SECONDS",
        "a@inf": "expected VIDEO@SECONDS",
        "a@1-nan": "expected VIDEO@SECONDS",
        "a@3-1": "expected VIDEO@SECONDS or VIDEO@FROM-TO, got '3-1'",
        "a@0-99": "the film ends at",
        f"{folder / 'a.mp4'}@0-99": "the film ends at",
        f"{tmp_path / 'elsewhere.mp4'}@0-99": "the film ends at",
        "none.png": "a picture",
    }.items():
        refused(told, ask_like, own, wrong)
    for rate in (0, 1, 2, np.nan, np.inf):
        refused("expected a rate", ask_like, own, "a@3", false_alarms=rate)
        refused("expected a rate", ask, own, "onion", false_alarms=rate)
    (folder / "b.mp4").unlink(), (folder / "c.mp4").unlink(), (folder / "d.mp4").unlink()
    assert own_asking.like_floor(run(with_checkpoint=False)[0], 0.05).queries == 0


def test_the_same_film_twice_is_one_hit(run, folder):
    shutil.copy(folder / "a.mp4", folder / "e.mp4")
    shutil.copy(folder / "a.vtt", folder / "e.vtt")
    own, *_ = run(with_checkpoint=False)
    first = ask(own, own.corpus.captions("a")[0].text).hits[0]
    assert (first.video, "e") == ("a", first.like[0][0])
    assert "(and 1 like it)" in own_asking.in_words(first)


def test_real_clips_are_found_by_meaning_and_by_sight(real, weights, tmp_path, monkeypatch):
    for name in ("minilm", "efficientnet-lite0"):
        weights(name)
    monkeypatch.setattr(own_videos, "WANTED", ("efficientnet-lite0", "minilm"))
    own = make(real / "clips", out=tmp_path / "out", progress=False, speech="")
    assert own.store.contract.backbone == "efficientnet-lite0"
    best = {
        "how to knead": ("hands-of-a-baker-kneading-a-dough", "described"),  # what is written is "kneading"
        "a puppy": ("01_dog", "described"),  # its picture is below the floor of short questions
        "a dog": ("01_dog", "shown"),
        "the observatory": ("nasa_13013", "said"),
        "dumbbell": ("v_GGSY1Qvo990", "shown"),
    }
    for query, (video, how) in best.items():
        first = ask(own, query).hits[0]
        assert first.video == video and how in first.evidence, query
    assert ask(own, "onion soup").hits == [] and ask(own, "onion soup", anyway=True).hits
    assert any("1,000 classes" in line for line in own_asking.asking(own).told)


def test_neighbours_by_hand():
    vectors = np.array([[2.0, 1], [1, 2], [-1, -1], [-2, -2]])  # their mean is 0
    found = own_videos.nearest(vectors, 2)
    assert [j for j, _ in found[0]] == [1, 2] and found[0][0][1] == pytest.approx(0.8)
    assert found[2][0] == (3, pytest.approx(1)) and found[0][1][1] == pytest.approx(-3 / np.sqrt(10))
    shifted = own_videos.nearest(vectors + 100, 2)
    assert np.allclose([c for _, c in shifted[0]], [c for _, c in found[0]]), "what all share is nothing"
    assert own_videos.nearest(np.ones((3, 2)))[0] == [(1, 0.0), (2, 0.0)]
    assert own_videos.nearest(np.ones((1, 2))) == [[]]
    assert own_videos.nearest(np.array([[1.0, 0], [1, 0]]))[0] == [(1, 1.0)]


# -------------------------------------------------------------------------------------------------------- bad input


def _broken(folder: Path) -> None:
    (folder / "x.mp4").write_text("not a video")


def _linked(folder: Path) -> None:
    source = folder.parent / "secret.mp4"
    source.write_bytes(b"")
    (folder / "x.mp4").symlink_to(source)


BAD = {
    "absent": (None, "no such folder"),
    "a file": (lambda folder: (folder.rmdir(), folder.write_text("x")), "expected a folder of videos, got a file"),
    "broken": (_broken, "none of 1 videos can be read; x.mp4: could not be decoded"),
    "linked": (_linked, "x.mp4"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_folder_of_no_use_is_one_message(tmp_path, capsys, kind):
    make_it, told = BAD[kind]
    folder = tmp_path / "videos"
    if make_it:
        folder.mkdir()
        make_it(folder)
    assert main(["explore", str(folder), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    refused(told, look_at, folder)
    assert error.startswith("vcwork: ") and error.count("\n") == 1 and "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_every_file_that_is_not_used_is_told(folder, tmp_path):
    (folder / "broken.mp4").write_bytes(b"no video")
    (folder / "lonely.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nhello\n")
    (folder / "a.vtt").write_text("this is no subtitle file")
    (folder / "b.vtt").write_text("WEBVTT\n")
    (folder / "c.vtt").write_text("WEBVTT\n\n50:00.000 --> 51:00.000\ntoo late\n")
    (folder / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    outside = tmp_path / "outside.mp4"
    shutil.copy(folder / "d.mp4", outside)
    (folder / "linked.mp4").symlink_to(outside)
    corpus = look_at(folder)
    assert list(corpus.videos) == ["a", "b", "c", "d"]
    assert set(corpus.missing_videos) == {"broken", "lonely", "gone", "linked"}
    assert "out of the folder" in corpus.missing_videos["linked"] and "nowhere" in corpus.missing_videos["gone"]
    told = corpus.missing_captions
    assert "expected WEBVTT" in told["a"] and told["b"] == "b.vtt: it is empty" and "before the video ends" in told["c"]
    assert "linked" in look_at(folder, links=True).videos
    own = make(corpus, out=tmp_path / "out", progress=False)
    own.store.failed["d"] = "no frame could be decoded"
    lines = "\n".join(own_videos.problems(own))
    assert "d: no frame could be decoded" in lines, "a reason that does not name its file gets the video's id"
    for name in ("broken.mp4", "lonely.srt", "a.vtt", "b.vtt", "c.vtt", "gone.mp4", "linked.mp4"):
        assert name in lines
    assert str(tmp_path) not in lines
    notes = _wall(write_pages(own, progress=False))
    assert "broken.mp4" in " ".join(notes["notes"]) and "a.vtt" in " ".join(notes["cards"][0]["notes"])


def test_a_codec_that_browsers_do_not_play_is_transcoded_once(folder, tmp_path, monkeypatch):
    with av.open(str(folder / "old.avi"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(30):
            picture = np.full((48, 64, 3), 8 * i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())
    own = make(folder, out=tmp_path / "out", progress=False)
    card = _wall(write_pages(own, progress=False))["cards"][own.ids.index("old")]
    assert any("Browsers do not all play this file" in note and "mpeg4" in note for note in card["notes"])
    assert not any("Browsers" in note for note in _wall(own.out / "index.html")["cards"][0]["notes"])
    film = _wall(own.out / "videos" / "old.html")["film"]
    copy = own.out / "videos" / film["src"]
    assert copy.read_bytes()[4:8] == b"ftyp" and copy.resolve().parent == own.out / "films" and film["fps"] == 10
    assert Image.open(own.out / card["picture"]).size == (96, 96)
    made = copy.stat().st_mtime_ns
    monkeypatch.setattr(own_pages, "_look", lambda *a: pytest.fail("looked at again"))
    assert own_pages.film_of(own, "old").media.kind == "transcoded" and copy.stat().st_mtime_ns == made
    beside = _wall(own.out / "videos" / "a.html")["film"]["src"]
    assert (own.out / "videos" / unquote(beside)).resolve() == folder / "a.mp4", "the file itself"
    whole = _wall(write_pages(own, progress=False, portable=True).parent / "videos" / "old.html")["film"]["src"]
    assert whole.startswith("data:video/mp4;base64,")


def test_features_that_do_not_fit_are_one_message(ws, folder, tmp_path, checkpoint):
    other = type(ws.encoder.contract)("hf:eye", "abc", 2.0, 224, "crop", 549)
    told = r"other features.*--accept-contract.*backbone: asked for 'hf:eye', found 'motion-1"
    refused(told, own_videos.check_contract, other, ws.encoder.contract, "mine")
    own_videos.check_contract(other, ws.encoder.contract, "mine", accept=True)
    own_videos.check_contract(other, other, "mine")
    wide = type(other)("hf:eye", "abc", 2.0, 224, "crop", 7)
    with pytest.raises(VcworkError) as caught:
        own_videos.check_contract(wide, ws.encoder.contract, "mine", accept=True)
    assert "width: asked for 7, found 549" in str(caught.value) and "--accept" not in str(caught.value)
    stranger = type(ws.encoder)(ws.encoder.model, ws.encoder.tokenizer, other)
    refused(r"mine: give its folder as backbone; .*'eye'", own_videos.backbone_for, stranger, "", "mine")
    assert own_videos.backbone_for(ws.encoder).name == "motion-1" and own_videos.backbone_for(None).name == "motion-1"


def test_places_and_names(tmp_path, monkeypatch):
    monkeypatch.setenv("VCWORK_ROOT", str(tmp_path))
    first, second = tmp_path / "x" / "clips", tmp_path / "y" / "clips"
    for path in (first, second, tmp_path / "mine"):
        path.mkdir(parents=True)
    assert [place_of(p).name for p in (first, second, first)] == ["clips", "clips-2", "clips"]
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    refused("holds something else", place_of, first, tmp_path / "mine")
    assert plain_name("a-b_1.x") == "a-b_1.x" and plain_name("ä") != plain_name("ö")
    for odd in ("a/b", "..", "-dash", "x" * 300, "#t=1", "a b", ""):
        assert own_folder.re.fullmatch(r"[A-Za-z0-9_][\w.-]{0,90}", plain_name(odd))


# ----------------------------------------------------------------------------------------- notebook 40, command line


def test_what_notebook_40_stands_on(ws, folder, tmp_path, checkpoint):
    lab = own_videos.opened("", "", "")
    assert lab.corpus.name == ws.corpus.name and lab.encoder.digest == ws.encoder.digest and set(lab.hashes)
    own = make(folder, out=tmp_path / "out", progress=False)
    alone = own_videos.opened("", str(own.store.folder), checkpoint)
    assert list(alone.corpus.videos) == own.ids and "alone" in alone.told[0] and alone.encoder is not None
    with_videos = own_videos.opened(str(folder), str(own.store.folder), "")
    assert with_videos.told == [] and with_videos.encoder is None and with_videos.corpus["a"].captions
    gathered = gather(own.corpus, tmp_path / "corpus").folder
    as_corpus = own_videos.opened(str(gathered), str(own.store.folder), checkpoint, contract="accept")
    assert list(as_corpus.corpus.videos) == own.ids and as_corpus.encoder.digest == ws.encoder.digest
    (folder / "a.mp4").unlink()
    shutil.copy(folder / "c.mp4", folder / "b.mp4")
    told = " ".join(own_videos.opened(str(folder), str(own.store.folder), "").told)
    assert "1 gone (a)" in told and "1 changed (b)" in told
    refused("strict or accept", own_videos.opened, "", "", "", contract="maybe")


def test_jupyterlab_opens_a_copy_of_notebook_40(run, folder, root, monkeypatch):
    own, *_ = run()
    stored = (root / "notebooks" / "40_alignment_explorer.ipynb").read_bytes()
    started = []
    monkeypatch.chdir(root)
    monkeypatch.setattr(servers.os, "execve", lambda _, *given: started.append(given))  # in this process's place
    open_lab(own, "somewhere", accept_contract=True)
    assert Path.cwd() == root, "never among the films, where settings of Jupyter's may lie"
    copy = nbformat.read(started[0][0][-1], as_version=4)
    injected = next(cell for cell in copy.cells if "injected-parameters" in cell.metadata.get("tags", []))
    given = {}
    exec(injected.source, given)
    assert given["corpus"] == str(folder) and given["features"] == str(own.store.folder)
    assert given["checkpoint_contract"] == "accept" and given["checkpoint"].endswith("somewhere")
    assert started[0][1]["VCWORK_ROOT"] and not any(cell.get("outputs") for cell in copy.cells)
    assert (root / "notebooks" / "40_alignment_explorer.ipynb").read_bytes() == stored
    copy.cells[0].source = "# Mine"
    nbformat.write(copy, started[0][0][-1])
    open_lab(own, "somewhere", accept_contract=True)
    assert started[1][0] == started[0][0] and nbformat.read(started[0][0][-1], as_version=4).cells[0].source == "# Mine"
    open_lab(own, "elsewhere")
    assert started[2][0][-1] != started[0][0][-1], "what is asked for otherwise is another copy"


def test_a_folder_grades_its_own_search(run, folder, checkpoint, tmp_path, capsys):
    run()
    ask = ["explore", str(folder), "--out", str(tmp_path / "out"), "--checkpoint", checkpoint]
    assert main([*ask, "--grade"]) == 0
    told, index = capsys.readouterr().out, tmp_path / "out" / "index.html"
    assert "pictures" in told and "together - words" in told and "3 videos tell little" in told
    page = index.read_text(encoding="utf-8")
    assert "How good is search here?" in page and "together - words" in page
    assert main(ask) == 0 and index.read_text(encoding="utf-8") == page, "the table stays while nothing has changed"
    moved = [Caption(0.5 + c.start_s / 2, 0.5 + c.end_s / 2, c.text) for c in read_captions(folder / "a.vtt")]
    as_it_was = (folder / "a.vtt").read_bytes()
    write_vtt(folder / "a.vtt", moved)
    assert main(ask) == 0 and "How good is search" not in index.read_text(encoding="utf-8"), "other times, other hits"
    (folder / "a.vtt").write_bytes(as_it_was)
    assert main(ask) == 0 and index.read_text(encoding="utf-8") == page
    (tmp_path / "out" / "cache" / "grade.json").write_text("[1]")
    assert main(ask) == 0 and "How good is search" not in index.read_text(encoding="utf-8")
    (folder / "a.vtt").write_text("WEBVTT\n\n00:00.000 --> 00:02.000\nother words\n")
    assert main([*ask, "--grade"]) == 0
    for path in folder.glob("*.vtt"):
        path.unlink()
    index.unlink()
    assert main([*ask, "--grade"]) == 2 and "graded by its own captions" in capsys.readouterr().err
    assert index.exists(), "there are pages all the same"


def test_command_line(folder, tmp_path, checkpoint, capsys, monkeypatch):
    out = tmp_path / "out"
    assert main(["explore", str(folder), "--out", str(out), "--checkpoint", checkpoint, "--limit", "2"]) == 0
    told = capsys.readouterr().out
    assert "2 videos" in told and f"done: {out / 'index.html'}" in told and (out / "videos" / "a.html").exists()
    for option in (["--false-alarms", "nan"], ["--false-alarms", "2"], ["--query", "x", "--false-alarms", "0"]):
        with pytest.raises(SystemExit, match="2"):
            main(["explore", str(folder), *option])
        assert "expected a number between 0 and 1" in capsys.readouterr().err
    ask = ["explore", str(folder), "--out", str(out), "--checkpoint", checkpoint, "--limit", "2", "--query"]
    word = look_at(folder).captions("a")[0].text
    assert main([*ask, word, "--top", "2", "--anyway"]) == 0 and "  2. " in capsys.readouterr().out
    assert main([*ask, "xqzt wkvv"]) == 1 and "Not known to the model" in capsys.readouterr().out
    assert main([*ask, word, "--anyway", "--save", str(tmp_path / "found.csv")]) == 0
    rows = list(csv.DictReader((tmp_path / "found.csv").read_text("utf-8-sig").splitlines()))
    assert "saved: " in capsys.readouterr().out and rows[0]["query"] == word and rows[0]["file"] in ("a.mp4", "b.mp4")
    assert main([*ask, word, "--save", "found.doc"]) == 2 and "expected a file ending in" in capsys.readouterr().err
    assert main([*ask[:-1], "--save", "found.csv"]) == 2 and "--save goes with --query" in capsys.readouterr().err
    for more, told in {
        "--query x --serve": "--serve goes without --query",
        "--query x --grade": "--grade goes without --query",
        "--like x --portable": "--portable goes without --query",
        "--query x --open": "--open goes without --query",
        "--query x --lab": "--lab goes without --query",
        "--lab --serve": "--serve goes without --lab",
        "--lab --portable": "--portable goes without --lab",
        "--anyway": "--anyway goes with --query",
        "--port 80": "--port goes with --serve",
    }.items():
        assert main(["explore", str(folder), *more.split()]) == 2 and told in capsys.readouterr().err
    assert main(["explore", ""]) == 2 and "expected a folder of videos, got an empty" in capsys.readouterr().err
    asked = []
    monkeypatch.setattr(own_serving, "answering", lambda own, *given: asked.append(given) or (lambda *_: {}))
    monkeypatch.setattr(own_serving, "serve", lambda *_: None)
    assert main([*ask[:-1], "--serve", "--false-alarms", "0.3"]) == 0 and asked == [(5, 0.3)]
    assert main([*ask, "a", "--top", "0"]) == 2 and "--top of at least 1" in capsys.readouterr().err


def test_workers_end_with_a_parent_that_was_killed():
    worker = "import time; from vcwork.data import engines; engines.end_with_parent(); print('ready', flush=True)"
    worker += "; time.sleep(60)"
    parent = f"""
import multiprocessing, sys, time
if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=exec, args=({worker!r}, {{}}))
    process.start()
    print(process.pid, flush=True)
    time.sleep(60)
"""
    begun = time.monotonic()
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as started:
        lines = {started.stdout.readline().strip() for _ in range(2)}
        started.kill()
        assert "ready" in lines and len(lines) == 2
        assert started.stdout.read() == "", "the pipe is closed when the last process has ended"
    assert time.monotonic() - begun < 50, "the worker slept to its end"


def test_odd_real_files(real, tmp_path):
    own = make(real / "clips" / "odd", out=tmp_path / "out", progress=False)
    assert "corrupted.mp4" in " ".join(own_videos.problems(own)) and {"unordered", "video_90"} <= set(own.ids)
    wall = _wall(write_pages(own, progress=False))
    assert [card["id"] for card in wall["cards"]] == own.ids
