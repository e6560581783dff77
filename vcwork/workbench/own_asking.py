"""A folder's videos, asked: by a sentence, a picture, a frame or a stretch of a film: `ask`, `ask_like`.

Which kinds of evidence there are depends on what was made of the folder (`vcwork.workbench.own_videos`): words wherever
something is said, meaning with the sentence encoder, pictures with a checkpoint or the image network. Vectors of what
is said and the floor below which nothing counts as found are kept in the cache, by content.
What floor is honest depends on the evidence. For sentences it comes from questions of other topics (`learned`): the
folder's own captions, each asked among the other videos, would not do, as videos of one series say the same things and
the floor would lie above them. For pictures it does come from the folder, each video's frames among the other videos.
Known gaps: a folder of one video has no floor for pictures; a film is compared by the mean of its seconds.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from tqdm.auto import tqdm

from vcwork.base.errors import VcworkError
from vcwork.base.files import resolve, sha256_json
from vcwork.base.progress import waiting
from vcwork.base.sealed import kept
from vcwork.data.copies import cut
from vcwork.data.extract import chunks_of
from vcwork.search import evidence
from vcwork.search.fused import (
    FALSE_ALARMS,
    SHOWN,
    Answer,
    Floor,
    FusedHit,
    Kind,
    Piece,
    answered,
    between,
    elsewhere,
    fused,
    learned,
    search_all,
)
from vcwork.search.sentence import unknown_words
from vcwork.workbench.own_folder import plain_name
from vcwork.workbench.own_videos import IMAGES, Own, clock, open_index

SENTENCES = "minilm"
RULES = 2  # of the floor; another number where kinds of evidence weigh otherwise than before
TOGETHER = 1024  # sentences that are encoded before they are kept
MOST_SERVED = 60  # hits of a page
TWIN = 0.1  # of two pictures' features, as `evidence.STILL`: nearer ones are taken for the same
ASKED_BACK = 200  # seconds of the folder that are asked among the other videos
LEAST_LIKE = 0.1  # cosine, where no floor can be learned
DRAWN_WORDS = 1000  # word pieces; a tokenizer of real captions has more


@dataclass
class Asking:
    """What a folder can be asked with, and `told`: what has to be said of all its answers."""

    kinds: list[Kind]
    films: evidence.Films
    told: list[str]
    key: str
    floors: dict[tuple[str, float], Floor]  # of questions, and of pictures


def asking(own: Own, progress: bool = False) -> Asking:
    """The kinds of evidence of a folder, made once for `own`."""
    if own.asking is None:
        features = {id: own.store[id] for id in own.ids}
        films, lines = evidence.films(features, black_of(own)), lines_of(own)
        kinds, told = [evidence.words(lines)] if lines else [], []
        with waiting("reading the sentence model"):
            encode = sentences(own) if lines or pictured(own) else None
        if lines and encode is not None:
            kinds.append(evidence.meaning(lines, encode([line.text for line in lines], progress), encode.once))
        if own.library is not None:
            kinds.append(evidence.seconds(own.library, own.encoder, films))
            told += drawn(own)
        elif encode is not None and pictured(own):
            with waiting("comparing the names of what is shown"):
                kinds.append(_classes(own, films, encode))
            told.append("What is shown is known by the names of 1,000 classes of things and animals, which is weak.")
        kinds = [evidence.in_shots(kind, own.shots) if kind.evidence == SHOWN else kind for kind in kinds]
        if films.still.any():
            told.append(f"{films.still.sum()} s of picture that stands still or is black are passed over.")
        key = [
            RULES,
            own.store.digest(),
            own.encoder and own.encoder.digest,
            getattr(encode, "digest", ""),
            elsewhere(),
        ]
        key += [[line.video, line.text, line.start_s, line.end_s] for line in lines] + [own.shots]
        own.asking = Asking(kinds, films, told, sha256_json(key)[:16], {})
    return own.asking


def ask(
    own: Own, sentence: str, top: int = 5, anyway: bool = False, false_alarms: float = FALSE_ALARMS, only: str = ""
) -> Answer:
    """The best moments of a folder for a sentence, by all that is known of it; none where nothing fits.

    anyway: also what lies below the floor; false_alarms: the share of questions without an answer that may get one;
    only: in this video. VcworkError: no words, nothing that could be searched, a rate that cannot be told.
    """
    here = asking(own)
    if not here.kinds:
        raise VcworkError(f"nothing can be searched: nothing is said in these videos. {' '.join(own.told)}".strip())
    floor = floor_of(own, false_alarms)
    return search_all(here.kinds, sentence, top, floor, anyway, functools.partial(_twins, own), only)


def floor_of(own: Own, rate: float = FALSE_ALARMS) -> Floor:
    """The floor of the folder's kinds of evidence, learned once for what they are made of."""
    here, which = asking(own), ("questions", rate)
    path = own.out / "cache" / f"floor-{here.key}-{rate:g}.json"
    if which not in here.floors:
        for old in path.parent.glob("floor-*.json") if own.keeps else ():
            if not old.name.startswith(f"floor-{here.key}"):
                old.unlink(missing_ok=True)
        with waiting("asking what cannot be here, to know when nothing is found"):
            learn = functools.partial(learned, here.kinds, rate)
            found = Floor(**kept(path, here.key, lambda: vars(learn()))) if own.keeps else learn()
        here.floors[which] = found
    return here.floors[which]


