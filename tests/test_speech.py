"""What is said: the sound's clock, the gate, words kept in the cache, and subtitles that drift."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import av
import numpy as np
import pytest
from checks import refused

from vcwork.base.errors import VcworkError
from vcwork.base.files import read_json, sha256_file
from vcwork.data import speech
from vcwork.data.captions import Caption, read_captions, write_vtt
from vcwork.data.corpus import Corpus, Video, scan_folder, subtitles_of
from vcwork.data.speech import RATE, Transcript, Word, pieces, transcribe
from vcwork.review.drift import Drift, drift_of, write_fixed
from vcwork.workbench import own_words
from vcwork.workbench.own_words import add_drift, add_words, words_line


def write_film(path, sound: np.ndarray | None, begins_s: float = 0.0, seconds: float = 4.0, rate: int = 48_000):
    """A grey picture of so many seconds; sound (n,) at `rate` as PCM, from `begins_s` on; None: no track."""
    with av.open(str(path), "w") as container:
        picture = container.add_stream("mpeg4", rate=4)
        picture.width, picture.height, picture.pix_fmt = 16, 16, "yuv420p"
        track = None if sound is None else container.add_stream("pcm_s16le", rate=rate, layout="mono")
        for _ in range(int(seconds * 4)):
            frame = av.VideoFrame.from_ndarray(np.full((16, 16, 3), 99, np.uint8))
            container.mux(picture.encode(frame))
        container.mux(picture.encode())
        for at in range(0, 0 if sound is None else len(sound), 4800):
            frame = av.AudioFrame.from_ndarray((sound[None, at : at + 4800] * 32000).astype(np.int16), "s16", "mono")
            frame.sample_rate, frame.pts = rate, int(begins_s * rate) + at
            container.mux(track.encode(frame))
        if track:
            container.mux(track.encode())
    return path


def tone(seconds: float, rate: int = 48_000) -> np.ndarray:
    """Louder and louder, so that a second tells which it is."""
    t = np.arange(int(seconds * rate)) / rate
    return 0.1 * (1 + np.floor(t)) * np.sin(2 * np.pi * 440 * t)


# ------------------------------------------------------------------------------------------------------------ sound


def test_sound_stands_on_the_clock_of_the_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(speech, "voices", lambda samples, gate: [])
    for begins_s in (0.0, 1.5):
        ((start_s, samples, _),) = pieces(write_film(tmp_path / "a.mkv", tone(2), begins_s))
        assert start_s == pytest.approx(begins_s, abs=0.03) and len(samples) / RATE == pytest.approx(2, abs=0.05)
    assert list(pieces(write_film(tmp_path / "b.mkv", None))) == [] and not speech.has_sound(tmp_path / "b.mkv")
    assert transcribe(tmp_path / "b.mkv").note == "no sound"
    refused("no such file", transcribe, tmp_path / "absent.mkv")
    (tmp_path / "text.mkv").write_text("no film")
    refused(r"text\.mkv: its sound could not be decoded", transcribe, tmp_path / "text.mkv")


def test_a_long_file_comes_in_pieces_cut_in_silence_and_nothing_is_lost(tmp_path, monkeypatch):
    film = write_film(tmp_path / "a.mkv", tone(9), seconds=9)
    monkeypatch.setattr(speech, "voices", lambda samples, gate: [])
    whole = np.concatenate([samples for _, samples, _ in pieces(film)])
    voices = lambda samples, gate: [(len(samples) - RATE * 3 // 2, len(samples))]  # noqa: E731
    monkeypatch.setattr(speech, "PIECE_S", 3)
    monkeypatch.setattr(speech, "voices", voices)
    found = list(pieces(film))
    assert len(found) > 3 and max(len(samples) for _, samples, _ in found) < 4 * RATE
    assert np.array_equal(np.concatenate([samples for _, samples, _ in found]), whole)
    ends = np.cumsum([0, *(len(samples) for _, samples, _ in found)]) / RATE
    assert np.allclose([start_s for start_s, *_ in found], ends[:-1], atol=0.03)
    assert all(spans == [] for *_, spans in found[:-1]) and found[-1][2], "a voice at the cut belongs to what follows"


def test_gaps_in_the_time_stamps(monkeypatch):
    monkeypatch.setattr(speech, "voices", lambda samples, gate: [])
    ones = np.ones(RATE, np.float32)
    blocks = [(0.0, ones), (1.05, ones), (2.5, ones), (3.0, ones), (60.0, ones)]
    monkeypatch.setattr(speech, "sound", lambda path: iter(blocks))
    (first, samples, _), (second, last, _) = pieces("film")
    assert (first, second, len(last)) == (0.0, 60.0, RATE)
    assert len(samples) / RATE == pytest.approx(4.0, abs=0.01), "a gap is filled, an overlap is taken off"
    assert samples[int(2.3 * RATE)] == 0 and samples[int(2.6 * RATE)] == 1


def test_windows_join_short_pauses_only():
    spans = [(RATE * a, RATE * b) for a, b in ((0, 4), (5, 9), (12, 13), (13, 40), (41, 44))]
    assert [(a // RATE, b // RATE) for a, b in speech._windows(spans)] == [(0, 9), (12, 40), (41, 44)]
    assert speech._windows([]) == []


# ------------------------------------------------------------------------------------------------------------- gate


def heard(text="yes", log_probability=-0.1, no_speech=0.1, compression=1.0, at=((0.1, 0.4),)):
    words = [SimpleNamespace(start=a, end=b, word=f" {w}") for (a, b), w in zip(at, text.split(), strict=True)]
    return SimpleNamespace(text=text, avg_logprob=log_probability, no_speech_prob=no_speech, words=words,
                           compression_ratio=compression, start=at[0][0], end=at[-1][1])  # fmt: skip


@pytest.fixture
def listener(monkeypatch):
    """`listener(segments)`: from now on the model hears these, in one second of voice from 2.0 s on."""

    def set_up(*segments, language="en", share=1):
        about = SimpleNamespace(language=language, language_probability=share)
        monkeypatch.setattr(speech, "pieces", lambda path, gate: iter([(2.0, np.zeros(RATE), [(0, RATE)])]))
        monkeypatch.setattr(speech, "load_listener", lambda model: lambda *given: (segments, about))
        return transcribe("film")

    return set_up


def test_words_are_kept_only_where_the_gate_lets_them(listener):
    one = listener(heard("Yes, indeed.", at=((0.1, 0.4), (0.5, 0.5))))
    assert one.words == [Word(2.1, 2.4, "Yes,"), Word(2.5, 2.6, "indeed.")] and one.note == ""
    assert listener(heard("out there", at=((0.1, 0.4), (1.4, 1.6)))).words == [Word(2.1, 2.4, "out")], "no voice there"
    for wrong in ({"log_probability": -0.6}, {"no_speech": 0.7}, {"compression": 3.0}):
        told = listener(heard(**wrong))
        assert told.words == [] and "no words that the model is sure of" in told.note
    part = listener(heard(), heard(log_probability=-2.0))
    assert len(part.words) == 1 and "0 of 1 s of voices are left out" in part.note
    assert listener(heard(), language="de", share=0.93).note == "language: de (0.93)"


def test_captions_end_with_sentences_pauses_and_full_lines():
    words = [Word(i, i + 0.5, text) for i, text in enumerate(["One", "two.", "Three", "four", "five"])]
    late = Word(9, 9.5, "six")
    assert [c.text for c in Transcript([*words, late]).captions] == ["One two.", "Three four five", "six"]
    long = [Word(i / 10, (i + 1) / 10, "abcdefghi") for i in range(30)]
    captions = Transcript(long).captions
    assert all(len(c.text) <= 84 for c in captions) and sum(len(c.text.split()) for c in captions) == 30
    assert captions[0].end_s == captions[1].start_s == pytest.approx(0.8)


def test_sounds_without_a_voice_need_no_model(tmp_path, monkeypatch):
    monkeypatch.setattr(speech, "load_listener", lambda model: pytest.fail("nobody speaks here"))
    rng, n = np.random.default_rng(0), 20 * 48_000
    beat = rng.standard_normal(n) * np.exp(-np.arange(n) % 24_000 / 3_000) * 0.2
    sounds = {"silence": np.zeros(n), "noise": 0.1 * rng.standard_normal(n), "tones": tone(9) / 2, "beat": beat}
    for name, samples in sounds.items():
        film = write_film(tmp_path / f"{name}.mkv", np.clip(samples, -1, 1))
        assert transcribe(film) == Transcript(note="sound, but no speech"), name


def test_a_model_that_is_none(tmp_path):
    refused("found no model.bin", speech.load_listener, str(tmp_path))
    for name in ("model.bin", "config.json", "tokenizer.json"):
        (tmp_path / name).write_text("{}")
    refused("not a Whisper model", speech.load_listener, str(tmp_path))


# -------------------------------------------------------------------------------------------------------- real films


def normalised(text: str) -> list[str]:
    """Lower case and without punctuation, nothing else: "clean rooms" for "cleanrooms" counts as two errors."""
    return re.findall(r"[a-z0-9']+", text.lower())


def edits(a: list[str], b: list[str]) -> int:
    """Words put in, left out or exchanged (Levenshtein)."""
    row = list(range(len(b) + 1))
    for i, word in enumerate(a, 1):
        before, row = row, [i]
        for j, other in enumerate(b, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (word != other)))
    return row[-1]


def test_word_error_rate_of_a_narrated_clip(real, weights):
    captions = read_captions(real / "clips" / "nasa_13013.vtt")
    one = transcribe(real / "clips" / "nasa_13013.mp4", str(weights("whisper-tiny.en")))
    spoken = normalised(" ".join(c.text for c in captions if c.end_s < 13))  # the clip is cut in the last sentence
    found = normalised(" ".join(w.text for w in one.words))
    assert len(spoken) == 30
    assert edits(spoken, found) / len(spoken) < 0.10
    assert abs(one.words[0].start_s - captions[0].start_s) < 0.5 and one.words[-1].end_s <= 13.06
    assert drift_of(captions, one.words).off_s < 0.3


@pytest.mark.parametrize("shift_s", range(-8, 9, 2))
def test_the_drift_of_a_real_clip(real, weights, shift_s):
    words = _nasa_words(real, str(weights("whisper-tiny.en")))
    captions = read_captions(real / "clips" / "nasa_13013.vtt")
    for stretch in (1, 1.001, 1.01, 1.04, 0.96):
        moved = [
            Caption(max(0, stretch * c.start_s + shift_s), max(0, stretch * c.end_s + shift_s), c.text)
            for c in captions
        ]
        drift = drift_of(moved, words)
        errors = [drift.at(m.start_s) - c.start_s for m, c in zip(moved, captions, strict=True) if m.start_s]
        assert not drift.wrong and max(map(abs, errors)) < 0.5
        assert drift.low_s - 0.5 < drift.mid_s < drift.high_s + 0.5


def _nasa_words(real, model, kept={}):  # noqa: B006
    if not kept:
        kept["words"] = transcribe(real / "clips" / "nasa_13013.mp4", model).words
    return kept["words"]


def test_listening_leaves_torch_its_threads(real, weights):
    listen = "from vcwork.data.speech import transcribe; transcribe(*sys.argv[1:3])"
    code = f"import sys, torch; n = torch.get_num_threads(); {listen}; sys.exit(torch.get_num_threads() - n)"
    given = [str(real / "clips" / "nasa_13013.mp4"), str(weights("whisper-tiny.en"))]
    for n in "13":
        done = subprocess.run([sys.executable, "-c", code, *given], env=os.environ | {"OMP_NUM_THREADS": n})
        assert done.returncode == 0


def test_clips_without_speech_give_no_words(real, weights):
    model = str(weights("whisper-tiny.en"))
    others = [p for p in (real / "clips").iterdir() if p.suffix in (".mp4", ".mkv") and p.stem != "nasa_13013"]
    assert len(others) == 7
    for path in others:
        assert transcribe(path, model).words == [], path.name


# ------------------------------------------------------------------------------------------------------------ drift


def story(n: int, seed: int = 0) -> list[Caption]:
    """Captions of eight words each, made of 200 words, four seconds long, with pauses of one second and more."""
    rng = np.random.default_rng(seed)
    starts = 5 + np.cumsum(5 + rng.exponential(1, n))
    return [Caption(s, s + 4, " ".join(f"w{k}x" for k in rng.integers(0, 200, 8))) for s in starts]


def said(captions, shift_s=0.0, stretch=1.0, wrong=0.0, seed=1) -> list[Word]:
    """The words as they would be heard: jittered, some of them wrong."""
    rng, found = np.random.default_rng(seed), []
    for c in captions:
        for i, word in enumerate(c.text.split()):
            at = shift_s + stretch * (c.start_s + (i + 0.5) / 2) + rng.normal(0, 0.15)
            found.append(Word(at - 0.1, at + 0.1, "hm" if rng.random() < wrong else word))
    return sorted(found, key=lambda word: word.start_s)


@pytest.mark.parametrize("stretch", [1, 1.001, 25 / 24, 0.96])
@pytest.mark.parametrize("shift_s", [-8, -3.3, 0, 8, 45])
def test_shift_and_stretch_are_found(shift_s, stretch):
    captions = story(60)
    drift = drift_of(captions, said(captions, shift_s, stretch, wrong=0.25))
    assert drift.shift_s == pytest.approx(shift_s, abs=0.15) and drift.stretch == pytest.approx(stretch, abs=0.0007)
    middle = np.mean([c.start_s + 2 for c in captions])
    assert drift.low_s - 0.05 <= shift_s + (stretch - 1) * middle <= drift.high_s + 0.05
    assert drift.off_s == pytest.approx(max(abs(shift_s + (stretch - 1) * c.start_s) for c in captions), abs=0.2)


def test_its_interval_covers():
    inside = []
    for seed in range(60):
        captions = story(40, seed)
        drift = drift_of(captions, said(captions, 2.0, 1.0, wrong=0.2, seed=seed + 100))
        inside.append(drift.low_s <= 2.0 <= drift.high_s)
    assert 0.85 <= np.mean(inside) <= 1.0


def test_what_no_line_puts_right():
    captions = story(60)
    assert "another film" in drift_of(captions, said(story(60, seed=9))).wrong
    assert "too few" in drift_of(captions, []).wrong and "too few" in drift_of([], said(captions)).wrong
    parts = [Caption(c.start_s + 30 * (i // 20), c.end_s + 30 * (i // 20), c.text) for i, c in enumerate(captions)]
    assert "no one line fits" in drift_of(captions, said(parts)).wrong


def test_a_fixed_copy_keeps_the_text_and_never_writes_over(tmp_path):
    drift = Drift(shift_s=2.5, stretch=1.0)
    first, second = b"1\r\n%b X1:40\r\n<i>caf\xc3\xa9</i> at 00:00:07,000\r\n\r\n", b"2\r\n%b\r\nb\r\n"
    srt = first % b"00:00:01,000 --> 00:00:02,500" + second % b"01:00:00,0 --> 01:00:01,9"
    (tmp_path / "a.srt").write_bytes(srt)
    fixed = write_fixed(tmp_path / "a.srt", [], drift)
    assert fixed.name == "a.fixed.srt"
    moved = first % b"00:00:03,500 --> 00:00:05,000" + second % b"01:00:02,500 --> 01:00:04,400"
    assert fixed.read_bytes() == moved
    refused("there already", write_fixed, tmp_path / "a.srt", [], drift)
    assert (tmp_path / "a.srt").read_bytes() == srt
    (tmp_path / "b.vtt").write_text("WEBVTT\n\n00:01.000 --> 00:02.000 line:0\n<c>one</c><00:00:01.500><c> two</c>\n")
    text = write_fixed(tmp_path / "b.vtt", [], drift).read_text()
    assert "00:00:03.500 --> 00:00:04.500 line:0" in text and "<00:00:04.000><c> two" in text
    (tmp_path / "c.csv").write_text("start,end,text\n1,2,a\n")
    assert read_captions(write_fixed(tmp_path / "c.csv", [Caption(1, 2, "a")], drift)) == [Caption(3.5, 4.5, "a")]
    refused("another film", write_fixed, tmp_path / "c.csv", [], Drift(wrong="seems to be of another film"))


@pytest.mark.parametrize("times", [
    "00:00:04 --> 00:00:08", "00:04,000 --> 00:08,000", "00:00:04:500 --> 00:00:08:500", "0:0:4,500 --> 0:0:8,500",
    "00:00:04.123456 --> 00:00:08.123456", "4.5 --> 8.5",
])  # fmt: skip
def test_a_fixed_copy_is_read_as_what_was_put_right(tmp_path, times):
    """However times are written, also beside others; words with an arrow are words."""
    text = f"1\n{times}\nhello\n\n2\n00:00:12,000 --> 00:00:16,000\nat 12:30:00,000 --> go\n\n"
    drift = Drift(shift_s=-3.6, stretch=1.0)
    for encoding in ("utf-8", "utf-16-le"):
        path = tmp_path / f"{encoding}.srt"
        path.write_bytes(text.encode(encoding))
        moved = [Caption(drift.at(c.start_s), drift.at(c.end_s), c.text) for c in read_captions(path)]
        fixed = write_fixed(path, read_captions(path), drift)
        found = read_captions(fixed)
        assert [c.text for c in found] == [c.text for c in moved] == ["hello", "at 12:30:00,000 --> go"]
        assert np.allclose([(c.start_s, c.end_s) for c in found], [(c.start_s, c.end_s) for c in moved], 0, 2e-3)
        assert read_captions(path)[0].start_s - found[0].start_s == pytest.approx(3.6, abs=2e-3)


# --------------------------------------------------------------------------------------------------- which subtitles


@pytest.mark.parametrize(
    ("language", "names", "first"),
    [
        ("", "x.de.srt x.en-US.srt x.fr.vtt", "x.en-US.srt"),
        ("", "x.en.srt x.srt x.de.vtt", "x.srt"),
        ("", "x.txt x.de.vtt", "x.de.vtt"),
        ("", "x.en.forced.srt x.de.srt", "x.de.srt"),
        ("", "x.en.vtt x.en.fixed.vtt x.de.fixed.vtt", "x.en.fixed.vtt"),
        ("de", "x.en.vtt x.vtt x.German.srt", "x.German.srt"),
        ("de", "x.en.vtt x.vtt x.de-AT.srt x.de.vtt", "x.de.vtt"),
        ("pt-BR", "x.pt-PT.vtt x.pt_BR.srt x.pt.vtt", "x.pt_BR.srt"),
        ("pt-BR", "x.en.vtt x.pt.vtt", "x.pt.vtt"),
        ("fr", "x.en.vtt x.vtt x.de.vtt", "x.vtt"),
        ("fr", "x.sv.vtt x.de.vtt", "x.de.vtt"),
        ("", "x.eng.srt x.de.srt", "x.eng.srt"),
        ("en", "x.en.vtt x.eng.srt x.srt", "x.en.vtt"),
        ("eng", "x.de.srt x.en.srt", "x.en.srt"),
        ("English", "x.de.srt x.eng.srt", "x.eng.srt"),
        ("ger", "x.en.srt x.deu.srt", "x.deu.srt"),
        ("pt", "x.en.srt x.por.srt", "x.por.srt"),
        ("ja", "x.de.srt x.en.srt", "x.en.srt"),
        ("en", "x.auto.vtt x.vtt", "x.vtt"),
        ("", "x.sdh.srt x.captions.vtt x.default.srt x.srt x.forced.srt", "x.srt"),
        ("", "x.en.auto.vtt x.en.sdh.srt x.en.fixed.vtt x.en.srt", "x.en.fixed.vtt"),
        ("", "x.en.auto.vtt x.en.sdh.srt x.en-de.vtt", "x.en.sdh.srt"),
        ("", "x.en.auto.vtt x.en-US.srt", "x.en-US.srt"),
        ("", "x.en.hi.srt x.en.srt x.hi.srt", "x.en.srt"),
        ("", "x.en.forced.hi.srt x.default.hi.srt", "x.default.hi.srt"),
        ("hi", "x.en.hi.srt x.hi.hi.srt x.hi.srt", "x.hi.srt"),
        ("en", "x.en-de.vtt x.en-orig.vtt x.en.vtt", "x.en.vtt"),
    ],
)
def test_which_of_several_subtitles(tmp_path, language, names, first):
    film = tmp_path / "x.mp4"
    theirs, alone = subtitles_of([film], [tmp_path / name for name in names.split()], language)
    assert theirs[film][0].name == first and len(theirs[film]) == len(names.split()) and alone == []


def test_the_language_chosen_and_what_is_left_are_told(tmp_path):
    write_film(tmp_path / "x.mkv", None)
    for tongue in ("en", "de"):
        write_vtt(tmp_path / f"x.{tongue}.vtt", [Caption(0, 1, f"in {tongue}")])
    for language, taken, left in (("", "en", "de"), ("de", "de", "en"), ("ja", "en", "de")):
        corpus = scan_folder(tmp_path, language=language)
        assert corpus.captions("x")[0].text == f"in {taken}"
        own = SimpleNamespace(corpus=corpus, sources={}, out=tmp_path / "out", told=[], words_from={}, drift={})
        add_words(own, "", progress=False)
        assert own.words_from == {"x": f"subtitles x.{taken}.vtt"}
        assert f"x.{taken}.vtt is taken, x.{left}.vtt left; --language" in own.told[0]
        lacking = ["--language ja: 1 with subtitles in other languages alone (x)."]
        assert own.told[1:] == (lacking if language == "ja" else [])


def test_a_films_own_name_tells_no_language(tmp_path):
    films = {"How.to.cook": ".srt", "This.is.it": ".mkv.srt", "c.no.1": ".en.srt", "cafe\u0301.de": ".no.srt"}
    for film, rest in films.items():
        write_film(tmp_path / f"{film}.mkv", None)
        (tmp_path / f"{film}{rest}").write_text("00:00:00,500 --> 00:00:01,000\nhello\n")
    for asked, lacking in (("en", ["cafe\u0301.de"]), ("no", ["c.no.1"]), ("ja", ["c.no.1", "cafe\u0301.de"])):
        assert scan_folder(tmp_path, language=asked).meta["language_lacking"] == {asked: lacking}


def test_of_many_videos_with_several_files_all_are_counted_and_some_named(own):
    own.corpus.videos |= {id: replace(own.corpus["a"], id=id) for id in "efg"}
    own.corpus.meta["subtitles_left"] = {id: [f"{id}.de.vtt"] for id in "aefg"}
    add_words(own, "", progress=False)
    assert "files of words: 4; a.vtt is taken, a.de.vtt left; a.vtt is taken, e.de.vtt left; " in own.told[0]
    assert "; 1 more as their pages tell; --language" in own.told[0]


# ----------------------------------------------------------------------------------------------------- one's own words


@pytest.fixture
def own(tmp_path):
    """Three films with sound: one with subtitles, one with a text, one with neither; a fourth without sound."""
    folder, videos = tmp_path / "films", {}
    folder.mkdir()
    write_vtt(folder / "a.vtt", story(12))
    (folder / "b.txt").write_text("a film\n")
    for id in "abcd":
        film = write_film(folder / f"{id}.mkv", None if id == "d" else tone(1), seconds=100 if id == "a" else 4)
        captions = next((p for p in folder.iterdir() if p.stem == id and p != film), None)
        videos[id] = Video(id, film, captions, 100.0 if id == "a" else 4.0, "test")
    sources = {id: sha256_file(v.video) for id, v in videos.items()}
    return SimpleNamespace(corpus=Corpus(folder, "films", videos), sources=sources, out=tmp_path / "out", told=[],
                           words_from={}, drift={})  # fmt: skip


@pytest.fixture
def ears(monkeypatch):
    """Films listened to, by name; each gives two words."""
    listened = []

    def transcribing(path, model, heard):
        listened.append(path.stem)
        return Transcript([Word(1.0, 1.5, "Hello,"), Word(1.5, 2.0, path.stem)], "en")

    monkeypatch.setattr(own_words, "transcribe", transcribing)
    monkeypatch.setattr(own_words, "load_listener", lambda model: None)
    monkeypatch.setattr(own_words, "have", lambda names, offline, told: names)
    return listened


def test_where_words_come_from(own, ears):
    add_words(own, progress=False)
    assert ears == ["b", "c"], "what has subtitles is not listened to"
    assert own.words_from == {"a": "subtitles a.vtt", "b": "speech (whisper-tiny.en) and text b.txt",
                              "c": "speech (whisper-tiny.en)", "d": ""}  # fmt: skip
    assert own.corpus.captions("c") == [Caption(1.0, 2.0, "Hello, c")]
    assert [c.text for c in own.corpus.captions("b")] == ["a film", "Hello, b"]
    assert own.corpus.missing_captions == {"d": "there is no subtitle file; no sound"}
    assert words_line(own) == "words of videos: 1 subtitles, 2 what is said in them, 1 none"


def test_a_film_whose_subtitles_all_begin_after_its_end_is_listened_to(own, ears):
    write_vtt(own.corpus["a"].captions, [Caption(36001, 36002, "late")])
    add_words(own, progress=False)
    assert ears == ["a", "b", "c"] and own.words_from["a"] == "speech (whisper-tiny.en)"
    assert own.corpus.raw_captions("a") == own.corpus.captions("a") == [Caption(1.0, 2.0, "Hello, a")]


def test_a_film_that_is_gone_for_a_while_is_listened_to_later(own, ears):
    corpus, film = own.corpus, own.corpus["c"].video
    film.rename(film.with_suffix(".away"))
    add_words(own, progress=False)
    assert ears == ["b"] and own.corpus.missing_captions["c"] == "there is no subtitle file; it is gone"
    film.with_suffix(".away").rename(film)
    own.corpus = replace(corpus, missing_captions={})
    add_words(own, progress=False)
    assert ears == ["b", "c"]


def test_without_speech_and_without_a_model(own, monkeypatch):
    add_words(own, "", progress=False)
    assert own.words_from == {"a": "subtitles a.vtt", "b": "text b.txt", "c": "", "d": ""}
    monkeypatch.setattr(own_words, "have", lambda names, offline, told: told.append("No network.") or [])
    add_words(own, offline=True, progress=False)
    why = "not listened to, without whisper-tiny.en"
    assert own.told == ["No network.", f"Beside a text without times: 1 {why} (b)."] and own.words_from["c"] == ""
    assert own.corpus.missing_captions["c"] == f"there is no subtitle file; {why}"
    refused("expected the folder or hub name of a Whisper", add_words, own, "no-one/nonsense", progress=False)


def test_words_are_heard_once_and_damage_is_made_good(own, ears):
    corpus = own.corpus

    def again():
        ears.clear()
        own.corpus = corpus
        add_words(own, progress=False)
        return list(ears)

    again()
    tables = {p: p.stat().st_mtime_ns for p in (own.out / "cache" / "words").glob("*.csv")}
    assert again() == [] and {p: p.stat().st_mtime_ns for p in tables} == tables
    kept = [p for p in (own.out / "cache" / "words").glob("*.json") if "Hello" in p.read_text()]
    kept[0].write_text(kept[0].read_text().replace("Hello", "Hallo"))
    kept[1].write_text("{")
    assert again() == ["b", "c"] and own.corpus.captions("c")[0].text == "Hello, c"
    next(iter(tables)).write_text("")
    assert again() == [] and own.corpus.captions("c")[0].text == "Hello, c"
    assert set(read_json(kept[0])) == {"words", "language", "note", "sealed"}


def test_an_interruption_costs_one_video_and_a_fault_its_own(own, ears, monkeypatch):
    whole = own_words.transcribe

    def interrupted(path, model, heard):
        if path.stem == "c":
            raise KeyboardInterrupt
        return whole(path, model, heard)

    monkeypatch.setattr(own_words, "transcribe", interrupted)
    with pytest.raises(KeyboardInterrupt):
        add_words(own, progress=False)

    def faulty(path, model, heard):
        raise VcworkError(f"{path}: its sound could not be decoded")

    monkeypatch.setattr(own_words, "transcribe", faulty)
    ears.clear()
    add_words(own, progress=False)
    assert own.corpus.captions("b")[-1].text == "Hello, b", "heard before the interruption"
    assert own.corpus.missing_captions["c"].endswith("; c.mkv: its sound could not be decoded")


def test_drift_of_a_folder_and_its_fixed_copies(own, ears, monkeypatch):
    words = said(story(12), shift_s=3.0)
    monkeypatch.setattr(own_words, "transcribe", lambda path, model, heard: Transcript(words, "en"))
    add_words(own, "", progress=False)
    before = (own.corpus.folder / "a.vtt").read_bytes()
    add_drift(own, fix=True, progress=False)
    assert own.drift["a"].mid_s == pytest.approx(3, abs=0.3) and list(own.drift) == ["a"]
    assert any(line.startswith("a.vtt belongs +3.") or line.startswith("a.vtt belongs +2.9") for line in own.told)
    fixed = read_captions(own.corpus.folder / "a.fixed.vtt")
    assert [c.start_s for c in fixed] == pytest.approx([c.start_s + 3 for c in story(12)], abs=0.3)
    assert (own.corpus.folder / "a.vtt").read_bytes() == before
    add_drift(own, fix=True, progress=False)
    assert any("a.vtt is left as it is: a.fixed.vtt: not written; it is there already" in line for line in own.told)
