"""What recording a run costs the training loop: tracking off, a sqlite store, a server that answers in 200 ms, in turn.

Apart from that: what comes after the last step, which is writing the model, registering it and comparing it with the
champion.

python -m tests.benchmarks.tracking [--rounds 3] [--steps 150] [--image_size 128]
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from tests.support.program import Program, Server, make_voc
from tests.support.proxy import Proxy

# Outside the program: adds up the CPU time of the sender's thread, which is what it can take from the others.
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
        data = make_voc(top / "data", count=20)
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
                    result = program.run(sys.executable, "-c", MEASURED, *arguments, timeout_s=900, **environment)
                    assert result.returncode == 0, result.stderr
                    walls[kind].append(loop_seconds(program.run_folders()[0]))
                    cpu[kind].append(figure(result.stdout, "SENDER"))
                    ends[kind].append(figure(result.stdout, "FINISH"))
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
    """From the first step's end to the last one's, by the journal."""
    times = [record["time"] for record in map(json.loads, (folder / "journal.jsonl").open()) if is_step(record)]
    return (times[-1] - times[0]) / 1000


def figure(output: str, name: str) -> float:
    line = next(line for line in output.splitlines() if line.startswith(name))
    return float(line.split()[1])


def is_step(record: dict[str, object]) -> bool:
    return "train/loss" in record.get("metrics", {})  # type: ignore[operator]


if __name__ == "__main__":
    main()
