"""One GPU against the CPU: the same samples and rates; losses and gradients within what its arithmetic allows."""

import os
import sys
from pathlib import Path

import pytest
import torch

from tests.support.parity import Case, Difference, case, compare, make_data, run_world
from tests.support.program import REPOSITORY, Command

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU on this machine")
# The nearest neighbour of a turned mask may be another one on a GPU: nothing is turned here.
PLAIN = ["--train.batch_size", "4", "--data.augment", "off"]
FLOAT32 = {"NVIDIA_TF32_OVERRIDE": "0"}  # a GPU's default rounds the inputs of convolutions to 10 bits


def against_cpu(folder: Path, one: Case, precision: str, **environment: str) -> Difference:
    data = make_data(folder / "data")
    reference = run_world(1, {"cpu": case(*PLAIN)}, data, folder / "cpu", CUDA_VISIBLE_DEVICES="")["cpu"]
    found = run_world(1, {"gpu": one}, data, folder / "gpu", precision, timeout_s=600, **environment)["gpu"]
    assert not isinstance(reference, str)
    assert not isinstance(found, str), found
    assert found[0].content["device"] == "cuda"
    return compare(reference[0], found)


@needs_gpu
@pytest.mark.long
@pytest.mark.parametrize("pieces", [[], ["--train.micro_batch_size", "1"]])
def test_float32(tmp_path: Path, pieces: list[str]) -> None:
    found = against_cpu(tmp_path, case(*PLAIN, *pieces), "no", **FLOAT32)
    assert found.same_samples
    assert found.rate == 0
    assert found.loss <= 1e-5
    assert found.gradient <= 1e-4
    assert found.validation <= 1e-3  # a pixel on the edge of a class


@needs_gpu
@pytest.mark.long
@pytest.mark.timeout(900)
def test_bf16_and_compiled(tmp_path: Path) -> None:
    fast = case(*PLAIN, "--train.mixed_precision", "bf16", "--train.compile", "on")
    found = against_cpu(tmp_path, fast, "bf16")
    assert found.same_samples
    assert found.rate == 0
    assert found.loss <= 5e-3
    assert found.gradient <= 0.5  # of one tensor, the worst
    assert found.validation <= 1e-2


def test_the_benchmark_refuses_without_a_gpu() -> None:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(REPOSITORY)}
    with Command([sys.executable, "-m", "tests.benchmarks.gpu"], REPOSITORY, environment) as command:
        ended = command.end(100)
    assert ended.returncode == 2
    assert "no GPU" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not ended.stdout
