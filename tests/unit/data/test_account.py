"""Account of the files that are not used: every file of a folder is a sample's, was read, or is counted."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.layouts import WRITERS, find_in, save_image, save_mask, scenes, write_folders, write_voc
from tests.support.planted import ERRORS, FINE, LABELME, WARNINGS, Folder, labelme_folder
from trainer import InputError
from trainer.config import DataConfig
from trainer.data.account import Account, take_stock
from trainer.data.files import FORMAT, HIDDEN, OTHER, SPECIAL
from trainer.data.sources import Sources, find_samples, find_sources, used_files

SHARED = Path(__file__).parents[4] / "shared" / "data"


def all_files(root: Path) -> set[str]:
    """Everything below `root` that is not a folder, by `os.walk`."""
    return {os.path.join(top, name) for top, _, names in os.walk(root) for name in names}


def counted(account: Account) -> set[str]:
    return {file for one in account.left.values() for file in one.files}


def reasons(account: Account) -> dict[str, set[str]]:
    """Text of each reason -> names of its files below the top folder."""
    top = Path(account.top)
    return {why.text: {str(Path(file).relative_to(top)) for file in one.files} for why, one in account.left.items()}


def require_complete(root: Path) -> Account:
    """Each file of `root` is used or in the account, never both, and the counts are those of the files."""
    found = find_samples([root])
    used = {os.path.realpath(file) for file in used_files(found)} | {os.path.realpath(root / "class_names.txt")}
    account = take_stock([root], used, found.left_out)
    assert account.count == len(counted(account))
    there = all_files(root)
    assert counted(account) == {file for file in there if os.path.realpath(file) not in used}
    assert sum(len(names) for names in reasons(account).values()) == account.count
    return account


# ------------------------------------------------------------------------------------------------ whole folders


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return Folder(tmp_path_factory.mktemp("planted") / "data")


@pytest.mark.parametrize("fault", [*ERRORS, *WARNINGS, *FINE])
def test_planted_folders(fault: str, planted: Folder, tmp_path: Path) -> None:
    root = shutil.copytree(planted.root, tmp_path / "data")
    copy = object.__new__(Folder)
    vars(copy).update(vars(planted) | {"root": root})
    (ERRORS | WARNINGS | FINE)[fault][1](copy)
    require_complete(root)


@pytest.mark.parametrize("fault", LABELME)
def test_planted_labelme_folders(fault: str, tmp_path: Path) -> None:
    root = labelme_folder(tmp_path / "labelled")
    LABELME[fault](root)
    require_complete(root)


def litter(root: Path) -> None:
    """Files and folders that systems, browsers and cameras leave, in every folder of `root`."""
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        for name in (".DS_Store", "Thumbs.db", "._x.jpg", "README.md", "IMG_1.PSD", "scan.jp2", "x.jpg.part"):
            (folder / name).write_bytes(b"x")
        for below in (".ipynb_checkpoints", "@eaDir", "__MACOSX", "a0.jpg"):
            (folder / below).mkdir()
            (folder / below / ("x.jpg" if below != "a0.jpg" else "x.txt")).write_bytes(b"x")


@pytest.mark.parametrize("littered", [False, True], ids=["clean", "littered"])
@pytest.mark.parametrize("layout", WRITERS)
def test_layouts(layout: str, littered: bool, tmp_path: Path) -> None:
    """Litter changes neither samples nor errors; it is counted, and pictures of other formats give a warning."""
    root = WRITERS[layout](tmp_path / "data", scenes())
    before = find_in(root, layout=layout)
    if littered:
        litter(root)
    after = find_in(root, layout=layout)
    assert (after.samples, after.problems) == (before.samples, before.problems)
    account = require_complete(root)
    texts = reasons(account)
    if littered:
        assert {"IMG_1.PSD", "scan.jp2"} <= texts[FORMAT.text]
        assert {".DS_Store", "Thumbs.db", "._x.jpg", "@eaDir/x.jpg", "__MACOSX/x.jpg"} <= texts[HIDDEN.text]
        assert any(".psd" in warning and ".jp2" in warning for warning in account.warnings())
    elif layout != "pets":  # whose writer leaves some
        assert account.summary() == ""
        assert account.warnings() == []


@pytest.mark.skipif(not (SHARED / "found").is_dir(), reason=f"no reported folders in {SHARED}")
def test_reported_folders() -> None:
    for folder in sorted((SHARED / "found").glob("*/*")):
        if folder.is_dir():
            try:
                require_complete(folder)
            except InputError:
                continue


NAMES = st.sampled_from(
    ["a.jpg", "a.png", "b.png", "b_mask.png", "a.psd", "a.json", "a.txt", "._a.jpg", "c.tif", "c.GIF", "n.npy", "x"]
)
FOLDERS = st.sampled_from(
    [
        *("", "images", "masks", "images/day", "masks/day", "train/images", "train/masks", "test/images", "test/masks"),
        *("JPEGImages", "SegmentationClass", "JPEGImages/test", ".hidden", "images/.trash", "images/a.jpg", "other"),
    ]
)


@given(st.sets(st.tuples(FOLDERS, NAMES), min_size=1, max_size=25))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_tree(tmp_path_factory: pytest.TempPathFactory, files: set[tuple[str, str]]) -> None:
    root = tmp_path_factory.mktemp("tree")
    for folder, name in sorted(files, key=lambda file: -file[0].count("/")):  # a0.jpg may be a folder
        (root / folder).mkdir(parents=True, exist_ok=True)
        if not (root / folder / name).exists():
            (root / folder / name).touch()
    try:
        require_complete(root)
    except InputError:  # no layout
        return
    finally:
        shutil.rmtree(root)


# ------------------------------------------------------------------------------------------------ kinds of files


def test_links_pipes_and_folders_that_look_like_images(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "data", scenes(4))
    images = root / "JPEGImages"
    (tmp_path / "elsewhere").mkdir()
    save_image(tmp_path / "elsewhere" / "far.png", scenes(1)[0].image)
    os.mkfifo(images / "pipe.jpg")
    (images / "loop.jpg").symlink_to("loop.jpg")
    (images / "gone.jpg").symlink_to("nowhere.jpg")
    (images / "zero.jpg").symlink_to("/dev/zero")
    (images / "day2").symlink_to(tmp_path / "elsewhere")
    (images / "round").symlink_to(root)
    (images / "a0.jpg").mkdir()
    found = find_in(root)
    assert (len(found.samples), found.problems) == (4, [])
    account = find_sources(DataConfig(root=str(root))).account
    assert reasons(account)[SPECIAL.text] == {f"JPEGImages/{name}.jpg" for name in ("pipe", "loop", "gone", "zero")}
    assert {"JPEGImages/day2", "JPEGImages/round"} in reasons(account).values()
    assert len(account.warnings()) == 2


def test_folders_that_are_links_are_used_where_samples_lie_in_them(tmp_path: Path) -> None:
    root = write_folders(tmp_path / "disk", scenes(4))
    (tmp_path / "data").mkdir()
    for name in ("images", "masks", "class_names.txt"):
        (tmp_path / "data" / name).symlink_to(root / name)
    sources = find_sources(DataConfig(root=str(tmp_path / "data")))
    assert len(sources.samples) == 4
    assert sources.account.count == 0


@pytest.mark.parametrize("given", [".", "./", "../data", "data/../../data/.", "{absolute}"])
def test_any_way_to_write_the_root(given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_voc(tmp_path / "data", scenes(4))
    (root / "data").mkdir()
    monkeypatch.chdir(root)
    account = find_sources(DataConfig(root=given.format(absolute=root))).account
    assert account.count == 0


def test_a_root_within_another_is_counted_once(tmp_path: Path) -> None:
    write_voc(tmp_path / "a", scenes(4))
    write_voc(tmp_path / "a" / "b", scenes(4)[:3])
    (tmp_path / "a" / "b" / "x.psd").touch()
    account = find_sources(DataConfig(root=[str(tmp_path / "a"), str(tmp_path / "a" / "b")])).account
    assert reasons(account) == {FORMAT.text: {"b/x.psd"}}


def test_deep_folders(tmp_path: Path) -> None:
    """Deeper than Python recurses."""
    root, here = write_voc(tmp_path / "d", scenes(4)), os.open(tmp_path / "d", os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=here)
        here, above = os.open("d", os.O_RDONLY, dir_fd=here), here
        os.close(above)
    os.close(here)
    assert find_sources(DataConfig(root=str(root))).account.count <= 1
    subprocess.run(["rm", "-rf", str(root)], check=True)  # `shutil.rmtree` recurses


# ------------------------------------------------------------------------------------------------ what is said


def sentence(files: Iterable[str], root: Path, say: Callable[[Account], str]) -> str:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return say(take_stock([root], [], {}))


def test_summary_names_reasons_counts_and_some_files(tmp_path: Path) -> None:
    files = ["a.txt", "b.txt", "c.md", ".hidden", *(f"{number}.PSD" for number in range(7))]
    assert sentence(files, tmp_path, Account.summary) == (
        "11 files: 1 hidden or of the system: .hidden; "
        "7 in formats that are not read here: .psd (7: 0.PSD, ...); "
        "3 of other kinds: .txt (2: a.txt, ...), .md (1: c.md)"
    )


def test_warnings_say_what_to_do(tmp_path: Path) -> None:
    (warning,) = [sentence(["day/a.psd", "a.txt"], tmp_path, lambda account: "\n".join(account.warnings()))]
    assert warning == (
        f"{tmp_path}: 1 file in formats that are not read here is left out: .psd (1: day/a.psd); "
        "convert it to PNG or JPEG"
    )


def test_many_files_are_counted_and_the_first_kept(tmp_path: Path) -> None:
    account = Account(str(tmp_path))
    for number in range(20_000):
        account.add(OTHER, f"{tmp_path}/{number}.s{number % 500}")
        account.add(SPECIAL, f"{tmp_path}/{number}")
    assert account.count == 40_000
    assert [row["count"] for row in account.content()] == [20_000, 20_000]
    assert all(len(row["files"]) == 100 for row in account.content())
    assert len(account.summary()) < 1000
    assert "and 19995 more" in account.summary()


def test_no_labelled_picture_is_left_says_what_lies_there(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "data", scenes(3))
    for file in (root / "SegmentationClassPNG").iterdir():
        file.rename(file.with_suffix(".npy"))
    with pytest.raises(InputError) as error:
        find_sources(DataConfig(root=str(root)))
    lines = str(error.value).splitlines()
    assert "its mask scene_00.npy is in a format that is not read here" in lines[0]
    assert ".npy (3: SegmentationClassPNG/scene_00.npy, ...)" in lines[-1]


# ------------------------------------------------------------------------------------------------ folders below


def split_pairs(root: Path, images: str, masks: str, drawn: list[str]) -> None:
    for name in drawn:
        save_image(root / images / f"{name}.png", scenes(1)[0].image)
        save_mask(root / masks / f"{name}.png", scenes(1)[0].mask)


def names_of(sources: Sources) -> list[str]:
    return [sample.name for sample in sources.samples]


@pytest.mark.parametrize("folders", [("images", "masks"), ("JPEGImages", "SegmentationClass")])
def test_pairs_in_folders_below(folders: tuple[str, str], tmp_path: Path) -> None:
    images, masks = folders
    split_pairs(tmp_path, images, masks, ["a", "b", "day 2/c", "day 2/a", "test/t"])
    split_pairs(tmp_path, images, f"{masks}/other", ["only/u"])
    (tmp_path / masks / "other" / "only" / "u.png").rename(tmp_path / masks / "u.png")
    save_image(tmp_path / images / "old" / "lost.png", np.zeros((8, 9, 3), np.uint8))
    sources = find_sources(DataConfig(root=str(tmp_path)))
    assert sources.problems == ()
    assert names_of(sources) == ["a", "b", "day 2/a", "day 2/c", "only/u"]
    assert any("test (1 picture) neither trains nor validates" in note for note in sources.notes)
    assert any(f"left out: {images}/old/ (1: lost.png)" in note for note in sources.notes)
    require_complete(tmp_path)


def test_parts_below_decide(tmp_path: Path) -> None:
    split_pairs(tmp_path, "images", "masks", ["a", "b", "train/c", "val/d", "val/e"])
    sources = find_sources(DataConfig(root=str(tmp_path)))
    parts = {sources.samples[row].name for row in sources.split.val}
    assert {"val/d", "val/e"} <= parts
    assert "train/c" not in parts
