"""Tiles: every pixel once, blended without a seam, with the rows of plain torch."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from trainer.model.segmenter import Contract, Segmenter
from trainer.model.tiles import OVERLAP, TILE_SIDE, make_axis, stretch_rows, tile_rows

Maker = Callable[..., Segmenter]
CROP, STRIDE = 64, 16
LENGTHS = (1, 15, 16, 17, 63, 64, 65, 127, 128, 129, 200, 400, 1001)


@pytest.mark.parametrize("length", LENGTHS)
def test_tiles_cover_a_length(length: int) -> None:
    axis = make_axis(length, CROP, STRIDE)
    assert axis.starts[0] == 0
    assert length <= axis.padded < length + STRIDE
    assert axis.side <= TILE_SIDE * CROP
    assert axis.side % STRIDE == 0
    assert all(start % STRIDE == 0 for start in axis.starts)
    for one, other in itertools.pairwise(axis.starts):
        assert OVERLAP * CROP - STRIDE < axis.side - (other - one) <= OVERLAP * CROP + 2 * STRIDE
    assert len(axis.starts) == 1 or length > TILE_SIDE * CROP - STRIDE
    assert float(axis.total.min()) > 0


def joined(parts: list[tuple[slice, Tensor]]) -> Tensor:
    assert [part.start for part, _ in parts] == [0, *(part.stop for part, _ in parts[:-1])]
    assert all(found.shape[2] == part.stop - part.start for part, found in parts)
    return torch.cat([found for _, found in parts], dim=2)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (40, 300), (300, 40), (257, 129), (128, 128), (500, 333)])
def test_a_function_of_single_pixels_is_not_changed(height: int, width: int) -> None:
    """Whatever the tiles: where the network looks at a pixel alone, blending gives its value."""
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, height, width), dtype=np.uint8))
    parts = list(tile_rows(image, CROP, STRIDE, 2, lambda tiles: torch.stack([tiles[:, 0], tiles[:, 2]], 1) / 255))
    found = joined(parts)
    assert found.shape == (1, 2, height, width)
    assert torch.allclose(found[0], image[[0, 2]] / 255, atol=1e-5)


def test_the_border_of_a_tile_counts_only_where_there_is_no_neighbour() -> None:
    """A network that is wrong along the border of each tile is right inside of the image."""
    side, wrong = TILE_SIDE * CROP, 6

    def probabilities(tiles: Tensor) -> Tensor:
        found = torch.zeros(len(tiles), 1, *tiles.shape[2:])
        found[:, :, :wrong], found[:, :, -wrong:] = 1, 1
        found[..., :wrong], found[..., -wrong:] = 1, 1
        return found

    found = joined(list(tile_rows(torch.zeros(3, 700, 700, dtype=torch.uint8), CROP, STRIDE, 1, probabilities)))[0, 0]
    assert float(found[wrong:-16, wrong:-16].max()) < 0.01
    assert float(found[0].min()) > 0.99
    assert side < 700


def test_memory_is_that_of_a_row_of_tiles() -> None:
    """A row is complete before the tiles below the next one are looked at."""
    looked: list[int] = []
    image = torch.zeros(3, 2000, 100, dtype=torch.uint8)
    image[0] = (torch.arange(2000) // 8)[:, None]

    def probabilities(tiles: Tensor) -> Tensor:
        looked.append(8 * int(tiles[0, 0].max()))
        return tiles[:, :1] / 255

    for rows, _ in tile_rows(image, CROP, STRIDE, 1, probabilities):
        assert looked[-1] <= rows.stop + TILE_SIDE * CROP


@pytest.mark.parametrize(("size", "target"), [((40, 30), (40, 30)), ((40, 30), (100, 61)), ((100, 61), (40, 30)),
                                              ((1, 1), (9, 7)), ((50, 2), (51, 3)), ((7, 9), (700, 3))])  # fmt: skip
@pytest.mark.parametrize("rows", [1, 3, 16, 1000])
def test_stretched_rows_are_those_of_torch(size: tuple[int, int], target: tuple[int, int], rows: int) -> None:
    image = torch.rand(1, 2, *size, generator=torch.Generator().manual_seed(1))
    parts = [(slice(at, min(at + rows, size[0])), image[:, :, at : at + rows]) for at in range(0, size[0], rows)]
    found = joined(list(stretch_rows(iter(parts), size, target)))
    expected = functional.interpolate(image, size=target, mode="bilinear", align_corners=False)
    assert torch.allclose(found, expected, atol=1e-6)


def test_grids_half_a_tile_apart_agree(make_segmenter: Maker) -> None:
    """Classes of a network that sees far, with the tiles elsewhere: the same on 99.9 % of the pixels inside."""
    crop = 2 * CROP
    segmenter = make_segmenter(image_size=crop, view="tiles")
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.normal(size=(1, 3, 60, 70))).float()
    smooth = functional.interpolate(coarse, size=(900, 1100), mode="bicubic")[0].mul(70).add(128).clamp(0, 255)
    image = smooth.permute(1, 2, 0).to(torch.uint8).numpy()
    shift = TILE_SIDE * crop // 2
    moved = np.pad(image, ((shift, 0), (shift, 0), (0, 0)))
    one, other = segmenter.predict(image)[0], segmenter.predict(moved)[0][shift:, shift:]
    inside = np.s_[shift:-shift, shift:-shift]
    assert 0.05 < one[inside].mean() < 0.95
    assert (one[inside] == other[inside]).mean() >= 0.999


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_the_graph_agrees_with_the_tiles(make_segmenter: Maker, scale: float) -> None:
    """`forward`, which MLflow's tools call, takes an image as one tile."""
    segmenter = make_segmenter(image_size=CROP, view="tiles", scale=scale)
    image = np.random.default_rng(0).integers(0, 256, (90, 110, 3), dtype=np.uint8)
    with torch.no_grad():
        found = segmenter(torch.from_numpy(image)[None])
    probabilities = joined(list(segmenter.rows(segmenter.show(image), (90, 110))))
    assert found.shape == (1, 1, 90, 110)
    assert float((found - probabilities)[..., :-40, :-40].abs().max()) < 0.05


