"""The panel of batches: ranks, hardness, false negatives and drift by hand, data that cannot become code."""

import numpy as np
import pytest
from checks import opened
from toys import short_recipe

from vcwork.base.errors import VcworkError
from vcwork.core.batches import cluster_batches, draw_pairs, video_vectors
from vcwork.core.config import ClusterConfig, TrainConfig
from vcwork.core.loop import pretrain
from vcwork.panels import make_clusters
from vcwork.panels.clusters import BatchClip, ClusterInspector, ClusterVideo
from vcwork.panels.make_clusters import epoch_vectors, inspect_clusters
from vcwork.review.retrieval_audit import false_negatives
from vcwork.tasks.cases import pair_steps
from vcwork.training.pairs import pair_data
from vcwork.training.run import new_encoder

EARLY = np.array([[0, 0], [9, 0], [8, 0], [7, 0], [1, 0.0]])
LATE = np.array([[0, 0], [1, 0], [3, 0], [6, 0], [10, 0.0]])
VIDEOS = [
    ClusterVideo("a", "soup", "r0", "r1", ("cut", "stir")),
    ClusterVideo("b", "soup", "r0", "r1", ("cut", "fry")),
    ClusterVideo("c", "stew", "r1", "r0", ("stir",)),
    ClusterVideo("d", "cake", "r2", "", ("bake",)),
    ClusterVideo("e", "bread", "r3", "", ("bake",)),
]
CLIPS = [
    [BatchClip(0, 3, "cut"), BatchClip(4, 6, "stir")],
    [BatchClip(0, 3, "cut"), BatchClip(1, 4, "cut")],
    [BatchClip(2, 5, "stir"), BatchClip(2, 5, "")],
    [BatchClip(0, 3, "bake"), BatchClip(4, 6, "")],
    [BatchClip(0, 3, "bake"), BatchClip(4, 6, "bake")],
]


def made(**more) -> ClusterInspector:
    options = {"k": 2, "clips": [CLIPS, CLIPS], "title": "kitchen"} | more
    return ClusterInspector({"early": EARLY, "late": LATE}, VIDEOS, **options)


@pytest.fixture
def panel() -> ClusterInspector:
    return made()


def test_a_batch_is_a_random_half_of_the_nearest(panel):
    pool = panel.spaces[1].pool[0]
    assert pool.tolist() == [0, 1, 2, 3], "the query itself, then 1, 3 and 6 away"
    drawn = {tuple(made(seed=seed).members(0, 0, 1)) for seed in range(40)}
    assert drawn == {(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)}, "any two of four, so the query may drop out"
    assert np.array_equal(panel.places(0, 0), panel.places(0, 0))


def test_what_is_told_of_the_members():
    a, b, c, d, _ = VIDEOS
    assert (a.kin(b), a.kin(c), a.kin(d), a.kin(ClusterVideo("z"))) == ("same recipe", "look-alike", "other", "")
    # mean vector (4, 0): a, b, c lie left of it, so all cosines are 1; b and c share nothing
    assert made().numbers([1, 2], 0, 1) == {
        "hardness": 1, "purity": 0.5, "steps_in_common": 0, "false_negatives": 0, "false_pairs": 0
    }  # fmt: skip


def test_false_negatives_are_pairs_of_different_videos_that_show_one_step(panel):
    numbers = panel.numbers([0, 1], 0, 1)
    # a's cut with both cuts of b, of 2 * 2 pairs; steps {cut, stir} and {cut, fry} share one of three
    assert numbers["false_pairs"] == 2 and numbers["false_negatives"] == 0.5 and numbers["purity"] == 1
    assert numbers["steps_in_common"] == round(1 / 3, 4)
    assert panel.numbers([3, 4], 0, 1)["false_pairs"] == 2 and panel.numbers([1, 3], 0, 1)["hardness"] == -1
    labels = [f"{v}{i}" if not c.step else c.step for v in range(5) for i, c in enumerate(CLIPS[v])]
    own = sum(2 * (len({c.step for c in some}) == 1) for some in CLIPS)  # b's cuts and e's bakes, both ways
    audited = false_negatives([labels])
    assert 2 * panel.numbers(range(5), 0, 1)["false_pairs"] == round(audited.share * audited.negatives) - own


def test_kept_is_the_share_of_neighbours_that_stayed(panel):
    # nearest of a: early e 1, d 7, c 8; late b 1, c 3, d 6
    assert made(queries=[0]).kept(1, 0) == pytest.approx(2 / 3, abs=1e-4)
    assert panel.kept(1, 1) == 1 and panel.panel()["kept"][1][0] == panel.kept(1, 0)


def test_random_batches_stand_beside(panel):
    beside = panel.random[1]
    assert beside["low"] <= beside["hardness"] <= beside["high"]
    unit = np.sign(LATE[:, 0] - 4)
    every = [unit[i] * unit[j] for i in range(5) for j in range(i)]
    assert beside["hardness"] == pytest.approx(np.mean(every), abs=0.25)


