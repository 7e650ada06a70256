"""Usage of its machine by a training, by MLflow's names: CPU, memory, disk, GPUs, and each process of it.

Sampled between two steps by the first process of a machine, which sees the other ones there too.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

BEGIN_SECONDS = 60.0
"""Time after which sampling begins, in seconds: a short run has nothing to look at."""

SAMPLE_SECONDS = 10.0
"""Interval between two samples, in seconds."""

MEGABYTE = 1e6


class Usage:
    """Samples of what is used, when they are due. The first one covers the time since this was made."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic, within: str = "") -> None:
        """`folder`: on the disk to watch; `clock`: seconds; `within`: part of all names, such as node_1/."""
        import psutil  # of the extra `train`

        self.psutil, self.folder, self.clock, self.within = psutil, folder, clock, within
        self.due_s = clock() + BEGIN_SECONDS
        self.processes = dict(_own_processes(psutil))
        self.gpus = _Gpus()
        psutil.cpu_percent()  # shares of the CPU are those since the call before
        for process in self.processes.values():
            with suppress(psutil.Error):
                process.cpu_percent()

    def sample(self) -> dict[str, float]:
        """Metrics of now where a sample is due, else none."""
        now_s = self.clock()
        if now_s < self.due_s:
            return {}
        self.due_s = now_s + SAMPLE_SECONDS
        values: dict[str, float] = {}
        with suppress(self.psutil.Error, OSError):  # a system that hides something
            values |= self._machine()
        values |= self.gpus.sample()
        for rank, process in self.processes.items():
            with suppress(self.psutil.Error):  # it has ended
                values[f"process_{rank}_cpu_percentage"] = process.cpu_percent()
                values[f"process_{rank}_memory_usage_megabytes"] = process.memory_info().rss / MEGABYTE
        return {f"system/{self.within}{name}": float(value) for name, value in values.items()}

    def _machine(self) -> Iterator[tuple[str, float]]:
        yield "cpu_utilization_percentage", self.psutil.cpu_percent()
        memory = self.psutil.virtual_memory()
        yield "system_memory_usage_megabytes", memory.used / MEGABYTE
        yield "system_memory_usage_percentage", memory.percent
        with suppress(OSError):  # a network disk that is away; the steps go on
            disk = self.psutil.disk_usage(str(self.folder))
            yield "disk_usage_percentage", disk.percent
            yield "disk_available_megabytes", disk.free / MEGABYTE


def _own_processes(psutil: Any) -> Iterator[tuple[int, Any]]:
    """Yield rank and process of each process of this training on this machine: those that the launcher started."""
    own = psutil.Process()
    yield int(os.environ.get("RANK", "0")), own
    launched: list[Any] = []
    if int(os.environ.get("LOCAL_WORLD_SIZE", "1")) > 1:
        with suppress(psutil.Error, AttributeError):  # the launcher may be hidden, or gone
            launched = own.parent().children()
    for process in launched:
        with suppress(psutil.Error, KeyError, ValueError):
            if process.pid != own.pid:
                yield int(process.environ()["RANK"]), process


class _Gpus:
    """GPUs of this machine, where NVIDIA's library can be asked about them."""

    def __init__(self) -> None:
        self.handles: list[Any] = []
        try:
            import pynvml

            pynvml.nvmlInit()
            self.library = pynvml
            self.handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        except Exception:  # not installed, or no driver: its errors are of its own kind
            return

    def sample(self) -> Iterator[tuple[str, float]]:
        """Yield what each GPU uses; nothing of one that does not answer."""
        for index, handle in enumerate(self.handles):
            with suppress(self.library.NVMLError):
                memory = self.library.nvmlDeviceGetMemoryInfo(handle)
                yield f"gpu_{index}_memory_usage_megabytes", memory.used / MEGABYTE
                yield f"gpu_{index}_memory_usage_percentage", 100 * memory.used / memory.total
                yield f"gpu_{index}_utilization_percentage", self.library.nvmlDeviceGetUtilizationRates(handle).gpu
                yield f"gpu_{index}_power_usage_watts", self.library.nvmlDeviceGetPowerUsage(handle) / 1000
