"""Two machines on one: two network namespaces joined by a cable, a training process in each, one run.

python -m tests.integration.two_machines          (as root, with iproute2)

Uses launch/multi_node.yaml as a person would, with the addresses of the two ends. Ends with 0 where one run came out of
it, 1 where not, and 77 with the reason where this machine's kernel or the user's rights do not allow it.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

from tests.support.program import TINY, Program, kill_group, make_voc  # noqa: E402

SKIPPED = 77
NETWORK = "10.213.7"
TIMEOUT_S = 240


class NotAllowed(Exception):
    """This machine cannot do it."""


def ip(*arguments: str) -> None:
    try:
        result = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    except FileNotFoundError as error:
        raise NotAllowed("there is no `ip` command; install iproute2") from error
    if result.returncode:
        raise NotAllowed(f"ip {' '.join(arguments)}: {result.stderr.strip()}")


@contextlib.contextmanager
def two_machines() -> Iterator[list[str]]:
    """The names of two network namespaces with the addresses NETWORK.1 and NETWORK.2; gone afterwards."""
    names = [f"seg{os.getpid()}{end}" for end in "ab"]
    cable = [f"c{os.getpid()}{end}" for end in "ab"]
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", cable[0], "type", "veth", "peer", "name", cable[1])
        for number, (name, end) in enumerate(zip(names, cable, strict=True), start=1):
            ip("link", "set", end, "netns", name)
            ip("-n", name, "link", "set", end, "name", "cable")
            ip("-n", name, "addr", "add", f"{NETWORK}.{number}/24", "dev", "cable")
            ip("-n", name, "link", "set", "cable", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield names
    finally:
        for command in (*(("netns", "del", name) for name in names), ("link", "del", cable[0])):
            with contextlib.suppress(NotAllowed):  # what was not made, or went with its namespace
                ip(*command)


def train(names: list[str], program: Program, data: Path) -> list[tuple[int, str]]:
    """One process in each; their exit codes and what they printed."""
    started = []
    try:
        for rank, name in enumerate(names):
            launcher = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", "launch/multi_node.yaml"]
            launcher += ["--machine_rank", str(rank), "--main_process_ip", f"{NETWORK}.1"]
            arguments = ["trainer/train.py", "--data.root", str(data), *TINY, "--train.epochs", "2"]
            arguments += ["--train.threads", "1", "--train.mixed_precision", "no"]
            command = ["ip", "netns", "exec", name, *launcher, *arguments]
            started.append(program.start(*command, GLOO_SOCKET_IFNAME="cable", OMP_NUM_THREADS="1"))
        ends = []
        for process in started:
            output = "".join(process.communicate(timeout=TIMEOUT_S))
            ends.append((process.returncode, output))
        return ends
    finally:
        for process in started:
            kill_group(process)


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is taken down again
    try:
        with tempfile.TemporaryDirectory() as scratch, two_machines() as names:
            program = Program(Path(scratch) / "program")
            ends = train(names, program, make_voc(Path(scratch) / "discs"))
            return report(program, ends)
    except NotAllowed as error:
        print(f"skipped: {error}")
        return SKIPPED


def report(program: Program, ends: list[tuple[int, str]]) -> int:
    """Print what came of it; 0 where it is one finished run of two processes on both machines."""
    from mlflow import MlflowClient

    if any(code for code, _ in ends):
        print("\n".join(f"machine {rank} ended with {code}:\n{text}" for rank, (code, text) in enumerate(ends)))
        return 1
    client = MlflowClient(program.store)
    runs = client.search_runs([one.experiment_id for one in client.search_experiments()])
    for run in runs:
        kept = {key: run.data.params[key] for key in ("hardware.processes", "hardware.distributed", "data.digest")}
        steps = len(client.get_metric_history(run.info.run_id, "train/loss"))
        print(json.dumps({"run": run.info.run_name, "status": run.info.status, "steps": steps} | kept))
    good = [run.info.status == "FINISHED" and run.data.params["hardware.processes"] == "2" for run in runs]
    print(f"{len(runs)} run in MLflow, {len(program.run_folders())} run folder")
    return 0 if good == [True] and len(program.run_folders()) == 1 else 1


if __name__ == "__main__":
    sys.exit(main())
