"""Folders of images of several bands, in one of which alone an object can be seen."""

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image


def band_folder(root: Path, count: int = 12, bands: int = 6, side: int = 32, seen_in: int = 4, **options: Any) -> Path:
    """Make images/ with TIFFs of 12 bits in 16, and masks/. The object, an ellipse, is bright in band `seen_in`.

    In all others, and around it, there are waves and noise.
    """
    random = np.random.default_rng(11)
    form = {"photometric": "minisblack", "planarconfig": "contig", "metadata": None} | options
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True, exist_ok=True)
    rows, columns = np.mgrid[:side, :side]
    for number in range(count):
        centre, radius = random.uniform(0.3, 0.7, 2) * side, random.uniform(0.15, 0.25, 2) * side
        mask = ((rows - centre[0]) / radius[0]) ** 2 + ((columns - centre[1]) / radius[1]) ** 2 < 1
        waves = 300 * np.sin(columns / 9 + random.uniform(0, 6))[..., None] * random.uniform(0.3, 1, bands)
        levels = random.normal(800, 120, (side, side, bands)) + waves
        if seen_in < bands:
            levels[..., seen_in] += 900 * mask
        stored = np.clip(levels, 0, 4095).astype(np.uint16)
        tifffile.imwrite(root / "images" / f"s{number:03}.tif", stored, **form)
        Image.fromarray(mask.astype(np.uint8)).save(root / "masks" / f"s{number:03}.png")
    return root
