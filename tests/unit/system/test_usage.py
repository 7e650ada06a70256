"""Samples of what a training uses: when they are due, and that they are true."""

import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import psutil
import pytest

from trainer.system.usage import BEGIN_SECONDS, SAMPLE_SECONDS, Usage


class Clock:
    """A clock that a test turns."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def busy(seconds: float) -> None:
    """Use a CPU for some seconds of its time."""
    until_s = time.process_time() + seconds
    while time.process_time() < until_s:
        pass


def test_samples_begin_after_a_minute_and_are_ten_seconds_apart(tmp_path: Path) -> None:
    clock = Clock()
    usage = Usage(tmp_path, clock)
    sampled = []
    for second in range(120):
        clock.now_s = 1000.0 + second
        sampled += [second] if usage.sample() else []
    assert (BEGIN_SECONDS, SAMPLE_SECONDS) == (60, 10)
    assert sampled == [60, 70, 80, 90, 100, 110]


def test_one_sample_after_a_long_pause(tmp_path: Path) -> None:
    clock = Clock()
    usage = Usage(tmp_path, clock)
    clock.now_s += 1000
    assert usage.sample()
    assert usage.sample() == {}
    clock.now_s += SAMPLE_SECONDS
    assert usage.sample()


def test_values_are_those_of_the_machine(tmp_path: Path) -> None:
    clock = Clock()
    usage = Usage(tmp_path, clock)
    busy(0.3)
    clock.now_s += BEGIN_SECONDS
    values = usage.sample()
    own = psutil.Process()
    assert 5 < values["system/process_0_cpu_percentage"] < 150
    assert values["system/process_0_memory_usage_megabytes"] == pytest.approx(own.memory_info().rss / 1e6, rel=0.2)
    assert 0 < values["system/cpu_utilization_percentage"] <= 100
    memory = psutil.virtual_memory()
    assert 0 < values["system/system_memory_usage_megabytes"] < memory.total / 1e6
    assert values["system/system_memory_usage_percentage"] == pytest.approx(memory.percent, abs=10)
    assert values["system/disk_available_megabytes"] == pytest.approx(
        psutil.disk_usage(str(tmp_path)).free / 1e6, rel=0.1
    )
    assert 0 < values["system/disk_usage_percentage"] < 100
    assert set(map(type, values.values())) == {float}


class Nvml(ModuleType):
    """NVIDIA's library on a machine of two GPUs, of which the second one does not answer."""

    class NVMLError(Exception):
        """An error of the library."""

    def nvmlInit(self) -> None:
        """Do nothing."""

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:
        if handle == 1:
            raise self.NVMLError
        return SimpleNamespace(used=20_000_000_000, total=80_000_000_000)

    def nvmlDeviceGetUtilizationRates(self, _handle: int) -> SimpleNamespace:
        return SimpleNamespace(gpu=97, memory=5)

    def nvmlDeviceGetPowerUsage(self, _handle: int) -> int:
        return 350_500


def test_gpus_that_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Nvml("pynvml"))
    clock = Clock()
    usage = Usage(tmp_path, clock)
    clock.now_s += BEGIN_SECONDS
    assert {name: value for name, value in usage.sample().items() if "gpu" in name} == {
        "system/gpu_0_memory_usage_megabytes": 20_000.0,
        "system/gpu_0_memory_usage_percentage": 25.0,
        "system/gpu_0_utilization_percentage": 97.0,
        "system/gpu_0_power_usage_watts": 350.5,
    }


SIBLING = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"


def test_all_processes_of_a_launcher_are_seen(tmp_path: Path) -> None:
    """The launcher's other children have a rank; what else it has started is not sampled, and what has ended is not."""
    script = """
import os, subprocess, sys
from pathlib import Path
from trainer.system.usage import BEGIN_SECONDS, Usage
now = [0.0]
usage = Usage(Path("."), lambda: now[0])
now[0] += BEGIN_SECONDS
print(sorted(key for key in usage.sample() if "process" in key), flush=True)
print(sys.stdin.readline(), end="")
now[0] += BEGIN_SECONDS
print(sorted(key for key in usage.sample() if "process" in key))
"""
    launcher = f"""
import os, subprocess, sys
def start(words, **variables):
    pipes = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
    return subprocess.Popen([sys.executable, *words], env={{**os.environ, **variables}}, text=True, **pipes)
other = start(["-c", {SIBLING!r}], RANK="1", LOCAL_WORLD_SIZE="2")
foreign = start(["-c", {SIBLING!r}])
other.stdout.readline(), foreign.stdout.readline()
main = start(["-c", {script!r}], RANK="0", LOCAL_WORLD_SIZE="2")
print(main.stdout.readline(), end="")
other.kill(), foreign.kill()
other.wait(), foreign.wait()
print(main.communicate("\\n")[0], end="")
"""
    environment = {key: value for key, value in os.environ.items() if key not in ("RANK", "LOCAL_WORLD_SIZE")}
    words = [sys.executable, "-c", launcher]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, cwd=tmp_path, env=environment)
    first, _, last = done.stdout.splitlines()
    own = ["system/process_0_cpu_percentage", "system/process_0_memory_usage_megabytes"]
    assert first == str([*own, "system/process_1_cpu_percentage", "system/process_1_memory_usage_megabytes"])
    assert last == str(own)
