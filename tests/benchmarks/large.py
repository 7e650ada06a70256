"""Prediction of large images tile by tile: peak memory, and the rate against that of the bare network.

python -m tests.benchmarks.large [--megapixels 100] [--image_size 256] [--encoder efficientnet-lite2] [--flips]
    [--model FOLDER] [--only TEXT] [--every 8]

A JPEG, a TIFF of tiles and one of strips, of so many pixels each, a panorama of 8000x600, and images of 1x1 and 3x4000
go through predict.py, each in a process of its own. There the network also goes over every eighth batch of the same
tiles by itself, right before or after prediction does, whichever it is in turn, so that both meet the same machine.
Rate: the time that it takes alone for all tiles over that of the prediction, without the start and without these
batches; reading, blending and writing are what is lost.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from PIL import Image

from tests.benchmarks.measuring import markdown
from tests.support.program import REPOSITORY
from trainer import predict
from trainer.model.model_folder import save_segmenter
from trainer.model.segmenter import Contract, Segmenter


def texture(height: int, width: int) -> np.ndarray:
    """Image of patches and noise, uint8 [H, W, 3], made in bounded memory."""
    random = np.random.default_rng(0)
    tile = random.integers(60, 200, (min(height, 512), min(width, 512), 3), dtype=np.uint8)
    repeats = -(-height // tile.shape[0]), -(-width // tile.shape[1]), 1
    return np.tile(tile, repeats)[:height, :width]


def make_images(folder: Path, megapixels: float, only: str) -> dict[str, Path]:
    """Write the images whose names have the text `only`; name -> file."""
    side = round((megapixels * 1e6) ** 0.5)
    images: dict[str, Path] = {}
    options: dict[str, Any]
    for name, (height, width), suffix, options in (
        (f"{megapixels:g} megapixels, JPEG", (side, side), ".jpg", {"quality": 90}),
        (f"{megapixels:g} megapixels, TIFF of tiles", (side, side), ".tif", {"tile": (256, 256)}),
        (f"{megapixels:g} megapixels, TIFF of strips", (side, side), ".tif", {"rowsperstrip": 16}),
        ("panorama 8000x600", (600, 8000), ".jpg", {"quality": 90}),
        ("1x1", (1, 1), ".png", {}),
        ("3x4000", (4000, 3), ".png", {}),
    ):
        if only not in name:
            continue
        file = folder / f"{len(images)}{suffix}"
        if suffix == ".tif":
            tifffile.imwrite(file, texture(height, width), photometric="rgb", compression="zlib", **options)
        else:
            Image.fromarray(texture(height, width)).save(file, **options)
        images[name] = file
    return images


class InTurn:
    """The network of a prediction, which some batches of tiles also go through alone."""

    def __init__(self, logits: Callable[[Segmenter, torch.Tensor], torch.Tensor], every: int) -> None:
        self.logits, self.every = logits, every
        self.batches, self.tiles, self.timed_tiles, self.seconds, self.warm_up = 0, 0, 0, 0.0, 0.0

    def __call__(self, segmenter: Segmenter, tiles: torch.Tensor) -> torch.Tensor:
        if not self.batches:
            self.warm_up = self._time(segmenter, tiles)
        number, chosen = divmod(self.batches, self.every)
        self.batches, self.tiles = self.batches + 1, self.tiles + len(tiles)
        if chosen:
            return self.logits(segmenter, tiles)
        if number % 2:
            self._alone(segmenter, tiles)
        found = self.logits(segmenter, tiles)
        if not number % 2:
            self._alone(segmenter, tiles)
        return found

    def _alone(self, segmenter: Segmenter, tiles: torch.Tensor) -> None:
        self.seconds += self._time(segmenter, tiles)
        self.timed_tiles += len(tiles)

    def _time(self, segmenter: Segmenter, tiles: torch.Tensor) -> float:
        began = time.perf_counter()
        self.logits(segmenter, tiles)
        return time.perf_counter() - began


def predict_one(every: int, arguments: list[str]) -> None:
    """Predict by the command in this process, and print what the network alone took, as JSON."""
    turns = InTurn(Segmenter.logits, every)
    Segmenter.logits = lambda segmenter, tiles: turns(segmenter, tiles)  # type: ignore[method-assign, assignment]
    if status := predict.main(arguments):
        raise SystemExit(status)
    about = {"alone": turns.seconds / turns.timed_tiles * turns.tiles, "added": turns.seconds + turns.warm_up}
    print(json.dumps(about | {"tiles": turns.tiles, "timed": turns.timed_tiles}))


def run(model: Path, file: Path, output: Path, flips: bool, every: int) -> tuple[float, float, float]:
    """Predict one image; its seconds without the start, those of the bare network, and the peak memory in GiB."""
    command = [sys.executable, "-m", "tests.benchmarks.large", "--every", str(every), "--one", "--model", str(model)]
    command += ["--input", str(file), "--output", str(output)] + (["--tta", "flips"] if flips else [])
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    *_, last = process.stdout.read().splitlines()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"predict.py ended with {status}")
    (row,) = json.loads((output / "report.json").read_text())["files"]
    about = json.loads(last)
    peak_unit = 1024 if sys.platform != "darwin" else 1
    assert isinstance(usage, resource.struct_rusage)
    return row["seconds"] - about["added"], about["alone"], usage.ru_maxrss * peak_unit / 2**30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", type=float, default=100)
    parser.add_argument("--image_size", type=int, default=256)
    parser.add_argument("--encoder", default="efficientnet-lite2")
    parser.add_argument("--flips", action="store_true", help="with --tta flips")
    parser.add_argument("--model", type=Path, help="folder of a model with view tiles; by default random weights")
    parser.add_argument("--only", default="", help="images whose names have this text, such as JPEG")
    parser.add_argument("--every", type=int, default=8, help="batches from one that also goes alone to the next")
    parser.add_argument("--one", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        predict_one(options.every, options.one)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = options.model or folder / "model"
        if not options.model:
            names, colours = ("_background_", "thing"), ((0, 0, 0), (0, 128, 0))
            contract = Contract(names, colours, options.image_size, 16, encoder=options.encoder, view="tiles")
            save_segmenter(Segmenter(contract), model)
        rows = []
        for name, file in make_images(folder, options.megapixels, options.only).items():
            seconds, alone, peak = run(model, file, folder / "out", options.flips, options.every)
            rows.append([name, f"{seconds:.1f} s", f"{alone:.1f} s", f"{alone / seconds:.2f}", f"{peak:.2f} GiB"])
            print(rows[-1], flush=True)
        print(markdown(["image", "predict.py", "bare network", "rate", "peak memory"], rows))


if __name__ == "__main__":
    main()
