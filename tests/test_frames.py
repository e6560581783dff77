"""Encoders from pixels: which frames a clip has, what learns and what does not, and that it learns at all."""

import importlib
import json
import pickle
import re
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import transformers as hf
from checks import Runs, Stop, refused, stop_at
from toys import letters_clip, toy_contract

from vcwork.base.errors import VcworkError
from vcwork.core.batches import pairs_of, video_vectors
from vcwork.core.config import ClusterConfig, OverlapConfig, TrainConfig
from vcwork.core.engine import Engine
from vcwork.core.step import Learner
from vcwork.data import video
from vcwork.data.captions import Caption, write_vtt
from vcwork.data.corpus import Corpus, Segment, Video
from vcwork.data.corpus import Recipe as Dish
from vcwork.data.film import TimedFrames
from vcwork.data.video import write_mp4
from vcwork.encoders import frames, pixels
from vcwork.encoders.encoder import encode_seconds, encode_text, encode_video
from vcwork.encoders.frame_config import FrameConfig
from vcwork.encoders.frames import FrameEncoder, load_frames, new_frames, save_frames
from vcwork.encoders.load import load_encoder
from vcwork.encoders.pixels import Span, View, read_span
from vcwork.tasks import retrieval
from vcwork.tasks.cases import clip_scores
from vcwork.training.frames import PixelPairs, frame_clips, frame_pairs, train_frames
from vcwork.training.pairs import control
from vcwork.training.recipe import Recipe

FPS, SIDE, PART_S = 4, 32, 4
COLOURS = {
    "red": (220, 30, 30), "green": (30, 200, 30), "blue": (40, 40, 230),
    "yellow": (220, 220, 20), "white": (250, 250, 250), "pink": (240, 60, 220),
}  # fmt: skip
VIT = {"backbone": "vit", "width": 32, "layers": 2, "backbone_heads": 2, "patch": 8}
RESNET = {"backbone": "resnet", "width": 32, "depths": (1, 1)}
SMALL = {
    "image_size": SIDE, "frames": 4, "temporal_layers": 1, "hidden": 32, "heads": 2, "ffn": 64, "dropout": 0.0,
    "projection": 24, "text_layers": 1, "max_text_tokens": 12,
}  # fmt: skip
TRAIN = TrainConfig(
    epochs=2, passes_per_epoch=2, lr=5e-4, warmup=5, temperature=0.1,
    pairs=OverlapConfig(rule="strict", min_text_tokens=1, max_text_tokens=2, min_video_s=2, max_video_s=4),
    clusters=ClusterConfig(videos_per_batch=6, clips_per_video=3, clips_for_vector=2, retrieve=False),
)  # fmt: skip


def config(kind: dict = VIT, **more: object) -> FrameConfig:
    return FrameConfig.checked(**(SMALL | kind | more))


def recipe(kind: dict = VIT, train: TrainConfig = TRAIN, **more: object) -> Recipe:
    return Recipe(frames=config(kind, **more), train=train)


def grey(path: Path, levels: list[int], fps: float = FPS) -> Path:
    """A video whose frame k is all of one grey, `levels[k]`."""
    write_mp4(path, (np.full((SIDE, SIDE, 3), level, np.uint8) for level in levels), fps, crf=1)
    return path


def levels_of(frames: np.ndarray) -> list[int]:
    return [round(float(level)) for level in frames.mean((1, 2, 3))]


# --------------------------------------------------------------------------------------------------------- frames


def test_frames_of_a_span_are_those_on_display(tmp_path):
    path = grey(tmp_path / "a.mp4", [10 * k for k in range(24)])  # 6 s, frame k from k / 4 s on
    take = lambda start, end, n: levels_of(read_span(Span(path, start, end), View(n, SIDE, SIDE)))  # noqa: E731
    near = lambda wanted: pytest.approx(wanted, abs=3)  # noqa: E731 - video range and coding
    assert take(0, 6, 4) == near([30, 90, 150, 210])  # at 0.75, 2.25, 3.75, 5.25 s
    assert take(2, 4, 4) == near([90, 110, 130, 150])
    assert take(2, 4, 16) == near([80, 90, 100, 110, 120, 130, 140, 150]), "eight frames, each once"
    assert take(0, None, 2) == near([60, 180]), "to the end of the file"
    assert take(30, 31, 4) == near([230]), "beyond the end: the last frame, once"
    assert read_span(Span(path, 3, 3), View(4, SIDE, SIDE)).shape == (0, 3, SIDE, SIDE)


