"""Memory of a training step: the search for what fits, and the message when it runs out."""

import contextlib
import gc
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from trainer.engine.memory import (
    OutOfMemory,
    StepSize,
    attempt_step,
    explain_out_of_memory,
    largest_micro_batch,
    ran_out,
)
from trainer.engine.step import TrainingNetwork
from trainer.model.segmenter import Segmenter


@pytest.fixture(autouse=True)
def _frozen_objects() -> Iterator[None]:
    """Hide the objects of earlier tests from the garbage collector, which each attempt calls."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize(
    ("largest", "limit", "tries"),
    [(8, 8, [8]), (8, 7, [8, 4]), (11, 2, [11, 6, 3, 2]), (5, 1, [5, 3, 2, 1]), (3, 0, [3, 2, 1]), (1, 0, [1])],
)
def test_the_first_half_that_fits(largest: int, limit: int, tries: list[int]) -> None:
    tried: list[int] = []

    def attempt(size: int) -> None:
        tried.append(size)
        if size > limit:
            raise torch.OutOfMemoryError(f"{size} are too many")

    assert largest_micro_batch(largest, attempt) == (tries[-1] if limit else 0)
    assert tried == tries


def test_other_errors_are_raised() -> None:
    def attempt(_size: int) -> None:
        raise RuntimeError("a kernel is missing")

    with pytest.raises(RuntimeError, match="kernel"):
        largest_micro_batch(8, attempt)


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("enough", [True, False])
def test_an_attempt_leaves_no_trace(make_segmenter: Callable[..., Segmenter], norm: str, enough: bool) -> None:
    """Weights, statistics, gradients and random numbers are bit for bit as before, also where it failed half-way."""
    segmenter = make_segmenter(2, norm=norm)
    before = {name: value.clone() for name, value in segmenter.state_dict().items()}
    random = torch.get_rng_state()
    reached: list[torch.Size] = []

    @contextlib.contextmanager
    def autocast():
        yield
        reached.append(torch.Size())  # after the forward pass
        if not enough:
            raise torch.OutOfMemoryError("too many")

    with contextlib.nullcontext() if enough else pytest.raises(torch.OutOfMemoryError):
        attempt_step(TrainingNetwork(segmenter), 32, autocast, 3)
    assert reached
    assert all(torch.equal(value, before[name]) for name, value in segmenter.state_dict().items())
    assert all(weight.grad is None for weight in segmenter.parameters())
    assert torch.equal(torch.get_rng_state(), random)


def test_an_attempt_costs_what_a_step_costs(make_segmenter: Callable[..., Segmenter]) -> None:
    """It goes forward and backward through every weight."""
    segmenter, touched = make_segmenter(), set()
    for name, weight in segmenter.named_parameters():
        weight.register_hook(lambda _gradient, name=name: touched.add(name))
    attempt_step(TrainingNetwork(segmenter), 32, contextlib.nullcontext, 2)
    assert touched == {name for name, _ in segmenter.named_parameters()}


SIZE = StepSize(micro_batch_size=1, batch_size=8, image_size=256, width=32)
REAL = {
    "torch": lambda: torch.empty(2**60, dtype=torch.uint8),
    "numpy": lambda: np.empty(2**60, dtype=np.uint8),
    "gpu": lambda: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory.")),
}


@pytest.mark.parametrize("where", REAL)
def test_running_out_is_explained(where: str) -> None:
    with (
        pytest.raises(OutOfMemory, match=r"in step 7, with 5 pictures of 256x256 .*micro_batch_size 2") as several,
        explain_out_of_memory(replace(SIZE, micro_batch_size=5), "in step 7"),
    ):
        REAL[where]()
    assert several.value.__cause__ is not None
    with pytest.raises(OutOfMemory) as one, explain_out_of_memory(SIZE, "in step 7"):
        REAL[where]()
    assert "micro_batch_size" not in str(one.value)


def test_other_errors_stay_what_they_are() -> None:
    assert not ran_out(RuntimeError("shapes differ"))
    with pytest.raises(KeyError), explain_out_of_memory(replace(SIZE, micro_batch_size=5), "in step 7"):
        raise KeyError("x")
