"""One generated scene: who is in it and where they stand."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from trainer import InputError
from trainer.data.layouts.labelme_shapes import Shape, draw_shapes
from trainer.data.value_map import BACKGROUND
from trainer.make.synthetic import animals, things
from trainer.make.synthetic.canvas import Canvas, Part
from trainer.make.synthetic.curves import Points, clipped, ellipse, turned
from trainer.make.synthetic.places import draw_place, photograph

MAKERS: dict[str, Callable[[np.random.Generator], list[Part]]] = {
    "cat": animals.cat,
    "dog": animals.dog,
    "rabbit": animals.rabbit,
    "ball": things.ball,
    "plant": things.plant,
    "cushion": things.cushion,
}

KINDS = tuple(MAKERS)
"""The kinds of object that `labelled` may name; all kinds left out of it are background."""

ANIMALS = ("cat", "dog", "rabbit")


@dataclass(frozen=True)
class Scene:
    """A generated image, uint8 RGB [H, W, 3], and its mask, class ids uint8 [H, W] in the order of `labelled`."""

    image: np.ndarray
    mask: np.ndarray
    shapes: tuple[Shape, ...]
    """Polygons that make the mask, later ones over earlier ones."""


class Placed:
    """An object in the image: `matrix` [2, 3] takes its coordinates to pixels; `low` and `high` (x, y) bound it."""

    def __init__(self, kind: str, parts: list[Part], matrix: np.ndarray) -> None:
        self.kind, self.parts, self.matrix = kind, parts, matrix
        points = np.concatenate([part.points for part in parts if part.outline]) @ matrix[:, :2].T + matrix[:, 2]
        self.low, self.high = points.min(axis=0), points.max(axis=0)


def draw_scene(seed: int, index: int, size: int = 256, labelled: Sequence[str] = ("cat",)) -> Scene:
    """Scene number `index` of data set `seed`, `size` pixels square; the same arguments give the same scene.

    `labelled`: the kinds of object that are classes. Raises InputError where one of them is unknown.
    """
    check_request(labelled, size)
    rng = np.random.default_rng([seed, index])
    angle = rng.uniform(np.pi * 1.15, np.pi * 1.85)
    canvas = Canvas(size, rng, (float(np.cos(angle)), float(np.sin(angle))))
    ids = {kind: number for number, kind in enumerate([BACKGROUND, *labelled])}
    mask, shapes = np.zeros((size, size), dtype=np.uint8), list[Shape]()
    for item in compose(rng, size, labelled, draw_place(canvas, rng)):
        label = item.kind if item.kind in labelled else BACKGROUND
        more = shapes + cut_to_frame(canvas.draw(item.parts, item.matrix), label, size)
        covered = draw_shapes(more, ids, (size, size))
        if (covered != mask).any():  # else it hides nobody, and a person would not draw it
            shapes, mask = more, covered
    return Scene(photograph(canvas.image(), rng, canvas.light), mask, tuple(shapes))


def cut_to_frame(outlines: Sequence[Points], label: str, size: int) -> list[Shape]:
    """Polygons cut to a square frame, as Labelme keeps them; those outside are left out."""
    cut = [clipped(points, size - 1.0) for points in outlines]
    return [Shape(label, "polygon", tuple(map(tuple, points.tolist()))) for points in cut if len(points) >= 3]


def check_request(labelled: Sequence[str], size: int) -> None:
    """Raises InputError where nothing could be drawn: an unknown or repeated kind, an image too small."""
    unknown = [kind for kind in labelled if kind not in KINDS]
    if unknown or isinstance(labelled, str):
        raise InputError(f"labelled: no kind of object called {unknown or labelled!r}; there are {', '.join(KINDS)}")
    if len(set(labelled)) < len(labelled):
        raise InputError(f"labelled: {', '.join(labelled)} names a kind twice")
    if size < 32:
        raise InputError(f"size: {size} pixels are too few to draw on; take at least 32")


def compose(rng: np.random.Generator, size: int, labelled: Sequence[str], horizon: float) -> list[Placed]:
    """Choose the objects of a scene and place them, back to front. 5 % of scenes hold no labelled object on purpose."""
    subjects: list[str] = []
    if labelled and rng.random() > 0.05:
        first = str(rng.choice(list(labelled)))
        subjects = [first, *(kind for kind in labelled if kind != first and rng.random() < 0.35)]
        subjects += ["cat"] if first == "cat" and rng.random() < 0.18 else []
    placed = [_place(kind, rng, size, horizon) for kind in subjects]
    # What is not in front on purpose stays behind, or a large dog would hide the cat.
    limit = min((item.high[1] for item in placed), default=2.0 * size) - 0.01 * size
    others = [kind for kind in KINDS if kind not in labelled]
    weights = np.array([0.5 if kind in ANIMALS else 1.0 for kind in others])
    crowd = rng.choice(others, rng.integers(1, 4), p=weights / weights.sum()).tolist() if others else []
    for kind in crowd:
        if subjects and rng.random() < 0.35:
            placed.append(_in_front(kind, placed[rng.integers(len(subjects))], rng, size))
        else:
            placed.append(_place(kind, rng, size, horizon, limit))
    return sorted(placed, key=lambda item: item.high[1])


def _place(kind: str, rng: np.random.Generator, size: int, horizon: float, limit: float | None = None) -> Placed:
    """An object on the floor, not nearer than `limit`; without one large, its upper end in the image."""
    span = rng.uniform(0.35, 0.6) if limit is None or rng.random() < 0.25 else rng.uniform(0.15, 0.4)
    span *= 1.65 if kind in ANIMALS else 1.0
    parts, x, ground = MAKERS[kind](rng), rng.uniform(0.18, 0.82), rng.uniform(max(horizon, 0.55), 1.12)
    if limit is not None:
        return _put(kind, parts, rng, span * size, x * size, min(ground * size, limit))
    if kind == "cat" and rng.random() < 0.13:  # so close that only head and shoulders are seen
        parts, span = animals.cat(rng, [animals.sitting]), rng.uniform(1.2, 1.7)
    item = _put(kind, parts, rng, span * size, x * size, ground * size)
    down = max(0.0, -0.06 * size - item.low[1])  # rather the face in the image than the feet
    return Placed(kind, item.parts, item.matrix + np.array([[0, 0, 0], [0, 0, down]]))


def _in_front(kind: str, behind: Placed, rng: np.random.Generator, size: int) -> Placed:
    """An object nearer to the camera that hides a part of `behind`."""
    wide, tall = behind.high - behind.low
    x = (behind.low[0] + behind.high[0]) / 2 + rng.choice([-1, 1]) * rng.uniform(0.25, 0.6) * wide
    ground = min(behind.high[1], size * 1.02) + rng.uniform(0.01, 0.08) * size
    return _put(kind, MAKERS[kind](rng), rng, np.sqrt(wide * tall) * rng.uniform(0.35, 0.65), x, ground)


def _put(kind: str, parts: list[Part], rng: np.random.Generator, span: float, x: float, ground: float) -> Placed:
    """An object about `span` pixels large, standing on (x, ground), mirrored, turned and stretched at random."""
    own = Placed(kind, parts, np.eye(2, 3))
    (wide, tall), middle = own.high - own.low, (own.low + own.high) / 2
    scale, angle, stretch = span / np.sqrt(wide * tall), rng.normal(0, 0.09), rng.uniform(0.93, 1.07)
    linear = scale * turned(np.diag([rng.choice([-1.0, 1.0]) * stretch, 1 / stretch]), angle).T
    matrix = np.column_stack([linear, (x, ground - 0.5 * tall * scale) - linear @ middle])
    spot = ellipse(middle[0], own.high[1] - 0.07 * wide, 0.55 * wide, 0.12 * wide)
    shadow = Part(spot, (0, 0, 0), outline=False, depth=0, shadow=0.5, opacity=0)
    return Placed(kind, [shadow, *parts], matrix)
