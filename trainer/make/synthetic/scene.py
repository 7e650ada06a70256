"""One generated scene: who is in it and where they stand."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from trainer import InputError
from trainer.make.synthetic import animals, things
from trainer.make.synthetic.canvas import Canvas, Part, Points
from trainer.make.synthetic.light import cast_shadow, photograph
from trainer.make.synthetic.places import draw_place
from trainer.make.synthetic.shapes import BACKGROUND, Scene, Shape, cut_to_frame, without_hidden

MAKERS: dict[str, Callable[[np.random.Generator], list[Part]]] = {
    "cat": animals.cat,
    "dog": animals.dog,
    "rabbit": animals.rabbit,
    "bear": animals.bear,
    "ball": things.ball,
    "plant": things.plant,
    "vase": things.vase,
    "cushion": things.cushion,
    "box": things.box,
    "basket": things.basket,
    "lamp": things.lamp,
    "rug": things.rug,
    "shrub": things.shrub,
    "fence": things.bars,
}
"""Every kind of object, by the name that a class of it has."""

KINDS = tuple(MAKERS)
"""The kinds of object that `labelled` may name; all kinds left out of it are background."""

ANIMALS = ("cat", "dog", "rabbit", "bear")


@dataclass(frozen=True)
class Placed:
    """An object on its way into the picture: `matrix` [2, 3] takes its coordinates to pixels."""

    kind: str
    parts: list[Part]
    matrix: np.ndarray

    def silhouette(self) -> list[Points]:
        """The polygons of its outline, in pixels."""
        return [part.points @ self.matrix[:, :2].T + self.matrix[:, 2] for part in self.parts if part.outline]

    @property
    def ground(self) -> float:
        """The y of its lowest point: nearer objects stand lower and hide the others."""
        return float(max(points[:, 1].max() for points in self.silhouette()))


def draw_scene(seed: int, index: int, size: int = 256, labelled: Sequence[str] = ("cat",)) -> Scene:
    """Scene number `index` of data set `seed`, `size` pixels square; the same arguments give the same scene.

    `labelled`: the kinds of object that are classes. Raises InputError where one of them is unknown.
    """
    check_request(labelled, size)
    rng = np.random.default_rng([seed, index])
    angle = rng.uniform(np.pi * 1.15, np.pi * 1.85)
    canvas = Canvas(size, rng, (float(np.cos(angle)), float(np.sin(angle))))
    horizon = draw_place(canvas, rng)
    shade = float(rng.uniform(0.2, 0.6))
    shapes: list[Shape] = []
    for item in compose(rng, size, labelled, horizon):
        cast_shadow(canvas, item.silhouette(), shade)
        label = item.kind if item.kind in labelled else BACKGROUND
        shapes += cut_to_frame(canvas.draw(item.parts, item.matrix), label, size)
    return Scene(photograph(canvas.picture(), rng, canvas.light), without_hidden(shapes, size))


def check_request(labelled: Sequence[str], size: int) -> None:
    """Raises InputError where nothing could be drawn: an unknown or repeated kind, a picture too small."""
    unknown = [kind for kind in labelled if kind not in KINDS]
    if unknown or isinstance(labelled, str):
        raise InputError(f"labelled: no kind of object called {unknown or labelled!r}; there are {', '.join(KINDS)}")
    if len(set(labelled)) < len(labelled):
        raise InputError(f"labelled: {', '.join(labelled)} names a kind twice")
    if size < 32:
        raise InputError(f"size: {size} pixels are too few to draw on; take at least 32")


def compose(rng: np.random.Generator, size: int, labelled: Sequence[str], horizon: float) -> list[Placed]:
    """Choose the objects of a scene and place them, back to front. 5 % of scenes hold no labelled object on purpose."""
    subjects = _subjects(rng, labelled)
    others = [kind for kind in MAKERS if kind not in labelled]
    weights = np.array([1.2 if kind in ANIMALS or kind == "cushion" else 1.0 for kind in others])
    count = int(rng.integers(1, 4)) if others else 0
    crowd = [str(kind) for kind in rng.choice(others, count, p=weights / weights.sum())] if count else []
    placed = [_place(kind, rng, size, horizon, large=True) for kind in subjects]
    # What is not in front on purpose stays behind, or a large dog would hide the cat.
    limit = min((item.ground / size for item in placed), default=2.0) - 0.01
    for kind in crowd:
        if subjects and rng.random() < 0.4:
            placed.append(_in_front(kind, placed[rng.integers(len(subjects))], rng, size))
        else:
            placed.append(_place(kind, rng, size, horizon, large=rng.random() < 0.25, limit=limit))
    return sorted(placed, key=lambda item: item.ground)


def _subjects(rng: np.random.Generator, labelled: Sequence[str]) -> list[str]:
    if rng.random() < 0.05 or not labelled:
        return []
    first = str(rng.choice(list(labelled)))
    more = [kind for kind in labelled if kind != first and rng.random() < 0.35]
    if first == "cat" and rng.random() < 0.18:
        more.append("cat")
    return [first, *more]


def _place(kind: str, rng: np.random.Generator, size: int, horizon: float, large: bool, limit: float = 2.0) -> Placed:
    portrait = kind == "cat" and large and rng.random() < 0.13
    parts = animals.cat_portrait(rng) if portrait else MAKERS[kind](rng)
    low, high = _box([part.points for part in parts if part.outline])
    wide, tall = high - low
    if portrait:
        span, ground = rng.uniform(0.75, 1.35), rng.uniform(1.15, 1.5)
    elif kind in ANIMALS:
        span = rng.uniform(0.5, 1.0) if large else rng.uniform(0.25, 0.55)
        ground = rng.uniform(max(horizon + 0.05, 0.62), 1.12)
    else:
        span = rng.uniform(0.3, 0.6) if large else rng.uniform(0.15, 0.45)
        ground = rng.uniform(max(horizon, 0.5), 1.1)
    scale = span * size / float(np.sqrt(wide * tall))
    if rng.random() < 0.9:
        ground = max(ground, tall * scale / size - 0.08)  # the face in the picture rather than the feet
    ground = min(ground, limit - rng.uniform(0, 0.1)) if limit < 2 else ground
    centre = (rng.uniform(0.18, 0.82) * size, ground * size - 0.5 * tall * scale)
    return Placed(kind, parts, _matrix(rng, (low + high) / 2, centre, scale))


def _in_front(kind: str, behind: Placed, rng: np.random.Generator, size: int) -> Placed:
    """An object nearer to the camera that hides a part of `behind`."""
    parts = MAKERS[kind](rng)
    low, high = _box([part.points for part in parts if part.outline])
    hidden_low, hidden_high = _box(behind.silhouette())
    span = float(np.sqrt(np.prod(hidden_high - hidden_low))) * rng.uniform(0.35, 0.65)
    scale = span / float(np.sqrt(np.prod(high - low)))
    side = rng.choice([-1, 1]) * rng.uniform(0.25, 0.6)
    x = (hidden_low[0] + hidden_high[0]) / 2 + side * (hidden_high[0] - hidden_low[0])
    bottom = min(hidden_high[1], size * 1.02) + rng.uniform(0.01, 0.08) * size
    return Placed(kind, parts, _matrix(rng, (low + high) / 2, (x, bottom - 0.5 * (high[1] - low[1]) * scale), scale))


def _matrix(rng: np.random.Generator, middle: Points, centre: tuple[float, float], scale: float) -> np.ndarray:
    """Mirror half of them, turn a little, stretch a little, and move `middle` to `centre`."""
    angle, mirror, stretch = rng.normal(0, 0.09), rng.choice([-1.0, 1.0]), rng.uniform(0.93, 1.07)
    cos, sin = np.cos(angle), np.sin(angle)
    linear = scale * np.array([[cos, -sin], [sin, cos]]) @ np.diag([mirror * stretch, 1 / stretch])
    return np.column_stack([linear, np.asarray(centre) - linear @ middle])


def _box(outlines: list[Points]) -> tuple[Points, Points]:
    points = np.concatenate(outlines)
    return points.min(axis=0), points.max(axis=0)
