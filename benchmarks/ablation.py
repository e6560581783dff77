"""The paper's Table 7 on a lab corpus: full recipe, without retrieval, without retrieval and overlap, over seeds.

    python benchmarks/ablation.py --corpus outputs/RUN/corpus --features outputs/RUN/features --out ablation.json

Each seed trains the three variants from the same weights for the same number of updates; differences are taken seed by
seed, with a t interval over seeds. Results are written after every training, and a second call goes on after them. The
settings are profile `lab`'s, with half its updates by default; nothing here was chosen by these numbers.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from vcwork.config import ClusterConfig, OverlapConfig, TrainConfig
from vcwork.corpus import open_corpus
from vcwork.evaluation import annotated_clips, clip_scores
from vcwork.files import write_json
from vcwork.metrics import place
from vcwork.store import open_store
from vcwork.workspace import train

SIZES = {"hidden": 128, "heads": 4, "ffn": 256, "video_layers": 2, "text_layers": 2, "feature_dropout": 0.1}
PAIRS = {"min_text_tokens": 8, "max_text_tokens": 32, "min_video_s": 3, "max_video_s": 16}
CLUSTERS = {"videos_per_batch": 16, "clips_per_video": 8, "clips_for_vector": 4}
VARIANTS = {
    "full": {},
    "no retrieval": {"retrieve": False},
    "no retrieval, no overlap": {"retrieve": False, "rule": "strict"},
}
PAPER = {"full": 22.7, "no retrieval": 18.5, "no retrieval, no overlap": 12.4}  # YouCook2 zero-shot R@1, one seed
T_95 = {2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}  # by degrees of freedom


def settings(variant: str, seed: int, epochs: int) -> TrainConfig:
    """Profile `lab` with the variant's changes."""
    change = VARIANTS[variant]
    pairs = OverlapConfig(rule=change.get("rule", "overlapped"), **PAIRS)
    clusters = ClusterConfig(retrieve=change.get("retrieve", True), **CLUSTERS)
    return TrainConfig(
        epochs=epochs, passes_per_epoch=8, lr=1e-3, warmup=100, seed=seed, pairs=pairs, clusters=clusters
    )


def measure(corpus, store, config: TrainConfig) -> dict[str, float]:
    """Test-split retrieval of a model trained so; any clip of the same step counts."""
    with tempfile.TemporaryDirectory() as folder:
        encoder = train(corpus, store, Path(folder) / "run", SIZES, config, progress=sys.stderr.isatty())
    clips = annotated_clips(corpus, store, "test")
    same = clips.steps[:, None] == clips.steps
    scores = clip_scores(encoder, clips)
    found = {}
    for name, matrix in (("t2v", scores), ("v2t", scores.T)):
        places = place(matrix, same)
        found |= {f"{name}_R@{k}": float(places.hit(k).mean()) for k in (1, 5, 10)}
    return found


def differences(runs: list[dict], metric: str) -> list[dict]:
    """Full minus each variant, seed by seed: mean and 95 % t interval."""
    value = {(run["variant"], run["seed"]): run["metrics"][metric] for run in runs}
    out = []
    for variant in list(VARIANTS)[1:]:
        seeds = sorted(s for v, s in value if v == variant and ("full", s) in value)
        if len(seeds) < 3:
            continue
        delta = np.array([value["full", s] - value[variant, s] for s in seeds])
        half = T_95[len(delta) - 1] * delta.std(ddof=1) / np.sqrt(len(delta))
        ends = {"low": float(delta.mean() - half), "high": float(delta.mean() + half)}
        out.append({"full minus": variant, "metric": metric, "seeds": seeds, "mean": float(delta.mean()), **ends})
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--features", required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=5, help="of 120 updates (profile lab: 10)")
    parser.add_argument("--out", required=True, help="JSON file; an existing one is gone on with")
    options = parser.parse_args()
    corpus, store, out = open_corpus(options.corpus), open_store(options.features), Path(options.out).resolve()
    runs = json.loads(out.read_text())["runs"] if out.exists() else []
    done = {(run["variant"], run["seed"]) for run in runs}
    for seed in range(options.seeds):
        for variant in VARIANTS:
            if (variant, seed) in done:
                continue
            metrics = measure(corpus, store, settings(variant, seed, options.epochs))
            runs.append({"variant": variant, "seed": seed, "metrics": metrics})
            record = {"epochs": options.epochs, "corpus": corpus.name, "paper_R@1": PAPER, "runs": runs}
            write_json(out, record | {"differences": [d for m in ("t2v_R@1", "v2t_R@1") for d in differences(runs, m)]})
            print(f"seed {seed} {variant:26s} " + " ".join(f"{k} {v:.1%}" for k, v in metrics.items()), flush=True)
    for row in json.loads(out.read_text())["differences"]:
        interval = f"[{row['low']:+.1%}, {row['high']:+.1%}]"
        print(f"{row['metric']}: full minus {row['full minus']}: {row['mean']:+.1%} {interval}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
