"""Heads of the generated animals, facing the viewer or turned a little to one side."""

import numpy as np

from trainer.make.synthetic.canvas import Part, ellipse, mark, smooth, tube, turned
from trainer.make.synthetic.coats import BLACK, PINK, WHITE, Coat
from trainer.make.synthetic.faces import DARK, Look, mirrored, muzzle, round_eyes

IRISES = ((0.55, 0.68, 0.25), (0.85, 0.72, 0.22), (0.80, 0.48, 0.12), (0.42, 0.66, 0.80), (0.38, 0.58, 0.35))


def cat_head(coat: Coat, look: Look, rng: np.random.Generator) -> list[Part]:
    """Pointed ears, almond eyes with slit pupils, small nose, whiskers."""
    spread, height = rng.uniform(0.95, 1.08), rng.uniform(0.9, 1.12)
    parts = _cat_ears(coat, look, spread, height)
    cheek = rng.uniform(0.94, 1.06)
    skull = [
        (0, -0.76),
        (0.46, -0.70),
        (0.82, -0.36),
        (0.98 * cheek, 0.10),
        (0.82 * cheek, 0.52),
        (0.42, 0.76),
        (0, 0.82),
    ]
    parts.append(Part(look.put(mirrored(skull)), coat.paint("head", look.tilt), shadow=0.5, ruffle=0.035))
    if look.away:
        return parts
    parts += _cat_markings(coat, look)
    parts += _cat_eyes(look, rng)
    parts += muzzle(coat, look, rng, y=0.36, nose=0.12)
    for side in (-1, 1):
        for rise in (-0.16, 0.0, 0.15):
            sweep = rng.uniform(0.95, 1.3)
            hair = [(side * 0.3, 0.44), (side * 0.75, 0.42 + rise * 0.7), (side * sweep, 0.46 + rise * 2)]
            whisker = tube(look.face(np.array(hair)), [0.018 * look.scale, 0.006 * look.scale], steps=4)
            parts.append(mark(whisker, (0.95, 0.95, 0.93), opacity=0.7))
    return parts


def _cat_ears(coat: Coat, look: Look, spread: float, height: float) -> list[Part]:
    parts = []
    for side in (-1, 1):
        # The ear on the side the head turns to is seen narrower.
        narrow = 1 - 0.25 * max(0.0, side * look.turn)
        outer = [
            (0.10, -0.55),
            (0.20, -0.78),
            (0.42, -1.08 * height),
            (0.66 * spread, -1.36 * height),
            (0.74 * spread, -1.42 * height),
            (0.80 * spread, -1.34 * height),
            (0.88 * spread, -0.95),
            (0.93, -0.55),
            (0.90, -0.10),
        ]
        inner = [
            (0.34, -0.68),
            (0.48, -0.98 * height),
            (0.70 * spread, -1.26 * height),
            (0.78 * spread, -0.95),
            (0.80, -0.50),
        ]
        flip = np.array([side * narrow, 1.0])
        parts.append(Part(look.put(smooth(outer, 3) * flip), coat.paint("ear", look.tilt), depth=0.4, ruffle=0.02))
        if not look.away:
            pink = np.array(PINK) * (0.75 if sum(coat.base) < 0.8 or coat.pattern == "points" else 1.0)
            parts.append(mark(look.put(smooth(inner, 3) * flip), tuple(pink), depth=0.7, opacity=0.8))
    return parts


def _cat_markings(coat: Coat, look: Look) -> list[Part]:
    parts = []
    if coat.pattern == "points":
        parts.append(mark(look.face(ellipse(0, 0.22, 0.62, 0.55)), coat.paint("mask"), opacity=0.75))
    if coat.pattern == "tabby":
        strokes = [
            [(0.0, -0.70), (0.0, -0.34)],
            [(0.22, -0.70), (0.17, -0.36)],
            [(0.46, -0.62), (0.36, -0.30)],
            [(0.66, 0.05), (0.95, 0.00)],
            [(0.62, 0.26), (0.92, 0.30)],
        ]
        for stroke in strokes:
            for side in (-1, 1) if stroke[0][0] else (1,):
                line = tube(np.array(stroke) * (side, 1), [0.055, 0.03], steps=3)
                parts.append(mark(look.face(line), coat.second, opacity=0.9 * coat.contrast))
    if "muzzle" in coat.white:
        blaze = smooth(
            [
                (0, -0.62),
                (0.12, -0.1),
                (0.42, 0.3),
                (0.5, 0.58),
                (0.2, 0.76),
                (-0.2, 0.76),
                (-0.5, 0.58),
                (-0.42, 0.3),
                (-0.12, -0.1),
            ]
        )
        parts.append(mark(look.face(blaze), WHITE, depth=0.2, opacity=0.92))
    return parts


def _cat_eyes(look: Look, rng: np.random.Generator) -> list[Part]:
    parts = []
    iris = IRISES[rng.integers(len(IRISES))]
    open_, pupil = rng.uniform(0.75, 1.1), rng.uniform(0.25, 0.75)
    for side in (-1, 1):
        if look.asleep:
            lid = tube(
                np.array([(0.20, -0.02), (0.40, 0.08), (0.62, -0.04)]) * (side, 1), [0.035, 0.045, 0.03], steps=4
            )
            parts.append(mark(look.face(lid), DARK, opacity=0.85))
            continue
        almond = ellipse(0, 0, 0.225, 0.18 * open_)
        almond[:, 1] -= 0.25 * almond[:, 0]  # outer corners sit higher
        place = np.array([0.42, -0.03])
        for points, colour, opacity in (
            (almond * 1.22, DARK, 0.85),
            (almond, iris, 1.0),
            (ellipse(0, 0, 0.17 * pupil, 0.17 * open_), DARK, 1.0),
            (ellipse(0.06 * side, -0.07, 0.045, 0.05), (1, 1, 1), 0.95),
        ):
            parts.append(
                mark(
                    look.face((points + place) * (side, 1)), colour, depth=0.3 if colour == iris else 0, opacity=opacity
                )
            )
    return parts


