"""Which pictures there are, who validates, and what the values in the masks mean."""

import random
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import VocMaker, count_nothing
from trainer import IGNORE, InputError
from trainer.config import DataConfig, parse
from trainer.data.cache import open_dataset
from trainer.data.dataset import (
    BACKGROUND,
    UNMAPPED,
    Sample,
    Split,
    check_values,
    dataset_digest,
    find_samples,
    named_classes,
    plan,
    raise_all,
    split_samples,
    value_table,
)
from trainer.data.files import write_mask

STEMS = [f"picture_{number}" for number in range(10)]


def refusal(*parts: str) -> "pytest.RaisesExc[InputError]":
    """Expects an InputError whose text holds all parts."""
    return pytest.raises(InputError, check=lambda error: all(part in str(error) for part in parts))


def write_lists(root: Path, train: list[str], val: list[str]) -> None:
    folder = root / "ImageSets" / "Segmentation"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.txt").write_text("".join(f"{stem}\n" for stem in train))
    (folder / "val.txt").write_text("".join(f"{stem}\n" for stem in val))


def names_of(samples: list[Sample], indices: tuple[int, ...]) -> list[str]:
    return [samples[index].name for index in indices]


# ------------------------------------------------------------------------------------------------ pairs


def test_pairs_by_stem_sorted(make_voc: VocMaker) -> None:
    root = make_voc("b", "a", "c.d", "a b")
    (root / "JPEGImages" / "notes.txt").touch()
    (root / "JPEGImages" / "c.d.jpg").rename(root / "JPEGImages" / "c.d.JPEG")
    samples = find_samples([root])
    assert [sample.name for sample in samples] == ["a", "a b", "b", "c.d"]
    assert samples[3] == Sample("c.d", root / "JPEGImages" / "c.d.JPEG", root / "SegmentationClassPNG" / "c.d.png")


def test_both_names_of_the_mask_folder(make_voc: VocMaker) -> None:
    old, new = make_voc("a", folder="old"), make_voc("a", folder="new", masks="SegmentationClass")
    assert find_samples([old])[0].mask == old / "SegmentationClassPNG" / "a.png"
    assert find_samples([new])[0].mask == new / "SegmentationClass" / "a.png"


def test_several_roots(make_voc: VocMaker) -> None:
    roots = [make_voc("a", "b", folder="zoo"), make_voc("a", folder="home")]
    samples = find_samples(roots)
    assert [sample.name for sample in samples] == ["home/a", "zoo/a", "zoo/b"]
    assert samples[0].image == roots[1] / "JPEGImages" / "a.jpg"


def test_several_roots_of_one_name(make_voc: VocMaker) -> None:
    roots = [make_voc("a", folder="one/cats"), make_voc("a", folder="two/cats")]
    assert [sample.name for sample in find_samples(roots)] == ["one/cats/a", "two/cats/a"]


def test_one_root_named_twice(make_voc: VocMaker) -> None:
    root = make_voc("a")
    with refusal("data.root", "twice"):
        find_samples([root, root / ".." / root.name])


def test_all_problems_in_one_message(make_voc: VocMaker) -> None:
    root, other = make_voc("a", "b", "c", "d"), make_voc("e", "f", folder="other")
    images, masks = root / "JPEGImages", root / "SegmentationClassPNG"
    shutil.copy(images / "a.jpg", images / "a.png")
    shutil.copy(masks / "d.png", masks / "d.bmp")
    (masks / "b.png").unlink()
    (images / "c.jpg").unlink()
    (other / "JPEGImages" / "e.jpg").unlink()
    with pytest.raises(InputError) as error:
        find_samples([root, other])
    lines = str(error.value).splitlines()
    assert len(lines) == 5
    assert str(images / "a.png") in lines[0]
    assert "a.jpg" in lines[0]
    assert "same stem" in lines[0]
    assert str(masks / "d.png") in lines[1]
    assert str(images / "b.jpg") in lines[2]
    assert "no mask b.png" in lines[2]
    assert str(masks / "c.png") in lines[3]
    assert "no image" in lines[3]
    assert str(other / "SegmentationClassPNG" / "e.png") in lines[4]


