"""Masks where predictions are to be written: whose they are."""

from pathlib import Path

import numpy as np
import pytest

from trainer import InputError
from trainer.data.image_io import write_mask
from trainer.inference.given import InputImage
from trainer.inference.journal import Entry, JournalWriter, journal_file
from trainer.inference.options import Options
from trainer.inference.own_masks import require_own_files, require_own_masks
from trainer.inference.report import Report, write_coco, write_objects

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


FACTS = {"name": "m", "version": "1", "classes": ["_background_", "cat"]}


def entry(name: str) -> Entry:
    row = {"file": f"{name}.jpg", "width": 5, "height": 4, "share": {}, "pixels": {"_background_": 20, "cat": 0}}
    return Entry(name, "", "", "", "", row, [])


def write_results(output: Path) -> None:
    """All tables of a call, and overlays and maps of all images."""
    report = Report(output, FACTS, ["a"], [])
    report.add(entry("a"))
    report.write(complete=True)
    write_objects(output / "objects.csv", [], FACTS)
    write_coco(output / "coco.json", lambda: iter([entry("a")]), FACTS)
    for name in ("overlays/a.jpg", "confidence/a.png", "probabilities/a.npy"):
        (output / name).parent.mkdir()
        (output / name).write_bytes(b"picture")


ALL = Options(coco=True, objects=True, confidence_map=True, probabilities="npy")


@pytest.mark.parametrize(
    ("name", "content", "unasked"),
    [
        ("coco.json", '{"info": {"description": "by hand"}, "images": []}', Options(objects=True)),
        ("objects.csv", "chair,3\n", Options(coco=True)),
        ("report.csv", "day,found\n", None),
        ("report.json", '{"of": "somebody"}', None),
        ("journal.jsonl", '{"day": 1}\n', None),
        ("overlays/a.jpg", "picture", Options(overlay="none")),
        ("confidence/a.png", "picture", Options()),
        ("probabilities/a.npy", "levels", Options(probabilities="png")),
    ],
)
def test_other_files_of_a_person_are_not_written_over(
    name: str, content: str, unasked: Options | None, tmp_path: Path
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=f"{name} there is not of predict.py, and would be written over; give another"):
        require_own_files(tmp_path, IMAGES, ALL)
    if unasked is not None:
        require_own_files(tmp_path, IMAGES, unasked)
    if "/" in name:  # of no picture of this call
        require_own_files(tmp_path, IMAGES[1:], ALL)


def test_results_of_this_program_are(tmp_path: Path) -> None:
    write_results(tmp_path)  # without journal and texts in masks, as of version 0.1.0
    require_own_files(tmp_path, IMAGES, ALL)
    (tmp_path / "report.json").unlink()
    with pytest.raises(InputError, match=r"confidence/a\.png and 2 more there are not of predict\.py"):
        require_own_files(tmp_path, IMAGES, ALL)
    put_mask(tmp_path, "a", Software="segtrainer 9")  # of a call that was killed
    require_own_files(tmp_path, IMAGES, ALL)
    (tmp_path / "masks" / "a.png").unlink()
    journal = JournalWriter(journal_file(tmp_path))
    journal.add(entry("a"))
    journal.close()
    (tmp_path / "report.csv").write_text("file;width\n")  # saved by a spreadsheet
    require_own_files(tmp_path, IMAGES, ALL)
    (tmp_path / "coco.json").write_text('{"images": []}')
    with pytest.raises(InputError, match=r"coco\.json there is"):
        require_own_files(tmp_path, IMAGES, ALL)
