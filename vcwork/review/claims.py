"""The claims that the ledger judges: the paper's numbers, what was found about them, and three documents about it.

Data only, in our own words. Published numbers are shares; `n` is how many queries, sentences or videos they stand on.
Documents: 1 is a summary with pseudo-code, 2 a page with abstract and findings, 3 a guide. `agrees` says whether a
statement about the paper is what the paper (or, where it is silent, its code) says; `truth` says what that is.
Sources: Xu et al., VideoCLIP, EMNLP 2021, Tables 1 to 5 and 7; the reference code; what we counted ourselves.
"""

from dataclasses import dataclass

from vcwork.measure.card import Card

_OPEN = Card()


@dataclass(frozen=True)
class Claim:
    """One claim and what it may be held against.

    published: a share (or what `unit` says); n: what it was averaged over, or `digits`: the decimals of a percentage
    that is exact (a count or a closed form) instead. than: (system, its published share), of which the claim says that
    it is lower. trivial: a result of `vcwork.review.blind`, a check of `vcwork.review.ledger`, or a number; measured:
    ("blind" or "check", name), or ("run", notebook, metric). card: the published protocol. beside: blind results worth
    reading next to it, which decide nothing. lab: (notebook, metric) whose direction on the lab world is shown.
    """

    id: str
    source: str
    text: str
    published: float | None = None
    n: int | None = None
    digits: int | None = None
    than: tuple[str, float] | None = None
    trivial: str | float | None = None
    measured: tuple[str, ...] = ()
    card: Card = _OPEN
    beside: tuple[str, ...] = ()
    lab: tuple[str, str] | None = None
    agrees: bool | None = None
    truth: str = ""
    unit: str = "share"


PAPER, FOUND = "paper", "found"
SILENCE = "COIN background from its averages"
_READ = {"windows": "first", "cls": "attended"}  # as the reference code reads clips
_SECONDS = {"windows": "overlapping", "cls": "hidden"}  # and videos, second by second
_PAIRS = {"captions": 1, "right": "own pair", **_READ}
YC2 = Card("retrieval", "YouCook2 val 3,305 (paper)", pool=3305, benchmark="YouCook2", **_PAIRS)
VTT = Card("retrieval", "MSR-VTT 1k-A 1,000", pool=1000, benchmark="MSR-VTT", **_PAIRS)
MOMENTS = Card("didemo", "DiDeMo test 4,021 sentences (moments, not paragraphs)", pool=21, benchmark="DiDeMo")
QA = Card("videoqa", "MSR-VTT-QA multiple choice 2,990", pool=5, benchmark="MSR-VTT-QA", **_READ)
COIN = Card("segmentation", "COIN testing 2,797 videos", pool=778, gamma="repeats kept", benchmark="COIN", **_SECONDS)
STEPS = Card(
    "localization",
    "CrossTask test 1,690 videos of 18 tasks (30 a task to train, RandomState(0))",
    benchmark="CrossTask",
    **_SECONDS,
)
RETRIEVAL, CHOICE, WHERE, NAMED, MOMENT, LABEL, PAIRS = (
    "30_text_video_retrieval", "31_video_qa", "32_action_localization", "33_action_segmentation", "35_moment_search",
    "34_zero_shot_classification", "11_overlapped_pairs",
)  # fmt: skip


def _recalls(where: str, card: Card, n: int, how: str, values: tuple, name: str = "") -> list[Claim]:
    """R@1, R@5, R@10 of one row; runs are held against zero-shot rows only, since nothing names a fine-tuned model."""
    out = []
    for k, value in zip((1, 5, 10), values, strict=True):
        known = (f"{name}_video_known_R@{k}", f"{name}_ceiling_R@{k}") if name else ()
        run = {"measured": ("run", RETRIEVAL, f"t2v_R@{k}"), "lab": (RETRIEVAL, f"t2v_R@{k}")}
        out.append(Claim(f"T1 {where} {how} R@{k}", PAPER, f"{how} text-to-video R@{k} on {where}", value, n,
                         trivial=k / n, card=card, beside=known, **(run if how == "zero-shot" else {})))  # fmt: skip
    return out