def dog_head(coat: Coat, look: Look, rng: np.random.Generator) -> list[Part]:
    """Hanging ears, round dark eyes, a long muzzle with a broad black nose, often the tongue out."""
    skull = [(0, -0.85), (0.5, -0.76), (0.78, -0.3), (0.72, 0.2), (0.5, 0.62), (0.42, 0.95), (0, 1.08)]
    parts = [Part(look.put(mirrored(skull)), coat.paint("head"), shadow=0.5, ruffle=0.03)]
    drop, dark = rng.uniform(0.5, 1.0), tuple(0.6 * c for c in coat.base)
    for side in (-1, 1):
        ear = [
            (0.38, -0.76),
            (0.74, -0.74),
            (1.02, -0.3),
            (1.12, 0.25 + 0.5 * drop),
            (0.92, 0.5 + 0.5 * drop),
            (0.74, 0.2 + 0.3 * drop),
            (0.66, -0.25),
        ]
        paint = coat.paint("ear") if coat.pattern == "patches" else dark
        parts.append(Part(look.put(smooth(np.array(ear) * (side, 1))), paint, shadow=0.4, ruffle=0.03))
    if look.away:
        return parts
    if rng.random() < 0.5:
        tongue = smooth([(-0.14, 0.85), (0.14, 0.85), (0.17, 1.2), (0, 1.36), (-0.17, 1.2)])
        parts.append(Part(look.face(tongue), (0.85, 0.42, 0.45), depth=0.4))
    pale = WHITE if "muzzle" in coat.white else tuple(0.8 * c + 0.15 for c in coat.base)
    snout = smooth(
        [(0, 0.05), (0.26, 0.18), (0.42, 0.55), (0.34, 0.92), (0, 1.03), (-0.34, 0.92), (-0.42, 0.55), (-0.26, 0.18)]
    )
    parts.append(mark(look.face(snout), pale, depth=0.7, shadow=0.3))
    parts.append(mark(look.face(ellipse(0, 0.48, 0.22, 0.15)), (0.07, 0.06, 0.06), depth=0.5))
    parts.append(mark(look.face(ellipse(-0.05, 0.42, 0.06, 0.03)), WHITE, opacity=0.5))
    mouth = [(-0.3, 0.80), (-0.1, 0.86), (0, 0.76), (0.1, 0.86), (0.3, 0.80)]
    parts.append(mark(look.face(tube(mouth, [0.03, 0.03, 0.03], 3)), DARK, opacity=0.7))
    return parts + round_eyes(look, 0.33, -0.12, 0.12, (0.20, 0.11, 0.06))


def rabbit_head(coat: Coat, look: Look, rng: np.random.Generator) -> list[Part]:
    """Two long ears, an egg-shaped face, dark eyes far apart."""
    parts = []
    for side in (-1, 1):
        lean, length = side * rng.uniform(0.05, 0.45), rng.uniform(1.1, 1.5)
        root = np.array([side * 0.36, -0.45])
        ear = turned(ellipse(0, -length, 0.3, length), lean) + root
        inner = turned(ellipse(0, -length, 0.16, length * 0.8), lean) + root
        parts.append(Part(look.put(ear), coat.paint("ear"), ruffle=0.02))
        parts.append(mark(look.put(inner), PINK, depth=0.5, opacity=0.75))
    skull = [(0, -0.85), (0.5, -0.68), (0.74, -0.1), (0.76, 0.4), (0.45, 0.78), (0, 0.86)]
    parts.append(Part(look.put(mirrored(skull)), coat.paint("head"), shadow=0.4, ruffle=0.03))
    if look.away:
        return parts
    parts += muzzle(coat, look, rng, y=0.30, nose=0.09)
    parts.append(
        mark(
            look.face(np.array([(-0.09, 0.56), (0.09, 0.56), (0.08, 0.74), (-0.08, 0.74)])),
            (0.97, 0.96, 0.92),
            depth=0.2,
        )
    )
    return parts + round_eyes(look, 0.48, -0.05, 0.14, DARK)


def bear_head(coat: Coat, look: Look, rng: np.random.Generator) -> list[Part]:
    """A teddy: round ears, round muzzle, button eyes, a seam down the middle."""
    parts = []
    for side in (-1, 1):
        parts.append(Part(look.put(ellipse(side * 0.78, -0.72, 0.42, 0.42)), coat.paint("ear"), ruffle=0.02))
        parts.append(mark(look.put(ellipse(side * 0.78, -0.70, 0.25, 0.25)), (0.80, 0.66, 0.50), depth=0.5))
    parts.append(Part(look.put(ellipse(0, 0, 1.0, 0.92)), coat.paint("head"), shadow=0.5, ruffle=0.025))
    parts.append(mark(look.face(tube([(0, -0.9), (0, 0.2)], [0.02, 0.02], 3)), DARK, opacity=0.4))
    parts.append(mark(look.face(ellipse(0, 0.36, 0.46, 0.38)), (0.86, 0.74, 0.58), depth=0.7))
    parts.append(mark(look.face(ellipse(0, 0.20, 0.17, 0.12)), BLACK, depth=0.4))
    parts.append(mark(look.face(tube([(-0.2, 0.5), (0, 0.42), (0.2, 0.5)], [0.025, 0.025], 3)), DARK, opacity=0.8))
    return parts + round_eyes(look, 0.40, -0.08, 0.11, DARK)
