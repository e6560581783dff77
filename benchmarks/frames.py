"""An encoder trained end to end from pixels on a lab corpus: does it find clips of recipes that it never saw?

    python benchmarks/frames.py --corpus outputs/RUN/corpus --keep 2 --distil outputs/RUN/features --json record.json

A small ViT (or ResNet) on each of N frames, a temporal transformer over them and a text transformer begin at random
and learn from the narration of the training videos alone; with --distil the backbone first learns to say the features
of a store, from training videos and without words. Then the test split's annotated clips are searched with their
sentences. Test recipes are others than the training's, so chance stands beside the number, and so does the same
encoder untrained. Exit 1 when text-to-video R@1 is below `--least` times chance. Pairs a second count decoding and
both passes.
"""

import argparse
import json
import os
import platform
import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch
from distil import distil, keep_frames

from vcwork.base.files import write_json
from vcwork.core.config import ClusterConfig, OverlapConfig, TrainConfig
from vcwork.core.loop import pretrain
from vcwork.data.corpus import Corpus, open_corpus
from vcwork.data.store import open_store
from vcwork.encoders.frame_config import FrameConfig
from vcwork.encoders.frames import FrameEncoder, new_frames, save_frames
from vcwork.tasks import retrieval
from vcwork.tasks.cases import clip_scores
from vcwork.training.frames import frame_clips, frame_pairs
from vcwork.training.recipe import Recipe
from vcwork.training.run import begin_temperature


def model_config(options: argparse.Namespace) -> FrameConfig:
    """A small encoder of this kind; with --source a stored backbone instead."""
    kind = {"backbone": options.backbone, "source": options.source, "frozen": options.frozen}
    small = {"width": options.width, "layers": options.layers, "backbone_heads": 4, "patch": options.patch}
    small |= {"patches": "mean"}
    if options.backbone == "resnet":
        small = {"width": 2 * options.width, "depths": (1, 1, 1, 1)}
    return FrameConfig.checked(
        **kind, **({} if options.source else small), image_size=options.image_size, frames=options.frames,
        temporal_layers=2, hidden=128, heads=4, ffn=256, projection=128, unit_length=True, learn_temperature=True,
        text=options.text, text_layers=2, max_text_tokens=40, checkpointing=options.checkpointing,
    )  # fmt: skip


