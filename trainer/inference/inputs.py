"""Images to predict, found in files and folders, and the names of their results."""

import os
from dataclasses import dataclass
from pathlib import Path

from trainer import InputError
from trainer.data.files import list_images


@dataclass(frozen=True)
class InputImage:
    """File to predict, and the name of its results below masks/ and overlays/, without suffix."""

    path: Path
    name: Path


def find_images(inputs: list[Path], output: Path) -> list[InputImage]:
    """List the images of files and folders, the latter with their subfolders; earlier results are no input.

    Raises InputError where there is no image, an input is missing, or two would have the same name.
    """
    results = [output.resolve() / part for part in ("masks", "overlays")]
    images: dict[Path, InputImage] = {}
    for given in inputs:
        for image in _images_of(given, results):
            other = images.setdefault(image.name, image)
            if os.path.realpath(other.path) != os.path.realpath(image.path):  # `resolve` raises for links in a circle
                raise InputError(
                    f"{other.path} and {image.path} would both become masks/{image.name}.png; "
                    "rename one, or predict them into two folders"
                )
    if not images:
        raise InputError(f"{', '.join(map(str, inputs))}: no pictures there")
    return list(images.values())


def _images_of(given: Path, results: list[Path]) -> list[InputImage]:
    """List the images of one input; the folders `results` and those below are left out."""
    if not given.is_dir():
        if not given.exists():
            raise InputError(f"{given}: no such file or folder")
        return [InputImage(given, Path(given.stem))]
    folders = sorted(folder for folder in [given, *given.rglob("*")] if folder.is_dir())
    return [
        InputImage(path, path.relative_to(given).with_suffix(""))
        for folder in folders
        if not any(folder.resolve().is_relative_to(part) for part in results)
        for path in list_images(folder)
    ]
