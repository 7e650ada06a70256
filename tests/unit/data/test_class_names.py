"""Class names from the settings and from class_names.txt."""

from pathlib import Path

from tests.support.data import VocMaker
from tests.support.layouts import refusal, scenes, write_labelme
from trainer.config import DataConfig
from trainer.data.class_names import read_class_names
from trainer.data.sources import find_sources
from trainer.data.value_map import BACKGROUND


def test_class_names_file(make_voc: VocMaker) -> None:
    root = make_voc("a")
    assert read_class_names([root], None) is None
    file = root / "class_names.txt"
    for text in (
        "cat\ndog\n",
        "_background_\ncat\n dog \n\n",
        "__ignore__\n_background_\ncat\ndog",
        "\ufeffcat\r\ndog\r\n",
    ):
        file.write_bytes(text.encode())
        assert read_class_names([root], None) == (BACKGROUND, "cat", "dog"), text
    assert read_class_names([root], ["bird"]) == (BACKGROUND, "bird")
    for content in (
        b"cat\ncat\n",
        b"\n",
        b"_background_\n",
        "Kätzchen".encode("latin-1"),
        b"\n".join(b"%d" % n for n in range(254)),
    ):
        file.write_bytes(content)
        with refusal(str(file)):
            read_class_names([root], None)


def test_class_names_of_several_roots(make_voc: VocMaker) -> None:
    roots = [make_voc("a", folder="one"), make_voc("a", folder="two"), make_voc("a", folder="unnamed")]
    (roots[0] / "class_names.txt").write_text("cat\ndog\n")
    (roots[1] / "class_names.txt").write_text("_background_\ncat\ndog\n")
    assert read_class_names(roots, None) == (BACKGROUND, "cat", "dog")
    (roots[1] / "class_names.txt").write_text("dog\ncat\n")
    with refusal("one", "two", "different classes"):
        read_class_names(roots, None)


def test_masks_do_not_get_the_names_of_another_folder(make_voc: VocMaker, tmp_path: Path) -> None:
    unnamed, named = make_voc("a", "b", classes=1), make_voc("c", "d", folder="named")
    drawn = write_labelme(tmp_path / "drawn", scenes(4))  # labels cat and dog

    def root(*folders: Path) -> list[str]:
        return [str(folder) for folder in folders]

    (named / "class_names.txt").write_text("cat\ndog\n")
    for others in ([drawn], [named], [named, drawn]):
        with refusal(f"{unnamed}: no names", "another folder names cat, dog", "data.classes"):
            find_sources(DataConfig(root=root(unnamed, *others)))
        known = find_sources(DataConfig(root=root(unnamed, *others), classes=["cat", "dog"]))
        assert known.names == (BACKGROUND, "cat", "dog")
    (unnamed / "class_names.txt").write_text("cat\ndog\n")
    assert find_sources(DataConfig(root=root(unnamed, named, drawn))).names == (BACKGROUND, "cat", "dog")


def test_names_that_are_only_numbers(make_voc: VocMaker) -> None:
    unnamed, numbered = make_voc("a", "b"), make_voc("c", "d", folder="numbered")
    (numbered / "class_names.txt").write_text("class_1\nclass_2\n")
    config = DataConfig(root=[str(unnamed), str(numbered)])
    assert find_sources(config).names == (BACKGROUND, "class_1", "class_2")
    (numbered / "class_names.txt").write_text("class_2\nclass_1\n")
    with refusal("no names"):
        find_sources(config)


def test_configured_classes_with_their_background() -> None:
    assert read_class_names([], ["_background_", "cat"]) == (BACKGROUND, "cat")
    assert read_class_names([], ["background", "cat", "dog"]) == (BACKGROUND, "cat", "dog")
    for wrong in (["background"], ["cat", "ignore"]):
        with refusal("data.classes"):
            read_class_names([], wrong)
