"""Compressed run lengths, against pycocotools."""

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest

from trainer.inference.run_lengths import compress, encode_runs

coco = pytest.importorskip("pycocotools.mask")
SIDES = st.integers(1, 40)


@hypothesis.given(
    mask=hnp.arrays(bool, st.tuples(SIDES, SIDES)).filter(np.any), right=st.integers(0, 3), below=st.integers(0, 40)
)
def test_run_lengths_are_those_of_coco(mask: np.ndarray, right: int, below: int) -> None:
    whole = np.pad(mask, ((0, below), (0, right)))
    rows, columns = np.nonzero(whole)
    top, left = rows.min(), columns.min()
    crop = whole[top : rows.max() + 1, left : columns.max() + 1]
    expected = coco.encode(np.asfortranarray(whole.astype(np.uint8)))
    size = (whole.shape[0], whole.shape[1])
    assert encode_runs(crop, left, top, size) == expected["counts"].decode()
    np.testing.assert_array_equal(coco.decode({"size": list(size), "counts": expected["counts"]}), whole)


@hypothesis.given(lengths=st.lists(st.integers(0, 200_000_000), min_size=1, max_size=20))
def test_lengths_of_every_size_are_read_again(lengths: list[int]) -> None:
    from trainer.data.layouts.coco_masks import _decompress

    assert _decompress(compress(lengths)) == lengths
