"""Every figure draws, names its axes, and cuts no label off; the map is the same from run to run."""

import html

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from checks import refused

from vcwork.core.sampling import Pair
from vcwork.measure.card import Card
from vcwork.measure.result import Result
from vcwork.panels import plots
from vcwork.panels.alternative import describe
from vcwork.tasks.moments import best_moments
from vcwork.tasks.segmentation import gamma_curve

RNG, CARD = np.random.default_rng(0), Card("toy", "toy", "any")
STEPS = ["chop the zucchini with the spatula", "stir the onion with the spoon", "grate a very long name " * 4]
TRUTH = [(3.0, 9.0, 0), (12.0, 20.0, 2)]
SCORES = RNG.standard_normal((3, 40))
RESULTS = [
    Result("t2v_R@1", 0.5, 0.4, 0.6, 0.01, CARD, 100, {"constant score": 0.01}),
    Result("accuracy@1", 1.0, 0.9, 1.0, 0.1, CARD, 100, {"majority class": 0.2}),
    Result("t2v_MdR", 3, 2, 4, 50, CARD, 100, unit="rank"),
]
SECONDS = [RNG.standard_normal((30, 4)) for _ in range(3)], [RNG.integers(0, 5, 30) for _ in range(3)]
FRAMES = [np.full((36, 64, 3), 40 * i, np.uint8) for i in range(5)]
PAIRS = [Pair("v", 0, 1, [1], 4.0, 11.0, 2, 9), Pair("v", 3, 3, [1], 20.0, 22.0, 18, 30)]

DRAW = {
    "similarity_heatmap": lambda ax: plots.similarity_heatmap(ax, SCORES, STEPS, TRUTH, [5, 8, 15], "Steps"),
    "timeline": lambda ax: plots.timeline(
        ax, {lane: [(s, e, STEPS[k]) for s, e, k in TRUTH] for lane in ("truth", "prediction")}, 40, "Lanes"
    ),
    "score_curve": lambda ax: plots.score_curve(ax, SCORES[0], best_moments(SCORES[0]), [(3, 9)], "Query"),
    "frame_strip": lambda ax: plots.frame_strip(ax, FRAMES, [f"{i} s: {STEPS[i % 3]}" for i in range(5)], "Frames"),
    "loss_curve": lambda ax: plots.loss_curve(ax, np.arange(50), {"train": RNG.random(50)}, {"log B": 3.0}, 5, "Loss"),
    "bars_with_intervals": lambda ax: plots.bars_with_intervals(ax, RESULTS, "Results"),
    "stacked_bars": lambda ax: plots.stacked_bars(
        ax, {"text to video": {"right": 8, "right video, wrong clip": 2}, "video to text": {"right": 5}}, "Errors"
    ),
    "pair_spans": lambda ax: plots.pair_spans(ax, PAIRS, [(3, 9, "1"), (12, 20, "2")], 40, "Pairs"),
    "gamma_curve": lambda ax: plots.gamma_curve(ax, gamma_curve(*SECONDS), {"validation": 1.0, "naive": 9.0}, 0.2, "g"),
    "histogram": lambda ax: plots.histogram(
        ax, {"a": RNG.random(9), "b": RNG.random(5)}, 4, {"mean": 0.5}, "offset (s)"
    ),
    "embedding_scatter": lambda ax: plots.embedding_scatter(
        ax, RNG.random((60, 2)), [f"carrot and onion stew {i % 12}" for i in range(60)], 8, np.array([0.4, 0.2]), "Map"
    ),
    "matrix": lambda ax: plots.matrix(ax, RNG.random((3, 3)), STEPS, STEPS, label="share", title="M"),
}


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.mark.parametrize("name", DRAW)
def test_figure_draws_on_the_axes_given_and_cuts_no_label_off(name):
    fig, ax = plots.figure(7, 3.2)
    assert DRAW[name](ax) is ax
    fig.canvas.draw()
    boxes = [fig.get_tightbbox().transformed(fig.dpi_scale_trans), *(t.get_window_extent() for t in ax.texts)]
    for box in boxes:
        assert box.x0 >= -1 and box.x1 <= fig.bbox.x1 + 1, f"{name} leaves the figure sideways: {box}"
        assert box.y0 >= -1 and box.y1 <= fig.bbox.y1 + 1, f"{name} leaves the figure: {box}"


def test_the_numbers_drawn_are_the_numbers_given():
    ax = plots.bars_with_intervals(plots.figure()[1], RESULTS)
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([50, 100])  # the rank is no share: left out
    assert [t.get_text() for t in ax.get_yticklabels()] == ["t2v_R@1", "accuracy@1"]
    ax = plots.loss_curve(plots.figure()[1], np.arange(9), {"train": np.arange(9.0)}, smooth=3)
    x, y = ax.lines[1].get_data()
    assert x.tolist() == pytest.approx(y.tolist())  # a straight line stays where it is: smoothing does not lag
    ax = plots.embedding_scatter(plots.figure()[1], RNG.random((60, 2)), [str(i % 12) for i in range(60)], 8)
    legend = [t.get_text() for t in ax.get_legend().get_texts()]
    assert len(legend) == 9 and legend[-1] == "4 others (n = 20)"


