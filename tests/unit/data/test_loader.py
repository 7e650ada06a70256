"""Loader: sides of the images in the course of training."""

import math

from hypothesis import given
from hypothesis import strategies as st

from trainer.data.loader import image_sides


@given(total=st.integers(1, 500), side=st.integers(1, 64), depth=st.integers(1, 5))
def test_smaller_images_come_first_and_fit_the_network(total: int, side: int, depth: int) -> None:
    multiple = 2**depth
    found = image_sides(side * multiple, multiple, progressive=True)
    sides = [found.of_step(step, total) for step in range(total)]
    assert sides == sorted(sides)
    assert all(0 < one <= side * multiple and one % multiple == 0 for one in sides)
    assert sides[-1] == side * multiple or total == 1
    assert sides.count(sides[0]) == math.ceil(total / 2) or sides[0] == sides[-1]
    assert sides[0] <= 0.7 * side * multiple or side < 4
    plain = image_sides(side * multiple, multiple, progressive=False)
    assert {plain.of_step(step, total) for step in range(total)} == {side * multiple}
