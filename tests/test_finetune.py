"""Fine-tuning: each task is learned on a toy and held out, false labels teach nothing, recipes are as published."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from checks import refused
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from toys import recipe_video, theme_seconds, toy_contract, toy_encoder

from benchmarks import salads50
from vcwork.base.errors import VcworkError
from vcwork.core.text import SPECIAL, Tokenizer
from vcwork.data.corpus import Corpus, Recipe
from vcwork.data.store import FeatureStore, write_store
from vcwork.encoders.checkpoint import save_encoder
from vcwork.encoders.encoder import Encoder, encode_text, encode_video, score
from vcwork.encoders.load import load_encoder
from vcwork.measure.metrics import frame_accuracy, recall_at_k
from vcwork.tasks.localization import Case, evaluate
from vcwork.training import segmentation_head as heads
from vcwork.training.finetune import ClipSet, FinetuneRecipe, finetune_pairs, save_finetuned
from vcwork.training.finetune_corpus import finetune, labelled_videos
from vcwork.training.recipe import read_recipe
from vcwork.training.segmentation_head import LabelledVideo, TokenClassifier, label_logits
from vcwork.training.step_scorer import StepVideo, finetune_localization, step_scores

WIDTH, THEMES, WINDOW = 12, 6, 8
CONTRACT = toy_contract(WIDTH)
FAST = {"lr": 3e-3, "warmup": 5, "decay_updates": 0, "adam": "torch"}


def new_encoder(seed: int = 0, **more: float) -> Encoder:
    tokenizer = Tokenizer([*SPECIAL, *(f"w{i}" for i in range(THEMES)), "do", "then"])
    return toy_encoder(tokenizer, WIDTH, seed, **more)


def seconds(themes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return theme_seconds(themes, WIDTH, rng)


# ------------------------------------------------------------------------------------------ retrieval and VideoQA


def clip_set(n: int, seed: int, shuffled: bool = False) -> ClipSet:
    """Clips of two themes in turn; their sentences name both, in two wordings."""
    rng = np.random.default_rng(seed)
    themes = np.array([rng.permutation(THEMES)[:2] for _ in range(n)])
    told = rng.permutation(themes) if shuffled else themes
    clips = [seconds(np.repeat(pair, 3), rng) for pair in themes]
    return ClipSet(clips, [[f"do w{a} then w{b}", f"w{a} w{b}"] for a, b in told])


def own_theme(encoder: Encoder, data: ClipSet) -> float:
    """Share of texts that find a clip of their own two themes first; 1/15 by chance."""
    scores = score(encode_text(encoder, [s[0] for s in data.sentences]), encode_video(encoder, data.clips))
    key = [frozenset(s[1].split()) for s in data.sentences]
    return recall_at_k(scores, 1, np.array([[a == b for b in key] for a in key]))


@pytest.mark.parametrize("task", ["retrieval", "videoqa"])
def test_pairs_learn_what_is_true_and_nothing_else(task, tmp_path):
    recipe = FinetuneRecipe(task=task, epochs=12, batch_size=32, **FAST)
    held_out, before = clip_set(60, 1), new_encoder()
    start = own_theme(before, held_out)
    encoder, again, misled = new_encoder(), new_encoder(), new_encoder()
    records = list(finetune_pairs(encoder, clip_set(128, 2), recipe))
    list(finetune_pairs(again, clip_set(128, 2), recipe))
    list(finetune_pairs(misled, clip_set(128, 2, shuffled=True), recipe))
    assert len(records) == 12 * 4 and records[0].lr == 0 and records[0].flat == pytest.approx(np.log(32))
    assert own_theme(encoder, held_out) > max(0.5, start + 0.3)
    assert own_theme(misled, held_out) < 0.25, "captions of other clips"
    for a, b in zip(encoder.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(a, b), "same seed, same weights"
    origin = save_encoder(tmp_path / "before", before)
    encoder.digest = origin.digest
    save_finetuned(tmp_path / "after", encoder, recipe)
    loaded = load_encoder(tmp_path / "after", CONTRACT)
    assert loaded.card["finetuned"]["from"] == origin.digest != loaded.digest
    assert FinetuneRecipe(**loaded.card["finetuned"]["recipe"]) == recipe
    assert own_theme(loaded, held_out) == own_theme(encoder, held_out)


@pytest.mark.parametrize(("task", "rows_are"), [("retrieval", "texts"), ("videoqa", "clips")])
def test_first_update_has_the_loss_of_its_direction(task, rows_are):
    data, encoder = clip_set(5, 3), new_encoder(dropout=0.0)
    data.clips[0] = np.concatenate([data.clips[0][:WINDOW], data.clips[0], data.clips[0]])  # more than the window
    one = ClipSet(data.clips, [s[:1] for s in data.sentences])
    video = encode_video(encoder, [clip[:WINDOW] for clip in one.clips])
    scores = torch.from_numpy(score(encode_text(encoder, [s[0] for s in one.sentences]), video))  # texts x clips
    rows = scores if rows_are == "texts" else scores.T
    expected = cross_entropy(rows, torch.arange(5)).item()
    record = next(finetune_pairs(encoder, one, FinetuneRecipe(task=task, batch_size=5)))
    assert record.loss == pytest.approx(expected, abs=1e-5)


def test_repeats_list_a_clip_again_with_sentences_of_its_own():
    recipe = FinetuneRecipe(task="retrieval", batch_size=16, repeats=5, epochs=2)
    encoder, seen = new_encoder(), []
    encode = encoder.tokenizer.encode
    encoder.tokenizer.encode = lambda texts, n: seen.extend(texts) or encode(texts, n)
    data = clip_set(12, 4)
    assert len(list(finetune_pairs(encoder, data, recipe))) == 2 * 4  # 60 pairs: 16, 16, 16, 12
    assert len(seen) == 120 and set(seen) == {s for own in data.sentences for s in own}


def test_best_epoch_is_kept_by_validation_alone():
    recipe = FinetuneRecipe(task="retrieval", batch_size=16, epochs=4, keep="best", **FAST)
    encoder, states, values = new_encoder(), [], iter([0.1, 0.7, 0.7, 0.2])

    def validate() -> float:
        assert not encoder.model.training
        states.append({k: v.clone() for k, v in encoder.model.state_dict().items()})
        return next(values)

    records = list(finetune_pairs(encoder, clip_set(32, 5), recipe, validate))
    assert [r.validation for r in records if r.validation is not None] == [0.1, 0.7, 0.7, 0.2]
    assert all(torch.equal(v, states[1][k]) for k, v in encoder.model.state_dict().items()), "the first of equal ones"
    refused("needs validation data", next, finetune_pairs(encoder, clip_set(4, 5), recipe))


# --------------------------------------------------------------------------------------------------- segmentation


def labelled(n: int, seed: int, shuffled: bool = False) -> list[LabelledVideo]:
    """Every other run is theme 0, and what it is called depends on the run before, so a second alone does not tell."""
    rng, out = np.random.default_rng(seed), []
    for v in range(n):
        size, kind = rng.integers(2, 4, 10), np.zeros(10, int)
        kind[::2] = rng.integers(1, 3, 5)
        called = np.where((kind == 0) & (np.append(0, kind[:-1]) == 1), 3, kind)
        themes, labels = np.repeat(kind, size), np.repeat(called, size)
        out.append(LabelledVideo(f"v{v}", seconds(themes, rng), labels))
    if not shuffled:
        return out
    every = rng.permutation(np.concatenate([v.labels for v in out]))  # inside a video its mixture would still teach
    ends = np.cumsum([len(v.labels) for v in out])[:-1]
    return [replace(v, labels=own) for v, own in zip(out, np.split(every, ends), strict=True)]


SEGMENT = FinetuneRecipe(task="segmentation", epochs=25, batch_size=4, stride=4, test_stride=4, **FAST)


def accuracy(classifier: TokenClassifier, videos: list[LabelledVideo], recipe: FinetuneRecipe = SEGMENT) -> float:
    said = heads.predict_labels(classifier, [v.features for v in videos], recipe)
    return float(np.mean([frame_accuracy(labels, v.labels) for labels, v in zip(said, videos, strict=True)]))


def new_classifier(**more: float) -> TokenClassifier:
    torch.manual_seed(0)
    return TokenClassifier(new_encoder(**more).model, 4)


def test_segmentation_learns_and_false_labels_do_not(tmp_path):
    held_out, classifier, misled = labelled(20, 1), new_classifier(), new_classifier()
    start = accuracy(classifier, held_out)
    records = list(heads.finetune_segmentation(classifier, labelled(24, 2), SEGMENT))
    list(heads.finetune_segmentation(misled, labelled(24, 2, shuffled=True), SEGMENT))
    alone = max(np.mean([np.isin(v.labels, [label, 1, 2]).mean() for v in held_out]) for label in (0, 3))
    assert alone < 0.8, "of the seconds of theme 0 about half are called 3"
    assert records[0].flat == pytest.approx(np.log(4))
    assert accuracy(classifier, held_out) > 0.85 > alone > start + 0.2, "more than a second alone can tell"
    majority = max(np.mean([(v.labels == c).mean() for v in held_out]) for c in range(4))
    assert accuracy(misled, held_out) < majority + 0.1
    encoder = new_encoder()
    encoder.model = classifier.model
    heads.save_classifier(tmp_path, encoder, classifier, ["none", "a", "b", "c"], SEGMENT)
    loaded, labels, recipe = heads.load_classifier(tmp_path)
    assert (labels, recipe) == (["none", "a", "b", "c"], SEGMENT)
    some = [v.features for v in held_out[:3]]
    for a, b in zip(label_logits(loaded, some, recipe), label_logits(classifier, some, SEGMENT), strict=True):
        np.testing.assert_array_equal(a, b)
    (tmp_path / "head.safetensors").write_bytes(b"other")
    refused(r"head\.safetensors: .*damaged or swapped", heads.load_classifier, tmp_path)


def test_segmentation_loss_is_cross_entropy_over_all_windows_with_cls_hidden():
    video, classifier = labelled(1, 3)[0], new_classifier(dropout=0.0)
    video.labels[2] = -100
    recipe = SEGMENT.model_copy(update={"batch_size": 1})
    logits, labels = [], []
    for s in [0, 4, 8, 12, 16, 20, 24]:
        if s == 0 or s < len(video.features) - WINDOW + 4:  # until the rest fits
            clip = torch.from_numpy(video.features[None, s : s + WINDOW])
            states = classifier.model.encode_video(clip, torch.ones(clip.shape[:2], dtype=torch.bool), hide_cls=True)
            logits.append(classifier.head(states.states)[0])
            labels.append(torch.from_numpy(video.labels[s : s + WINDOW]))
    expected = cross_entropy(torch.cat(logits), torch.cat(labels)).item()
    record = next(heads.finetune_segmentation(classifier, [video], recipe))
    assert record.loss == pytest.approx(expected, abs=1e-5)


def test_the_ways_of_the_50salads_benchmark():
    rows = np.arange(7, dtype=np.float32)[:, None]
    np.testing.assert_allclose(salads50.as_tokens(rows, 3)[:, 0], [1, 4, 6])
    np.testing.assert_allclose(salads50.as_tokens(rows, 3, first=2)[:, 0], [3, 5.5])
    times = salads50.as_tokens(rows, 3, time_input=True)[:, 1:]
    np.testing.assert_allclose(times[:, 0], [-1, 6 / 7 - 1, 12 / 7 - 1], atol=1e-6)
    assert salads50.token_labels(np.array([2, 1, 1, -100, -100, 5, -100]), 3).tolist() == [1, 5, -100]
    assert salads50.train_starts(20, 8, 4) == [0, 4, 8, 12] and salads50.train_starts(20, 8, 4, 3) == [0, 3, 7, 11, 15]
    assert salads50.train_starts(6, 8, 4, 3) == [0], "a short video is one window"
    recipe = salads50.SaladsRecipe(task="segmentation", foreign=2.0, foreign_tokens=3, train={})
    videos = labelled(4, 0)
    added = salads50.foreign_tokens(videos, 400, recipe, np.random.default_rng(0))
    sizes = np.linalg.norm(added, axis=1) / np.mean([np.linalg.norm(v.features, axis=1).mean() for v in videos])
    assert 0.8 < sizes.mean() < 1.2 and sizes.min() < 0.3, "times 0 to 2, mean 1"


def test_decoding_with_a_cost_is_the_best_path():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(6, 3)) * 2
    logp = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    paths = np.array(np.meshgrid(*[range(3)] * 6)).reshape(6, -1).T  # (729, 6)
    for cost in (0.0, 0.7, 3.0, 1e6):
        value = logp[np.arange(6), paths].sum(1) - cost * (np.diff(paths, axis=1) != 0).sum(1)
        assert salads50.decode(logits, cost).tolist() == paths[value.argmax()].tolist()
    assert len(set(salads50.decode(logits, 1e6))) == 1


# --------------------------------------------------------------------------------------------------- localization


def step_videos(n: int, seed: int, shuffled: bool = False) -> list[StepVideo]:
    """Three steps of six, in the order of the video, background between them."""
    rng, out = np.random.default_rng(seed), []
    for v in range(n):
        steps, at, themes = rng.permutation(THEMES - 1)[:3] + 1, np.sort(rng.permutation(7)[:3]) * 3, np.zeros(22, int)
        for step, start in zip(steps, at, strict=True):
            themes[start : start + 2] = step
        told = rng.integers(0, 20, 3) if shuffled else at
        intervals = [[(float(start), start + 2.0)] for start in told]
        out.append(StepVideo(f"v{v}", seconds(themes, rng), [f"do w{s}" for s in steps], intervals))
    return out


LOCATE = FinetuneRecipe(task="localization", epochs=12, batch_size=2, stride=4, test_stride=4, **FAST)


def unordered_recall(encoder: Encoder, videos: list[StepVideo]) -> tuple[float, float]:
    """Recall of the best second of each step, and its chance."""
    scores = step_scores(encoder, videos, LOCATE)
    cases = [Case(s, v.intervals, v.video_id, "t") for s, v in zip(scores, videos, strict=True)]
    result = {r.name: r for r in evaluate(cases, n_boot=10)}["recall_unordered"]
    return result.value, result.chance


def test_localization_learns_and_false_places_do_not():
    held_out, encoder, misled = step_videos(20, 1), new_encoder(), new_encoder()
    start, chance = unordered_recall(encoder, held_out)
    records = list(finetune_localization(encoder, step_videos(30, 2), LOCATE))
    list(finetune_localization(misled, step_videos(30, 2, shuffled=True), LOCATE))
    assert records[0].flat == pytest.approx(np.log(2))
    assert unordered_recall(encoder, held_out)[0] > max(0.7, start + 0.3)
    assert unordered_recall(misled, held_out)[0] < chance + 0.15


def test_localization_loss_is_the_mean_over_seconds_and_steps():
    video, encoder = step_videos(1, 3)[0], new_encoder(dropout=0.0, max_video_tokens=32)
    given = torch.from_numpy(video.features[None]), torch.ones(1, 22, dtype=torch.bool)
    states = encoder.model.encode_video(*given, hide_cls=True).states[0]
    steps = torch.from_numpy(encode_text(encoder, list(video.steps)))
    target = torch.zeros(22, 3)
    for k, [(start, end)] in enumerate(video.intervals):
        target[int(start) : int(end), k] = 1
    expected = binary_cross_entropy_with_logits(states @ steps.T, target).item()
    assert next(finetune_localization(encoder, [video], LOCATE)).loss == pytest.approx(expected, abs=1e-5)
    (scores,) = step_scores(encoder, [video], LOCATE)
    np.testing.assert_allclose(scores[:5], (states @ steps.T).detach()[:5], atol=1)


# -------------------------------------------------------------------------------------------------------- recipes

PUBLISHED = {
    "finetune_retrieval_youcook2": {"task": "retrieval", "batch_size": 128, "repeats": 1, "loss": "t2v", "epochs": 10},
    "finetune_retrieval_msrvtt": {"task": "retrieval", "batch_size": 224, "repeats": 20, "loss": "t2v", "epochs": 10},
    "finetune_videoqa_msrvtt": {"task": "videoqa", "batch_size": 128, "repeats": 20, "loss": "v2t", "epochs": 5},
    "finetune_segmentation_coin": {"task": "segmentation", "batch_size": 1, "stride": 8, "epochs": 8},
    "finetune_localization_crosstask": {"task": "localization", "batch_size": 1, "stride": 16, "epochs": 5},
}
OF_ALL = {
    "lr": 5e-5, "warmup": 122, "clip_norm": 2.0, "decay_updates": 1_000_000, "adam": "fairseq", "negatives": "local",
    "seed": 5, "test_stride": 16,
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_recipes(root, name):
    recipe = read_recipe(root / "params" / "paper" / "recipes" / f"{name}.yaml", 5, FinetuneRecipe)
    told = recipe.train.model_dump() | recipe.model_dump()
    assert {key: told[key] for key in OF_ALL | PUBLISHED[name]} == OF_ALL | PUBLISHED[name]


def test_a_recipe_may_have_the_keys_of_train_beside_its_own(tmp_path):
    for file, text in {
        "beside": "task: segmentation\nepochs: 3\nlr: 1.0e-3\nstride: 4\n",
        "now": "task: segmentation\nstride: 4\ntrain: {epochs: 3, lr: 1.0e-3}\n",
    }.items():
        (tmp_path / file).write_text(text)
    beside, now = (read_recipe(tmp_path / file, kind=FinetuneRecipe) for file in ("beside", "now"))
    assert beside == now == FinetuneRecipe(**now.model_dump()) and now.train.warmup == 122


def test_nothing_to_learn_from_and_bad_features_are_named():
    with pytest.raises(VcworkError, match=r"segmentation: expected something to learn from .* got 0"):
        next(heads.finetune_segmentation(new_classifier(), [], SEGMENT))
    video = labelled(1, 0)[0]
    video.features[0] = np.nan
    refused("loss became nan", next, heads.finetune_segmentation(new_classifier(), [video], SEGMENT))


# ------------------------------------------------------------------------------------------------------ a corpus


@pytest.fixture
def world(tmp_path) -> tuple[Corpus, FeatureStore]:
    """Videos of one recipe of five steps, three of them in each; train, val, and a test split nobody may read."""
    rng, videos, arrays = np.random.default_rng(0), {}, {}
    for i, split in enumerate(["train"] * 24 + ["val"] * 6 + ["test"] * 6):
        id = f"{split}{i}"
        videos[id], arrays[id] = recipe_video(id, split, "r", range(1, THEMES), WIDTH, rng, 3)
    steps = {f"s{k}": f"do w{k}" for k in range(1, THEMES)}
    corpus = Corpus(tmp_path, "toy", videos, steps, {"r": Recipe("r", "toy", tuple(steps))})
    read = []
    corpus.split = lambda name: read.append(name) or [v for v in videos.values() if v.split == name]
    corpus.was_read = read
    return corpus, write_store(tmp_path / "features", CONTRACT, arrays)


@pytest.mark.parametrize(
    ("task", "start", "least"),  # before training, at most; of 18 steps 16 or 17 are found, by the seed
    [("retrieval", 0.5, 0.9), ("videoqa", 0.5, 0.9), ("segmentation", 0.5, 0.9), ("localization", 0.6, 0.85)],
)
def test_a_corpus_is_fine_tuned_and_validated(world, tmp_path, task, start, least):
    corpus, store = world
    recipe = FinetuneRecipe(task=task, epochs=8, batch_size=4, stride=4, test_stride=4, keep="best", **FAST)
    before: list = []
    idle = recipe.but(epochs=1, lr=1e-12)
    finetune(corpus, store, new_encoder(), idle, tmp_path / "idle", before.append)
    assert before[-1].validation < start
    seen: list = []
    encoder = new_encoder()
    first = save_encoder(tmp_path / "first", encoder).digest
    tuned = finetune(corpus, store, encoder, recipe, tmp_path / task, seen.append)
    values = [r.validation for r in seen if r.validation is not None]
    assert len(values) == 8 and max(values) > least
    assert tuned.card["finetuned"]["from"] == first != tuned.digest
    assert "test" not in corpus.was_read, "the test split is nobody's business here"
    logged = [json.loads(line) for line in (tmp_path / task / "log.jsonl").read_text().splitlines()]
    assert logged == [asdict(r) for r in seen]
    refused("holds a checkpoint", finetune, corpus, store, encoder, recipe, tmp_path / task)
    if task == "segmentation":
        classifier, names, kept = heads.load_classifier(tmp_path / task)
        assert names == ["", *sorted(corpus.steps)] and kept == recipe
        held = labelled_videos(corpus, store, "val", names[1:])
        assert accuracy(classifier, held, kept) == pytest.approx(max(values))


def test_a_seed_says_where_the_head_begins(world, tmp_path):
    corpus, store = world
    recipe = FinetuneRecipe(task="segmentation", epochs=1, batch_size=8, stride=4, test_stride=4, **FAST)
    begun = []
    for i, seed in enumerate((0, 0, 1)):
        encoder = new_encoder()
        torch.manual_seed(100 + i)  # whatever was drawn before
        finetune(corpus, store, encoder, recipe.but(seed=seed), tmp_path / str(i))
        begun.append(heads.load_classifier(tmp_path / str(i))[0].head.weight)
    assert torch.equal(begun[0], begun[1]), "same weights, recipe and seed"
    assert not torch.equal(begun[0], begun[2])


def test_steps_that_training_never_saw_are_numbered_beyond(world):
    corpus, store = world
    held = labelled_videos(corpus, store, "val", ["s2"])
    assert {int(c) for v in held for c in v.labels} == {0, 1, 2, 3, 4, 5}
    for v in held:
        assert all((v.labels[5 * p] == 1) == (s.step == "s2") for p, s in enumerate(corpus[v.video_id].segments))


# ----------------------------------------------------------------------------------------------------- two ranks


def two_rank_runs(world: int) -> dict[str, torch.Tensor]:
    """Weights after three updates; `world` ranks share each update's items, so that the items are the same."""
    out = {}
    options = {"epochs": 1, "batch_size": 4 // world, "lr": 1e-3, "warmup": 0, "stride": 4}
    for task in ("global", "local", "segmentation", "localization"):
        torch.manual_seed(0)
        encoder = new_encoder(dropout=0.0)
        if task in ("global", "local"):
            recipe = FinetuneRecipe(task="retrieval", negatives=task, **options)
            list(finetune_pairs(encoder, clip_set(12, 1), recipe))
        elif task == "localization":
            list(finetune_localization(encoder, step_videos(12, 1), FinetuneRecipe(task=task, **options)))
        else:
            videos = [LabelledVideo(v.video_id, v.features[:16], v.labels[:16]) for v in labelled(12, 1)]
            classifier = TokenClassifier(encoder.model, 4)
            list(heads.finetune_segmentation(classifier, videos, FinetuneRecipe(task=task, **options)))
        out[task] = torch.cat([p.detach().cpu().flatten() for p in encoder.model.parameters()])
    return out


def test_two_ranks_train_as_one(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", __file__]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([*command, str(tmp_path)], env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    alone = two_rank_runs(1)
    for task, weights in alone.items():
        assert torch.equal(ranks[0][task], ranks[1][task]), f"{task}: all ranks make the same update"
        # a mean: Adam turns a gradient of nothing but rounding into a step as long as any other
        same = (ranks[0][task] - weights).abs().mean() < 1e-6
        assert same == (task != "local"), f"{task}: local negatives are a contrast of their own"


if __name__ == "__main__":
    torch.save(two_rank_runs(2), Path(sys.argv[1]) / f"{os.environ['RANK']}.pt")
