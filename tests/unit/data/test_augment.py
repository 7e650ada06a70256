"""Augmentation: a function of (seed, epoch, sample) alone, with the same movement for image and mask."""

import math

import kornia
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.support.images import box_mask, smooth_image
from trainer import IGNORE
from trainer.data.augment import (
    STRENGTHS,
    _warp,
    adjust_saturation_and_hue,
    augment,
    choose_paste_sources,
    draw_parameters,
)

PRESETS = ["light", "strong"]
SIZE = 48


def batch(samples: list[int], classes: int = 4) -> tuple[Tensor, Tensor]:
    """Images uint8 [B, 3, S, S] and masks uint8 [B, S, S] of these samples, as the cache returns them."""
    images = np.stack([smooth_image(SIZE, SIZE, sample) for sample in samples])
    masks = np.stack([box_mask(SIZE, SIZE, sample, classes) for sample in samples])
    return torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(masks)


def augmented(samples: list[int], preset: str = "strong", seed: int = 0, epoch: int = 0) -> tuple[Tensor, Tensor]:
    return augment(*batch(samples), preset, seed, epoch, samples)


@pytest.mark.parametrize("preset", PRESETS)
def test_shapes_and_types(preset: str) -> None:
    before = batch([0, 1, 2])
    copies = [tensor.clone() for tensor in before]
    images, masks = augment(*before, preset, 0, 0, [0, 1, 2])
    assert images.shape == (3, 3, SIZE, SIZE)
    assert images.dtype == torch.float32
    assert masks.shape == (3, SIZE, SIZE)
    assert masks.dtype == torch.uint8
    assert images.min() >= 0
    assert images.max() <= 255.001
    assert images.max() > 100  # levels, not shares of 1
    assert all(torch.equal(one, other) for one, other in zip(before, copies, strict=True))


def test_off_changes_nothing() -> None:
    before = batch([0, 1])
    images, masks = augment(*before, "off", 0, 0, [0, 1])
    assert torch.equal(images, before[0].float())
    assert torch.equal(masks, before[1])


def test_empty_batch() -> None:
    images, masks = augment(
        torch.zeros(0, 3, 8, 8, dtype=torch.uint8), torch.zeros(0, 8, 8, dtype=torch.uint8), "strong", 0, 0, []
    )
    assert images.shape == (0, 3, 8, 8)
    assert images.dtype == torch.float32
    assert masks.shape == (0, 8, 8)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_sample_does_not_depend_on_its_batch(preset: str) -> None:
    """One process and three, or micro-batches of any size, train with the same images."""
    samples = list(range(24))
    blurred = [sample for sample in samples if draw_parameters(STRENGTHS["strong"], 0, 0, sample).blur]
    assert 2 <= len(blurred) < len(samples)  # some samples are blurred, each with its own sigma
    together = augmented(samples, preset)
    for other in (samples[::-1], samples[3:9], [11], [5, 5, 2], blurred[:1]):
        images, masks = augmented(other, preset)
        for row, sample in enumerate(other):
            torch.testing.assert_close(images[row], together[0][sample], rtol=0, atol=1e-3)  # of 255 levels
            assert torch.equal(masks[row], together[1][sample])


def test_each_sample_seed_and_epoch_has_its_own_augmentation() -> None:
    first = augmented([3])
    assert torch.equal(augmented([3])[0], first[0])
    for images in (augmented([3], epoch=1)[0], augmented([3], seed=1)[0], augmented([3], "light")[0]):
        assert (images - first[0]).abs().mean() > 1
    same_image = batch([3])[0].expand(2, -1, -1, -1), batch([3])[1].expand(2, -1, -1)
    images, _ = augment(*same_image, "strong", 0, 0, [3, 4])
    assert (images[0] - images[1]).abs().mean() > 1


def test_global_random_numbers_are_neither_used_nor_consumed() -> None:
    torch.manual_seed(0)
    first = augmented([3])[0]
    state = torch.get_rng_state()
    torch.manual_seed(1)
    assert torch.equal(augmented([3])[0], first)
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("preset", PRESETS)
def test_image_and_mask_move_together(preset: str) -> None:
    """A mask drawn into its image lies where the mask lies, also after the movement."""
    samples = list(range(12))
    masks = batch(samples, classes=2)[1]
    images = (masks * 255)[:, None].repeat(1, 3, 1, 1)
    parameters = [draw_parameters(STRENGTHS[preset], 0, 0, sample) for sample in samples]
    moved_images, moved_masks = _warp(images, masks, parameters, SIZE)
    assert not torch.equal(moved_masks, masks)
    inside = moved_masks != IGNORE
    level = moved_images[:, 0]
    sure = inside & ((level < 0.3) | (level > 0.7))  # the image is smooth at the borders
    assert sure.sum() > 0.9 * inside.sum()
    assert torch.equal((level > 0.5)[sure], (moved_masks == 1)[sure])
    assert (level[~inside] < 0.7).all()


