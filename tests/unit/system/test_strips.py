"""Strips: what is worked on strip by strip gives the numbers of the whole."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.images import smooth_image
from trainer.data.image_io import read_image, read_mask
from trainer.data.resize import shrink_image
from trainer.drawing.overlay import draw_overlay
from trainer.model.segmenter import Segmenter
from trainer.system import strips as module
from trainer.system.strips import on_strips, strips


@pytest.fixture
def small_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strips of a few rows, and all images huge."""
    monkeypatch.setattr(module, "STRIP_PIXELS", 300)
    monkeypatch.setattr(module, "HUGE_PIXELS", 1)
    monkeypatch.setattr("trainer.data.resize.HUGE_PIXELS", 1)
    monkeypatch.setattr("trainer.model.segmenter.HUGE_PIXELS", 1)


def test_strips_cover_all_rows_once() -> None:
    for height, width in ((0, 5), (1, 1), (7, 1 << 19), (5, 1 << 21), (3000, 2000)):
        rows = [row for one in strips(height, width) for row in range(one.start, one.stop)]
        assert rows == list(range(height))
        assert all((one.stop - one.start) * width <= max(module.STRIP_PIXELS, width) for one in strips(height, width))


@pytest.mark.usefixtures("small_strips")
def test_an_error_in_one_strip_is_raised() -> None:
    def fail_at_10(rows: slice) -> None:
        if rows.start == 10:
            raise OSError("row 10")

    with pytest.raises(OSError, match="row 10"):
        on_strips(fail_at_10, 20, 300)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "I;16", "F"])
def test_files_are_decoded_alike(mode: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    pil_image = Image.fromarray(smooth_image(61, 43, 0))
    if mode in ("I;16", "F"):
        levels = np.array(pil_image.convert("L")).astype(np.uint16 if mode == "I;16" else np.float32) * 7
        pil_image = Image.fromarray(levels)
    elif mode == "PA":
        pil_image = pil_image.convert("P")
        pil_image.info["transparency"] = 3
    else:
        pil_image = pil_image.convert(mode)
    file = tmp_path / ("a.tif" if mode in ("CMYK", "I;16", "F") else "a.png")
    pil_image.save(file, **({"transparency": 3} if mode == "PA" else {}))
    readers: tuple[Callable[[Path], np.ndarray], ...] = (
        (read_image, read_mask) if mode not in "I;16F" else (read_image,)
    )
    whole = [read(file) for read in readers]
    request.getfixturevalue("small_strips")
    for read, expected in zip(readers, whole, strict=True):
        found = read(file)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
        found[...] = 0  # an array of its own


@pytest.mark.parametrize("size", [(61, 43), (300, 200), (31, 500)])
def test_images_are_resized_and_drawn_alike(size: tuple[int, int], request: pytest.FixtureRequest) -> None:
    image = smooth_image(*size, 1)
    mask = (image[..., 0] > 128).astype(np.uint8)
    mask[: size[0] // 2] = 0
    whole = shrink_image(image, 32), draw_overlay(image, mask)
    request.getfixturevalue("small_strips")
    np.testing.assert_array_equal(shrink_image(image, 32), whole[0])
    np.testing.assert_array_equal(draw_overlay(image, mask), whole[1])
    assert draw_overlay(image, mask, out=image) is image
    np.testing.assert_array_equal(image, whole[1])


@pytest.mark.parametrize("foreground", [1, 3])
@pytest.mark.parametrize("size", [(61, 43), (20, 25), (500, 31)])
def test_probabilities_are_alike(
    foreground: int, size: tuple[int, int], make_segmenter: Callable[..., Segmenter], request: pytest.FixtureRequest
) -> None:
    segmenter = make_segmenter(foreground)
    with torch.no_grad():
        logits = segmenter.logits(torch.from_numpy(smooth_image(32, 32, 2)).permute(2, 0, 1)[None])
        expected = segmenter.probabilities(logits, size)
        (rows, whole), *others = segmenter.strips(logits, size)
        assert (rows, others) == (slice(0, size[0]), [])
        assert torch.equal(whole, expected)
        request.getfixturevalue("small_strips")
        parts = list(segmenter.strips(logits, size))
    assert len(parts) > 1
    torch.testing.assert_close(torch.cat([part for _, part in parts], dim=2), expected, rtol=0, atol=1e-6)
