"""Training into a folder by a recipe: commands, the epoch that is kept, what is refused; BERT's weights to begin."""

import csv
import json
import platform
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from checks import edited, refused
from transformers import BertConfig, BertModel, ResNetConfig

from vcwork.__main__ import main
from vcwork.base.errors import VcworkError
from vcwork.base.files import read_yaml
from vcwork.base.sealed import read_tensors, write_tensors
from vcwork.core.config import ModelConfig, TrainConfig
from vcwork.core.model import VideoCLIP
from vcwork.core.text import SPECIAL, Tokenizer
from vcwork.data.keyframes import keyframes_corpus
from vcwork.data.store import Contract
from vcwork.encoders.encoder import encode_seconds, encode_text
from vcwork.encoders.frame_config import FrameConfig
from vcwork.encoders.from_bert import bert_folder, start_from_bert
from vcwork.encoders.load import load_encoder
from vcwork.training import run, workspace
from vcwork.training.finetune import FinetuneRecipe
from vcwork.training.kept import TRAINING
from vcwork.training.recipe import Recipe, read_recipe
from vcwork.training.run import train
from vcwork.training.validation import VALIDATION
from vcwork.training.workspace import SHIPPED, Workspace, prepare, tiny_recipe
from vcwork.workbench.verify import verify

SIZES = {"hidden": 32, "heads": 2, "ffn": 64, "video_layers": 1, "text_layers": 1, "dropout": 0.0}
TRAIN = {
    "epochs": 6, "passes_per_epoch": 4, "lr": 3e-3, "warmup": 2,
    "pairs": {"rule": "each", "min_video_s": 1, "max_video_s": 1},
    "clusters": {"videos_per_batch": 8, "clips_for_vector": 2},
}  # fmt: skip
OBJECTS, ACTIONS = ("onion", "carrot", "bread", "apple"), ("cut", "fry", "wash")


def recipe(**more: object) -> Recipe:
    return Recipe(model=SIZES, train=TRAIN | more)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """24 train and 6 val videos of three keyframes: the feature tells object and action, noisily."""
    source, rng = tmp_path_factory.mktemp("source"), np.random.default_rng(0)
    (source / "features" / "toy").mkdir(parents=True)
    for split, n in (("train", 24), ("val", 6)):
        ids = [f"{split}{i}" for i in range(n)]
        with open(source / f"videos_{split}.csv", "w", newline="") as file:
            csv.writer(file).writerows([["video_id", "recipe_type", "split"], *([id, "1", split] for id in ids)])
        captions = {}
        for id in ids:
            parts = [(int(rng.integers(4)), a) for a in rng.permutation(3)]
            features = [np.eye(7)[o] + np.eye(7)[4 + a] + rng.normal(size=7) * 0.4 for o, a in parts]
            np.save(source / "features" / "toy" / f"{id}.npy", np.array(features, np.float16))
            text = [f"{ACTIONS[a]} the {OBJECTS[o]}" for o, a in parts]
            captions[id] = {"start": [0.0, 1.0, 2.0], "end": [1.0, 2.0, 3.0], "text": text}
        (source / f"captions_{split}.json").write_text(json.dumps(captions))
    out = tmp_path_factory.mktemp("world")
    return keyframes_corpus(source, out / "corpus", out / "features", backbone="toy", width=7)


def _log(folder: Path) -> list[float]:
    lines = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return [line[VALIDATION] for line in lines if VALIDATION in line]


def test_the_best_epoch_by_validation_is_kept(world, tmp_path):
    """The second of four epochs scores best; a later equal one does not replace it."""
    corpus, store = world
    scores, weights = [0.1, 0.7, 0.3, 0.7], []

    def told(encoder):
        weights.append({name: t.clone() for name, t in encoder.model.state_dict().items()})
        return {VALIDATION: scores[(len(weights) - 1) % 4]}

    for keep, epoch in (("best", 1), ("last", 3)):
        weights.clear()
        train(corpus, store, tmp_path / keep, recipe(epochs=4, keep=keep), check=told)
        kept = load_encoder(tmp_path / keep).model.state_dict()
        assert [all(torch.equal(kept[n], w[n]) for n in kept) for w in weights] == [i == epoch for i in range(4)]
        assert _log(tmp_path / keep) == scores