def test_flips_are_the_mean_with_the_mirror_image(make_segmenter: Maker) -> None:
    for changes in ({}, {"view": "tiles"}):
        segmenter = make_segmenter(image_size=CROP, **changes)
        image = np.random.default_rng(1).integers(0, 256, (100, 96, 3), dtype=np.uint8)
        mirrored = np.ascontiguousarray(image[:, ::-1])
        with torch.no_grad():
            both, one, other = (
                joined(list(segmenter.rows(segmenter.show(given), (100, 96), flips)))
                for given, flips in ((image, True), (image, False), (mirrored, False))
            )
        # A level in resizing may round to the other side, and the tiles of the mirror image begin elsewhere.
        wrong = (both - (one + other.flip(3)) / 2).abs()
        assert float(wrong.mean() if changes else wrong.max()) < 0.02
        assert float((both - one).abs().mean()) > 0.03
        assert float((both - (one + other) / 2).abs().mean()) > 0.03


def test_an_image_that_keeps_its_aspect_is_filled_up(make_segmenter: Maker) -> None:
    """The same as of the image that a person fills up to a square, with a model that squeezes."""
    kept, squeezed = (make_segmenter(image_size=CROP, keep_aspect=keep) for keep in (True, False))
    squeezed.load_state_dict(kept.state_dict())
    for height, width in ((60, 200), (200, 60), (77, 77)):
        image = np.random.default_rng(2).integers(0, 256, (height, width, 3), dtype=np.uint8)
        square = np.zeros((max(height, width), max(height, width), 3), np.uint8)
        square[:height, :width] = image
        with torch.no_grad():
            graph = kept(torch.from_numpy(image)[None])
            expected = squeezed(torch.from_numpy(square)[None])[:, :, :height, :width]
            rows = joined(list(kept.rows(kept.show(image), (height, width))))
        assert torch.allclose(graph, expected, atol=1e-5)
        assert torch.allclose(rows, expected, atol=0.02)


def test_a_contract_of_both_kinds_is_possible() -> None:
    names, colours = ("b", "c"), ((0, 0, 0), (1, 1, 1))
    assert Contract(names, colours, 64, view="tiles", scale=0.5).shown.scaled((9, 3)) == (5, 2)
