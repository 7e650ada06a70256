"""Training loops written plainly, to compare the program's own with.

Each function makes everything a loop needs and returns a function without arguments that takes one optimizer step.
"""

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from trainer.engine import memory
from trainer.model.loss import image_losses, loss_terms
from trainer.model.segmenter import Contract, Segmenter
from trainer.model.unet import UNet

Step = Callable[[], None]


@dataclass(frozen=True)
class Task:
    """Network, images and number format, the same for every loop."""

    width: int
    image_size: int
    batch_size: int
    device: str  # cpu or cuda
    precision: str  # no or bf16, as in train.mixed_precision

    @property
    def dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bf16")

    def images(self) -> tuple[Tensor, Tensor]:
        """Make a batch in memory: noise, uint8 [B, 3, S, S], and masks of two classes, uint8 [B, S, S]."""
        random, side = torch.Generator().manual_seed(0), self.image_size
        images = torch.randint(0, 256, (self.batch_size, 3, side, side), dtype=torch.uint8, generator=random)
        masks = torch.randint(0, 2, (self.batch_size, side, side), dtype=torch.uint8, generator=random)
        return images.to(self.device), masks.to(self.device)

    def flops(self) -> int:
        """Floating point operations (a multiplication and an addition are two) of one image, forward and backward."""
        network = UNet(1, self.width).to("meta")
        with FlopCounterMode(display=False) as counter:
            network(torch.empty(1, 3, self.image_size, self.image_size, device="meta")).sum().backward()
        return counter.get_total_flops()


def with_freed_memory(step: Step, keep: bool) -> Step:
    """Wrap `step`: freed memory stays with the process as in the program, or is given back as the C library does."""

    def kept() -> None:
        memory.reuse_freed_memory()
        step()

    def given_back() -> None:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(memory.MMAP_THRESHOLD, 32 * 2**20)  # where glibc ends up by itself after the first large blocks
        mallopt(memory.TRIM_THRESHOLD, 64 * 2**20)
        step()

    return kept if keep else given_back


def plain(network: UNet) -> UNet:
    """Give the network torch's transposed convolutions, with the same weights."""
    for place, ours in enumerate(network.up):
        theirs = nn.ConvTranspose2d(ours.in_channels, ours.out_channels, 2, stride=2)  # type: ignore[arg-type]
        theirs.load_state_dict(ours.state_dict())
        network.up[place] = theirs
    return network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def tutorial(task: Task) -> Step:
    """Make the loop that this program grew from: float32, channels first, Adam, Dice of the batch."""
    network = plain(UNet(1, task.width)).to(task.device).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    images, masks = task.images()
    images, truth = images / 255, masks[:, None].float()

    def step() -> None:
        optimizer.zero_grad()
        probabilities = network(images).sigmoid()
        loss = 1 - (2 * (probabilities * truth).sum() + 1) / (probabilities.sum() + truth.sum() + 1)
        loss.backward()
        optimizer.step()
        loss.item()

    return step


def bare(task: Task, compiled: bool) -> Step:
    """Make a loop of the program's network, loss, optimizer and number format: no data, augmentation or record."""
    segmenter = Segmenter(Contract(("background", "cat"), ((0, 0, 0), (0, 128, 0)), task.image_size, task.width))
    segmenter.to(task.device).train()
    network = segmenter.network
    if compiled:
        network.compile()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    images, masks = task.images()
    resized = segmenter.normalise(images).contiguous(memory_format=torch.channels_last)

    def step() -> None:
        optimizer.zero_grad()
        with task.autocast():
            logits = network(resized)
        image_losses(loss_terms(logits, masks), smooth=1.0, cross_entropy=0.5).mean().backward()
        optimizer.step()

    return step


class Arrays(Dataset[tuple[Tensor, Tensor]]):
    """Images in memory, flipped at random: as cheap as a dataset can be."""

    def __init__(self, task: Task, count: int) -> None:
        random, side = np.random.default_rng(0), task.image_size
        self.images = random.integers(0, 256, (count, 3, side, side), np.uint8)
        self.masks = random.integers(0, 2, (count, 1, side, side), np.uint8)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, mask = torch.from_numpy(self.images[index]).float() / 255, torch.from_numpy(self.masks[index]).float()
        return (image.flip(2), mask.flip(2)) if np.random.random() < 0.5 else (image, mask)  # noqa: NPY002


def endless(loader: DataLoader[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield one epoch after the other."""
    while True:
        yield from loader


def usual(task: Task, workers: int = 4) -> Step:
    """Make the loop most people write: float32 weights, channels first, autocast, a DataLoader, `.item()`."""
    network = plain(UNet(1, task.width)).to(task.device).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    pinned, data = task.device == "cuda", Arrays(task, 20 * task.batch_size)
    loader = DataLoader(
        data, task.batch_size, shuffle=True, num_workers=workers, pin_memory=pinned, persistent_workers=True
    )
    batches = endless(loader)
    cross_entropy = torch.nn.BCEWithLogitsLoss()

    def step() -> None:
        images, masks = (part.to(task.device, non_blocking=True) for part in next(batches))
        optimizer.zero_grad()
        with task.autocast():
            logits = network(images)
            probabilities = logits.float().sigmoid()
            sums = probabilities.sum((1, 2, 3)) + masks.sum((1, 2, 3))
            dice = 1 - (2 * (probabilities * masks).sum((1, 2, 3)) + 1) / (sums + 1)
            loss = dice.mean() + 0.5 * cross_entropy(logits, masks)
        loss.backward()
        optimizer.step()
        loss.item()

    return step


def matrix_product(task: Task, side: int) -> Step:
    """Make one product of two square matrices: 2 side ** 3 operations at the machine's peak rate."""
    left, right = (torch.randn(side, side, device=task.device, dtype=task.dtype) for _ in range(2))
    result = torch.empty_like(left)

    def step() -> None:
        torch.mm(left, right, out=result)

    return step
