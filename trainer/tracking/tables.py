"""Tables as `MlflowClient.log_table` writes them, of which MLflow's UI can sort every column.

The UI sorts cells as text in which each run of digits counts as a whole number: 0.5 comes before 0.25 there, since 5 is
less than 25. So all numbers of a column have the same digits behind the point, which takes texts: JSON's numbers lose
zeros at their end. `MlflowClient.load_table` makes numbers of them again.
"""

import json
import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from trainer.system.text import valid

SIGNIFICANT = 6
"""Digits that are kept of a number which is no whole one."""


def table_json(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table as JSON; `rows`: of numbers, texts and whatever else JSON has, None where nothing is known."""
    sorted_columns = [_sortable([row[place] for row in rows]) for place in range(len(columns))]
    data = list(zip(*sorted_columns, strict=True))
    return json.dumps({"columns": [valid(title) for title in columns], "data": data}, ensure_ascii=False)


def _sortable(values: Sequence[Any]) -> list[Any]:
    """Values of a column; if any is a fraction, all numbers as texts with as many digits behind the point."""
    values = [None if isinstance(one, float) and not math.isfinite(one) else one for one in values]
    values = [valid(one) if isinstance(one, str) else one for one in values]
    if not any(isinstance(one, float) for one in values):
        return values
    numbers = [Decimal(f"{one:.{SIGNIFICANT}g}") if _is_number(one) else None for one in values]
    digits = max(-int(one.as_tuple().exponent) for one in numbers if one is not None)
    pairs = zip(values, numbers, strict=True)
    return [one if number is None else f"{number:.{max(0, digits)}f}" for one, number in pairs]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
