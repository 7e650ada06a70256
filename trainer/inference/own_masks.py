"""Masks where predictions are to be written: those of earlier calls are replaced, those of a person are not."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from PIL import Image

from trainer import InputError
from trainer.data.files import list_images
from trainer.inference.given import InputImage
from trainer.inference.journal import index_entries
from trainer.system.text import one_line, valid

PROGRAM = "segtrainer "
"""Beginning of the text Software in the masks of this program."""


def require_own_masks(output: Path, images: Sequence[InputImage]) -> None:
    """Raise InputError where a mask is not a prediction: a person's label, as a rule, of these images or of others.

    A data set with `images/` and `masks/` looks like an output folder. Predictions among its masks would pass for
    labels.
    """
    folder = output / "masks"
    if not folder.is_dir():
        return
    known = index_entries(output)
    if not known and (output / "report.json").is_file():  # by version 0.1.0, which left neither journal nor texts
        return
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