@pytest.mark.parametrize("preset", PRESETS)
def test_movement_equals_pillow(preset: str) -> None:
    """Oracle: the same affine map by Pillow on a mask of four values; pixels on an edge may differ."""
    samples = list(range(8))
    masks = batch(samples)[1]
    parameters = [draw_parameters(STRENGTHS[preset], 0, 0, sample) for sample in samples]
    _, moved = _warp(batch(samples)[0], masks, parameters, SIZE)
    to_unit = np.array([[2 / SIZE, 0, -1], [0, 2 / SIZE, -1], [0, 0, 1]])
    for mask, result, one in zip(masks.numpy(), moved.numpy(), parameters, strict=True):
        pixels = np.linalg.inv(to_unit) @ np.vstack([one.affine, [0, 0, 1]]) @ to_unit
        # Pillow fills with 0, so the values are increased by one.
        oracle = Image.fromarray(mask + 1).transform((SIZE, SIZE), Image.Transform.AFFINE, tuple(pixels[:2].ravel()))
        assert (np.array(oracle) - 1 == result).mean() > 0.995


def test_pixels_from_outside_are_ignored() -> None:
    images, masks = batch(list(range(20)))
    masks = torch.zeros_like(masks)  # background up to the border, which 0 outside would look like
    _, moved = augment(images, masks, "strong", 0, 0, range(20))
    assert set(moved.unique().tolist()) == {0, IGNORE}
    white = torch.full_like(images, 255)
    parameters = [draw_parameters(STRENGTHS["strong"], 0, 0, sample) for sample in range(20)]
    level, outside = _warp(white, masks, parameters, SIZE)
    assert (level[:, 0][outside == IGNORE] <= 0.5).all()
    assert (level[:, 0][outside == 0] >= 0.25 - 1e-4).all()  # a quarter in the corners of the image


def test_no_new_values_in_masks() -> None:
    samples = list(range(16))
    masks = torch.from_numpy(np.random.default_rng(0).choice([0, 3, 200, 255], (16, SIZE, SIZE)).astype(np.uint8))
    _, moved = augment(batch(samples)[0], masks, "strong", 0, 0, samples)
    assert set(moved.unique().tolist()) == {0, 3, 200, 255}


@pytest.mark.parametrize("preset", PRESETS)
def test_parameters_fill_their_ranges(preset: str) -> None:
    strength = STRENGTHS[preset]
    parameters = [draw_parameters(strength, 0, epoch, sample) for epoch in range(20) for sample in range(50)]
    linear = np.stack([one.affine[:, :2] for one in parameters])
    areas = np.linalg.det(linear)
    assert 0.4 < (areas < 0).mean() < 0.6  # flips
    assert strength.zoom**-2 - 1e-9 <= np.abs(areas).min() < strength.zoom**-1.7
    assert strength.zoom**1.7 < np.abs(areas).max() <= strength.zoom**2 + 1e-9
    turns = np.degrees(np.arctan2(linear[:, 0, 1], linear[:, 1, 1]))
    assert 0.9 * strength.rotation < np.abs(turns).max() <= strength.rotation + 1e-6
    shifts = np.abs(np.stack([one.affine[:, 2] for one in parameters])) / 2
    assert 0.9 * strength.shift < shifts.max() <= strength.shift
    assert 0.9 * strength.brightness < max(abs(one.brightness) for one in parameters) <= strength.brightness
    assert 0.9 * strength.hue < max(abs(one.hue) for one in parameters) <= strength.hue
    limit = math.log(strength.colour)
    for name in ("contrast", "saturation"):
        logs = [abs(math.log(value)) for one in parameters if (value := getattr(one, name)) > 0]
        assert 0.9 * limit < max(logs) <= limit + 1e-9
    assert np.mean([one.saturation == 0 for one in parameters]) == pytest.approx(strength.grey, abs=0.05)
    assert np.mean([one.blur > 0 for one in parameters]) == pytest.approx(strength.blur, abs=0.05)


