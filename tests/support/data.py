"""Datasets in a few lines, for tests of what works on them."""

from collections.abc import Callable, Sequence
from pathlib import Path

from trainer.data.sample import Sample
from trainer.data.sources import Sources
from trainer.data.split import Split
from trainer.data.value_map import ValueMap

VocMaker = Callable[..., Path]


SAME = ValueMap()


def sources_of(samples: Sequence[Sample], values: ValueMap = SAME) -> Sources:
    """What `find_sources` would find, were these all the samples, and all to train."""
    return Sources("voc", list(samples), Split(tuple(range(len(samples))), ()), None, values)


def count_nothing(_what: str, _total: int) -> Callable[[], None]:
    """A `Progress` that shows nothing."""
    return lambda: None


RecordFault = Callable[[int, str, bool], None]
