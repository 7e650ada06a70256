"""Class names from data.classes or class_names.txt."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from trainer import InputError
from trainer.data.files import read_names
from trainer.data.value_map import BACKGROUND, BACKGROUNDS, UNMAPPED
from trainer.system.text import label

CLASS_NAMES_FILE = "class_names.txt"
"""File of a dataset with the class names, one a line."""

IGNORED = "__ignore__"
"""Label of pixels that are left out, as Labelme's lists of labels have it."""


def names_file(root: Path) -> Path:
    """Path of the file with the class names of a data folder, or of a CSV list; it may be missing."""
    return (root if root.is_dir() else root.parent) / CLASS_NAMES_FILE


def default_names(class_ids: Iterable[int]) -> tuple[str, ...]:
    """Names of classes that nothing names, such as class_1; `class_ids` begin with 0, the background."""
    return (BACKGROUND, *(f"class_{number}" for number in list(class_ids)[1:]))


def read_class_names(roots: Sequence[Path], configured: Sequence[str] | None) -> tuple[str, ...] | None:
    """Read the K class names, the background's first, from data.classes or class_names.txt; None without either.

    Raises InputError for names that cannot be used, and where the files of several roots differ.
    """
    if configured is not None:
        names = [name for name in map(label, configured) if name not in BACKGROUNDS]
        if not names or "ignore" in names or len(set(names)) < len(names):
            raise InputError(f"data.classes: {list(configured)} is not possible; name the foreground classes")
        return (BACKGROUND, *names)
    found: dict[tuple[str, ...], Path] = {}
    for root in roots:
        file = names_file(root)
        if os.path.lexists(file):  # what is not a file, such as a pipe, is named by the reading
            names = [name for name in read_names(file) if name not in (*BACKGROUNDS, IGNORED)]
            if len(set(names)) < len(names) or not 0 < len(names) < UNMAPPED:
                raise InputError(f"{file}: needs different class names, one a line")
            found[(BACKGROUND, *names)] = file
    if len(found) > 1:
        raise InputError(f"{' and '.join(map(str, found.values()))}: different classes; make them the same")
    return next(iter(found), None)
