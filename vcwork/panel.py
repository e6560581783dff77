"""Watching a training: the curves that tell why a loss stands still, redrawn while it runs. ipywidgets lives here.

`draw` makes the small multiples from step records, for a log as for a running training; `LivePanel` shows them in a
notebook and is fed a record at a time. Headless, the same figure is drawn once at the end.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from vcwork import plots
from vcwork.train import StepRecord

Record = Mapping[str, float | int | bool | None]


def draw(records: Sequence[Record], smooth: int = 10, clip_norm: float | None = None) -> Figure:
    """Eight small curves over the updates in `records` (dicts as in log.jsonl, or `asdict` of StepRecords).

    Loss against log B; in-batch accuracy against chance; gradient norm before clipping; lengths of the embeddings;
    alignment; uniformity; temperature; false negatives, where the truth is known. Grey: batches of similar videos.
    """
    x = np.array([r["step"] for r in records])
    log_b = records[-1]["log_batch"]
    figure, axes = plots.figure(9.5, 4.6, rows=2, columns=4)
    plans = [
        ("loss (nats)", {"loss": "loss"}, {"log B": log_b}),
        ("in-batch accuracy", {"text to video": "in_batch_accuracy"}, {"chance": float(np.exp(-log_b))}),
        ("gradient norm", {"before clipping": "grad_norm"}, {"clipped at": clip_norm} if clip_norm else {}),
        ("length of embeddings", {"video": "video_norm", "text": "text_norm"}, {}),
        ("alignment: distance² of partners", {"alignment": "alignment"}, {}),
        ("uniformity: log mean exp(-2 d²)", {"uniformity": "uniformity"}, {}),
        ("temperature", {"temperature": "temperature"}, {}),
        ("share of false negatives", {"false negatives": "false_negatives"}, {}),
    ]
    for ax, (title, curves, lines) in zip(axes.flat, plans, strict=True):
        known = [i for i, r in enumerate(records) if all(r.get(key) is not None for key in curves.values())]
        if not known:
            ax.set_axis_off()
            ax.text(0.5, 0.5, f"{title}:\ntruth unknown", ha="center", va="center", color=plots.GREY)
            continue
        values = {name: np.array([float(records[i][key]) for i in known]) for name, key in curves.items()}
        plots.loss_curve(ax, x[known], values, lines, smooth, title, ylabel="", xlabel="update")
        ax.get_legend().remove()
        if len(curves) + len(lines) > 1:
            ax.legend(fontsize=plots.SMALL, frameon=False)
        hard = [r["step"] for r in records if r["retrieved"]]
        if hard:
            ax.axvspan(min(hard), max(hard), color="0.94", zorder=0)
    return figure


class LivePanel:
    """`draw` in a notebook while training runs: `train(..., watch=panel)`, `panel.show()` before it.

    State: `records` so far. A figure takes about half a second, so only every `every`-th record redraws.
    """

    def __init__(self, every: int = 50, clip_norm: float | None = None) -> None:
        self.every, self.clip_norm = every, clip_norm
        self.records: list[Record] = []
        self.image = ipywidgets.Image(format="png", layout={"max_width": "100%"})

    def __call__(self, record: StepRecord) -> None:
        self.records.append(asdict(record))
        if len(self.records) % self.every == 0:
            self.image.value = self.png()

    def png(self) -> bytes:
        """The figure so far; nothing before the second record."""
        if len(self.records) < 2:
            return b""
        figure, out = draw(self.records, clip_norm=self.clip_norm), io.BytesIO()
        figure.savefig(out, format="png", dpi=80)
        plt.close(figure)
        return out.getvalue()

    def show(self) -> ipywidgets.Image:
        """The widget to display."""
        return self.image
