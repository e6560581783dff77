"""Recipes: what is written is what trains, mistakes are named; BERT's weights land where the paper puts them."""

import json

import pytest
import torch
from transformers import BertConfig, BertModel, ResNetConfig

from vcwork.base.errors import VcworkError
from vcwork.base.files import read_yaml
from vcwork.core.config import ModelConfig, TrainConfig
from vcwork.core.model import VideoCLIP
from vcwork.core.text import SPECIAL, Tokenizer
from vcwork.encoders.from_bert import bert_folder, start_from_bert
from vcwork.training.recipe import Recipe, read_recipe
from vcwork.training.workspace import tiny_recipe


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
    with pytest.raises(VcworkError, match=r"rule: .*'any'"):
        tiny.but(pair_rule="any")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: {epoch: 3}", r"recipe\.yaml: Recipe: train\.epoch"),
        ("train: {epochs: many}", r"train\.epochs"),
        ("model: {feature_dim: 4}", "come from the data"),
        ("model: {hidden: 30, heads: 4}", "multiple of heads"),
    ],
)
def test_mistakes_name_file_and_key(tmp_path, text, message):
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(VcworkError, match=message) as error:
        read_recipe(tmp_path / "recipe.yaml")
    assert "recipe.yaml" in str(error.value)


@pytest.fixture
def bert(tmp_path):
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=512,
    )  # fmt: skip
    BertModel(config).save_pretrained(tmp_path / "bert")
    words = [*SPECIAL, *(f"w{i}" for i in range(35))]
    (tmp_path / "bert" / "vocab.txt").write_text("\n".join(words) + "\n")
    return tmp_path / "bert"


SIZES = {"hidden": 16, "heads": 2, "ffn": 32, "video_layers": 2, "text_layers": 3, "vocab_size": 40, "feature_dim": 6}


def test_towers_begin_with_berts_layers(bert):
    model, theirs = VideoCLIP(ModelConfig(**SIZES)), BertModel.from_pretrained(bert).state_dict()
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
    model = VideoCLIP(ModelConfig(**SIZES | {"shared": True, "video_layers": 3, "cls_id": 2, "sep_id": 3}))
    start_from_bert(model, bert, Tokenizer.load(bert))
    assert not any(name.startswith("video_bert") for name in model.state_dict())
    out = model.eval().encode_video(torch.randn(2, 4, 6), torch.ones(2, 4, dtype=torch.bool))
    assert out.pooled.shape == (2, 16)


def test_a_bert_that_does_not_fit_is_refused(bert, tmp_path):
    tokenizer = Tokenizer.load(bert)
    with pytest.raises(VcworkError, match="hidden_size 16 against 32"):
        start_from_bert(VideoCLIP(ModelConfig(**SIZES | {"hidden": 32})), bert, tokenizer)
    with pytest.raises(VcworkError, match="has 3 layers, too few"):
        start_from_bert(VideoCLIP(ModelConfig(**SIZES | {"text_layers": 4})), bert, tokenizer)
    (bert / "vocab.txt").unlink()
    with pytest.raises(VcworkError, match=r"vocab\.txt"):
        bert_folder(str(bert))


def test_options_of_the_model_each_change_something():
    plain = _pooled(ModelConfig(**SIZES))
    for option in (
        {"pooling": "cls"},
        {"unit_length": True},
        {"shared": True, "video_layers": 3, "cls_id": 2, "sep_id": 3},
    ):
        video, text = _pooled(ModelConfig(**SIZES | option))
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
    model = VideoCLIP(ModelConfig(**SIZES | {"feature_dim": 12, "vocab_size": 17, "learn_temperature": True}))
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
