"""What can be chosen: each ingredient, its choices, who says so and where, and what to change in a training for it.

Declared once; the switchboard trains by it, and the table of disagreements is made from it. The first choice of an
ingredient is the paper's, and all first choices together are the baseline. `says` names the source and the place: the
paper by table where there is one, the reference code by file or class, the three source documents by line. Where a
document's number only makes sense at its own size (batch 256, 32 s of HowTo100M), the lab's choice keeps the ratio.
"""

from dataclasses import dataclass, field
from typing import Any

from vcwork.base.errors import VcworkError
from vcwork.core.config import ModelConfig, TrainConfig

SOURCES = ("paper", "code", "document 1", "document 2", "document 3")


@dataclass(frozen=True)
class Choice:
    """One way: `says` {source: place and words of its own}, `model` and `train` what to change (nested by key)."""

    name: str
    says: dict[str, str] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    note: str = ""
    elsewhere: str = ""  # where it is built, when it is no switch of this training


@dataclass(frozen=True)
class Ingredient:
    """A question of design and the answers to it, the paper's first."""

    name: str
    question: str
    choices: tuple[Choice, ...]

    def __getitem__(self, name: str) -> Choice:
        for choice in self.choices:
            if choice.name == name:
                return choice
        raise VcworkError(f"{self.name}: expected one of {', '.join(c.name for c in self.choices)}, got {name!r}")


# Sizes of the lab: profile `lab`, where a clip of 3 to 16 s stands for the paper's 3 to 32.
MODEL = {"hidden": 128, "heads": 4, "ffn": 256, "video_layers": 2, "text_layers": 2, "feature_dropout": 0.1}
TRAIN: dict[str, Any] = {
    "epochs": 5, "passes_per_epoch": 8, "lr": 1.0e-3, "warmup": 100,
    "pairs": {"min_text_tokens": 8, "max_text_tokens": 32, "min_video_s": 3, "max_video_s": 16},
    "clusters": {"videos_per_batch": 16, "clips_per_video": 8, "clips_for_vector": 4},
}  # fmt: skip
TINY_MODEL = {"hidden": 128, "heads": 4, "ffn": 256, "video_layers": 1, "text_layers": 1}
TINY_TRAIN: dict[str, Any] = {
    "epochs": 4, "passes_per_epoch": 20, "lr": 1.5e-3, "warmup": 20,
    "pairs": {"min_text_tokens": 8, "max_text_tokens": 24, "min_video_s": 3, "max_video_s": 12},
    "clusters": {"videos_per_batch": 16, "clips_per_video": 6, "clips_for_vector": 4},
}  # fmt: skip

