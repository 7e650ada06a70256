"""Memory: freed blocks are kept, how many pictures fit at once is found out, and running out is explained."""

import ctypes
import gc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import nn

from trainer.config import Config
from trainer.model.loss import image_losses, loss_terms

SIGNS = ("out of memory", "can't allocate memory", "Cannot allocate memory", "bad_alloc")


MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
"""What mallopt calls them, in bytes: the smallest block that is given back when freed, and how much is kept."""


def keep_what_is_freed() -> None:
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
def explained(config: Config, pictures: int, when: str) -> Iterator[None]:
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


def can_be_tried(device: torch.device) -> bool:
    """A GPU refuses what does not fit. A CPU's system promises it, and ends the process later."""
    return device.type == "cuda"


def largest_micro_batch(largest: int, attempt: Callable[[int], None]) -> int:
    """`largest`, or the first of its halves that `attempt` does not run out of memory with; 0 where not even 1 fits."""
    size = largest
    while size:
        if _fits(size, attempt):
            return size
        size = (size + 1) // 2 if size > 1 else 0
    return 0


def _fits(size: int, attempt: Callable[[int], None]) -> bool:
    try:
        attempt(size)
    except Exception as error:
        if not ran_out(error):
            raise
        fits = False
    else:
        fits = True
    # Outside the handler: its traceback holds on to the tensors.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return fits


def attempt_step(view: nn.Module, side: int, autocast: Callable[[], AbstractContextManager], size: int) -> None:
    """The memory of one training step: forward and backward of `size` dummy pictures of `side` x `side` pixels.

    `view` maps RGB levels to logits. Weights, buffers, gradients and random numbers are afterwards as before. Holds
    no collective, so that a process for which it is too much leaves nobody waiting.
    """
    weights = list(view.parameters())
    buffers = [buffer.clone() for buffer in view.buffers()]
    device = weights[0].device
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            # AdamW's two moments, which come with the first step.
            moments = [torch.empty_like(weight) for weight in weights for _ in range(2)]
            images = torch.zeros(size, 3, side, side, device=device)
            masks = torch.zeros(size, side, side, dtype=torch.uint8, device=device)
            view.train()
            with autocast():
                logits = view(images)
            image_losses(loss_terms(logits, masks), 1.0, 0.5).sum().backward()
            del moments
    finally:
        for weight in weights:
            weight.grad = None
        with torch.no_grad():
            for buffer, before in zip(view.buffers(), buffers, strict=True):
                buffer.copy_(before)
