"""Cost of tracking for the training loop: off, a sqlite store, a server that answers in 200 ms, in turn.

Apart from that: the time after the last step, which is writing the model, registering it and comparing it with the
champion.

python -m tests.benchmarks.tracking [--rounds 3] [--steps 150] [--image_size 128]
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from tests.support import runs
from tests.support.discs import make_discs
from tests.support.mlflow_server import Proxy, Server
from tests.support.program import Program

# Adds up the CPU time of the sender's thread, the most that it can take from other threads.
MEASURED = """
import sys, time
from trainer import train
from trainer.tracking import sender
seconds = [0.0]
send = sender.Sender._send
def timed(self):
    began = time.thread_time()
    send(self)
    seconds[0] += time.thread_time() - began
sender.Sender._send = timed
import trainer.engine.loop as loop
fit = loop.Trainer.fit
def fitted(*arguments):
    try:
        return fit(*arguments)
    finally:
        print("SENDER", seconds[0])
loop.Trainer.fit = fitted
from trainer.engine.lifecycle import Lifecycle
register = Lifecycle.register
def registered(*arguments):
    began = time.perf_counter()
    register(*arguments)
    print("FINISH", time.perf_counter() - began)
Lifecycle.register = registered
sys.exit(train.main(sys.argv[1:]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--image_size", type=int, default=128)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        top = Path(scratch)
        data = make_discs(top / "data", count=20)
        server = Server(top / "server").start()
        slow = Proxy(server.uri, delay_s=0.2)
        kinds = {"off": None, "sqlite": "", "server in 200 ms": slow.uri}
        walls: dict[str, list[float]] = {kind: [] for kind in kinds}
        cpu: dict[str, list[float]] = {kind: [] for kind in kinds}
        ends: dict[str, list[float]] = {kind: [] for kind in kinds}
        try:
            for number in range(options.rounds):
                for kind, uri in kinds.items():
                    program = Program(top / f"{kind} {number}")
                    arguments = ["--data.root", str(data), "--data.image_size", str(options.image_size)]
                    arguments += ["--model.width", "16", "--train.threads", "1", "--train.mixed_precision", "no"]
                    arguments += ["--train.epochs", str(options.steps // 2), "--train.eval_every", "10"]
                    arguments += ["--tracking.enabled", "false"] if uri is None else []
                    environment = {"MLFLOW_TRACKING_URI": uri} if uri else {}
                    words = [sys.executable, "-c", MEASURED, *arguments]
                    ended = program.run(*words, timeout_s=900, **environment, code=0)
                    walls[kind].append(loop_seconds(program.run_folders()[0]))
                    cpu[kind].append(figure(ended.stdout, "SENDER"))
                    ends[kind].append(figure(ended.stdout, "FINISH"))
                    print(
                        f"{number} {kind:16} loop {walls[kind][-1]:7.2f} s   sender CPU {cpu[kind][-1]:.3f} s   "
                        f"model, registration, promotion {ends[kind][-1]:.2f} s",
                        flush=True,
                    )
        finally:
            slow.stop()
            server.kill()
    base = statistics.median(walls["off"])
    print(f"\nmedian of {options.rounds}, {options.steps} steps of {base / options.steps * 1000:.0f} ms")
    for kind in kinds:
        wall = statistics.median(walls[kind])
        share = statistics.median(used / wall for used, wall in zip(cpu[kind], walls[kind], strict=True))
        end = statistics.median(ends[kind])
        print(f"{kind:16} wall / off {wall / base:.3f}   sender's CPU / wall {share:.2%}   afterwards {end:.2f} s")


def loop_seconds(folder: Path) -> float:
    """Seconds from the first step's end to the last one's, by the journal."""
    times = [record["time"] for record in runs.records(folder) if "train/loss" in record.get("metrics", {})]
    return (times[-1] - times[0]) / 1000


def figure(output: str, name: str) -> float:
    """Number on the line that starts with `name`."""
    line = next(line for line in output.splitlines() if line.startswith(name))
    return float(line.split()[1])


if __name__ == "__main__":
    main()
