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
from pathlib import Path

from vcwork.corpus import open_corpus
from vcwork.errors import VcworkError
from vcwork.store import open_store
from vcwork.switchboard import METRICS, effects, effects_table, run_all, tidy

TABLE_7 = (  # paper: YouCook2 zero-shot R@1, one seed: 22.7 with everything
    ({"batches": "random"}, 18.5),
    ({"batches": "random", "positives": "strict"}, 12.4),
    ({"positives": "MIL-NCE"}, 16.1),
    ({"towers": "shared"}, 21.9),
    ({"batches": "retrieved, k of k"}, 22.5),
    ({"batches": "retrieved by the beginning"}, 20.1),
    ({"pooling": "[CLS]"}, 22.1),
)
OBJECTIVES = (
    {"positives": "best fit"},
    {"positives": "best fit, siblings left out"},
    {"positives": "MIL-NCE over windows"},
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--features", required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", choices=("table 7", "first two", "objectives", "all"), default="table 7")
    parser.add_argument("--size", choices=("lab", "tiny"), default="lab")
    parser.add_argument("--epochs", type=int, default=0, help="0: as many as the size has (lab: 5 of 120 updates)")
    parser.add_argument("--out", required=True, help="folder; what it holds is not trained again")
    options = parser.parse_args()
    paper = [setting for setting, _ in TABLE_7]
    rows = {"table 7": paper, "first two": paper[:2], "objectives": [*OBJECTIVES], "all": [*paper, *OBJECTIVES]}
    try:
        corpus, store = open_corpus(options.corpus), open_store(options.features)
        settings = [{}, *rows[options.rows]]
        runs = run_all(
            corpus, store, settings, range(options.seeds), options.out, options.size, options.epochs, progress=True
        )
    except VcworkError as error:
        raise SystemExit(f"error: {error}") from None
    for metric in METRICS:
        print(f"{metric}\n{effects_table(effects(runs, metric))}\n")
    print("paper, R@1 on YouCook2 minus 22.7:")
    for setting, value in TABLE_7:
        print(f"  {value - 22.7:+5.1f}  {setting}")
    (Path(options.out) / "tidy.jsonl").write_text("".join(json.dumps(row) + "\n" for row in tidy(runs)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