def train_config(options: argparse.Namespace, n_videos: int) -> TrainConfig:
    """One long epoch of random batches: `updates` of videos * clips pairs."""
    k = min(options.videos, n_videos)
    return TrainConfig(
        epochs=1, passes_per_epoch=-(-options.updates * k // n_videos), lr=options.lr, warmup=options.updates // 20,
        first_update="warm", weight_decay=0.01, temperature=0.07, precision=options.precision, seed=options.seed,
        pairs=OverlapConfig(rule=options.rule, min_text_tokens=8, max_text_tokens=24, min_video_s=3, max_video_s=10),
        clusters=ClusterConfig(videos_per_batch=k, clips_per_video=options.clips, retrieve=False),
    )  # fmt: skip


def found(encoder: FrameEncoder, corpus: Corpus, split: str) -> dict[str, dict]:
    """Retrieval among the split's annotated clips: value, interval, chance of every metric."""
    clips = frame_clips(corpus, split)
    groups = clips.steps, clips.steps, clips.videos, clips.videos, clips.recipes
    results = retrieval.evaluate(clip_scores(encoder, clips), *groups)
    return {r.name: {"value": r.value, "low": r.low, "high": r.high, "chance": r.chance, "n": r.n} for r in results}


def learn(encoder: FrameEncoder, corpus: Corpus, train: TrainConfig, options: argparse.Namespace) -> dict:
    """Train for the updates asked for, or until the minutes are over; what it took."""
    data = frame_pairs(corpus, encoder.tokenizer, encoder.view, workers=options.workers)
    begun = time.perf_counter()
    if options.keep:
        data = keep_frames(data, options.keep, options.workers, progress=True)
    decoding = time.perf_counter() - begun
    begun, told = time.perf_counter(), []
    if options.distil:
        store = open_store(options.distil)
        told = distil(encoder.model, data, [store[t.video_id] for t in data.tracks], options.distil_updates,
                      seed=options.seed, progress=True)  # fmt: skip
        print(f"features: {np.mean(told[-50:]):.3f} of their variance are not told", flush=True)
    distilling = time.perf_counter() - begun
    pairs, start, shown, record = train.clusters.videos_per_batch * options.clips, time.perf_counter(), 0.0, None
    losses = []
    for record in pretrain(encoder.model, encoder.tokenizer, data, train):
        spent = time.perf_counter() - start
        losses.append(record.loss)
        if spent - shown > 30:
            shown = spent
            recent = sum(losses[-20:]) / len(losses[-20:])
            print(f"{spent:6.0f} s, update {record.step + 1}, loss {recent:.3f} of {record.log_batch:.3f}", flush=True)
        if spent > 60 * options.minutes:
            break
    spent = time.perf_counter() - start
    encoder.model.eval()
    kilobytes = {name: resource.getrusage(who).ru_maxrss for name, who in
                 (("process", resource.RUSAGE_SELF), ("largest_worker", resource.RUSAGE_CHILDREN))}  # fmt: skip
    taken = {
        "updates": record.step + 1,
        "seconds": spent,
        "seconds_decoding": decoding,
        "seconds_distilling": distilling,
        "pairs_per_s": pairs * (record.step + 1) / spent,
    }
    taken["variance_not_told"] = float(np.mean(told[-50:])) if told else None
    taken |= {"loss": sum(losses[-20:]) / len(losses[-20:]), "loss_of_equal_scores": record.log_batch}
    if encoder.model.pixel_mean.is_cuda:
        taken["gpu_peak_mb"] = torch.cuda.max_memory_allocated() / 2**20
    return taken | {f"peak_rss_mb_{name}": n / 1024 for name, n in kilobytes.items()}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", required=True, help="a lab corpus")
    parser.add_argument("--minutes", type=float, default=30, help="training stops then at the latest")
    parser.add_argument("--updates", type=int, default=1000, help="the rate falls to 0 over them")
    parser.add_argument("--backbone", choices=("vit", "resnet"), default="vit")
    parser.add_argument("--source", default="", help="folder or hub name of a stored backbone; else random weights")
    parser.add_argument("--frozen", action="store_true")
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--text", choices=("bert", "clip"), default="bert")
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--patch", type=int, default=8)
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--videos", type=int, default=32, help="in a batch")
    parser.add_argument("--clips", type=int, default=2, help="of each video")
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--rule", choices=("strict", "overlapped"), default="strict", help="of pairs")
    parser.add_argument("--precision", choices=("float32", "bf16"), default="float32")
    parser.add_argument("--workers", type=int, default=1, help="that decode")
    parser.add_argument("--keep", type=int, default=0, help="decode so many frames a second once; 0: when asked for")
    parser.add_argument("--distil", help="feature store of the corpus that the backbone learns first; needs --keep")
    parser.add_argument("--distil-updates", type=int, default=1200)
    parser.add_argument(
        "--split", choices=("val", "test"), default="test", help="measured; settings were chosen on val"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--least", type=float, default=5, help="times chance that R@1 has to reach")
    parser.add_argument("--save", help="folder for the encoder")
    parser.add_argument("--json", type=Path, help="also write the record here")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    if options.distil and not options.keep:
        raise SystemExit("error: --distil: expected --keep N beside it, frames a second that are kept in memory")
    corpus = open_corpus(options.corpus)
    train = train_config(options, len(corpus.split("train")))
    recipe = Recipe.checked(frames=model_config(options), train=train)
    encoder = new_frames(corpus, recipe.frames, options.seed, options.workers)
    begin_temperature(encoder.model, train)
    encoder.model.eval()
    untrained = found(encoder, corpus, options.split)["t2v_R@1"]["value"]
    taken = learn(encoder, corpus, train, options)
    metrics = found(encoder, corpus, options.split)
    recipes = {s: {v.recipe for v in corpus.split(s)} for s in ("train", "test")}
    first = metrics["t2v_R@1"]
    record = {
        "t2v_R@1": first["value"], "chance": first["chance"], "times_chance": first["value"] / first["chance"],
        "untrained": untrained, **taken, "recipes_of_both_splits": len(recipes["train"] & recipes["test"]),
        "million_weights": sum(p.numel() for p in encoder.model.parameters()) / 1e6,
        "metrics": metrics, "settings": {k: v for k, v in vars(options).items() if k not in ("corpus", "json", "save")},
        "corpus": corpus.name, "device": str(encoder.model.pixel_mean.device), "threads": torch.get_num_threads(),
        "cores": len(os.sched_getaffinity(0)), "machine": platform.machine(), "torch": torch.__version__,
    }  # fmt: skip
    record["ok"] = record["times_chance"] >= options.least and not record["recipes_of_both_splits"]
    interval = f"{first['value']:.1%} ({first['low']:.1%} to {first['high']:.1%})"
    print(f"text to video R@1 {interval}, chance {first['chance']:.1%}, {record['times_chance']:.1f} times; "
          f"{taken['pairs_per_s']:.0f} pairs/s")  # fmt: skip
    print(json.dumps(record))
    if options.save:
        save_frames(options.save, encoder)
    if options.json:
        write_json(options.json, record)
    return 0 if record["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
