"""Growth with the number of images: time to the first step, with and without a cache, memory, steps, evaluation.

python -m tests.benchmarks.growth [--counts 1000,10000,100000] [--steps 200]

Draws small images with masks, all different, and runs trainer/train.py on them twice with a tiny network, without
tracking. Beside each figure stands its ratio to that of the fewest images.
"""

import argparse
import json
import platform
import shutil
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tests.support import runs
from tests.support.program import TINY, Program

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", default="1000,10000,100000")
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    found: dict[int, dict[str, float]] = {}
    for count in sorted(map(int, options.counts.split(","))):
        with tempfile.TemporaryDirectory() as scratch:
            began = time.time()
            draw(Path(scratch) / "data", count)
            print(f"{count} images drawn in {time.time() - began:.1f} s", flush=True)
            found[count] = measure(Path(scratch), count, options.steps)
    show(found)
    processor, threads = platform.processor() or platform.machine(), torch.get_num_threads()
    print(f"\n{processor}, {threads} threads, Python {platform.python_version()}, torch {torch.__version__}")


def measure(top: Path, count: int, steps: int) -> dict[str, float]:
    """Figures of a first and of a later start on the same images."""
    program = Program(top / "program")
    figures: dict[str, float] = {}
    arguments = [*TINY, "--data.root", str(top / "data"), "--tracking.enabled", "false", "--train.threads", "1"]
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
    return figures


def step_seconds(folder: Path) -> list[float]:
    """Seconds of each step but the first, by the journal."""
    rates = [rate for _, _, rate in runs.journal_points(folder)["train/images_per_second"]]
    return [int(TINY[TINY.index("--train.batch_size") + 1]) / rate for rate in rates[1:]]


ROWS = (
    *((f"first {part}", "s") for part in (*PARTS, "start")),
    *((f"later {part}", "s") for part in (*PARTS, "start")),
    *((name, "MB") for name in ("first peak", "later peak", "later resting")),
    *(("later step", "ms"), ("evaluation", "s"), ("evaluation peak", "MB")),
)
SCALES = {"s": 1.0, "ms": 1e3, "MB": 1e-6}


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


# ------------------------------------------------------------------------------------------------ images


def draw(root: Path, count: int) -> None:
    """Write a VOC folder of `count` images of 64x48 pixels and their masks."""
    for part in ("JPEGImages", "SegmentationClassPNG"):
        (root / part).mkdir(parents=True)
    with ProcessPoolExecutor() as pool:
        list(pool.map(draw_some, ((root, start, min(start + CHUNK, count)) for start in range(0, count, CHUNK))))


def draw_some(share: tuple[Path, int, int]) -> None:
    """Write the images of a range of numbers: two of a few hundred base images, blended, no pair twice."""
    root, start, stop = share
    bases = base_images()
    for number in range(start, stop):
        rest, first = divmod(number, len(bases))
        turn, second = divmod(rest, len(bases))
        image = bases[first] // 2 + np.roll(bases[second] // 2, 9 * turn + 3, axis=1)
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        top, left = number % 23, number % 31
        mask[top : top + 20, left : left + 25] = 1
        image[mask == 1] ^= 64
        Image.fromarray(image).save(root / "JPEGImages" / f"{number:07}.jpg", quality=90)
        Image.fromarray(mask).save(root / "SegmentationClassPNG" / f"{number:07}.png", compress_level=1)


@cache
def base_images(count: int = 350) -> np.ndarray:
    """Draw sums of waves, uint8 [N, 48, 64, 3]."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[0 : 1 : HEIGHT * 1j, 0 : 1 : WIDTH * 1j]
    waves = np.zeros((count, 3, HEIGHT, WIDTH), np.float32)
    for _ in range(4):
        y, x, phase = random.uniform(-14, 14, (3, count, 3, 1, 1))
        waves += np.sin(rows * y + columns * x + phase)
    return np.ascontiguousarray(((waves / 4 + 1) * 127.5).astype(np.uint8).transpose(0, 2, 3, 1))


if __name__ == "__main__":
    main()