def _twins(own: Own, better: FusedHit, hit: FusedHit) -> bool:
    """Do both show the same and, where both say something, say the same?"""
    if better.video == hit.video or (better.text and hit.text and better.text.casefold() != hit.text.casefold()):
        return False
    rows = ((own.store[h.video], int(h.peak_s or h.start_s or 0)) for h in (better, hit))
    one, other = (row[min(second, len(row) - 1)].astype(np.float32) for row, second in rows)
    return bool(evidence.near(one, other, TWIN))


# -------------------------------------------------------------------------------------------------- what is known


def lines_of(own: Own) -> list[Piece]:
    """All that is said, or described, in the folder's order."""
    found = []
    for id in own.ids:
        raw = own.corpus.raw_captions(id)
        for i, caption in own.corpus.indexed_captions(id):
            times = (caption.start_s, caption.end_s) if np.isfinite(raw[i].end_s) else (None, None)
            found.append(Piece(id, *times, 0.0, caption.text))
    return found


def pictured(own: Own) -> bool:
    """Are the features those whose classes have names?"""
    return own.library is None and own.store.contract.backbone == IMAGES


def black_of(own: Own) -> np.ndarray | None:
    """Features of a black second, None where their maker is not at hand."""
    if own.eye is None or hasattr(own.eye, "read"):
        return None
    return own.eye(np.zeros((int(own.eye.fps), own.eye.size, own.eye.size, 3), np.uint8))


def drawn(own: Own) -> list[str]:
    """What has to be said of a checkpoint that knows no other world than the one drawn here, asked about real films."""
    known, named = getattr(own.encoder.tokenizer, "vocabulary", None), own.encoder.card.get("corpus", "lab")
    if "step_parts" in own.corpus.meta or named != "lab" or known is None or len(known) > DRAWN_WORDS:
        return []
    why = f"the lab's drawn world, or one of as few words ({len(known)} word pieces)"
    return [f"This checkpoint was trained on {why}: do not believe what it says to be shown in real films."]


class Remembered:
    """Sentence vectors (N, D) of length 1, made once a sentence, kept where there is a folder."""

    def __init__(self, cache: Path | None) -> None:
        from vcwork.encoders.sentences import load_sentences  # torch: seconds

        self.encoder = load_sentences(SENTENCES)
        self.digest = self.encoder.digest
        self._folder = cache and cache / f"sentences-{self.digest[:12]}"
        self._index = open_index(self._folder, self.digest, self.encoder.width)

    def __call__(self, texts: Sequence[str], progress: bool = False) -> np.ndarray:
        keys = [sha256_json(text)[:24] for text in texts]
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._index}
        with tqdm(total=len(new), desc="sentences", unit="sentence", disable=not progress or not new) as bar:
            while part := dict(islice(new.items(), TOGETHER)):
                self._index.add(self.encoder.encode([*part.values()]), [*part])
                if self._folder is not None:
                    self._index.save(self._folder)
                bar.update(len(part))
                new = {key: text for key, text in new.items() if key not in part}
        place = {key: i for i, key in enumerate(self._index.ids)}
        return self._index.vectors[[place[key] for key in keys]]  # (N, D)

    def once(self, texts: Sequence[str]) -> np.ndarray:
        """The same of questions: nobody's business afterwards, and no need of a cache that another run may write."""
        return self.encoder.encode(list(texts))


def sentences(own: Own) -> Remembered | None:
    """The sentence encoder, None where it is not there."""
    return Remembered(own.out / "cache" if own.keeps else None) if SENTENCES in own.ready else None


def _classes(own: Own, films: evidence.Films, encode: Remembered) -> Kind:
    from vcwork.data.backbones.efficientnet import class_names, class_probabilities

    names = encode(class_names())  # (C, D)
    top, weights = evidence.likeliest((class_probabilities(own.store[id]) for id in own.ids), names)
    return evidence.classes(films, top, weights, names, encode.once)


# ------------------------------------------------------------------------------------------------ like a picture


