"""Networks whose weights pip brings: what other code gives for the same input, and what a film gives."""

import numpy as np
import pytest
import torch
from checks import refused
from torch.nn.functional import interpolate

from vcwork.data import shots as module
from vcwork.data.backbones import efficientnet
from vcwork.data.backbones.image import Backbone, get_backbone
from vcwork.data.extract import contract_of
from vcwork.data.shots import boundaries, cuts_of, shots
from vcwork.data.video import iter_seconds, write_mp4


@pytest.fixture(scope="module")
def lite(weights):
    weights("efficientnet-lite0")
    return get_backbone("efficientnet-lite0")


# ---------------------------------------------------------------------------------------------- EfficientNet-Lite0


def test_features_and_classes_are_those_of_other_code(lite, root):
    told = np.load(root / "tests" / "data" / "weights" / "efficientnet_lite0.npz", allow_pickle=False)
    pictures = interpolate(torch.from_numpy(told["small"].astype(np.float32)), (224, 224), mode="bilinear")
    with torch.inference_mode():
        features = lite._net((pictures - 127) / 128).numpy()  # (2, 1280)
    np.testing.assert_allclose(features, told["pooled"], atol=3e-5)
    probable = efficientnet.class_probabilities(features)
    np.testing.assert_allclose(probable, torch.from_numpy(told["logits"]).softmax(1).numpy(), atol=2e-6)
    assert (
        efficientnet.class_probabilities(features.astype(np.float16)).argmax(1).tolist() == probable.argmax(1).tolist()
    )
    refused(r"expected features of efficientnet-lite0 \(T, 1280\), got \(2, 549\)",
            efficientnet.class_probabilities, np.ones((2, 549)))  # fmt: skip


def test_as_a_backbone(lite):
    assert isinstance(lite, Backbone) and lite.weights.startswith("57934424") and contract_of(lite).width == 1280
    frames = np.random.default_rng(0).integers(0, 256, (2, 256, 256, 3), dtype=np.uint8)
    both = lite(frames)
    assert both.shape == (1280,) and both.dtype == np.float32
    np.testing.assert_allclose(both, (lite(frames[:1]) + lite(frames[1:])) / 2, atol=1e-5)
    edges = frames.copy()
    edges[:, :16], edges[:, -16:], edges[:, :, :16], edges[:, :, -16:] = 0, 0, 0, 0
    assert np.array_equal(lite(edges), both), "of 256 pixels the middle 224 are seen"
    assert efficientnet.prepared(np.zeros((1, 480, 640, 3), np.uint8)).shape == (1, 3, 224, 224)
    assert type(lite).__reduce__(lite)[0](2).fps == 2
    refused("expected a whole number of frames a second, got 0", get_backbone, "efficientnet-lite0", fps=0)


def test_a_class_has_its_name(lite):
    names = efficientnet.class_names()
    assert (len(names), names[0], names[999].split(",")[0]) == (1000, "tench, Tinca tinca", "toilet tissue")


def test_it_knows_a_dog_and_a_loaf(lite, real):
    for clip, word in (("01_dog", "spaniel"), ("pastry-chef-cutting-a-loaf-into-slices", "loaf")):
        rows = np.stack([lite(second) for second in iter_seconds(real / "clips" / f"{clip}.mp4", lite.fps, lite.size)])
        best = efficientnet.class_probabilities(rows).mean(0).argmax()
        assert word in efficientnet.class_names()[best]


def test_padding_at_stride_two_is_at_the_far_side():
    x = torch.arange(1.0, 5).view(1, 1, 1, 4).expand(1, 1, 4, 4)
    ones = torch.ones(1, 1, 3, 3)
    rows = efficientnet._same(x, ones, torch.zeros(1), 2)[0, 0]
    assert rows[0].tolist() == [3 * (1 + 2 + 3), 3 * (3 + 4)], "one zero, right and below, none left and above"
    assert efficientnet._same(x, ones, torch.zeros(1), 1).shape == (1, 1, 4, 4)


