"""Tables of scores: written and read again, and matched by contents."""

from dataclasses import replace
from pathlib import Path

import pytest

from trainer import InputError
from trainer.model.score_table import ScoredImage, ScoreTable, common_images, read_table

NAMES = ("_background_", "cat")


def table(*keys: tuple[str, str]) -> ScoreTable:
    images = [
        ScoredImage(f"Bild {place} ä", *key, 30, 40, ((1000, 1100, 1050), (80 + place, 150, 100)))
        for place, key in enumerate(keys)
    ]
    return ScoreTable(NAMES, tuple(images), {"run_id": "r1"})


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    made = table(("a" * 16, "b" * 16), ("c" * 16, "d" * 16))
    made.write(tmp_path / "table.json")
    assert read_table(tmp_path / "table.json") == made


def test_the_digest_is_of_contents_not_of_names_or_order() -> None:
    one = table(("a", "b"), ("c", "d"))
    renamed = ScoreTable(NAMES, tuple(replace(image, name="x") for image in reversed(one.images)), {})
    assert one.digest == renamed.digest
    assert one.digest != table(("a", "b"), ("c", "e")).digest
    assert one.digest != ScoreTable(("_background_", "dog"), one.images, {}).digest


def test_common_images_have_the_same_mask() -> None:
    one, other = table(("a", "b"), ("c", "d"), ("e", "f")), table(("e", "f"), ("a", "x"), ("c", "d"))
    common = common_images(one, other)
    assert common == [("c", "d"), ("e", "f")]
    assert one.restrict(common).keys() == other.restrict(common).keys() == common
    assert other.restrict(common).counts()[:, 1, 0].tolist() == [82, 80]


def test_scores_are_those_of_the_pooled_pixels() -> None:
    assert table(("a", "b"), ("c", "d")).scores().iou == {"cat": pytest.approx(161 / (300 + 200 - 161))}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"schema_version": 2}',
        '{"schema_version": 1, "class_names": ["a"], "images": [{}], "model": {}}',
    ],
)
def test_another_file_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "table.json").write_text(text)
    with pytest.raises(InputError, match=r"table\.json"):
        read_table(tmp_path / "table.json")
