"""Masks where predictions are to be written: those of earlier calls are replaced, those of a person are not."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from PIL import Image

from trainer import InputError
from trainer.inference.given import InputImage
from trainer.inference.journal import index_entries
from trainer.system.text import one_line

PROGRAM = "segtrainer "
"""Beginning of the text Software in the masks of this program."""


def require_own_masks(output: Path, images: Sequence[InputImage]) -> None:
    """Raise InputError where a mask that is not a prediction would be written over: a person's label, as a rule.

    A data set with `images/` and `masks/` looks like an output folder.
    """
    folder = output / "masks"
    if not folder.is_dir():
        return
    known = index_entries(output)
    if not known and (output / "report.json").is_file():  # by version 0.1.0, which left neither journal nor texts
        return
    files = [folder / f"{image.name}.png" for image in images if image.result_name not in known]
    foreign = [file for file in files if file.is_file() and not _is_prediction(file)]
    if foreign:
        others = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise InputError(
            f"--output {one_line(output)}: {one_line(foreign[0].relative_to(output))}{others} there "
            f"{'are' if others else 'is'} no prediction, and would be written over; give another folder"
        )


def _is_prediction(mask: Path) -> bool:
    """Return whether a mask says that it is of this program; not every one of a killed call is in the journal."""
    with suppress(Exception), Image.open(mask, formats=["PNG"]) as pil_image:  # what cannot be read is somebody else's
        return str(pil_image.info.get("Software", "")).startswith(PROGRAM)
    return False