def test_absent_weights_are_one_message(tmp_path, monkeypatch):
    monkeypatch.setenv("VCWORK_ROOT", str(tmp_path))
    efficientnet._network.cache_clear()
    module._network.cache_clear()
    refused("`python -m vcwork fetch efficientnet-lite0` brings", get_backbone, "efficientnet-lite0")
    refused("`python -m vcwork fetch transnetv2` brings", cuts_of, [np.zeros((27, 48, 3), np.uint8)])
    folder = tmp_path / "outputs" / "weights" / "transnetv2"
    folder.mkdir(parents=True)
    torch.save({"other": torch.zeros(1)}, folder / module.FILE)
    refused("not the weights of transnetv2", cuts_of, [np.zeros((27, 48, 3), np.uint8)])


# --------------------------------------------------------------------------------------------------------- shots


def scenes(told: np.ndarray) -> np.ndarray:
    """100 pictures (27, 48, 3) of three scenes (3, 4, 6, 3) that drift: a cut before the 38th, a fade from the 60th."""
    large = np.kron(told, np.ones((1, 7, 8, 1)))[:, :27]
    pictures = []
    for t in range(100):
        fade = np.clip((t - 60) / 12, 0, 1)
        now = large[0] if t < 38 else (1 - fade) * large[1] + fade * large[2]
        pictures.append(np.roll(now, t // 6, 1).astype(np.uint8))
    return np.stack(pictures)


def test_cuts_are_those_of_other_code(weights, root):
    weights("transnetv2")
    told = np.load(root / "tests" / "data" / "weights" / "transnetv2.npz", allow_pickle=False)
    pictures = scenes(told["scenes"])
    with torch.inference_mode():
        probable = module._network()(torch.from_numpy(pictures)).numpy()
    np.testing.assert_allclose(probable, told["probable"], atol=1e-5)
    assert boundaries(probable)[0] == 38 and len(boundaries(probable)) == 2


@pytest.mark.parametrize("count", [1, 25, 49, 50, 51, 74, 75, 76, 100, 130, 151])
def test_windows_cover_every_picture_once(count):
    numbers = [np.full((1, 1, 1), i) for i in range(count)]
    kept = [window[25:75].ravel()[:real] for window, real in module._windows(iter(numbers))]
    assert np.concatenate(kept).tolist() == list(range(count))
    padded = [0] * 25 + list(range(count)) + [count - 1] * 200
    for i, (window, _) in enumerate(module._windows(iter(numbers))):
        assert window.ravel().tolist() == padded[50 * i : 50 * i + 100]
    assert not [*module._windows(iter([]))]


def test_runs_become_cuts_in_their_middle():
    probable = np.zeros(20)
    probable[[0, 1, 5, 10, 11, 12, 18, 19]] = 0.9
    assert boundaries(probable) == [6, 12], "what reaches an end is no cut"
    assert boundaries(probable, 0.95) == [] and boundaries(np.empty(0)) == []


def test_shots_of_a_film(weights, root, tmp_path):
    weights("transnetv2")
    told = np.load(root / "tests" / "data" / "weights" / "transnetv2.npz", allow_pickle=False)["scenes"]
    pictures = np.kron(told, np.ones((1, 16, 16, 1))).astype(np.uint8)  # (3, 64, 96, 3)
    film = tmp_path / "film.mp4"
    write_mp4(film, (np.roll(pictures[t // 60], t // 6, 1) for t in range(180)), 30)  # a cut every two seconds
    found = shots(film)
    assert len(found) == 3 and found[0][0] == 0 and found[-1][1] == pytest.approx(6, abs=0.05)
    assert [end for _, end in found[:2]] == [start for start, _ in found[1:]] == pytest.approx([2, 4], abs=0.05)
    write_mp4(film, pictures[:1], 30)
    assert len(shots(film)) == 1, "one picture is one shot"
    film.write_bytes(b"no film")
    refused("film.mp4: could not be decoded", shots, film)