def test_the_crop_is_the_centre(tmp_path):
    frame = np.zeros((SIDE, 2 * SIDE, 3), np.uint8)
    frame[8:24, 24:40] = (0, 250, 0)
    write_mp4(tmp_path / "c.mp4", [frame] * 8, FPS, crf=1)
    whole = read_span(Span(tmp_path / "c.mp4"), View(1, SIDE, SIDE))
    centre = read_span(Span(tmp_path / "c.mp4"), View(1, SIDE, SIDE // 2))
    assert centre.shape == (1, 3, 16, 16) and (centre == whole[:, :, 8:24, 8:24]).all()
    assert centre[:, 1].mean() > 180 and centre[:, [0, 2]].mean() < 60


def test_jumping_gives_the_same_frames_as_reading_on(tmp_path, monkeypatch):
    path = grey(tmp_path / "long.mp4", [(7 * k) % 250 for k in range(40 * FPS)])
    spans = [(0, 40, 5), (11, 13, 4), (30, 40, 3), (39, 40, 8)]
    read = lambda: [read_span(Span(path, a, b), View(n, SIDE, SIDE)) for a, b, n in spans]  # noqa: E731
    jumped = read()
    monkeypatch.setattr(video, "SEEK_S", 1e9)
    for there, here in zip(jumped, read(), strict=True):
        np.testing.assert_array_equal(there, here)


def test_a_file_that_cannot_be_entered_or_says_no_length_is_read_from_its_beginning(tmp_path, monkeypatch):
    path = tmp_path / "bare.h264"  # pictures alone: no times, no index, no length
    with av.open(str(path), "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1", "bf": "0"})
        stream.width = stream.height = SIDE
        for k in range(200):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((SIDE, SIDE, 3), k, np.uint8))))
        container.mux(stream.encode())
    assert levels_of(read_span(Span(path), View(2, SIDE, SIDE))) == pytest.approx([50, 150], abs=4)
    assert levels_of(read_span(Span(path, 6, 8), View(2, SIDE, SIDE))) == pytest.approx([162, 187], abs=4)
    monkeypatch.setattr(TimedFrames, "entered", None)  # would raise TypeError if it were asked
    with pytest.raises(TypeError):
        read_span(Span(path, 6, 8), View(2, SIDE, SIDE))


def test_a_broken_video_is_named(tmp_path):
    path = grey(tmp_path / "whole.mp4", [100] * 80)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    noise = tmp_path / "noise.mp4"
    noise.write_bytes(b"no video at all" * 50)
    for bad in (cut, noise, tmp_path / "absent.mp4"):
        for workers in (0, 1):
            refused(re.escape(str(bad)), list, pixels.load_spans([Span(bad, 15, 20)], View(4, SIDE, SIDE), workers))


# --------------------------------------------------------------------------------------------------------- corpus


def square(colour: tuple[int, int, int], rng: np.random.Generator) -> list[np.ndarray]:
    """PART_S seconds of a square that moves over dark noise."""
    at, step, frames = rng.uniform(0, 20, 2), rng.uniform(-2, 2, 2), []
    for k in range(PART_S * FPS):
        frame = rng.integers(0, 40, (SIDE, SIDE, 3)).astype(np.uint8)
        y, x = (int(abs((p + k * v + 20) % 40 - 20)) for p, v in zip(at, step, strict=True))
        frame[y : y + 12, x : x + 12] = colour
        frames.append(frame)
    return frames


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Corpus:
    """Videos of three parts, each with a square of one colour and its name spoken; test videos show other orders."""
    folder, rng, names = tmp_path_factory.mktemp("world"), np.random.default_rng(0), [*COLOURS]
    corpus = Corpus(folder, "squares", {}, {c: f"the {c} square" for c in names}, {"r": Dish("r", "r")}, {})
    corpus.meta["rolling_captions"] = False
    for v in range(22):
        shown = [names[i] for i in rng.permutation(len(names))[:3]]
        frames = [frame for colour in shown for frame in square(COLOURS[colour], rng)]
        path, vtt = folder / f"v{v}.mp4", folder / f"v{v}.vtt"
        write_mp4(path, frames, FPS, crf=10)
        ends = [(i * PART_S, (i + 1) * PART_S, colour) for i, colour in enumerate(shown)]
        write_vtt(vtt, [Caption(a, b, f"now the {colour} one") for a, b, colour in ends])
        parts = tuple(Segment(a, b, colour, f"a {colour} one") for a, b, colour in ends)
        split = "train" if v < 14 else "val" if v < 16 else "test"
        corpus.videos[f"v{v}"] = Video(f"v{v}", path, vtt, 3.0 * PART_S, split, "r", parts)
    return corpus


