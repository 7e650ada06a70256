"""Growth with the number of images: time to the first step, with and without a cache, memory, steps, evaluation.

python -m tests.benchmarks.growth [--counts 1000,10000,100000] [--steps 200]
python -m tests.benchmarks.growth --counts 10000 --picture 500x375 --image_size 128 --against ../older --rounds 3

Draws small images, or pictures of another size, with masks, all different, and runs trainer/train.py on them twice with
a tiny network, without tracking. Beside each figure stands its ratio to that of the fewest images. `--against` measures
another checkout of the program in turn with this one, on the same images: figures are medians over the rounds, and the
ratio is this one's to the other's.
"""

import argparse
import json
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tests.support import runs
from tests.support.program import REPOSITORY, TINY, Program

# Prints seconds within the parts of the start, and memory; ends after some steps.
MEASURED = """
import json, os, signal, sys, time
from functools import wraps
parts, memory, steps = {}, {}, int(sys.argv.pop(1))

def status(key):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key + ":"))

def new_peak():
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")

def timed(module, name, part, inside=()):
    work = getattr(module, name)
    @wraps(work)
    def wrapped(*arguments, **named):
        began, before = time.perf_counter(), sum(parts.get(other, 0) for other in inside)
        try:
            return work(*arguments, **named)
        finally:
            own = time.perf_counter() - began - (sum(parts.get(other, 0) for other in inside) - before)
            parts[part] = parts.get(part, 0) + own
    setattr(module, name, wrapped)

# Each module is changed before another one takes the name from it.
from trainer.data import file_index; timed(file_index, "digests_of", "hashing")
from trainer.data.checks import duplicates; timed(duplicates, "cached_near_pairs", "near")
from trainer.data import sources; timed(sources, "find_sources", "finding")
from trainer.data.checks import report; timed(report, "make_report", "report", ["near"])
from trainer.data import cache; timed(cache, "_build", "decoding")
from trainer.engine import evaluate
score = evaluate.evaluate

def scored(*arguments, **named):
    if "start" not in memory:
        memory["start"], memory["resting"] = status("VmHWM"), status("VmRSS")
        parts["start"] = time.time()
        new_peak()
    began = time.time()
    try:
        return score(*arguments, **named)
    finally:
        if "evaluation" not in memory:
            memory["evaluation"], parts["evaluation"] = status("VmHWM"), time.time() - began

evaluate.evaluate = scored
from trainer.engine.reporter import Reporter
real = Reporter.on_step

def on_step(self, step, values):
    real(self, step, values)
    if step == steps:
        os.kill(os.getpid(), signal.SIGTERM)

Reporter.on_step = on_step
from trainer.train import main
code = main(sys.argv[1:])
print("MEASURED", json.dumps(parts | {"memory": memory}))
sys.exit(code)
"""
PARTS = ("finding", "hashing", "decoding", "near", "report")
STOPPED = 143
HEIGHT, WIDTH = 48, 64
CHUNK = 1000
BASE_PIXELS = 350 * HEIGHT * WIDTH
GRAIN = 12
"""Levels of noise in pictures of another size than the small ones: without it their files were far too small."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", default="1000,10000,100000")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--picture", default=f"{WIDTH}x{HEIGHT}", help="width x height of the images")
    parser.add_argument("--image_size", type=int, default=32, help="side in pixels that the network sees")
    parser.add_argument("--against", type=Path, help="folder of another checkout")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    width, height = map(int, options.picture.split("x"))
    sources = [REPOSITORY] if options.against is None else [REPOSITORY, options.against.resolve()]
    found: dict[int, list[dict[str, float]]] = {}
    for count in sorted(map(int, options.counts.split(","))):
        with tempfile.TemporaryDirectory() as scratch:
            began = time.time()
            file_bytes = draw(Path(scratch) / "data", count, (height, width))
            drawn = f"{count} images of {width}x{height}, {file_bytes / count / 1000:.0f} kB each"
            print(f"{drawn}, drawn in {time.time() - began:.1f} s", flush=True)
            found[count] = measure_in_turn(Path(scratch), sources, options.rounds, count, options)
    show({count: figures[0] for count, figures in found.items()})
    if options.against is not None:
        compare(found, options.against)
    processor, threads = platform.processor() or platform.machine(), torch.get_num_threads()
    print(f"\n{processor}, {threads} threads, Python {platform.python_version()}, torch {torch.__version__}")


def measure_in_turn(
    top: Path, sources: Sequence[Path], rounds: int, count: int, options: argparse.Namespace
) -> list[dict[str, float]]:
    """Median figures of each checkout, measured in turn on the same images."""
    found: list[list[dict[str, float]]] = [[] for _ in sources]
    for number in range(rounds):
        for place, source in enumerate(sources):
            program = Program(top / f"program-{number}-{place}", source)
            figures = measure(program, top / "data", count, options.steps, options.image_size)
            shutil.rmtree(program.folder)
            found[place].append(figures)
            starts = f"first start {figures['first start']:.1f} s, later start {figures['later start']:.1f} s"
            print(f"round {number + 1}, {source}: {starts}", flush=True)
    return [{key: statistics.median(one[key] for one in some) for key in some[0]} for some in found]


def measure(program: Program, data: Path, count: int, steps: int, image_size: int) -> dict[str, float]:
    """Figures of a first and of a later start on the same images."""
    figures: dict[str, float] = {}
    arguments = [
        *TINY,
        "--data.image_size",
        f"{image_size}",
        "--data.root",
        str(data),
        "--tracking.enabled",
        "false",
        "--train.threads",
        "1",
    ]
    arguments += ["--train.epochs", f"{2 * steps}", "--train.eval_every", f"{2 * steps}"]
    for start in ("first", "later"):
        began = time.time()
        words = [sys.executable, "-c", MEASURED, str(steps), *arguments]
        ended = program.run(*words, timeout_s=3600, code=STOPPED)
        line = next(line for line in ended.stdout.splitlines() if line.startswith("MEASURED"))
        parts = json.loads(line.removeprefix("MEASURED"))
        seconds = step_seconds(program.run_folders()[-1])
        figures |= {f"{start} {part}": parts.get(part, 0.0) for part in PARTS}
        figures |= {f"{start} start": parts["start"] - began, f"{start} step": statistics.median(seconds)}
        figures |= {f"{start} peak": parts["memory"]["start"], f"{start} resting": parts["memory"]["resting"]}
        figures |= {"evaluation": parts["evaluation"], "evaluation peak": parts["memory"]["evaluation"]}
        shutil.rmtree(program.folder / "mlruns" / "work")
    reading = figures["first hashing"] + figures["first decoding"]
    return figures | {"first reading": count / reading}


def step_seconds(folder: Path) -> list[float]:
    """Seconds of each step but the first, by the journal."""
    rates = [rate for _, _, rate in runs.journal_points(folder)["train/images_per_second"]]
    return [int(TINY[TINY.index("--train.batch_size") + 1]) / rate for rate in rates[1:]]


ROWS = (
    *((f"first {part}", "s") for part in (*PARTS, "start")),
    ("first reading", "images/s"),
    *((f"later {part}", "s") for part in (*PARTS, "start")),
    *((name, "MB") for name in ("first peak", "later peak", "later resting")),
    *(("later step", "ms"), ("evaluation", "s"), ("evaluation peak", "MB")),
)
SCALES = {"s": 1.0, "images/s": 1.0, "ms": 1e3, "MB": 1e-6}


def show(found: dict[int, dict[str, float]]) -> None:
    least = min(found)
    print(f"\n{'images':22}" + "".join(f"{count:>12,}{'ratio':>8}" for count in found))
    for key, unit in ROWS:
        cells = [
            (figures[key] * SCALES[unit], figures[key] / (found[least][key] or np.nan)) for figures in found.values()
        ]
        print(f"{key + ', ' + unit:22}" + "".join(f"{value:12.2f}{ratio:8.2f}" for value, ratio in cells))
    for key in ("first peak", "later peak", "later resting", "evaluation peak"):
        grown = [(found[count][key] - found[least][key]) / (count - least) for count in found if count > least]
        print(f"{key + ', B each':22}" + " " * 20 + "".join(f"{value:12.0f}{'':8}" for value in grown))
    print("start: from the command to the evaluation before the first step, where memory is resting; peak: until then")


def compare(found: dict[int, list[dict[str, float]]], other: Path) -> None:
    """Print the figures of this checkout beside those of the other one, with their ratio."""
    for count, (ours, theirs) in found.items():
        print(f"\n{f'{count:,} images':22}{'here':>12}{other.name[:11]:>12}{'ratio':>8}")
        for key, unit in ROWS:
            values = ours[key] * SCALES[unit], theirs[key] * SCALES[unit]
            ratio = values[0] / (values[1] or np.nan)
            print(f"{key + ', ' + unit:22}{values[0]:12.2f}{values[1]:12.2f}{ratio:8.2f}")


# ------------------------------------------------------------------------------------------------ images


def draw(root: Path, count: int, size: tuple[int, int]) -> int:
    """Write a VOC folder of `count` images of `size`, H and W, and their masks; return the bytes of the images."""
    for part in ("JPEGImages", "SegmentationClassPNG"):
        (root / part).mkdir(parents=True)
    with ProcessPoolExecutor() as pool:
        shares = ((root, start, min(start + CHUNK, count), size) for start in range(0, count, CHUNK))
        return sum(pool.map(draw_some, shares))


def draw_some(share: tuple[Path, int, int, tuple[int, int]]) -> int:
    """Write the images of a range of numbers: two of some base images, blended, no pair twice; return their bytes."""
    root, start, stop, (height, width) = share
    bases = base_images(height, width)
    scale, total = height // HEIGHT, 0
    for number in range(start, stop):
        rest, first = divmod(number, len(bases))
        turn, second = divmod(rest, len(bases))
        image = bases[first] // 2 + np.roll(bases[second] // 2, 9 * turn + 3, axis=1)
        mask = np.zeros((height, width), np.uint8)
        top, left = number % 23 * scale, number % 31 * scale
        mask[top : top + 20 * scale, left : left + 25 * scale] = 1
        image[mask == 1] ^= 64
        file = root / "JPEGImages" / f"{number:07}.jpg"
        Image.fromarray(image).save(file, quality=90)
        total += file.stat().st_size
        Image.fromarray(mask).save(root / "SegmentationClassPNG" / f"{number:07}.png", compress_level=1)
    return total


@cache
def base_images(height: int, width: int) -> np.ndarray:
    """Draw sums of waves, uint8 [N, H, W, 3], with grain where they are no small images."""
    random = np.random.default_rng(0)
    count = max(24, BASE_PIXELS // (height * width))
    rows, columns = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    waves = np.zeros((count, 3, height, width), np.float32)
    for _ in range(4):
        y, x, phase = random.uniform(-14, 14, (3, count, 3, 1, 1))
        waves += np.sin(rows * y + columns * x + phase)
    levels = (waves / 4 + 1) * 127.5
    if (height, width) != (HEIGHT, WIDTH):
        levels = (levels + random.integers(-GRAIN, GRAIN + 1, levels.shape)).clip(0, 255)
    return np.ascontiguousarray(levels.astype(np.uint8).transpose(0, 2, 3, 1))


if __name__ == "__main__":
    main()