def _better(id: str, text: str, published: float, n: int, other: str, value: float, **more) -> Claim:
    return Claim(id, PAPER, text, published, n, than=(other, value), **more)


def _random(where: str, n: int, values: tuple) -> list[Claim]:
    text = "a random order has this R@{} on {}"
    return [Claim(f"T1 {where} random R@{k}", PAPER, text.format(k, where), value, digits=1,
                  measured=("check", f"random R@{k} of {n}"))
            for k, value in zip((1, 5, 10), values, strict=True)]  # fmt: skip


TABLES = [
    *_recalls("YouCook2", YC2, 3305, "zero-shot", (0.227, 0.504, 0.631), "youcook2"),
    *_recalls("YouCook2", YC2, 3305, "fine-tuned", (0.322, 0.626, 0.750), "youcook2"),
    *_recalls("MSR-VTT", VTT, 1000, "zero-shot", (0.104, 0.222, 0.300)),
    *_recalls("MSR-VTT", VTT, 1000, "fine-tuned", (0.309, 0.554, 0.668)),
    *_random("YouCook2", 3305, (0.000, 0.002, 0.003)),
    *_random("MSR-VTT", 1000, (0.001, 0.005, 0.010)),
    _better("T1 YouCook2 beats MIL-NCE", "zero-shot R@1 above MIL-NCE's", 0.227, 3305, "MIL-NCE", 0.151, card=YC2),
    _better("T1 MSR-VTT beats MIL-NCE", "zero-shot R@1 above MIL-NCE's", 0.104, 1000, "MIL-NCE", 0.099, card=VTT),
    _better("T1 MSR-VTT beats MIL-NCE R@10", "zero-shot R@10 above MIL-NCE's", 0.300, 1000, "MIL-NCE", 0.324, card=VTT),
    _better("T1 MSR-VTT beats Support-Set R@1", "fine-tuned R@1 above Support-Set's", 0.309, 1000, "Support-Set", 0.301,
            card=VTT),
    _better("T1 MSR-VTT beats Support-Set R@5", "fine-tuned R@5 above Support-Set's", 0.554, 1000, "Support-Set", 0.585,
            card=VTT),
    Claim("T2 DiDeMo R@1", PAPER, "zero-shot R@1 (by the code: rank@1 of moments) shows that moments are found",
          0.166, 4021, trivial="didemo_prior_rank1", card=MOMENTS, lab=(MOMENT, "pointing")),
    Claim("T2 DiDeMo R@5", PAPER, "zero-shot R@5 (by the code: rank@5 of moments) shows that moments are found",
          0.469, 4021, trivial="didemo_prior_rank5", card=MOMENTS, lab=(MOMENT, "pointing")),
    Claim("T3 QA zero-shot", PAPER, "zero-shot accuracy, one caption of five", 0.739, 2990, trivial=0.2, card=QA,
          measured=("run", CHOICE, "qa_accuracy"), lab=(CHOICE, "qa_accuracy")),
    _better("T3 QA fine-tuned", "fine-tuned accuracy above ClipBERT's", 0.921, 2990, "ClipBERT", 0.882, trivial=0.2,
            card=QA),
    Claim("T4 COIN zero-shot", PAPER, "zero-shot frame accuracy shows that steps are recognised", 0.589, 2797,
          trivial=SILENCE, card=COIN, measured=("run", NAMED, "frame_accuracy"),
          beside=("coin_all_background", "coin_relative_time", "coin_task_and_time"), lab=(NAMED, "frame_accuracy")),
    _better("T4 COIN fine-tuned", "fine-tuned frame accuracy above MIL-NCE's", 0.687, 2797, "MIL-NCE", 0.610,
            trivial=SILENCE, card=COIN, beside=("coin_all_background", "coin_task_and_time")),
    _better("T4 COIN beats ActBERT", "zero-shot frame accuracy above ActBERT's, trained", 0.589, 2797, "ActBERT", 0.570,
            trivial=SILENCE, card=COIN),
    Claim("T5 CrossTask zero-shot", PAPER, "zero-shot step recall, task and order known", 0.339, 1690,
          trivial="crosstask_uniform_in_order", card=STEPS, measured=("run", WHERE, "recall"), lab=(WHERE, "recall")),
    _better("T5 CrossTask beats MIL-NCE", "zero-shot step recall above MIL-NCE's", 0.339, 1690, "MIL-NCE", 0.405,
            card=STEPS),
    _better("T5 CrossTask fine-tuned", "fine-tuned step recall above UniVL's", 0.473, 1690, "UniVL", 0.420, card=STEPS),
]  # fmt: skip

