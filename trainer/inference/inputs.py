"""The pictures to predict, found in files and folders, and what their results are called."""

from dataclasses import dataclass
from pathlib import Path

from trainer import InputError
from trainer.data.files import list_images


@dataclass(frozen=True)
class InputImage:
    """A file to predict, and the name of its results below masks/ and overlays/, without suffix."""

    path: Path
    name: Path


def find_images(inputs: list[Path], output: Path) -> list[InputImage]:
    """The pictures of files and folders, the latter with their subfolders. Results of an earlier call are no input.

    Raises InputError where there is no picture, an input is missing, or two would have the same name.
    """
    results = [output.resolve() / part for part in ("masks", "overlays")]
    pictures: dict[Path, InputImage] = {}
    for given in inputs:
        for picture in _pictures_of(given, results):
            other = pictures.setdefault(picture.name, picture)
            if other.path.resolve() != picture.path.resolve():
                raise InputError(
                    f"{other.path} and {picture.path} would both become masks/{picture.name}.png; "
                    "rename one, or predict them into two folders"
                )
    if not pictures:
        raise InputError(f"{', '.join(map(str, inputs))}: no pictures there")
    return list(pictures.values())


def _pictures_of(given: Path, results: list[Path]) -> list[InputImage]:
    """What one input holds; the folders `results` and those below are left out."""
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
