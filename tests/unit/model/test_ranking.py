"""Rankings of tables of scores: the same images on both sides, or none."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from tests.support.tables import NAMES, make_table
from trainer.model.ranking import (
    LEAST_COMMON,
    OtherClassesError,
    Ranking,
    TooFewCommonError,
    image_iou,
    rank,
    shared_images,
)
from trainer.model.score_table import ScoreTable


def shuffled(table: ScoreTable, seed: int = 0) -> ScoreTable:
    order = np.random.default_rng(seed).permutation(len(table.images))
    return replace(table, images=tuple(replace(table.images[place], name=f"renamed {place}") for place in order))


def damaged(table: ScoreTable, index: int) -> ScoreTable:
    """The same model, which finds half of what it found of one class."""
    images = []
    for one in table.images:
        counts = list(one.counts)
        correct, predicted, true = counts[index]
        counts[index] = (correct // 2, predicted // 2, true)
        images.append(replace(one, counts=tuple(counts)))
    return replace(table, images=tuple(images))


def sentences(tables: Mapping[str, ScoreTable]) -> list[str]:
    return [pair.sentence() for pair in rank(tables).pairs]


def test_a_model_against_itself_shows_no_difference() -> None:
    table = make_table(41)
    assert sentences({"a": table, "b": shuffled(table)}) == [
        "no difference found between b and a: 0.000 [0.000, 0.000] mIoU on 41 images"
    ]


def test_names_and_order_of_images_change_no_number() -> None:
    one, other = make_table(20), make_table(20, skill=1.8)
    assert rank({"a": one, "b": other}).scores == rank({"a": shuffled(one), "b": shuffled(other, 1)}).scores
    assert sentences({"a": one, "b": other}) == sentences({"a": shuffled(one), "b": shuffled(other, 1)})


def test_damage_to_one_of_ten_classes_is_named() -> None:
    table = make_table(41, classes=11)
    (text,) = sentences({"a": table, "b": damaged(table, 7)})
    assert text.startswith("a is better than b by 0.0")
    listed = text.partition("; IoU of b by class: ")[2]
    assert listed.startswith("class 7 -0.")
    assert listed.count("class") == 1


def test_each_is_compared_with_the_first_and_the_best_with_the_second_best() -> None:
    tables = {name: make_table(30, skill) for name, skill in (("old", 1.0), ("good", 2.0), ("best", 2.5))}
    ranking = rank(tables)
    assert ranking.best_first == ["best", "good", "old"]
    assert [(pair.first, pair.second) for pair in ranking.pairs] == [
        ("old", "good"),
        ("old", "best"),
        ("good", "best"),
    ]
    assert ranking.pairs[2].sentence().startswith("best is better than good by ")
    assert ranking.pairs[0].comparison.images == 30


def test_the_scores_are_those_of_the_tables() -> None:
    table = make_table(20, classes=4)
    ranking = rank({"a": table})
    assert ranking.pairs == []
    assert ranking.scores["a"].value == pytest.approx(table.scores().miou)
    assert {name: one.value for name, one in ranking.classes["a"].items()} == pytest.approx(table.scores().iou)
    assert ranking.scores["a"].low < ranking.scores["a"].value < ranking.scores["a"].high


def test_other_validation_sets_are_compared_by_what_they_share() -> None:
    one, other = make_table(20), make_table(20, skill=2.5, first=8)
    ranking = rank({"a": one, "b": other})
    assert {image.name for image in ranking.images} == {f"image {place}" for place in range(8, 20)}
    assert ranking.notes == (
        "the validation images differ (a has 20, b has 20); 12 images are common to all: all that follows is about "
        "these alone",
    )
    alone = rank({"a": make_table(12, first=8), "b": make_table(12, skill=2.5, first=8)})
    assert ranking.pairs == alone.pairs


def test_too_few_common_images_are_refused() -> None:
    tables = {"a": make_table(20), "b": make_table(20, first=21 - LEAST_COMMON)}
    with pytest.raises(TooFewCommonError, match=rf"{LEAST_COMMON - 1} images are common to all; {LEAST_COMMON} are"):
        rank(tables)
    assert rank({"a": make_table(20), "b": make_table(20, first=20 - LEAST_COMMON)}).pairs
    assert rank({"a": make_table(3), "b": make_table(3, skill=1.6)}).pairs, "few images, but the same"


def test_relabelled_images_are_not_the_same() -> None:
    one = make_table(20)
    other = replace(one, images=tuple(replace(image, mask="f" * 16) for image in one.images[:9]) + one.images[9:])
    ranking = rank({"a": one, "b": other})
    assert len(ranking.images) == 11
    assert "11 images are common to all, 9 more images with another mask" in ranking.notes[0]


def test_other_classes_are_refused() -> None:
    with pytest.raises(OtherClassesError, match="a, c knows class 1; b knows class 1, class 2"):
        rank({"a": make_table(9), "b": make_table(9, classes=3), "c": make_table(9)})
    renamed = replace(make_table(9), class_names=("_background_", "dog"))
    with pytest.raises(OtherClassesError, match="b knows dog"):
        rank({"a": make_table(9), "b": renamed})


def test_a_table_without_images_is_refused() -> None:
    with pytest.raises(TooFewCommonError, match="scored on no image: b"):
        rank({"a": make_table(9), "b": make_table(0)})


def test_an_image_that_is_there_twice_counts_twice() -> None:
    one = make_table(5)
    twice = replace(one, images=(*one.images, one.images[2]))
    assert len(shared_images([twice, twice])) == 6
    assert len(shared_images([twice, one])) == 5
    assert rank({"a": twice}).scores["a"].value == pytest.approx(twice.scores().miou)


def test_disagreements_are_those_of_single_images() -> None:
    one = make_table(10)
    other = replace(one, images=tuple(damaged(one, 1).images[:2]) + one.images[2:])
    ranking = rank({"a": one, "b": other})
    places = ranking.disagreements(5)
    assert {ranking.images[place].name for place in places} == {"image 0", "image 1"}
    spread = np.abs(ranking.image_iou[0] - ranking.image_iou[1])
    assert spread[places[0]] >= spread[places[1]] > 0


def test_scores_of_single_images_count_what_is_found_wrongly() -> None:
    background = (5, 5, 5)
    counts = np.array(
        [
            [background, (50, 100, 100), (0, 0, 0)],  # one class, half found: 50 of 150
            [background, (50, 100, 100), (0, 30, 0)],  # and another that is not there
            [background, (0, 0, 0), (0, 0, 0)],  # nothing to find
            [background, (0, 7, 0), (0, 0, 0)],  # something found where nothing is
        ]
    )
    assert image_iou(counts).tolist() == pytest.approx([1 / 3, 1 / 6, 1.0, 0.0])


def test_long_names_stay_readable() -> None:
    (text,) = sentences({"a" * 300: make_table(9), "b": make_table(9)})
    assert len(text) < 200
    assert isinstance(rank({"a": make_table(9)}), Ranking)
    assert len(NAMES) == 11
