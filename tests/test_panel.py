"""Diagnostics of an update and their curves: values with a known answer, figures of a log and of a running training."""

from dataclasses import asdict

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from test_train import CONFIG, new_model, toy

from vcwork.batches import PairData, false_negatives
from vcwork.panel import LivePanel, draw
from vcwork.sampling import Pair
from vcwork.train import pretrain
from vcwork.update import diagnose


def test_diagnostics_with_known_answers():
    eye = torch.eye(4)
    found = diagnose(3 * eye, 2 * eye)
    assert found["in_batch_accuracy"] == 1 and found["alignment"] == pytest.approx(0, abs=1e-6)
    assert (found["video_norm"], found["text_norm"]) == (3, 2)
    assert found["uniformity"] == pytest.approx(-4), "squared distance 2 between all others"
    collapsed = diagnose(torch.ones(4, 2), -torch.ones(4, 2))
    assert collapsed["uniformity"] == pytest.approx(0, abs=1e-5) and collapsed["alignment"] == pytest.approx(4)
    assert diagnose(torch.ones(1, 2), torch.ones(1, 2))["uniformity"] == 0


def _clip(video: str, start: int, end: int) -> Pair:
    return Pair(video, 0, 0, [5], 0.0, 1.0, start, end)


def test_false_negatives_by_hand():
    data, _ = toy(2)
    steps = [np.array([0] * 6 + [7] * 6), np.array([7] * 4 + [3] * 8)]
    data = PairData(data.tracks, data.features, steps)
    a, b, c = _clip("v0", 6, 9), _clip("v1", 0, 3), _clip("v1", 6, 9)  # steps 7, 7, 3
    assert false_negatives([a, b, c], data) == pytest.approx(2 / 6), (
        "a and b, seen from both, of three anchors times two"
    )
    assert false_negatives([_clip("v0", 0, 3), _clip("v0", 1, 4)], data) is None, "background only"
    assert false_negatives([a, b], toy(2)[0]) is None, "truth unknown"


def _records(steps: bool = True) -> list:
    data, tokenizer = toy()
    truth = [np.full(12, 1 + v % 3) for v in range(12)] if steps else None
    data = PairData(data.tracks, data.features, truth)
    config = CONFIG.model_copy(update={"epochs": 2, "passes_per_epoch": 2})
    return list(pretrain(new_model(), tokenizer, data, config))


def test_figure_of_a_log():
    figure = draw([asdict(r) for r in _records()], clip_norm=2.0)
    titles = [ax.get_title() for ax in figure.axes]
    assert len(titles) == 8 and all(titles)
    loss = figure.axes[0]
    assert any("log B" in text.get_text() for text in loss.get_legend().get_texts())
    plt.close(figure)


def test_unknown_truth_is_said():
    figure = draw([asdict(r) for r in _records(steps=False)])
    assert "truth unknown" in figure.axes[-1].texts[0].get_text()
    plt.close(figure)


def test_live_panel_redraws_as_it_is_fed():
    panel, records = LivePanel(every=3), _records()
    seen = set()
    for record in records:
        panel(record)
        seen.add(panel.show().value)
    assert len(panel.records) == len(records) == 12
    assert len(seen) == 5, "nothing, then after 3, 6, 9 and 12 records"
    assert panel.show().value[:4] == b"\x89PNG"
    assert not plt.get_fignums(), "no figure is left open"