def test_what_data_cannot_serve_a_recipe_is_told_before_the_folder_is_taken(world, tmp_path, capsys):
    """Some was told after a whole epoch, and the folder then refused the recipe that was put right."""
    corpus, store = world
    some = lambda n: replace(corpus, videos={v.id: v for v in corpus.split("train")[:n]})  # noqa: E731
    few = {"search": "reference cell", "ranks": 1, "videos_per_batch": 8, "nlist": 99}
    for about, videos, change in (
        ("keep: best needs validation videos", 24, {"keep": "best"}),
        ("reference cell: expected at least nlist=99 videos a rank, got 24", 24, {"clusters": few}),
        ("shuffle_captions: expected two training videos or more, .* got 1", 1, {"shuffle_captions": True}),
        ("no train video has both captions and features", 0, {}),
    ):
        refused(about, train, some(videos), store, tmp_path / "run", recipe(**change))
        assert not (tmp_path / "run" / "train.json").exists()
    many = TRAIN["clusters"] | {"videos_per_batch": 999}
    assert train(corpus, store, tmp_path / "run", recipe(epochs=1, clusters=many)).digest
    assert "videos_per_batch (999): there are 24 to train on" in capsys.readouterr().err


@pytest.mark.parametrize(("change", "told"), [
    ({"epochs": True}, "epochs: .*expected a number, got True"),
    ({"lr": "1.0e-3"}, "lr: .*expected a number, got '1.0e-3'"),
    ({"pairs": {"max_text_s": -5}}, "max_text_s: .*greater than 0"),
    ({"epochs": "1e2"}, "epochs: .*expected a number, got '1e2'"),
    ({"lr": "-1E-4"}, "lr: .*greater than 0"),
])  # fmt: skip
def test_what_a_setting_cannot_be_is_refused(change, told):
    refused(told, TrainConfig.checked, **change)
    refused("max_video_tokens: .*less than or equal to 510", ModelConfig.checked, max_video_tokens=511)
    model = VideoCLIP(ModelConfig.checked(**SIZES, feature_dim=2, vocab_size=9, max_video_tokens=510))
    assert model.encode_video(torch.ones(1, 510, 2), torch.ones(1, 510, dtype=bool)).pooled.isfinite().all()


def test_a_rate_without_a_point_is_the_number_it_is():
    """YAML reads 1e-4 and 1.5e3 as text."""
    for text, number in (("1e-4", 1e-4), ("5E-5", 5e-5), ("1.5e3", 1500.0)):
        assert TrainConfig.checked(**yaml.safe_load(f"lr: {text}")).lr == number
    for depths in ([3, "4"], [3, True]):
        refused("depths: .*expected a number", FrameConfig.checked, depths=depths)


def test_pretrain_command(world, tmp_path, capsys):
    corpus, store = world
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump({"model": SIZES, "train": TRAIN | {"epochs": 1}}))
    paths = ["--corpus", str(corpus.folder), "--features", str(store.folder), "--checkpoint", str(tmp_path / "out")]
    assert main(["pretrain", str(file), *paths, "--seed", "2"]) == 0
    encoder = load_encoder(tmp_path / "out", store.contract)
    assert encoder.digest in capsys.readouterr().out and encoder.card["train"]["seed"] == 2
    file.write_text(yaml.safe_dump({"model": SIZES, "train": TRAIN | {"epoch": 1}}))
    assert main(["pretrain", str(file), *paths]) == 2
    assert "train.epoch" in capsys.readouterr().err


def test_pretrain_command_from_pixels(tmp_path, capsys):
    """A recipe with a section `frames` reads the corpus's videos; features have no place beside it."""
    small = {"image_size": 16, "patch": 8, "width": 8, "layers": 1, "backbone_heads": 1, "frames": 2, "hidden": 8}
    small |= {"temporal_layers": 1, "heads": 1, "ffn": 8, "projection": 0, "text_layers": 1, "max_text_tokens": 8}
    few = {"videos_per_batch": 8, "clips_per_video": 1, "retrieve": False}
    file, corpus = tmp_path / "recipe.yaml", prepare().corpus
    file.write_text(yaml.safe_dump({"frames": small, "train": {"epochs": 1, "clusters": few}}))
    asked = ["pretrain", str(file), "--corpus", str(corpus.folder), "--checkpoint", str(tmp_path / "out")]
    assert main([*asked, "--features", str(tmp_path)]) == 2
    assert "--corpus alone" in capsys.readouterr().err
    assert main(asked) == 0
    encoder = load_encoder(tmp_path / "out")
    assert encoder.digest in capsys.readouterr().out and encoder.model.frame_config.frames == 2
    with pytest.raises(VcworkError, match="frames: this recipe trains from video files"):
        train(corpus, prepare().store, tmp_path / "in", read_recipe(file))
    assert not (tmp_path / "in").exists(), "nothing was begun"


