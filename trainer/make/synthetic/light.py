"""Light and camera of the generated scenes: the shadow an object throws, and the photograph taken in the end."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from trainer.make.synthetic.canvas import SUPERSAMPLE, Canvas, Points


def cast_shadow(canvas: Canvas, outlines: Sequence[Points], strength: float) -> None:
    """Darken the ground under an object: its silhouette laid flat, away from the light, and the touch of its feet.

    `outlines`: its polygons in picture pixels. `strength` 0..1.
    """
    side = 64
    shrink = side * SUPERSAMPLE / canvas.side
    stencil = Image.new("L", (side, side))
    pen = ImageDraw.Draw(stencil)
    points = np.concatenate(outlines)
    ground, lean, flat = points[:, 1].max(), -0.55 * canvas.light[0], 0.3
    for outline in outlines:
        height = ground - outline[:, 1]
        laid = np.stack([outline[:, 0] + lean * height, ground - flat * height], axis=1) * shrink
        pen.polygon([tuple(p) for p in laid.tolist()], fill=150)
    x0, x1, y = points[:, 0].min() * shrink, points[:, 0].max() * shrink, ground * shrink
    pen.ellipse([x0, y - 0.06 * (x1 - x0) - 1, x1, y + 0.03 * (x1 - x0) + 1], fill=255)
    soft = stencil.filter(ImageFilter.GaussianBlur(1.6))
    reach = soft.getbbox()
    if reach is None:
        return
    top, bottom = (edge * canvas.side // side for edge in (reach[1], reach[3]))
    veil = soft.resize((canvas.side, bottom - top), Image.Resampling.BILINEAR, box=(0, reach[1], side, reach[3]))
    canvas.pixels[:, top:bottom] *= 1 - np.asarray(veil, dtype=np.float32) * np.float32(strength / 255)


def photograph(picture: np.ndarray, rng: np.random.Generator, light: np.ndarray) -> np.ndarray:
    """Light and camera: float [3, H, W] in [0, 1] to uint8 [H, W, 3] with cast, gamma, vignette, blur and noise."""
    _, height, width = picture.shape
    y, x = np.linspace(-1, 1, height, dtype=np.float32)[:, None], np.linspace(-1, 1, width, dtype=np.float32)[None]
    cast = rng.normal(1.0, 0.05, 3).clip(0.85, 1.15)
    gain = rng.uniform(0.82, 1.12) * (1 + rng.uniform(0, 0.3) * (light[0] * x + light[1] * y))
    gain *= 1 - rng.uniform(0, 0.35) * (x * x + y * y) / 2
    if rng.random() < 0.2:
        # Light through a window: a bright slanted band.
        gain *= 1 + 0.35 * (np.abs(x + rng.uniform(-0.5, 0.5) * y - rng.uniform(-0.6, 0.6)) < rng.uniform(0.15, 0.4))
    lit = (picture * gain * cast[:, None, None].astype(np.float32)).clip(0, 1) ** np.float32(rng.uniform(0.8, 1.2))
    lit = (lit - 0.5) * np.float32(rng.uniform(0.8, 1.1)) + 0.5
    lit += rng.standard_normal(lit.shape, dtype=np.float32) * np.float32(rng.uniform(0.003, 0.02))
    result = Image.fromarray((lit.clip(0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0))
    if rng.random() < 0.25:
        result = result.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 0.9)) * height / 256))
    return np.array(result)
