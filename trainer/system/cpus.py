"""CPUs that this process may use: by its affinity, and by the quotas of its control groups."""

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath


def usable_cpus(root: Path = Path("/")) -> int:
    """Count the CPUs that this process may use: those it may run on, and no more than its quota, rounded up.

    `root`: folder that has proc/ and the mounts.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(allowed, cpu_quota(root))))


def cpu_quota(root: Path = Path("/")) -> float:
    """CPU seconds that this process's control groups may take in each second; infinite where nothing limits them.

    Containers and systemd set it (`docker run --cpus 1.5`), and threads beyond it are put to sleep in turn. Control
    groups are nested, and the smallest quota of all holds. Reads version 1 and 2.
    """
    quotas = [math.inf]
    with suppress(OSError, ValueError, IndexError):  # another system than Linux, or another form of these files
        for folder in _cpu_groups(root):
            quotas.append(_quota(folder))
    return min(quotas)


def _cpu_groups(root: Path) -> Iterator[Path]:
    """Folders of the control groups that limit this process's CPU time: its own, and all that are visible above it."""
    own = {}
    for line in (root / "proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers or "cpu" in controllers.split(","):
            own["cgroup" if controllers else "cgroup2"] = PurePosixPath(path)
    for line in (root / "proc/self/mountinfo").read_text().splitlines():
        before, after = (part.split() for part in line.split(" - ", 1))
        kind, options = after[0], after[-1].split(",")
        if kind not in own or (kind == "cgroup" and "cpu" not in options):
            continue
        shown, place = PurePosixPath(before[3]), root / before[4].lstrip("/")
        # A container may see its own group alone, as the top of the mount, under whatever name that has outside.
        own_path = own[kind]
        inside = own_path.is_relative_to(shown) and ".." not in own_path.parts
        below = own_path.relative_to(shown).parts if inside else ()
        for depth in range(len(below) + 1):
            yield place.joinpath(*below[:depth])


def _quota(group: Path) -> float:
    """Quota of one control group, in CPUs."""
    if (group / "cpu.max").exists():
        quota, period = (group / "cpu.max").read_text().split()
    elif (group / "cpu.cfs_quota_us").exists():
        quota, period = ((group / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
    else:  # the topmost group
        return math.inf
    return math.inf if quota in ("max", "-1") else int(quota) / int(period)