def ask_like(own: Own, like: str, top: int = 5, anyway: bool = False, false_alarms: float = FALSE_ALARMS) -> Answer:
    """The best moments that look like `like`: the path of a picture, or VIDEO@12.5 or VIDEO@10-15 by path or id.

    VcworkError: no such file, a picture or a stretch that cannot be read, features whose maker is not at hand.
    """
    here, features = asking(own), {id: own.store[id] for id in own.ids}
    rows, where = looks(own, like)  # (T, W)
    cosines = evidence.alike_seconds(features, rows.mean(0, keepdims=True))[:, 0]  # (S,)
    kind = Kind("pictures", SHOWN, lambda queries, k: [])
    pieces = here.films.moments(cosines, 100)
    pieces = [p for p in pieces if where is None or p.video != where[0] or p.end_s <= where[1] or p.start_s >= where[2]]
    return answered(fused([(kind, pieces)]), [kind], top, like_floor(own, false_alarms), anyway)


def looks(own: Own, like: str) -> tuple[np.ndarray, tuple[str, float, float] | None]:
    """Features (T, W) of what `ask_like` is given, and where in the folder it stands: (id, start_s, end_s) or None."""
    name, at, times = like.rpartition("@")
    if not at or resolve(like).is_file():
        return _picture(own, resolve(like))[None], None
    try:
        start_s, end_s = (float(time) for time in (times.split("-") if "-" in times else (times, times)))
        int(start_s), int(end_s)
        if start_s > end_s:
            raise ValueError
    except (ValueError, OverflowError):  # the latter of inf
        raise VcworkError(f"--like {like}: expected VIDEO@SECONDS or VIDEO@FROM-TO, got {times!r}") from None
    name = next((id for id in own.ids if own.corpus[id].video == resolve(name)), name)
    first, last = int(start_s), max(int(start_s) + 1, int(np.ceil(end_s)))
    if name in own.store:
        rows, where = own.store[name][first:last], (name, float(first), float(last))
    else:
        chunks = islice(chunks_of(_eye(own), resolve(name)), first, last)
        rows, where = [_eye(own)(frames) for frames in chunks], None
    if not len(rows):
        raise VcworkError(f"--like {like}: nothing of the film lies there")
    if first + len(rows) + 1 < last:  # its last part of a second may have no features
        raise VcworkError(f"--like {like}: the film ends at {first + len(rows)} s")
    return np.asarray(rows, np.float32), where


def _picture(own: Own, path: Path) -> np.ndarray:
    """Features (W,) of a picture, as of a second that shows nothing else: its middle square, as of films."""
    eye = _eye(own)
    try:
        with Image.open(path) as image:
            if image.format == "EPS":
                raise ValueError("PostScript is a program, which is not run")
            upright = ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise VcworkError(f"--like {path}: expected a picture, VIDEO@SECONDS or VIDEO@FROM-TO ({error})") from error
    pixels = np.asarray(ImageOps.fit(upright, (eye.size, eye.size)))  # (H, W, 3)
    return eye(np.stack([pixels] * int(eye.fps)))


def _eye(own: Own) -> Any:
    if own.eye is None:
        raise VcworkError(
            "--like: what makes the features is not at hand here, so only VIDEO@SECONDS of the folder can be"
        )
    return own.eye


def like_floor(own: Own, rate: float) -> Floor:
    """How like it is what is most like a second that is not there: seconds of the folder among the other videos."""
    here = asking(own)
    if not 0 < rate < 1:
        raise VcworkError(f"false alarms: expected a rate between 0 and 1, got {rate}")
    if ("pictures", rate) not in here.floors:
        here.floors["pictures", rate] = _like_floor(own, here, rate)
    return here.floors["pictures", rate]


def _like_floor(own: Own, here: Asking, rate: float) -> Floor:
    features = {id: own.store[id] for id in own.ids}
    place = np.repeat(np.arange(len(features)), [len(rows) for rows in features.values()])  # (S,)
    chosen = np.flatnonzero(~here.films.still)
    chosen = (
        chosen[np.linspace(0, len(chosen) - 1, min(ASKED_BACK, len(chosen))).astype(int)] if len(chosen) else chosen
    )
    m = int(rate * (len(chosen) + 1))
    if len(features) < 2 or m < 1:
        return Floor(rate, LEAST_LIKE, 0.0, 1.0, 0, {"pictures": (0.0, 1.0)})
    asked = np.concatenate([np.asarray(rows, np.float32) for rows in features.values()])[chosen]  # (Q, W)
    cosines = evidence.alike_seconds(features, asked)  # (S, Q)
    cosines[place[:, None] == place[chosen]] = -1
    best = np.sort(np.where(here.films.still[:, None], -1, cosines).max(0))
    return Floor(rate, float(best[-m]), *between(m, len(chosen)), len(chosen), {"pictures": (0.0, 1.0)})


# ------------------------------------------------------------------------------------------------------ in words


