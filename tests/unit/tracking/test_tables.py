"""Tables for MLflow's UI, sorted as its library sorts texts, are in the order of their numbers."""

import functools
import io
import json
import math
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.tracking.tables import table_json


def compare_alphanumeric(one: str, other: str) -> int:
    """Compare as `compareAlphanumeric` of TanStack Table 8 does, which the UI sorts tables with."""
    left, right = ([part for part in re.split(r"([0-9]+)", text) if part] for text in (one, other))
    while left and right:
        first, second = left.pop(0), right.pop(0)
        numbers = [int(part) if part.isdecimal() else None for part in (first, second)]
        if numbers[0] is None and numbers[1] is None:
            if first != second:
                return 1 if first > second else -1
        elif numbers[0] is None or numbers[1] is None:
            return -1 if numbers[0] is None else 1
        elif numbers[0] != numbers[1]:
            return 1 if numbers[0] > numbers[1] else -1
    return len(left) - len(right)


def shown(content: str, place: int) -> list[str]:
    """Cells of a column as the UI makes texts of them."""
    rows = json.loads(content)["data"]
    return [row[place] if isinstance(row[place], str) else json.dumps(row[place]) for row in rows]


@given(
    st.lists(
        st.floats(0, 1).filter(lambda one: one == 0 or one > 1e-30) | st.integers(0, 10**6) | st.floats(1e-6, 1e4),
        min_size=1,
        max_size=12,
    )
)
def test_texts_sort_as_numbers(values: list[float]) -> None:
    content = table_json(["iou"], [[value] for value in values])
    cells = sorted(shown(content, 0), key=functools.cmp_to_key(compare_alphanumeric))
    wanted = sorted(float(f"{value:.6g}") if isinstance(value, float) else value for value in values)
    np.testing.assert_allclose([float(cell) for cell in cells], wanted, rtol=1e-5)


def test_numbers_of_different_lengths_are_the_trap() -> None:
    """The oracle itself: without the zeros the order is wrong."""
    assert compare_alphanumeric("0.5", "0.25") < 0
    assert compare_alphanumeric("0.50", "0.25") > 0


def test_a_table_is_read_again() -> None:
    rows: list[list[Any]] = [
        ["ä\n", 0.5, 7, None, 1, True, 1e-5],
        ["b", 0.123456789, 12, 0.25, 0.5, False, math.nan],
    ]
    content = table_json(list("abcdefg"), rows)
    assert json.loads(content)["data"] == [
        ["ä\n", "0.500000", 7, None, "1.0", True, "0.00001"],
        ["b", "0.123457", 12, "0.25", "0.5", False, None],
    ]
    read = pd.read_json(io.StringIO(content), orient="split")  # as `load_table` does
    assert [read[title].dtype.kind for title in "bcdeg"] == ["f", "i", "f", "f", "f"]
    assert list(read["d"].fillna(-1)) == [-1, 0.25]
    assert read["g"][0] == pytest.approx(1e-5)


def test_a_table_without_rows() -> None:
    assert json.loads(table_json(["a", "b"], [])) == {"columns": ["a", "b"], "data": []}
