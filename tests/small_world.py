"""One process's numbers on the way from a film to a score, for `test_same_numbers.py`, which compares processes.

    python tests/small_world.py WORLD OUT [WORKERS]

WORLD is a folder made by `prepare` (corpus, features, checkpoint). Into OUT: six films, their features, a short
training, and `numbers.npz`. Nothing here is compared: what may differ, and how far, is for the tests to say.
"""

import json
import sys
from pathlib import Path

import numpy as np

from vcwork.base.files import sha256_file
from vcwork.core.batches import draw_pairs
from vcwork.data.backbones.image import get_backbone
from vcwork.data.corpus import Corpus, open_corpus
from vcwork.data.extract import extract
from vcwork.data.kept import Kept
from vcwork.data.lab.make import LabConfig, make_corpus
from vcwork.data.store import FeatureStore, open_store
from vcwork.encoders.encoder import Encoder, encode_all_seconds, encode_text, encode_video
from vcwork.encoders.load import load_encoder
from vcwork.measure.result import Result
from vcwork.search.index import VideoIndex
from vcwork.tasks import retrieval
from vcwork.tasks.cases import annotated_clips
from vcwork.tasks.clustering import kmeans
from vcwork.training.pairs import pair_data
from vcwork.training.run import train
from vcwork.training.workspace import tiny_recipe

FILMED = LabConfig(
    train_families=1, val_families=1, test_families=1, train_videos=1, val_videos=1, test_videos=1, steps=3, size=64
)  # six films


def values(results: list[Result]) -> np.ndarray:
    """(N, 4): each result, its interval, and the chance beside it."""
    return np.array([(r.value, r.low, r.high, r.chance) for r in results], float)


def of_encoder(encoder: Encoder, corpus: Corpus, store: FeatureStore) -> dict[str, np.ndarray]:
    """What a trained model says of the test videos, and what is measured of it."""
    clips = annotated_clips(corpus, store, "test")
    video, text = encode_video(encoder, clips.features), encode_text(encoder, clips.sentences)
    index = VideoIndex.build(video, [str(i) for i in range(len(clips))])
    found = index.query(text, k=5)
    scores = text @ video.T
    return {
        "video": video,
        "text": text,
        "seconds": np.concatenate(list(encode_all_seconds(encoder, (store[v.id] for v in corpus.split("test"))))),
        "scores": scores,
        "found": np.array([[int(hit.id) for hit in hits] for hits in found]),
        "results": values(retrieval.evaluate(scores, *clips.labels)),
        "clusters": kmeans(video, 8),
    }


def of_training(corpus: Corpus, store: FeatureStore, out: Path) -> dict[str, np.ndarray]:
    """Of every update of a short training with dropout and retrieval loss and gradient, and what its model is worth."""
    recipe = tiny_recipe()
    short = recipe.train.model_copy(update={"epochs": 2, "passes_per_epoch": 4, "word_dropout": 0.1})
    more = {"train": short, "model": recipe.model | {"feature_dropout": 0.1}}
    encoder = train(corpus, store, out / "checkpoint", recipe.model_copy(update=more))
    log = [json.loads(line) for line in (out / "checkpoint" / "log.jsonl").read_text().splitlines()]
    told = np.array([(r["loss"], r["grad_norm"], r["false_negatives"]) for r in log if "loss" in r])
    return {"log": told} | {f"trained_{name}": value for name, value in of_encoder(encoder, corpus, store).items()}


def main(world: Path, out: Path, workers: int = 1) -> None:
    corpus, store = open_corpus(world / "corpus"), open_store(world / "features")
    filmed = make_corpus(out / "films", FILMED, workers, progress=False, kept=Kept(None))
    films = sorted(file for kind in ("videos", "captions", "truth") for file in (out / "films" / kind).iterdir())
    made = extract(filmed, get_backbone("motion"), out / "features", workers, progress=False)
    encoder = load_encoder(world / "checkpoint")
    pairs = pair_data(corpus, store, encoder.tokenizer)
    drawn = draw_pairs(pairs, np.arange(20), tiny_recipe().train, np.random.default_rng(0))
    numbers = {"drawn": np.array([(p.first, p.last, p.video_start, p.video_end) for p in drawn])}
    numbers |= {"features": np.concatenate([made[id] for id in made.ids])}
    numbers |= of_encoder(encoder, corpus, store) | of_training(corpus, store, out)
    np.savez(out / "numbers.npz", films=np.array([sha256_file(film) for film in films]), **numbers)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]), *map(int, sys.argv[3:]))
