"""Intervals and comparisons against scipy's bootstrap, against themselves, and against simulated truth."""

import numpy as np
import pytest
from scipy.stats import bootstrap

from trainer.model import comparison
from trainer.model.comparison import (
    compare_scores,
    draw_images,
    pooled_iou,
    score_interval,
    tail_share,
)

NAMES = ("_background_", *(f"class {index}" for index in range(1, 11)))


def counted(images: int, classes: int, seed: int, skill: float = 1.5) -> np.ndarray:
    """Counts of a model, int64 [N, K, 3]; masks and difficulty depend on the seed alone, not on the skill."""
    random = np.random.default_rng(seed)
    true = random.lognormal(8, 0.8, (images, classes)).astype(np.int64) + 50
    right = 1 / (1 + np.exp(-(skill + random.normal(0, 1, (images, classes)))))
    correct = (true * right).astype(np.int64)
    return np.stack([correct, correct + (true * (1 - right) / 2).astype(np.int64), true], axis=2)


def noisy(images: int, random: np.random.Generator, skills: tuple[float, float]) -> list[np.ndarray]:
    """Counts of two models of one class on the same images, each int64 [N, 2, 3]."""
    true = random.lognormal(8, 0.5, images).astype(np.int64) + 50
    difficulty = random.normal(0, 1, images)
    made = []
    for skill in skills:
        right = 1 / (1 + np.exp(-(skill + difficulty + random.normal(0, 0.7, images))))
        correct = (true * right).astype(np.int64)
        predicted = correct + (true * (1 - right) * random.uniform(0.2, 1, images)).astype(np.int64)
        made.append(np.stack([np.full((images, 3), 10**6), np.stack([correct, predicted, true], axis=1)], axis=1))
    return made


def test_the_interval_equals_that_of_scipy_on_the_same_resamples() -> None:
    first, second = counted(41, 4, 0), counted(41, 4, 0, skill=1.7)
    drawn = draw_images(41, 2000, 7)
    rows = np.stack([np.repeat(np.arange(41), times) for times in drawn])

    class Same(np.random.Generator):  # scipy draws indices; these are ours
        def integers(self, *_: object, **__: object) -> np.ndarray:  # type: ignore[override]
            return rows

    def gain(places: np.ndarray) -> float:
        chosen = places.astype(int)
        return float(np.mean(pooled_iou(second[chosen])) - np.mean(pooled_iou(first[chosen])))

    oracle = bootstrap(
        (np.arange(41),),
        gain,
        vectorized=False,
        n_resamples=2000,
        method="percentile",
        confidence_level=1 - 2 * tail_share(41),
        rng=Same(np.random.PCG64(0)),
    ).confidence_interval
    found = compare_scores(first, second, NAMES[:4], seed=7).difference
    assert (found.low, found.high) == pytest.approx((oracle.low, oracle.high), abs=1e-12)
    assert found.value == pytest.approx(gain(np.arange(41)), abs=1e-12)


def test_a_model_against_itself_shows_no_difference() -> None:
    counts = counted(20, 3, 1)
    found = compare_scores(counts, counts.copy(), NAMES[:3])
    assert (found.difference.value, found.difference.low, found.difference.high) == (0.0, 0.0, 0.0)
    assert found.sentence("one", "other") == (
        "no difference found between other and one: 0.000 [0.000, 0.000] mIoU on 20 images"
    )


def test_damage_to_one_of_ten_classes_is_found_in_that_class_alone() -> None:
    first = counted(41, 11, 2)
    second = first.copy()
    second[:, 7, :2] //= 2
    found = compare_scores(first, second, NAMES)
    assert [name for name, gain in found.classes.items() if gain.excludes_zero] == ["class 7"]
    assert found.classes["class 7"].high < 0
    assert found.difference.excludes_zero
    text = found.sentence("one", "other")
    assert text.startswith("one is better than other by 0.0")
    assert text.endswith("mIoU on 41 images")


@pytest.mark.parametrize("images", [20, 41])
def test_intervals_contain_the_truth_in_95_of_100_cases(images: int) -> None:
    random = np.random.default_rng(5)
    first, second = noisy(400_000, random, (1.5, 1.8))
    truth = float(pooled_iou(second)[0] - pooled_iou(first)[0])
    found = [
        compare_scores(*noisy(images, random, (1.5, 1.8)), NAMES[:2], resamples=1000, seed=seed).difference
        for seed in range(1000)
    ]
    share = np.mean([one.low <= truth <= one.high for one in found])
    assert 0.93 <= share <= 0.97


def test_classes_that_no_mask_shows_are_left_out() -> None:
    counts = counted(9, 4, 3)
    counts[:, 2] = [0, 5, 0]
    found = compare_scores(counts, counts, NAMES[:4])
    assert list(found.classes) == ["class 1", "class 3"]
    nothing = counts.copy()
    nothing[:, 1:, 0] = nothing[:, 1:, 2] = 0
    assert np.isnan(score_interval(nothing).value)


def test_one_image_shows_no_spread() -> None:
    counts = counted(1, 3, 4)
    assert (score_interval(counts).low, score_interval(counts).high) == (0.0, 1.0)
    found = compare_scores(counts, counts, NAMES[:3])
    assert not found.difference.excludes_zero
    assert found.sentence("a", "b") == "no comparison of b and a: 1 image shows no spread"


def test_other_masks_are_refused() -> None:
    first = counted(5, 3, 5)
    with pytest.raises(ValueError, match="same masks"):
        compare_scores(first, first[::-1], NAMES[:3])


def test_the_same_seed_gives_the_same_interval() -> None:
    counts = counted(15, 3, 6)
    assert score_interval(counts, seed=1) == score_interval(counts, seed=1) != score_interval(counts, seed=2)
    assert comparison.RESAMPLES == 2000
