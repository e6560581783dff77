"""The paper's Table 7, every row, and the objectives of the documents, on a lab corpus over seeds.

    python benchmarks/ablation.py --corpus outputs/RUN/corpus --features outputs/RUN/features --out outputs/ablation

Each seed trains every setting from the same weights for the same number of epochs (the switchboard's lab size, half the
updates of profile `lab`); differences are taken seed by seed, with a t interval over seeds. A finished training is kept
in `--out`, and a second call goes on after it. Nothing here was chosen by these numbers. With many rows some intervals
exclude 0 by luck: one of twenty.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from vcwork.base.errors import VcworkError
from vcwork.data.corpus import open_corpus
from vcwork.data.store import open_store
from vcwork.training.switchboard import METRICS, Run, effects, effects_table, one_at_a_time, read_run, run_all

TABLE_7 = (  # paper: YouCook2 zero-shot R@1, one seed: 22.7 with everything
    ({"batches": "random"}, 18.5),
    ({"batches": "random", "positives": "strict"}, 12.4),
    ({"positives": "MIL-NCE"}, 16.1),
    ({"towers": "shared"}, 21.9),
    ({"batches": "retrieved, k of k"}, 22.5),
    ({"batches": "retrieved by the beginning"}, 20.1),
    ({"pooling": "[CLS]"}, 22.1),
)
PAPER = [setting for setting, _ in TABLE_7]
OBJECTIVES = (
    {"positives": "best fit"},
    {"positives": "best fit, siblings left out"},
    {"positives": "MIL-NCE over windows"},
)
SIGMOID = ({"loss": "sigmoid, raw"}, {"loss": "sigmoid"}, {"positives": "MIL-NCE"})


def stored_runs(folder: str | Path) -> list[Run]:
    """Every training that `run_all` kept in `folder`, whatever it was asked for then; the baselines first.

    VcworkError where there is none, or where they are not of one corpus and one set of features.
    """
    found = [read_run(path) for path in sorted(Path(folder).glob("*.json"))]
    worlds = {tuple(kept["made_of"][key] for key in ("corpus", "features", "split")) for kept in found}
    if len(worlds) != 1:
        raise VcworkError(f"{folder}: expected results of the switchboard (*.json) on one corpus, got {len(worlds)}")
    return sorted((Run(**kept["run"]) for kept in found), key=lambda run: (bool(run.setting), run.name, run.seed))


def tidy(runs: Sequence[Run]) -> list[dict]:
    """A row a training and metric: setting, seed, metric, value, chance, seconds, updates, weights."""
    cost = ("seconds", "updates", "weights")
    return [
        {"setting": r.name, "seed": r.seed, "metric": m, "value": v, "chance": r.chance[m]}
        | {k: getattr(r, k) for k in cost}
        for r in runs
        for m, v in r.scores.items()
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus")
    parser.add_argument("--features")
    parser.add_argument("--stored", action="store_true", help="train nothing, report all that --out holds")
    parser.add_argument("--seeds", type=int, default=5)
    rows = {"table 7": PAPER, "first two": PAPER[:2], "objectives": OBJECTIVES, "sigmoid": SIGMOID,
            "all": [*PAPER, *OBJECTIVES], "switchboard": one_at_a_time()[1:]}  # fmt: skip
    parser.add_argument("--rows", choices=rows, default="table 7", help="switchboard: every choice that can be made")
    parser.add_argument("--size", choices=("lab", "tiny"), default="lab")
    parser.add_argument("--epochs", type=int, default=0, help="0: as many as the size has (lab: 5 of 120 updates)")
    parser.add_argument("--out", required=True, help="folder; what it holds is not trained again")
    options = parser.parse_args()
    if not options.stored and not (options.corpus and options.features):
        parser.error("expected --corpus and --features, or --stored")
    try:
        if options.stored:
            runs = stored_runs(options.out)
        else:
            corpus, store = open_corpus(options.corpus), open_store(options.features)
            settings = [{}, *rows[options.rows]]
            seeds = range(options.seeds)
            runs = run_all(corpus, store, settings, seeds, options.out, options.size, options.epochs, progress=True)
    except VcworkError as error:
        raise SystemExit(f"error: {error}") from None
    print(f"{len(runs)} trainings, {sum(run.seconds for run in runs) / 60:.0f} minutes\n")
    for metric in METRICS:
        print(f"{metric}\n{effects_table(effects(runs, metric))}\n")
    print("paper, R@1 on YouCook2 minus 22.7:")
    for setting, value in TABLE_7:
        print(f"  {value - 22.7:+5.1f}  {setting}")
    (Path(options.out) / "tidy.jsonl").write_text("".join(json.dumps(row) + "\n" for row in tidy(runs)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
