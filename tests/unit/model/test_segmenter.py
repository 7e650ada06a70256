"""Segmenter: probabilities and class ids for images of any size, resizing and normalisation."""

from collections.abc import Callable

import pytest
import torch
from PIL import Image

from tests.support.images import smooth_image
from trainer.data.resize import resize_images, shrink_image
from trainer.model.segmenter import Contract, Segmenter

Maker = Callable[..., Segmenter]


def images(height: int, width: int, count: int = 2) -> torch.Tensor:
    """Smooth images, uint8 [count, height, width, 3]."""
    return torch.stack([torch.from_numpy(smooth_image(height, width, seed)) for seed in range(count)])


def test_channels() -> None:
    assert Contract(("_background_", "cat"), (), 32).channels == 1
    assert Contract(("_background_", "cat", "dog"), (), 32).channels == 3


@pytest.mark.parametrize("foreground", [1, 2])
@pytest.mark.parametrize("size", [(1, 1), (1, 77), (7, 3), (31, 33), (32, 32), (50, 201)], ids=str)
def test_probabilities_of_the_image_size(foreground: int, size: tuple[int, int], make_segmenter: Maker) -> None:
    segmenter = make_segmenter(foreground)
    with torch.no_grad():
        found = segmenter(images(*size))
    assert found.shape == (2, segmenter.contract.channels, *size)
    assert found.dtype == torch.float32
    assert found.min() >= 0
    assert found.max() <= 1
    if foreground > 1:
        torch.testing.assert_close(found.sum(dim=1), torch.ones(2, *size))
    classes = segmenter.classes(found)
    assert classes.shape == (2, *size)
    assert classes.dtype == torch.uint8


def test_classes_by_threshold_and_argmax(make_segmenter: Maker) -> None:
    single = make_segmenter(1, threshold=0.3)
    assert single.classes(torch.tensor([[[[0.1, 0.3, 0.31, 0.9]]]])).tolist() == [[[0, 0, 1, 1]]]
    several = make_segmenter(2)
    probabilities = torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.5, 0.3], [0.1, 0.2, 0.7]]).T[None, :, None]
    assert several.classes(probabilities).tolist() == [[[0, 1, 2]]]


@pytest.mark.parametrize("size", [(41, 57), (16, 90), (200, 133)], ids=str)
def test_cached_image_gives_the_same_bits(size: tuple[int, int], make_segmenter: Maker) -> None:
    """Training and validation read cached images, resized to uint8 before; prediction resizes each image itself."""
    segmenter = make_segmenter(1)
    image = smooth_image(*size)
    resized = torch.from_numpy(shrink_image(image, 32)).permute(2, 0, 1)[None]
    assert resized.dtype == torch.uint8
    with torch.no_grad():
        found = segmenter.probabilities(segmenter.network(segmenter.normalise(resized)), size)
        assert torch.equal(found, segmenter(torch.from_numpy(image)[None]))


@pytest.mark.parametrize("size", [(64, 96), (100, 37), (20, 20)], ids=str)
def test_resizing_equals_pillow(size: tuple[int, int]) -> None:
    """Pillow's bilinear filter antialiases when it shrinks an image."""
    random = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (*size, 3), generator=random, dtype=torch.uint8)
    found = resize_images(noise.permute(2, 0, 1)[None], 32)[0].permute(1, 2, 0)
    expected = Image.fromarray(noise.numpy()).resize((32, 32), Image.Resampling.BILINEAR)
    assert (found - torch.tensor(list(expected.get_flattened_data())).reshape(32, 32, 3)).abs().max() <= 1
    assert torch.equal(found, found.round())
    assert found.min() >= 0
    assert found.max() <= 255


def test_normalisation_is_that_of_the_contract(make_segmenter: Maker) -> None:
    segmenter = make_segmenter(mean=(10.0, 20.0, 30.0), std=(2.0, 4.0, 5.0))
    level = torch.tensor([14, 28, 20], dtype=torch.uint8)[None, :, None, None]
    assert segmenter.normalise(level).flatten().tolist() == [2.0, 2.0, -2.0]