def test_data_are_a_corpus_or_converted(world, tmp_path, capsys):
    corpus, store = world
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump({"model": SIZES, "train": TRAIN}))
    pair = ["--corpus", str(corpus.folder), "--features", str(store.folder)]
    for paths in ([], pair[:2], [*pair, "--converted", str(tmp_path)]):
        assert main(["pretrain", str(file), *paths, "--checkpoint", str(tmp_path / "out")]) == 2
        assert "expected --corpus and --features, or --converted alone" in capsys.readouterr().err
    assert main(["pretrain", str(file), "--converted", str(tmp_path), "--checkpoint", str(tmp_path / "out")]) == 2
    assert "conversion.json" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_finetune_command(world, tmp_path, capsys):
    corpus, store = world
    start = train(corpus, store, tmp_path / "start", recipe(epochs=1))
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump({"task": "retrieval", "epochs": 2, "batch_size": 8, "warmup": 0}))
    paths = ["--corpus", str(corpus.folder), "--features", str(store.folder), "--checkpoint", str(tmp_path / "start")]
    assert main(["finetune", str(file), *paths, "--out", str(tmp_path / "out")]) == 0
    tuned = load_encoder(tmp_path / "out", store.contract)
    assert tuned.digest in capsys.readouterr().out and tuned.card["finetuned"]["from"] == start.digest


def test_a_run_of_an_older_version_is_known_again(world, tmp_path):
    """Settings that came later count as their defaults."""
    corpus, store = world
    first = train(corpus, store, tmp_path, recipe(epochs=1))
    edited(tmp_path, TRAINING, lambda told: told["identity"]["config"].pop("save_every"))
    assert train(corpus, store, tmp_path, recipe(epochs=1)).digest == first.digest


ALONE = """
import sys, time
from pathlib import Path
from vcwork.base.files import alone
folder = Path(sys.argv[1])
with alone(folder):
    if not folder.exists():
        time.sleep(1)
        folder.mkdir()  # fails where the other one made it meanwhile
        print("made")
"""


