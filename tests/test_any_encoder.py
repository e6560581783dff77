"""A class of one's own with two methods goes wherever an encoder goes: tasks, cards, indexes."""

import numpy as np
from checks import refused

from vcwork.encoders.encoder import AnyEncoder, encode_seconds, encode_text, encode_video
from vcwork.search.library import ask, build_library
from vcwork.tasks import retrieval
from vcwork.tasks.cases import annotated_clips, clip_scores, moment_cases, overview, seconds_of_split, setting_of
from vcwork.tasks.moments import evaluate


class Mine(AnyEncoder):
    """Random but steady: a projection of the mean feature, and of letters counted."""

    digest, width = "mine 1", 12

    def __init__(self, contract):
        self.contract, rng = contract, np.random.default_rng(0)
        self.eye, self.ear = rng.standard_normal((contract.width, 12)), rng.standard_normal((26, 12))

    def encode_clips(self, clips, batch_size=64):
        return np.stack([np.mean(clip, axis=0) @ self.eye for clip in clips]).astype(np.float32)

    def encode_texts(self, sentences, batch_size=64):
        counts = [[text.count(chr(97 + i)) for i in range(26)] for text in sentences]
        return (np.array(counts) @ self.ear).astype(np.float32)


class WithSeconds(Mine):
    """As before, and a vector of every second."""

    def encode_seconds(self, clips, *options, **more):
        return ((np.asarray(clip) @ self.eye).astype(np.float32) for clip in clips)


def test_two_methods_are_enough_for_a_retrieval_number_and_an_index(ws):
    mine, split = Mine(ws.store.contract), "test"
    clips = annotated_clips(ws.corpus, ws.store, split)
    card = setting_of(ws.corpus, split, ws.store, mine, clips)
    results = retrieval.evaluate(clip_scores(mine, clips), *clips.labels, setting=card)
    assert results[0].protocol.model == "mine 1" and 0 <= results[0].value <= 1
    assert "encoder Mine" in overview(ws.corpus, ws.store, mine, split)
    index = build_library(mine, {id: ws.store[id] for id in ws.store.ids[:6]}, per="window")
    assert index.encoder == "mine 1" and len(ask(index, mine, ["stir the soup"], 3)[0]) == 3
    assert encode_video(mine, clips.features[:2]).shape == encode_text(mine, ["a", "b"]).shape == (2, 12)
    refused("Mine gives one vector a clip, none a second", encode_seconds, mine, clips.features[0])


def test_with_a_third_method_seconds_are_scored_too(ws):
    seconds = seconds_of_split(WithSeconds(ws.store.contract), ws.corpus, ws.store, "test")
    found = evaluate(moment_cases(seconds))
    assert [r.name for r in found] == ["pointing", "moment_tIoU"]