_ROWS = {
    "retrieved clusters": ("random batches", 0.185),
    "retrieved clusters and overlapped clips": ("neither", 0.124),
    "overlapped clips and their loss": ("MIL-NCE's clips and loss", 0.161),
    "two transformers": ("one transformer", 0.219),
    "sampling k of 2k neighbours": ("the k nearest videos", 0.225),
    "clips from the whole video for retrieval": ("their first 32 s", 0.201),
    "average pooling": ("the first token", 0.221),
}
ABLATIONS = [
    _better(f"T7 {what}", f"the full model is better than with {other}, YouCook2 R@1", 0.227, 3305, other, value,
            card=YC2) for what, (other, value) in _ROWS.items()
]  # fmt: skip


def _exact(
    number: int | str, text: str, value: float, *measured: str, digits: int = 1, card: Card = _OPEN, **more
) -> Claim:
    return Claim(f"found {number}", FOUND, text, value, digits=digits, measured=measured, card=card, **more)


def _read(number: int, text: str) -> Claim:
    return Claim(f"found {number}", FOUND, text, truth="read in the reference code, which is no part of this project")


FINDINGS = [
    _read(1, "the loss sums both directions of raw dot products, and contrasts within one GPU only"),
    _read(2, "the network on video features has two linear layers, not one"),
    _read(3, "extraction normalises features, the demonstration does not"),
    _exact("4a", "DiDeMo: the moment frequencies of val alone get this rank@1 on test", 0.194, "blind",
           "didemo_prior_rank1", card=MOMENTS),
    _exact("4b", "DiDeMo: the moment frequencies of val alone get this rank@5 on test", 0.681, "blind",
           "didemo_prior_rank5", card=MOMENTS),
    _exact("5a", "COIN's gamma: with a repeated label it is a text's similarity with itself and silences this share",
           1.0, "check", "seconds silenced by a repeated label"),
    _exact("5b", "COIN: this share of the label texts is left when repeats are dropped (749 of 778)", 0.963,
           "blind", "coin_all_background/distinct_labels_share", card=Card(split="COIN testing 2,797 videos")),
    Claim("found 6", FOUND, "COIN: this share of the test seconds is background", 0.587, 2797,
          measured=("blind", "coin_all_background"), card=Card(split="COIN testing 2,797 videos")),
    Claim("found 7", FOUND, "COIN: task name and relative time alone get this frame accuracy", 0.614, 2797,
          measured=("blind", "coin_task_and_time"), card=Card(split="COIN testing 2,797 videos")),
    _exact("8", "this share of the videos is the centre of a batch in an epoch", 0.031, "check", "share of centres"),
    _read(9, "clips of one video are each other's negatives, 15 for every pair"),
    _exact("10", "the learning rate ends at this share of its peak: warm-up, then nearly constant", 0.89, "check",
           "learning rate at the end", digits=0),
    _exact("11a", "constant scores: R@1 by the reference metric on 1,000 queries", 0.001, "check",
           "constant scores, reference R@1"),
    _exact("11b", "constant scores: queries that metric divides by, over the queries there are", 1000.0, "check",
           "constant scores, denominator over queries", unit="count"),
    _read(12, "saving metrics fails, missing weights are filled in silently"),
    _read(13, "COIN and CrossTask choose their checkpoint on the test videos"),
    _exact("14", "YouCook2: this share of the test clips is longer than the 32 s that are read", 0.154, "blind",
           "youcook2_ceiling_R@1/longer_than_32_s", card=Card(split="YouCook2 val 3,350 (HowTo100M csv)")),
    _read(15, "fine-tuning on MSR-VTT trains on 9k videos, official test videos among them"),
    _read(16, "the demonstration feeds frames that training never saw"),
    _exact("17", "YouCook2: no model can expect more than this R@1, because texts repeat", 0.977, "blind",
           "youcook2_ceiling_R@1", card=Card(split="YouCook2 val 3,350 (HowTo100M csv)", pool=3350)),
    _exact("18", "YouCook2: knowing the video alone is worth this R@5", 0.636, "blind", "youcook2_video_known_R@5",
           card=Card(split="YouCook2 val 3,350 (HowTo100M csv)", pool=3350)),
    _exact("19", "MSR-VTT 1k-A: no model can expect more than this R@1", 0.995, "blind", "msrvtt_ceiling_R@1",
           card=Card(split="MSR-VTT 1k-A 1,000", pool=1000)),
]  # fmt: skip


