"""Resizing of masks, and the memory of resizing."""

from pathlib import Path

import numpy as np
import pytest

from trainer.data.resize import shrink_image
from trainer.data.resize_mask import shrink_mask


@pytest.mark.parametrize("size", [8, 10, 31, 64])
def test_smaller_mask_takes_the_nearest_pixel(size: int) -> None:
    mask = np.random.default_rng(0).choice([0, 3, 200, 255], (24, 40)).astype(np.uint8)
    found = shrink_mask(mask, size)
    assert found.shape == (size, size)
    # By definition, the pixel of the mask that the centre of the new pixel lies in.
    for row in range(size):
        for column in range(size):
            assert found[row, column] == mask[int((row + 0.5) * 24 / size), int((column + 0.5) * 40 / size)]
    assert np.array_equal(shrink_mask(mask[:24, :24], 24), mask[:24, :24])


PROCESS = Path("/proc/self")


def peak_bytes() -> int:
    (line,) = (line for line in (PROCESS / "status").read_text().splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


@pytest.mark.skipif(not (PROCESS / "clear_refs").exists(), reason="the peak is read from Linux's /proc")
def test_huge_images_take_the_memory_of_strips() -> None:
    """Small results between freed strips once held on to all of their memory, float32 of the whole image."""
    image = np.ones((6000, 6000, 3), np.uint8)
    (PROCESS / "clear_refs").write_text("5")
    before = peak_bytes()
    assert (shrink_image(image, 64) == 1).all()
    assert peak_bytes() - before < image.nbytes
