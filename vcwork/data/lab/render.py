"""Film a story: small frames in which a hand with a tool moves around an object on a table.

Between steps one of three things is seen: the presenter talking, ingredients lying still, or the hand idling. The
last two show objects without any action, so that seeing the object is not enough. Camera drift, lighting, sensor
noise and the hand's resting offset vary; a single frame says next to nothing about the action.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from vcwork.data.lab.story import Story
from vcwork.data.lab.world import ACTION, THING, TOOL, Thing

SKINS = ((238, 196, 164), (206, 154, 116), (150, 100, 70), (98, 66, 48))
Sprite = tuple[np.ndarray, np.ndarray]  # colour and coverage, each (h, w, 3) float32


def hand_path(path: str, hz: float, t: np.ndarray, phase: float) -> np.ndarray:
    """Where the hand is at times `t` (seconds), relative to its rest point, in units of its reach. (len(t), 2)."""
    turns = hz * t + phase
    wave, cowave, ramp = np.sin(2 * np.pi * turns), np.cos(2 * np.pi * turns), 2 * (turns % 1.0) - 1
    zero = np.zeros_like(wave)
    x, y = {
        "vertical": (zero, wave),
        "horizontal": (wave, zero),
        "rising": (zero, -ramp),  # slowly up, quickly down
        "falling": (zero, ramp),
        "clockwise": (cowave, wave),  # image rows grow downwards
        "counter": (cowave, -wave),
        "slash": (wave, -wave),
        "backslash": (wave, wave),
        "eight": (wave, np.sin(4 * np.pi * turns)),
    }[path]
    return np.stack([x, y], axis=-1)  # (T, 2)


def film(story: Story, size: int, fps: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield `duration_s * fps` frames, uint8 (size, size, 3)."""
    scene = _Scene(story, size, rng)
    t = np.arange(story.duration_s * fps) / fps
    shot = np.full(len(t), -1)
    for i, h in enumerate(story.happenings):
        shot[(t >= h.start_s) & (t < h.end_s)] = i
    starts = np.flatnonzero(np.diff(shot, prepend=-2))
    for start, end in zip(starts, [*starts[1:], len(t)], strict=True):
        step = story.happenings[shot[start]].step if shot[start] >= 0 else None
        shots = scene.action(step, t[start:end]) if step else scene.between(t[start:end])
        for frame in shots:
            yield scene.develop(frame)


