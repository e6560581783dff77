"""The curves that tell why a loss stands still, drawn while it runs: `TrainingPanel`.

`train(..., watch=panel)` feeds it a record at a time, `TrainingPanel.from_log` reads a log. Live, the page gets the
curves through the widget while the cell runs, at most twice a second, and says how to stop: by the notebook's own
interrupt, after which `vcwork.training.run` ends with the current update and keeps its state.
Known gaps: no button of the panel's own, for a kernel reads what a page sends when the cell has ended (ipykernel 7.4
does so even where JupyterLab gives messages a thread of their own); a point of a long run is the mean of several
updates.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from vcwork.base.errors import VcworkError
from vcwork.base.files import parse_json, resolve
from vcwork.core.loop import StepRecord
from vcwork.panels import plots
from vcwork.panels.base import Panel, someone_watches
from vcwork.training.watch import Watcher

Record = Mapping[str, float | int | bool | None]
CURVES = ("loss", "in_batch_accuracy", "grad_norm", "video_norm", "text_norm", "alignment", "uniformity",
          "temperature", "lr", "false_negatives")  # fmt: skip
PLOTS = (
    ("loss (nats)", {"loss": "loss"}),
    ("in-batch accuracy", {"text to video": "in_batch_accuracy"}),
    ("gradient norm", {"before clipping": "grad_norm"}),
    ("length of embeddings", {"video": "video_norm", "text": "text_norm"}),
    ("alignment: distance² of partners", {"alignment": "alignment"}),
    ("uniformity: log mean exp(-2 d²)", {"uniformity": "uniformity"}),
    ("temperature", {"temperature": "temperature"}),
    ("share of false negatives", {"false negatives": "false_negatives"}),
)
SMOOTH = 10  # updates behind a point of the bold line
MOST = 600  # points of a curve
EVERY_S = 0.5  # between two messages to the page, more where they take long


class TrainingPanel(Panel, Watcher):
    """Curves over the updates of `records` (dicts as in log.jsonl), fed by calling it with StepRecords.

    checks: validation after an epoch, dicts with epoch, step and numbers by name. clip_norm: where gradients are
    clipped. Loss is drawn against log B of equal scores, accuracy against chance; grey: batches of similar videos.
    VcworkError for records without a step.
    """

    module = "training.js"

    def __init__(
        self,
        records: Sequence[Record] = (),
        checks: Sequence[Record] = (),
        *,
        clip_norm: float | None = None,
        title: str = "Training",
    ) -> None:
        super().__init__(title=title)
        self.records, self.checks, self.clip_norm = [dict(r) for r in records], [dict(c) for c in checks], clip_norm
        for record in self.records:
            if any(key not in record for key in ("step", "loss", "log_batch", "retrieved")):
                raise VcworkError(f"expected records with step, loss, log_batch and retrieved, got {sorted(record)}")
        self.total, self.status, self.running = len(self.records), "", False
        self._live: Any = None
        self._handle: Any = None
        self._sent, self._wait = -math.inf, EVERY_S

    @classmethod
    def from_log(cls, path: str | Path, **more: Any) -> "TrainingPanel":
        """The panel of a log.jsonl. VcworkError where there is none, or where a line is no JSON."""
        return cls(*read_log(resolve(path)), **more)

    # ------------------------------------------------------------------------------------------ what training says

    def began(self, total: int, log: Path | None) -> None:
        """A run begins or goes on; earlier updates are read from its log."""
        self.records, self.checks = read_log(log) if log is not None and log.exists() else ([], [])
        self.total, self.status, self.running = total or len(self.records), "", True
        self._push()

    def __call__(self, record: StepRecord) -> None:
        """One update more; what an earlier run logged from here on is done again."""
        while self.records and self.records[-1]["step"] >= record.step:
            self.records.pop()
        self.checks = [check for check in self.checks if check["step"] < record.step]
        self.records.append(asdict(record))
        if time.monotonic() - self._sent >= self._wait:
            self._push()

    def validated(self, epoch: int, step: int, numbers: dict[str, float]) -> None:
        self.checks.append({"epoch": epoch, "step": step, **numbers})
        self._push()

    def ended(self, told: str) -> None:
        """How it ended; what is displayed gets the whole curves, so that a saved notebook holds them."""
        self.status, self.running = told, False
        self._push()
        if self._handle is not None:
            self._handle.update(self.bundle(self._live), raw=True)

    # -------------------------------------------------------------------------------------------- what the page shows

    def show_live(self) -> None:
        """Display the panel before training, where somebody sits at the notebook; elsewhere nothing.

        Headless, `show` after training draws the curves once.
        """
        if someone_watches():
            from IPython.display import display

            self._live = self.widget()
            self._handle = display(self.bundle(self._live), raw=True, display_id=True)

    def _push(self) -> None:
        """The whole panel to the page; of a curve that is MOST points, however long the run."""
        if self._live is not None:
            began = time.monotonic()
            self._live.panel = self.panel()
            self._sent = time.monotonic()
            self._wait = max(EVERY_S, 20 * (self._sent - began))  # at most a twentieth of the time

    @property
    def _size(self) -> int:
        """How many updates a point of the page's curves stands for."""
        return max(1, -(-len(self.records) // MOST))

    def points(self) -> dict[str, list]:
        """The curves with at most MOST points, each the mean of as many updates: from, to, epoch, similar, values.

        `similar`: were most of its batches made of neighbours? None where a value is unknown in all of them, or not
        finite.
        """
        size = self._size
        groups = [self.records[i : i + size] for i in range(0, len(self.records), size)]
        return {
            "from": [g[0]["step"] for g in groups],
            "to": [g[-1]["step"] for g in groups],
            "epoch": [g[-1].get("epoch", 0) for g in groups],
            "similar": [2 * sum(bool(r["retrieved"]) for r in g) > len(g) for g in groups],
        } | {key: [_mean(r.get(key) for r in g) for g in groups] for key in CURVES}

    def panel(self) -> dict[str, Any]:
        lines = self._lines()
        names = list(dict.fromkeys(key for check in self.checks for key in check if key not in ("epoch", "step")))
        checks = [{key: _mean([value]) for key, value in check.items()} for check in self.checks]
        return self.common() | {
            "plots": [{"title": title, "curves": curves, "lines": lines.get(title, {})} for title, curves in PLOTS],
            "points": self.points(),
            "checks": {"names": names, "epochs": checks},
            "smooth": max(1, SMOOTH // self._size),
            "done": self.records[-1]["step"] + 1 if self.records else 0,
            "total": self.total,
            "running": self.running,
            "status": self.status,
        }

    def _lines(self) -> dict[str, dict[str, float]]:
        """What each curve is read against: named heights by title of the plot."""
        if not self.records:
            return {}
        log_b = float(self.records[-1]["log_batch"])
        lines = {"loss (nats)": {"log B": log_b}, "in-batch accuracy": {"chance": math.exp(-log_b)}}
        return lines | ({"gradient norm": {"clipped at": float(self.clip_norm)}} if self.clip_norm else {})

    def words(self) -> str:
        if not self.records:
            return "no update yet"
        last = self.records[-1]
        return f"{last['step'] + 1} updates, the last loss {last['loss']:.2f} beside log B {last['log_batch']:.2f}"

    def figure(self) -> Figure:
        if len(self.records) < 2:
            return plots.empty(self.status or "no curve yet: fewer than two updates")
        fig, axes = plots.figure(9.5, 6.4, rows=3, columns=3)
        x = np.array([r["step"] for r in self.records]) + 1
        hard = [r["step"] + 1 for r in self.records if r["retrieved"]]
        for ax, (title, curves) in zip(axes.flat, PLOTS, strict=False):
            self._draw(ax, x, title, curves)
            if hard and ax.axison:
                ax.axvspan(min(hard), max(hard), color="0.94", zorder=0)
        self._draw_checks(axes.flat[-1])
        return fig

    def _draw(self, ax: Any, x: np.ndarray, title: str, curves: Mapping[str, str]) -> None:
        known = [i for i, r in enumerate(self.records) if all(_known(r.get(key)) for key in curves.values())]
        if not known:
            why = "truth unknown" if "false_negatives" in curves.values() else "not recorded"
            plots.blank(ax, f"{title}:\n{why}", color=plots.GREY)
            return
        values = {name: np.array([float(self.records[i][key]) for i in known]) for name, key in curves.items()}
        lines = self._lines().get(title, {})
        plots.loss_curve(ax, x[known], values, lines, SMOOTH, title, ylabel="", xlabel="update")
        ax.get_legend().remove()
        if len(curves) + len(lines) > 1:
            ax.legend(fontsize=plots.SMALL, frameon=False)

    def _draw_checks(self, ax: Any) -> None:
        names = self.panel()["checks"]["names"]
        if not names:
            plots.blank(ax, "no validation yet", color=plots.GREY)
            return
        told = [(check["step"] + 1, check[names[0]]) for check in self.checks if names[0] in check]
        ax.plot(*zip(*told, strict=True), marker="o", ms=4, color=plots.colour(0))
        plots.finish(ax, f"{names[0]}, after each epoch", "update")


def read_log(path: Path) -> tuple[list[dict], list[dict]]:
    """Records and validation lines of a log.jsonl. VcworkError naming the file, and the line that is no JSON."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise VcworkError(f"{path}: expected the log of a training ({error})") from None
    found: list[dict] = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(dict(parse_json(line)))
        except (TypeError, ValueError):
            if number < len(lines):  # the last line may have been cut in the middle
                raise VcworkError(f"{path}, line {number}: expected JSON, got {line[:40]!r}") from None
    return [line for line in found if "loss" in line], [line for line in found if "loss" not in line]


def _known(value: Any) -> bool:
    return value is not None and math.isfinite(value)


def _mean(values: Any) -> float | None:
    """Mean of what is known, five digits; None where nothing is."""
    known = [float(value) for value in values if _known(value)]
    return float(f"{sum(known) / len(known):.5g}") if known else None
