"""Reading of samples."""

import numpy as np

from tests.support.data import SAME, VocMaker
from trainer.data.image_io import read_mask
from trainer.data.sources import find_samples
from trainer.data.value_map import ValueMap


def test_mask_is_mapped_at_its_own_size(make_voc: VocMaker) -> None:
    sample = find_samples([make_voc("a")]).samples[0]
    table = SAME.table.copy()
    table[1] = 9
    mask = read_mask(sample.mask)
    assert np.array_equal(sample.read_mask(ValueMap(table)), np.where(mask == 1, 9, mask))
