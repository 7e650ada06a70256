"""What the benchmarks of speed share: loops timed in turn, and the real training as its journal tells it."""

import argparse
import json
import math
import os
import pty
import statistics
import subprocess
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
from tests.support.program import Program, kill_group

WARM_UP = 10
"""Steps at the start of a training that are left out: they compile."""

SHORT = 40
"""Steps of a training that inside.py watches."""

INSIDE = Path(__file__).with_name("inside.py")


def seconds(step: Step, device: str, steps: int) -> list[float]:
    """Wall time of each of so many calls, s; on a GPU their mean, since waiting for each one would slow them down."""
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
    """Wall times of all loops, s, in chunks that take turns: a machine that changes its speed does so to all."""
    found: dict[str, list[float]] = {name: [] for name in loops}
    for number in range(rounds):
        for name, step in loops.items():
            found[name] += seconds(step, device, steps[name])
        shown = "  ".join(f"{name} {1000 * statistics.median(times):.1f} ms" for name, times in found.items())
        print(f"round {number + 1} of {rounds}: {shown}", flush=True)
    return found


@dataclass(frozen=True)
class Trained:
    """A training by the real command, without its first WARM_UP steps."""

    rates: list[float]
    """train/images_per_second, as the run records it."""

    walls: list[float]
    """Seconds from step to step, all that happens between counted, but evaluations and their pictures."""

    compile_s: float
    """What the first steps took longer than later ones."""

    folder: Path


def steps_per_epoch(steps: int) -> int:
    return 4 * min(5, math.ceil(steps / 4))


def task_parser(description: str, width: int, batch_size: int, rounds: int) -> argparse.ArgumentParser:
    """The options that say what is trained, with these defaults."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--width", type=int, default=width)
    parser.add_argument("--image_size", type=int, default=256)
    parser.add_argument("--batch_size", type=int, default=batch_size)
    parser.add_argument("--rounds", type=int, default=rounds, help="before the real command, and as many after it")
    return parser


def command(task: Task, steps: int) -> list[str]:
    """Arguments of train.py for at least so many steps on generated pictures; only the last epoch is evaluated."""
    epoch = steps_per_epoch(steps)
    epochs = math.ceil(steps / epoch)
    settings = {
        "data.generated_images": epoch * task.batch_size * 5 // 4,  # a fifth validates
        "data.image_size": task.image_size,
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

    `inside`: what inside.py is to watch, and the file it writes.
    """
    entry = [str(INSIDE), inside[0], str(inside[1])] if inside else ["trainer/train.py"]
    screen, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, *entry, *arguments],
        cwd=program.folder,
        env=program.environment(TERM="xterm", COLUMNS="120", **environment),
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    shown: deque[bytes] = deque(maxlen=100)
    reader = threading.Thread(target=_watch, args=(screen, shown))
    reader.start()
    try:
        code = process.wait()
    finally:
        kill_group(process)
        reader.join()
        os.close(screen)
    if code:
        raise RuntimeError(f"train.py ended with {code}:\n{b''.join(shown).decode(errors='replace')}")
    return program.run_folders()[-1]


def _watch(screen: int, shown: deque[bytes]) -> None:
    while True:
        try:
            content = os.read(screen, 4096)
        except OSError:  # the other side is closed
            return
        if not content:
            return
        shown.append(content)


def measured(folder: Path) -> Trained:
    """What the journal of a run says of its speed."""
    rates, walls, before = [], [], 0
    for record in map(json.loads, (folder / "journal.jsonl").read_text().splitlines()):
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
    """What a figure means nothing without."""
    if device == "cuda":
        name = torch.cuda.get_device_name()
    else:
        name = f"{torch.cpu.get_capabilities().get('cpu_name', '')}, {torch.get_num_threads()} threads"
    return {"device": name, "torch": torch.__version__, "python": sys.version.split()[0]}
