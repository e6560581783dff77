"""`benchmarks/dose.py`: each dose changes what it says and nothing else, and curves are differences within a world."""

import json

import numpy as np
import pytest

from vcwork.core.config import ClusterConfig
from vcwork.data.captions import Caption
from vcwork.data.corpus import Segment, Video
from vcwork.data.lab.make import plan
from vcwork.measure.intervals import t_half_width
from vcwork.panels import plots


@pytest.fixture(scope="module")
def dose(root):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(root)
        from benchmarks import dose
    return dose


SAID = [Caption(0, 2, "now chop the tomato"), Caption(5, 9, "with the knife"), Caption(9.5, 10, "done")]


def test_lag_and_noise(dose):
    assert dose.late(SAID, 0, 10) == SAID
    assert dose.late(SAID, 4, 10) == [Caption(4, 6, SAID[0].text), Caption(9, 10, SAID[1].text)], (
        "cut at the end, or gone"
    )
    pool = ["xx"] * 3
    many = [Caption(0, 1, "a b c d e f g h i j")] * 200
    wrong = [[w == "xx" for c in dose.misheard(many, share, pool, np.random.default_rng(0)) for w in c.text.split()]
             for share in (0, 0.2, 0.8)]  # fmt: skip
    assert np.mean(wrong, 1) == pytest.approx([0, 0.2, 0.8], abs=0.03)
    assert not np.any(np.array(wrong[1]) & ~np.array(wrong[2])), "wrong at one share, wrong at every higher one"
    assert dose.dosed({"v": SAID}, {"v": 10}, "background", 3, 0) == {"v": SAID}


def test_other_pauses_leave_every_step_as_it_is(dose):
    """A story's seconds told apart: feature = second of the film; each step keeps its own, in order."""
    old = plan(dose.WORLD)[0]
    shown = np.zeros(old.duration_s, int)
    for i, h in enumerate(old.happenings):
        shown[int(h.start_s) : int(np.ceil(h.end_s))] = i + 1
    film = Video(old.id, None, None, old.duration_s, "train", old.recipe.id,
                 tuple(Segment(h.start_s, h.end_s, h.step.id) for h in old.happenings))  # fmt: skip
    told = dose.Told(old.id, "f", np.arange(old.duration_s)[:, None], shown, [])
    for low, high in dose.PAUSES:
        new = plan(dose.WORLD.model_copy(update={"gap_min_s": low, "gap_max_s": high}))[0]
        assert [h.step for h in new.happenings] == [h.step for h in old.happenings]
        lengths = [[h.end_s - h.start_s for h in story.happenings] for story in (old, new)]
        assert lengths[0] == pytest.approx(lengths[1], abs=0.02), "steps as long as they were"
        made = dose.laid_out_anew(film, told, new, 0)
        assert len(made.features) == len(made.shown) == new.duration_s
        assert (shown[made.features[:, 0]] == made.shown).all(), "a second shows what its film showed"
        first = int(new.happenings[0].start_s)
        assert made.features[first : first + 3, 0].tolist() == list(
            range(int(old.happenings[0].start_s), int(old.happenings[0].start_s) + 3)
        )
        assert made.captions and made.captions[-1].end_s <= new.duration_s


def test_batches_of_few_families_use_all_videos_as_often(dose):
    families = np.repeat([f"f{i}" for i in range(20)], 4)
    for shown in dose.DOSES["false negatives"]:
        rng, config = np.random.default_rng(0), ClusterConfig(videos_per_batch=16)
        batches = dose.alike(families, shown, np.empty(0), config, 400, rng)
        assert all(len(set(b)) == 16 and len(set(families[b])) == shown for b in batches)
        often = np.bincount(np.concatenate(batches), minlength=80)
        assert often.mean() == 80 and often.min() > 0.6 * 80 and often.max() < 1.5 * 80


def test_every_cell_once_and_whole_curves_first(dose):
    every = list(dose.cells(["overlapped", dose.RIDGE, dose.WORDS], [0, 1, 2]))
    assert len(set(every)) == len(every) == 3 * ((1 + 4 * 3 + 5) + (1 + 4 * 3) + (1 + 4 * 2))
    assert [f for _, f, _, _ in every] == sorted((f for _, f, _, _ in every), key=list(dose.DOSES).index)
    assert dose.recipe_of("strict", 1).train.pairs.rule == "strict" and dose.recipe_of("sigmoid", 1).train.seed == 1


def row(objective: str, factor: str, dose: float, seed: int, value: float) -> dict:
    told = {"objective": objective, "factor": factor, "dose": dose, "seed": seed, "false_negatives": 0.1}
    return told | {"t2v_R@1": value, "t2v_R@1_chance": 0.02}


def test_curves_are_means_and_differences_within_a_world(dose, tmp_path, monkeypatch):
    monkeypatch.setattr(dose, "background", lambda folder, seed, pause: 0.1 * (pause + 1))
    base, late = [0.3, 0.5, 0.4], [0.2, 0.35, 0.35]
    rows = [row("strict", "lag", 0, s, v) for s, v in enumerate(base)]
    rows += [row("strict", "lag", 8, s, v) for s, v in enumerate(late)]
    rows += [row("strict", "background", 0, s, v) for s, v in enumerate(base)]
    found = {(c["factor"], c["dose"]): c for c in dose.curves(rows, tmp_path) if c["metric"] == "t2v_R@1"}
    assert found.keys() == {("lag", 0), ("lag", 8), ("background", 0), ("background", 2)}, "noise has no dose but none"
    change = found["lag", 8]["change"]
    assert change["mean"] == pytest.approx(-0.1) and found["lag", 8]["at"] == 8
    half = t_half_width([-0.1, -0.15, -0.05])
    assert [change["low"], change["high"]] == pytest.approx([-0.1 - half, -0.1 + half], abs=1e-4)
    assert found["background", 2]["at"] == pytest.approx(0.3) and found["background", 2]["change"]["mean"] == 0
    assert dose.curves(rows[:1], tmp_path) == [], "one world has no interval"


def test_what_is_stored_is_a_whole_series_and_can_be_drawn(root):
    stored = json.loads((root / "benchmarks/results/dose.json").read_text())
    found = stored["curves"]
    assert {c["worlds"] for c in found} == {3} and stored["minutes"] > 0
    fig = plots.dose_curves(found, "t2v_R@1")
    top = [ax for ax in fig.axes if ax.get_title()]
    assert [ax.get_title() for ax in top] == list(dict.fromkeys(c["factor"] for c in found))
    for ax in top:
        who = {c["objective"] for c in found if c["factor"] == ax.get_title()}
        drawn = [line for line in ax.lines if len(line.get_xdata())]  # the key names all objectives in one place
        assert len(drawn) == len(who) + 1, "and chance"
    plots.plt.close(fig)
