"""Score of a trial of several folds, by the tables of what its models counted."""

import numpy as np
import pytest

from trainer import InputError
from trainer.model.score_table import ScoredImage, ScoreTable
from trainer.search.folds import join_scores

NAMES = ("_background_", "cat", "dog")


def table(*images: tuple[str, tuple[int, int, int], tuple[int, int, int]]) -> ScoreTable:
    """Table of images, each with the counts of both classes: correct, predicted and true pixels."""
    scored = [
        ScoredImage(name, f"{number:016x}", f"{len(name):016x}", 10, 10, ((50, 60, 60), cat, dog))
        for number, (name, cat, dog) in enumerate(images, start=ord(images[0][0]))
    ]
    return ScoreTable(NAMES, tuple(scored), {})


def test_pixels_are_pooled_and_pictures_known_in_every_trial() -> None:
    one = table(("a", (10, 20, 20), (0, 5, 0)), ("b", (5, 5, 10), (4, 4, 8)))
    other = table(("k", (0, 0, 0), (1, 2, 3)), ("l", (0, 9, 0), (0, 0, 0)))  # the last has no pixel of a class
    scores = join_scores([one, other])
    cat, dog = 15 / (34 + 30 - 15), 5 / (11 + 11 - 5)
    assert scores.miou == pytest.approx((cat + dog) / 2)
    assert sorted(scores.images.values()) == pytest.approx(sorted([10 / 30, 0.5, 1 / 4]))
    assert join_scores([one]).images.items() <= scores.images.items()
    assert all(0 <= number < 2**31 for number in scores.images)


def test_numbers_of_pictures_fit_a_database_and_differ() -> None:
    random = np.random.default_rng(0)
    hashes = [f"{value:016x}" for value in random.integers(0, 2**63, 2000, dtype=np.uint64)]
    counts = ((1, 1, 1), (1, 1, 1), (0, 0, 0))
    images = tuple(ScoredImage(one, one, hashes[0], 4, 4, counts) for one in hashes)
    found = join_scores([ScoreTable(NAMES, images, {})]).images
    assert len(found) == 2000
    assert max(found) < 2**31


def test_masks_without_classes_score_nothing() -> None:
    with pytest.raises(InputError, match="no validation mask has a pixel of a class"):
        join_scores([table(("a", (0, 3, 0), (0, 0, 0)))])
