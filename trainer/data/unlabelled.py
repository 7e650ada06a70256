"""Images without labels that train too: found in a folder of their own, or beside the labelled ones."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer import IGNORE, InputError
from trainer.config import DataConfig
from trainer.data.account import take_stock
from trainer.data.files import list_images
from trainer.data.image_header import read_header
from trainer.data.layouts import detect_layout
from trainer.data.layouts.base import Found
from trainer.data.sample import DrawnSample, Sample
from trainer.data.value_map import ValueMap

PER_LABELLED = 1
"""Unlabelled images in a step for each labelled one."""


def unlabelled_in_step(count: int, labelled: int) -> int:
    """Number of unlabelled images, of `count`, in every step that has `labelled` labelled ones."""
    return min(PER_LABELLED * labelled, count)


@dataclass(frozen=True, slots=True)
class UnlabelledSample(DrawnSample):
    """An image whose mask is to be ignored everywhere."""

    @property
    def files(self) -> tuple[str, ...]:
        return (self.image_file,)

    def mask_content(self) -> bytes:
        return b""

    def read_mask(self, values: ValueMap, content: bytes | None = None) -> np.ndarray:
        return np.full(read_header(self.image).size, IGNORE, np.uint8)


def find_unlabelled(config: DataConfig, found: Found) -> tuple[UnlabelledSample, ...]:
    """Find the images that data.unlabelled stands for, sorted by path; auto takes those that `found` left out.

    Raises InputError where a folder is named that has no images, or labels too.
    """
    files: list[str] = []
    if config.unlabelled == "auto":
        files = [file for file, reason in found.left_out.items() if reason.unlabelled]
    elif config.unlabelled_folder:
        files = [str(image) for image in _images_in(config.unlabelled_folder)]
    return tuple(UnlabelledSample(file, file, file) for file in sorted(files))


def _images_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"data.unlabelled: {folder}: no such folder; give one with pictures, or auto")
    layout = detect_layout(folder)
    if layout:
        raise InputError(
            f"data.unlabelled: {folder}: holds labels too (data.layout {layout}); give a folder of pictures alone, or "
            "make it a data.root with data.unlabelled auto"
        )
    images = list_images(folder, deep=True)
    if not images:
        contents = take_stock([folder], [], {}).summary()
        holds = f"; it holds {contents}" if contents else ""
        raise InputError(f"data.unlabelled: {folder}: no pictures there{holds}; give a folder that has some")
    return images


def refuse_labelled(
    unlabelled: Sequence[Sample],
    hashes: np.ndarray,
    labelled: Sequence[Sample],
    labelled_hashes: np.ndarray,
    validating: Collection[int],
) -> None:
    """Raise InputError where an unlabelled image is one of the labelled ones, of which the rows `validating` validate.

    `hashes` and `labelled_hashes`: uint64, of the pixels of each image. What a model is scored on, it must not see.
    """
    rows = {key: row for row, key in enumerate(labelled_hashes.tolist())}
    same = [(one, rows[key]) for one, key in zip(unlabelled, hashes.tolist(), strict=True) if key in rows]
    if same:
        one, row = next((pair for pair in same if pair[1] in validating), same[0])
        role = "validates" if row in validating else "has labels"
        more = f" ({len(same) - 1} more are like it)" if len(same) > 1 else ""
        raise InputError(
            f"data.unlabelled: {one.image_file}: the same picture as {labelled[row].image_file}, which {role}; take it "
            f"out of the unlabelled ones{more}"
        )