@pytest.fixture(scope="module", params=["vit", "resnet"])
def kind(request) -> dict:
    return {"vit": VIT, "resnet": RESNET}[request.param]


def batch_of(encoder: FrameEncoder, corpus: Corpus, workers: int = 0, n: int = 1):
    """The tensors of the first `n` updates."""
    data = frame_pairs(corpus, encoder.tokenizer, encoder.view, workers=workers)
    batches = [np.arange(i, i + 6) for i in range(n)]
    drawn = (pairs_of(data, batches, i, 0, TRAIN, Engine()) for i in range(n))
    return [batch(encoder.model, encoder.tokenizer) for batch in data.read(drawn, 8)]


def gradients(encoder: FrameEncoder, batch: tuple) -> dict[str, torch.Tensor]:
    encoder.model.zero_grad()
    video, text = encoder.model(*batch)
    (video.pooled * text.pooled).sum().backward()
    return {name: p.grad.clone() for name, p in encoder.model.named_parameters() if p.grad is not None}


def test_any_number_of_workers_gives_the_same_batches(world):
    encoder = new_frames(world, config())
    before = torch.get_rng_state()
    alone, helped = (batch_of(encoder, world, workers, n=3) for workers in (0, 2))
    assert torch.equal(before, torch.get_rng_state()), "reading must not draw from the training's randomness"
    for here, there in zip(alone, helped, strict=True):
        assert here[0].dtype == torch.uint8 and here[0].shape == (18, 4, 3, SIDE, SIDE)
        assert all(torch.equal(a, b) for a, b in zip(here, there, strict=True))
    assert not torch.equal(alone[0][0], alone[1][0])


def test_a_film_that_was_changed_is_not_trained_on(world):
    film = world.split("train")[0].video
    sealed = {film.relative_to(world.folder).as_posix(): {"bytes": film.stat().st_size, "sha256": "0" * 64}}
    encoder = new_frames(world, config())
    refused(
        f"{film.name}: damaged or edited", frame_pairs, replace(world, files=sealed), encoder.tokenizer, encoder.view
    )


def test_only_the_next_update_is_decoded_ahead(world):
    data = frame_pairs(world, new_frames(world, config()).tokenizer, View(2, SIDE, SIDE), workers=2)
    drawn = []

    def draws():
        for i in range(8):
            drawn.append(pairs_of(data, [np.arange(6)] * 8, i, 0, TRAIN, Engine()))
            yield drawn[-1]

    for i, batch in enumerate(data.read(draws(), 8)):
        assert batch.pairs is drawn[i].pairs and len(batch.clips[0]) == 18 and len(drawn) <= i + 3
        for clip, (v, start, end) in zip(batch.clips[0][:2], batch.spans, strict=False):
            wanted = data.features[v][start:end]
            np.testing.assert_array_equal(clip[: len(wanted)], wanted)
    shuffled = control(data, TRAIN.model_copy(update={"shuffle_captions": True}))
    assert i == 7 and isinstance(shuffled, PixelPairs) and shuffled.workers == 2


def test_candidates_and_vectors_of_videos_come_from_frames_too(world):
    encoder = new_frames(world, config())
    data = frame_pairs(world, encoder.tokenizer, encoder.view)
    rule = OverlapConfig(rule="windows", max_video_s=4, stride_s=4)
    loose = TRAIN.model_copy(update={"loss": "best fit", "pairs": rule})
    batch = pairs_of(data, [np.arange(6)], 0, 0, loose, Engine())
    given = batch(encoder.model, encoder.tokenizer)
    assert len(given[0]) == 18 and len(given[2]) == 18
    assert batch.groups()[0].tolist() == [v for v in range(6) for _ in "abc"]
    vectors = video_vectors(encoder.model, encoder.tokenizer, data, TRAIN, 0)
    assert vectors.shape == (14, 24) and np.isfinite(vectors).all()


