"""Validation: what is absent is no error, what is broken is told; which window a sentence chooses, by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
from checks import refused

from vcwork.base.errors import NoData, VcworkError
from vcwork.core.config import TrainConfig
from vcwork.core.sampling import sliding_windows
from vcwork.training import window_choice
from vcwork.training.few_shot_tasks import choose_gamma
from vcwork.training.finetune import FinetuneRecipe
from vcwork.training.finetune_corpus import finetune
from vcwork.training.frames import frame_clips
from vcwork.training.validation import clip_recall, corpus_check
from vcwork.training.window_choice import Spoken, evaluate


class Told:
    """A corpus that answers every question about its videos alike: there are none, or one of its files is broken."""

    folder, name, steps, recipes = "corpus", "corpus", {}, {}

    def __init__(self, error: VcworkError | None = None) -> None:
        self.error = error

    def split(self, _: str) -> list:
        if self.error:
            raise self.error
        return []


STORE = SimpleNamespace(folder="features", lengths={})
ASK = {
    "validation": lambda corpus: corpus_check(corpus, STORE, TrainConfig())(SimpleNamespace(tokenizer=None)),
    "windows": lambda corpus: window_choice.numbers(None, corpus, STORE),
    "frames": lambda corpus: clip_recall(None, lambda: frame_clips(corpus, "val")),
}


@pytest.mark.parametrize("what", ASK)
def test_absent_gives_nothing_and_broken_is_told(what):
    assert ASK[what](Told()) == {}
    refused("line 3", ASK[what], Told(VcworkError("captions.vtt, line 3: expected a time")))


def test_fine_tuning_and_gamma_do_not_hide_it_either(tmp_path):
    broken = Told(VcworkError("captions.vtt, line 3: expected a time"))
    refused("line 3", finetune, broken, STORE, None, FinetuneRecipe(task="retrieval"), tmp_path)
    who = SimpleNamespace(corpus=broken, store=STORE)
    with pytest.raises(VcworkError, match="line 3") as error:
        choose_gamma(who, None)
    assert not isinstance(error.value, NoData)


def videos(n: int = 30) -> list[Spoken]:
    """Three sentences a video, each spoken 6 s before its segment of 8 s; windows of 8 s every 4 s of 60 s."""
    rng, out = np.random.default_rng(0), []
    windows = np.array(sliding_windows(60, 8, 4), float)
    for v in range(n):
        starts = rng.choice(np.arange(8, 52, 4), 3, replace=False).astype(float)
        out.append(Spoken(f"v{v}", ["a", "b", "c"], starts - 6, np.stack([starts, starts + 8], 1), windows))
    return out


def by_name(scores, spoken) -> dict:
    return {r.name: r for r in evaluate(scores, spoken, n_boot=50)}


def test_a_perfect_chooser():
    spoken = videos()
    scores = [-np.abs(v.windows[:, 0] - v.segments[:, :1]) for v in spoken]
    found = by_name(scores, spoken)
    assert found["choice_pointing"].value == 1 and found["choice_IoU"].value == 1
    assert not found["same_choice"].extra["collapsed"]
    assert found["same_choice"].value == pytest.approx(1 / 3), "three segments, three windows"


def test_a_collapsed_chooser_is_detected():
    spoken = videos()
    scores = [np.tile(np.arange(len(v.windows)) == 5, (3, 1)).astype(float) for v in spoken]
    found = by_name(scores, spoken)
    assert found["same_choice"].value == 1 and found["same_choice"].extra["collapsed"]
    assert found["choice_pointing"].low < found["choice_pointing"].chance + 0.1


def test_a_random_chooser_is_at_chance_everywhere():
    spoken, rng = videos(400), np.random.default_rng(1)
    found = by_name([rng.normal(size=(3, len(v.windows))) for v in spoken], spoken)
    for r in found.values():
        assert r.value == pytest.approx(r.chance, abs=0.03), r.name
    middles = spoken[0].windows.mean(1)
    by_hand = [((middles >= s) & (middles <= e)).mean() for v in spoken for s, e in v.segments]
    assert found["choice_pointing"].chance == pytest.approx(np.mean(by_hand))
    told = found["choice_pointing"].trivial["the window where it is spoken"]
    hits = [any(s <= m <= e for m in [middles[np.abs(middles - t).argmin()]])
            for v in spoken for t, (s, e) in zip(v.spoken_s, v.segments, strict=True)]  # fmt: skip
    assert told == pytest.approx(np.mean(hits))


def test_one_sentence_a_video_cannot_collapse():
    spoken = [Spoken(v.video_id, ["a"], v.spoken_s[:1], v.segments[:1], v.windows) for v in videos()]
    refused("two sentences each", evaluate, [np.zeros((1, len(v.windows))) for v in spoken], spoken)
