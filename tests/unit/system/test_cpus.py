"""CPUs that may be used: files of control groups as the kernel shows them, and a process that is held to one CPU."""

import math
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from trainer.system.cpus import cpu_quota, usable_cpus

V2 = "30 23 0:26 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1 = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:5 - cgroup cgroup rw,cpu,cpuacct"
MEMORY = "33 31 0:30 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory"
CONTAINER = "32 31 0:29 /docker/abc /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu"


def v1(quota: int, period: int = 100_000) -> dict[str, str]:
    return {"cpu.cfs_quota_us": f"{quota}\n", "cpu.cfs_period_us": f"{period}\n"}


CASES: dict[str, tuple[str, str, dict[str, Mapping[str, str]], float]] = {
    "v2": ("0::/user.slice/a", V2, {"user.slice/a": {"cpu.max": "150000 100000\n"}}, 1.5),
    "v2, without a limit": ("0::/a", V2, {"a": {"cpu.max": "max 100000\n"}}, math.inf),
    "v2, nested, the outer one is less": (
        "0::/a/b",
        V2,
        {"a": {"cpu.max": "50000 100000\n"}, "a/b": {"cpu.max": "400000 100000\n"}},
        0.5,
    ),
    "v2, nested, the inner one is less": (
        "0::/a/b",
        V2,
        {"a": {"cpu.max": "max 100000\n"}, "a/b": {"cpu.max": "75000 25000\n"}},
        3.0,
    ),
    "v2, of another group": ("0::/a", V2, {"a": {}, "b": {"cpu.max": "10000 100000\n"}}, math.inf),
    "v2, in a container with its own top": ("0::/", V2, {"": {"cpu.max": "200000 100000\n"}}, 2.0),
    "v2, outside of what is visible": ("0::/../other", V2, {"": {"cpu.max": "200000 100000\n"}}, 2.0),
    "v1": ("4:cpu,cpuacct:/a\n3:memory:/m", f"{MEMORY}\n{V1}", {"a": v1(250_000), "m": v1(100)}, 2.5),
    "v1, without a limit": ("4:cpu,cpuacct:/a", V1, {"a": v1(-1)}, math.inf),
    "v1, nested": ("4:cpu,cpuacct:/a/b", V1, {"a": v1(100_000, 50_000), "a/b": v1(-1)}, 2.0),
    "v1, in a container under its outer name": ("4:cpu:/docker/abc", CONTAINER, {"": v1(300_000)}, 3.0),
    "both mounted, v1 has the controller": ("4:cpu,cpuacct:/a\n0::/a", f"{V1}\n{V2}", {"a": v1(100_000)}, 1.0),
    "no numbers": ("0::/a", V2, {"a": {"cpu.max": "what is this\n"}}, math.inf),
    "another form": ("what is this", "and this", {}, math.inf),
}
"""Name -> /proc/self/cgroup, its mounts, files of the groups, and the quota in CPUs."""


@pytest.mark.parametrize("case", CASES)
def test_quota(case: str, tmp_path: Path) -> None:
    own, mounts, groups, expected = CASES[case]
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(f"{own}\n")
    (tmp_path / "proc/self/mountinfo").write_text(f"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n{mounts}\n")
    for mount in mounts.splitlines():
        place = tmp_path / mount.split()[4].lstrip("/") if " - " in mount else tmp_path
        for group, files in groups.items():
            (place / group).mkdir(parents=True, exist_ok=True)
            for name, text in files.items():
                (place / group / name).write_text(text)
    assert cpu_quota(tmp_path) == expected
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    assert usable_cpus(tmp_path) == max(1, min(allowed, math.ceil(min(expected, 1000))))


def test_no_such_files(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) == math.inf
    assert usable_cpus(tmp_path) >= 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="there is no affinity here")
def test_a_process_held_to_one_cpu() -> None:
    first = min(os.sched_getaffinity(0))
    script = "from trainer.system.cpus import usable_cpus; print(usable_cpus())"
    done = subprocess.run(
        ["taskset", "-c", f"{first}", sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "1"
