"""Crops that train: a function of seed, epoch and sample, near labelled pixels, and with pixels on all sides."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.data import count_nothing, sources_of
from trainer import IGNORE
from trainer.data.augment import augment
from trainer.data.cache import open_samples
from trainer.data.crops import Crops, training_pixels
from trainer.data.full_size import FullSize
from trainer.data.image_io import write_mask
from trainer.data.sample import Sample
from trainer.data.view import View

SIDE = 32


def make(folder: Path, masks: list[np.ndarray]) -> FullSize:
    """Samples whose images hold their own coordinates: red is the row, green the column."""
    samples = []
    for number, mask in enumerate(masks):
        rows, columns = np.indices(mask.shape)
        image = np.dstack([rows % 256, columns % 256, np.full(mask.shape, 255)]).astype(np.uint8)
        files = folder / f"{number}.png", folder / f"{number}_mask.png"
        Image.fromarray(image).save(files[0])
        write_mask(files[1], mask)
        samples.append(Sample(f"{number}", str(files[0]), str(files[1])))
    found, _ = open_samples(sources_of(samples), View(SIDE, tiles=True), folder / "cache", count_nothing)
    assert isinstance(found, FullSize)
    return found


@pytest.fixture
def large(tmp_path: Path) -> FullSize:
    """One object of 3x3 pixels in 240x200, and an empty mask."""
    mask = np.zeros((240, 200), np.uint8)
    mask[150:153, 40:43] = 1
    return make(tmp_path, [mask, np.zeros_like(mask)])


def test_a_function_of_seed_epoch_and_sample(large: FullSize) -> None:
    pixels = training_pixels(large, 5, "strong", 0.5)
    images, masks = pixels.read([0, 1, 0], 3, SIDE)
    assert torch.equal(images[0], images[2])
    alone, mask = pixels.read(np.array([1]), 3, SIDE)
    assert torch.equal(alone[0], images[1])
    assert torch.equal(mask[0], masks[1])
    for other in (pixels.read([0], 4, SIDE), pixels.read([0], 3, SIDE, stream=1)):
        assert not torch.equal(other[0][0], images[0])
    assert not torch.equal(training_pixels(large, 6, "strong", 0.5).read([0], 3, SIDE)[0][0], images[0])


def test_pixels_are_those_of_the_place(large: FullSize) -> None:
    crops = Crops(large, 0, "off")
    for epoch in range(20):
        top, left = crops.corner(0, epoch, SIDE)
        images, _ = crops.read([0], epoch, SIDE)
        assert images.shape == (1, 3, SIDE, SIDE)
        assert (images[0, 0, 0, 0], images[0, 1, 0, 0]) == (top, left)
        assert 0 <= top <= 240 - SIDE
        assert 0 <= left <= 200 - SIDE


def test_crops_lie_everywhere(large: FullSize) -> None:
    corners = np.array([Crops(large, 0, "off").corner(1, epoch, SIDE) for epoch in range(300)])
    assert (corners.min(axis=0) < 6).all()
    assert corners[:, 0].max() > 240 - SIDE - 6
    assert corners[:, 1].max() > 200 - SIDE - 6


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0.0, 0.1), (0.5, 0.4, 0.65), (1.0, 1.0, 1.0)])
def test_share_near_labelled_pixels(large: FullSize, share: float, least: float, most: float) -> None:
    crops = Crops(large, 0, "off", share)
    seen = [bool((crops.read([0], epoch, SIDE)[1] == 1).any()) for epoch in range(200)]
    assert least <= np.mean(seen) <= most


def test_rare_classes_first(tmp_path: Path) -> None:
    """Of a class with a hundredth of the other's pixels, ten times as many crops: 1 / sqrt(pixels)."""
    mask = np.zeros((300, 300), np.uint8)
    mask[:200, :200], mask[280:, 280:] = 1, 2
    large = make(tmp_path, [mask])
    pixels = training_pixels(large, 0, "off", 1.0, np.array([49600, 40000, 400]))
    even = Crops(large, 0, "off", 1.0)
    rare, alike = (
        np.mean([bool((one.read([0], epoch, SIDE)[1] == 2).any()) for epoch in range(300)]) for one in (pixels, even)
    )
    assert rare == pytest.approx(10 / 11, abs=0.05)
    assert alike == pytest.approx(1 / 2, abs=0.08)


def test_a_small_image_is_in_the_middle(tmp_path: Path) -> None:
    small = make(tmp_path, [np.ones((10, 20), np.uint8)])
    for share in (0.0, 1.0):
        images, masks = Crops(small, 0, "off", share).read([0], 0, SIDE)
        assert int((masks == 1).sum()) == 200
        assert int((masks == IGNORE).sum()) == SIDE**2 - 200
        assert (masks[0, 11:21, 6:26] == 1).all()
        assert (images[0, 2] == 255).sum() == 200


@pytest.mark.parametrize("preset", ["light", "strong"])
def test_no_turn_or_zoom_shows_the_end_of_what_was_read(tmp_path: Path, preset: str) -> None:
    """In the middle of a large image every pixel of a changed crop is labelled; without the margin some are not."""
    mask = np.ones((400, 400), np.uint8)
    large = make(tmp_path, [mask])
    crops = Crops(large, 0, preset)
    rows = np.zeros(200, int)
    ignored = {}
    for name in ("with", "without"):
        images, masks = (
            torch.cat(parts)
            for parts in zip(
                *[_middle(large, SIDE if name == "without" else round(SIDE / crops.share(SIDE))) for _ in rows],
                strict=True,
            )
        )
        share = crops.share(SIDE) if name == "with" else 0.999
        changed = augment(images, masks, preset, 0, 0, range(len(rows)), SIDE, share=share)[1]
        ignored[name] = int((changed == IGNORE).sum())
    assert ignored["with"] == 0
    assert ignored["without"] > 100


def _middle(large: FullSize, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    image, mask = large.window(0, 200 - side // 2, 200 - side // 2, side)
    return torch.from_numpy(image).permute(2, 0, 1)[None], torch.from_numpy(mask)[None]


def test_a_crop_that_nothing_moves_is_the_middle_of_what_was_read(
    large: FullSize, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Augmentation of no strength shows the crop itself, pixel for pixel."""
    from trainer.data import augment as module

    still = module.Strength(rotation=0, zoom=1, stretch=1, shift=0.2, brightness=0, colour=1, hue=0, grey=0, blur=0)
    monkeypatch.setitem(module.STRENGTHS, "light", still)
    plain = Crops(large, 0, "off", 1.0).read([0], 0, SIDE)
    margin = 8
    top, left = Crops(large, 0, "off", 1.0).corner(0, 0, SIDE)
    image, mask = large.window(0, top - margin, left - margin, SIDE + 2 * margin)
    images, masks = torch.from_numpy(image).permute(2, 0, 1)[None], torch.from_numpy(mask)[None]
    for epoch in range(4):  # flipped or not
        found, moved = augment(images, masks, "light", 0, epoch, [0], SIDE, share=SIDE / (SIDE + 2 * margin))
        flips = [torch.equal(moved[0], one) for one in (plain[1][0], plain[1][0].flip(1))]
        assert any(flips)
        expected = plain[0][0] if flips[0] else plain[0][0].flip(2)
        assert float((found[0] - expected.float()).abs().max()) < 1.5