INGREDIENTS = (
    Ingredient("positives", "Which clip and which words belong together?", (
        Choice("overlapped", {"paper": "a clip of random length around a moment of the text",
                              "code": "OverlappedAligner", "document 1": "line 36, in words"}),
        Choice("strict", {"paper": "Table 7, without overlap"}, train={"pairs": {"rule": "strict"}}),
        Choice("IoU of 0.5", {"document 1": "lines 128 and 172-183"}, train={"pairs": {"rule": "iou"}},
               note="the document compares word places with frame places; here both are seconds"),
        Choice("best fit", {"document 3": "lines 52-60: the best of the sliding windows, its siblings negatives"},
               train={"loss": "best fit", "pairs": {"rule": "windows", "max_video_s": 8, "stride_s": 4}}),
        Choice("best fit, siblings left out", {"document 3": "line 69 may be read so"},
               train={"loss": "best fit", "own_negatives": False,
                      "pairs": {"rule": "windows", "max_video_s": 8, "stride_s": 4}}),
        Choice("MIL-NCE over windows",
               train={"loss": "mil", "pairs": {"rule": "windows", "max_video_s": 8, "stride_s": 4}},
               note="the soft form of best fit: candidates are summed"),
        Choice("MIL-NCE", {"paper": "Table 7, MIL-NCE clips and loss"},
               train={"loss": "mil", "pairs": {"rule": "bag", "min_video_s": 4, "bag": 4}}),
    )),
    Ingredient("batches", "Which videos meet in a batch?", (
        Choice("retrieved, k of 2k", {"paper": "Algorithm 1", "code": "tasks/retritask.py",
                                      "document 1": "line 36, video clusters"}),
        Choice("random", {"paper": "Table 7, without retrieval", "document 1": "line 163: shuffled"},
               train={"clusters": {"retrieve": False}}),
        Choice("retrieved, k of k", {"paper": "Table 7, retrieve k"}, train={"clusters": {"pool_factor": 1}}),
        Choice("retrieved by the beginning", {"paper": "Table 7, first 32 s"},
               train={"clusters": {"vector_first_s": 16}}, note="16 s of about 80 here"),
        Choice("one cell of the code's index", {"code": "modules/retri.py: nprobe 1, an eighth of the videos a rank"},
               train={"clusters": {"search": "reference cell", "nlist": 4, "ranks": 2}},
               note="4 cells of 2 ranks here"),
    )),
    Ingredient("negatives", "Who is a negative?", (
        Choice("the whole batch", {"paper": "every other pair",
                                   "code": "losses/nce.py: also clips of the same video", "document 3": "line 60"}),
        Choice("other videos only", train={"same_video": "left out"},
               note="two clips of one video may show the same thing"),
        Choice("nearest above 0.5", {"document 1": "lines 126-127 and 190-199"},
               train={"mining": "nearest", "mining_threshold": 0.5, "negative_ratio": 0.5},
               note="the document lists them as positives; mended"),
    )),
    Ingredient("loss", "Which directions are contrasted?", (
        Choice("both, mean", {"paper": "training objective"}),
        Choice("both, sum", {"code": "losses/nce.py: not halved"}, train={"loss": "reference"}),
        Choice("text to video", {"document 3": "line 66", "code": "fine-tuning for retrieval"},
               train={"loss": "t2v"}),
    )),
    Ingredient("temperature", "What are scores divided by?", (
        Choice("1.0", {"paper": "1.0", "code": "losses/nce.py: none"}),
        Choice("0.07", {"document 1": "line 123"}, train={"temperature": 0.07}),
        Choice("learned", model={"learn_temperature": True}, note="CLIP; document 3 leaves it open"),
    )),
    Ingredient("length", "Are embeddings scaled to one length?", (
        Choice("raw", {"paper": "dot product", "code": "losses/nce.py", "document 3": "line 58: dot product"}),
        Choice("unit, 0.07", model={"unit_length": True}, train={"temperature": 0.07}, note="CLIP"),
        Choice("unit, 1.0", model={"unit_length": True}, note="scores between -1 and 1 cannot say much"),
    )),
    Ingredient("pooling", "How do many states become one vector?", (
        Choice("mean", {"paper": "average pooling", "code": "MMFusionSeparate", "document 3": "line 35: pooled"}),
        Choice("[CLS]", {"paper": "Table 7"}, model={"pooling": "cls"}),
    )),
    Ingredient("towers", "One transformer or two?", (
        Choice("two", {"paper": "two", "code": "MMFusionSeparate", "document 3": "lines 30-39"}),
        Choice("shared", {"paper": "Table 7", "document 2": "may be read so: a transformer for video and text"},
               model={"shared": True}),
    )),
    Ingredient("projection", "Is there a head after each tower?", (
        Choice("none", {"paper": "none", "code": "MMFusionSeparate"}),
        Choice("MLP", {"document 3": "line 42"}, model={"projection": 64}),
    )),
    Ingredient("scorer", "What makes a score of a clip and a text?", (
        Choice("dot product", {"paper": "dot product", "code": "losses/nce.py", "document 3": "line 58"}),
        Choice("cross-attention and a score head", {"document 1": "lines 57-58 and 133-134"},
               elsewhere="vcwork/encoders/rerank.py"),
    )),
    Ingredient("video input", "What does the video tower read?", (
        Choice("a feature a second, frozen", {"paper": "S3D, 30 frames a second",
                                              "code": "scripts/video_feature_extractor"}),
        Choice("ResNet-50 a frame", {"document 1": "line 131"}, elsewhere="vcwork/encoders/frames.py"),
        Choice("ViT a frame, 16 frames, temporal transformer", {"document 3": "lines 33-35"},
               elsewhere="vcwork/encoders/frames.py"),
    )),
    Ingredient("text encoder", "What reads the words?", (
        Choice("BERT", {"paper": "BERT-base", "code": "MMFusionSeparate", "document 1": "line 132"}),
        Choice("CLIP's text transformer", {"document 3": "line 39"}, elsewhere="vcwork/encoders/frames.py"),
    )),
    Ingredient("rate", "Which learning rate?", (
        Choice("as the paper", {"paper": "5e-5, 1,000 updates of warm-up", "code": "how2.yaml"}),
        Choice("twice, no warm-up", {"document 1": "lines 124 and 161: 1e-4, Adam alone"},
               train={"lr": 2.0e-3, "warmup": 0, "schedule": "constant"}, note="the ratio of the two rates is kept"),
    )),
    Ingredient("batch", "How many pairs are contrasted?", (
        Choice("16 videos of 8 clips", {"paper": "32 of 16, 512 pairs", "code": "how2.yaml"},
               note="a quarter of the paper's"),
        Choice("half", {"document 1": "line 120: 256, half the paper's"},
               train={"clusters": {"videos_per_batch": 8}}, note="half of ours"),
        Choice("a clip of each video", {"document 1": "line 163: every example another video"},
               train={"clusters": {"videos_per_batch": 128, "clips_per_video": 1}}, note="as many pairs"),
    )),
    Ingredient("epochs", "For how long?", (
        Choice("as the paper", {"paper": "25", "code": "how2.yaml"}),
        Choice("four times", {"document 1": "line 125: 100"}, train={"epochs_times": 4}),
    )),
)  # fmt: skip


