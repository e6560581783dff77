"""What is said in a video: its words with their times, by Whisper through faster-whisper, on the CPU.

Sound is decoded by PyAV a piece at a time, so that a film of three hours takes the memory of a few minutes. Silero's
detector of voices, which comes with faster-whisper, says where somebody may speak; only there the model listens, in
windows of at most half a minute, each once and without chance: the same file gives the same words.
A model of speech hears words in everything. What it heard is kept only where it is sure, does not repeat itself, and
the detector hears a voice at that very word: `Gate`.
Times are the features' clock (`vcwork.data.film`).
Known gaps: who speaks is not told; of several sound tracks one is heard, that which players play; a song whose words
the model is sure of is speech.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import numpy as np

from vcwork.base.errors import VcworkError, could_not
from vcwork.data.backbones.hugging_face import hub_folder
from vcwork.data.backbones.weights import ASSETS, weights_folder
from vcwork.data.captions import Caption
from vcwork.data.copies import sound_of
from vcwork.data.engines import cores
from vcwork.data.film import Clock, Packets, container_of, decoded

MODEL = "whisper-tiny.en"
RATE = 16_000  # samples a second that the model hears
PIECE_S = 300  # of sound that is in memory at once
WINDOW_S = 30  # that the model hears at once
PAUSE_S = 2  # of silence that a window may bridge; a short window costs as much as a long one
GAP_S = 2  # in the time stamps: shorter ones are filled with silence
JITTER_S = 0.1  # by which time stamps and number of samples may differ
SENTENCE_S, SENTENCE_LETTERS, BREATH_S = 8, 84, 1  # a caption: two lines, no pause
SHORTEST_S = 0.1  # of a word, which the model may put on one instant
TOGETHER, MOST_TOKENS = 8, 224  # windows; of one window, as Whisper's authors decode

Spans = list[tuple[int, int]]  # [start, end) in samples


@dataclass(frozen=True)
class Gate:
    """What must hold for words to be believed.

    voice: probability that the detector gives; log_probability: mean over a window's tokens; no_speech: the model's own
    doubt that anybody speaks; compression: of the text by zlib, high where it repeats itself.
    Chosen with tiny.en on noises, tunes, hums and silence made here, half of an animated film without words, a talk and
    a sonnet read aloud (clean, with noise or music at 5 and 0 dB, and backwards, in windows of 1.5 to 15 s), and a
    synthetic voice in six languages. Of 158 windows of backward speech the surest had -0.48: none passes, as none of
    the other sounds without words and none of the five foreign languages. Of windows with less than a third of the
    words wrong 76 % pass (clear speech in long windows: all), of those with half of them wrong 13 %.
    """

    voice: float = 0.5
    log_probability: float = -0.45
    no_speech: float = 0.5
    compression: float = 2.4

    def believes(self, heard: Any) -> bool:
        """Of a Segment of faster-whisper, one a window."""
        sure = heard.avg_logprob >= self.log_probability and heard.no_speech_prob <= self.no_speech
        return sure and heard.compression_ratio <= self.compression


@dataclass(frozen=True)
class Word:
    """One word with its punctuation, and when it is said."""

    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True)
class Transcript:
    """What is said. `note` tells in one sentence why there is nothing, or what was left out; "" where all is well."""

    words: list[Word] = field(default_factory=list)
    language: str = ""
    note: str = ""

    @property
    def captions(self) -> list[Caption]:
        """The words as captions: ended by a sentence's end, a pause, or two full lines."""
        found: list[list[Word]] = []
        for word in self.words:
            last = found[-1] if found else []
            letters = sum(len(w.text) + 1 for w in last) + len(word.text)
            goes_on = last and last[-1].text[-1] not in ".?!" and word.start_s - last[-1].end_s < BREATH_S
            if goes_on and word.end_s - last[0].start_s <= SENTENCE_S and letters <= SENTENCE_LETTERS:
                last.append(word)
            else:
                found.append([word])
        return [Caption(words[0].start_s, words[-1].end_s, " ".join(w.text for w in words)) for words in found]


