"""Watching a training: an interrupt keeps its state, curves have known answers, a panel is fed by hand, log and run."""

import json
import signal
import threading
from dataclasses import asdict
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from checks import node, refused
from test_train import CONFIG, digest, new_model, run, toy
from toys import short_recipe

from vcwork.base.progress import interrupts
from vcwork.core.batches import PairData, false_negatives
from vcwork.core.loop import StepRecord, pretrain
from vcwork.core.sampling import Pair
from vcwork.core.step import diagnose
from vcwork.panels.base import script
from vcwork.panels.training import TrainingPanel
from vcwork.training.kept import KeptRun
from vcwork.training.run import train
from vcwork.training.watch import Stopped, as_watcher


@pytest.fixture(autouse=True)
def own_handler():
    """Python's own handler of SIGINT, which it does not have where a shell began the tests in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_first_interrupt_waits_and_the_second_does_not():
    before = signal.getsignal(signal.SIGINT)
    with interrupts() as came:
        assert not came()
        signal.raise_signal(signal.SIGINT)
        assert came()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    with interrupts(False) as came, pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert not came()


def test_other_threads_and_other_handlers_are_left_alone():
    seen = []

    def elsewhere():
        with interrupts() as came:
            seen.append(came())

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [False], "signals cannot be taken over in a thread, which is no error"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupts() as came:
            signal.raise_signal(signal.SIGINT)
        assert not came() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize("step", [0, 40, 59])  # 59: the last update of the second epoch
def test_stopped_inside_an_epoch_goes_on_at_the_next_update(tmp_path, step):
    whole, _ = run(folder=tmp_path / "whole")
    data, tokenizer = toy()
    seen = []
    for record in pretrain(
        new_model(), tokenizer, data, CONFIG, KeptRun(tmp_path / "cut"), stop=lambda: seen[-1] == step
    ):
        seen.append(record.step)
        assert record.step <= step
    resumed, records = run(folder=tmp_path / "cut")
    assert seen[-1] == step and records[0].step == step + 1, "no update is done again, none is left out"
    assert digest(resumed) == digest(whole)
    logs = [(tmp_path / name / "log.jsonl").read_text() for name in ("whole", "cut")]
    assert logs[0] == logs[1]


class Pressed(TrainingPanel):
    """The panel of a training, and a hand that interrupts after one update."""

    def __init__(self, at: int = -1):
        super().__init__()
        self.at, self.seen = at, []

    def __call__(self, record):
        super().__call__(record)
        self.seen.append(record.step)
        if record.step == self.at:
            signal.raise_signal(signal.SIGINT)


def test_training_stops_keeps_its_state_and_goes_on(ws, tmp_path):
    """The panel shows what was done, and the next one goes on from the log."""
    cut, recipe = tmp_path / "cut", short_recipe(2, 4)
    stopped, again, opened = Pressed(12), Pressed(), Pressed()
    with pytest.raises(Stopped, match="stopped after update 13 of 20; the folder cut keeps the state: run it again"):
        train(ws.corpus, ws.store, cut, recipe, watch=stopped)
    assert stopped.seen == list(range(13)) and not stopped.running and stopped.panel()["done"] == 13
    assert "after update 13 of 20" in stopped.status
    assert (cut / "state-13.pt").exists() and not (cut / "checkpoint.json").exists()
    resumed = train(ws.corpus, ws.store, cut, recipe, watch=again)
    assert again.seen == list(range(13, 20)) and again.status == "Finished."
    assert train(ws.corpus, ws.store, tmp_path / "whole", recipe).digest == resumed.digest
    log = TrainingPanel.from_log(cut / "log.jsonl")
    assert [r["step"] for r in again.records] == list(range(20)) and again.records == log.records
    assert again.checks == log.checks and len(log.checks) == 2 and "val_t2v_R@1" in log.checks[0]
    train(ws.corpus, ws.store, cut, recipe, watch=opened)
    assert opened.seen == [] and opened.records == log.records and "finished before" in opened.status


def test_a_failure_is_told_and_functions_still_watch(ws, tmp_path):
    recipe, seen = short_recipe(1, 2), []

    def fail(record):
        seen.append(record.step)
        raise RuntimeError("no")

    class Failing(TrainingPanel):
        def __call__(self, record):
            fail(record)

    panel = Failing()
    for watch in (panel, fail):
        with pytest.raises(RuntimeError):
            train(ws.corpus, ws.store, tmp_path / str(watch is fail), recipe, watch=watch)
    assert panel.status.startswith("Broken off (RuntimeError)") and seen == [0, 0]
    assert as_watcher(panel) is panel and as_watcher(None)(None) is None


def test_notebooks_show_the_message_alone():
    assert Stopped("stopped after update 3")._render_traceback_() == ["stopped after update 3"]
    assert issubclass(Stopped, KeyboardInterrupt)


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
    assert false_negatives([a, b, c], data) == pytest.approx(2 / 6), "a and b, from both, of three anchors times two"
    assert false_negatives([_clip("v0", 0, 3), _clip("v0", 1, 4)], data) is None, "background only"
    assert false_negatives([a, b], toy(2)[0]) is None, "truth unknown"


def _records(steps: bool = True) -> list:
    data, tokenizer = toy()
    truth = [np.full(12, 1 + v % 3) for v in range(12)] if steps else None
    data = PairData(data.tracks, data.features, truth)
    config = CONFIG.model_copy(update={"epochs": 2, "passes_per_epoch": 2})
    return list(pretrain(new_model(), tokenizer, data, config))


def record(step: int, **change) -> StepRecord:
    known = dict(epoch=step // 4, step=step, loss=float(step), log_batch=np.log(8), in_batch_accuracy=0.5, lr=1e-3,
                 grad_norm=2.0 * step, retrieved=step >= 4, temperature=1.0, video_norm=3.0, text_norm=2.0,
                 alignment=1.0, uniformity=-1.0, false_negatives=None)  # fmt: skip
    return StepRecord(**(known | change))


def lines(n: int) -> list[dict]:
    return [asdict(record(step)) for step in range(n)]


def test_figure_of_a_log():
    figure = TrainingPanel([asdict(r) for r in _records()], [{"epoch": 0, "step": 5, "val": 0.5}], clip_norm=2).figure()
    titles = [ax.get_title() for ax in figure.axes]
    assert len(titles) == 9 and all(titles) and titles[-1] == "val, after each epoch"
    legends = [" ".join(t.get_text() for t in ax.get_legend().get_texts()) for ax in figure.axes[:3]]
    assert "log B" in legends[0] and "chance" in legends[1] and "clipped at = 2" in legends[2]
    plt.close(figure)


def test_unknown_is_said():
    figure = TrainingPanel([asdict(r) for r in _records(steps=False)]).figure()
    assert "truth unknown" in figure.axes[-2].texts[0].get_text()
    assert "no validation" in figure.axes[-1].texts[0].get_text()
    plt.close(figure)
    assert TrainingPanel().words() == "no update yet"
    odd = TrainingPanel([asdict(record(0, loss=float("nan"))), asdict(record(1))])
    assert odd.panel()["points"]["loss"] == [None, 1.0]


def test_long_runs_are_thinned_by_means(monkeypatch):
    monkeypatch.setattr("vcwork.panels.training.MOST", 4)
    panel = TrainingPanel(lines(10))  # three updates a point
    points = panel.points()
    assert points["from"] == [0, 3, 6, 9] and points["to"] == [2, 5, 8, 9]
    assert points["loss"] == [1, 4, 7, 9] and points["grad_norm"] == [2, 8, 14, 18]
    assert points["similar"] == [False, True, True, True], "of 3, 4, 5 two are"
    assert points["false_negatives"] == [None] * 4
    assert panel.panel()["smooth"] == 3 and panel.panel()["done"] == 10


def test_plots_are_read_against_something():
    plots = {p["title"]: p["lines"] for p in TrainingPanel(lines(3), clip_norm=2).panel()["plots"]}
    assert plots["loss (nats)"]["log B"] == pytest.approx(np.log(8))
    assert plots["in-batch accuracy"]["chance"] == pytest.approx(1 / 8)
    assert plots["gradient norm"] == {"clipped at": 2} and plots["temperature"] == {}


def test_logs_are_read_and_faults_named(tmp_path):
    log = tmp_path / "log.jsonl"
    refused("expected the log of a training", TrainingPanel.from_log, log)
    text = "".join(json.dumps(line) + "\n" for line in [*lines(2), {"epoch": 0, "step": 1, "val": 0.5}])
    log.write_text(text + '{"epoch": 1, "st')
    panel = TrainingPanel.from_log(log)
    assert len(panel.records) == 2 and panel.checks == [{"epoch": 0, "step": 1, "val": 0.5}]
    assert panel.panel()["checks"] == {"names": ["val"], "epochs": [{"epoch": 0, "step": 1, "val": 0.5}]}
    log.write_text("nothing\n" + text)
    refused(r"log.jsonl, line 1: expected JSON, got 'nothing'", TrainingPanel.from_log, log)


def test_the_page_reads_the_point_that_holds_an_update(tmp_path, monkeypatch):
    monkeypatch.setattr("vcwork.panels.training.MOST", 12)
    panel = TrainingPanel(lines(50))  # five updates a point
    read = {None: 9, 0: 0, 3: 0, 4: 0, 5: 1, 30: 6, 49: 9, 80: 9}
    source = f"{script('training.js')}\nconst panel = {json.dumps(panel.panel())};\n"
    source += f"console.log(JSON.stringify([{json.dumps(list(read))}.map((step) => pointAt(panel.points, step)),"
    source += " pointAt({ to: [] }, 1), smoothed([1, 2, 6, null, 4, 4, 4], 3)]));"
    assert json.loads(node(source, tmp_path)) == [
        list(read.values()), None, [None, 3, None, None, None, 4, None]
    ]  # fmt: skip


# ------------------------------------------------------------------------------------------- while training runs


@pytest.fixture
def clock(monkeypatch):
    """The time that a panel reads, in a list of one."""
    now = [0.0]
    monkeypatch.setattr("vcwork.panels.training.time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def watched(updates: int, now: list[float], cost_s: float) -> list[dict]:
    """What a page hears of a run of eight updates a second, where each message costs so much."""
    states = []

    class Page:
        def __setattr__(self, _, value):
            now[0] += cost_s
            states.append(value)

    panel = TrainingPanel()
    panel._live = Page()
    panel.began(updates, None)
    for step in range(updates):
        now[0] += 0.125
        panel(record(step))
    panel.ended("Finished.")
    return states


def test_the_page_hears_at_most_twice_a_second_and_all_at_the_end(clock):
    states = watched(20, clock, 0)
    assert [state["done"] for state in states] == [0, 4, 8, 12, 16, 20, 20]
    assert [state["running"] for state in states] == [True] * 6 + [False]
    assert states[-1]["status"] == "Finished." and states[-1]["total"] == 20


def test_a_long_run_is_not_slowed_by_being_looked_at(clock):
    told = "5 s between two messages of a quarter of a second"
    assert [state["done"] for state in watched(100, clock, 0.25)] == [0, 40, 80, 100], told


def test_headless_shows_nothing_before_training_and_a_picture_after(clock, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda bundle, **more: shown.append(bundle))
    monkeypatch.setattr("vcwork.panels.training.EVERY_S", 0)
    panel = TrainingPanel()
    panel.show_live()
    assert shown == [] and panel._live is None
    monkeypatch.setattr("vcwork.panels.training.someone_watches", lambda: True)
    panel.show_live()
    assert "application/vnd.jupyter.widget-view+json" in shown[0] and panel._live.panel["done"] == 0
    panel.began(2, None)
    panel(record(0))
    assert panel._live.panel["done"] == 1
