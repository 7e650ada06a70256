"""Small datasets for tests, and the types of shared fixtures."""

from collections.abc import Callable, Sequence
from pathlib import Path

from trainer.data.sample import Sample
from trainer.data.sources import Sources
from trainer.data.split import Split
from trainer.data.value_map import ValueMap

VocMaker = Callable[..., Path]
"""Type of the fixture `make_voc`."""

SAME = ValueMap()
"""Map of each stored value to the class id of the same number."""


def sources_of(samples: Sequence[Sample], values: ValueMap = SAME) -> Sources:
    """Sources of these samples, all of them for training."""
    return Sources("voc", list(samples), Split(tuple(range(len(samples))), ()), None, values)


def count_nothing(_description: str, _total: int) -> Callable[[], None]:
    """A `Progress` that shows nothing."""
    return lambda: None
