"""Advice about the parts of a dataset: it names what the folder's own layout divides, and following it works."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support.layouts import find_in, scenes, write_coco, write_csv, write_folders, write_labelme, write_voc
from trainer.data.checks.rules import Parts, ScannedSamples, run_rules
from trainer.data.checks.scan import FACTS
from trainer.data.sample import Sample
from trainer.data.sources import find_samples


def into_folders(root: Path) -> None:
    """Every other picture to val/, with what belongs to it; all others to train/."""
    for file in [path for path in root.rglob("*") if path.is_file() and path.suffix != ".txt"]:
        part = "val" if file.stem.removesuffix("_mask")[-1] in "02468" else "train"
        place = root / part / file.relative_to(root)
        place.parent.mkdir(parents=True, exist_ok=True)
        file.rename(place)


def into_lists(root: Path) -> None:
    names = sorted(path.stem for path in (root / "JPEGImages").iterdir())
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    for part, chosen in (("train", names[1::2]), ("val", names[::2])):
        (root / f"ImageSets/Segmentation/{part}.txt").write_text("\n".join(chosen))


def into_column(root: Path) -> None:
    (file,) = root.glob("*.csv")
    with file.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["image", "mask", "split"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(row | {"split": ("val", "train")[number % 2]} for number, row in enumerate(rows))


@pytest.mark.parametrize(
    ("write", "by", "divide"),
    [
        (write_labelme, "folders train/ and val/", into_folders),
        (write_folders, "folders train/ and val/", into_folders),
        (write_voc, "ImageSets/Segmentation/train.txt and val.txt", into_lists),
        (write_csv, "the column split", into_column),
        (write_coco, "", None),
    ],
)
def test_advice_fits_the_layout(
    write: Callable[..., Path], by: str, divide: Callable[[Path], None] | None, tmp_path: Path
) -> None:
    root = write(tmp_path / "data", scenes(6))
    found = find_samples([root])
    assert (found.parts_by, found.parts) == (by, {})
    if divide is not None:
        divide(root)
        found = find_in(root)
        assert found.parts_by == by
        assert len(found.parts) == len(found.samples) == 6
        assert set(found.parts.values()) == {"train", "val"}


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (Parts(), "between the parts (another --data.fold)"),
        (Parts("the column split"), "between the parts (another --data.fold, or the column split)"),
        (Parts("the column split", fixed=True), "between the parts (the column split)"),
        (Parts("", fixed=True), "between the parts"),
    ],
)
def test_warnings_say_it(parts: Parts, said: str) -> None:
    """Where no fold is chosen, none is advised."""
    facts = np.zeros(2, dtype=FACTS)
    facts["image"], facts["size"], facts["counts"][:, 0] = (1, 2), 64, 4000
    facts["counts"][1, 1] = 96
    random = np.random.default_rng(3)
    facts["thumbnail"] = random.integers(0, 255, facts["thumbnail"][0].shape)
    samples = [Sample(name, f"{name}.jpg", f"{name}.png") for name in "ab"]
    scanned = ScannedSamples(samples, facts, np.array([False, True]), ("_background_", "cat"), True, 64, None, parts)
    found = {finding.kind: finding.text for finding in run_rules(scanned)}
    assert found["absent"].endswith(said)
    assert found["near"].endswith(f"into the same part, by {parts.by}" if parts.by else "; keep one of them")
