"""`prepare.py check`: every planted fault is found and its file named, and faultless folders have no findings."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.data import count_nothing
from tests.support.images import spotted_image
from tests.support.planted import (
    COUNT,
    ERRORS,
    FINE,
    HEIGHT,
    LABELME,
    WARNINGS,
    WIDTH,
    Folder,
    Plant,
    check,
    labelme_folder,
    truncate,
)
from tests.support.program import Program
from trainer import InputError
from trainer.config import DataConfig
from trainer.data.checks.report import Report, check_command
from trainer.data.checks.rules import ScannedSamples, run_rules
from trainer.data.checks.scan import FACTS
from trainer.data.dataset import open_dataset
from trainer.data.image_io import read_image, write_mask
from trainer.data.sample import Sample
from trainer.data.sources import find_sources
from trainer.data.view import View
from trainer.make.synthetic import write_labelme, write_voc


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "data")


def levels_and_kinds(report: Report) -> list[tuple[str, str]]:
    return [(finding.level, finding.kind) for finding in report.findings]


@pytest.mark.parametrize("names", [["data"], ["data", "more"]])
def test_advice_is_about_the_arguments_of_the_check(names: list[str], tmp_path: Path, program: Program) -> None:
    for name in names:
        Folder(tmp_path / "above" / name)
    printed = program.python("prepare", "check", str(tmp_path / "above"), code=2).output
    assert "--data.root" not in printed
    assert f"give {tmp_path}/above/data" in printed
    assert ("several of them" in printed) is (len(names) > 1)


# ------------------------------------------------------------------------------------------------ faults


@pytest.mark.parametrize("fault", ERRORS)
def test_error(fault: str, folder: Folder) -> None:
    kind, plant = ERRORS[fault]
    file = plant(folder)
    report = check(folder.root)
    assert ("error", kind) in levels_and_kinds(report)
    (error,) = report.of("error")
    assert str(file) in error.files
    assert str(file) in error.text
    assert "; " in error.text or ". " in error.text, "a fault without a remedy"


@pytest.mark.parametrize("fault", ERRORS)
def test_training_refuses_the_errors_of_the_check(fault: str, folder: Folder) -> None:
    file = ERRORS[fault][1](folder)
    cache = folder.root.parent / "cache"
    with pytest.raises(InputError) as error:
        open_dataset(find_sources(DataConfig(root=str(folder.root))), View(32), cache, count_nothing)
    assert str(error.value) == check(folder.root).of("error")[0].text
    assert str(file) in str(error.value)


@pytest.mark.parametrize("fault", WARNINGS)
def test_warning(fault: str, folder: Folder) -> None:
    kind, plant = WARNINGS[fault]
    file = plant(folder)
    report = check(folder.root)
    expected = {("warning", kind)} | ({("warning", "note")} if fault == "shifted" else set())
    assert set(levels_and_kinds(report)) == expected
    finding = next(finding for finding in report.findings if finding.kind == kind)
    assert str(file) in finding.files
    assert finding.files[0] in finding.text


@pytest.mark.parametrize("fault", LABELME)
def test_labelme_error(fault: str, tmp_path: Path) -> None:
    root = labelme_folder(tmp_path / "labelled")
    assert levels_and_kinds(check(root)) == []
    file = LABELME[fault](root)
    report = check(root)
    assert [level for level, _ in levels_and_kinds(report)] == ["error"]
    assert str(file) in report.findings[0].text
    assert report.findings[0].files == (str(file),)


def test_mask_of_a_turned_image(folder: Folder) -> None:
    ERRORS["EXIF turn"][1](folder)
    (error,) = check(folder.root).of("error")
    assert "112x96 pixels, its image has 96x112" in error.text
    assert "orientation 6" in error.text
    assert "p03.jpg (exiftool -n -Orientation=1)" in error.text


def test_all_errors_in_one_list(folder: Folder) -> None:
    """Missing files, damaged files and invalid values are reported together."""
    folder.mask("p01").unlink()
    truncate(folder.image("p02"))
    truncate(folder.mask("p02"))
    write_mask(folder.mask("p04"), folder.ids("p04")[:-3])
    write_mask(folder.mask("p05"), folder.ids("p05") * np.uint8(9))
    errors = check(folder.root).of("error")
    assert [error.kind for error in errors] == ["folder", "unreadable", "unreadable", "size", "value"]
    named = [folder.image("p01"), folder.image("p02"), folder.mask("p02"), folder.mask("p04"), folder.mask("p05")]
    assert [error.files for error in errors] == [(str(file),) for file in named]
    cache = folder.root.parent / "cache"
    with pytest.raises(InputError) as error:
        open_dataset(find_sources(DataConfig(root=str(folder.root))), View(32), cache, count_nothing)
    assert str(error.value) == "\n".join(error.text for error in errors)


def test_gaps_are_no_error_while_masks_are_unreadable(folder: Folder) -> None:
    """Class 1 is in the damaged mask alone; without it, the id 2 leaves a gap."""
    (folder.root / "class_names.txt").unlink()
    for file in folder.masks():
        write_mask(file, folder.ids(file.stem) * np.uint8(1 if file.stem == "p03" else 2))
    assert check(folder.root).of("error") == []
    truncate(folder.mask("p03"))
    assert [error.kind for error in check(folder.root).of("error")] == ["unreadable"]


def test_missing_folder_and_empty_folder(tmp_path: Path) -> None:
    (error,) = check(tmp_path / "nowhere").of("error")
    assert "no such folder" in error.text
    (tmp_path / "empty" / "JPEGImages").mkdir(parents=True)
    (tmp_path / "empty" / "SegmentationClassPNG").mkdir()
    assert check(tmp_path / "empty").of("error")[0].files == (str(tmp_path / "empty" / "JPEGImages"),)


def test_many_groups_are_counted() -> None:
    facts = np.zeros(300, dtype=FACTS)
    facts["image"] = np.arange(300) // 2
    facts["size"], facts["counts"][:, :2] = 100, 5000
    facts["thumbnail"][:, 0, 0] = 9  # not blank, but too flat to compare
    samples = [Sample(f"s{number}", f"images/{number}.jpg", f"masks/{number}.png") for number in range(300)]
    trains = np.arange(300) != 299
    found = run_rules(ScannedSamples(samples, facts, trains, ("_background_", "cat"), False, 256))
    assert [finding.kind for finding in found] == ["leak"] + 100 * ["duplicate"]
    assert found[0].files == ("images/298.jpg", "images/299.jpg")
    assert found[7].files == ("images/12.jpg", "images/13.jpg")
    assert [("and so with 49 other groups" in finding.text) for finding in found] == 100 * [False] + [True]


# ------------------------------------------------------------------------------------------------ no faults


@pytest.mark.parametrize("variation", FINE)
def test_no_fault(variation: str, folder: Folder) -> None:
    kind, plant = FINE[variation]
    before = read_image(folder.image("p03")).astype(int)
    file = plant(folder)
    report = check(folder.root)
    assert levels_and_kinds(report) == []
    assert kind in report.summary["kinds"]
    turned = int(variation.split()[1]) > 1 if variation.startswith("EXIF") else False
    assert report.summary["rotated"] == turned
    assert report.summary["sizes"]["largest"] == {"height": HEIGHT, "width": WIDTH, "pictures": COUNT}
    if variation.startswith("EXIF"):
        assert np.abs(read_image(file) - before).mean() < 3


def grey(root: Path) -> None:
    folder = Folder(root)
    for file in sorted((root / "JPEGImages").iterdir()):
        folder.replace_image(file.stem, Image.fromarray(folder.pixels(file.stem)).convert("L"))


def turned(root: Path) -> None:
    folder = Folder(root)
    for number, stem in enumerate([*folder.train, *folder.val]):
        stored = Image.fromarray(folder.pixels(stem)).transpose(Image.Transpose.ROTATE_90)
        block = Image.Exif()
        block[0x112] = 6
        folder.replace_image(stem, stored, exif=block, quality=90 + number % 5)


def negatives(root: Path) -> None:
    folder = Folder(root)
    for stem in (*folder.train[:5], folder.val[0]):
        write_mask(folder.mask(stem), np.zeros_like(folder.ids(stem)))


def borders(root: Path) -> None:
    """Ignored pixels, 255, around the objects, as in Pascal VOC."""
    folder = Folder(root)
    for file in folder.masks():
        ids = folder.ids(file.stem) * np.uint8(file.stem != "p03")  # p03 has no object, only a border
        ids[:, -3:] = 255
        write_mask(file, ids)


def land(root: Path) -> None:
    """Masks without background, some of a single class."""
    folder = Folder(root)
    folder.name_classes("water", "field")
    for number, file in enumerate(folder.masks()):
        ids = folder.ids(file.stem) + np.uint8(1)
        write_mask(file, np.ones_like(ids) if number % 5 == 0 else ids)


def generated(root: Path) -> None:
    write_voc(root, 16, size=64)


def generated_classes(root: Path) -> None:
    write_voc(root, 30, size=64, labelled=("cat", "ball", "plant"))


def generated_labelme(root: Path) -> None:
    write_labelme(root, 16, size=64)


CLEAN = (Folder, grey, turned, negatives, borders, land, generated, generated_classes, generated_labelme)


@pytest.mark.parametrize("make", CLEAN, ids=lambda make: make.__name__)
def test_clean_folder_has_no_findings(make: Plant, tmp_path: Path) -> None:
    make(tmp_path / "data")  # type: ignore[arg-type]
    assert check(tmp_path / "data").findings == []


def test_two_clean_folders(tmp_path: Path) -> None:
    one, two = Folder(tmp_path / "one"), Folder(tmp_path / "two")
    report = check(one.root, two.root)  # the same images in both folders
    assert {kind for _, kind in levels_and_kinds(report)} <= {"leak", "duplicate"}
    assert len(report.findings) == COUNT
    for number, file in enumerate(sorted((two.root / "JPEGImages").iterdir())):
        two.replace_image(file.stem, spotted_image(HEIGHT, WIDTH, seed=900 + number), quality=95)
    assert check(one.root, two.root).findings == []


# ------------------------------------------------------------------------------------------------ summary and command


def test_summary(folder: Folder) -> None:
    folder.name_classes("cat", "dog")
    write_mask(folder.mask("p03"), folder.ids("p03") * np.uint8(2))
    write_mask(folder.mask("p04"), np.zeros((HEIGHT, WIDTH), np.uint8))
    ids = folder.ids("p05")
    ids[0] = 255
    write_mask(folder.mask("p05"), ids)
    summary = json.loads(check(folder.root).to_json())
    masks = {file.stem: folder.ids(file.stem) for file in folder.masks()}
    pixels = np.concatenate([mask.ravel() for mask in masks.values()])
    assert summary["values"] == {str(value): int((pixels == value).sum()) for value in (0, 1, 2, 255)}
    assert (summary["pictures"], summary["train"], summary["val"]) == (COUNT, len(folder.train), len(folder.val))
    assert (summary["unreadable"], summary["empty"], summary["rotated"]) == (0, 1, 0)
    assert summary["kinds"] == {"JPEG RGB": COUNT}
    labelled = pixels[pixels != 255]
    for row, name in zip(summary["classes"], ("_background_", "cat", "dog"), strict=True):
        holders = {stem for stem, mask in masks.items() if (mask == row["id"]).any()}
        assert row == {
            "id": row["id"],
            "name": name,
            "pixels": int((labelled == row["id"]).sum()),
            "pixel_share": pytest.approx((labelled == row["id"]).mean()),
            "pictures": len(holders),
            "picture_share": pytest.approx(len(holders) / COUNT),
            "train": len(holders & set(folder.train)),
            "val": len(holders & set(folder.val)),
        }


def test_check_uses_the_settings_of_training(folder: Folder) -> None:
    ERRORS["0 and 255"][1](folder)
    mapped = check(folder.root, value_map={0: "background", 255: "cat"}, val_fraction=0.5, fold=1)
    assert mapped.findings == []
    assert mapped.summary["val"] == COUNT // 2
    config = DataConfig(root="a folder", value_map={0: "background", 255: "cat"}, fold=1, classes=["cat"])
    command = check_command(config)
    assert command[:4] == ["python", "trainer/prepare.py", "check", "a folder"]
    assert command[4:] == ["--fold", "1", "--classes", "cat", "--value_map", '{"0": "background", "255": "cat"}']


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    return Program(tmp_path_factory.mktemp("check") / "program")


def test_command_on_a_faulty_folder(program: Program, folder: Folder) -> None:
    missing = ERRORS["missing mask"][1](folder)
    damaged = truncate(folder.image("p05"))
    result = program.python("prepare", "check", str(folder.root), "--json", str(folder.root / "report.json"))
    assert result.returncode == 2
    assert "Traceback" not in result.stdout + result.stderr
    assert f"error: {missing}: no mask" in result.stdout
    assert f"error: {damaged}: damaged image" in result.stdout
    report = json.loads((folder.root / "report.json").read_text())
    assert report["errors"] == 2
    assert [finding["files"] for finding in report["findings"]] == [[str(missing)], [str(damaged)]]


def test_command_with_warnings_writes_json_alone(program: Program, folder: Folder) -> None:
    leaking = WARNINGS["leak"][1](folder)
    result = program.python("prepare", "check", str(folder.root), "--json", "-")
    assert (result.returncode, result.stderr) == (0, "")
    report = json.loads(result.stdout)
    assert (report["errors"], report["warnings"]) == (0, 1)
    assert str(leaking) in report["findings"][0]["files"]


def test_command_used_wrongly(program: Program, folder: Folder) -> None:
    for options, words in (
        (["--val_fraction", "0.9"], "data.val_fraction: 0.9"),
        (["--layout", "cocoa"], "data.layout: 'cocoa'"),
        (["--value_map", "{0: [1]}"], "data.value_map: '{0: [1]}'"),
        (["--json", str(folder.root / "no" / "report.json")], "cannot be written"),
    ):
        result = program.python("prepare", "check", str(folder.root), *options)
        assert result.returncode == 2
        assert words in result.stderr
        assert "Traceback" not in result.stderr


@pytest.mark.long
def test_training_prints_warnings_and_saves_the_report(program: Program, folder: Folder) -> None:
    for stem in (*folder.train, *folder.val):
        folder.copy(stem, f"{stem}_again")
    expected = check(folder.root)
    assert len(expected.findings) == COUNT
    arguments = ["--data.root", str(folder.root), "--train.epochs", "1", "--train.threads", "1"]
    result = program.train(*arguments, "--tracking.enabled", "false")
    assert result.returncode == 0, result.stdout + result.stderr
    lines = [line for line in result.stdout.splitlines() if line.startswith("warning: ")]
    of_six_steps = "not found yet", "every pixel of these pictures is taken for"
    lines = [line for line in lines if not any(text in line for text in of_six_steps)]
    assert lines == [f"warning: {finding.text}" for finding in expected.findings[:9]]
    more = result.stdout.index(f"... and {COUNT - 9} more warnings")
    assert f"python trainer/prepare.py check {folder.root} --image_size 32\n" in result.stdout[more:]
    saved = json.loads((program.run_folders()[-1] / "check.json").read_text())
    whole = json.loads(expected.to_json())
    assert whole.pop("squeeze")["view"] == "whole"  # training prints it
    assert saved == whole