def test_what_two_processes_want_is_made_once(tmp_path, monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    command = [sys.executable, "-c", ALONE, str(tmp_path / "world")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sorted(p.communicate(timeout=60)[0] for p in both) == ["", "made\n"]
    assert [p.returncode for p in both] == [0, 0]


def test_features_of_another_contract_are_named_or_refused():
    ws = prepare("corpus", "features", "checkpoint", contract="accept")
    trained = Contract("motion-1", "none", 1.0, 8, "none", 6)
    ws.__dict__["encoder"] = SimpleNamespace(contract=trained)
    for here, told in ((trained, "this very contract"), (replace(trained, width=7), "width: trained on '6', here '7'")):
        ws.__dict__["store"] = SimpleNamespace(contract=here)
        assert told in ws.contract_note()
    bare = prepare("corpus", "features")
    assert bare.encoder_if_any is None and "mean of its features" in bare.contract_note()
    refused("expected strict or accept, got 'any'", prepare, contract="any")


def test_a_tiny_world_that_is_not_whole_says_how_to_have_it_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("VCWORK_ROOT", str(tmp_path))
    corpus = tmp_path / "outputs" / "tiny-seed0" / "corpus"
    corpus.mkdir(parents=True)
    (corpus / "lab.json").write_text("{}")
    with pytest.raises(VcworkError, match=r"; delete .*tiny-seed0 to have all of it made again"):
        prepare().corpus  # noqa: B018


def test_the_tiny_model_that_comes_along_is_what_training_gives(ws, tmp_path):
    """Within what another processor or number of threads may change, as docs/promises.md states it."""
    assert verify([SHIPPED], told=str)
    shipped, again = load_encoder(SHIPPED), train(ws.corpus, ws.store, tmp_path / "again", tiny_recipe())
    assert shipped.card["train"] == json.loads(json.dumps(again.card["train"], default=str))
    assert shipped.tokenizer.vocabulary == again.tokenizer.vocabulary
    clips = [encode_text(one, list(ws.corpus.steps.values())) for one in (shipped, again)]
    clips += [encode_seconds(one, ws.store["test-r00-0"]) for one in (shipped, again)]
    for a, b in (clips[:2], clips[2:]):
        assert np.abs(a - b).max() < 1e-4 * np.abs(a).max()
    logs = [(folder / "log.jsonl").read_text().splitlines() for folder in (SHIPPED, tmp_path / "again")]
    for a, b in zip(*([json.loads(line).get("loss", 0) for line in log] for log in logs), strict=True):
        assert a == pytest.approx(b, rel=1e-4)


def test_it_is_copied_where_training_would_give_it_and_nowhere_else(ws, tmp_path, monkeypatch):
    made = [
        shutil.copytree(ws.tiny / name, tmp_path / "outputs" / "tiny-seed0" / name) for name in ("corpus", "features")
    ]
    monkeypatch.setenv("VCWORK_ROOT", str(tmp_path))
    try:
        assert run.run_of(ws.corpus, ws.store, SHIPPED, tiny_recipe()).finished
    except VcworkError:
        if platform.machine() == "x86_64":
            raise
        pytest.skip("this kind of processor was never tried: where its features differ, the model is trained here")
    monkeypatch.setattr(run, "updates", lambda *_: pytest.fail("it is trained"))
    assert prepare().encoder.digest == load_encoder(SHIPPED).digest
    shutil.rmtree(made[0].with_name("checkpoint"))
    other = Workspace(seed=1)
    other.__dict__.update(corpus=ws.corpus, store=ws.store)
    with pytest.raises(pytest.fail.Exception):
        other.encoder  # noqa: B018
    monkeypatch.setattr(workspace, "SHIPPED", shutil.copytree(SHIPPED, tmp_path / "damaged"))
    (tmp_path / "damaged" / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(pytest.fail.Exception):
        prepare().encoder  # noqa: B018


def test_the_papers_recipe_is_the_published_one(root):
    recipe = read_recipe(root / "params" / "paper" / "recipes" / "pretraining.yaml")
    assert recipe.sizes == {} and ModelConfig(**recipe.model) == ModelConfig()
    train = recipe.train
    assert (train.epochs, train.lr, train.warmup, train.clip_norm, train.temperature) == (25, 5e-5, 1000, 2.0, 1.0)
    assert train.clusters.videos_per_batch * train.clusters.clips_per_video == 512
    assert read_recipe(root / "params" / "paper" / "recipes" / "pretraining.yaml", seed=3).train.seed == 3


def test_the_recipe_from_pixels_is_the_third_documents(root):
    recipe = read_recipe(root / "params" / "paper" / "recipes" / "pretraining_frames.yaml")
    frames = recipe.frames
    assert (frames.backbone, frames.frames, frames.text, frames.projection) == ("vit", 16, "clip", 512)
    assert list(ResNetConfig().depths) == list(frames.depths) and ResNetConfig().hidden_sizes[-1] == 2048
    assert (recipe.train.loss, recipe.train.pairs.rule, recipe.sizes) == ("best fit", "windows", {})


@pytest.mark.parametrize("profile", ["lab", "lab-large", "keyframes", "clips", "paper"])
def test_notebook_20s_recipe_of_every_profile_can_be_read(root, profile):
    [path] = (root / "params" / profile).glob("20_pretraining*.yaml")
    recipe = read_recipe(read_yaml(path)["recipe"], seed=3)
    assert recipe.train.seed == 3 and recipe.unlike_paper()


def test_switches_change_what_they_name_and_nothing_else():
    tiny = tiny_recipe(seed=2)
    assert tiny.train.seed == 2 and tiny.but() == tiny
    rows = dict((name, here) for name, here, _ in tiny.but(5, 1e-2, 7, "strict", False, True).unlike_paper())
    switched = {"epochs": 5, "lr": 1e-2, "clusters.videos_per_batch": 7, "pairs.rule": "strict"}
    switched |= {"clusters.retrieve": False, "shuffle_captions": True}
    assert rows == {name: here for name, here, _ in tiny.unlike_paper()} | switched
    assert Recipe().unlike_paper() == []
    refused(r"rule: .*'any'", tiny.but, pair_rule="any")


@pytest.mark.parametrize("kind, text, message", [
    (Recipe, "train: {epoch: 3}", r"recipe\.yaml: Recipe: train\.epoch"),
    (Recipe, "train: {epochs: many}", r"train\.epochs"),
    (Recipe, "model: {feature_dim: 4}", "come from the data"),
    (Recipe, "model: {hidden: 30, heads: 4}", "multiple of heads"),
    (FinetuneRecipe, "epochs: 3", r"recipe\.yaml: FinetuneRecipe: task"),
    (FinetuneRecipe, "task: retrieval\nepoch: 3", "epoch: Extra inputs"),
    (FinetuneRecipe, "task: retrieval\ntrain: {epoch: 3}", r"train\.epoch: Extra inputs"),
    (FinetuneRecipe, "task: retrieval\ntrain: 3", "train: Input should be a valid dictionary"),
    (FinetuneRecipe, "task: segmentation\nloss: t2v", r"train\.loss: means nothing for segmentation"),
    (FinetuneRecipe, "task: retrieval\ntrain: {pairs: {rule: strict}}", r"train\.pairs: means nothing for retrieval"),
    (FinetuneRecipe, "task: retrieval\nmodel: {hidden: 32}", "model: Extra inputs"),
])  # fmt: skip
def test_mistakes_name_file_and_key(tmp_path, kind, text, message):
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(VcworkError, match=message) as error:
        read_recipe(tmp_path / "recipe.yaml", kind=kind)
    assert "recipe.yaml" in str(error.value)


@pytest.fixture
def bert(tmp_path):
    torch.manual_seed(1)
    sizes = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=40, **sizes)).save_pretrained(tmp_path / "bert")
    words = [*SPECIAL, *(f"w{i}" for i in range(35))]
    (tmp_path / "bert" / "vocab.txt").write_text("\n".join(words) + "\n")
    return tmp_path / "bert"


FOUR = {"hidden": 16, "heads": 2, "ffn": 32, "video_layers": 2, "text_layers": 3, "vocab_size": 40, "feature_dim": 6}


def test_towers_begin_with_berts_layers(bert):
    model, theirs = VideoCLIP(ModelConfig(**FOUR)), BertModel.from_pretrained(bert).state_dict()
    untouched = model.video_mlp.linear1.weight.clone()
    start_from_bert(model, bert, Tokenizer.load(bert))
    text, video = model.text_bert.state_dict(), model.video_bert.state_dict()
    assert all(torch.equal(text[name], theirs[name]) for name in text)
    for name in video:
        if name != "embeddings.word_embeddings.weight":
            assert torch.equal(video[name], theirs[name]), name
    table = theirs["embeddings.word_embeddings.weight"]
    assert torch.equal(video["embeddings.word_embeddings.weight"], table[[2, 3]]), "its CLS and SEP"
    assert torch.equal(model.video_mlp.linear1.weight, untouched)


def test_a_shared_tower_takes_them_once(bert):
    model = VideoCLIP(ModelConfig(**FOUR | {"shared": True, "video_layers": 3, "cls_id": 2, "sep_id": 3}))
    start_from_bert(model, bert, Tokenizer.load(bert))
    assert not any(name.startswith("video_bert") for name in model.state_dict())
    out = model.eval().encode_video(torch.randn(2, 4, 6), torch.ones(2, 4, dtype=torch.bool))
    assert out.pooled.shape == (2, 16)


def test_a_bert_whose_weights_are_damaged_is_named(bert):
    path, tokenizer = bert / "model.safetensors", Tokenizer.load(bert)
    whole = read_tensors(path)
    name = "encoder.layer.0.output.dense.bias"
    for tensors, why in (
        (whole | {name: torch.full((16,), np.nan)}, f"expected finite weights, got NaN or infinity in 2, as .*{name}"),
        (whole | {name: torch.zeros(17)}, "not the weights that config.json tells of"),
        ({n: t for n, t in whole.items() if n != name}, f"not the weights that config.json tells of .*{name}"),
    ):
        write_tensors(path, tensors)
        refused(f"model.safetensors: {why}", start_from_bert, VideoCLIP(ModelConfig(**FOUR)), bert, tokenizer)
    path.write_bytes(b"no weights")
    refused("not readable as safetensors", start_from_bert, VideoCLIP(ModelConfig(**FOUR)), bert, tokenizer)


def test_a_run_that_begins_with_a_bert_knows_it_by_its_files(world, bert, tmp_path):
    """Its folder's name is the same; its weights, or its words, are not."""
    sizes = {"hidden": 16, "heads": 2, "ffn": 32, "video_layers": 1, "text_layers": 1}
    begun = Recipe(model=sizes, train=TRAIN | {"epochs": 1}, bert=str(bert))
    train(*world, tmp_path / "run", begun)
    words = (bert / "vocab.txt").read_text()
    (bert / "vocab.txt").write_text(words.replace("w7", "onion"))
    refused(r"\(bert_files, vocabulary differ\)", train, *world, tmp_path / "run", begun)
    (bert / "vocab.txt").write_text(words)
    assert train(*world, tmp_path / "run", begun).digest
    weights = read_tensors(bert / "model.safetensors")
    write_tensors(bert / "model.safetensors", {name: 2 * tensor for name, tensor in weights.items()})
    refused(r"\(bert_files differ\)", train, *world, tmp_path / "run", begun)


def test_a_bert_that_does_not_fit_is_refused(bert, tmp_path):
    tokenizer = Tokenizer.load(bert)
    with pytest.raises(VcworkError, match="hidden_size 16 against 32"):
        start_from_bert(VideoCLIP(ModelConfig(**FOUR | {"hidden": 32})), bert, tokenizer)
    with pytest.raises(VcworkError, match="has 3 layers, too few"):
        start_from_bert(VideoCLIP(ModelConfig(**FOUR | {"text_layers": 4})), bert, tokenizer)
    (bert / "vocab.txt").unlink()
    refused(r"vocab\.txt", bert_folder, str(bert))


def test_options_of_the_model_each_change_something():
    plain = _pooled(ModelConfig(**FOUR))
    shared = {"shared": True, "video_layers": 3, "cls_id": 2, "sep_id": 3}
    for option in ({"pooling": "cls"}, {"unit_length": True}, shared):
        video, text = _pooled(ModelConfig(**FOUR | option))
        assert not torch.allclose(video, plain[0], atol=1e-4), option
        if "unit_length" in option:
            assert torch.allclose(text.norm(dim=1), torch.ones(2), atol=1e-5)


def _pooled(config: ModelConfig) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    model = VideoCLIP(config).eval()
    generator = torch.Generator().manual_seed(0)
    features, ids = torch.randn(2, 4, 6, generator=generator), torch.tensor([[2, 7, 8, 3]] * 2)
    with torch.no_grad():
        video, text = model(features, torch.ones(2, 4, dtype=torch.bool), ids, torch.ones_like(ids, dtype=torch.bool))
    return video.pooled, text.pooled


def test_a_learned_temperature_learns():
    import numpy as np
    from test_train import CONFIG, toy

    from vcwork.core.batches import collate, draw_pairs
    from vcwork.core.step import Learner

    data, tokenizer = toy()
    model = VideoCLIP(ModelConfig(**FOUR | {"feature_dim": 12, "vocab_size": 17, "learn_temperature": True}))
    learner = Learner(model, TrainConfig(lr=1e-2, warmup=0), 10)
    videos = np.arange(4)
    batch = collate(draw_pairs(data, videos, CONFIG, np.random.default_rng(0)), data, videos, model, tokenizer, CONFIG)
    before = model.temperature().item()
    learner.update(batch)
    assert before == 1.0 != model.temperature().item()
    assert json.loads(model.config.model_dump_json())["learn_temperature"]


TABLE_7 = {
    "without_retrieval": {"train.clusters.retrieve"},
    "without_retrieval_and_overlap": {"train.clusters.retrieve", "train.pairs.rule"},
    "mil_nce": {"train.loss", "train.pairs.rule"},
    "shared_transformer": {"model.shared", "model.video_layers"},
    "retrieve_k": {"train.clusters.pool_factor"},
    "first_32_s": {"train.clusters.vector_first_s"},
    "cls_pooling": {"model.pooling"},
}


def flat(value: object, name: str = "") -> dict:
    if not isinstance(value, dict):
        return {name: value}
    return {k: v for key, part in value.items() for k, v in flat(part, f"{name}.{key}".strip(".")).items()}


def test_a_recipe_for_every_row_of_table_7(root):
    """Each is the paper's recipe but for what the row changes."""
    files = {path.stem: path for path in (root / "params/paper/ablations").glob("*.yaml")}
    assert files.keys() == TABLE_7.keys()
    base = flat(read_recipe(root / "params/paper/recipes/pretraining.yaml").model_dump())
    for name, path in files.items():
        recipe = flat(read_recipe(path).model_dump())
        changed = {key for key in base.keys() | recipe.keys() if base.get(key) != recipe.get(key)}
        assert changed - {"model"} == TABLE_7[name], name