def transcribe(
    path: str | Path, model: str = MODEL, language: str = "", gate: Gate = Gate(),
    heard: Callable[[float], Any] = lambda seconds: None,
) -> Transcript:  # fmt: skip
    """What is said in a video or sound file.

    model: as `model_folder`. language: a code such as `de`, empty: the one that the model hears first. heard: is told
    after each piece how many seconds of sound that was. VcworkError: a file or a model that cannot be read.
    """
    words: list[Word] = []
    sound_s, voice_s, lost_s, share = 0.0, 0.0, 0.0, 1.0
    for start_s, samples, spans in pieces(path, gate):
        if spans:
            segments, about = load_listener(model)(samples, _windows(spans), language)
            if not language:
                language, share = about.language, about.language_probability
        for segment in segments if spans else ():
            voice_s += segment.end - segment.start
            if gate.believes(segment):
                words += [_word(w, start_s) for w in segment.words if _in_voice(w, spans)]
            else:
                lost_s += segment.end - segment.start
        sound_s += len(samples) / RATE
        heard(len(samples) / RATE)
    told = _note(sound_s, voice_s, lost_s, bool(words)) or ("" if share == 1 else f"language: {language} ({share:.2f})")
    return Transcript(words, language, told)


def _note(sound_s: float, voice_s: float, lost_s: float, words: bool) -> str:
    if not sound_s:
        return "no sound"
    if not voice_s:
        return "sound, but no speech"
    if not words:
        return "a voice, but no words that the model is sure of: singing, noise or a language that it does not know"
    lost = f"{lost_s:.0f} of {voice_s:.0f} s of voices are left out, the model was not sure of their words"
    return lost if lost_s > 0.1 * voice_s else ""


def _word(word: Any, start_s: float) -> Word:
    end_s = max(word.end, word.start + SHORTEST_S)
    return Word(round(float(start_s + word.start), 2), round(float(start_s + end_s), 2), word.word.strip())


def _in_voice(word: Any, spans: Spans) -> bool:
    middle = (word.start + word.end) / 2 * RATE
    return bool(word.word.strip()) and any(start <= middle <= end for start, end in spans)


# ------------------------------------------------------------------------------------------------------------ model


def model_folder(model: str = MODEL) -> Path:
    """The folder of a fetched asset, or of a Whisper model for CTranslate2, given as that or by its name on the hub."""
    expected = "expected the folder or hub name of a Whisper model for CTranslate2, or whisper-tiny.en"
    patterns = ("*.json", "model.bin", "vocabulary.*")
    folder = weights_folder(model) if model in ASSETS else hub_folder("speech", model, patterns, expected)
    for name in ("model.bin", "config.json", "tokenizer.json"):
        if not (folder / name).is_file():
            raise VcworkError(f"speech {model!r}: {expected}; found no {name} in it")
    return folder


@lru_cache(maxsize=1)
def load_listener(model: str = MODEL) -> Callable[[np.ndarray, Spans, str], tuple[Any, Any]]:
    """A function of samples, windows and language ("": hear it), to segments of words and what the model says of them.

    model: as `model_folder`. In int8, which every processor that
    CTranslate2 knows can do in one way or another; it falls back to float32. VcworkError where it is not a model.
    """
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    folder = model_folder(model)
    try:
        with ThreadPoolExecutor(1) as aside:  # it sets the number of threads of whoever loads it, for torch as well
            whisper = aside.submit(WhisperModel, str(folder), "cpu", compute_type="int8", cpu_threads=cores()).result()
    except (RuntimeError, ValueError) as error:
        raise VcworkError(f"{folder}: not a Whisper model that CTranslate2 reads ({error})") from error
    pipeline = BatchedInferencePipeline(whisper)

    def listen(samples: np.ndarray, windows: Spans, language: str) -> tuple[Any, Any]:
        clips = [{"start": start / RATE, "end": end / RATE} for start, end in windows]
        how = {"word_timestamps": True, "batch_size": TOGETHER, "max_new_tokens": MOST_TOKENS}
        return pipeline.transcribe(samples, clip_timestamps=clips, language=language or None, **how)

    return listen


