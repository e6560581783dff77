"""One video's story: which steps happen when, and what the narrator says, with the faults of real ASR.

Steps are skipped, repeated and swapped as people do. Narration comes before or after the action it names, leaves
steps out, chats about something else, and the caption file rolls: a cue repeats the end of the one before it.
What is true (segments, which cue speaks of which segment) is kept beside it and used only to score.
"""

from dataclasses import dataclass, field

import numpy as np

from vcwork.data.lab.world import ACTION, THING, TOOL, WORDS, LabRecipe, Step


@dataclass(frozen=True)
class Happening:
    """A step performed from `start_s` to `end_s`, with the sentence an annotator would write."""

    start_s: float
    end_s: float
    step: Step
    sentence: str


@dataclass(frozen=True)
class Cue:
    """A caption as displayed; `segment` is the index of the happening it speaks of, or -1."""

    start_s: float
    end_s: float
    text: str
    segment: int


@dataclass
class Story:
    """Everything that is needed to film one video."""

    id: str
    recipe: LabRecipe
    duration_s: int
    happenings: list[Happening]
    cues: list[Cue]
    mentions: list[dict] = field(default_factory=list)  # segment, start_s, offset_s


def write_story(video_id: str, recipe: LabRecipe, rng: np.random.Generator, **world: float) -> Story:
    """Draw a performance of `recipe` and its narration. `world`: the probabilities and lengths of LabConfig."""
    happenings, duration = _perform(recipe, rng, world)
    utterances, mentions = _narrate(recipe, happenings, duration, rng, world)
    cues = _caption(utterances, duration, rng, world["roll_prob"])
    return Story(video_id, recipe, duration, happenings, cues, mentions)


def _perform(recipe: LabRecipe, rng: np.random.Generator, world: dict) -> tuple[list[Happening], int]:
    """Order, skips and repeats, then lengths: the share of background comes out near one half."""
    order = list(recipe.steps)
    for i in range(len(order) - 1):
        if rng.random() < world["swap_prob"]:
            order[i], order[i + 1] = order[i + 1], order[i]
    kept = [step for step in order if rng.random() >= world["skip_prob"]] or order[:1]
    for step in list(kept):
        if rng.random() < world["repeat_prob"]:
            kept.insert(int(rng.integers(len(kept) + 1)), step)
    happenings, t = [], float(rng.uniform(3, 9))
    for step in kept:
        end = t + float(rng.uniform(world["step_min_s"], world["step_max_s"]))
        happenings.append(
            Happening(round(t, 2), round(end, 2), step, _fill(rng.choice(WORDS["annotations"]), step, recipe, rng))
        )
        t = end + float(rng.uniform(world["gap_min_s"], world["gap_max_s"]))
    return happenings, int(np.ceil(t))


def _narrate(recipe: LabRecipe, happenings: list[Happening], duration: int, rng: np.random.Generator, world: dict):
    """Utterances (start_s, words, segment) at about `words_per_s` overall, mentions offset from their action."""
    planned = []
    for i, h in enumerate(happenings):
        if rng.random() < world["mention_prob"]:
            offset = float(np.clip(rng.normal(world["offset_mean_s"], world["offset_sd_s"]), -8, 8))
            text = _fill(rng.choice(WORDS["step_sentences"]), h.step, recipe, rng)
            if rng.random() < world["follow_prob"]:
                text += " " + _fill(rng.choice(WORDS["follow_ups"]), h.step, recipe, rng)
            planned.append((max(0.0, h.start_s + offset), text, i))
    planned.sort()
    utterances, mentions, t, speed = [], [], 0.0, world["speech_words_per_s"]
    while t < duration - 1:
        until = planned[0][0] if planned else duration
        if planned and t >= until - 0.5:
            _, text, segment = planned.pop(0)
            mentions.append(
                {"segment": segment, "start_s": round(t, 2), "offset_s": round(t - happenings[segment].start_s, 2)}
            )
        else:
            text, segment = _fill(rng.choice(WORDS["chatter"]), rng.choice(recipe.steps), recipe, rng), -1
            if t + len(text.split()) / speed > until + 1.0:  # no room before the next mention: stay silent
                t = until
                continue
        words = text.split()
        utterances.append((t, words, segment))
        t += len(words) / speed + float(rng.exponential(world["pause_s"]))
    return utterances, mentions


def _fill(template: str, step: Step, recipe: LabRecipe, rng: np.random.Generator) -> str:
    """Say it in one of the possible words."""
    return str(template).format(
        verb=rng.choice(ACTION[step.action].verbs),
        noun=rng.choice(THING[step.thing].nouns),
        tool=rng.choice(TOOL[step.tool].nouns),
        recipe=recipe.name,
        other=rng.choice(list(THING)),
    )


def _caption(utterances: list, duration: int, rng: np.random.Generator, roll_prob: float) -> list[Cue]:
    """Cut the words into cues of about three seconds; a rolling cue begins with the words the last one added."""
    words = [(t + 0.34 * i, word, segment) for t, said, segment in utterances for i, word in enumerate(said)]
    cues, last, i = [], [], 0
    while i < len(words):
        n = int(rng.integers(5, 11))
        chunk = [w for w in words[i : i + n] if w[0] < words[i][0] + 6]
        i += len(chunk)
        end = min(float(duration), words[i][0] if i < len(words) else chunk[-1][0] + 1.0, chunk[-1][0] + 2.0)
        named = [segment for _, _, segment in chunk if segment >= 0]
        segment = max(set(named), key=named.count) if 2 * len(named) >= len(chunk) else -1
        rolled = last if last and rng.random() < roll_prob else []
        text = " ".join([*rolled, *(word for _, word, _ in chunk)])
        start = min(chunk[0][0], duration - 0.1)
        cues.append(Cue(round(start, 2), round(max(end, start + 0.1), 2), text, segment))
        last = [word for _, word, _ in chunk]
    return cues
