"""Two machines on one: two network namespaces joined by a cable, a training process in each, one run.

python -m tests.integration.two_machines          (as root, with iproute2)

Uses launch/multi_node.yaml as a user would, with the addresses of the two ends. Ends with 0 where the result is one
run, 1 where it is not, and 77 with the reason where this machine's kernel or the user's rights do not allow it.
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

from mlflow import MlflowClient

from tests.support import runs
from tests.support.discs import make_discs
from tests.support.program import TINY, Ended, Program, launcher

SKIPPED = 77
NETWORK = "10.213.7"
"""First three numbers of the addresses of both machines."""

TIMEOUT_S = 240


class NotAllowed(Exception):
    """The machine does not allow network namespaces."""


def ip(*arguments: str) -> None:
    try:
        result = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    except FileNotFoundError as error:
        raise NotAllowed("there is no `ip` command; install iproute2") from error
    if result.returncode:
        raise NotAllowed(f"ip {' '.join(arguments)}: {result.stderr.strip()}")


@contextlib.contextmanager
def two_machines() -> Iterator[list[str]]:
    """Names of two network namespaces with the addresses NETWORK.1 and NETWORK.2; removed afterwards."""
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
            with contextlib.suppress(NotAllowed):  # not made yet, or removed with its namespace
                ip(*command)


def train(names: list[str], program: Program, data: Path) -> list[Ended]:
    """Train with one process in each namespace."""
    arguments = ["trainer/train.py", "--data.root", str(data), *TINY, "--train.epochs", "2"]
    arguments += ["--train.threads", "1", "--train.mixed_precision", "no"]
    with contextlib.ExitStack() as stack:
        started = []
        for number, name in enumerate(names):
            launch = launcher("multi_node", "--machine_rank", str(number), "--main_process_ip", f"{NETWORK}.1")
            words = ["ip", "netns", "exec", name, *launch, *arguments]
            variables = {"GLOO_SOCKET_IFNAME": "cable", "OMP_NUM_THREADS": "1"}
            started.append(stack.enter_context(program.start(*words, **variables)))
        return [command.end(TIMEOUT_S) for command in started]


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is taken down again
    try:
        with tempfile.TemporaryDirectory() as scratch, two_machines() as names:
            program = Program(Path(scratch) / "program")
            ends = train(names, program, make_discs(Path(scratch) / "discs"))
            return report(program, ends)
    except NotAllowed as error:
        print(f"skipped: {error}")
        return SKIPPED


def report(program: Program, ends: list[Ended]) -> int:
    """Print the result; return 0 where it is one finished run of two processes on both machines."""
    if any(ended.returncode for ended in ends):
        for number, ended in enumerate(ends):
            print(f"machine {number} ended with {ended.returncode}:\n{ended.output}")
        return 1
    client = MlflowClient(program.store)
    found = runs.store_runs(client)
    for run in found:
        shown = {key: run.data.tags[key] for key in ("hardware.processes", "hardware.distributed", "data.digest")}
        steps = len(client.get_metric_history(run.info.run_id, "train/loss"))
        print(json.dumps({"run": run.info.run_name, "status": run.info.status, "steps": steps} | shown))
    good = [run.info.status == "FINISHED" and run.data.tags["hardware.processes"] == "2" for run in found]
    print(f"{len(found)} run in MLflow, {len(program.run_folders())} run folder")
    return 0 if good == [True] and len(program.run_folders()) == 1 else 1


if __name__ == "__main__":
    sys.exit(main())
