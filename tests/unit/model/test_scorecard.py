"""Words about a score that means little."""

import numpy as np
import pytest

from trainer.model.image_counts import ImageCounts, Tally, no_totals
from trainer.model.score_table import ScoredImage, ScoreTable
from trainer.model.scorecard import Scorecard

NAMES = ("_background_", "Katze", "dog")


def card(confusion: list[list[int]]) -> Scorecard:
    """Scores of one image with this confusion, true classes in rows."""
    totals, pixels = no_totals(3), np.array(confusion)
    totals.confusion[:] = pixels
    counts = np.stack([pixels.diagonal(), pixels.sum(axis=0), pixels.sum(axis=1)], axis=1)
    image = ImageCounts(counts, np.zeros((3, 4), np.int64), np.zeros((0, 4), np.int64))
    table = ScoreTable(NAMES, (ScoredImage("a", "a", "b", 10, 10, image.as_tuples()),), {})
    return Scorecard(table, Tally(totals, (image,)), None)


@pytest.mark.parametrize(
    ("confusion", "expected"),
    [
        ([[0, 35, 0], [0, 65, 0], [0, 0, 0]], "every pixel of these pictures is taken for Katze"),
        ([[0, 0, 35], [0, 0, 60], [0, 0, 5]], "every pixel of these pictures is taken for dog"),
        ([[35, 0, 0], [65, 0, 0], [0, 0, 0]], "nothing is found"),
        ([[1, 34, 0], [0, 65, 0], [0, 0, 0]], ""),
        ([[0, 0, 0], [0, 65, 0], [0, 0, 0]], ""),  # they show nothing else
        ([[65, 0, 0], [0, 0, 0], [0, 0, 0]], ""),
    ],
)
def test_one_class_everywhere_is_no_result(confusion: list[list[int]], expected: str) -> None:
    warning = card(confusion).warning()
    assert warning.startswith(expected)
    assert bool(warning) == bool(expected)