# ---------------------------------------------------------------------------------------------------------- model


def test_padding_does_not_count(world, kind):
    encoder = new_frames(world, config(kind))
    frames = torch.randint(0, 256, (3, 4, 3, SIDE, SIDE), dtype=torch.uint8)
    mask = torch.tensor([[True] * 4, [True, True, False, False], [False] * 4])
    other = frames.clone()
    other[~mask] = 255 - other[~mask]
    for mode in (False, True):  # in training a ResNet's statistics must not see padding either
        encoder.model.train(mode)
        with torch.no_grad():
            there, here = (encoder.model.encode_video(pixels, mask) for pixels in (frames, other))
        torch.testing.assert_close(there.pooled, here.pooled, rtol=0, atol=0)
    encoder.model.eval()
    both, alone = encoder.model.encode_video(frames, mask), encoder.model.encode_video(frames[1:2, :2], mask[1:2, :2])
    torch.testing.assert_close(both.pooled[1:2], alone.pooled, atol=1e-5, rtol=1e-4)


def test_frames_in_parts_are_the_same_frames(world, kind, monkeypatch):
    encoder = new_frames(world, config(kind))
    pixels, mask = torch.randint(0, 256, (3, 4, 3, SIDE, SIDE), dtype=torch.uint8), torch.ones(3, 4, dtype=torch.bool)
    for mode in (False, True):  # in training the statistics are the whole batch's, even without a gradient
        encoder.model.backbone.train(mode)
        with torch.no_grad():
            whole = encoder.model.frame_states(pixels, mask)
            monkeypatch.setattr(frames, "AT_ONCE", 5)
            torch.testing.assert_close(encoder.model.frame_states(pixels, mask), whole, atol=1e-5, rtol=1e-4)
            monkeypatch.undo()


def test_the_order_of_frames_and_each_of_them_counts(world):
    encoder = new_frames(world, config())
    encoder.model.eval()
    frames, mask = torch.randint(0, 256, (1, 4, 3, SIDE, SIDE), dtype=torch.uint8), torch.ones(1, 4, dtype=torch.bool)
    with torch.no_grad():
        forth, back = (encoder.model.encode_video(f, mask).pooled for f in (frames, frames.flip(1)))
        changed = frames.clone()
        changed[:, 2] = 255 - changed[:, 2]
        other = encoder.model.encode_video(changed, mask).pooled
    assert (forth - back).abs().max() > 1e-6 and (forth - other).abs().max() > 1e-6


def test_a_frame_may_be_the_mean_of_its_patches(world):
    model = new_frames(world, config(patches="mean")).model.eval()
    frames = torch.randint(0, 256, (2, 3, 3, SIDE, SIDE), dtype=torch.uint8)
    with torch.no_grad():
        states = model.frame_states(frames, torch.ones(2, 3, dtype=torch.bool))
        own = model.backbone(pixel_values=frames.flatten(0, 1) / 255 * 2 - 1).last_hidden_state
    torch.testing.assert_close(states.flatten(0, 1), own[:, 1:].mean(1), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_parts_stay_as_they_were_and_others_move(world, kind, frozen):
    encoder = new_frames(world, config(kind, frozen=frozen))
    before = {name: tensor.clone() for name, tensor in encoder.model.state_dict().items()}
    settings = TRAIN.model_copy(update={"first_update": "warm", "weight_decay": 0.1})
    learner = Learner(encoder.model, settings, 10)
    encoder.model.train()
    for batch in batch_of(encoder, world, n=2):
        learner.update(batch)
    assert all((p.grad is None) == frozen == (not p.requires_grad) for p in encoder.model.backbone.parameters())
    moved = {name for name, tensor in encoder.model.state_dict().items() if not torch.equal(tensor, before[name])}
    inside = {name for name in before if name.startswith("backbone.")}
    learnt = {name for name, _ in encoder.model.named_parameters() if name in moved}
    learns = set() if frozen else {f"backbone.{name}" for name, _ in encoder.model.backbone.named_parameters()}
    assert inside & learnt == learns and (moved.isdisjoint(inside) or not frozen)
    assert any(name.startswith("video_bert.encoder") for name in moved)
    assert any(name.startswith("text_bert.encoder") for name in moved)
    assert {"video_head.0.weight", "text_head.2.weight", "video_mlp.linear1.weight"} <= moved


def test_checkpointing_changes_no_gradient_and_no_statistic(world, kind):
    plain, again = (new_frames(world, config(kind, checkpointing=on), seed=3) for on in (False, True))
    batch = batch_of(plain, world)[0]
    plain.model.train(), again.model.train()
    wanted, found = gradients(plain, batch), gradients(again, batch)
    assert wanted.keys() == found.keys() and any(name.startswith("backbone.") for name in wanted)
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-6, rtol=1e-4, msg=name)
    for (name, here), there in zip(plain.model.named_buffers(), again.model.buffers(), strict=True):
        assert torch.equal(here, there), name


