"""Shared parts of the benchmarks of speed: loops timed in turn, and the real training as its journal records it."""

import argparse
import math
import os
import pty
import statistics
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks.baselines import Step, Task
from tests.support import runs
from tests.support.program import Command, Program

WARM_UP = 10
"""Steps at the start of a training that are left out: they compile."""

SHORT = 40
"""Steps of a training that inside.py measures."""

INSIDE = Path(__file__).with_name("inside.py")


def seconds(step: Step, device: str, steps: int) -> list[float]:
    """Wall time of each of `steps` calls, in seconds; on a GPU their mean, since waiting takes time."""
    if device == "cuda":
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(steps):
            step()
        torch.cuda.synchronize()
        return [(time.perf_counter() - began) / steps]
    found = []
    for _ in range(steps):
        began = time.perf_counter()
        step()
        found.append(time.perf_counter() - began)
    return found


def in_turn(loops: Mapping[str, Step], device: str, rounds: int, steps: Mapping[str, int]) -> dict[str, list[float]]:
    """Wall times of all loops, in seconds, in chunks that take turns, since a machine changes its speed."""
    found: dict[str, list[float]] = {name: [] for name in loops}
    for number in range(rounds):
        for name, step in loops.items():
            found[name] += seconds(step, device, steps[name])
        shown = "  ".join(f"{name} {1000 * statistics.median(times):.1f} ms" for name, times in found.items())
        print(f"round {number + 1} of {rounds}: {shown}", flush=True)
    return found


@dataclass(frozen=True)
class Trained:
    """Speed of a training by the real command, without its first WARM_UP steps."""

    rates: list[float]
    """train/images_per_second, as the run records it."""

    walls: list[float]
    """Seconds from step to step, without evaluations and their images."""

    compile_s: float
    """Seconds that the first steps took longer than later ones."""

    folder: Path


def steps_per_epoch(steps: int) -> int:
    """Steps of an epoch, a multiple of 4, for a training of at least `steps`."""
    return 4 * min(5, math.ceil(steps / 4))


def task_parser(description: str, width: int, batch_size: int, rounds: int) -> argparse.ArgumentParser:
    """Make a parser of the options of a task, with these defaults."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--width", type=int, default=width)
    parser.add_argument("--image_size", type=int, default=256)
    parser.add_argument("--batch_size", type=int, default=batch_size)
    parser.add_argument("--rounds", type=int, default=rounds, help="before the real command, and as many after it")
    return parser


def command(task: Task, steps: int) -> list[str]:
    """Arguments of train.py for at least `steps` on generated images; only the last epoch is evaluated."""
    epoch = steps_per_epoch(steps)
    epochs = math.ceil(steps / epoch)
    settings = {
        "data.generated_images": epoch * task.batch_size * 5 // 4,  # a fifth validates
        "data.image_size": task.image_size,
        "model.encoder": "none",  # the network of the bare loops
        "model.width": task.width,
        "train.batch_size": task.batch_size,
        "train.progressive": "false",  # every step as large as the bare loops'
        "train.epochs": epochs,
        "train.eval_every": epochs,
        "train.mixed_precision": task.precision,
        "registry.name": "null",
    }
    return [word for key, value in settings.items() for word in (f"--{key}", f"{value}")]


def train(
    program: Program, arguments: list[str], environment: dict[str, str], inside: tuple[str, Path] | None = None
) -> Path:
    """Run the real command on a terminal of its own, so that it draws its progress. Returns the run folder.

    `inside`: what inside.py is to measure, and the file it writes.
    """
    entry = [str(INSIDE), inside[0], str(inside[1])] if inside else ["trainer/train.py"]
    screen, terminal = pty.openpty()
    variables = program.environment(TERM="xterm", COLUMNS="120", **environment)
    shown: deque[bytes] = deque(maxlen=100)
    reader = threading.Thread(target=_read, args=(screen, shown))
    with Command([sys.executable, *entry, *arguments], program.folder, variables, terminal) as command:
        os.close(terminal)
        reader.start()
        code = command.process.wait()
    reader.join()
    os.close(screen)
    if code:
        raise RuntimeError(f"train.py ended with {code}:\n{b''.join(shown).decode(errors='replace')}")
    return program.run_folders()[-1]


def _read(screen: int, shown: deque[bytes]) -> None:
    while True:
        try:
            content = os.read(screen, 4096)
        except OSError:  # the other side is closed
            return
        if not content:
            return
        shown.append(content)


def measured(folder: Path) -> Trained:
    """Read the speed of a run from its journal."""
    rates, walls, before = [], [], 0
    for record in runs.records(folder):
        if "train/loss" in record.get("metrics", {}):
            rates.append(record["metrics"]["train/images_per_second"])
            walls.append((record["time"] - before) / 1000)
        before = record["time"]
    assert len(walls) > 0, f"{folder}: no step"
    warm = min(WARM_UP, len(walls) // 2)
    usual = statistics.median(walls[warm:])
    compile_s = sum(wall - usual for wall in walls[:warm] if wall > 2 * usual)
    return Trained(rates[warm:], walls[warm:], compile_s, folder)


def markdown(headings: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown, aligned for the terminal too."""
    lines = [headings, *rows]
    widths = [max(len(line[place]) for line in lines) for place in range(len(headings))]
    cells = [" | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    cells.insert(1, " | ".join("-" * width for width in widths))
    return "\n".join(f"| {line} |" for line in cells)


def machine(device: str) -> dict[str, Any]:
    """Device and versions, which belong to every figure."""
    if device == "cuda":
        name = torch.cuda.get_device_name()
    else:
        name = f"{torch.cpu.get_capabilities().get('cpu_name', '')}, {torch.get_num_threads()} threads"
    return {"device": name, "torch": torch.__version__, "python": sys.version.split()[0]}
