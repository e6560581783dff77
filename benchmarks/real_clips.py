"""Real videos, a real text query: a model trained on YouCook2 keyframes searches a folder of clips by MobileNetV2.

    python benchmarks/real_clips.py --real ../shared/real

The keyframes come as features without a word on how they were made, the clips are read by the MobileNetV2 folder beside
them. That both are the same network is an assumption, which the feature store would refuse (other contract); here the
clips go in as plain arrays, and the two sets' statistics are printed. Every query is a sentence about one clip, written
before any score was seen; half of the clips are not about cooking, which the model has never heard of.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

import vcwork
from vcwork.base.errors import VcworkError
from vcwork.data.backbones.image import get_backbone
from vcwork.data.extract import chunks_of
from vcwork.data.keyframes import keyframes_corpus
from vcwork.encoders.encoder import Encoder
from vcwork.measure.intervals import bootstrap_by_video
from vcwork.measure.metrics import chance_recall_at_k, place
from vcwork.search.index import VideoIndex
from vcwork.training.recipe import read_recipe
from vcwork.training.run import train

QUERIES = {
    "flipping_a_pancake": "flip the pancake in the pan",
    "hands-of-a-baker-kneading-a-dough": "knead the dough with your hands",
    "pastry-chef-cutting-a-loaf-into-slices": "cut the loaf of bread into slices",
    "04_coffee": "pour the coffee into a cup",
    "01_dog": "a dog plays on the grass",
    "nasa_13013": "a rocket and the earth seen from space",
    "women_long_jump": "a woman runs and jumps into the sand",
    "v_GGSY1Qvo990": "a man lifts a heavy weight over his head",
}


def keyframes_model(real: Path, folder: Path) -> Encoder:
    """The model of profile `keyframes`."""
    corpus, store = keyframes_corpus(real / "youcook2_keyframes", folder / "corpus", folder / "features")
    recipe = read_recipe("params/keyframes/recipes/pretraining.yaml")
    return train(corpus, store, folder / "checkpoint", recipe)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", type=Path, default=Path("../shared/real"))
    real = parser.parse_args().real.resolve()
    try:
        eye = get_backbone(str(real / "backbones" / "mobilenet_v2"))
        found = [p for p in sorted((real / "clips").iterdir()) if p.stem in QUERIES and p.suffix in (".mp4", ".mkv")]
        clips = {path.stem: np.stack([eye(chunk) for chunk in chunks_of(eye, path)]) for path in found}
        with tempfile.TemporaryDirectory() as folder:
            encoder = keyframes_model(real, Path(folder))
            store = vcwork.open_store(Path(folder) / "features")
            stored = np.concatenate([store[id] for id in store.ids[:100]])
    except VcworkError as error:
        raise SystemExit(f"error: {error}") from None
    seen = np.concatenate(list(clips.values()))
    alike = np.corrcoef(stored.astype(float).mean(0), seen.mean(0))[0, 1]
    print(
        f"mean feature of keyframes and of clips: correlation {alike:.2f}; means {stored.mean():.2f}, {seen.mean():.2f}"
    )
    index = VideoIndex.build(vcwork.encode_video(encoder, clips.values()), list(clips), encoder=encoder.digest)
    scores = np.zeros((len(clips), len(clips)))
    for q, id in enumerate(clips):
        hits = vcwork.search(encoder, QUERIES[id], index, k=len(clips))
        for hit in hits:
            scores[q, list(clips).index(hit.id)] = hit.score
        rank = next(hit.rank for hit in hits if hit.id == id)
        print(f"rank {rank} of {len(clips)}   {QUERIES[id]:45s} first: {hits[0].id}")
    for k in (1, 3):
        hit = place(scores).hit(k)
        low, high = bootstrap_by_video(hit, list(clips))
        print(f"R@{k} {hit.mean():.0%} ({low:.0%} to {high:.0%}), chance {chance_recall_at_k(len(clips), k):.0%}")


if __name__ == "__main__":
    main()