def test_checkpointing_keeps_less(world, kind, monkeypatch):
    """Bytes that the graph holds between the two passes."""
    monkeypatch.setattr("vcwork.core.bert._by_onednn", lambda: False)  # whose tensors do not say their bytes
    held = {}
    for on in (False, True):
        encoder, kept = new_frames(world, config(kind, checkpointing=on), seed=3), {}
        encoder.model.train()
        batch = batch_of(encoder, world)[0]
        pack = lambda t, kept=kept: kept.setdefault(t.untyped_storage().data_ptr(), t) is None or t  # noqa: E731
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            encoder.model.encode_video(*batch[:2])
        held[on] = sum(t.untyped_storage().nbytes() for t in kept.values())
    assert held[True] < 0.7 * held[False], held


def test_bfloat16_trains(world, kind):
    encoder = new_frames(world, config(kind, checkpointing=True))
    settings = TRAIN.model_copy(update={"precision": "bf16", "first_update": "warm"})
    learner = Learner(encoder.model, settings, 10)
    encoder.model.train()
    numbers = learner.update(batch_of(encoder, world)[0])
    assert np.isfinite(numbers["loss"]) and numbers["grad_norm"] > 0


# ----------------------------------------------------------------------------------------------------------- words


def test_clip_reads_forward_only_and_pools_the_end(world):
    encoder = new_frames(world, config(text="clip", projection=0))
    encoder.model.eval()
    with torch.no_grad():
        ids, mask = encoder.tokenizer.encode(["now the red one", "now the red one and the blue one"], 12)
        both = encoder.model.encode_text(ids, mask)
        alone = encoder.model.encode_text(*encoder.tokenizer.encode(["now the red one"], 12))
    torch.testing.assert_close(both.states[0, :4], both.states[1, :4], atol=1e-5, rtol=1e-4)
    assert (both.pooled[0] - both.pooled[1]).abs().max() > 1e-4
    torch.testing.assert_close(both.pooled[0], both.states[0, 4])  # the end of four words
    torch.testing.assert_close(both.pooled[:1], alone.pooled, atol=1e-5, rtol=1e-4)


def clip_folder(folder: Path, width: int = 16) -> Path:
    size = len(letters_clip(folder))
    sizes = {"hidden_size": width, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"bos_token_id": size - 2, "eos_token_id": size - 1, "pad_token_id": size - 1}
    told = hf.CLIPTextConfig(vocab_size=size, max_position_embeddings=24, **sizes, **ends)
    hf.CLIPTextModel(told).save_pretrained(folder)
    return folder


def test_words_from_a_folder_of_bert(world, tmp_path):
    tokenizer = new_frames(world, config()).tokenizer
    sizes = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "num_hidden_layers": 2}
    bert = hf.BertModel(hf.BertConfig(vocab_size=len(tokenizer), **sizes), add_pooling_layer=False)
    bert.save_pretrained(tmp_path)
    tokenizer.save(tmp_path)
    encoder = new_frames(world, config(text_source=str(tmp_path)))
    state, own = encoder.model.state_dict(), bert.state_dict()
    for name in (n for n in own if n.startswith("encoder.layer.0")):
        assert torch.equal(state[f"text_bert.{name}"], own[name])
        assert torch.equal(state[f"video_bert.{name}"], own[name])


