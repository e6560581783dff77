"""S3D: the network against recorded vectors, the file of weights, the preprocessing by hand, and what mistakes do."""

import json
import pickle
import platform
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from checks import Runs, refused
from torch.nn import functional as F

from vcwork.base.errors import VcworkError
from vcwork.data.backbones import s3d
from vcwork.data.backbones.image import Backbone, get_backbone
from vcwork.data.backbones.s3d import S3D, S3DBackbone, load_s3d, preprocessing_effects, space_to_depth, untrained_state
from vcwork.data.corpus import scan_folder
from vcwork.data.extract import chunks_of, contract_of, extract
from vcwork.data.store import open_store
from vcwork.data.video import iter_chunks, iter_seconds, write_mp4

SHORT = "pastry-chef-cutting-a-loaf-into-slices"  # 4.0 s of 320 x 180 at 10 fps


def write_untrained(path: Path) -> Path:
    """Weights to read, in the layout of the published file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(untrained_state(), path)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_untrained(tmp_path_factory.mktemp("weights") / "s3d.pth")


@pytest.fixture(scope="module")
def backbone(weights):
    return S3DBackbone(weights)


@pytest.fixture(scope="module")
def state():
    return untrained_state()


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_names_shapes_and_types_are_those_of_the_released_file(reference):
    names = json.loads((reference / "s3d_names.json").read_text())
    ours = {name: [list(t.shape), str(t.dtype).removeprefix("torch.")] for name, t in S3D().state_dict().items()}
    assert ours == names and len(ours) == 532


@pytest.mark.parametrize("case", ["a", "b"])
def test_outputs_are_the_recorded_ones(s3d_vectors, state, one_thread, case):
    recorded = np.load(s3d_vectors, allow_pickle=False)
    net = S3D().eval()
    net.load_state_dict(state)
    with torch.inference_mode():
        output = net(torch.from_numpy(recorded[f"in_{case}"]))
    theirs = recorded[f"out_{case}"]
    assert output.shape == theirs.shape and np.abs(output.numpy() - theirs).max() <= 1e-4 * np.abs(theirs).max()


def test_space_to_depth_by_hand():
    video = torch.randn(2, 3, 4, 6, 8)
    out = space_to_depth(video)
    assert out.shape == (2, 24, 2, 3, 4)
    for dt, dh, dw, colour in np.ndindex(2, 2, 2, 3):
        channel = ((dt * 2 + dh) * 2 + dw) * 3 + colour
        assert torch.equal(out[:, channel], video[:, colour, dt::2, dh::2, dw::2])


def _last(x):
    return x.permute(0, 2, 3, 4, 1)  # (B, C, T, H, W) -> (B, T, H, W, C)


@pytest.mark.parametrize("inputs", [24, 16], ids=["first", "separable"])
def test_convolutions_over_views_are_the_plain_ones(inputs):
    """Against torch's three-dimensional layers, as the network is written in the papers; 1e-5 of the largest."""
    x = torch.rand(2, inputs, 5, 9, 12)
    layer = s3d._Convolution(24, 8, (2, 4, 4)) if inputs == 24 else s3d._Separable(16, 8)
    for norm in (m for m in layer.modules() if isinstance(m, torch.nn.BatchNorm3d)):
        torch.nn.init.uniform_(norm.running_mean, -1, 1)
        torch.nn.init.uniform_(norm.running_var, 0.5, 2)
        torch.nn.init.normal_(norm.weight)
    layer.eval()
    with torch.inference_mode():
        padding = 0 if inputs == 24 else (0, 1, 1)
        plain = layer.bn1(F.conv3d(x, layer.conv1.weight, padding=padding)).relu()
        if inputs == 16:
            plain = layer.bn2(F.conv3d(plain, layer.conv2.weight, padding=(1, 0, 0))).relu()
        ours = layer(_last(x).contiguous())
    assert ours.shape == _last(plain).shape and (ours - _last(plain)).abs().max() <= 1e-5 * plain.abs().max()


@pytest.mark.parametrize("kernel", [(1, 3, 3), (3, 3, 3), (2, 2, 2)])
def test_pools_over_views_are_the_plain_ones(kernel):
    x = torch.rand(2, 4, 7, 6, 9)
    far = [max(0, k - 2) for k in kernel]
    padded = F.pad(x, (0, far[2], 0, far[1], 0, far[0]))
    plain = F.max_pool3d(padded, kernel, stride=tuple(min(k, 2) for k in kernel), ceil_mode=True)
    assert torch.equal(s3d._pool(_last(x).contiguous(), kernel), _last(plain))
    smooth = F.max_pool3d(x, 3, stride=1, padding=1)
    assert torch.equal(s3d._max(_last(x).contiguous(), (3, 3, 3), 1, 1), _last(smooth))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "the format of 2020"])
