"""Training and prediction beside other processes, over what they take alone.

python -m tests.benchmarks.contention [--rounds 3] [--neighbours 1,2] [--steps 25] [--width 16] [--image_size 128]

The real commands, as processes of their own on generated cats, take turns: alone, and beside so many processes that do
nothing but compute. A training is seen through its journal and ended after some steps; each figure is the median over
rounds of the median of `steps` steps. `auto` is the default, and `all` is train.threads 0, all usable CPUs.

    beside     the neighbours are there from the start
    joined     they come while the training runs; steps from the next evaluation on
    cost       what choosing the number takes alone, over a training of the default length, and over the shortest one
               for which anything is measured
    predict    seconds for the pictures beyond the first eighth
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks import predict
from tests.benchmarks.measuring import machine, markdown
from tests.support import runs
from tests.support.program import Command, Program, reached
from trainer.drawing.palette import palette
from trainer.engine.auto import PRETRAINED_STEPS as STEPS
from trainer.engine.threads import FEWEST_STEPS
from trainer.model.model_folder import save_segmenter
from trainer.model.segmenter import Contract, Segmenter
from trainer.system.cpus import usable_cpus
from trainer.system.launcher import THREADS_VARIABLE

BUSY = "while True: pass"
BATCH, WARM_UP = 8, 5
"""Pictures in a step, and steps at the start that are left out."""

EVALUATION = 50
"""Steps between evaluations."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--neighbours", default="1,2", help="numbers of busy processes (1,2)")
    parser.add_argument("--steps", type=int, default=25, help="that are timed, at most 40 (25)")
    parser.add_argument("--width", type=int, default=16, help="of the network (16)")
    parser.add_argument("--image_size", type=int, default=128, help="side in pixels (128)")
    parser.add_argument("--pictures", type=int, default=64, help="to predict, of 1024x768 (64); 0 for training alone")
    options = parser.parse_args()
    os.environ.pop(THREADS_VARIABLE, None)  # a number given would be kept
    torch.set_num_threads(usable_cpus())
    counts = [int(count) for count in options.neighbours.split(",")]
    print({**machine("cpu"), "usable CPUs": usable_cpus(), "load": os.getloadavg()}, flush=True)
    found: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as scratch:
        top = Path(scratch)
        program = Program(top / "program")
        for number in range(1, options.rounds + 1):
            for setting in ("auto", "0"):
                name = "auto" if setting == "auto" else "all"
                for count in (0, *counts):
                    row = f"{name}, beside {count}" if count else f"{name}, alone"
                    found[row].append(train(program, options, setting, count, found))
                    print(f"round {number}: {row} {1000 * found[row][-1]:.0f} ms", flush=True)
            for count in counts:
                row = f"auto, joined by {count}"
                found[row].append(joined(program, options, count))
                print(f"round {number}: {row} {1000 * found[row][-1]:.0f} ms", flush=True)
        show("a step", found, "auto, alone", "all, alone")
        print_cost(found)
        if options.pictures:
            show("predict", prediction(top, program, options, counts), "alone")


def show(what: str, found: dict[str, list[float]], *alone: str) -> None:
    """Print a table of the medians and their ratios to the time alone, of the same setting."""
    rows = []
    for row, times in found.items():
        if row.startswith("cost"):
            continue
        base = next((one for one in alone if one.split(",")[0] == row.split(",")[0]), alone[0])
        middle, reference = statistics.median(times), statistics.median(found[base])
        spread = f"{1000 * min(times):.0f} to {1000 * max(times):.0f}"
        rows.append([row, f"{1000 * middle:.0f}", spread, f"{len(times)}", f"{middle / reference:.2f}"])
    print(markdown([what, "ms", "from to", "n", "over alone"], rows), flush=True)


def print_cost(found: dict[str, list[float]]) -> None:
    """Print what choosing the number takes alone."""
    step_s, costs = statistics.median(found["auto, alone"]), found["cost"]
    if costs:
        cost_s = statistics.median(costs)
        shares = ", ".join(f"{cost_s / (steps * step_s):.2%} of {steps} steps" for steps in (STEPS, FEWEST_STEPS))
        print(f"choosing the number takes {cost_s:.2f} s alone: {shares} (n {len(costs)})", flush=True)


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """Processes that compute all the time."""
    busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for one in busy:
            one.kill()
            one.wait()


def start(program: Program, options: argparse.Namespace, threads: str) -> Command:
    """Start a training of the default length whose images are all of one size."""
    settings: dict[str, Any] = {
        "data.generated_images": 50,  # 40 train: 5 steps an epoch
        "data.image_size": options.image_size,
        "model.width": options.width,
        "train.batch_size": BATCH,
        "train.progressive": "false",
        "train.threads": threads,
        "train.eval_every": EVALUATION // 5,
        "tracking.enabled": "false",
        "tracking.watch": 0,
    }
    words = [word for key, value in settings.items() for word in (f"--{key}", f"{value}")]
    return program.start(sys.executable, "trainer/train.py", *words)


def step_seconds(folder: Path) -> list[float]:
    """Seconds of each step that a journal has."""
    metrics = [record["metrics"] for record in runs.records(folder) if "train/loss" in record.get("metrics", {})]
    return [BATCH / one["train/images_per_second"] for one in metrics]


def train(
    program: Program, options: argparse.Namespace, threads: str, count: int, found: dict[str, list[float]]
) -> float:
    """Median seconds of a step beside `count` processes; without any, what the choice took goes to `found`."""
    with neighbours(count), start(program, options, threads) as command:
        last = WARM_UP + options.steps
        folder = command.wait_for(lambda: reached_now(program, command, last), f"step {last}", 600)
        command.kill()
    if count == 0 and threads == "auto":
        before = 0
        for record in runs.records(folder):
            if "train.threads" in record.get("tags", {}):
                found["cost"].append((record["time"] - before) / 1000)
            before = record["time"]
    return statistics.median(step_seconds(folder)[WARM_UP:last])


def joined(program: Program, options: argparse.Namespace, count: int) -> float:
    """Median seconds of a step after the evaluation that follows the arrival of `count` processes."""
    with start(program, options, "auto") as command:
        command.wait_for(lambda: reached_now(program, command, EVALUATION // 2), "a step")
        with neighbours(count):
            last = EVALUATION + options.steps
            folder = command.wait_for(lambda: reached_now(program, command, last), f"step {last}", 600)
            command.kill()
    return statistics.median(step_seconds(folder)[EVALUATION:last])


def reached_now(program: Program, command: Command, step: int) -> Path | None:
    """Run folder of this very command, once it has taken `step`."""
    folder = reached(program, step)()
    return folder if folder and runs.status(folder).get("pid") == command.pid else None


def prediction(top: Path, program: Program, options: argparse.Namespace, counts: list[int]) -> dict[str, list[float]]:
    """Seconds of predict.py for the pictures beyond the first eighth, alone and beside others."""
    images = predict.make_images(top / "images", options.pictures)
    colours = tuple((int(r), int(g), int(b)) for r, g, b in palette()[:2])
    torch.manual_seed(0)
    save_segmenter(Segmenter(Contract(("_background_", "cat"), colours, 256, options.width)), top / "model")
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(options.rounds):
        for count in (0, *counts):
            with neighbours(count):
                time.sleep(0.5)
                few, everything = (
                    predict.predict(program, str(top / "model"), chosen, top / "out").seconds
                    for chosen in (images[: len(images) // 8], images)
                )
            found[f"beside {count}" if count else "alone"].append(everything - few)
    return found


if __name__ == "__main__":
    main()