def test_words_from_a_folder_of_clip(world, tmp_path):
    folder = clip_folder(tmp_path / "clip")
    encoder = new_frames(world, config(text="clip", text_source=str(folder)))
    own = hf.CLIPTextModel.from_pretrained(folder)
    ids, mask = encoder.tokenizer.encode(["red", "the blue one"], 20)
    with torch.no_grad():
        wanted = encoder.model.text_head(own(input_ids=ids, attention_mask=mask.long()).pooler_output)
    np.testing.assert_allclose(encode_text(encoder, ["red", "the blue one"]), wanted, atol=1e-5)
    saved = save_frames(tmp_path / "saved", encoder)
    there = load_encoder(tmp_path / "saved")  # recognised by its file
    refused("reads frames of video files, not features", load_encoder, tmp_path / "saved", toy_contract(16))
    assert there.digest == saved.digest
    np.testing.assert_array_equal(encode_text(there, ["pink"]), encode_text(encoder, ["pink"]))
    with pytest.raises(VcworkError, match="text of width 16 and video of 32 need heads"):
        new_frames(world, config(text="clip", text_source=str(folder), projection=0))


# --------------------------------------------------------------------------------------------------------- folders


def backbone_folder(folder: Path, kind: str, side: int = SIDE) -> Path:
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(7)
    if kind == "vit":  # as on the hub: with a classifier, which is not used
        model = hf.ViTForImageClassification(hf.ViTConfig(image_size=side, patch_size=8, **sizes))
    else:
        model = hf.ResNetModel(hf.ResNetConfig(embedding_size=8, hidden_sizes=[16, 32], depths=[1, 1]))
    model.save_pretrained(folder)
    told = {"size": {"shortest_edge": side + 4}, "do_center_crop": True, "crop_size": side}
    told |= {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.25, 0.3]}
    (folder / "preprocessor_config.json").write_text(json.dumps(told))
    return folder


def test_a_backbone_from_a_folder(world, tmp_path, kind):
    name = kind["backbone"]
    folder = backbone_folder(tmp_path / name, name)
    encoder = new_frames(world, config(kind, source=str(folder), image_size=0))
    assert encoder.view == View(4, SIDE + 4, SIDE)
    own = {"vit": hf.ViTModel, "resnet": hf.ResNetModel}[name].from_pretrained(folder).eval()
    frames = torch.randint(0, 256, (1, 2, 3, SIDE, SIDE), dtype=torch.uint8)
    mean, std = torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1), torch.tensor([0.2, 0.25, 0.3]).view(3, 1, 1)
    encoder.model.eval()
    with torch.no_grad():
        states = encoder.model.frame_states(frames, torch.ones(1, 2, dtype=torch.bool))[0]
        wanted = own(pixel_values=(frames[0] / 255 - mean) / std)
    wanted = wanted.last_hidden_state[:, 0] if name == "vit" else wanted.pooler_output.flatten(1)
    torch.testing.assert_close(states, wanted, atol=1e-5, rtol=1e-4)
    larger = new_frames(world, config(kind, source=str(folder), image_size=48))  # another size than it was made for
    assert larger.view == View(4, 54, 48)
    assert encode_video(larger, [world["v0"].video]).shape == (1, 24)
    save_frames(tmp_path / "saved", encoder)
    (folder / "model.safetensors").unlink()
    again = load_frames(tmp_path / "saved")
    clip = [world["v0"].video]
    np.testing.assert_array_equal(encode_video(again, clip), encode_video(encoder, clip))


def test_folders_that_hold_no_such_model(world, tmp_path):
    folder = backbone_folder(tmp_path / "vit", "vit")
    refused("expected model_type resnet, got 'vit'", new_frames, world, config(RESNET, source=str(folder)))
    refused("expected a multiple of the patch, 8, got 30", new_frames, world, config(source=str(folder), image_size=30))
    (folder / "preprocessor_config.json").unlink()
    refused(r"preprocessor_config\.json: no such file", new_frames, world, config(source=str(folder)))
    (folder / "model.safetensors").unlink()
    ran = tmp_path / "ran"
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"weights": Runs(ran)}))
    refused("pickled weights", new_frames, world, config(source=str(folder)))
    assert not ran.exists()
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(r"config\.json: no such file", new_frames, world, config(source=str(empty)))
    refused(r"expected weights in model\.safetensors", new_frames, world, config(text="clip", text_source=str(empty)))


