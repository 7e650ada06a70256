"""trainer/train.py with measurements inside; run as a script in its place: inside.py KIND OUT ARGUMENTS...

KIND timers: seconds of each part of a step. device: share of the time in which the device is idle,
how often a step waits for it, and its memory. OUT: a JSON file.
"""

import functools
import json
import math
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from torch.profiler import ProfilerActivity, profile

# Where other modules take functions by name, these must be replaced before those modules are loaded.
from trainer.data import augment as augmenting
from trainer.system import parallel
from trainer.system.terminal import Display
from trainer.tracking.run import Run

WINDOW = 15, 35
"""Steps between whose ends the profiler runs; a training must have as many."""

WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize")
"""CUDA calls with which the CPU waits until the GPU has nothing left to do."""


class Meter(Protocol):
    """Measurement of a training."""

    def start(self) -> None: ...

    def on_step(self, step: int) -> None: ...

    def result(self) -> Any: ...


class Timers:
    """Seconds of each part of each step, in the training thread."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []
        self.parts: defaultdict[str, float] = defaultdict(float)
        self.began = self.augmented = time.perf_counter()

    def time(self, owner: Any, name: str, part: str) -> None:
        function = getattr(owner, name)

        @functools.wraps(function)
        def timed(*arguments: Any, **named: Any) -> Any:
            began = time.perf_counter()
            if part == "backward":  # the code between may be compiled, and cannot be wrapped
                self.parts["forward, loss"] += began - self.augmented
            try:
                return function(*arguments, **named)
            finally:
                ended = time.perf_counter()
                self.parts[part] += ended - began
                if part == "augmentation":
                    self.augmented = ended

        setattr(owner, name, timed)

    def time_reading(self) -> None:
        read_ahead = parallel.read_ahead

        def timed(*arguments: Any) -> Iterator[Any]:
            batches = read_ahead(*arguments)
            while True:
                began = time.perf_counter()
                batch = next(batches, None)
                self.parts["waiting for data"] += time.perf_counter() - began
                if batch is None:
                    return
                yield batch

        parallel.read_ahead = timed  # type: ignore[assignment]

    def start(self) -> None:
        self.time_reading()
        self.time(augmenting, "augment", "augmentation")
        self.time(Accelerator, "backward", "backward")
        self.time(Accelerator, "clip_grad_norm_", "clip")
        self.time(AcceleratedOptimizer, "step", "optimizer")
        self.time(Run, "metrics", "journal")
        self.time(Display, "step", "progress")

    def on_step(self, step: int) -> None:
        now = time.perf_counter()
        rest = now - self.began - sum(self.parts.values())
        self.steps.append({**self.parts, "agreement, the rest": rest, "whole step": now - self.began})
        self.parts.clear()
        self.began = now

    def result(self) -> list[dict[str, float]]:
        return self.steps


class Device:
    """Use of the device in a window of steps; peak memory of the whole training."""

    def __init__(self) -> None:
        self.cuda = torch.cuda.is_available()
        self.found: dict[str, float] = {}

    def start(self) -> None:
        self.profile = profile(activities=[ProfilerActivity.CUDA if self.cuda else ProfilerActivity.CPU])

    def on_step(self, step: int) -> None:
        if step == WINDOW[0]:
            self.synchronise()
            self.profile.start()
            self.began = time.perf_counter()
        elif step == WINDOW[1]:
            self.synchronise()
            wall_s = time.perf_counter() - self.began
            self.profile.stop()
            self.found = self.read(wall_s)

    def read(self, wall_s: float) -> dict[str, float]:
        """Share of the window without a kernel under way (on a CPU: an operator), and how often a step waits."""
        kinds = torch.autograd.DeviceType  # type: ignore[attr-defined]
        kind = kinds.CUDA if self.cuda else kinds.CPU
        events = self.profile.events() or []
        # The ranges of record_function span the gaps between kernels.
        spans = [
            (event.time_range.start, event.time_range.end)
            for event in events
            if event.device_type == kind and not event.is_user_annotation
        ]
        waits = sum(event.name in WAITS for event in events)
        return {"idle": 1 - covered(spans) / 1e6 / wall_s, "waits": waits / (WINDOW[1] - WINDOW[0])}

    def synchronise(self) -> None:
        if self.cuda:
            torch.cuda.synchronize()

    def result(self) -> dict[str, float]:
        assert self.found, f"a training of fewer than {WINDOW[1]} steps"
        if self.cuda:
            used = torch.cuda.max_memory_allocated()
        else:
            used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return self.found | {"memory_gib": used / 2**30}


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Length that the spans, (start, end), cover together."""
    length, reached = 0.0, -math.inf
    for start, end in sorted(spans):
        length += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return length


METERS: dict[str, Callable[[], Meter]] = {"timers": Timers, "device": Device}


def after_each_step(call: Callable[[int], None]) -> None:
    """Have `call` called with the number of each step that is done."""
    from trainer.engine.reporter import Reporter

    on_step = Reporter.on_step

    def wrapped(self: Reporter, step: int, values: dict[str, float]) -> None:
        on_step(self, step, values)
        call(step)

    Reporter.on_step = wrapped  # type: ignore[method-assign]


def main() -> int:
    kind, out, *arguments = sys.argv[1:]
    meter = METERS[kind]()
    meter.start()
    after_each_step(meter.on_step)
    from trainer.train import main as train

    code = train(arguments)
    Path(out).write_text(json.dumps(meter.result()))
    return code


if __name__ == "__main__":
    sys.exit(main())
