"""Data for an evaluation: classes matched by name, in the masks of every sample."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.data import VocMaker, count_nothing
from trainer import IGNORE, InputError
from trainer.config import DataConfig
from trainer.data.evaluation_set import match_classes, open_evaluation_set, take_rows
from trainer.data.image_io import read_mask
from trainer.data.sources import find_sources
from trainer.data.view import View

BACKGROUND = "_background_"


@pytest.mark.parametrize(
    ("names", "of_model", "ids", "notes"),
    [
        (["cat"], ["cat"], None, []),
        (["cat", "dog"], ["cat", "dog"], None, []),
        (["dog", "cat"], ["cat", "dog"], [0, 2, 1], []),
        (["Cat"], ["cat"], None, []),  # the only one that differs by its case
        (["Mu\u0308cke"], ["M\u00fccke"], None, []),
        (["cat", "dog"], ["dog"], [0, 0, 1], ["cat: not known to the model"]),
        (["dog"], ["cat", "dog"], [0, 2], ["cat: classes of the model"]),
        (["cow", "dog"], ["cat", "dog"], [0, 0, 2], ["cow: not known", "cat: classes of the model"]),
    ],
)
def test_classes_of_a_name_are_the_same(
    names: list[str], of_model: list[str], ids: list[int] | None, notes: list[str]
) -> None:
    found, said = match_classes((BACKGROUND, *names), (BACKGROUND, *of_model))
    assert found is None if ids is None else found is not None and list(found[: len(ids)]) == ids
    if found is not None:
        assert found[IGNORE] == IGNORE
        assert set(found[len(names) + 1 : IGNORE]) == {0}
        assert len(found) == 256
    assert len(said) == len(notes)
    assert all(text.startswith(note) for text, note in zip(said, notes, strict=True))


def test_other_classes_are_refused_with_both_lists() -> None:
    with pytest.raises(
        InputError, match=r"knows cat, dog, and the masks show a, b: none .*data\.classes \"\[cat, dog\]"
    ):
        match_classes((BACKGROUND, "a", "b"), (BACKGROUND, "cat", "dog"))
    with pytest.raises(InputError, match=r"masks show a: none is in both$"):
        match_classes((BACKGROUND, "a"), (BACKGROUND, "cat", "dog"))


def test_masks_have_the_ids_of_the_model(make_voc: VocMaker, tmp_path: Path) -> None:
    root = make_voc("a", "b", "c", classes=4)
    (root / "class_names.txt").write_text("_background_\none\ntwo\nthree\n")
    sources, rows = take_rows(find_sources(DataConfig(root=str(root)), validate_all=True), "all")
    names = (BACKGROUND, "three", "one")
    made = open_evaluation_set(sources, rows, View(16, False), None, names, tmp_path / "cache", count_nothing)
    lookup = np.array([0, 2, 0, 1] + [0] * 251 + [IGNORE])
    for place, sample in enumerate(made.images.samples):
        assert np.array_equal(made.images.read_mask(place), lookup[read_mask(sample.mask)])
    assert np.array_equal(made.images.part([2]).read_mask(0), made.images.read_mask(2))
    assert any("two: not known" in note for note in made.notes)


def test_one_image_can_be_evaluated_and_parts_are_those_of_training(make_voc: VocMaker) -> None:
    single = find_sources(DataConfig(root=str(make_voc("only", folder="one"))), validate_all=True)
    assert take_rows(single, "all")[1] == [0]
    root = make_voc(*(f"p{number}" for number in range(10)))
    config = DataConfig(root=str(root), val_fraction=0.3)
    divided = find_sources(config)
    for part in ("train", "val"):
        assert take_rows(divided, part)[1] == list(getattr(divided.split, part))
    assert take_rows(find_sources(config, validate_all=True), "all")[1] == list(range(10))
