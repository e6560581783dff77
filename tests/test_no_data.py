"""What is absent is no error, and what is broken is never taken for absent: validation is not silently off."""

from types import SimpleNamespace

import pytest

from vcwork.base.errors import NoData, VcworkError
from vcwork.core.config import TrainConfig
from vcwork.training import window_choice
from vcwork.training.few_shot_tasks import choose_gamma
from vcwork.training.finetune import FinetuneRecipe
from vcwork.training.finetune_corpus import finetune
from vcwork.training.frames import frame_clips
from vcwork.training.validation import clip_recall, corpus_check


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
    with pytest.raises(VcworkError, match="line 3"):
        ASK[what](Told(VcworkError("captions.vtt, line 3: expected a time")))


def test_fine_tuning_and_gamma_do_not_hide_it_either(tmp_path):
    broken = Told(VcworkError("captions.vtt, line 3: expected a time"))
    with pytest.raises(VcworkError, match="line 3"):
        finetune(broken, STORE, None, FinetuneRecipe(task="retrieval"), tmp_path)
    who = SimpleNamespace(corpus=broken, store=STORE)
    with pytest.raises(VcworkError, match="line 3") as error:
        choose_gamma(who, None)
    assert not isinstance(error.value, NoData)
