"""Peers: Hugging Face dual encoders give through our interface what they give by themselves; small random ones here."""

import contextlib
import dataclasses
import importlib
import importlib.util
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import transformers as hf
from checks import refused, with_keys
from PIL import Image
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from toys import letters_clip

from vcwork.data.backbones.dual import PeerBackbone
from vcwork.data.backbones.image import Backbone, get_backbone
from vcwork.data.corpus import scan_folder
from vcwork.data.extract import contract_of, extract
from vcwork.data.video import iter_seconds, write_mp4
from vcwork.encoders.checkpoint import save_encoder
from vcwork.encoders.encoder import Encoder, encode_seconds, encode_text, encode_video
from vcwork.encoders.load import load_encoder
from vcwork.encoders.peers import is_peer, load_peer
from vcwork.search import verbs
from vcwork.search.index import VideoIndex
from vcwork.training.workspace import Workspace
from vcwork.workbench.own_videos import own_videos


def _no_timm() -> str:
    """Why PE-AV cannot be tried here, or "".

    Beside a PyTorch for CPUs alone PyPI's torchvision does not load, for two operators that PE-AV never calls.
    """
    if not importlib.util.find_spec("timm"):
        return "timm is not here: pip install -c constraints.txt 'vcwork[pe]'"
    with contextlib.suppress(RuntimeError):
        importlib.import_module("timm")
        return ""
    for name in [name for name in sys.modules if name.partition(".")[0] in ("timm", "torchvision")]:
        del sys.modules[name]
    operators = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    importlib.import_module("timm")
    KEPT.append(operators)  # they go with it
    return ""


KEPT: list = []
NO_TIMM = _no_timm()
KINDS = ("clip", "siglip", "xclip", "videoprism", *(() if NO_TIMM else ("pe_video",)))
TOGETHER = ("xclip", "videoprism", "pe_video")  # read several frames together
SIDE, FRAMES = 32, 4
SENTENCES = ["chop the onion", "Stir, slowly!", "a", "", "peel the beet and then toss the salad " * 4]
TOWER = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
SEES = {**TOWER, "image_size": SIDE, "patch_size": 16}
MIT = {"mit_hidden_size": 24, "mit_intermediate_size": 32, "mit_num_hidden_layers": 1, "mit_num_attention_heads": 2}
CROP = {"do_center_crop": True, "crop_size": SIDE, "size": {"shortest_edge": SIDE}, "resample": 3}
PROCESSORS = {
    "clip": {"image_processor_type": "CLIPImageProcessor", **CROP},
    "siglip": {"image_processor_type": "SiglipImageProcessor", "size": {"height": SIDE, "width": SIDE}},
    "xclip": {"image_processor_type": "VideoMAEImageProcessor", **CROP},
    "pe_video": {"size": {"height": SIDE, "width": SIDE}, "num_frames": FRAMES},
}