@pytest.mark.parametrize("wrong, words", [
    ({"colour": 1}, "colour: Extra inputs"),
    ({"heads": 5}, "hidden must be a multiple of heads"),
    ({"backbone_heads": 5}, "width must be a multiple of backbone_heads"),
    ({"image_size": 30}, "image_size must be a multiple of patch"),
    ({"frozen": True, "checkpointing": True}, "checkpointing is for a backbone that learns"),
])  # fmt: skip
def test_settings_that_mean_nothing_are_refused(wrong, words):
    refused(words, config, **wrong)


def test_trainings_that_mean_nothing_are_refused(world, tmp_path):
    for change, more, words in (
        ({"start": "closed form"}, {}, "start: closed form"),
        ({"micro_batch": 4}, RESNET, "micro_batch: a ResNet's statistics"),
        ({"word_dropout": 0.1}, {"text": "clip", "text_source": "x"}, "word_dropout: CLIP's own vocabulary"),
    ):
        refused(words, Recipe.checked, frames=config(VIT | more), train=TRAIN.model_copy(update=change))
    refused("its sizes and words in frames", Recipe.checked, frames=config(), model={"hidden": 36})
    silent = replace(world, videos={k: replace(v, captions=None) for k, v in world.videos.items()}, _raw={})
    refused("no train video has both a file and captions", train_frames, silent, tmp_path / "s", recipe(train=TRAIN))


def test_wrong_shapes_are_named(world):
    encoder = new_frames(world, config())
    with pytest.raises(VcworkError, match=r"clip 1: expected a file, .* got float64 \(4, 64\)"):
        encode_video(encoder, [world["v0"].video, np.zeros((4, 64))])
    refused(r"nowhere\.mp4: no such video file", encode_video, encoder, [world.folder / "nowhere.mp4"])
    refused("one vector a clip, none a second", encode_seconds, encoder, world["v0"].video)
    refused("at least one clip", encode_video, encoder, [])


# ------------------------------------------------------------------------------------------------------- training


@pytest.fixture(scope="module")
def trained(world, tmp_path_factory) -> FrameEncoder:
    settings = TRAIN.model_copy(update={"epochs": 4, "passes_per_epoch": 6, "keep": "best"})
    folder = tmp_path_factory.mktemp("run") / "r"
    encoder = train_frames(world, folder, recipe(unit_length=True, train=settings), workers=1)
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert sum("val_t2v_R@1" in line for line in log) == 4
    again = train_frames(world, folder, recipe(unit_length=True, train=settings), workers=0)
    assert again.digest == encoder.digest
    refused("holds a run of another configuration", train_frames, world, folder, recipe(train=settings))
    film = world.split("train")[0].video
    whole = film.read_bytes()
    film.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))  # as long as it was
    changed = (train_frames, world, folder, recipe(unit_length=True, train=settings))
    refused(r"or other data \(videos differ\)", *changed)
    film.write_bytes(whole)
    return again


def test_colour_words_are_learnt_from_pixels(world, trained):
    clips = frame_clips(world, "test")
    other, found = (
        retrieval.evaluate(clip_scores(encoder, clips), clips.steps, clips.steps, clips.videos)[0]
        for encoder in (new_frames(world, config(unit_length=True)), trained)
    )
    assert found.name == "t2v_R@1" and found.low > 2 * found.chance and other.value < found.value


def test_files_spans_and_frames_are_encoded_alike(world, trained):
    path, view = world["v20"].video, trained.view
    spans = [Span(path, 0, 4), Span(path, 4, 8), Span(world["v21"].video, 2, 9)]
    frames = [read_span(span, view) for span in spans]
    wanted = encode_video(trained, spans)
    np.testing.assert_allclose(encode_video(trained, frames), wanted, atol=1e-5)
    np.testing.assert_allclose(encode_video(trained, spans, batch_size=1), wanted, atol=1e-5)
    np.testing.assert_allclose(encode_video(trained, [spans[0], frames[1], spans[2]]), wanted, atol=1e-5)
    twice = encode_video(trained, [Span(path, 0, 12)] * 2)
    np.testing.assert_allclose(encode_video(trained, [path, str(path)]), twice, atol=1e-5)
    np.testing.assert_array_equal(encode_video(replace(trained, workers=2), spans), wanted)


