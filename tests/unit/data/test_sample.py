"""Reading of samples."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.data import SAME, VocMaker
from trainer.data.image_io import PIXELS, read_mask
from trainer.data.sample import JoinedSample
from trainer.data.sources import find_samples
from trainer.data.value_map import ValueMap


def test_mask_is_mapped_at_its_own_size(make_voc: VocMaker) -> None:
    sample = find_samples([make_voc("a")]).samples[0]
    table = SAME.table.copy()
    table[1] = 9
    mask = read_mask(sample.mask)
    assert np.array_equal(sample.read_mask(ValueMap(table)), np.where(mask == 1, 9, mask))


@pytest.mark.parametrize("small_bytes", [0, 4_000_000])
def test_contents_are_held_in_the_budget(
    small_bytes: int, make_voc: VocMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pixels of the larger image, whichever it is, and the files, whether they were read before or not."""
    monkeypatch.setattr("trainer.data.sample.SMALL_BYTES", small_bytes)
    sample = find_samples([make_voc("a")]).samples[0]
    files = len(sample.image_content()) + len(sample.mask_content())
    with sample.contents() as contents:
        pixels = read_mask(sample.mask).size
        assert PIXELS.held == pixels + files // 4
        assert (contents.image, contents.mask) == (sample.image_content(), sample.mask_content())
        assert contents.header.size == read_mask(sample.mask).shape
    assert PIXELS.held == 0
    large = tmp_path / "large.png"
    Image.new("L", (300, 200)).save(large)
    more = large.stat().st_size
    with replace(sample, mask_file=str(large)).contents():
        assert PIXELS.held == 300 * 200 + (len(sample.image_content()) + more) // 4
    with JoinedSample(sample.name, sample.image_file, sample.mask_file, (str(large),)).contents():
        assert PIXELS.held == 300 * 200 + (files + more) // 4
