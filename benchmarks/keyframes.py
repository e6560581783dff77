"""Which start and training suit a few real pairs, and what must they beat? Cross-validation inside a train split.

    python benchmarks/keyframes.py --source ../shared/real/youcook2_keyframes RECIPE.yaml ... --ridge minilm

Folds are videos of the train split; the val split is not looked at. Every recipe is trained on four fifths and asked
for the rest: R@10 among the fold's own keyframes, the step found among those of its own video (keyframes read one by
one), and the same with the video read as a whole. With --ridge the forms of ridge stand beside, best first of each
kind of target. Prints one JSON record.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from sklearn.model_selection import KFold

from vcwork.data.corpus import Corpus
from vcwork.data.keyframes import keyframes_corpus
from vcwork.data.store import FeatureStore
from vcwork.encoders.encoder import encode_text
from vcwork.measure.metrics import place
from vcwork.review.rivals import ClipRidge, within_video_hits
from vcwork.tasks.cases import annotated_clips, clip_scores, whole_video_vectors
from vcwork.training.recipe import Recipe, read_recipe
from vcwork.training.run import train


def split_again(corpus: Corpus, known: list[str], asked: list[str]) -> Corpus:
    """The corpus with other videos to train on and to ask for."""
    videos = {id: replace(corpus.videos[id], split="train") for id in known}
    return replace(corpus, videos=videos | {id: replace(corpus.videos[id], split="val") for id in asked})


def asked(corpus: Corpus, store: FeatureStore, recipe: Recipe, folder: Path) -> list[float]:
    """R@10, step, and step with the video read as a whole, of a recipe trained on the train split."""
    encoder, clips = train(corpus, store, folder, recipe), annotated_clips(corpus, store, "val")
    scores = clip_scores(encoder, clips)
    whole = encode_text(encoder, clips.sentences) @ whole_video_vectors(encoder, store, clips).T
    hits = place(scores, clips.same).hit(10), within_video_hits(scores, clips), within_video_hits(whole, clips)
    return [float(np.nanmean(hit)) for hit in hits]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", type=Path)
    parser.add_argument("--source", required=True, help="folder of keyframes")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ridge", help="minilm, or as `load_sentences`")
    options, record = parser.parse_args(), {}
    with tempfile.TemporaryDirectory() as place_for_all:
        root = Path(place_for_all)
        corpus, store = keyframes_corpus(options.source, root / "corpus", root / "features")
        ids = np.array([video.id for video in corpus.split("train")])
        folds = list(KFold(options.folds, shuffle=True, random_state=options.seed).split(ids))
        for path in options.recipes:
            recipe = read_recipe(path, options.seed)
            rows = [
                asked(split_again(corpus, ids[a].tolist(), ids[b].tolist()), store, recipe, root / f"{path.stem}{i}")
                for i, (a, b) in enumerate(folds)
            ]
            record[path.stem] = dict(zip(("R@10", "step", "step in its video"), np.mean(rows, 0), strict=True))
            print(path.stem, *np.round(np.mean(rows, 0), 4), file=sys.stderr, flush=True)
        if options.ridge:
            tried = ClipRidge(corpus, store, options.ridge).tried
            best = {form.meaning: (str(form), r10, step) for form, r10, step in reversed(tried)}
            record["ridge"] = [best[share] for share in sorted(best)]
    print(json.dumps(record, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