def ingredient(name: str) -> Ingredient:
    """The ingredient of this name. VcworkError lists them."""
    for found in INGREDIENTS:
        if found.name == name:
            return found
    raise VcworkError(f"expected an ingredient of {', '.join(i.name for i in INGREDIENTS)}, got {name!r}")


def configure(picked: dict[str, str], seed: int, size: str = "lab", epochs: int = 0) -> tuple[dict, TrainConfig]:
    """Model sizes and training of the baseline with `picked` {ingredient: choice}; `epochs` 0: the size's own.

    VcworkError for an unknown name, a choice that is built elsewhere, or two that cannot go together.
    """
    if size not in ("lab", "tiny"):
        raise VcworkError(f"size: expected lab or tiny, got {size!r}")
    model, train = (dict(d) for d in ((MODEL, TRAIN) if size == "lab" else (TINY_MODEL, TINY_TRAIN)))
    train["epochs"] = epochs or train["epochs"]
    for name, value in picked.items():
        choice = ingredient(name)[value]
        if choice.elsewhere:
            raise VcworkError(f"{name} {value}: is no switch of this training; see {choice.elsewhere}")
        model |= choice.model
        times = choice.train.get("epochs_times", 1)
        train = _merged(train, {k: v for k, v in choice.train.items() if k != "epochs_times"})
        train["epochs"] *= times
    ModelConfig.checked(**model)
    return model, TrainConfig.checked(**train, seed=seed)


def _merged(base: dict, change: dict) -> dict:
    """`change` over `base`, key by key also one level down."""
    out = dict(base)
    for key, value in change.items():
        out[key] = {**base.get(key, {}), **value} if isinstance(value, dict) else value
    return out


def disagreements() -> list[tuple[str, ...]]:
    """Rows (ingredient, choice of the paper, of the code, of each document) where at least two sources name others.

    A cell holds the names of the choices a source stands for, "" where it says nothing.
    """
    rows = []
    for i in INGREDIENTS:
        cells = [
            ", ".join(c.name for c in i.choices if source in c.says and not _ablation(c, source)) for source in SOURCES
        ]
        if len({cell for cell in cells if cell}) > 1:
            rows.append((i.name, *cells))
    return rows


def _ablation(choice: Choice, source: str) -> bool:
    """The paper also tries what it does not stand for, and the code fine-tunes otherwise than it pre-trains."""
    return (source == "paper" and "Table 7" in choice.says[source]) or "fine-tuning" in choice.says[source]