def _says(document: int, item: int, text: str, agrees: bool | None, truth: str = "", **more) -> Claim:
    return Claim(f"{document}.{item}", f"document {document}", text, agrees=agrees, truth=truth, **more)


ASKED = "asked for, not claimed: "
DOCUMENT_1 = [
    _says(1, 1, "title, authors, 2021", True, "EMNLP 2021"),
    _says(1, 2, "contrastive pre-training of one model for zero-shot tasks, no labels of those tasks", True),
    _says(1, 3, "overlapping positives, and hard negatives from nearest neighbours", True),
    _says(1, 4, "two novelties: loosely overlapping clips, batches from clusters of videos", True),
    _says(1, 5, "four kinds of tasks: retrieval, VideoQA, localization, segmentation", True,
          "on five data sets, DiDeMo among them"),
    Claim("1.6a", "document 1", "state of the art: fine-tuned MSR-VTT R@1 above Support-Set", 0.309, 1000,
          than=("Support-Set", 0.301)),
    Claim("1.6b", "document 1", "state of the art: zero-shot CrossTask recall above MIL-NCE", 0.339, 1690,
          than=("MIL-NCE", 0.405)),
    Claim("1.6c", "document 1", "surpasses supervised systems: YouCook2 zero-shot R@1 above COOT", 0.227, 3305,
          than=("COOT", 0.167)),
    _says(1, 7, "pre-trained on HowTo100M, 1.2 million videos", True, "the data set's size; 1.1 million were used"),
    _says(1, 8, "an encoder-decoder that gives a score a pair", False, "two encoders, the score is a dot product"),
    _says(1, 9, "ResNet-50 features", False, "frozen S3D, 512 numbers a second"),
    _says(1, 10, "BERT-base for text", True),
    _says(1, 11, "cross-modal attention aligns video and text", False, "no attention between the towers"),
    _says(1, 12, "a linear layer makes the score, averaged over the video", False, "no layer after the towers"),
    _says(1, 13, "temperature 0.07", False, "temperature 1, vectors not normalised"),
    _says(1, 14, "hard negatives: the nearest video of the batch above 0.5", False, "neighbours of the whole corpus"),
    _says(1, 15, "half of the negatives are hard", False, "no such ratio, and the pseudo-code never uses it"),
    _says(1, 16, "both ranges are drawn anywhere, and pairs kept from IoU 0.5 on (measured: draws kept)", False,
          "a centre inside the text, and any 3 to 32 s around it", measured=("check", "draws kept at IoU 0.5")),
    _says(1, 17, "word places and frame places share an axis", False, "a mistake: only times can be compared"),
    _says(1, 18, "softmax over a vector, of which the diagonal is taken", False, "a mistake: it takes the matrix"),
    _says(1, 19, "positives and negatives in one batch whose diagonal is positive", False,
          "a mistake: negatives would be trained as positives"),
    _says(1, 20, "a 5-axis video enters a ResNet, its output a BERT layer", False, "a mistake: neither shape fits"),
    _says(1, 21, "32 video tokens", True, "32 seconds at a token a second"),
    _says(1, 22, "32 text tokens", False, "8 to 61"),
    _says(1, 23, "batches of 256", False, "512: 16 pairs of each of 32 videos"),
    _says(1, 24, "Adam at 1e-4", False, "Adam at 5e-5 with warm-up"),
    _says(1, 25, "100 epochs", False, "25"),
    _says(1, 26, "HowTo100M as a data set with shuffled batches", None, ASKED + "readers and stores, notebook 10"),
    _says(1, 27, "trained on several GPUs", True, "8 of them"),
    _says(1, 28, "hyper-parameters are reported", True),
    _says(1, 29, "an evaluation loop in four functions", None, ASKED + "vcwork.tasks and vcwork.tasks.cases"),
    _says(1, 30, "retrieval and QA zero-shot, localization and segmentation fine-tuned", False,
          "each of them both ways; DiDeMo zero-shot only"),
    _says(1, 31, "compared with baselines and ablations", True, "Tables 1 to 5 and 7"),
    _says(1, 32, "metrics for each task", True, "R@k, accuracy, frame accuracy, recall"),
]  # fmt: skip

