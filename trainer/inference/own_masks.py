"""Files where predictions are to be written: those of earlier calls are replaced, those of a person are not."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from PIL import Image

from trainer import InputError
from trainer.data.files import list_images
from trainer.inference.given import InputImage
from trainer.inference.journal import ENTRY, index_entries, journal_file
from trainer.inference.options import Options
from trainer.system.text import one_line, valid

PROGRAM = "segtrainer "
"""Beginning of the text Software in the masks of this program."""

TABLES = {"report.json": b'{\n "model": ', "report.csv": b"file,width,height,", "objects.csv": b"file,class,area,"}
"""Files that belong to a journal, and what those of all versions begin with."""

COCO = b'{"info": {"description": "predicted"'
"""Beginning of this program's coco.json. Data sets have one of that name, too."""


def require_own_files(output: Path, images: Sequence[InputImage], options: Options) -> None:
    """Raise InputError where a report, table or picture that is not of this program would be written over."""
    journal = journal_file(output)
    tables = {} if journal.exists() else TABLES
    wanted = {"objects.csv": options.objects}
    begins = {journal.name: ENTRY} | {name: begin for name, begin in tables.items() if wanted.get(name, True)}
    begins |= {"coco.json": COCO} if options.coco else {}
    foreign = [output / name for name, begin in begins.items() if not _begins(output / name, begin)]
    foreign = foreign or _foreign_pictures(output, images, options)
    if foreign:
        others = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise InputError(
            f"--output {one_line(output)}: {one_line(foreign[0].relative_to(output))}{others} there "
            f"{'are' if others else 'is'} not of predict.py, and would be written over; give another folder"
        )


def is_own_table(file: Path) -> bool:
    """Return whether a file is there, and is a coco.json, or a report or table, of this program."""
    begin = COCO if file.name == "coco.json" else TABLES[file.name]
    return file.is_file() and file.stat().st_size > 0 and _begins(file, begin)


def _begins(file: Path, begin: bytes) -> bool:
    """Return whether a file begins like this, as far as it goes: one that is absent or empty does."""
    try:
        with file.open("rb") as opened:
            head = opened.read(len(begin))
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return begin.startswith(head)


def _foreign_pictures(output: Path, images: Sequence[InputImage], options: Options) -> list[Path]:
    """Overlays and maps to be written over whose image has no mask of this program, and is not in the journal."""
    suffixes = {"overlays": ".jpg", "confidence": ".png", "probabilities": f".{options.probabilities}"}
    folders = [output / name for name in suffixes if name in options.folders and (output / name).is_dir()]
    if not folders or _is_of_first_version(output):
        return []
    known = index_entries(output)
    files = [
        file
        for image in images
        if image.result_name not in known
        for folder in folders
        if (file := folder / f"{image.name}{suffixes[folder.name]}").exists()
        and not _is_prediction(output / "masks" / f"{image.name}.png")
    ]
    return sorted(files)


def _is_of_first_version(output: Path) -> bool:
    """Return whether version 0.1.0 wrote a folder: it left a report, and neither journal nor texts in masks."""
    report = output / "report.json"
    return report.is_file() and not journal_file(output).exists() and _begins(report, TABLES["report.json"])


def require_own_masks(output: Path, images: Sequence[InputImage]) -> None:
    """Raise InputError where a mask is not a prediction: a person's label, as a rule, of these images or of others.

    A data set with `images/` and `masks/` looks like an output folder. Predictions among its masks would pass for
    labels.
    """
    folder = output / "masks"
    if not folder.is_dir() or _is_of_first_version(output):
        return
    known = index_entries(output)
    written = {folder / f"{image.name}.png" for image in images}
    files = [file for file in list_images(folder, deep=True) if _result_name(file, folder) not in known]
    foreign = [file for file in files if not _is_prediction(file)]
    if foreign:
        first = min(foreign, key=lambda file: file not in written)
        others = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        why = "and would be written over" if first in written else "and predictions beside it would pass for labels"
        raise InputError(
            f"--output {one_line(output)}: {one_line(first.relative_to(output))}{others} there "
            f"{'are' if others else 'is'} no prediction, {why}; give another folder"
        )


def _result_name(mask: Path, folder: Path) -> str:
    """Name of the results that a mask belongs to, as the journal has it."""
    return valid(mask.relative_to(folder).with_suffix("").as_posix()) if mask.suffix == ".png" else ""


def _is_prediction(mask: Path) -> bool:
    """Return whether a mask says that it is of this program; not every one of a killed call is in the journal."""
    with suppress(Exception), Image.open(mask, formats=["PNG"]) as pil_image:  # what cannot be read is somebody else's
        return str(pil_image.info.get("Software", "")).startswith(PROGRAM)
    return False
