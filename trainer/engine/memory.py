"""Memory of a training step: freed blocks are reused, what fits is found out, and running out is explained."""

import ctypes
import gc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from trainer.model.loss import image_losses, loss_terms

OUT_OF_MEMORY_TEXTS = ("out of memory", "can't allocate memory", "Cannot allocate memory", "bad_alloc")
"""Parts of the messages with which torch, numpy and the system run out of memory."""

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
"""Options of mallopt, in bytes: the smallest block that is given back when freed, and how much is kept for reuse."""


def reuse_freed_memory() -> None:
    """Have the C library reuse large freed blocks, instead of asking the system for zeroed pages each time.

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
    """Memory ran out; the text names the sizes and what helps."""


@dataclass(frozen=True)
class StepSize:
    """Settings that decide how much memory a training step takes."""

    micro_batch_size: int
    """Images that one process sends through the network at once."""

    batch_size: int
    """Images of an optimizer step, over all processes."""

    image_size: int
    """Side of the images in pixels."""

    width: int
    """Channels of the network's first level."""

    def out_of_memory(self, when: str) -> OutOfMemory:
        """Error that says what ran out and which settings help; `when` such as "in step 7"."""
        images, size = self.micro_batch_size, self.image_size
        smaller = (
            f"--train.micro_batch_size {images // 2} (the same batch in smaller pieces), or " if images > 1 else ""
        )
        return OutOfMemory(
            f"memory ran out {when}, with {images} pictures of {size}x{size} pixels at once, of a batch of "
            f"{self.batch_size}, and model.width {self.width}; give {smaller}a smaller --data.image_size, or a smaller "
            "--model.width"
        )


def ran_out(error: BaseException) -> bool:
    """Return whether an error means that memory ran out, on a GPU or a CPU, in torch, numpy or the system."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError | OSError) and any(sign in str(error) for sign in OUT_OF_MEMORY_TEXTS)


@contextmanager
def explain_out_of_memory(size: StepSize, when: str) -> Iterator[None]:
    """Turn running out of memory in the block into an OutOfMemory that says what helps."""
    try:
        yield
    except Exception as error:
        if ran_out(error):
            raise size.out_of_memory(when) from error
        raise


def allocation_can_fail(device: torch.device) -> bool:
    """Return whether allocation fails at once: on a GPU. A CPU's system promises memory, and ends the process later."""
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
    # Outside the handler, whose traceback holds on to the tensors.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return fits


def attempt_step(
    network: nn.Module, side: int, autocast: Callable[[], AbstractContextManager[None]], size: int, channels: int = 3
) -> None:
    """Allocate what one training step takes: forward and backward of `size` dummy images of `side` x `side` pixels.

    `network` maps levels of so many `channels` to logits. Weights, buffers, gradients and random numbers are afterwards
    as before. Holds no collective, so that a process for which it is too much keeps no other waiting.
    """
    weights = list(network.parameters())
    buffers = [buffer.clone() for buffer in network.buffers()]
    device = weights[0].device
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            # AdamW's two moments, which come with the first step, and the EMA.
            copies = [torch.empty_like(weight) for weight in weights for _ in range(3)]
            images = torch.zeros(size, channels, side, side, device=device)
            masks = torch.zeros(size, side, side, dtype=torch.uint8, device=device)
            network.train()
            with autocast():
                logits = network(images)
            image_losses(loss_terms(logits, masks), 1.0, 0.5).sum().backward()
            del copies
    finally:
        for weight in weights:
            weight.grad = None
        with torch.no_grad():
            for buffer, before in zip(network.buffers(), buffers, strict=True):
                buffer.copy_(before)
