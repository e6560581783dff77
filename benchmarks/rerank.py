"""Does a cross-attention scorer order a dual encoder's best clips better, and what does a query cost then?

    python benchmarks/rerank.py --run outputs/LAB1 --run outputs/LAB2 --run outputs/LAB3

Each run is a folder of profile `lab` (corpus, features, checkpoint); its scorer learns on the training split's
narration. How long it learns, whether it stands alone or is added to the dot product, and how many of the best it
orders is chosen by R@1 on the validation split, run by run; the test split is measured once. The gain of a run has a
paired bootstrap interval over videos; over three runs and more, a t interval over runs stands beside it. A query's
cost is what it takes beyond the clips' stored states: encoding the sentence and a product with all clips, then the
scorer over the best.
"""

import argparse
import copy
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from vcwork.base.files import write_json
from vcwork.core.config import OverlapConfig
from vcwork.data.corpus import open_corpus
from vcwork.data.store import open_store
from vcwork.encoders import rerank
from vcwork.encoders.encoder import Encoder, encode_text
from vcwork.encoders.load import load_encoder
from vcwork.measure.intervals import paired_bootstrap, t_half_width
from vcwork.measure.metrics import place
from vcwork.measure.result import points
from vcwork.tasks.cases import Clips, annotated_clips, clip_scores
from vcwork.training.pairs import pair_data

PAIRS = OverlapConfig(min_text_tokens=8, max_text_tokens=32, min_video_s=3, max_video_s=16)  # profile lab's
TOPS = (5, 10, 20, 50)


def hits(clips: Clips, scores: np.ndarray) -> np.ndarray:
    """Was the best clip one of the sentence's step, (Q,) of 0 to 1."""
    return place(scores, clips.steps[:, None] == clips.steps).hit(1)


def scorers(encoder: Encoder, data, options: argparse.Namespace):
    """Yields (what it is, scorer in evaluation mode): one training gives a scorer at each of its lengths."""
    for add_dot in (True, False):
        config = rerank.CrossConfig(
            updates=max(options.updates), add_dot=add_dot, seed=options.seed, pairs=PAIRS, videos=8, clips=4
        )
        torch.manual_seed(options.seed)
        scorer = rerank.CrossScorer(encoder.model.config.embedding, config)
        for record in rerank.train_scorer(encoder, data, config, scorer):
            if record.step + 1 in options.updates:
                yield {"updates": record.step + 1, "add_dot": add_dot}, scorer.eval()
                scorer.train()


def one(folder: Path, options: argparse.Namespace) -> dict:
    """Choose on validation, measure on test, time the chosen."""
    corpus, store = open_corpus(folder / "corpus"), open_store(folder / "features")
    encoder = load_encoder(folder / "checkpoint", store.contract)
    data = pair_data(corpus, store, encoder.tokenizer)
    val, test = (annotated_clips(corpus, store, split) for split in ("val", "test"))
    dot, tried, best = clip_scores(encoder, val), [], None
    for what, scorer in scorers(encoder, data, options):
        for top in TOPS:
            anew = rerank.rerank(scorer, encoder, val.sentences, val.features, dot, top)
            tried.append({**what, "top": top, "val_R@1": float(hits(val, anew).mean())})
            if best is None or tried[-1]["val_R@1"] > best[0]["val_R@1"]:
                best = tried[-1], copy.deepcopy(scorer)
    chosen, scorer = best
    base = hits(test, scores := clip_scores(encoder, test))
    ours = hits(test, rerank.rerank(scorer, encoder, test.sentences, test.features, scores, chosen["top"]))
    cost = seconds_a_query(scorer, encoder, test, chosen["top"], options.repeats)
    gain = paired_bootstrap(ours, base, test.videos, seed=options.seed)
    return {
        "run": folder.name, "clips": len(test.sentences), "val_R@1_dot": float(hits(val, dot).mean()),
        "chosen": chosen, "R@1_dot": float(base.mean()), "R@1_reranked": float(ours.mean()),
        "gain": gain.difference, "low": gain.low, "high": gain.high, "ms_a_query": cost, "tried": tried,
    }  # fmt: skip


def seconds_a_query(scorer, encoder, clips: Clips, top: int, repeats: int) -> dict[str, list[float]]:
    """Milliseconds a sentence [median, least, most] of several passes over all sentences, one sentence at a time."""
    vectors = np.random.default_rng(0).standard_normal((len(clips.sentences), encoder.model.config.embedding))
    video, mask = rerank.video_states(encoder, clips.features, 256)
    took: dict[str, list[float]] = {"encoding": [], "dot product": [], "cross-attention": []}
    some = range(0, len(clips.sentences), max(1, len(clips.sentences) // 50))
    for _ in range(repeats):
        spent = dict.fromkeys(took, 0.0)
        for q in some:
            clock = time.perf_counter()
            text = encode_text(encoder, [clips.sentences[q]])[0]
            spent["encoding"] += (now := time.perf_counter()) - clock
            order = np.argsort(-(vectors @ text))[:top]
            spent["dot product"] += (later := time.perf_counter()) - now
            states, words = rerank.text_states(encoder, [clips.sentences[q]], 1)
            with torch.inference_mode():
                rows = torch.from_numpy(order.copy())
                scorer.pairs(video[rows], mask[rows], states.expand(top, -1, -1), words.expand(top, -1))
            spent["cross-attention"] += time.perf_counter() - later
        for name, seconds in spent.items():
            took[name].append(1000 * seconds / len(some))
    return {name: [statistics.median(t), min(t), max(t)] for name, t in took.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", action="append", required=True, type=Path, help="folder of a run of profile lab")
    parser.add_argument("--updates", type=int, nargs="+", default=[100, 300], help="lengths to choose from")
    parser.add_argument("--repeats", type=int, default=5, help="of the timing")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="also write the record here")
    options = parser.parse_args()
    rows = [one(folder, options) for folder in tqdm(options.run, unit="run")]
    gains = [row["gain"] for row in rows]
    record = {"runs": rows, "mean_gain": statistics.mean(gains), "threads": torch.get_num_threads()}
    if len(gains) >= 3:
        half = t_half_width(gains)
        record |= {"low": record["mean_gain"] - half, "high": record["mean_gain"] + half}
    for row in rows:
        print(f"{row['run']}: R@1 {row['R@1_dot']:.1%} -> {row['R@1_reranked']:.1%}, gain "
              f"{points(row['gain'], row['low'], row['high'])}, {row['chosen']}")  # fmt: skip
    print(json.dumps(record))
    if options.json:
        write_json(options.json, record)
    return 0


if __name__ == "__main__":
    sys.exit(main())