def test_the_text_module_is_left_out(state, tmp_path, zipped):
    text = {"text_module.fc1.weight": torch.zeros(4, 3), "text_module.fc1.bias": torch.zeros(4)}
    halves = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    torch.save(text | halves, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    net = load_s3d(tmp_path / "w.pth")
    assert not net.training and net.fc.weight.dtype == torch.float32
    assert torch.equal(net.fc.weight, halves["fc.weight"].float())


def test_other_names_and_shapes_are_listed(state, tmp_path):
    wrong = dict(state, extra=torch.zeros(1))
    wrong["fc.bias"] = torch.zeros(400)
    del wrong["conv1.bn1.weight"], wrong["gating.fc.bias"]
    torch.save(wrong, tmp_path / "w.pth")
    with pytest.raises(VcworkError) as caught:
        load_s3d(tmp_path / "w.pth")
    for part in ("532 entries", "2 missing: conv1.bn1.weight, gating.fc.bias", "1 unexpected: extra"):
        assert part in str(caught.value)
    assert "1 of another shape: fc.bias (400,) for (512,)" in str(caught.value)


def test_files_that_are_no_weights(tmp_path):
    (tmp_path / "page.pth").write_text("<html>quota exceeded</html>")
    (tmp_path / "empty.pth").write_bytes(b"")
    torch.save({"fc.weight": Runs(tmp_path / "ran")}, tmp_path / "evil.pth")
    (tmp_path / "raw.pth").write_bytes(pickle.dumps(Runs(tmp_path / "ran"), protocol=2))
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    torch.save({"state_dict": {}, "epoch": 3}, tmp_path / "nested.pth")
    for name in ("page", "empty", "evil", "raw"):
        refused(rf"{name}\.pth: not readable as plain weights", load_s3d, tmp_path / f"{name}.pth")
    for name in ("list", "nested"):
        refused(rf"{name}\.pth: expected a dictionary of tensors", load_s3d, tmp_path / f"{name}.pth")
    assert not (tmp_path / "ran").exists()


def test_without_weights_it_says_where_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv("VCWORK_ROOT", str(tmp_path))
    with pytest.raises(VcworkError) as caught:
        get_backbone("s3d")
    where = tmp_path / "outputs" / "weights" / "s3d" / "s3d_howto100m.pth"
    assert str(caught.value).startswith(f"{where}: no S3D weights there.")
    assert "python -m vcwork fetch s3d" in str(caught.value) and "copy s3d_howto100m.pth" in str(caught.value)
    write_untrained(where)
    assert get_backbone("s3d").path == where


def test_the_contract_says_everything(weights, backbone):
    contract = contract_of(backbone)
    assert (contract.backbone, contract.fps, contract.size, contract.width) == ("s3d", 30.0, 224, 512)
    assert isinstance(backbone, Backbone) and len(contract.weights) == 64
    for said in (
        "30 fps",
        "short side 224",
        "centre crop 224",
        "/ 255",
        "30 frames",
        "padded",
        "unit length",
        "float16",
    ):
        assert said in contract.normalisation
    others = [{"frames": 32}, {"l2": False}, {"scale": False}, {"fps": 15}]
    digests = {contract_of(get_backbone("s3d", weights=weights, **options)).digest() for options in others}
    assert len(digests | {contract.digest()}) == 5
    assert contract_of(pickle.loads(pickle.dumps(backbone))) == contract


@pytest.mark.parametrize("options", [{"frames": 31}, {"frames": 0}, {"frames": 2.5}, {"fps": 0}, {"fps": 29.97}])
def test_senseless_options(weights, options):
    refused(r"expected an even number of frames|expected a whole number of frames", S3DBackbone, weights, **options)


def _by_hand(net, frames, scale=True):
    """The reference's road: float, / 255, zero frames up to 30, one chunk, unit length."""
    video = np.zeros((30, *frames.shape[1:]), np.float32)
    video[: len(frames)] = frames
    video = torch.from_numpy(video / 255 if scale else video).permute(3, 0, 1, 2)[None]
    with torch.inference_mode():
        out = net(video)[0].double().numpy()
    return out / np.linalg.norm(out)


def test_features_by_hand(backbone, weights, state, one_thread):
    net = S3D().eval()
    net.load_state_dict(state)
    frames = np.random.default_rng(0).integers(0, 255, (11, 224, 224, 3), dtype=np.uint8)
    feature = backbone(frames)
    assert feature.shape == (512,) and feature.dtype == np.float32
    assert np.allclose(feature, _by_hand(net, frames), atol=1e-6) and np.isclose(np.linalg.norm(feature), 1, atol=1e-6)
    padded = np.concatenate([frames, np.zeros((19, 224, 224, 3), np.uint8)])
    assert np.array_equal(backbone(padded), feature)
    assert np.allclose(S3DBackbone(weights, scale=False)(frames), _by_hand(net, frames, scale=False), atol=1e-6)
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((31, 224, 224, 3), np.uint8), "got n = 31; is this another contract's chunk"),
        (np.zeros((0, 224, 224, 3), np.uint8), "got n = 0"),
        (np.zeros((30, 200, 224, 3), np.uint8), r"got uint8 \(30, 200, 224, 3\)"),
        (np.zeros((30, 224, 224, 3), np.float32), "got float32"),
    ],
)
def test_wrong_frames(backbone, frames, message):
    refused(message, backbone, frames)


