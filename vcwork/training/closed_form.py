"""A start for few training pairs: ridge regression from frames to words and meaning, written into both towers.

The text tower is a BERT grown wider (`vcwork.encoders.from_bert`): its own width says what a sentence means, the new
columns carry, through all its layers, which words stand in it. Ridge from frames to both has one solution and needs no
updates; GELU(a) - GELU(-a) = a, so pairs of opposite rows carry a linear map through the video MLP, and the norm behind
it makes dot products cosines of the prediction. Targets as in `vcwork.review.baselines`: tf-idf and meaning, each of
mean squared length 1 times the root of its share. A few more columns hold the order: which second of the video a word
speaks of, and in the position table which second it is. A lone second sits in the first place and carries no order.
Ours; it is not in the paper.
Gaps: it reads one vector a caption, so videos should be as short as the keyframes (a caption a second); the video tower
has no layers.
"""

import numpy as np
import torch
from torch import Tensor, nn

from vcwork.base.errors import VcworkError
from vcwork.core.batches import PairData
from vcwork.core.config import TrainConfig
from vcwork.core.model import VideoCLIP
from vcwork.core.sampling import caption_pair
from vcwork.core.text import SPECIAL, Tokenizer
from vcwork.training.pairs import control

# chosen by cross-validation inside the keyframes' train split
MEANING = 0.35  # share of the sentence vectors in the targets; the rest is tf-idf
PENALTY = 3.0e4  # on features of mean variance 1
ORDER_PENALTY, ORDER_GAIN = 10.0, 2.0
FAINT = 0.1  # length of a word's new columns, so that the norms over all columns hardly see them


@torch.no_grad()
def start_from_captions(model: VideoCLIP, tokenizer: Tokenizer, data: PairData, config: TrainConfig) -> None:
    """Write the solution of every caption of `data` and the mean of its seconds (shuffled when `config` says so).

    `config.seed` turns the space of the new columns. VcworkError for a model with video layers, or whose text tower
    has too few new columns.
    """
    data = control(data, config)
    pairs = [(x, caption_pair(t, i, config.pairs)) for t, x in zip(data.tracks, data.features, strict=True)
             for i in range(len(t.tokens))]  # fmt: skip
    x = np.stack([x[p.video_start : p.video_end].astype(np.float32).mean(0) for x, p in pairs])  # (N, W)
    slots = np.array([p.video_start for _, p in pairs])
    new = _new_columns(model, int(slots.max()) + 1)
    a = model.transform(torch.from_numpy(x)).double().numpy()
    centre, a = a.mean(0), a - a.mean(0)
    batch = tokenizer.batch([p.tokens for _, p in pairs], model.config.max_text_tokens)
    words = _Words(*batch, tokenizer)
    tower = _TextTower(model.eval(), batch, new)
    meaning = tower.pooled()[:, ~new]
    meaning -= meaning.mean(0)
    factor = np.sqrt((1 - MEANING) / MEANING * meaning.var(0).sum() / words.tfidf.var(0).sum())
    n_slots, spare = int(slots.max()) + 1, 1
    k = min(int(new.sum()) - 1 - n_slots - spare, *words.tfidf.shape)
    seen = np.linalg.svd(a @ _ridge(a, words.tfidf), full_matrices=False)[2][:k].T  # (V, k) what frames tell of words
    axes = np.random.default_rng(config.seed).standard_normal((len(new), k + n_slots + spare)) * new[:, None]
    axes = np.linalg.qr(axes - axes.sum(0) / new.sum() * new[:, None])[0]  # (D, ...), zero mean: norms take it away
    length = np.sqrt(meaning.var(0).sum() / MEANING)
    order = words.order(slots) * ORDER_GAIN * length  # (V, S)
    tower.write(words, np.hstack([seen * factor, order]) @ axes[:, : k + n_slots].T)
    z = tower.pooled()  # (N, D)
    tower.last.bias -= torch.from_numpy(z.mean(0)).float()
    z = z - z.mean(0)
    z = z - z @ axes[:, k:] @ axes[:, k:].T
    for side in (new, ~new):  # what the norms take away, and what they leave of it in the new columns
        z[:, side] -= z[:, side].mean(1, keepdims=True)
    _write_video(model, a, centre, z, axes[:, k : k + n_slots], axes[:, -1])


def _new_columns(model: VideoCLIP, n_slots: int) -> np.ndarray:
    """Columns of the text tower that its BERT left zero, (D,) bool."""
    new = ~model.text_bert.embeddings.word_embeddings.weight.any(0).numpy()
    if model.config.video_layers or new.sum() < n_slots + 8:
        limit = f"no video layers and a text tower at least {n_slots + 8} wider than the BERT it begins with"
        raise VcworkError(f"closed form start: expected {limit}, got {new.sum()} new columns and model {model.config}")
    return new