def _siglip_words(folder: Path, declared: str = "SiglipTokenizer", frame: str = "$A </s>") -> None:
    """Whole words of SENTENCES, letters for the rest; the padding is the end, as in the real one."""
    letters = [*"abcdefghijklmnopqrstuvwxyz,!."]
    words = " ".join(SENTENCES).lower().replace(",", "").replace("!", "").split()
    pieces = dict.fromkeys(["</s>", "<unk>", "<s>", *letters, *(f"##{letter}" for letter in letters), *words])
    inner = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(single=frame, special_tokens=[("</s>", 0), ("<s>", 2)])
    inner.save(str(folder / "tokenizer.json"))
    told = {"tokenizer_class": declared, "pad_token": "</s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(told))


def _made(folder: Path, kind: str, legacy: bool = False, seed: int = 0, model: torch.nn.Module | None = None) -> Path:
    """A small random model with its tokenizer and image processor, as `save_pretrained` leaves them."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True)
    if kind == "siglip":
        _siglip_words(folder)
        text = {**TOWER, "vocab_size": 80, "max_position_embeddings": 64}
        model = hf.SiglipModel(hf.SiglipConfig(text_config=text, vision_config=SEES))
    elif kind == "videoprism":
        _siglip_words(folder, "VideoPrismTokenizer", "$A")
        text = {**TOWER, "vocab_size": 80, "max_position_embeddings": 64}
        vision = {**TOWER, "image_size": SIDE, "num_frames": FRAMES, "tubelet_size": [1, 16, 16],
                  "num_spatial_layers": 2, "num_temporal_layers": 1, "num_auxiliary_layers": 1}  # fmt: skip
        vision.pop("num_hidden_layers")
        model = hf.VideoPrismClipModel(hf.VideoPrismConfig(text_config=text, vision_config=vision))
        torch.nn.init.normal_(model.video_model.head.pooling_attention_query)  # new ones are 0: nothing would be read
    elif kind.startswith("pe_"):
        _siglip_words(folder, "PreTrainedTokenizerFast", "<s> $A </s>")
        model = model or _made_pe(kind)
    else:
        tokenizer = letters_clip(folder, ",!", model_max_length=77)
        end = 2 if legacy else tokenizer.eos_token_id
        text = {**TOWER, "vocab_size": len(tokenizer), "max_position_embeddings": 77, "eos_token_id": end}
        if kind == "clip":
            model = hf.CLIPModel(hf.CLIPConfig(text_config=text, vision_config=SEES, projection_dim=24))
        else:
            vision = {**SEES, **MIT, "num_frames": FRAMES}
            config = hf.XCLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
            model = hf.XCLIPModel(config)
            torch.nn.init.normal_(model.mit.position_embedding, std=0.5)  # new ones are 0: order would not matter
    with torch.no_grad():  # new weights are so small that all inputs look alike
        for name, weight in model.named_parameters():
            if "embedding" in name or "projection" in name:
                weight.mul_(10)
            elif kind == "pe_video" and name.startswith("text_model.layers") and weight.ndim == 2:
                weight.mul_(12)
            elif "attn" in name or "attention" in name or ("mlp" in name and kind in ("videoprism", "pe_video")):
                weight.mul_(4)
    model.save_pretrained(folder)
    told = {
        **PROCESSORS.get(kind.replace("audio_", ""), {}),
        "image_mean": [0.5, 0.4, 0.3],
        "image_std": [0.2, 0.3, 0.4],
    }
    name = "video_preprocessor_config.json" if kind.startswith("pe_") else "preprocessor_config.json"
    (folder / name).write_text(json.dumps(told))
    return folder


def _made_pe(kind: str):
    """PE-AV with or without its ears."""
    inner = {**TOWER, "head_dim": 16}
    sizes = {"img_size": SIDE, "embed_dim": 32, "depth": 2, "num_heads": 2}
    vision = {"model_type": "timm_wrapper", "architecture": "vit_pe_core_tiny_patch16_384", "do_pooling": True,
              "num_classes": 24, "global_pool": "map", "model_args": sizes}  # fmt: skip
    video = {"model_type": "pe_video_encoder", "vision_config": vision, **inner}
    ids = {"pad_token_id": 0, "eos_token_id": 0, "sep_token_id": 0, "bos_token_id": 2, "cls_token_id": 2}
    text = {"model_type": "modernbert", **TOWER, "vocab_size": 80, "max_position_embeddings": 64, **ids}
    if kind == "pe_video":
        return hf.PeVideoModel(hf.PeVideoConfig(text_config=text, video_config=video))
    codec = {"model_type": "dac", "encoder_hidden_size": 8, "downsampling_ratios": [2, 2], "hidden_size": 32,
             "codebook_dim": 8, "n_codebooks": 1, "codebook_size": 16}  # fmt: skip
    audio = {"model_type": "pe_audio_encoder", "dac_config": codec, **inner}
    both = {"audio_config": audio, "video_config": video, **inner}
    return hf.PeAudioVideoModel(hf.PeAudioVideoConfig(text_config=text, audio_video_config=both))


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    return {kind: _made(tmp_path_factory.mktemp("peers") / kind, kind) for kind in KINDS}


@pytest.fixture(scope="module")
def peers(folders) -> dict[str, Encoder]:
    return {kind: load_peer(folder) for kind, folder in folders.items()}


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """Films of 48 x 80 pixels at 8 frames a second whose pictures change all the time; `c` ends in a part second."""
    folder, rng = tmp_path_factory.mktemp("videos"), np.random.default_rng(0)
    for name, n in (("a", 16), ("b", 40), ("c", 30)):
        tiles = rng.integers(0, 255, (n, 6, 10, 3)).astype(np.uint8)
        write_mp4(folder / f"{name}.mp4", tiles.repeat(8, 1).repeat(8, 2), 8, crf=10)
    return folder


@pytest.fixture(scope="module")
def stores(folders, videos, tmp_path_factory) -> dict:
    out = tmp_path_factory.mktemp("stores")
    return {
        kind: extract(scan_folder(videos), get_backbone(f"peer:{folders[kind]}"), out / kind, workers=1, progress=False)
        for kind in KINDS
    }


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    return request.param


def _copy(source: Path, to: Path) -> Path:
    return Path(shutil.copytree(source, to))


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def _hugging_face(folder: Path, kind: str):
    classes = {"clip": hf.CLIPModel, "siglip": hf.SiglipModel, "xclip": hf.XCLIPModel, "pe_video": hf.PeVideoModel}
    return classes.get(kind, hf.VideoPrismClipModel).from_pretrained(folder).eval()


def _text_by_hand(folder: Path, kind: str, sentences: list[str]) -> np.ndarray:
    """(N, D) as the model's page says: CLIP padded to the longest with a mask, SigLIP to 64 without one."""
    model = _hugging_face(folder, kind)
    if kind == "pe_video":  # only both together
        told = hf.PreTrainedTokenizerFast.from_pretrained(folder)(
            sentences, padding=True, truncation=True, max_length=64, return_tensors="pt"
        )
        told = {name: told[name] for name in ("input_ids", "attention_mask")}
        with torch.inference_mode():
            return model(**told, pixel_values_videos=torch.zeros(1, 1, 3, SIDE, SIDE)).text_video_embeds.numpy()
    if kind in ("siglip", "videoprism"):
        stop, mark = ("", "") if kind == "siglip" else (".", " ")
        bare = [" ".join(s.lower().replace(",", mark).replace("!", mark).split()) + stop for s in sentences]
        tokenizer = hf.PreTrainedTokenizerFast.from_pretrained(folder)
        told = tokenizer(bare, padding="max_length", max_length=64, truncation=True, return_tensors="pt")
        told = {name: told[name] for name in ("input_ids", "attention_mask")[: 1 if kind == "siglip" else 2]}
    else:
        told = hf.CLIPTokenizer.from_pretrained(folder)(sentences, padding=True, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        return model.get_text_features(**told).pooler_output.numpy()


def _frames_by_hand(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def _features_by_hand(folder: Path, kind: str, frames: list[np.ndarray]) -> np.ndarray:
    """(D,) of one picture, or of FRAMES pictures together, by the folder's own processor and model."""
    model = _hugging_face(folder, kind)
    if kind == "pe_video":
        small = [np.array(Image.fromarray(f).resize((SIDE, SIDE), Image.BILINEAR)) / 255 for f in frames]
        pixels = torch.tensor((np.stack(small) - [0.5, 0.4, 0.3]) / [0.2, 0.3, 0.4]).permute(0, 3, 1, 2).float()
        with torch.inference_mode():
            return model(input_ids=torch.tensor([[2, 0]]), pixel_values_videos=pixels[None]).video_embeds[0].numpy()
    if kind == "videoprism":  # as large as the model's, from 0 to 1
        small = [Image.fromarray(f).resize((SIDE, SIDE), Image.BICUBIC) for f in frames]
        pixels = torch.tensor(np.stack(small) / 255).permute(0, 3, 1, 2).float()
        with torch.inference_mode():
            return model.get_video_features(pixel_values_videos=pixels[None]).pooler_output[0, 0].numpy()
    pixels = hf.AutoImageProcessor.from_pretrained(folder, backend="pil")(frames, return_tensors="pt")["pixel_values"]
    pixels = pixels.reshape(-1, 3, SIDE, SIDE)
    with torch.inference_mode():
        ask = model.get_video_features if kind == "xclip" else model.get_image_features
        return ask(pixel_values=pixels[None] if kind == "xclip" else pixels).pooler_output[0].numpy()


# ------------------------------------------------------------------------------------- what the model itself says


def test_text_is_what_the_model_says(folders, peers, kind):
    by_hand = _text_by_hand(folders[kind], kind, SENTENCES)
    assert np.ptp(_unit(by_hand) @ _unit(by_hand).T) > 0.05, "sentences that look alike would prove nothing"
    np.testing.assert_allclose(encode_text(peers[kind], SENTENCES), _unit(by_hand), atol=2e-5)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_clip_text_is_read_at_its_end(tmp_path, legacy):
    """New configurations name the end's id; old ones say 2 and mean the highest id. Both must be the model's answer."""
    folder = _made(tmp_path / "clip", "clip", legacy)
    peer = load_peer(folder)
    np.testing.assert_allclose(encode_text(peer, SENTENCES), _unit(_text_by_hand(folder, "clip", SENTENCES)), atol=2e-5)
    ids, mask = peer.tokenizer.encode(["ab", "abcdef"], 75)
    end = len(peer.tokenizer) - 1
    assert ids[0].tolist()[-5:] == [end] * 5 and mask[0].tolist() == [True] * 4 + [False] * 4
    whole = peer.tokenizer.encode(["a" * 200], peer.model.config.max_text_tokens)[0]
    assert whole.shape == (1, 77) and whole[0, -1] == end, "words are cut, the end is not"


def test_siglip_text_is_always_64_long_and_its_padding_is_read(folders, peers):
    peer = peers["siglip"]
    ids, mask = peer.tokenizer.encode(["chop the onion"], 63)
    assert ids.shape == (1, 64) and mask.sum() == 4 and set(ids[0, 4:].tolist()) == {0}
    with torch.inference_mode():
        masked = peer.model.towers.get_text_features(input_ids=ids, attention_mask=mask.long()).pooler_output.numpy()
    assert not np.allclose(_unit(masked), encode_text(peer, ["chop the onion"]), atol=1e-3), "a mask is a mistake"


def test_siglip_text_is_lower_case_and_the_first_ones_without_punctuation(folders, tmp_path):
    second = _copy(folders["siglip"], tmp_path / "siglip2")
    with_keys(second / "tokenizer_config.json", tokenizer_class="GemmaTokenizer")
    for folder, same in ((folders["siglip"], True), (second, False)):
        loud, plain, marked = encode_text(load_peer(folder), ["CHOP the Onion", "chop the onion", "chop, the onion!"])
        assert np.allclose(loud, plain) and np.allclose(marked, plain, atol=1e-4) == same


def test_features_are_what_the_model_says_of_the_frames(folders, videos, stores, kind):
    """CLIP, SigLIP: the frame on display at s + 1/2. X-CLIP, VideoPrism: those at s + 1/8, 3/8, 5/8, 7/8."""
    frames, store = _frames_by_hand(videos / "b.mp4"), stores[kind]
    assert store.lengths == {"a": 2, "b": 5, "c": 4}
    for second in range(5):
        shown = (1, 3, 5, 7) if kind in TOGETHER else (4,)
        by_hand = _features_by_hand(folders[kind], kind, [frames[8 * second + i] for i in shown])
        np.testing.assert_allclose(store["b"][second], by_hand, rtol=5e-3, atol=1e-2 * np.abs(by_hand).max())
    rows = _unit(np.array(store["b"], np.float32))
    assert (rows @ rows.T).min() < 0.99, "seconds that look alike would prove nothing"


def test_a_video_is_the_mean_of_its_seconds(stores, peers, kind):
    rows = np.array(stores[kind]["b"], np.float32)
    np.testing.assert_allclose(encode_video(peers[kind], [rows])[0], _unit(_unit(rows).mean(0)), atol=1e-5)
    np.testing.assert_allclose(encode_seconds(peers[kind], rows), _unit(rows), atol=1e-5)


# ----------------------------------------------------------------------------------------- however one asks for it


def test_any_batch_size_gives_the_same_answer(peers, stores, kind):
    peer, clips = peers[kind], [stores[kind][v][a:b] for v in "abc" for a, b in ((0, 1), (0, 2), (1, 9))]
    video, text = encode_video(peer, clips), encode_text(peer, SENTENCES)
    assert video.shape == (9, peer.contract.width) and text.shape == (5, peer.contract.width)
    for size in (1, 2, 64):
        np.testing.assert_allclose(encode_video(peer, clips, size), video, atol=1e-5)
        np.testing.assert_allclose(encode_text(peer, SENTENCES, size), text, atol=2e-5)
        some = encode_seconds(peer, clips[5], batch_size=size)
        np.testing.assert_allclose(some, encode_seconds(peer, clips[5]), atol=1e-5)


def test_file_stored_feature_and_array_give_the_same_answer(peers, stores, videos, kind):
    peer, stored = peers[kind], stores[kind]["c"]
    assert peer.contract == stores[kind].contract and np.array_equal(peer.features_of(videos / "c.mp4"), stored)
    expected = encode_video(peer, [stored])
    for clip in (videos / "c.mp4", str(videos / "c.mp4"), np.array(stored, np.float32)):
        np.testing.assert_allclose(encode_video(peer, [clip]), expected, atol=1e-6)
    np.testing.assert_allclose(encode_seconds(peer, videos / "c.mp4"), encode_seconds(peer, stored), atol=1e-6)


def test_a_worker_gets_the_same_backbone(folders, kind):
    backbone = PeerBackbone(folders[kind])
    again = pickle.loads(pickle.dumps(backbone))
    frames = np.random.default_rng(0).integers(0, 255, (backbone.frames, 40, 60, 3), dtype=np.uint8)
    assert isinstance(backbone, Backbone) and contract_of(again) == contract_of(backbone)
    assert np.array_equal(again(frames), backbone(frames)) and backbone(frames).shape == (backbone.width,)


def test_searching_segmenting_localizing_classifying(peers, stores, videos, tmp_path, kind):
    peer, store = peers[kind], stores[kind]
    scores = encode_text(peer, ["chop the onion"]) @ encode_video(peer, [store[v] for v in "abc"]).T
    index = VideoIndex.build(encode_video(peer, [store[v] for v in "abc"]), [*"abc"], encoder=peer.digest)
    index.save(tmp_path / "index")
    index = VideoIndex.open(tmp_path / "index", encoder=peer.digest)
    for library in (store, index, {v: videos / f"{v}.mp4" for v in "abc"}):
        hits = verbs.search(peer, "chop the onion", library, k=3)
        assert [hit.id for hit in hits] == ["abc"[n] for n in np.argsort(-scores[0])]
        assert np.allclose([hit.score for hit in hits], np.sort(scores[0])[::-1], atol=1e-5)
    best = verbs.search(peer, str(videos / "b.mp4"), index, k=1)[0]
    assert best.id == "b" and best.score == pytest.approx(1, abs=1e-5), "a video finds itself, at cosine 1"
    steps = ["chop the onion", "stir slowly", "toss the salad"]
    seconds = encode_seconds(peer, store["b"]) @ encode_text(peer, steps).T  # (T, K)
    middle = float(np.median(seconds.max(1)))
    by_hand = np.where(seconds.max(1) > middle, seconds.argmax(1) + 1, 0)
    assert np.array_equal(verbs.segment(peer, store["b"], steps, middle), by_hand) and 0 < (by_hand > 0).mean() < 1
    places = verbs.localize(peer, store["b"], steps)
    assert places.shape == (3,) and (np.diff(places) > 0).all()
    classes = verbs.classify(peer, [store["a"], videos / "b.mp4"], ["onion", "beet"], ["{}", "peel the {}"])
    by_hand = [encode_text(peer, [t.format(n) for t in ("{}", "peel the {}")]).mean(0) for n in ("onion", "beet")]
    np.testing.assert_allclose(classes, encode_video(peer, [store["a"], store["b"]]) @ np.stack(by_hand).T, atol=1e-5)


# --------------------------------------------------------------------------------------------------------- frames


def test_whole_seconds_are_the_seconds_of_every_backbone(tmp_path):
    rng = np.random.default_rng(1)
    for n in (3, 8, 27, 30):
        tiles = rng.integers(0, 255, (n, 6, 6, 3)).astype(np.uint8)
        write_mp4(tmp_path / "v.mp4", tiles.repeat(8, 1).repeat(8, 2), 8)
        for fps in (1, 4):
            whole = list(iter_seconds(tmp_path / "v.mp4", fps, None))
            for one, other in zip(whole, iter_seconds(tmp_path / "v.mp4", fps, 48), strict=True):
                assert one.dtype == np.uint8 and np.array_equal(one, other)
    write_mp4(tmp_path / "v.mp4", [np.zeros((48, 80, 3), np.uint8)] * 8, 8)
    assert next(iter_seconds(tmp_path / "v.mp4", 2, None)).shape == (2, 48, 80, 3)


def test_siglip_sees_the_edges_that_clip_crops(folders, tmp_path):
    """Their processors squeeze, or crop to the middle square; both happens to the whole picture."""
    middle = np.full((48, 96, 3), 90, np.uint8)
    edges = middle.copy()
    edges[:, :20], edges[:, -20:] = 250, 5
    assert np.abs(np.subtract(*(PeerBackbone(folders["clip"])(x[None]) for x in (middle, edges)))).max() < 1e-6
    assert np.abs(np.subtract(*(PeerBackbone(folders["siglip"])(x[None]) for x in (middle, edges)))).max() > 1e-3


def test_several_frames_a_second_are_averaged(folders):
    backbone = get_backbone(f"peer:{folders['clip']}", fps=3)
    frames = np.random.default_rng(0).integers(0, 255, (3, 40, 60, 3), dtype=np.uint8)
    np.testing.assert_allclose(backbone(frames), np.mean([backbone(f[None]) for f in frames], axis=0), atol=1e-4)
    assert contract_of(backbone).fps == 3


def test_xclip_over_two_seconds(folders, videos):
    """At half its frames a second a row sees this second and the next one; the last second stands in beyond the end."""
    backbone = PeerBackbone(folders["xclip"], fps=FRAMES // 2)
    read, seconds = list(backbone.read(videos / "c.mp4")), list(iter_seconds(videos / "c.mp4", FRAMES // 2, None))
    assert len(read) == len(seconds) == 4 and all(len(frames) == FRAMES for frames in read)
    assert len(seconds[3]) == 1, "three quarters of a second"
    seconds[3] = seconds[3].repeat(2, axis=0)
    for i, frames in enumerate(read):
        assert np.array_equal(frames, np.concatenate([seconds[i], seconds[min(i + 1, 3)]]))
    four = list(PeerBackbone(folders["xclip"], fps=1).read(videos / "b.mp4"))
    alone = [second[0] for second in iter_seconds(videos / "b.mp4", 1, None)]
    assert [[int(np.argmin([np.abs(f.astype(int) - x).sum() for x in alone])) for f in row] for row in four] == [
        [0, 0, 1, 2], [0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 4], [3, 4, 4, 4],
    ]  # fmt: skip


def test_xclip_needs_its_number_of_frames(folders):
    backbone = PeerBackbone(folders["xclip"])
    frames = np.random.default_rng(0).integers(0, 255, (FRAMES, 40, 60, 3), dtype=np.uint8)
    filled = np.concatenate([frames[:2], frames[1:2], frames[1:2]])
    np.testing.assert_allclose(backbone(frames[:2]), backbone(filled), atol=1e-6)
    assert not np.allclose(backbone(frames), backbone(frames[::-1]), atol=1e-4), "order is seen"
    for fps in (3, 8, 0, 1.5):
        refused(rf"one that divides the 4 it reads together, got {fps}", PeerBackbone, folders["xclip"], fps)


# ---------------------------------------------------------------------------------------- who it is, what is refused


def test_a_folder_is_recognised(folders, peers, stores, monkeypatch, tmp_path, kind):
    for name in (folders[kind], f"peer:{folders[kind]}"):
        assert is_peer(name)
        encoder = load_encoder(name, stores[kind].contract)
        assert encoder.backbone and encoder.digest == peers[kind].digest
    monkeypatch.setenv("VCWORK_ROOT", str(folders[kind].parent))
    workspace = Workspace(features_path=str(stores[kind].folder), checkpoint_path=f"peer:{kind}")
    assert workspace.encoder.digest == peers[kind].digest == workspace.hashes["checkpoint"]
    assert not is_peer(tmp_path) and not load_encoder(folders[kind]).model.training


def test_who_made_a_vector_is_told_apart(folders, tmp_path):
    other = _made(tmp_path / "other", "clip", seed=1)
    digests = [load_peer(folder).digest for folder in (folders["clip"], other)]
    assert digests[0] != digests[1]
    moved = _copy(folders["clip"], tmp_path / "moved")
    assert load_peer(moved).digest == digests[0] and load_peer(moved).contract == load_peer(folders["clip"]).contract
    (moved / "open_clip_model.safetensors").write_bytes(b"another program's copy")
    assert load_peer(moved).digest == digests[0]
    for name in ("config.json", "preprocessor_config.json", "tokenizer.json"):  # the same weights, other vectors
        told = (moved / name).read_text()
        (moved / name).write_text(told.replace("{", "{ ", 1))
        assert load_peer(moved).digest != digests[0], name
        (moved / name).write_text(told)


def test_another_contract_is_refused_naming_both(folders, peers, stores):
    both = r"reads features of .*'peer:clip'.*asked to read features of .*'peer:siglip'"
    refused(both, load_encoder, folders["clip"], stores["siglip"].contract)
    edited = dataclasses.replace(stores["clip"].contract, normalisation="another")
    refused("extract them with the backbone peer:", load_encoder, folders["clip"], edited)
    two = dataclasses.replace(stores["clip"].contract, fps=2.0)
    assert load_encoder(folders["clip"], two).contract == two, "a rate that the backbone offers is followed"
    assert load_encoder(folders["clip"], two).digest != peers["clip"].digest


def test_what_cannot_be_used_is_named(folders, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    refused(r"nowhere: no such folder; expected a folder with config\.json", load_peer, tmp_path / "nowhere")
    refused(r"peer 'no-such/model': .* could not fetch it", load_encoder, "peer:no-such/model")
    refused(r"config\.json: no such file", get_backbone, f"peer:{tmp_path}")
    refused("fps: expected a whole number of frames a second, got 0", get_backbone, f"peer:{folders['clip']}", fps=0)


def test_a_hub_name_is_taken_wherever_a_folder_is(folders, videos, tmp_path, monkeypatch):
    asked = []

    def download(name, revision, allow_patterns):
        asked.append((name, revision))
        return str(folders["clip"])

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    plain = load_encoder("owner/model")
    assert plain.digest == load_peer(folders["clip"]).digest
    assert load_encoder("peer:owner/model@v1").digest == plain.digest
    assert load_encoder("openai/clip-vit-base-patch32").digest == plain.digest
    assert asked == [("owner/model", None), ("owner/model", "v1"), ("openai/clip-vit-base-patch32", asked[2][1])]
    assert asked[2][1], "its main revision has pickled weights only"
    own = own_videos(videos, "owner/model", out=tmp_path / "out", progress=False)
    assert own.library is not None and own.encoder.digest == plain.digest and len(own.ids) == 3
    (tmp_path / "owner").mkdir()
    monkeypatch.setenv("VCWORK_ROOT", str(tmp_path))
    refused("checkpoint.json", load_encoder, "owner/model")  # a path that is not there yet is no hub name


def _without(name: str):
    return lambda folder: (folder / name).unlink()


def _changed(name: str, **changes):
    return lambda folder: with_keys(folder / name, **changes)


def _text_config(folder: Path, **changes) -> None:
    config = json.loads((folder / "config.json").read_text())
    with_keys(folder / "config.json", text_config=config["text_config"] | changes)


def _pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _weights_without(prefix: str):
    from safetensors.torch import save_file

    def spoil(folder: Path) -> None:
        path = folder / "model.safetensors"
        save_file({n: w for n, w in load_file(path).items() if not n.startswith(prefix)}, path, {"format": "pt"})

    return spoil


@pytest.mark.parametrize("kind, spoil, message", [
    ("clip", _changed("config.json", model_type="bert"),
     r"expected model_type clip, siglip, xclip, videoprism, .*got 'bert' \(compares sentences"),
    ("clip", _changed("config.json", model_type="clip_vision_model"), "got 'clip_vision_model'$"),
    ("clip", lambda f: (f / "config.json").write_text("{"), r"config\.json: not readable as JSON"),
    ("clip", _without("tokenizer.json"), r"expected a tokenizer \(tokenizer.json or vocab.json with merges.txt\)"),
    ("siglip", _without("tokenizer.json"), r"expected a tokenizer \(tokenizer\.json\), found none"),
    ("siglip", _without("tokenizer_config.json"), "expected a tokenizer with padding .* got padding None"),
    ("xclip", lambda f: (f / "tokenizer.json").write_text("{}"), "not usable as a tokenizer"),
    ("clip", _without("preprocessor_config.json"), r"expected an image processor .*found none"),
    ("clip", _changed("preprocessor_config.json", crop_size=48), r"gives 32 by 32 pixels, .* got \(48, 48\)"),
    ("clip", _changed("preprocessor_config.json", do_center_crop=False), r"32 by 32 pixels, .* got \(32, 51\)"),
    ("clip", _without("model.safetensors"), r"expected weights in model\.safetensors, found none$"),
    ("clip", _pickled, r"pickled weights \(\.bin\) are not read"),
    ("xclip", _weights_without("text_projection"), "1 weights of XCLIPModel are absent, among them text_proj"),
    ("siglip", _weights_without("vision_model.head"), "weights of SiglipModel are absent, .* vision_model.head"),
    ("clip", lambda f: (f / "model.safetensors").write_bytes(b"no"), "not usable as a CLIPModel"),
    ("clip", lambda f: _text_config(f, eos_token_id=5), r"ends a sentence with id 5, .* after a sentence \[57\]"),
    ("siglip", lambda f: _text_config(f, vocab_size=9), "gives ids up to .*, the model has 9"),
])  # fmt: skip
def test_a_spoilt_folder_is_refused(folders, tmp_path, kind, spoil, message):
    folder = _copy(folders[kind], tmp_path / "spoilt")
    spoil(folder)
    refused(message, load_peer, folder)


def test_vocab_and_merges_do_as_well(folders, peers, tmp_path):
    folder = _copy(folders["clip"], tmp_path / "older")
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps(hf.CLIPTokenizer.from_pretrained(folders["clip"]).get_vocab()))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    ours, theirs = (encode_text(peer, SENTENCES) for peer in (load_peer(folder), peers["clip"]))
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_no_code_of_a_folder_is_run(folders, tmp_path, kind):
    folder = _copy(folders[kind], tmp_path / "evil")
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: pass\n")
    asks = {
        "config.json": {"auto_map": {"AutoModel": "evil.Evil", "AutoConfig": "evil.Evil"}},
        "tokenizer_config.json": {"auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}},
        "preprocessor_config.json": {"image_processor_type": "Evil", "auto_map": {"AutoImageProcessor": "evil.Evil"}},
        "processor_config.json": {"inside": [{"auto_map": {"AutoProcessor": "evil.Evil"}}]},
    }
    for name, evil in asks.items():
        plain = (folder / name).read_text() if (folder / name).is_file() else "{}"
        (folder / name).write_text(plain)
        with_keys(folder / name, **evil)
        refused(f"{name}: refused, it asks for code", load_peer, folder)
        (folder / name).write_text(plain)
        (folder / name).unlink() if plain == "{}" else None
    load_peer(folder)  # code that merely lies there is not run either
    assert not (tmp_path / "ran").exists()


def test_a_peer_is_neither_saved_nor_trained(peers, tmp_path):
    refused("copy its own folder instead", save_encoder, tmp_path / "checkpoint", peers["clip"])
    assert not (tmp_path / "checkpoint").exists()
    refused("a peer is not trained here", peers["clip"].model.train)
    assert not any(module.training for module in peers["clip"].model.eval().modules())
    refused(r"clip 0: expected features \(T, 24\)", encode_video, peers["clip"], [np.ones((3, 7))])


# ------------------------------------------------------------------------------------------------------------- PE-AV


@pytest.mark.skipif(bool(NO_TIMM), reason=NO_TIMM)
def test_pe_av_sees_and_reads_what_it_does_when_it_also_hears(tmp_path):
    """transformers cannot load what it saved here, so the model that was saved is asked."""
    whole = _made_pe("pe_audio_video").eval()
    peer = load_peer(_made(tmp_path / "pe", "pe_audio_video", model=whole))
    pixels = np.random.default_rng(0).integers(0, 255, (FRAMES, SIDE, SIDE, 3), np.uint8)
    ids = peer.tokenizer.encode(["chop the onion"], 60)[0]
    with torch.inference_mode():
        told = whole.video_model(input_ids=ids, pixel_values_videos=peer.backbone.prepared(pixels)[None])
    np.testing.assert_allclose(encode_text(peer, ["chop the onion"]), _unit(told.text_video_embeds.numpy()), atol=1e-5)
    np.testing.assert_allclose(peer.backbone(pixels), told.video_embeds[0].numpy(), atol=1e-5)


@pytest.mark.skipif(bool(NO_TIMM), reason=NO_TIMM)
@pytest.mark.parametrize(("change", "message"), [
    ({"architecture": "hf_hub:owner/model"}, "a picture tower of timm's, vit_pe_core.*got 'hf_hub:owner/model'"),
    ({"model_args": {"checkpoint_path": "evil.pth"}}, "and no file, got .*checkpoint_path"),
])  # fmt: skip
def test_pe_av_begins_with_no_file_that_it_names(folders, tmp_path, change, message):
    folder = _copy(folders["pe_video"], tmp_path / "evil")
    config = json.loads((folder / "config.json").read_text())
    config["video_config"]["vision_config"] |= change
    with_keys(folder / "config.json", **config)
    refused(message, load_peer, folder)
    with_keys(folder / "config.json", **json.loads((folders["pe_video"] / "config.json").read_text()))
    with_keys(folder / "video_preprocessor_config.json", size={"shortest_edge": SIDE})
    refused("expected a size of height and width, and no crop, got", load_peer, folder)


@pytest.mark.skipif(not NO_TIMM, reason="timm is here: the tests above try PE-AV themselves")
def test_pe_av_without_timm_says_what_to_install_and_with_it_passes_these_tests(root, tmp_path):
    """timm is not installed by default: beside a PyTorch for CPUs alone its torchvision breaks. Here it lies apart."""
    (tmp_path / "config.json").write_text('{"model_type": "pe_audio_video"}')
    refused(r"PE-AV's picture tower needs timm, .* pip install 'vcwork\[pe\]' \(No module", load_encoder, tmp_path)
    apart = root / "outputs" / "timm"
    if not (apart / "timm").is_dir():
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "-c", root / "constraints.txt"]
        done = subprocess.run(
            [*pip, "--no-compile", "--target", tmp_path / "new", "timm", "torchvision"], capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"timm is not here, and pip did not fetch it ({(done.stderr.splitlines() or [''])[-1]})")
        apart.parent.mkdir(exist_ok=True)
        with contextlib.suppress(OSError):  # another process was first
            (tmp_path / "new").rename(apart)
    told = dict(os.environ, PYTHONPATH=os.pathsep.join([str(root), str(apart)]))
    tests = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", __file__, "-k", "pe_"]
    done = subprocess.run(tests, capture_output=True, text=True, env=told, cwd=root)
    assert not done.returncode and " passed" in done.stdout, done.stdout[-3000:] + done.stderr[-1000:]


# ----------------------------------------------------------------------------------------------- notebook 30's path
