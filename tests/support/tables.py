"""Tables of scores of models that exist only as their counts."""

import numpy as np

from trainer.model.score_table import ScoredImage, ScoreTable

NAMES = ("_background_", *(f"class {index}" for index in range(1, 11)))


def make_table(images: int = 20, skill: float = 1.5, classes: int = 2, first: int = 0, **model: str) -> ScoreTable:
    """Table of a model on the images `first` to `first + images`; masks and difficulty depend on the image alone.

    `classes`: K with the background.
    """
    rows = []
    for place in range(first, first + images):
        random = np.random.default_rng(place)
        true = random.lognormal(8, 0.8, classes).astype(np.int64) + 50
        right = 1 / (1 + np.exp(-(skill + random.normal(0, 1, classes))))
        correct = (true * right).astype(np.int64)
        predicted = correct + (true * (1 - right) / 2).astype(np.int64)
        counts = tuple(zip(correct.tolist(), predicted.tolist(), true.tolist(), strict=True))
        rows.append(ScoredImage(f"image {place}", f"{place:016x}", f"{place + 1000:016x}", 30, 40, counts))
    return ScoreTable(NAMES[:classes], tuple(rows), model)
