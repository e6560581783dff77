"""The lab world: what can be done (actions), to what (objects), with what (tools), and the recipes made of it.

A *step* is an action x object x tool. Actions are motions of a hand, so one frame shows the object and not the
action; every object has a look-alike. Action-object combinations are dealt to train, val and test once, so a test
recipe never shows a combination seen in training: zero-shot means zero-shot. Recipes come in look-alike pairs that
share half of their steps, which makes hard negatives by construction. The words and colours stand in world.yaml.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vcwork.base.files import own_yaml


@dataclass(frozen=True)
class Action:
    """A motion of the hand around the object: `path` names the curve, `hz` how often a second it is traced."""

    name: str
    verbs: Sequence[str]  # paraphrases, the canonical verb first
    path: str  # vertical, horizontal, rising, falling, clockwise, counter, slash, backslash, eight
    hz: float


@dataclass(frozen=True)
class Thing:
    """An object as drawn and as named; `twin` is its look-alike."""

    name: str
    nouns: Sequence[str]
    shape: str  # disc, long, square, wedge, egg
    colour: Sequence[int]
    mark: str  # none, stem, stripes, rings, spots
    twin: str


@dataclass(frozen=True)
class Tool:
    """What the hand holds."""

    name: str
    nouns: Sequence[str]
    colour: Sequence[int]


WORDS = own_yaml(__package__, "world.yaml")
ACTION = {name: Action(name, **told) for name, told in WORDS["actions"].items()}
THING = {name: Thing(name, **told) for name, told in WORDS["things"].items()}
TOOL = {name: Tool(name, **told) for name, told in WORDS["tools"].items()}
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Step:
    """One thing to do. Its id is `action.object.tool`."""

    action: str
    thing: str
    tool: str

    @property
    def id(self) -> str:
        return f"{self.action}.{self.thing}.{self.tool}"

    @property
    def sentence(self) -> str:
        """The canonical annotation, used as the step's label text."""
        return f"{self.action} the {self.thing} with the {self.tool}"


@dataclass(frozen=True)
class LabRecipe:
    """Steps in canonical order, a name made of its two main ingredients, and the recipe it is easily taken for."""

    id: str
    name: str
    split: str
    steps: tuple[Step, ...]
    lookalike: str


def combination_split(seed: int) -> dict[tuple[str, str], str]:
    """Deal every (action, object) to one split: 7 of 12 actions per object to train, 2 to val, 3 to test.

    Twins get the same deal, so that a look-alike recipe can swap an object for its twin and stay in its split; over
    the objects every action meets every split.
    """
    rng = np.random.default_rng([seed, 1])
    order = rng.permutation(len(ACTION))
    pairs = sorted({tuple(sorted((thing.name, thing.twin))) for thing in THING.values()})
    shifts = {name: 3 * k // 2 for k, pair in enumerate(pairs) for name in pair}
    deal = ["test"] * 3 + ["val"] * 2 + ["train"] * 7
    at = dict(zip(ACTION, order, strict=True))
    return {(action, thing): deal[(at[action] + shifts[thing]) % len(ACTION)] for action in ACTION for thing in THING}


def make_recipes(split: str, families: int, steps: int, seed: int) -> list[LabRecipe]:
    """`families` look-alike pairs of recipes of `steps` steps each, all combinations belonging to `split`."""
    rng = np.random.default_rng([seed, 2, SPLITS.index(split)])
    deal = combination_split(seed)
    by_thing = {thing: [action for action in ACTION if deal[action, thing] == split] for thing in THING}
    recipes, names = [], set()
    while len(recipes) < 2 * families:
        base = _draw_steps(by_thing, steps, rng)
        other = _draw_lookalike(base, rng)
        named = [_name(part, rng) for part in (base, other)]
        if len({*named, *names}) < len(names) + 2:
            continue
        names.update(named)
        ids = [f"{split}-r{len(recipes) + i:02d}" for i in (0, 1)]
        for i, part in enumerate((base, other)):
            recipes.append(LabRecipe(ids[i], named[i], split, part, ids[1 - i]))
    return recipes


def _draw_steps(by_thing: dict[str, list[str]], steps: int, rng: np.random.Generator) -> tuple[Step, ...]:
    """Different steps over three objects of three different look-alike pairs."""
    things: list[str] = []
    for name in rng.permutation(sorted(by_thing)):
        if THING[str(name)].twin not in things and len(things) < 3:
            things.append(str(name))
    drawn: list[Step] = []
    while len(drawn) < steps:
        thing = things[len(drawn) % 3]
        action = str(rng.choice(by_thing[thing]))
        if not any((s.action, s.thing) == (action, thing) for s in drawn):
            drawn.append(Step(action, thing, str(rng.choice(sorted(TOOL)))))
    return tuple(drawn[i] for i in rng.permutation(steps))


def _draw_lookalike(base: tuple[Step, ...], rng: np.random.Generator) -> tuple[Step, ...]:
    """The same recipe with one ingredient swapped for its twin and one more step done with another tool."""
    swapped = str(rng.choice(sorted({s.thing for s in base})))
    steps = [Step(s.action, THING[s.thing].twin, s.tool) if s.thing == swapped else s for s in base]
    k = int(rng.choice([i for i, s in enumerate(base) if s.thing != swapped]))
    others = [tool for tool in sorted(TOOL) if tool != steps[k].tool]
    steps[k] = Step(steps[k].action, steps[k].thing, str(rng.choice(others)))
    return tuple(steps)


def _name(steps: tuple[Step, ...], rng: np.random.Generator) -> str:
    first, second, third = dict.fromkeys(s.thing for s in steps)
    return f"{first} {second} and {third} {rng.choice(WORDS['dishes'])}"