DOCUMENT_2 = [
    _says(2, 1, "sequence-level retrieval and QA, token-level localization and segmentation", True),
    _says(2, 2, "trains a transformer for video and text", None, "two; one shared by both is an ablation of Table 7"),
    Claim("2.3a", "document 2", "state of the art in retrieval: MSR-VTT zero-shot R@1 above MIL-NCE", 0.104, 1000,
          than=("MIL-NCE", 0.099)),
    Claim("2.3b", "document 2", "superior in zero-shot localization: CrossTask recall above MIL-NCE", 0.339, 1690,
          than=("MIL-NCE", 0.405)),
    Claim("2.3c", "document 2", "zero-shot above supervised: COIN frame accuracy above ActBERT", 0.589, 2797,
          than=("ActBERT", 0.570), trivial=SILENCE),
    _says(2, 4, "the code is public in fairseq's examples", True),
    _says(2, 5, "topics: domain adaptation, few-shot learning", None, ASKED + "few-shot curves"),
    _says(2, 6, "no public reviews, no walkthrough", None, ASKED + "notebook 00, and this ledger"),
]  # fmt: skip

DOCUMENT_3 = [
    _says(3, 1, "from Google Research", False, "Facebook AI and Carnegie Mellon"),
    _says(3, 2, "every frame is too much to compute", None, ASKED + "the paper freezes its features"),
    _says(3, 3, "one vector cannot mean all of a long video", None, ASKED + "states a second, notebooks 33 and 35"),
    _says(3, 4, "speech and picture are loosely aligned", True, lab=(PAIRS, "overlapped_shows_named_step")),
    _says(3, 5, "training discovers the best sub-clip", False, "clips overlap at random, no maximum is taken"),
    _says(3, 6, "two towers", True),
    _says(3, 7, "16 frames drawn from a clip", False, "every second, 30 frames of it"),
    _says(3, 8, "a ViT on each frame", False, "S3D"),
    _says(3, 9, "a transformer across time, then pooled", True, "6 layers over seconds, averaged"),
    _says(3, 10, "CLIP's text transformer", False, "BERT-base"),
    _says(3, 11, "projection heads on both towers", False, "none on the output; the video's input has one"),
    _says(3, 12, "more than a million videos with noisy speech recognition", True),
    _says(3, 13, "sliding windows against single sentences", False, "random spans of both"),
    _says(3, 14, "the positive is the most similar clip, the video's others are negatives", False,
          "any overlapping clip is the positive"),
    _says(3, 15, "the denominator holds the best positive and all negatives", None, ASKED + "the best-fit loss"),
    _says(3, 16, "classes named by prompts", None, ASKED + "notebook 34", lab=(LABEL, "accuracy@1")),
    _says(3, 17, "search with vectors computed beforehand", None, ASKED + "notebook 35", lab=(MOMENT, "library_R@1")),
    _says(3, 18, "the best moment of a long video", None, ASKED + "notebook 35", lab=(MOMENT, "pointing")),
    _says(3, 19, "impressive zero-shot action recognition", False, "the paper has no table of action recognition"),
    _says(3, 20, "reference arXiv 2109.14084", True),
]  # fmt: skip

CLAIMS = tuple([*TABLES, *ABLATIONS, *FINDINGS, *DOCUMENT_1, *DOCUMENT_2, *DOCUMENT_3])
