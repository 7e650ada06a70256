"""Meaning of the values in a tool's masks, where the tool fixes it or writes it beside them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from trainer import InputError
from trainer.data.layouts.base import Found, match_labels
from trainer.data.value_map import BACKGROUND

UNNAMED = ("background", "ignore")
"""Labels of values that stand for no class."""


def name_values(found: Found, labels: Mapping[int, str], classes: Sequence[str] | None, file: Path) -> None:
    """Set names and value map of `found`. `labels`: value -> label, `background` or `ignore`; `file` for messages.

    `classes`: the K wanted names, where known; other labels become background.
    """
    foreground = [label for label in dict.fromkeys(labels.values()) if label not in UNNAMED]
    class_of, notes = match_labels(foreground, classes, file)
    found.value_map = {value: class_of.get(label, label) for value, label in labels.items()}
    found.names = (BACKGROUND, *foreground) if classes is None else None
    found.notes += notes


def name_only_class(found: Found, name: str, classes: Sequence[str] | None, root: Path) -> None:
    """Set names and value map of masks of one class, whose pixels are stored as 1 or 255.

    `classes`: the K wanted names, where known; there may be one besides the background.
    """
    if classes is not None and len(classes) != 2:
        raise InputError(f"data.classes: {', '.join(classes[1:])}: {root} has one class; give one name or none")
    name = name if classes is None else classes[1]
    found.names = (BACKGROUND, name)
    found.value_map = {0: "background", 1: name, 255: name}
