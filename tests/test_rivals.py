"""Retrieval beside ridge: the same queries, what the model is ahead, and a video read as a whole."""

import pytest

from vcwork.review.rivals import ClipRidge, beside_ridge, gains_table, whole_video_results
from vcwork.tasks import retrieval
from vcwork.tasks.cases import annotated_clips, setting_of
from vcwork.training.run import new_encoder
from vcwork.training.workspace import prepare, tiny_recipe


@pytest.fixture(scope="module")
def stage():
    """Workspace, clips of test, their card, and ridge fitted on train."""
    ws = prepare()
    clips = annotated_clips(ws.corpus, ws.store, "test")
    return ws, clips, setting_of(ws.corpus, "test", ws.store), ClipRidge(ws.corpus, ws.store)


@pytest.mark.parametrize("model", ["ridge itself", "perfect"])
def test_what_a_model_is_ahead_of_ridge(stage, model):
    _, clips, card, ridge = stage
    scores = ridge.score(clips) if model == "ridge itself" else clips.same.astype(float)
    results = retrieval.evaluate(scores, *clips.labels, setting=card)
    theirs = {r.name: r for r in beside_ridge(ridge, clips, scores, results, {}, card)}
    assert {"ridge_t2v_R@1", "ridge_v2t_MdR"} <= theirs.keys() and "ridge_t2v_instance_R@1" not in theirs
    named = {r.name: r for r in results}
    for name in ("t2v_R@1", "t2v_R@10", "t2v_within_video_R@1"):
        gain = named[name].extra["minus_ridge"]
        assert gain["difference"] == pytest.approx(named[name].value - theirs[f"ridge_{name}"].value)
    ahead = named["t2v_R@1"].extra["minus_ridge"]
    assert (ahead["low"] > 0 and ahead["randomisation_p"] < 0.05) == (model == "perfect")
    assert gains_table(results).count("ridge") == 3


def test_a_video_read_as_a_whole_stands_beside_what_knows_the_order(stage):
    ws, clips, card, ridge = stage
    encoder = new_encoder(ws.corpus, ws.store, tiny_recipe())
    encoder.model.eval()  # with dropout no two readings are alike
    [alone] = whole_video_results(encoder, ws.store, clips, {}, card)
    ours, *theirs = whole_video_results(encoder, ws.store, clips, {}, card, ridge)
    assert alone.value == ours.value and not alone.extra.keys() & {"minus_ridge"}
    assert [r.name.removesuffix("_whole_video_R@1") for r in theirs] == ["ridge", "ridge_order", "order_alone"]
    for other in theirs:
        behind = ours.extra[f"minus_{other.name.removesuffix('_whole_video_R@1')}"]["difference"]
        assert behind == pytest.approx(ours.value - other.value), other.name
    assert "order from the words alone" in ours.trivial