class _Words:
    """Which pieces stand in N sentences: V pieces, their weights, tf-idf vectors (N, V)."""

    def __init__(self, ids: Tensor, mask: Tensor, tokenizer: Tokenizer) -> None:
        row, column = mask[:, 1:].numpy().nonzero()
        self.pieces, place = np.unique(ids[:, 1:].numpy()[row, column], return_inverse=True)
        count = np.zeros((len(ids), len(self.pieces)))  # SEP is counted and CLS not, as the mean over tokens does
        np.add.at(count, (row, place), 1.0)
        found = (count > 0).sum(0)
        silent = [
            p in SPECIAL or len(p.removeprefix("##")) == 1 for p in (tokenizer.vocabulary[i] for i in self.pieces)
        ]
        idf = np.where(silent | (found < 2), 0, np.log((1 + len(count)) / (1 + found)) + 1)  # (V,)
        self.tfidf = np.minimum(count, 1) * idf
        length = np.linalg.norm(self.tfidf, axis=1, keepdims=True) + 1e-9
        self.tfidf /= length
        # the mean over tokens divides by their number, tf-idf by the length
        self.weight = idf * float((count.sum(1, keepdims=True) / length).mean())

    def order(self, slots: np.ndarray) -> np.ndarray:
        """Which slot does a piece speak of: ridge from words alone, (V, S)."""
        b, target = self.tfidf - self.tfidf.mean(0), np.eye(int(slots.max()) + 1)[slots]
        return np.linalg.solve(b.T @ b + ORDER_PENALTY * np.eye(b.shape[1]), b.T @ (target - target.mean(0)))


class _TextTower:
    """The text tower on the training sentences, and its new columns."""

    def __init__(self, model: VideoCLIP, batch: tuple[Tensor, Tensor], new: np.ndarray) -> None:
        self.model, self.batch, self.new = model, batch, torch.from_numpy(new)
        self.norms = [m for m in model.text_bert.modules() if isinstance(m, nn.LayerNorm)]
        self.last = list(model.text_bert.encoder["layer"].children())[-1:] or [model.text_bert.embeddings]
        self.last = self.last[0].output["LayerNorm"] if model.config.text_layers else self.last[0].LayerNorm

    def pooled(self) -> np.ndarray:
        """(N, D) float64."""
        parts = zip(*(side.split(128) for side in self.batch), strict=True)
        return torch.cat([self.model.encode_text(*part).pooled for part in parts]).double().numpy()

    def write(self, words: _Words, table: np.ndarray) -> None:
        """Let `pooled` hold, beside what it held, tf-idf times `table` (V, D), whose old columns are zero."""
        spread: list[Tensor] = []
        look = [norm.register_forward_pre_hook(lambda _, x: spread.append(x[0].std(-1).mean())) for norm in self.norms]
        before = self.pooled()
        for hook in look:
            hook.remove()
        for i, norm in enumerate(self.norms):  # what a norm divides by, put back for the new columns
            norm.weight[self.new] = torch.stack(spread[i :: len(self.norms)]).mean()
        rows = torch.from_numpy(words.weight[:, None] * table).float()
        faint = FAINT / rows.norm(dim=1).max()
        self.model.text_bert.embeddings.word_embeddings.weight[torch.from_numpy(words.pieces)] += rows * faint
        wanted = words.tfidf @ table
        found = (self.pooled() - before) * self.new.numpy()
        self.last.weight[self.new] *= float((wanted**2).sum() / (found * wanted).sum())


def _ridge(a: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Weights (W, V) from centred features (N, W) to y (N, V)."""
    from sklearn.linear_model import Ridge  # seconds to import

    return Ridge(alpha=PENALTY * a.var(0).mean(), fit_intercept=False).fit(a, y - y.mean(0)).coef_.T


def _write_video(
    model: VideoCLIP, a: np.ndarray, centre: np.ndarray, z: np.ndarray, slots: np.ndarray, spare: np.ndarray
) -> None:
    """Video MLP and tables: centred features a (N, W) to the text vectors z (N, D); slots (D, S) and spare (D,)."""
    put = lambda array: torch.tensor(array, dtype=torch.float32)  # noqa: E731
    video, mlp = model.video_bert.embeddings, model.video_mlp
    for table in (video.position_embeddings, video.token_type_embeddings, mlp.linear1, mlp.linear2):
        table.weight.zero_()
    nn.init.ones_(video.LayerNorm.weight), nn.init.zeros_(video.LayerNorm.bias)
    weights = _ridge(a, z)  # (W, D)
    k = min(model.config.hidden // 2, *a.shape)
    out = np.linalg.svd(a @ weights, full_matrices=False)[2][:k].T  # (D, k)
    frame = weights @ out  # (W, k)
    frame /= np.linalg.norm(a @ frame, axis=1).mean()
    root, bias = np.sqrt(k), centre @ frame
    mlp.linear1.weight[: 2 * k] = put(np.vstack([frame.T, -frame.T]) * root)
    mlp.linear1.bias.zero_()[: 2 * k] = put(np.concatenate([-bias, bias]) * root)
    mlp.linear2.weight[:, : 2 * k] = put(np.hstack([out, -out]) / root)
    mlp.linear2.bias.zero_()
    video.word_embeddings.weight.copy_(put(np.stack([spare] * 2)))
    video.position_embeddings.weight[2 : 1 + slots.shape[1]] = put((slots[:, 1:] - slots[:, :1]).T)
