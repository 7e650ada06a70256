"""Speed of the real training command, against bare loops of the same network and against the machine's peak.

python -m tests.benchmarks.throughput [--steps 500] [--width 32] [--image_size 256] [--batch_size 8] [--rounds 3]
    [--compile on|off]

The bare loops take turns, before the real command and after it; the ratios are to the mean of both. Freed memory is
kept for the loops of this program's network, as the program itself does. The real command
draws its images, reads, augments strongly, tracks into a sqlite store and shows its progress. A separate short run
with timers shows where the time of a step goes. 500 steps of the defaults take a quarter of an hour on two cores.
`--compile off` is what train.compile auto comes to on a CPU.
"""

import json
import statistics
import tempfile
from pathlib import Path

import torch

from tests.benchmarks.baselines import Task, bare, matrix_product, tutorial, with_freed_memory
from tests.benchmarks.measuring import (
    SHORT,
    Trained,
    command,
    in_turn,
    machine,
    markdown,
    measured,
    seconds,
    task_parser,
    train,
)
from tests.support.program import Program

TARGETS = {"bare, compiled": 0.92, "tutorial": 4.2}
CHUNK = {"tutorial": 3, "bare, compiled": 8, "bare": 8, "matrix product": 5}
"""Calls in a row; a step of the tutorial's takes several times as long."""

SIDE = 4096


def main() -> None:
    parser = task_parser(__doc__.splitlines()[0], width=32, batch_size=8, rounds=3)
    parser.add_argument("--compile", choices=["on", "off"], default="on", help="of the real command (on)")
    options = parser.parse_args()
    found = torch.cpu.get_capabilities()
    precision = "bf16" if found.get("amx_bf16") or found.get("avx512_bf16") else "no"
    task = Task(options.width, options.image_size, options.batch_size, "cpu", precision)
    print(f"{machine('cpu')}, mixed precision {precision}", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        measure(task, options.steps, options.rounds, options.compile, Path(scratch))


def measure(task: Task, steps: int, rounds: int, compiling: str, scratch: Path) -> None:
    torch.manual_seed(0)
    loops = {
        "tutorial": with_freed_memory(tutorial(task), keep=False),
        "bare, compiled": with_freed_memory(bare(task, compiled=True), keep=True),
        "bare": with_freed_memory(bare(task, compiled=False), keep=True),
        "matrix product": matrix_product(task, SIDE),
    }
    first = {name: seconds(step, task.device, 2)[0] for name, step in loops.items()}
    print(f"the bare loop's first compiled step took {first['bare, compiled']:.0f} s", flush=True)
    before = in_turn(loops, task.device, rounds, CHUNK)
    program = Program(scratch / "program")
    arguments = [*command(task, steps), "--train.compile", compiling]
    # A cache of compiled code of its own: what a person waits for the first time.
    compiled = {"TORCHINDUCTOR_CACHE_DIR": str(scratch / "compiled")}
    real = measured(train(program, arguments, compiled))
    after = in_turn(loops, task.device, rounds, CHUNK)
    report(task, before, real, after)
    timed = [*command(task, SHORT), "--train.compile", compiling]
    out = scratch / "timers.json"
    train(program, timed, compiled, inside=("timers", out))
    print(f"\n{where_time_goes(json.loads(out.read_text()))}")


def report(task: Task, before: dict[str, list[float]], real: Trained, after: dict[str, list[float]]) -> None:
    middle = [{name: statistics.median(times) for name, times in some.items()} for some in (before, after)]
    rates = {name: [task.batch_size / one[name] for one in middle] for name in before}
    peak = 2 * SIDE**3 / statistics.mean(one["matrix product"] for one in middle)
    flops = task.flops()
    typical, whole = task.batch_size / statistics.median(real.walls), task.batch_size / statistics.mean(real.walls)
    figures = {name: [*rates[name], statistics.mean(rates[name])] for name in ("tutorial", "bare", "bare, compiled")}
    figures["real, as it records (median)"] = [statistics.median(real.rates)]
    figures["real, from step to step (median)"] = [typical]
    figures["real, from step to step (all)"] = [whole]
    rows = [
        [
            name,
            *([f"{rate:.2f}" for rate in some[:2]] if len(some) > 1 else ["", ""]),
            f"{some[-1]:.2f}",
            f"{flops * some[-1] / peak:.1%}",
        ]
        for name, some in figures.items()
    ]
    print(f"\n{markdown(['images/s', 'before', 'after', 'mean', 'share of peak'], rows)}\n")
    print(f"one image, forward and backward: {flops / 1e9:.1f} GFLOP")
    print(f"peak, {SIDE}^3 {task.dtype}: {peak / 1e12:.3f} TFLOP/s")
    print(f"real: {len(real.walls)} steps counted; the first ones took {real.compile_s:.0f} s longer (compiling)")
    for name, target in TARGETS.items():
        base = figures[name][-1]
        print(f"real / {name}: {typical / base:.3f} (all steps {whole / base:.3f}), target {target}")


def where_time_goes(steps: list[dict[str, float]]) -> str:
    """Make a table of the parts of a step: the median over the second half of the steps, without the last one.

    Threads that read, send and draw run beside the step, and are not counted.
    """
    steps = steps[len(steps) // 2 : -1]
    middle = {part: statistics.median(step.get(part, 0.0) for step in steps) for part in steps[0]}
    rows = [
        [part, f"{1000 * value:.1f}", f"{value / middle['whole step']:.1%}"]
        for part, value in sorted(middle.items(), key=lambda entry: -entry[1])
    ]
    return markdown([f"part of a step ({len(steps)} steps)", "ms", "share"], rows)


if __name__ == "__main__":
    main()