def test_chunks_run_on_over_seconds(tmp_path):
    levels = np.arange(20, 20 + 40 * 5, 5)  # 40 frames at 8 fps, 5 s
    write_mp4(tmp_path / "a.mp4", (np.full((48, 64, 3), level, np.uint8) for level in levels), 8)
    chunks = list(iter_chunks(tmp_path / "a.mp4", 8, 32, 12))
    assert [len(chunk) for chunk in chunks] == [12, 12, 12, 4]
    assert np.allclose([frame.mean() for chunk in chunks for frame in chunk], levels, atol=4)
    seconds = np.concatenate(list(iter_seconds(tmp_path / "a.mp4", 8, 32)))
    same = np.concatenate(list(iter_chunks(tmp_path / "a.mp4", 8, 32, 8)))
    assert np.abs(same.astype(int) - seconds).max() <= 2, "the same frames, resized another way"
    refused("expected a whole number of frames", next, iter_chunks(tmp_path / "a.mp4", 8, 32, 0))


def _marked(height, width):
    """A frame whose colour tells the place: red grows to the right, green downwards."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // (width - 1), y * 255 // (height - 1), np.full_like(x, 128)], -1).astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(180, 320), (240, 426), (426, 240), (720, 960), (224, 224)])
def test_short_side_224_and_centre_crop_not_a_squash(tmp_path, backbone, height, width):
    """Red and green of the crop are the places that ffmpeg's scale and crop would have taken, worked out by hand."""
    write_mp4(tmp_path / "a.mp4", [_marked(height, width)] * 30, 30, crf=1)
    (frames,) = chunks_of(backbone, tmp_path / "a.mp4")
    assert frames.shape == (30, 224, 224, 3)
    short = min(height, width)
    new_h, new_w = int(height * 224 / short), int(width * 224 / short)
    rows = (np.arange(224) + int((new_h - 224) / 2) + 0.5) * height / new_h - 0.5
    columns = (np.arange(224) + int((new_w - 224) / 2) + 0.5) * width / new_w - 0.5
    shown = frames[0].astype(float)
    red, green = columns * 255 / (width - 1), rows * 255 / (height - 1)
    assert np.abs(shown[4:-4, 4:-4, 0].mean(0) - red[4:-4]).max() < 5  # yuv 4:2:0 there and back costs about 3
    assert np.abs(shown[4:-4, 4:-4, 1].mean(1) - green[4:-4]).max() < 5


def test_resized_as_ffmpegs_own_filters_do(real, backbone):
    """The same chain as the reference: fps 30, scale to the short side, crop, in ffmpeg's filter graph."""
    path = real / "clips" / "flipping_a_pancake.mkv"  # 426 x 240 at 30 fps: the long side is 397.6
    ours = next(chunks_of(backbone, path))
    theirs = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        graph = av.filter.Graph()
        chain = [graph.add_buffer(template=stream), graph.add("fps", "30")]
        chain += [graph.add("scale", "397:224:flags=bicubic"), graph.add("crop", "224:224:86:0")]
        chain += [graph.add("format", "rgb24"), graph.add("buffersink")]
        graph.link_nodes(*chain).configure()
        for frame in container.decode(stream):
            graph.push(frame)
            while len(theirs) < 30:
                try:
                    theirs.append(graph.pull().to_ndarray(format="rgb24"))
                except (BlockingIOError, EOFError):
                    break
            if len(theirs) == 30:
                break
    difference = np.abs(ours.astype(int) - np.stack(theirs)).mean()
    assert difference < 0.55, difference  # bilinear would give 0.69, a long side rounded up 2.4, a frame late 6.8