def test_grey_images_have_no_colour() -> None:
    grey = [sample for sample in range(80) if draw_parameters(STRENGTHS["strong"], 0, 0, sample).saturation == 0][:2]
    images, _ = augmented(grey)
    assert (images.amax(dim=1) - images.amin(dim=1)).max() < 1


@pytest.mark.parametrize("preset", ["off", *PRESETS])
def test_smaller_side_gives_the_same_image(preset: str) -> None:
    """With half the side, every pixel is near the mean of the four pixels in its place."""
    samples = [0, 1, 2]
    images, masks = augment(*batch(samples), preset, 0, 0, samples)
    small_images, small_masks = augment(*batch(samples), preset, 0, 0, samples, SIZE // 2)
    assert small_images.shape == (3, 3, SIZE // 2, SIZE // 2)
    assert small_masks.shape == (3, SIZE // 2, SIZE // 2)
    assert small_masks.dtype == torch.uint8
    halved = torch.nn.functional.avg_pool2d(images, 2)
    inside = (torch.nn.functional.avg_pool2d((masks == 255).float()[:, None], 2) == 0).expand_as(halved)
    # Contrast depends on the mean of all pixels, and those from outside change it a little.
    assert (small_images - halved)[inside].abs().mean() < 4
    assert (small_masks == masks[:, ::2, ::2]).float().mean() > 0.9


def test_paste_replaces_foreground_only(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = list(range(6))
    images, masks = (torch.full([6, *shape], 60, dtype=torch.uint8) for shape in ((3, SIZE, SIZE), (SIZE, SIZE)))
    masks[:] = 1
    source_images, source_masks = torch.full_like(images, 200), torch.zeros_like(masks)
    source_masks[:, 10:30, 10:30] = 2
    source_masks[:, 10:30, 30:34] = 255
    source_masks[5] = 0
    monkeypatch.setattr("trainer.data.augment._recolour", lambda images, _parameters: images)
    before, plain = augment(images, masks, "strong", 0, 0, samples)
    after, pasted = augment(images, masks, "strong", 0, 0, samples, None, (source_images, source_masks))
    foreground = pasted == 2
    assert foreground[:5].flatten(1).any(dim=1).sum() >= 4  # one may be moved out of its image
    assert not foreground[5].any()
    assert torch.equal(pasted[~foreground], plain[~foreground])  # background and ignored pixels are not pasted
    assert torch.equal(after.permute(0, 2, 3, 1)[~foreground], before.permute(0, 2, 3, 1)[~foreground])
    assert (after.permute(0, 2, 3, 1)[foreground] > 100).float().mean() > 0.9  # the edges fade to black


def test_paste_sources_depend_on_seed_epoch_and_sample_alone() -> None:
    candidates = np.array([3, 50, 700])
    together = choose_paste_sources(0.4, 0, 2, np.arange(2000), candidates)
    assert set(together.tolist()) == {-1, 3, 50, 700}
    assert (together >= 0).mean() == pytest.approx(0.4, abs=0.04)
    assert np.array_equal(choose_paste_sources(0.4, 0, 2, np.array([1999, 7]), candidates), together[[1999, 7]])
    assert not np.array_equal(choose_paste_sources(0.4, 0, 3, np.arange(2000), candidates), together)
    assert not np.array_equal(choose_paste_sources(0.4, 1, 2, np.arange(2000), candidates), together)
    assert (choose_paste_sources(0.0, 0, 2, np.arange(100), candidates) == -1).all()


def test_saturation_and_hue_equal_kornias() -> None:
    random = torch.Generator().manual_seed(0)
    images = torch.rand(6, 3, 40, 40, generator=random)
    images[0, :, :20] = images[0, :1, :20]  # greys
    images[1, :, :10] = 0
    images[2, :, :10] = 1
    images = (images * 255).round() / 255  # levels, so that channels are often equal
    saturation = torch.tensor([0.0, 1.0, 0.6, 1.6, 3.0, 1.0])
    hue = torch.tensor([0.2, -0.2, 3.0, -3.0, 0.0, 1.5])
    expected = kornia.enhance.adjust_hue(kornia.enhance.adjust_saturation(images, saturation), hue)
    torch.testing.assert_close(adjust_saturation_and_hue(images, saturation, hue), expected, rtol=0, atol=1e-5)