def test_without_truth_nothing_is_made_up():
    bare = [ClusterVideo(v.id) for v in VIDEOS]
    unknown = {"purity": None, "false_negatives": None, "steps_in_common": None, "false_pairs": None}
    for clips in ([], [[[BatchClip(0, 1)]] * 5]):  # no step is known, which is not the same as none
        found = ClusterInspector({"now": LATE}, bare, k=2, clips=clips).drawn[0][0][0]
        assert found == unknown | {"hardness": found["hardness"]}
    alone = ClusterInspector({"now": np.zeros((1, 3))}, [ClusterVideo("alone")], k=32)
    assert alone.drawn[0][0][0]["hardness"] == 0 and alone.kept(0, 0) is None


def test_the_page_shows_the_batch_and_who_it_is_false_to(browser, tmp_path):
    panel = made(seed=next(seed for seed in range(40) if made(seed=seed).members(0, 0, 1).tolist() == [0, 1]))
    state = panel.panel()
    assert state["numbers"][1][0][0] == panel.numbers([0, 1], 0, 1) and state["clips"][0][2] == [[2, 5, 2], [2, 5, -1]]
    assert state["pools"][1][0]["distance"] == [0, 1, 3, 6]
    with opened(browser, panel, tmp_path) as page:
        page.select_option("select[aria-label='query video']", "0")
        page.select_option("select[aria-label=batch]", "0")
        tiles = page.locator(".tile").all_inner_texts()
        assert "query, in its batch" in tiles[0] and "rank 1" in tiles[1] and "same recipe" in tiles[1]
        assert "2 of 3 neighbours stayed" in page.inner_text(".drift")
        page.locator(".tile").first.click()
        assert "“cut”" in page.inner_text(".readout") and "50.00 % (2)" in page.inner_text("table")


def test_videos_that_no_batch_shows_stay_at_home():
    state = made(queries=[0], k=1).panel()  # pools of two: early a and e, late a and b
    assert [v and v["id"] for v in state["videos"]] == ["a", "b", None, None, "e"]
    assert [len(clips) for clips in state["clips"][0]] == [2, 2, 0, 0, 2]


# ------------------------------------------------------------------------------------------------ from a corpus


@pytest.fixture(scope="module")
def config():
    return TrainConfig.checked(clusters=ClusterConfig(videos_per_batch=6, clips_for_vector=2))


@pytest.fixture(scope="module")
def data(ws):
    return pair_data(ws.corpus, ws.store, ws.encoder.tokenizer)


@pytest.fixture(scope="module")
def vectors(ws, data, config):
    return video_vectors(ws.encoder.model, ws.encoder.tokenizer, data, config, epoch=0)


def test_the_panel_of_a_corpus(ws, data, config, vectors, monkeypatch):
    for name, few in {"QUERIES": 5, "DRAWS": 2, "PICTURES": 12}.items():
        monkeypatch.setattr(make_clusters, name, few)
    panel = inspect_clusters(ws.corpus, data, {"now": vectors}, config, clips=3)
    ids = [track.video_id for track in data.tracks]
    assert [v.id for v in panel.videos] == ids and panel.queries == [0, 10, 20, 29, 39]
    assert any("5 of 40 videos can be asked for" in note for note in panel.notes)
    assert len(panel.pictures) == 12 and set(panel.queries) <= set(panel.pictures), "room for one frame of twelve"
    retrieved = cluster_batches(vectors, config.clusters, 40, np.random.default_rng(0))
    for batch in retrieved:  # what training draws lies in the pool of one of the videos
        assert any(set(batch.tolist()) <= set(pool.tolist()) for pool in panel.spaces[0].pool)
    rng = np.random.default_rng([config.seed, 17, 1])
    for v in range(3):
        pairs = draw_pairs(data, np.array([v]), config, rng, 3)
        names = [ws.corpus.steps.get(s, s) for s in pair_steps(ws.corpus, pairs)]
        assert [c.step for c in panel.clips[1][v]] == names
        assert [(c.start_s, c.end_s) for c in panel.clips[1][v]] == [(p.video_start, p.video_end) for p in pairs]
    first, shown = ws.corpus[ids[0]], panel.videos[0]
    assert (shown.recipe, shown.lookalike) == (first.recipe, ws.corpus.recipes[first.recipe].lookalike)
    with pytest.raises(VcworkError, match="expected search 'exact'"):
        cells = ClusterConfig(search="reference cell")
        inspect_clusters(ws.corpus, data, {"now": vectors}, config.model_copy(update={"clusters": cells}))


def test_vectors_of_the_first_epochs_are_those_of_a_run(ws, data, config):
    recipe = short_recipe(2, 1)
    training = recipe.train
    found = epoch_vectors(new_encoder(ws.corpus, ws.store, recipe), data, training, 1, config)
    assert list(found) == ["untrained", "epoch 1"] and found["untrained"].shape == (40, 128)
    fresh = new_encoder(ws.corpus, ws.store, recipe)
    assert np.array_equal(found["untrained"], video_vectors(fresh.model, fresh.tokenizer, data, config, 0))
    whole = []

    def keep(epoch, model):
        whole.append(video_vectors(model, fresh.tokenizer, data, config, 0))
        return {}

    for _ in pretrain(fresh.model, fresh.tokenizer, data, training, on_epoch=keep):
        pass
    assert np.array_equal(found["epoch 1"], whole[0]) and not np.allclose(whole[0], found["untrained"])
