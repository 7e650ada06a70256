"""The generated animals: each a coat and a head on a body in one of its poses."""

import numpy as np

from trainer.make.synthetic.canvas import Part, ellipse, mark, smooth, tube
from trainer.make.synthetic.coats import WHITE, Coat, cat_coat, other_coat
from trainer.make.synthetic.faces import Look
from trainer.make.synthetic.heads import bear_head, cat_head, dog_head, rabbit_head
from trainer.make.synthetic.poses import (
    FUR,
    Beast,
    Pose,
    curled,
    loaf,
    portrait,
    sit_away,
    sit_front,
    sit_side,
    stand_side,
    stretched,
)


def cat(rng: np.random.Generator) -> list[Part]:
    """A cat in any pose but the portrait."""
    beast = Beast(
        cat_coat(rng),
        cat_head,
        rng.uniform(0.95, 1.12),
        rng.uniform(0.85, 1.1),
        rng.uniform(0.8, 1.05),
        rng.uniform(0.8, 1.3),
    )
    poses: list[Pose] = [sit_front, sit_away, sit_side, stand_side, loaf, curled, stretched]
    return poses[rng.choice(7, p=[0.23, 0.03, 0.2, 0.2, 0.14, 0.1, 0.1])](beast, rng)


def cat_portrait(rng: np.random.Generator) -> list[Part]:
    """A cat's face and shoulders."""
    return portrait(Beast(cat_coat(rng), cat_head, rng.uniform(1.0, 1.1)), rng)


def dog(rng: np.random.Generator) -> list[Part]:
    """A dog, sitting, standing or lying: longer and stouter legs than a cat, a shorter tail."""
    beast = Beast(
        other_coat(rng, "curls"),
        dog_head,
        rng.uniform(1.0, 1.15),
        rng.uniform(1.1, 1.3),
        rng.uniform(1.15, 1.35),
        rng.uniform(0.7, 1.0),
    )
    poses: list[Pose] = [sit_front, sit_side, stand_side, loaf]
    return poses[rng.choice(4, p=[0.35, 0.2, 0.3, 0.15])](beast, rng)


def rabbit(rng: np.random.Generator) -> list[Part]:
    """A rabbit crouching, seen from the side, or sitting up."""
    coat = other_coat(rng, "plush")
    if rng.random() < 0.4:
        return sit_front(Beast(coat, rabbit_head, 1.05, 0.9, 1.0, tail=0), rng)
    parts = [Part(ellipse(1.95, 0.75, 0.42, 0.38), WHITE, ruffle=0.06)]
    body = smooth([(-1.3, 0.2), (-0.9, -0.8), (0.3, -1.2), (1.5, -0.8), (2.0, 0.3), (1.7, 1.2), (0, 1.35), (-1.1, 1.1)])
    parts.append(Part(body, coat.paint("body"), ruffle=FUR))
    parts.append(Part(ellipse(1.1, 0.5, 0.8, 0.75), coat.paint("body"), shadow=0.3, ruffle=FUR))
    parts += [
        Part(ellipse(x, 1.28, w, 0.2), coat.paint("paw"), shadow=0.3, ruffle=FUR) for x, w in ((0.8, 0.7), (-0.9, 0.45))
    ]
    return parts + rabbit_head(coat, Look(-1.15, -0.5, 0.95, rng.uniform(-0.3, 0.2), rng.uniform(-0.8, 0.3)), rng)


def bear(rng: np.random.Generator) -> list[Part]:
    """A teddy bear sitting, legs apart, soles towards the viewer."""
    coat = Coat((0.62, 0.43, 0.25), (0.5, 0.3, 0.2), nap="plush") if rng.random() < 0.5 else other_coat(rng, "plush")
    parts = [Part(ellipse(0, 0.6, 1.15, 1.35), coat.paint("body"), ruffle=FUR)]
    parts.append(mark(ellipse(0, 0.75, 0.72, 0.9), (0.85, 0.73, 0.57), depth=0.5, opacity=0.8))
    for side in (-1, 1):
        drop = rng.uniform(0.2, 1.2)
        parts.append(
            Part(
                tube([(side * 0.85, -0.2), (side * 1.4, 0.2 + drop * 0.3), (side * 1.7, drop)], [0.34, 0.36, 0.34]),
                coat.paint("leg"),
                shadow=0.3,
                ruffle=FUR,
            )
        )
        parts.append(
            Part(
                tube([(side * 0.7, 1.5), (side * 1.35, 1.75)], [0.5, 0.52], 4),
                coat.paint("leg"),
                shadow=0.3,
                ruffle=FUR,
            )
        )
        parts.append(mark(ellipse(side * 1.5, 1.75, 0.36, 0.42), (0.80, 0.66, 0.50), depth=0.5))
    return parts + bear_head(
        coat, Look(0, -1.35, rng.uniform(0.95, 1.1), rng.uniform(-0.2, 0.2), rng.uniform(-0.3, 0.3)), rng
    )