def test_an_encoder_comes_back_from_its_folder(world, trained, tmp_path):
    save_frames(tmp_path / "e", trained)
    there = load_frames(tmp_path / "e")
    clips = [world["v20"].video]
    np.testing.assert_array_equal(encode_video(there, clips), encode_video(trained, clips))
    np.testing.assert_array_equal(encode_text(there, ["a pink one"]), encode_text(trained, ["a pink one"]))
    assert there.contract == trained.contract and there.model.frame_config == trained.model.frame_config
    (tmp_path / "e" / "vocab.txt").write_text((tmp_path / "e" / "vocab.txt").read_text().replace("pink", "mauve"))
    refused(r"vocab\.txt: .* not the file of frames.json", load_frames, tmp_path / "e")
    weights = tmp_path / "e" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    refused("damaged or swapped", load_frames, tmp_path / "e")
    refused(r"frames\.json\), found none", load_frames, tmp_path)
    (tmp_path / "frames.json").write_text("[]")
    refused("expected format", load_frames, tmp_path)


def test_an_interrupted_training_goes_on_as_it_would_have(world, tmp_path, kind):
    settings = TRAIN.model_copy(update={"save_every": 2})
    once = recipe(kind, dropout=0.1, train=settings)
    whole = train_frames(world, tmp_path / "whole", once, workers=0)
    with pytest.raises(Stop):
        train_frames(world, tmp_path / "cut", once, workers=1, watch=stop_at(3))
    assert train_frames(world, tmp_path / "cut", once, workers=1).digest == whole.digest


def test_captions_that_were_replaced_are_another_run(world, tmp_path, kind):
    once = recipe(kind, train=TRAIN.model_copy(update={"epochs": 1}))
    train_frames(world, tmp_path / "run", once, workers=0)
    others = replace(world, _raw={}, videos=world.videos)
    others._raw.update({v.id: ([replace(c, text=f"{c.text} again") for c in world.raw_captions(v.id)],
                               world.caption_report(v.id)) for v in world.split("train")})  # fmt: skip
    refused(r"holds a run of .* \(corpus differ\)", train_frames, others, tmp_path / "run", once, 0)


# ------------------------------------------------------------------------------------------- kept frames, distilling


@pytest.fixture
def bench(root, monkeypatch):
    """What the benchmark of frames begins with, where no stored weights are at hand."""
    monkeypatch.syspath_prepend(root / "benchmarks")
    return importlib.import_module("distil")


def test_kept_frames_are_those_that_would_be_decoded(world, bench):
    lazy = frame_pairs(world, new_frames(world, config()).tokenizer, View(4, SIDE, SIDE))
    kept = bench.keep_frames(lazy, FPS)  # as many as the files have
    spans = [(v, start, end) for v in (0, 3) for start, end in ((0, 4), (3, 9), (5, 6))]
    for ours, read in zip(kept.clips(spans), lazy.clips(spans), strict=True):
        np.testing.assert_array_equal(ours, read)
    assert kept.clips([(0, 5, 6)])[0].shape[0] == 4 and len(kept.features[0]) == FPS * lazy.features[0].seconds
    few = bench.keep_frames(lazy, 1)
    assert [len(clip) for clip in few.clips([(0, 0, 2), (0, 0, 9)])] == [2, 4], "each frame once, at most four"


def test_a_backbone_learns_what_features_say(world, bench):
    encoder = new_frames(world, config())
    kept = bench.keep_frames(frame_pairs(world, encoder.tokenizer, encoder.view), 1)
    colours = [clip.mean((2, 3)) for clip in kept.features]  # (T, 3): what each second looks like
    constant = [np.concatenate([c, np.ones((len(c), 1))], 1) for c in colours]  # and a number that never changes
    other = {n: p.clone() for n, p in encoder.model.named_parameters() if not n.startswith("backbone")}
    losses = bench.distil(encoder.model, kept, constant, updates=150, frames=32, lr=3e-3)
    assert np.mean(losses[:5]) > 0.5 and np.mean(losses[-20:]) < 0.2
    assert all(torch.equal(p, other[n]) for n, p in encoder.model.named_parameters() if n in other)
    refused(f"features of {len(colours)} videos, got 1", bench.distil, encoder.model, kept, colours[:1], updates=1)
