"""Stopping a training: an interrupt ends it between two updates, its state is kept, and going on changes nothing."""

import json
import signal
import threading

import pytest
from test_train import CONFIG, digest, new_model, run, toy

from vcwork.core.loop import pretrain
from vcwork.training.run import train
from vcwork.training.watch import Stopped, Watcher, as_watcher, interrupts
from vcwork.training.workspace import prepare, tiny_recipe


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
    for record in pretrain(new_model(), tokenizer, data, CONFIG, tmp_path / "cut", stop=lambda: seen[-1] == step):
        seen.append(record.step)
        assert record.step <= step
    resumed, records = run(folder=tmp_path / "cut")
    assert seen[-1] == step and records[0].step == step + 1, "no update is done again, none is left out"
    assert digest(resumed) == digest(whole)
    logs = [(tmp_path / name / "log.jsonl").read_text() for name in ("whole", "cut")]
    assert logs[0] == logs[1]


class Looker(Watcher):
    """Interrupts after one update; remembers what it is told."""

    def __init__(self, at: int = -1):
        self.at, self.steps, self.checks, self.told, self.total = at, [], [], [], None

    def began(self, total, log):
        self.total, self.log = total, log

    def __call__(self, record):
        self.steps.append(record.step)
        if record.step == self.at:
            signal.raise_signal(signal.SIGINT)

    def validated(self, epoch, step, numbers):
        self.checks.append((epoch, step, numbers))

    def ended(self, told):
        self.told.append(told)


def test_training_stops_keeps_its_state_and_goes_on(tmp_path):
    ws = prepare()
    recipe = tiny_recipe()
    recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"epochs": 2, "passes_per_epoch": 4})})
    stopped, again, whole = Looker(12), Looker(), Looker()
    with pytest.raises(Stopped, match="stopped after update 13 of 20; the folder cut keeps the state: run it again"):
        train(ws.corpus, ws.store, tmp_path / "cut", recipe, watch=stopped)
    assert stopped.steps == list(range(13)) and stopped.total == 20 and "after update 13" in stopped.told[0]
    assert (tmp_path / "cut" / "state.pt").exists() and not (tmp_path / "cut" / "checkpoint.json").exists()
    resumed = train(ws.corpus, ws.store, tmp_path / "cut", recipe, watch=again)
    assert again.steps == list(range(13, 20)) and again.told == ["Finished."]
    assert train(ws.corpus, ws.store, tmp_path / "whole", recipe, watch=whole).digest == resumed.digest
    lines = [json.loads(line) for line in whole.log.read_text().splitlines()]
    checks = [(line["epoch"], line["step"], line["val_t2v_R@1"]) for line in lines if "loss" not in line]
    assert [(epoch, step, numbers["val_t2v_R@1"]) for epoch, step, numbers in whole.checks] == checks
    train(ws.corpus, ws.store, tmp_path / "whole", recipe, watch=(opened := Looker()))
    assert opened.steps == [] and "finished before" in opened.told[0]


def test_a_failure_is_told_and_functions_still_watch(tmp_path):
    ws = prepare()
    recipe = tiny_recipe()
    recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"epochs": 1, "passes_per_epoch": 2})})
    seen = []

    def fail(record):
        seen.append(record.step)
        raise RuntimeError("no")

    watcher = Looker()
    watcher.__class__ = type("Failing", (Looker,), {"__call__": lambda self, record: fail(record)})
    with pytest.raises(RuntimeError):
        train(ws.corpus, ws.store, tmp_path / "one", recipe, watch=watcher)
    assert watcher.told[0].startswith("Broken off (RuntimeError)")
    with pytest.raises(RuntimeError):
        train(ws.corpus, ws.store, tmp_path / "two", recipe, watch=fail)
    assert seen == [0, 0]
    assert as_watcher(watcher) is watcher and as_watcher(None)(None) is None


def test_notebooks_show_the_message_alone():
    assert Stopped("stopped after update 3")._render_traceback_() == ["stopped after update 3"]
    assert issubclass(Stopped, KeyboardInterrupt)