def test_folders_that_are_not_there(make_voc: VocMaker, tmp_path: Path) -> None:
    with refusal(str(tmp_path / "nowhere"), "no such folder"):
        find_samples([tmp_path / "nowhere"])
    with refusal(str(tmp_path), "JPEGImages"):
        find_samples([tmp_path])
    root = make_voc("a")
    shutil.rmtree(root / "SegmentationClassPNG")
    with refusal(str(root), "SegmentationClassPNG"):
        find_samples([root])
    with refusal("no images there"):
        find_samples([make_voc(folder="empty")])


def test_many_problems_are_counted() -> None:
    raise_all([])
    with refusal("problem 19", "and 5 more") as error:
        raise_all([f"problem {number}" for number in range(25)])
    assert "problem 20" not in str(error.value)


# ------------------------------------------------------------------------------------------------ split


def made_up(count: int, root: Path = Path("root")) -> list[Sample]:
    return [Sample(f"s{number}", root / "JPEGImages" / f"s{number}.jpg", Path("mask")) for number in range(count)]


@pytest.mark.parametrize("count", [10, 13, 24])
@pytest.mark.parametrize(("fraction", "folds"), [(0.5, 2), (0.34, 3), (0.25, 4), (0.2, 5), (0.1, 10)])
def test_folds_partition_the_samples(count: int, fraction: float, folds: int) -> None:
    samples = made_up(count)
    splits = [split_samples(samples, [Path("root")], fraction, fold) for fold in range(folds)]
    for split in splits:
        assert sorted(split.train + split.val) == list(range(count))
        assert len(split.val) in (count // folds, -(-count // folds))
        assert list(split.train) == sorted(split.train)
        assert list(split.val) == sorted(split.val)
    assert sorted(index for split in splits for index in split.val) == list(range(count))


def test_split_depends_on_the_names_only() -> None:
    samples = made_up(20)
    split = split_samples(samples, [Path("root")], 0.2, 1)
    validating = set(names_of(samples, split.val))
    mixed = made_up(20, Path("elsewhere"))
    random.Random(3).shuffle(mixed)
    assert set(names_of(mixed, split_samples(mixed, [Path("elsewhere")], 0.2, 1).val)) == validating
    # For good: a model must not be scored tomorrow on what it was trained on today.
    assert validating == {"s3", "s4", "s11", "s15"}


def test_split_is_no_pattern_of_the_names() -> None:
    """Neighbours are often the same scene; the first fifth by name would be other weather than the rest."""
    split = split_samples(made_up(100), [Path("root")], 0.2, 0)
    assert split.val != tuple(range(20))
    gaps = {second - first for first, second in zip(split.val, split.val[1:], strict=False)}
    assert len(gaps) > 3


def test_lists_are_used_where_present(make_voc: VocMaker) -> None:
    root = make_voc(*STEMS)
    write_lists(root, ["picture_3", "picture_1"], ["picture_8"])
    samples = find_samples([root])
    assert [sample.name for sample in samples] == ["picture_1", "picture_3", "picture_8"]
    for fold in (0, 4):
        split = split_samples(samples, [root], 0.2, fold)
        assert (names_of(samples, split.train), names_of(samples, split.val)) == (
            ["picture_1", "picture_3"],
            ["picture_8"],
        )
    assert split_samples(samples, [root], 0.0, 0) == split


def test_lists_of_one_root_and_hash_of_the_other(make_voc: VocMaker) -> None:
    listed, free = make_voc("a", "b", folder="listed"), make_voc(*STEMS, folder="free")
    write_lists(listed, ["a"], ["b"])
    samples = find_samples([listed, free])
    split = split_samples(samples, [listed, free], 0.2, 0)
    assert "listed/b" in names_of(samples, split.val)
    assert "listed/a" in names_of(samples, split.train)
    assert len(split.val) == 1 + 2


def test_lists_as_others_write_them(make_voc: VocMaker) -> None:
    root = make_voc("my cat", "Kätzchen", "b")
    write_lists(root, [], [])
    folder = root / "ImageSets" / "Segmentation"
    (folder / "train.txt").write_bytes("\ufeffmy cat\r\n\r\nb  \r\n".encode())
    (folder / "val.txt").write_bytes("Kätzchen".encode())
    samples = find_samples([root])
    split = split_samples(samples, [root], 0.2, 0)
    assert names_of(samples, split.val) == ["Kätzchen"]
    (folder / "val.txt").write_bytes("Kätzchen".encode("latin-1"))
    with refusal(str(folder / "val.txt"), "UTF-8"):
        find_samples([root])


def test_lists_that_are_wrong(make_voc: VocMaker) -> None:
    root = make_voc("a", "b", "c")
    write_lists(root, ["a", "b"], ["b", "c"])
    with refusal("b in both train.txt and val.txt"):
        find_samples([root])
    write_lists(root, ["a", "b"], ["c", "gone"])
    with refusal("gone", "ImageSets"):
        find_samples([root])


def test_too_few_pictures() -> None:
    with refusal("1 labelled pictures", "none for training"):
        split_samples(made_up(1), [Path("root")], 0.2, 0)
    with refusal("3 labelled pictures", "none for validation", "data.fold"):
        split_samples(made_up(3), [Path("root")], 0.2, 4)
    with refusal("none for validation", "data.val_fraction"):
        split_samples(made_up(9), [Path("root")], 0.0, 0)
    assert split_samples(made_up(2), [Path("root")], 0.2, 0).train != ()


# ------------------------------------------------------------------------------------------------ class names


def test_class_names_file(make_voc: VocMaker) -> None:
    root = make_voc("a")
    assert named_classes([root], None) is None
    file = root / "class_names.txt"
    for text in (
        "cat\ndog\n",
        "_background_\ncat\n dog \n\n",
        "__ignore__\n_background_\ncat\ndog",
        "\ufeffcat\r\ndog\r\n",
    ):
        file.write_bytes(text.encode())
        assert named_classes([root], None) == (BACKGROUND, "cat", "dog"), text
    assert named_classes([root], ["bird"]) == (BACKGROUND, "bird")
    for content in (
        b"cat\ncat\n",
        b"\n",
        b"_background_\n",
        "Kätzchen".encode("latin-1"),
        b"\n".join(b"%d" % n for n in range(254)),
    ):
        file.write_bytes(content)
        with refusal(str(file)):
            named_classes([root], None)


def test_class_names_of_several_roots(make_voc: VocMaker) -> None:
    roots = [make_voc("a", folder="one"), make_voc("a", folder="two"), make_voc("a", folder="silent")]
    (roots[0] / "class_names.txt").write_text("cat\ndog\n")
    (roots[1] / "class_names.txt").write_text("_background_\ncat\ndog\n")
    assert named_classes(roots, None) == (BACKGROUND, "cat", "dog")
    (roots[1] / "class_names.txt").write_text("dog\ncat\n")
    with refusal("one", "two", "different classes"):
        named_classes(roots, None)


def test_configured_classes_with_their_background() -> None:
    assert named_classes([], ["_background_", "cat"]) == (BACKGROUND, "cat")
    assert named_classes([], ["background", "cat", "dog"]) == (BACKGROUND, "cat", "dog")
    for wrong in (["background"], ["cat", "ignore"]):
        with refusal("data.classes"):
            named_classes([], wrong)


# ------------------------------------------------------------------------------------------------ values


def test_value_table_without_a_map() -> None:
    table, names = value_table(None, None)
    assert table.tolist() == list(range(256))
    assert names is None
    assert value_table({}, (BACKGROUND, "cat"))[1] == (BACKGROUND, "cat")


def test_value_table_brings_names() -> None:
    table, names = value_table({0: "background", 38: "cat", 75: "dog", 90: "cat", 7: "ignore"}, None)
    assert names == (BACKGROUND, "cat", "dog")
    expected = {0: 0, 38: 1, 75: 2, 90: 1, 7: IGNORE}
    assert table.dtype == np.uint8
    assert all(table[value] == expected.get(value, UNMAPPED) for value in range(256))


def test_value_table_with_names() -> None:
    table, names = value_table({255: "cat", 0: "_background_", 3: "dog"}, (BACKGROUND, "dog", "cat"))
    assert names == (BACKGROUND, "dog", "cat")
    assert (table[255], table[0], table[3], table[1]) == (2, 0, 1, UNMAPPED)
    with refusal("data.value_map", "bird is no class", "dog, cat"):
        value_table({1: "bird"}, (BACKGROUND, "dog", "cat"))
    with refusal("data.value_map", "at least one"):
        value_table({0: "background", 255: "ignore"}, None)


def check(
    pixels: list[dict[int, int]], names: tuple[str, ...] | None, mapped: bool = False
) -> tuple[tuple[str, ...], list[str]]:
    """`check_values` for masks that hold so many pixels of these values."""
    counts = np.zeros((len(pixels), 256), dtype=np.int64)
    for row, values in enumerate(pixels):
        for value, count in values.items():
            counts[row, value] = count
    samples = [Sample(f"s{row}", Path(f"s{row}.jpg"), Path(f"masks/s{row}.png")) for row in range(len(pixels))]
    return check_values(samples, counts, names, mapped)


CAT = (BACKGROUND, "cat")


def test_values_that_fit() -> None:
    assert check([{0: 5, 1: 5}], CAT) == (CAT, [])
    assert check([{0: 5}, {1: 2, 255: 3}], CAT) == (CAT, [])
    assert check([{1: 5}], (*CAT, "dog")) == ((*CAT, "dog"), [])
    assert check([{0: 5, 255: 2}], CAT, mapped=True) == (CAT, [])


def test_unnamed_classes_get_names_and_a_warning() -> None:
    names, warnings = check([{0: 5, 2: 1}, {0: 3, 1: 2, 255: 9}], None)
    assert names == (BACKGROUND, "class_1", "class_2")
    assert len(warnings) == 1
    assert "class_1, class_2" in warnings[0]
    assert "data.classes" in warnings[0]


def test_nothing_labelled() -> None:
    for pixels in ([{0: 5}], [{255: 5}]):
        with refusal("no mask has a labelled pixel"):
            check(pixels, None)


def test_value_that_the_map_leaves_out() -> None:
    with refusal("masks/s1.png (3 pixels)", "data.value_map"):
        check([{0: 5, 1: 1}, {0: 1, UNMAPPED: 3}], CAT, mapped=True)


MISFITS = {
    # pixels of each mask, class names, parts of the message, the line to add
    "7 among 0 and 1": (
        [{0: 9, 1: 4}, {0: 9, 7: 3}, {7: 5}], CAT,
        ["masks/s1.png (3 pixels) and 1 more", "7 is no class", "0 _background_, 1 cat"],
        '--data.value_map "{0: background, 1: cat, 7: ignore}"',
    ),
    "0 and 255": (
        [{0: 9, 255: 4}], None, ["masks/s0.png (4 pixels)", "255"], '--data.value_map "{0: background, 255: class_1}"',
    ),
    "0 and 255, named": ([{0: 9, 255: 4}], CAT, ["masks/s0.png"], '--data.value_map "{0: background, 255: cat}"'),
    "gap": (
        [{0: 9, 1: 4}, {0: 1, 4: 1, 255: 2}], None, ["masks/s1.png (1 pixels)", "0, 1, 4"],
        '--data.value_map "{0: background, 1: class_1, 4: class_2, 255: ignore}"',
    ),
    "no background": ([{1: 9, 2: 4}], None, ["1, 2"], '--data.value_map "{1: class_1, 2: class_2}"'),
    "palette as grey": (
        [{0: 9, 38: 4, 75: 1}], CAT, ["38, 75 is no class"], '--data.value_map "{0: background, 38: cat, 75: ignore}"',
    ),
    "one class known": (
        [{0: 9, 2: 4, 75: 1}], (*CAT, "dog"), ["75 is no class"], '--data.value_map "{0: background, 2: dog, 75: cat}"',
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", list(MISFITS))
def test_values_that_do_not_fit_come_with_the_line_to_add(case: str) -> None:
    pixels, names, parts, line = MISFITS[case]
    with pytest.raises(InputError) as error:
        check(pixels, names)
    message = str(error.value)
    for part in [*parts, line]:
        assert part in message
    assert line == re.findall(r"--data.value_map .*", message)[0]


@pytest.mark.parametrize("values", [[0, 1, 7], [0, 255], [0, 38, 75], [0, 1, 4, 255]], ids=str)
@pytest.mark.parametrize("classes", [None, ["cat"]], ids=str)
def test_the_line_to_add_works(
    values: list[int], classes: list[str] | None, make_voc: VocMaker, tmp_path: Path
) -> None:
    """Paste what the message says behind the command, as a shell reads it, and the data pass."""
    root = make_voc(*STEMS)
    for number, file in enumerate(sorted((root / "SegmentationClassPNG").iterdir())):
        with Image.open(file) as picture:
            mask = np.full(picture.size[::-1], values[0], dtype=np.uint8)
        mask[:5, :5] = values[number % len(values)]
        write_mask(file, mask)
    arguments = ["--data.root", str(root)]
    if classes:
        arguments += ["--data.classes", f"[{', '.join(classes)}]"]

    def names_after(extra: list[str]) -> tuple[str, ...]:
        sources = plan(parse(arguments + extra).data, tmp_path / "cache", count_nothing)
        return open_dataset(sources, 32, tmp_path / "cache", count_nothing).names

    with pytest.raises(InputError) as error:
        names_after([])
    line = re.findall(r"--data.value_map .*", str(error.value))[0]
    names = names_after(shlex.split(line))
    assert names[0] == BACKGROUND
    assert len(names) >= 2


# ------------------------------------------------------------------------------------------------ digest and plan


def test_digest() -> None:
    files, split, names = ["aa", "bb", "cc", "dd"], Split((0, 1, 2), (3,)), ("_background_", "cat")
    digest = dataset_digest(files, split, names)
    assert re.fullmatch("[0-9a-f]{32}", digest)
    assert (
        dataset_digest(["bb", "aa", "dd", "cc"], Split((0, 1, 3), (2,)), names) == digest
    )  # the same files, other names
    changed = {
        dataset_digest(["aa", "bb", "cc", "de"], split, names),
        dataset_digest(["aa", "bb", "cd", "dd"], split, names),
        dataset_digest(files, Split((0, 1), (2, 3)), names),
        dataset_digest(files, Split((0, 1, 3), (2,)), names),
        dataset_digest(files, split, ("_background_", "dog")),
        dataset_digest([*files, "aa"], Split((0, 1, 2, 4), (3,)), names),
    }
    assert len(changed | {digest}) == 7


def test_digest_of_a_folder(make_voc: VocMaker, tmp_path: Path) -> None:
    root = make_voc(*STEMS)

    def digest(folder: Path, fold: int = 0) -> str:
        sources = plan(DataConfig(root=str(folder), fold=fold, classes=["cat"]), tmp_path / "cache", count_nothing)
        return open_dataset(sources, 16, tmp_path / "cache", count_nothing).digest

    first = digest(root)
    assert digest(root, fold=1) != first
    assert digest(root.rename(tmp_path / "renamed")) == first
    root = tmp_path / "renamed"
    file = root / "SegmentationClassPNG" / "picture_4.png"
    with Image.open(file) as picture:
        mask = np.array(picture)
    mask[0, 0] = 1 - mask[0, 0]
    write_mask(file, mask)
    assert digest(root) != first


def test_plan(make_voc: VocMaker, tmp_path: Path) -> None:
    roots = [make_voc(*STEMS, folder="one"), make_voc("a", folder="two")]
    (roots[0] / "class_names.txt").write_text("cat\n")
    sources = plan(DataConfig(root=[str(root) for root in roots]), tmp_path, count_nothing)
    assert sources.title == "one+two"
    assert sources.names == CAT
    assert len(sources.samples) == 11
    assert not sources.mapped
    mapped = plan(DataConfig(root=str(roots[0]), value_map={0: "background", 1: "cat"}), tmp_path, count_nothing)
    assert mapped.mapped
    assert mapped.title == "one"