class _Scene:
    """One kitchen: its table, its light, its hand, and where things lie."""

    def __init__(self, story: Story, size: int, rng: np.random.Generator):
        self.size, self.rng, self.story = size, rng, story
        self.scale = size / 112 * rng.uniform(0.9, 1.1)
        self.gain = np.float32(rng.uniform(0.85, 1.1))
        self.skin = SKINS[int(rng.integers(len(SKINS)))]
        wide = size + 16
        tint = np.array(rng.uniform(120, 200, 3) * (0.6 + 0.4 * rng.random()), dtype=np.float32)
        grain = rng.normal(0, 5, (wide // 4 + 1, wide // 4 + 1, 1)).astype(np.float32)
        self.table = np.clip(tint + np.kron(grain, np.ones((4, 4, 1), np.float32))[:wide, :wide], 0, 255)
        self.noise = _rgb(rng.normal(0, 3, (size + 64, size + 64, 1)).astype(np.float32))
        names = sorted({s.thing for s in story.recipe.steps})
        self.things = {name: draw_thing(THING[name], 17 * self.scale, rng) for name in names}
        self.tools = {name: draw_tool(tool.colour, self.skin, 12 * self.scale) for name, tool in TOOL.items()}

    def action(self, step, t: np.ndarray) -> Iterator[np.ndarray]:
        """The hand works on the object; another ingredient may lie at the edge."""
        action, rng, s = ACTION[step.action], self.rng, self.scale
        centre = self.size / 2 + rng.uniform(-12, 12, 2) * s
        rest = centre + rng.normal(0, 5, 2) * s
        reach = rng.uniform(10, 14) * s * (0.7 if "clock" in action.path or action.path == "counter" else 1.0)
        speed = rng.uniform(0.9, 1.1)
        path = (
            rest
            + reach * hand_path(action.path, action.hz * speed, t, rng.random())
            + rng.normal(0, 0.5, (len(t), 2)) * s
        )
        backdrop = self._lay([(step.thing, centre), *self._edge_things(without=step.thing)])
        return self._with_hand(backdrop, step.tool, path, t)

    def between(self, t: np.ndarray) -> Iterator[np.ndarray]:
        """No step: talking, still life, or an idle hand that wanders without doing anything."""
        rng, kind = self.rng, self.rng.choice(["talk", "still", "idle"])
        if kind == "talk":
            return self._talk(t)
        name = str(rng.choice(sorted(self.things)))
        centre = self.size / 2 + rng.uniform(-14, 14, 2) * self.scale
        backdrop = self._lay([(name, centre), *self._edge_things(without=name)])
        if kind == "still":
            return self._drift(backdrop, t)
        walk = np.cumsum(rng.normal(0, 0.9, (len(t), 2)), axis=0) * self.scale
        tool = str(rng.choice(sorted(self.tools)))
        return self._with_hand(backdrop, tool, centre + rng.normal(0, 8, 2) * self.scale + walk, t)

    def develop(self, frame: np.ndarray) -> np.ndarray:
        """Light and sensor noise, then 8 bits."""
        i, j = self.rng.integers(0, 64, 2)
        frame *= self.gain
        frame += self.noise[i : i + self.size, j : j + self.size]
        return np.clip(frame, 0, 255, out=frame).astype(np.uint8)  # (H, W, 3)

    def _edge_things(self, without: str) -> list[tuple[str, np.ndarray]]:
        others = [name for name in sorted(self.things) if name != without]
        if not others or self.rng.random() < 0.5:
            return []
        corner = self.rng.choice([0.14, 0.86], 2) * self.size
        return [(str(self.rng.choice(others)), corner)]

    def _lay(self, placed: list[tuple[str, np.ndarray]]) -> np.ndarray:
        canvas = self.table.copy()
        for name, centre in placed:
            paste(canvas, self.things[name], centre + 8)
        return canvas

    def _window(self, canvas: np.ndarray, i: int) -> np.ndarray:
        """The camera drifts by a few pixels over seconds."""
        dx, dy = (8 + np.round(3 * np.sin([i / 31.0, i / 23.0]))).astype(int)
        return canvas[dy : dy + self.size, dx : dx + self.size].copy()

    def _drift(self, canvas: np.ndarray, t: np.ndarray) -> Iterator[np.ndarray]:
        for i in range(len(t)):
            yield self._window(canvas, i)

    def _with_hand(self, backdrop: np.ndarray, tool: str, path: np.ndarray, t: np.ndarray) -> Iterator[np.ndarray]:
        for i, frame in enumerate(self._drift(backdrop, t)):
            paste(frame, self.tools[tool], path[i])
            yield frame

    def _talk(self, t: np.ndarray) -> Iterator[np.ndarray]:
        head = draw_blob(26 * self.scale, self.skin)
        mouth = draw_blob(5 * self.scale, (120, 40, 40))
        centre = self.size / 2 + self.rng.uniform(-8, 8, 2) * self.scale
        sway = np.cumsum(self.rng.normal(0, 0.35, (len(t), 2)), axis=0)
        for i, frame in enumerate(self._drift(self.table, t)):
            paste(frame, head, centre + sway[i])
            if self.rng.random() < 0.6:
                paste(frame, mouth, centre + sway[i] + (0, 11 * self.scale))
            yield frame


def paste(canvas: np.ndarray, sprite: Sprite, centre: np.ndarray) -> None:
    """Blend a sprite into `canvas` (H, W, 3) in place, centred at (x, y); parts outside are cut off."""
    colour, alpha = sprite
    h, w = colour.shape[:2]
    x, y = round(float(centre[0]) - w / 2), round(float(centre[1]) - h / 2)
    x0, y0 = max(x, 0), max(y, 0)
    x1, y1 = min(x + w, canvas.shape[1]), min(y + h, canvas.shape[0])
    if x0 >= x1 or y0 >= y1:
        return
    cut = slice(y0 - y, y1 - y), slice(x0 - x, x1 - x)
    spot = canvas[y0:y1, x0:x1]
    spot += alpha[cut] * (colour[cut] - spot)


def draw_thing(thing: Thing, radius: float, rng: np.random.Generator) -> Sprite:
    """An object of about `radius` pixels, turned a little and shaded; marks tell it from its look-alike."""
    u, v = _grid(radius, angle=rng.uniform(-0.5, 0.5))
    r = radius * rng.uniform(0.92, 1.08)
    edge = {
        "disc": np.hypot(u, v) - r,
        "egg": np.hypot(u / 1.15, v / 0.8) - r * 0.95,
        "long": np.maximum(np.abs(u) - 1.25 * r, np.abs(v) - 0.45 * r * (1 - 0.25 * u / r)),
        "square": np.maximum(np.abs(u), np.abs(v) * 1.15) - 0.85 * r,
        "wedge": np.maximum(np.abs(v) - 0.8 * (r - u) / 2, np.abs(u) - r),
    }[thing.shape]
    shade = 1 - 0.22 * (u + v) / (2 * radius)
    colour = np.array(thing.colour, np.float32) * rng.uniform(0.95, 1.05, 3) * shade[..., None]
    dark = {
        "none": np.zeros_like(u, bool),
        "stem": (np.abs(u) < 0.16 * r) & (v < -0.35 * r),
        "stripes": np.abs((u / r * 2.2) % 1 - 0.5) > 0.36,
        "rings": np.abs((np.hypot(u, v) / r * 2.6) % 1 - 0.5) > 0.34,
        "spots": (np.sin(u / r * 8) * np.sin(v / r * 8)) > 0.55,
    }[thing.mark]
    return np.where(dark[..., None], colour * 0.55, colour).astype(np.float32), _alpha(edge)


def draw_tool(colour: Sequence[int], skin: tuple[int, int, int], radius: float) -> Sprite:
    """A hand (disc) that holds a tool (a slanted bar towards the object)."""
    u, v = _grid(radius * 1.3, angle=0.7)
    bar = np.maximum(np.abs(u + 0.4 * radius) - 1.1 * radius, np.abs(v) - 0.24 * radius)
    fist = np.hypot(u - 0.75 * radius, v) - 0.55 * radius
    paint = np.where((fist < 0)[..., None], np.array(skin, np.float32), np.array(colour, np.float32))
    return paint.astype(np.float32), _alpha(np.minimum(bar, fist))


def draw_blob(radius: float, colour: tuple[int, int, int]) -> Sprite:
    """A plain disc."""
    u, v = _grid(radius)
    return np.broadcast_to(np.array(colour, np.float32), (*u.shape, 3)), _alpha(np.hypot(u, v) - radius)


def _grid(radius: float, angle: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    n = int(np.ceil(radius * 1.5))
    y, x = np.mgrid[-n : n + 1, -n : n + 1].astype(np.float32)
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


def _alpha(edge: np.ndarray) -> np.ndarray:
    """Signed distance in pixels -> soft coverage, (h, w, 3)."""
    return _rgb(np.clip(0.5 - edge, 0, 1).astype(np.float32)[..., None])


def _rgb(grey: np.ndarray) -> np.ndarray:
    """(h, w, 1) -> (h, w, 3), written out: broadcasting it over frames would take four times as long."""
    return np.repeat(grey, 3, axis=2)
