"""The test that keeps us honest: a model trained on other videos' captions falls to chance on every task.

The same small world, the same budget, the same code; only the captions differ. The model with the true captions has to
be clearly better, or the comparison would show nothing.
"""

import numpy as np
import pytest

from vcwork.data.backbones.image import get_backbone
from vcwork.data.extract import extract
from vcwork.data.lab.make import LabConfig, make_corpus
from vcwork.encoders.encoder import encode_text, encode_video
from vcwork.tasks import classification, localization, retrieval, segmentation, videoqa
from vcwork.tasks.cases import annotated_clips, clip_scores, localization_cases, seconds_of_split
from vcwork.training.run import train
from vcwork.training.workspace import tiny_recipe


@pytest.fixture(scope="module")
def scored(ws, tmp_path_factory):
    """{true or shuffled: {metric: Result}} on the tiny world's test recipes, four videos of each."""
    folder = tmp_path_factory.mktemp("control")
    more = LabConfig.named("tiny").model_copy(update={"train_videos": 1, "test_videos": 4})
    corpus = make_corpus(folder / "corpus", more, progress=False)
    store = extract(corpus, get_backbone("motion"), folder / "features", progress=False)
    shuffled = train(ws.corpus, ws.store, folder / "shuffled", tiny_recipe().but(shuffle_captions=True))
    encoders = {"true": ws.encoder, "shuffled": shuffled}
    return {name: {r.name: r for r in every_task(encoder, corpus, store)} for name, encoder in encoders.items()}


def every_task(encoder, corpus, store) -> list:
    clips = annotated_clips(corpus, store, "test")
    scores = clip_scores(encoder, clips)
    choices, answer = videoqa.build_choices(clips.steps, 5, 0)
    test, val = (seconds_of_split(encoder, corpus, store, split) for split in ("test", "val"))
    gamma = segmentation.choose_gamma(val.scores, val.truths, "frame accuracy and foreground recall")
    recipes = sorted({v.recipe for v in test.videos})
    names = encode_text(encoder, [corpus.recipes[r].name for r in recipes])
    whole = encode_video(encoder, [store[v.id] for v in test.videos])
    return [
        *retrieval.evaluate(scores, clips.steps, clips.steps, clips.videos, clips.videos),
        *videoqa.evaluate(np.take_along_axis(scores.T, choices, 1), answer, clips.videos),
        *localization.evaluate(localization_cases(test, corpus)),
        *segmentation.evaluate(test.scores, test.truths, test.ids, gamma),
        *classification.evaluate(whole @ names.T, [recipes.index(v.recipe) for v in test.videos], test.ids),
    ]


TASKS = ("t2v_R@5", "v2t_R@5", "qa_accuracy", "recall_unordered", "foreground_recall", "accuracy@1")


@pytest.mark.parametrize("metric", TASKS)
def test_shuffled_captions_fall_to_chance(scored, metric):
    result = scored["shuffled"][metric]
    assert result.low <= result.chance, f"{metric} {result.value:.3f} is above chance {result.chance:.3f}"


@pytest.mark.parametrize("metric", ("t2v_R@5", "v2t_R@5", "qa_accuracy", "recall_unordered"))
def test_true_captions_do_better(scored, metric):
    true, shuffled = scored["true"][metric], scored["shuffled"][metric]
    assert true.low > true.chance and true.value > shuffled.value, (metric, true.value, shuffled.value)
