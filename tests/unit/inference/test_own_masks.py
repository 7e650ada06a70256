"""Masks where predictions are to be written: whose they are."""

from pathlib import Path

import numpy as np
import pytest

from trainer import InputError
from trainer.data.image_io import write_mask
from trainer.inference.given import InputImage
from trainer.inference.journal import Entry, JournalWriter, journal_file
from trainer.inference.own_masks import require_own_masks

IMAGES = [InputImage(Path("in") / name, Path(name).with_suffix("")) for name in ("a.jpg", "ü b.jpg", "below/c.1.jpg")]


def put_mask(output: Path, name: str, **texts: str) -> Path:
    file = output / "masks" / f"{name}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_mask(file, np.zeros((4, 5), np.uint8), texts)
    return file


def test_masks_of_a_person_are_not_written_over(tmp_path: Path) -> None:
    require_own_masks(tmp_path / "new", IMAGES)
    put_mask(tmp_path, "ü b")
    with pytest.raises(InputError, match=r"masks/ü b\.png there is no prediction, and would be written over"):
        require_own_masks(tmp_path, IMAGES)
    put_mask(tmp_path, "below/c.1", Software="GIMP")
    with pytest.raises(InputError, match=r"masks/ü b\.png and 1 more there are no prediction"):
        require_own_masks(tmp_path, IMAGES)
    put_mask(tmp_path, "ü b", Software="segtrainer 0.1.0")
    put_mask(tmp_path, "below/c.1").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"c\.1\.png there is"):
        require_own_masks(tmp_path, IMAGES)


def test_predictions_of_all_versions_are(tmp_path: Path) -> None:
    for image in IMAGES:
        put_mask(tmp_path, str(image.name))
    with pytest.raises(InputError, match="and 2 more"):
        require_own_masks(tmp_path, IMAGES)
    (tmp_path / "report.json").touch()
    require_own_masks(tmp_path, IMAGES)
    journal = JournalWriter(journal_file(tmp_path))
    for image in IMAGES[:2]:
        journal.add(Entry(image.result_name, "", "", "", "", {}, []))
    journal.close()
    with pytest.raises(
        InputError, match=r"below/c\.1\.png there is"
    ):  # of a data set that pictures were predicted into
        require_own_masks(tmp_path, IMAGES)
    put_mask(tmp_path, "below/c.1", Software="segtrainer 9")
    require_own_masks(tmp_path, IMAGES)


def test_predictions_are_not_written_among_labels(tmp_path: Path) -> None:
    """Of pictures without a mask: theirs would train with those of a person."""
    put_mask(tmp_path, "an earlier one", Software="segtrainer 9")
    put_mask(tmp_path, "in the journal.1")
    journal = JournalWriter(journal_file(tmp_path))
    journal.add(Entry("in the journal.1", "", "", "", "", {}, []))
    journal.close()
    (tmp_path / "masks" / "notes.txt").touch()
    (tmp_path / "masks" / ".hidden.png").touch()
    require_own_masks(tmp_path, IMAGES)
    put_mask(tmp_path, "of/another picture")
    said = (
        r"masks/of/another picture\.png there is no prediction, and predictions beside it would pass for labels; give"
    )
    with pytest.raises(InputError, match=said):
        require_own_masks(tmp_path, IMAGES)
    put_mask(tmp_path, "ü b")
    with pytest.raises(
        InputError, match=r"masks/ü b\.png and 1 more there are no prediction, and would be written over"
    ):
        require_own_masks(tmp_path, IMAGES)
    (tmp_path / "masks" / "ü b.png").unlink()
    (tmp_path / "masks" / "of" / "another picture.png").rename(tmp_path / "masks" / "scan.tif")
    with pytest.raises(InputError, match=r"masks/scan\.tif there is"):
        require_own_masks(tmp_path, IMAGES)
