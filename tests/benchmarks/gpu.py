"""Speed of the real training command on a GPU, against the loop most people write and against the card's peak.

python -m tests.benchmarks.gpu [--steps 500] [--width 64] [--image_size 256] [--batch_size 32] [--rounds 5]

Exit code 2 where there is no GPU. Tracking is off; all else is as in a real run: reading, strong augmentation, journal,
progress. `--device cpu` goes the same way without a GPU, to try the command itself; its figures mean nothing.
"""

import json
import statistics
import sys
import tempfile
from pathlib import Path

import torch

from tests.benchmarks.baselines import Task, bare, matrix_product, usual
from tests.benchmarks.measuring import SHORT, command, in_turn, machine, markdown, measured, seconds, task_parser, train
from tests.support.program import Program
from trainer.model.pretrained import DEFAULT_ENCODER

TARGET = 1.5
"""Least ratio of the rates of the real command and the usual loop."""


def main() -> int:
    parser = task_parser(__doc__.splitlines()[0], width=64, batch_size=32, rounds=5)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("gpu.py: torch finds no GPU on this machine; `--device cpu` only tries the command", file=sys.stderr)
        return 2
    task = Task(options.width, options.image_size, options.batch_size, options.device, "bf16")
    with tempfile.TemporaryDirectory() as scratch:
        measure(task, options.steps, options.rounds, Path(scratch))
    return 0


def measure(task: Task, steps: int, rounds: int, scratch: Path) -> None:
    torch.manual_seed(0)
    side, chunk = (8192, 50) if task.device == "cuda" else (512, 2)
    loops = {
        "usual loop": usual(task),
        "bare loop, compiled": bare(task, compiled=True),
        "matrix product": matrix_product(task, side),
    }
    first = {name: seconds(step, task.device, 1)[0] for name, step in loops.items()}
    before = in_turn(loops, task.device, rounds, dict.fromkeys(loops, chunk))
    program = Program(scratch / "program")
    environment = {"TORCHINDUCTOR_CACHE_DIR": str(scratch / "compiled")}
    if task.device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    settings = ["--train.compile", "on", "--tracking.enabled", "false"]
    real = measured(train(program, [*command(task, steps), *settings], environment))
    encoder = ["--model.encoder", DEFAULT_ENCODER, "--model.width", "auto"]
    pretrained = measured(train(program, [*command(task, steps), *encoder, *settings], environment))
    out = scratch / "device.json"
    train(program, [*command(task, SHORT), *settings], environment, inside=("device", out))
    after = in_turn(loops, task.device, rounds, dict.fromkeys(loops, chunk))

    inside = json.loads(out.read_text())
    middle = {name: statistics.median(before[name] + after[name]) for name in loops}
    peak, flops = 2 * side**3 / middle.pop("matrix product"), task.flops()
    rates = {name: task.batch_size / wall_s for name, wall_s in middle.items()}
    rates["real command, as it records (median)"] = statistics.median(real.rates)
    rates["real command, all steps"] = task.batch_size / statistics.mean(real.walls)
    real_rate = rates["real command, all steps"]
    rows = [
        [name, f"{rate:.1f}", f"{flops * rate / peak:.1%}", f"{rate / rates['usual loop']:.2f}"]
        for name, rate in rates.items()
    ]
    other_rate = task.batch_size / statistics.mean(pretrained.walls)
    rows.append(
        [f"real command, {DEFAULT_ENCODER}", f"{other_rate:.1f}", "-", f"{other_rate / rates['usual loop']:.2f}"]
    )
    print(f"\n{markdown(['', 'images/s', 'share of peak', 'times the usual loop'], rows)}\n")
    facts = machine(task.device) | {
        "task": f"width {task.width}, {task.image_size} px, batches of {task.batch_size}, {task.precision}",
        "GFLOP of one image, forward and backward": f"{flops / 1e9:.1f}",
        f"peak, {side}^3 {task.dtype}, TFLOP/s": f"{peak / 1e12:.2f}",
        "real command / usual loop": f"{real_rate / rates['usual loop']:.2f} (target {TARGET})",
        "real command / bare loop, compiled": f"{real_rate / rates['bare loop, compiled']:.2f}",
        "device idle, of a window of real steps": f"{inside['idle']:.1%}",
        "times that a step waits for all the device has to do": f"{inside['waits']:.1f}",
        "peak memory of the real command": f"{inside['memory_gib']:.2f} GiB",
        "compiling, bare loop": f"{first['bare loop, compiled']:.0f} s",
        "compiling, real command": f"{real.compile_s:.0f} s",
        "steps counted": f"{len(real.walls)}",
    }
    print(markdown(["", ""], [[name, f"{value}"] for name, value in facts.items()]))


if __name__ == "__main__":
    sys.exit(main())
