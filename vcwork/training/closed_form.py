"""A start for few training pairs: shrunk canonical correlation, written into the weights of both towers.

Canonical correlation (CCA) of frames and tf-idf words has one solution and needs no updates; "shrunk" means that both
covariances get a multiple of their mean variance on the diagonal; without it 1280 dimensions fit 1350 pairs by heart.
The solution fits a VideoCLIP without layers exactly: GELU(a) - GELU(-a) = a, so pairs of opposite rows carry a linear
map through the video MLP, and the word table holds a vector for each word, whose mean is the sentence.
A few more dimensions hold the order: which second of the video a word speaks of, and in the position table which
second it is. A lone second sits in the first place and carries no order. Ours; it is not in the paper.
Gap: it reads one vector a caption, so videos should be as short as the keyframes (a caption a second).
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vcwork.base.errors import VcworkError
from vcwork.core.batches import PairData
from vcwork.core.config import TrainConfig
from vcwork.core.model import VideoCLIP
from vcwork.core.sampling import caption_pair
from vcwork.core.text import SPECIAL, Tokenizer
from vcwork.training.pairs import control

# chosen by cross-validation inside the keyframes' train split
SHRINK = 10.0  # times the mean variance of a feature, and times the mean squared length of a sentence's tf-idf
ORDER_PENALTY, ORDER_GAIN = 10.0, 2.0


def start_from_captions(model: VideoCLIP, tokenizer: Tokenizer, data: PairData, config: TrainConfig) -> None:
    """`closed_form_start` from every caption of `data` and the mean of its seconds (shuffled when `config` says so)."""
    data = control(data, config)
    pairs = [(x, caption_pair(t, i, config.pairs)) for t, x in zip(data.tracks, data.features, strict=True)
             for i in range(len(t.tokens))]  # fmt: skip
    features = np.stack([x[p.video_start : p.video_end].astype(np.float32).mean(0) for x, p in pairs])  # (N, W)
    ids, mask = tokenizer.batch([p.tokens for _, p in pairs], model.config.max_text_tokens)
    letters = [i for i, piece in enumerate(tokenizer.vocabulary) if len(piece.removeprefix("##")) == 1]
    slots = np.array([p.video_start for _, p in pairs])
    closed_form_start(model, torch.from_numpy(features), ids, mask, slots, letters, config.seed)


def closed_form_start(
    model: VideoCLIP, features: Tensor, ids: Tensor, mask: Tensor, slots: np.ndarray, silent: Sequence[int], seed: int
) -> None:
    """Write the solution into `model` (0 video and 0 text layers).

    features (N, W) as `encode_video` takes them; ids, mask (N, L) with CLS and SEP; slots (N,) the second of its video
    each pair stands at. Pieces in `silent` (letters that spell rare words) get no meaning. `seed` turns the space.
    VcworkError for a model with layers, or with too little width for that many slots.
    """
    config, n_slots = model.config, int(slots.max()) + 1
    k = min(config.hidden // 2 - 2, config.vocab_size, config.feature_dim)
    if config.video_layers or config.text_layers or k + n_slots + 3 > config.hidden:
        limit = f"no layers and at most {config.hidden - k - 3} seconds a video"
        raise VcworkError(f"closed form start: expected {limit}, got {n_slots} seconds and model {config}")
    x, count = model.transform(features).detach().double().numpy(), _counts(ids, mask, config.vocab_size)
    idf, total = _idf(count, silent), count.sum(1, keepdims=True)
    y, length = _unit(np.minimum(count, 1) * idf)  # (N, V)
    ratio = float((total / length).mean())  # mean pooling divides by the number of words, tf-idf by the length
    a, b = x - x.mean(0), y - y.mean(0)
    frame, word = _cca(a, b, k)  # (W, k), (V, k)
    words = ratio * idf[:, None] * word - y.mean(0) @ word
    words /= np.linalg.norm(count @ words / total, axis=1).mean()
    order = ratio * idf[:, None] * _order(b, slots, n_slots) * ORDER_GAIN
    words = np.hstack([words, order])  # (V, k + S)
    frame /= np.linalg.norm(a @ frame, axis=1).mean()
    axes = np.random.default_rng(seed).standard_normal((config.hidden, k + n_slots + 2))
    axes = np.linalg.qr(axes - axes.mean(0))[0]  # zero mean: the centring of LayerNorm changes nothing
    _write(model, frame, x.mean(0), words / (np.linalg.norm(words, axis=1).max() * 1.02), axes)


def _counts(ids: Tensor, mask: Tensor, size: int) -> np.ndarray:
    """How often each piece stands in each sentence, SEP counted and CLS not, as the mean over tokens does; (N, V)."""
    out = np.zeros((len(ids), size))
    row, column = mask[:, 1:].numpy().nonzero()
    np.add.at(out, (row, ids.numpy()[row, column + 1]), 1.0)
    return out


def _idf(count: np.ndarray, silent: Sequence[int]) -> np.ndarray:
    """Weight of each piece (V,): 0 for special and silent ones and for those in fewer than two sentences."""
    found = (count > 0).sum(0)
    idf = np.where(found > 1, np.log((1 + len(count)) / (1 + found)) + 1, 0.0)
    idf[[*range(len(SPECIAL)), *silent]] = 0
    return idf


def _unit(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    length = np.linalg.norm(rows, axis=1, keepdims=True) + 1e-9
    return rows / length, length


def _cca(a: np.ndarray, b: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """First k directions of centred a (N, W) and b (N, V), those of b times their correlation: (W, k), (V, k)."""
    wa, wb = _whiten(a, a.shape[1]), _whiten(b, len(b))
    m = wa.T @ (a.T @ b) @ wb  # (W, V)
    values, vectors = np.linalg.eigh(m.T @ m)  # squared correlations, ascending
    right, s = vectors[:, ::-1][:, :k], np.sqrt(np.maximum(values[::-1][:k], 0))
    return wa @ (m @ right), wb @ right * s  # m @ right = left * s


def _whiten(x: np.ndarray, parts: int) -> np.ndarray:
    """(C + SHRINK * trace(C) / parts)^-1/2 of C = x.T x, as eigenvectors scaled."""
    values, vectors = np.linalg.eigh(x.T @ x)
    return vectors * (np.maximum(values, 0) + SHRINK * (x**2).sum() / parts) ** -0.5


def _order(b: np.ndarray, slots: np.ndarray, n_slots: int) -> np.ndarray:
    """Which slot does a piece speak of: ridge from words alone, (V, S)."""
    target = np.eye(n_slots)[slots]
    return np.linalg.solve(b.T @ b + ORDER_PENALTY * np.eye(b.shape[1]), b.T @ (target - target.mean(0)))


@torch.no_grad()
def _write(model: VideoCLIP, frame: np.ndarray, mean: np.ndarray, words: np.ndarray, axes: np.ndarray) -> None:
    """frame (W, k), mean (W,), words (V, k + S) not longer than 1, axes (D, k + S + 2): two spare ones at the end."""
    put = lambda z: torch.tensor(z, dtype=torch.float32)  # noqa: E731
    text, video, mlp = model.text_bert.embeddings, model.video_bert.embeddings, model.video_mlp
    for table in (text.position_embeddings, text.token_type_embeddings, video.position_embeddings,
                  video.token_type_embeddings, mlp.linear1, mlp.linear2):  # fmt: skip
        table.weight.zero_()
    k, spare, axes = frame.shape[1], axes[:, -2:], axes[:, :-2]
    fill = np.sqrt(1 - (words**2).sum(1))[:, None]  # one length for all words: LayerNorm keeps their weights
    text.word_embeddings.weight.copy_(put(words @ axes.T + fill * spare[:, 0]))
    video.word_embeddings.weight.copy_(put(np.stack([spare[:, 1]] * 2)))
    slots = np.eye(words.shape[1] - k)
    video.position_embeddings.weight[2 : 1 + len(slots)] = put((slots[1:] - slots[:1]) @ axes[:, k:].T)
    root, bias = np.sqrt(k), mean @ frame
    mlp.linear1.weight[: 2 * k] = put(np.vstack([frame.T, -frame.T]) * root)
    mlp.linear1.bias.zero_()[: 2 * k] = put(np.concatenate([-bias, bias]) * root)
    mlp.linear2.weight[:, : 2 * k] = put(np.hstack([axes[:, :k], -axes[:, :k]]) / root)
    mlp.linear2.bias.zero_()
