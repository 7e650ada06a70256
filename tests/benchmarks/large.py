"""Prediction of large images tile by tile: peak memory, and the rate against that of the bare network.

python -m tests.benchmarks.large [--megapixels 100] [--image_size 256] [--encoder efficientnet-lite2] [--flips]
    [--model FOLDER]

A JPEG and a tiled TIFF of so many pixels, a panorama of 8000x600, and images of 1x1 and 3x4000 go through the real
command, each by itself. The bare network goes over as many tiles of the same size in this process, in the same
batches, without reading, blending or writing anything. Rate: its time over that of the command, without the start.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tests.benchmarks.measuring import markdown
from tests.support.program import REPOSITORY
from trainer.model.model_folder import load_segmenter, save_segmenter
from trainer.model.segmenter import Contract, Segmenter
from trainer.model.tiles import TOGETHER, make_axis

TIMED_BATCHES = 6
"""Batches of tiles whose time is measured for the bare network; the others take as long."""


def texture(height: int, width: int) -> np.ndarray:
    """Image of patches and noise, uint8 [H, W, 3], made in bounded memory."""
    random = np.random.default_rng(0)
    tile = random.integers(60, 200, (min(height, 512), min(width, 512), 3), dtype=np.uint8)
    repeats = -(-height // tile.shape[0]), -(-width // tile.shape[1]), 1
    return np.tile(tile, repeats)[:height, :width]


def make_images(folder: Path, megapixels: float) -> dict[str, tuple[Path, tuple[int, int]]]:
    """Write the images; name -> file and (height, width)."""
    side = round((megapixels * 1e6) ** 0.5)
    images = {}
    for name, (height, width), suffix, options in (
        (f"{megapixels:g} megapixels, JPEG", (side, side), ".jpg", {"quality": 90}),
        (f"{megapixels:g} megapixels, tiled TIFF", (side, side), ".tif", {"compression": "tiff_deflate"}),
        ("panorama 8000x600", (600, 8000), ".jpg", {"quality": 90}),
        ("1x1", (1, 1), ".png", {}),
        ("3x4000", (4000, 3), ".png", {}),
    ):
        file = folder / f"{len(images)}{suffix}"
        Image.fromarray(texture(height, width)).save(file, **options)  # type: ignore[arg-type]
        images[name] = file, (height, width)
    return images


def bare_seconds(segmenter: Segmenter, size: tuple[int, int], flips: bool) -> float:
    """Seconds that the network alone takes for the tiles of an image of `size`."""
    contract = segmenter.contract
    down, along = (make_axis(length, contract.image_size, contract.stride) for length in size)
    batches = len(down.starts) * -(-len(along.starts) // TOGETHER)
    tiles = torch.zeros(min(TOGETHER, len(along.starts)), 3, down.side, along.side, dtype=torch.uint8)
    with torch.inference_mode():
        segmenter.logits(tiles)
        count = min(TIMED_BATCHES, batches)
        began = time.perf_counter()
        for _ in range(count):
            segmenter.logits(tiles)
    return (time.perf_counter() - began) / count * batches * (2 if flips else 1)


def run(model: Path, file: Path, output: Path, flips: bool) -> tuple[float, float]:
    """Predict one image by the command; its seconds without the start, and the peak of its memory in GiB."""
    command = [sys.executable, "trainer/predict.py", "--model", model, "--input", file, "--output", output]
    command += ["--tta", "flips"] if flips else []
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"predict.py ended with {status}")
    (row,) = json.loads((output / "report.json").read_text())["files"]
    peak_unit = 1024 if sys.platform != "darwin" else 1
    assert isinstance(usage, resource.struct_rusage)
    return row["seconds"], usage.ru_maxrss * peak_unit / 2**30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", type=float, default=100)
    parser.add_argument("--image_size", type=int, default=256)
    parser.add_argument("--encoder", default="efficientnet-lite2")
    parser.add_argument("--flips", action="store_true", help="with --tta flips")
    parser.add_argument("--model", type=Path, help="folder of a model with view tiles; by default random weights")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = options.model or folder / "model"
        if not options.model:
            names, colours = ("_background_", "thing"), ((0, 0, 0), (0, 128, 0))
            contract = Contract(names, colours, options.image_size, 16, encoder=options.encoder, view="tiles")
            save_segmenter(Segmenter(contract), model)
        segmenter = load_segmenter(model)
        rows = []
        for name, (file, size) in make_images(folder, options.megapixels).items():
            bare = bare_seconds(segmenter, size, options.flips)
            seconds, peak = run(model, file, folder / "out", options.flips)
            rows.append([name, f"{seconds:.1f} s", f"{bare:.1f} s", f"{bare / seconds:.2f}", f"{peak:.2f} GiB"])
            print(rows[-1], flush=True)
        print(markdown(["image", "predict.py", "bare network", "rate", "peak memory"], rows))


if __name__ == "__main__":
    main()