def answers(
    own: Own, queries: Sequence[str], top: int = 5, *, likes: Sequence[str] = (), anyway: bool = False,
    false_alarms: float = FALSE_ALARMS, clips: str = "", kept: list[tuple[str, Answer]] | None = None,
) -> tuple[list[str], bool]:  # fmt: skip
    """Lines for the command line, and whether every query had an answer.

    clips: a folder for the hits as mp4. kept: a list that gets each query with its answer.
    """
    lines, all_answered, kept = [], True, [] if kept is None else kept
    for query, do in [*((query, ask) for query in queries), *((like, ask_like) for like in likes)]:
        lines.append(f"“{query}”" if do is ask else f"like {query}")
        try:
            found = do(own, query, top, anyway, false_alarms)
            told = said_of(own, found, query, do is ask)
        except VcworkError as error:
            found, told = Answer([]), ["nothing found", str(error)]
        kept.append((query, found))
        lines += [f"  {i}. {in_words(hit)}" for i, hit in enumerate(found.hits, 1)] + [f"  {line}" for line in told]
        lines += [f"  {line}" for line in (cut_out(own, found.hits, resolve(clips)) if clips else [])]
        all_answered &= bool(found.hits)
    told = [of_floor(floor, what) for (what, _), floor in asking(own).floors.items() if floor.queries]
    return [*lines, *asking(own).told, *told], all_answered


def cut_out(own: Own, hits: Sequence[FusedHit], folder: Path) -> list[str]:
    """Each hit as an mp4 in `folder`, <video>_<start>-<end>s.mp4, never over a file; lines that say so, or why not."""
    told = []
    for hit in hits:
        if hit.start_s is None:
            told.append(f"not cut: {hit.video} as a whole is what was found")
            continue
        out = folder / f"{plain_name(hit.video)}_{hit.start_s:.1f}-{hit.end_s:.1f}s.mp4"
        try:
            told.append(f"{out} ({cut_film(own, hit.video, hit.start_s, hit.end_s, out)})")
        except VcworkError as error:
            told.append(f"not cut: {error}")
    return told


def cut_film(own: Own, id: str, start_s: float, end_s: float, out: Path) -> str:
    """`vcwork.data.copies.cut` of a video of the folder; VcworkError where it has no file."""
    if (film := own.corpus[id].video) is None:
        raise VcworkError(f"{id}: there is no video file")
    return cut(film, start_s, end_s, out)


def in_words(hit: FusedHit) -> str:
    """`0:03 to 0:08  video  said and shown  “text”  (and 3 like it)`"""
    times = "whole film" if hit.start_s is None else f"{clock(hit.start_s):>7} to {clock(hit.end_s)}"
    more = [f"{hit.folded} more beside it"] * bool(hit.folded) + [f"and {len(hit.like)} like it"] * bool(hit.like)
    parts = [times, hit.video, " and ".join(hit.evidence), f"“{hit.text}”" if hit.text else ""]
    return "  ".join([*filter(None, parts), *(f"({one})" for one in more)])


def said_of(
    own: Own, found: Answer, query: str, sentence: bool = True, way: str = "; --anyway shows them"
) -> list[str]:
    """What has to be said of an answer: that nothing was found, what was left out, words that a model does not know.

    way: to the weaker moments.
    """
    told = []
    if not found.hits:
        told.append("nothing found" + (f" (best was {in_words(found.best)})" if found.best else ""))
    elif not found.hits[0].evidence:
        told.append("nothing found; these are the nearest")
    if found.below and not found.hits:
        told.append(f"{found.below} weaker moments are not shown{way}")
    if sentence and own.library is not None and (strange := unknown_words(own.encoder.tokenizer, query.split())):
        told.append(f"Not known to the model of what is shown: {', '.join(strange)}.")
    return told


def of_floor(floor: Floor, asked: str = "questions") -> str:
    """What "nothing found" means here."""
    return (
        f"Of {asked} that have no answer here, {floor.rate:.0%} are to get one all the same ({floor.low:.1%} to "
        f"{floor.high:.1%}, as {floor.queries} of them tell)."
    )


def served(own: Own, false_alarms: float = FALSE_ALARMS) -> Callable[[str, str, bool], dict[str, Any]]:
    """`answer(sentence, id or "", anyway)` as JSON values, for pages that are served."""

    def answer(sentence: str, only: str, anyway: bool) -> dict[str, Any]:
        found = ask(own, sentence, MOST_SERVED + 1, anyway, false_alarms, only)
        hits = [vars(hit) for hit in found.hits[:MOST_SERVED]]
        left = [f"These are the best {MOST_SERVED}; there are more."] * (len(found.hits) > MOST_SERVED)
        note = " ".join(left + said_of(own, found, sentence, way="") + asking(own).told)
        return {"hits": hits, "found": bool(hits), "more": bool(found.below) and not anyway, "note": note}

    return answer
