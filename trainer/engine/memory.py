"""Memory: freed blocks are kept, how many pictures fit at once is found out, and running out is explained."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from trainer.config import Config

SIGNS = ("out of memory", "can't allocate memory", "Cannot allocate memory", "bad_alloc")


MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
"""What mallopt calls them, in bytes: the smallest block that is given back when freed, and how much is kept."""


def keep_freed_memory() -> None:
    """Have the C library keep large blocks that are freed, instead of asking the system for zeroed pages each time.

    Activations are such blocks, in every step anew: on a CPU that takes a tenth of the time of a step at 256 pixels and
    width 32. Peak memory grows by a fifth. Does nothing where the C library is not glibc.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(MMAP_THRESHOLD, 2**30)
    mallopt(TRIM_THRESHOLD, 2**31 - 1)


class OutOfMemory(RuntimeError):
    """Memory ran out; the text says with what and what helps."""


def ran_out(error: BaseException) -> bool:
    """Whether this error says so, on a GPU or a CPU, from torch, numpy or the system."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError | OSError) and any(sign in str(error) for sign in SIGNS)


@contextmanager
def explain_out_of_memory(config: Config, pictures: int, when: str) -> Iterator[None]:
    """Turns running out of memory with `pictures` at once into an OutOfMemory that says what helps."""
    try:
        yield
    except Exception as error:
        if ran_out(error):
            raise advise(config, pictures, when) from error
        raise


def advise(config: Config, pictures: int, when: str) -> OutOfMemory:
    """What to tell a person whose `pictures` at once did not fit."""
    smaller = (
        f"--train.micro_batch_size {pictures // 2} (the same batch in smaller pieces), or " if pictures > 1 else ""
    )
    size, width = config.data.image_size, config.model.width
    return OutOfMemory(
        f"memory ran out {when}, with {pictures} pictures of {size}x{size} pixels at once, of a batch of "
        f"{config.train.batch_size}, and model.width {width}; give {smaller}a smaller --data.image_size, or a smaller "
        "--model.width"
    )
