"""Division into training and validation samples, and the digest of a dataset."""

import random
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.data import VocMaker, count_nothing
from tests.support.layouts import refusal
from trainer.config import DataConfig
from trainer.data.dataset import open_dataset
from trainer.data.image_io import write_mask
from trainer.data.sample import Sample
from trainer.data.sources import find_samples, find_sources
from trainer.data.split import Split, dataset_digest, split_samples
from trainer.data.value_map import ValueMap
from trainer.data.view import View

STEMS = [f"image_{number}" for number in range(10)]


def write_lists(root: Path, train: list[str], val: list[str]) -> None:
    folder = root / "ImageSets" / "Segmentation"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.txt").write_text("".join(f"{stem}\n" for stem in train))
    (folder / "val.txt").write_text("".join(f"{stem}\n" for stem in val))


def names_of(samples: list[Sample], indices: tuple[int, ...]) -> list[str]:
    return [samples[index].name for index in indices]


def make_samples(count: int, root: Path = Path("root")) -> list[Sample]:
    return [Sample(f"s{number}", str(root / "JPEGImages" / f"s{number}.jpg"), "mask") for number in range(count)]


@pytest.mark.parametrize("count", [10, 13, 24])
@pytest.mark.parametrize(("fraction", "folds"), [(0.5, 2), (0.34, 3), (0.25, 4), (0.2, 5), (0.1, 10)])
def test_folds_partition_the_samples(count: int, fraction: float, folds: int) -> None:
    samples = make_samples(count)
    splits = [split_samples(samples, {}, fraction, fold) for fold in range(folds)]
    for split in splits:
        assert sorted(split.train + split.val) == list(range(count))
        assert len(split.val) in (count // folds, -(-count // folds))
        assert list(split.train) == sorted(split.train)
        assert list(split.val) == sorted(split.val)
    assert sorted(index for split in splits for index in split.val) == list(range(count))


def test_split_depends_on_the_names_only() -> None:
    samples = make_samples(20)
    split = split_samples(samples, {}, 0.2, 1)
    expected = set(names_of(samples, split.val))
    shuffled = make_samples(20, Path("elsewhere"))
    random.Random(3).shuffle(shuffled)
    assert set(names_of(shuffled, split_samples(shuffled, {}, 0.2, 1).val)) == expected
    # Fixed for all versions: a model must never be scored on samples that an earlier version trained it on.
    assert expected == {"s3", "s4", "s11", "s15"}


def test_split_is_independent_of_neighbouring_names() -> None:
    """Neighbours by name often show the same scene, so validation samples are spread over all names."""
    split = split_samples(make_samples(100), {}, 0.2, 0)
    assert split.val != tuple(range(20))
    gaps = {second - first for first, second in zip(split.val, split.val[1:], strict=False)}
    assert len(gaps) > 3


def test_lists_are_used_where_present(make_voc: VocMaker) -> None:
    root = make_voc(*STEMS)
    write_lists(root, ["image_3", "image_1"], ["image_8"])
    samples = find_samples([root]).samples
    assert [sample.name for sample in samples] == ["image_1", "image_3", "image_8"]
    for fold in (0, 4):
        split = split_samples(samples, find_samples([root]).parts, 0.2, fold)
        assert (names_of(samples, split.train), names_of(samples, split.val)) == (
            ["image_1", "image_3"],
            ["image_8"],
        )
    assert split_samples(samples, find_samples([root]).parts, 0.0, 0) == split


def test_lists_of_one_root_and_hash_of_the_other(make_voc: VocMaker) -> None:
    listed, free = make_voc("a", "b", folder="listed"), make_voc(*STEMS, folder="free")
    write_lists(listed, ["a"], ["b"])
    samples = find_samples([listed, free]).samples
    split = split_samples(samples, find_samples([listed, free]).parts, 0.2, 0)
    assert "listed/b" in names_of(samples, split.val)
    assert "listed/a" in names_of(samples, split.train)
    assert len(split.val) == 1 + 2


def test_lists_of_other_tools(make_voc: VocMaker) -> None:
    root = make_voc("my cat", "Kätzchen", "b")
    write_lists(root, [], [])
    folder = root / "ImageSets" / "Segmentation"
    (folder / "train.txt").write_bytes("\ufeffmy cat\r\n\r\nb  \r\n".encode())
    (folder / "val.txt").write_bytes("Kätzchen".encode())
    samples = find_samples([root]).samples
    split = split_samples(samples, find_samples([root]).parts, 0.2, 0)
    assert names_of(samples, split.val) == ["Kätzchen"]
    (folder / "val.txt").write_bytes("Kätzchen".encode("latin-1"))
    with refusal(str(folder / "val.txt"), "UTF-8"):
        find_samples([root])


def test_invalid_lists(make_voc: VocMaker) -> None:
    root = make_voc("a", "b", "c")
    write_lists(root, ["a", "b"], ["b", "c"])
    with refusal("b in both train.txt and val.txt"):
        find_samples([root])
    write_lists(root, ["a", "b"], ["c", "gone"])
    assert "gone" in find_samples([root]).problems[0]


def test_too_few_samples() -> None:
    with refusal("1 labelled pictures", "none for training"):
        split_samples(make_samples(1), {}, 0.2, 0)
    with refusal("3 labelled pictures", "none for validation", "data.fold"):
        split_samples(make_samples(3), {}, 0.2, 4)
    with refusal("none for validation", "data.val_fraction"):
        split_samples(make_samples(9), {}, 0.0, 0)
    assert split_samples(make_samples(2), {}, 0.2, 0).train != ()


# ------------------------------------------------------------------------------------------------ digest


def test_digest() -> None:
    files, split, names = ["aa", "bb", "cc", "dd"], Split((0, 1, 2), (3,)), ("_background_", "cat")
    table = ValueMap()
    digest = dataset_digest(files, split, names, table)
    assert re.fullmatch("[0-9a-f]{32}", digest)
    renamed = dataset_digest(["bb", "aa", "dd", "cc"], Split((0, 1, 3), (2,)), names, table)
    assert renamed == digest  # renamed files come in another order
    changed = {
        dataset_digest(["aa", "bb", "cc", "de"], split, names, table),
        dataset_digest(["aa", "bb", "cd", "dd"], split, names, table),
        dataset_digest(files, Split((0, 1), (2, 3)), names, table),
        dataset_digest(files, Split((0, 1, 3), (2,)), names, table),
        dataset_digest(files, split, ("_background_", "dog"), table),
        dataset_digest(files, split, names, ValueMap(table.table[::-1])),
        dataset_digest([*files, "aa"], Split((0, 1, 2, 4), (3,)), names, table),
    }
    assert len(changed | {digest}) == 8


def test_digest_of_a_folder(make_voc: VocMaker, tmp_path: Path) -> None:
    root = make_voc(*STEMS)

    def digest(folder: Path, fold: int = 0) -> str:
        sources = find_sources(DataConfig(root=str(folder), fold=fold, classes=["cat"]))
        return open_dataset(sources, View(16), tmp_path / "cache", count_nothing).digest

    first = digest(root)
    assert digest(root, fold=1) != first
    assert digest(root.rename(tmp_path / "renamed")) == first
    root = tmp_path / "renamed"
    file = root / "SegmentationClassPNG" / "image_4.png"
    with Image.open(file) as pil_image:
        mask = np.array(pil_image)
    mask[0, 0] = 1 - mask[0, 0]
    write_mask(file, mask)
    assert digest(root) != first
