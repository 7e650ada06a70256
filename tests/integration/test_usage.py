"""What a training uses of its machines is in its run, for each process and node; not where nobody wants it."""

import re
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import runs
from tests.support.discs import make_discs
from tests.support.program import ONE_THREAD, TINY, Program, launcher, train_command

AT_ONCE = """
import sys
from trainer.system import usage
from trainer.train import main
usage.BEGIN_SECONDS = 0.0
usage.SAMPLE_SECONDS = 0.05
sys.exit(main(sys.argv[1:]))
"""
SETTINGS = ["--train.epochs", "4", "--model.depth", "2", "--model.encoder", "none", "--registry.name", "null"]
MACHINE = {
    "system/cpu_utilization_percentage",
    "system/system_memory_usage_megabytes",
    "system/system_memory_usage_percentage",
    "system/disk_usage_percentage",
    "system/disk_available_megabytes",
}


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_run_says_what_each_process_uses(tmp_path: Path, empty_store: Path) -> None:
    data = make_discs(tmp_path / "discs")
    program = Program(tmp_path / "program", variables=ONE_THREAD, tables=empty_store)
    script = program.script(AT_ONCE)
    for more in ([], ["--tracking.system_metrics", "false"]):
        words = train_command(2, *TINY, "--data.root", str(data), *SETTINGS, *more, script=script)
        program.run(*words, code=0, timeout_s=600)
    first, second = program.run_folders()
    points = runs.store_points(program.database, runs.store_run(program.database, first))
    names = {name for name in points if name.startswith("system/")}
    for rank in (0, 1):
        own = {f"system/process_{rank}_cpu_percentage", f"system/process_{rank}_memory_usage_megabytes"}
        assert own <= names
        assert all(50 < value < 4000 for _, _, value in points[f"system/process_{rank}_memory_usage_megabytes"])
    assert names >= MACHINE
    assert {step for name in MACHINE for step, _, _ in points[name]} <= set(range(1, 9))
    assert points == runs.journal_points(first)
    assert not any(name.startswith("system/") for name in runs.journal_points(second))


@pytest.mark.long
@pytest.mark.timeout(900)
def test_each_of_two_nodes_says_what_it_uses(tmp_path: Path, empty_store: Path) -> None:
    """Two launchers as on two machines, which know each other by an address alone; one run."""
    data = make_discs(tmp_path / "discs")
    program = Program(tmp_path / "program", variables=ONE_THREAD, tables=empty_store)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    words = [program.script(AT_ONCE), *TINY, "--data.root", str(data), *SETTINGS]
    with ExitStack() as stack:
        started = []
        for rank in ("0", "1"):
            start = launcher("multi_node", "--machine_rank", rank, "--main_process_port", port)
            started.append(stack.enter_context(program.start(*start, *words)))
        for one in started:
            ended = one.end(600)
            assert ended.returncode == 0, ended.output
    (folder,) = program.run_folders()
    points = runs.store_points(program.database, runs.store_run(program.database, folder))
    names = {name for name in points if name.startswith("system/")}
    assert {name.split("/")[1] for name in names} == {"node_0", "node_1"}
    for number in (0, 1):
        own = {f"process_{number}_cpu_percentage", f"process_{number}_memory_usage_megabytes"}
        own |= {name.removeprefix("system/") for name in MACHINE}
        assert {name.removeprefix(f"system/node_{number}/") for name in names if f"node_{number}" in name} >= own
        memory = points[f"system/node_{number}/process_{number}_memory_usage_megabytes"]
        assert all(50 < value < 4000 for _, _, value in memory)
        assert len(memory) > 1
    assert not any(re.search(r"node_0/process_1|node_1/process_0", name) for name in names)
    host = socket.gethostname()
    assert runs.tags(folder)["hardware.nodes"] == f"node_0 {host}, node_1 {host}"
    assert points == runs.journal_points(folder)
