"""The list of images that trained a model: written, read by anybody, never guessed."""

import json
from pathlib import Path

import pytest

from trainer import InputError
from trainer.model import training_images
from trainer.model.training_images import (
    TRAINING_IMAGES_FILE,
    TrainingImages,
    of_hashes,
    read_training_images,
    trained_on,
    write_training_images,
)

ONE, TWO, THREE = (f"{number:016x}" for number in (1, 2**64 - 1, 3))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    images = of_hashes([1, 2**64 - 1, 1], [3])
    write_training_images(tmp_path, images)
    assert read_training_images(tmp_path) == images == TrainingImages(frozenset({ONE, TWO}), frozenset({THREE}))
    assert trained_on(tmp_path) == {ONE, TWO, THREE}


def test_a_model_of_an_older_program_has_none(tmp_path: Path) -> None:
    assert read_training_images(tmp_path) is None
    assert trained_on(tmp_path) is None


def test_images_are_inherited(tmp_path: Path) -> None:
    first = of_hashes([1])
    third = of_hashes([3]).after(of_hashes([2**64 - 1]).after(first))
    assert third.all() == {ONE, TWO, THREE}
    assert third.labelled == {THREE}
    write_training_images(tmp_path, third)
    assert trained_on(tmp_path) == {ONE, TWO, THREE}


def test_after_a_model_that_is_not_known_the_images_are_not_either(tmp_path: Path) -> None:
    for unknown in (of_hashes([1]).after(None), of_hashes([1]).after(of_hashes([3]).after(None))):
        write_training_images(tmp_path, unknown)
        assert trained_on(tmp_path) is None
        found = read_training_images(tmp_path)
        assert found is not None
        assert ONE in found.labelled


def test_too_many_images_count_as_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_images, "MOST_IMAGES", 2)
    write_training_images(tmp_path, of_hashes([1, 2]))
    assert trained_on(tmp_path) is not None
    write_training_images(tmp_path, of_hashes([1, 2, 3]))
    assert trained_on(tmp_path) is None
    assert (tmp_path / TRAINING_IMAGES_FILE).stat().st_size < 200


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        json.dumps({"schema_version": 2}),
        json.dumps({"schema_version": 1, "complete": True, "labelled": "xyz", "unlabelled": "", "inherited": ""}),
        json.dumps({"schema_version": 1, "complete": True, "labelled": [1], "unlabelled": "", "inherited": ""}),
        json.dumps({"schema_version": 1, "complete": True, "labelled": "0" * 16, "unlabelled": ""}),
        "[" * 100_000,
    ],
)
def test_a_damaged_list_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / TRAINING_IMAGES_FILE).write_text(content)
    with pytest.raises(InputError, match=TRAINING_IMAGES_FILE):
        trained_on(tmp_path)


def test_neither_a_link_nor_a_huge_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_training_images(tmp_path, of_hashes([1]))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / TRAINING_IMAGES_FILE).symlink_to(tmp_path / TRAINING_IMAGES_FILE)
    assert trained_on(tmp_path / "model") is None
    monkeypatch.setattr(training_images, "MOST_BYTES", 10)
    with pytest.raises(InputError, match="more than 10"):
        trained_on(tmp_path)