def voices(samples: np.ndarray, gate: Gate = Gate()) -> Spans:
    """Where somebody may speak, by Silero's detector; none is longer than a window."""
    from faster_whisper.vad import VadOptions, get_speech_timestamps

    options = VadOptions(gate.voice, None, 250, WINDOW_S, 500, 200)
    return [(span["start"], span["end"]) for span in get_speech_timestamps(samples, options)]


def _windows(spans: Spans) -> Spans:
    """Spans joined over short pauses, none longer than the model hears at once."""
    found = spans[:1]
    for start, end in spans[1:]:
        if start - found[-1][1] <= PAUSE_S * RATE and end - found[-1][0] <= WINDOW_S * RATE:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found


# ------------------------------------------------------------------------------------------------------------ sound


def pieces(path: str | Path, gate: Gate = Gate()) -> Iterator[tuple[float, np.ndarray, Spans]]:
    """The sound, (start_s, samples (n,), voices in it) at a time, cut in silence, and where its time stamps jump."""
    start_s, parts, n = 0.0, [], 0
    for at_s, samples in sound(path):
        gap_s = at_s - (start_s + n / RATE)
        if abs(gap_s) > GAP_S or not n:
            if n:
                yield _piece(start_s, parts, gate)
            start_s, parts, n = at_s, [], 0
        elif gap_s > JITTER_S:
            samples = np.concatenate([np.zeros(int(gap_s * RATE), np.float32), samples])
        elif gap_s < -JITTER_S:
            samples = samples[int(-gap_s * RATE) :]
        parts.append(samples)
        n += len(samples)
        if n > PIECE_S * RATE:
            _, whole, spans = _piece(start_s, parts, gate)
            cut = n - RATE
            if spans and spans[-1][1] > cut:
                cut = min(cut, spans.pop()[0])
            yield start_s, whole[:cut], spans
            start_s, parts, n = start_s + cut / RATE, [whole[cut:]], n - cut
    if n:
        yield _piece(start_s, parts, gate)


def _piece(start_s: float, parts: list[np.ndarray], gate: Gate) -> tuple[float, np.ndarray, Spans]:
    whole = np.concatenate(parts)  # (n,)
    return start_s, whole, voices(whole, gate)


def has_sound(path: str | Path) -> bool:
    """Whether there is a sound track that can be decoded."""
    try:
        with container_of(path) as container:
            return sound_of(container) is not None
    except (av.FFmpegError, OSError):
        return False


def sound(path: str | Path) -> Iterator[tuple[float, np.ndarray]]:
    """The sound track as it is decoded, (start_s, samples (n,) float32 of one channel) at a time.

    Nothing where there is no track that can be decoded. Packets that do not decode are left out. VcworkError where the
    file cannot be read.
    """
    if not Path(path).is_file():
        raise VcworkError(f"{path}: no such file")
    with could_not(f"{path}: its sound could not be decoded", av.FFmpegError), container_of(path) as container:
        stream = sound_of(container)
        if stream is not None:
            yield from _resampled(container, stream)


def _resampled(container: Any, stream: Any) -> Iterator[tuple[float, np.ndarray]]:
    clock, kind, resampler = Clock(container, stream), None, None
    for packet in Packets(container, stream):
        for frame in decoded(packet):
            start_s = clock.place(frame.time, frame.samples / frame.sample_rate)
            if kind != (kind := (frame.format.name, frame.layout.name, frame.sample_rate)):
                resampler = av.AudioResampler("flt", "mono", RATE)
            for heard in resampler.resample(frame) if start_s is not None else ():
                yield start_s, heard.to_ndarray().reshape(-1)  # (n,)