def test_pca_has_a_fixed_sign_and_explains_what_it_says():
    vectors = RNG.standard_normal((50, 8)) * np.array([9, 4, 1, 1, 1, 1, 1, 1])
    xy, shares = plots.pca_2d(vectors)
    assert np.allclose(np.abs(xy[:, 0]), np.abs(vectors[:, 0] - vectors[:, 0].mean()), atol=3)
    assert shares[0] > 0.6 > shares[1] and np.allclose(xy.var(0) / vectors.var(0).sum(), shares)
    again, _ = plots.pca_2d(vectors[::-1])
    assert np.allclose(again[::-1], xy)
    refused("NaN", plots.pca_2d, np.array([[np.nan, 0], [1, 2]]))


TOLD = {
    "similarity_heatmap": "Steps, time in the video (s): chop the zucchini with the spatula: highest 1.49 at 39; ",
    "timeline": "Lanes, time in the video (s): truth: 1 chop the zucchini with the spatula 3 to 9, 2 grate ",
    "score_curve": "over time in the video (s): truth 3 to 9, score from 0.126 to 1.49, lowest -2.33 at 12.5, highest ",
    "frame_strip": "Frames: 5 pictures, 0 s: chop the zucchini with the spatula, 1 s: stir ",
    "loss_curve": "Loss, loss (nats) over training step: train from 0.",
    "bars_with_intervals": "Results, percent: t2v_R@1: value 50, 95 % interval over videos 40 to 60, chance 1; acc",
    "stacked_bars": "text to video: right 0 to 80, right video, wrong clip 80 to 100; video to text: right 0 to 100.",
    "pair_spans": "a step happens 3 to 9; pair 1: text clip 4 to 11, video clip 2 to 9; pair 2: ",
    "gamma_curve": "frame accuracy from 17.8 to 17.8, lowest 14.4 at 1.2, highest 20 at -0.0217",
    "histogram": "share over offset (s): a (n = 9), most (0.",
    "embedding_scatter": "component 1 (40 % of variance): carrot and onion stew 0 (n = 5), ",
    "matrix": "M: chop the zucchini with the spatula: highest 0.",
}


def test_a_figure_is_told_in_words():
    for name, draw in DRAW.items():
        fig, ax = plots.figure()
        draw(ax)
        assert TOLD[name] in (told := describe(fig)) and "nan" not in told, told
    assert describe(plots.empty("no scores to compare")) == "no scores to compare."
    assert describe(plt.figure()) == "An empty figure."


def test_a_notebook_keeps_the_words_beside_the_picture(monkeypatch):
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    try:
        fig, ax = plots.figure()
        DRAW["stacked_bars"](ax)
        assert shell.display_formatter.formatters["text/plain"](fig) == describe(fig)
        assert shell.display_formatter.formatters["text/html"](fig) is None, "a stored picture is stored once"
        monkeypatch.setattr("vcwork.panels.alternative.someone_watches", lambda: True)
        ax.set_title('a "title"')
        shown = shell.display_formatter.formatters["text/html"](fig)
        assert f'alt="{html.escape(describe(fig))}"' in shown and "&quot;title&quot;" in shown
    finally:
        InteractiveShell.clear_instance()


def test_no_curve_is_told_by_its_colour_alone():
    ax = plots.loss_curve(plots.figure()[1], np.arange(5), {name: np.arange(5.0) for name in "abcd"})
    assert len({line.get_linestyle() + str(line._dash_pattern) for line in ax.lines}) == 4


def test_bad_input_is_named():
    _, ax = plots.figure()
    refused("expected 3 step names, got 2", plots.similarity_heatmap, ax, SCORES, STEPS[:2])
    refused("frames of one size", plots.frame_strip, ax, [FRAMES[0], FRAMES[0][:5]])
    refused(r"expected xy \(3, 2\)", plots.embedding_scatter, ax, RNG.random((4, 2)), STEPS)
    refused(r"expected values \(3, 2\)", plots.matrix, ax, RNG.random((3, 3)), STEPS, STEPS[:2])
    refused("no result is a share", plots.bars_with_intervals, ax, RESULTS[2:])


def test_boxes_of_a_matrix_stand_around_their_cells():
    ax = plots.matrix(plt.figure().add_subplot(), np.eye(2), "ab", "cd", boxes=[(0, 1)], title="which")
    [box] = ax.patches
    assert box.get_xy() == (0.5, -0.5) and ax.get_title() == "which"


@pytest.mark.filterwarnings("error")
def test_a_name_that_no_font_here_has_warns_nobody():
    assert plots.png(plots.empty("料理 🍳"), 50)


@pytest.mark.parametrize("said", ["costs $5, then $6", "$$", r"$\frac{$ and $\nosuch$"])
def test_dollar_signs_in_what_is_said_are_no_formula(said, tmp_path):
    fig, ax = plots.figure()
    plots.frame_strip(ax, FRAMES, [said] * 5, said)
    fig.savefig(tmp_path / "a.png")  # a formula that is none ends here
    drawn = [text for text in fig.findobj(plt.Text) if "$" in text.get_text()]
    assert len(drawn) >= 6 and not any(text.get_parse_math() for text in drawn)