def _only(real, *ids):
    corpus = scan_folder(real / "clips")
    for id in [id for id in corpus.videos if id not in ids]:
        del corpus.videos[id]
    return corpus


def test_a_real_clip_through_the_store(backbone, weights, real, tmp_path):
    corpus = _only(real, SHORT)
    one = extract(corpus, backbone, tmp_path / "1", workers=1, progress=False)
    assert one.lengths == {SHORT: 4} and one[SHORT].dtype == np.float16 and one[SHORT].shape == (4, 512)
    assert np.allclose(np.linalg.norm(one[SHORT].astype(float), axis=1), 1, atol=1e-3)
    loaded = pickle.loads(pickle.dumps(backbone))  # as a worker process gets it
    first = next(chunks_of(loaded, corpus.videos[SHORT].video))
    assert np.array_equal(loaded(first).astype(np.float16), one[SHORT][0])
    for options, said in [({"l2": False}, "not normalised"), ({"frames": 32}, "32 frames"), ({"scale": False}, "255")]:
        with pytest.raises(VcworkError, match=rf"normalisation: asked for .*{said}"):
            open_store(tmp_path / "1", contract_of(S3DBackbone(weights, **options)))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """70 frames at 30 fps; each second has its own coarse pattern, so that a chunk across a cut is another chunk."""
    rng, path = np.random.default_rng(0), tmp_path_factory.mktemp("scenes") / "a.mp4"
    patterns = [np.kron(rng.integers(0, 255, (7, 7, 3)), np.ones((32, 32, 1))).astype(np.uint8) for _ in range(3)]
    write_mp4(path, (patterns[i // 30] for i in range(70)), 30)
    return path


def test_what_mistakes_do(weights, scenes, state, one_thread):
    effects = preprocessing_effects(scenes, weights)
    assert list(effects) == ["right", "frames=32", "l2=False", "scale=False"]
    right, chunks, raw, bright = effects.values()
    assert right.features.shape == (3, 512) and np.allclose(right.norm, 1) and np.allclose(right.cosine, 1)
    assert not right.drift_s.any() and np.allclose(chunks.drift_s, [0, 2 / 30, 4 / 30])
    assert np.allclose(raw.cosine, 1) and np.abs(raw.norm - 1).min() > 0.01
    assert np.allclose(raw.features / raw.norm[:, None], right.features, atol=1e-6)
    net = S3D().eval()
    net.load_state_dict(state)
    stream = np.concatenate(list(iter_chunks(scenes, 30, 224, 30)))
    assert np.allclose(bright.features[1], _by_hand(net, stream[30:60], scale=False), atol=1e-6)
    with torch.inference_mode():
        late = net(torch.from_numpy(stream[32:64]).permute(3, 0, 1, 2)[None].float() / 255)[0].numpy()
    assert np.allclose(chunks.features[1], late / np.linalg.norm(late), atol=1e-6)
    assert np.allclose(chunks.cosine[1], chunks.features[1] @ right.features[1], atol=1e-6)
    assert bright.cosine.max() < 0.99
    assert np.abs(chunks.features[1] - right.features[1]).max() > 5e-5  # untrained, it hardly tells scenes apart


def test_effects_of_the_first_seconds_only(weights, scenes):
    effects = preprocessing_effects(scenes, weights, seconds=1)
    assert {name: len(effect.features) for name, effect in effects.items()} == dict.fromkeys(effects, 1)


def test_untrained_by_name_is_untrained_by_file(tmp_path):
    by_name, by_file = S3DBackbone("untrained"), S3DBackbone(write_untrained(tmp_path / "s3d.pth"))
    frames = np.random.default_rng(0).integers(0, 256, (30, 224, 224, 3), dtype=np.uint8)
    np.testing.assert_array_equal(by_name(frames), by_file(frames))
    assert by_name.weights == "untrained" != by_file.weights


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_freed_memory_is_kept_for_the_next_second():
    """New pages are what costs: each of ten rounds takes 16,384 of them by default, now almost none does.

    Ten rounds before them: where the heap has gaps, the first few may lie in one after the other, later ones rarely.
    """
    program = """
import resource, torch
from vcwork.data.backbones.hugging_face import one_thread
with one_thread():
    def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10): torch.ones(1 << 24).sum()
    before = faults()
    for _ in range(10): torch.ones(1 << 24).sum()
    print(faults() - before)
"""
    assert int(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout) < 5 * 16384
