"""label.py in one process: what it gives, what it leaves alone, and what it says where something is wrong."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.images import smooth_image
from trainer.config import DataConfig
from trainer.data.image_io import read_image
from trainer.data.layouts.labelme_json import draw_annotation
from trainer.data.sources import find_sources
from trainer.inference.objects import find_objects
from trainer.inference.specks import remove_specks
from trainer.label import main
from trainer.labelling.order import LARGE_PIXELS
from trainer.labelling.prefill import only_call
from trainer.model.model_folder import save_segmenter
from trainer.model.segmenter import Segmenter

NAMES = ("a", "day ü/p q", "day ü/it's", "b.c", "d")


@pytest.fixture
def model(tmp_path: Path, make_segmenter: Callable[..., Segmenter]) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    save_segmenter(make_segmenter(), folder)
    return folder


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    folder = tmp_path / "pool"
    for number, name in enumerate(NAMES):
        file = folder / f"{name}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(smooth_image(40 + number, 56, number)).save(file, quality=95)
    return folder


@pytest.fixture
def give(pool: Path, model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Call `label.py next`; gives the exit code and what was printed."""

    def call(*words: str, source: Path = pool, output: Path = tmp_path / "to label") -> tuple[int, str]:
        code = main(["next", str(source), "--model", str(model), "--output", str(output), *words])
        captured = capfd.readouterr()
        return code, captured.out + captured.err

    return call


def json_files(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).with_suffix("").as_posix(): file.read_bytes() for file in folder.rglob("[!.]*.json")
    }


def given(folder: Path) -> dict[str, bytes]:
    return {name: content for name, content in json_files(folder).items() if not name.startswith(".label/")}


def record(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / ".label" / "record.json").read_text())
    return content


def test_the_next_ones_come_with_predictions(give: Callable[..., Any], pool: Path, model: Path, tmp_path: Path) -> None:
    code, printed = give("--count", "2")
    output = tmp_path / "to label"
    assert code == 0
    assert "2 pictures with predictions" in printed
    assert "3 left" in printed
    first = given(output)
    assert len(first) == 2
    assert (output / "labels.txt").read_text().split() == ["__ignore__", "_background_", "class", "1"]
    for name in first:
        image = output / f"{name}.jpg"
        assert image.read_bytes() == (pool / f"{name}.jpg").read_bytes()
        content = json.loads(first[name])
        assert (content["flags"], content["imagePath"]) == ({"predicted": True}, image.name)
    # They are what predict.py makes of them.
    from trainer import load_model

    name = next(iter(first))
    expected = load_model(str(model)).predict(pool / f"{name}.jpg").mask
    found = draw_annotation(output / f"{name}.json", output, {"class 1": 1})
    assert (found != expected).mean() < 0.05
    assert give("--count", "2")[0] == 0
    assert len(given(output)) == 4
    assert {name: given(output)[name] for name in first} == first
    assert give()[0] == 0
    assert set(given(output)) == set(NAMES)
    code, printed = give()
    assert code == 0
    assert "nothing is left" in printed


def test_predictions_come_without_specks(
    give: Callable[..., Any], pool: Path, model: Path, make_segmenter: Callable[..., Segmenter], tmp_path: Path
) -> None:
    segmenter = make_segmenter(object_areas=(200,))
    save_segmenter(segmenter, model)
    assert give("--form", "masks")[0] == 0
    output, removed = tmp_path / "to label", 0
    for name in NAMES:
        mask = segmenter.predict(read_image(pool / f"{name}.jpg"))[0].copy()
        before = mask.copy()
        objects = find_objects(mask)
        assert objects is not None
        remove_specks(mask, objects, segmenter.contract)
        removed += int((mask != before).sum())
        np.testing.assert_array_equal(draw_annotation(output / f"{name}.json", output, {"class 1": 1}), mask)
    assert removed > 0


def test_what_a_person_has_touched_stays(give: Callable[..., Any], pool: Path, tmp_path: Path) -> None:
    output = tmp_path / "to label"
    output.mkdir()
    (output / "labels.txt").write_text("_background_\nclass 1\nmine\n")
    shutil.copyfile(pool / "a.jpg", output / "a.jpg")
    (output / "a.json").write_text('{"shapes": [], "imagePath": "a.jpg", "flags": {}}')
    Image.fromarray(smooth_image(20, 20, 9)).save(output / "d.png")  # another picture of that name
    before = {file: file.read_bytes() for file in output.rglob("*") if file.is_file()}
    code, printed = give()
    assert code == 0
    assert "d.jpg): another picture" in printed
    assert set(given(output)) == {*NAMES} - {"d"}
    assert {file: file.read_bytes() for file in before} == before


def test_a_call_that_was_killed_is_completed(give: Callable[..., Any], tmp_path: Path) -> None:
    """State of a folder after a kill: the choice is recorded, and only a part of it written."""
    output = tmp_path / "to label"
    give("--count", "3")
    chosen = record(output)["calls"][0]["images"]
    for name in chosen[1:]:
        (output / f"{name}.json").unlink()
    (output / f"{chosen[2]}.jpg").unlink()
    content = record(output)
    content["calls"][0]["complete"] = False
    (output / ".label" / "record.json").write_text(json.dumps(content))
    kept = (output / f"{chosen[0]}.json").read_bytes()
    assert give("--count", "3")[0] == 0
    assert set(given(output)) == set(chosen)
    assert record(output)["calls"][0]["complete"]
    assert (output / f"{chosen[0]}.json").read_bytes() == kept


def test_a_named_call_is_done_once(give: Callable[..., Any], tmp_path: Path) -> None:
    output = tmp_path / "to label"
    assert give("--count", "2", "--once", "round 1")[0] == 0
    code, printed = give("--count", "2", "--once", "round 1")
    assert code == 0
    assert "is done" in printed
    assert len(given(output)) == 2
    assert give("--count", "2", "--once", "round 2")[0] == 0
    assert len(given(output)) == 4


def test_untouched_predictions_become_those_of_a_newer_model(
    give: Callable[..., Any], make_segmenter: Any, model: Path, tmp_path: Path
) -> None:
    output = tmp_path / "to label"
    give("--count", "4")
    first = given(output)
    saved, corrected, accepted, waiting = sorted(first)
    (output / f"{saved}.json").write_bytes(first[saved] + b"\n")  # saved by Labelme as it was
    content = json.loads(first[corrected])
    (output / f"{corrected}.json").write_text(json.dumps(content | {"shapes": []}))
    assert main(["accept", str(output / f"{accepted}.json")]) == 0
    touched = {name: text for name, text in given(output).items() if name != waiting}
    turned = output / f"{waiting}.jpg"
    turned.unlink()
    Image.fromarray(smooth_image(56, 40, 7)).save(turned)
    images = {file: file.read_bytes() for file in output.rglob("*.jpg")}

    _, printed = give("--count", "1")
    assert "made anew" not in printed, "the model is the same"
    added = set(given(output)) - set(first)
    save_segmenter(make_segmenter(seed=1), model)
    code, printed = give("--count", "1")
    assert code == 0
    assert "2 predictions were made anew by this model" in printed
    assert "nothing is left" in printed
    after = given(output)
    assert touched.items() <= after.items()
    assert after[waiting] != first[waiting]
    assert record(output)["files"][waiting]["sha256"] == hashlib.sha256(after[waiting]).hexdigest()
    assert json.loads(after[waiting])["flags"] == {"predicted": True}
    assert {file: file.read_bytes() for file in images} == images, "a picture was put there again"
    save_segmenter(make_segmenter(seed=2), model)
    assert "2 predictions were made anew" in give()[1], "also where nothing is left"
    save_segmenter(make_segmenter(seed=1), model)
    # They are the newer model's, as if it had been the first.
    shutil.rmtree(output)
    give("--count", "5")
    for name in {waiting, *added}:
        assert json.loads(given(output)[name])["shapes"] == json.loads(after[name])["shapes"]


def test_a_refresh_that_was_killed_is_completed(
    give: Callable[..., Any], make_segmenter: Any, model: Path, tmp_path: Path
) -> None:
    """State of the record after a kill between it and the file: the file is still the older model's."""
    output = tmp_path / "to label"
    give("--count", "2")
    first = given(output)
    save_segmenter(make_segmenter(seed=1), model)
    give("--count", "1")
    refreshed = given(output)
    name, other = sorted(first)
    assert refreshed[name] != first[name]
    (output / f"{name}.json").write_bytes(first[name])
    _, printed = give("--count", "1")
    assert "1 prediction was made anew" in printed
    assert given(output)[name] == refreshed[name]
    assert given(output)[other] == refreshed[other]


def test_labelled_pictures_are_not_given(give: Callable[..., Any], pool: Path, make_voc: Any, tmp_path: Path) -> None:
    """By their content, whatever they are called."""
    labelled = make_voc("x", "y")
    shutil.copyfile(pool / "a.jpg", labelled / "JPEGImages" / "x.jpg")
    Image.fromarray(np.zeros((40, 56), np.uint8)).save(labelled / "SegmentationClassPNG" / "x.png")
    assert give("--labelled", str(labelled))[0] == 0
    assert set(given(tmp_path / "to label")) == {*NAMES} - {"a"}


def test_the_pool_itself_may_be_the_folder(give: Callable[..., Any], pool: Path) -> None:
    before = {file: file.read_bytes() for file in pool.rglob("*.jpg")}
    assert give("--count", "2", output=pool)[0] == 0
    assert len(given(pool)) == 2
    assert {file: file.read_bytes() for file in pool.rglob("*.jpg")} == before
    assert len(list(pool.rglob("*.png"))) == 0


def test_a_folder_within_the_pool_is_no_part_of_it(give: Callable[..., Any], pool: Path) -> None:
    output = pool / "to label"
    assert give("--count", "1", output=output)[0] == 0
    Image.fromarray(smooth_image(30, 30, 8)).save(output / "put there.png")  # not labelled yet, and not of the pool
    assert give("--count", "9", output=output)[0] == 0
    assert set(given(pool / "to label")) == set(NAMES)


def test_assessments_are_stored(give: Callable[..., Any], tmp_path: Path, make_segmenter: Any, model: Path) -> None:
    file = tmp_path / "to label" / ".label" / "opinions.jsonl"
    give("--count", "1")
    lines = file.read_text().splitlines()
    assert len(lines) == 1 + len(NAMES)
    (first,) = given(tmp_path / "to label")
    file.write_text("\n".join(lines[:4]) + lines[4][:20])  # cut off by a kill
    give("--count", "1")
    others = {line for line in lines[1:] if Path(json.loads(line)["image"].split("#")[0]).stem != first}
    assert len(others) == len(NAMES) - 1
    assert others <= set(file.read_text().splitlines())
    save_segmenter(make_segmenter(seed=1), model)
    give("--count", "1")
    other = file.read_text().splitlines()
    assert other[0] != lines[0]
    assert not {*lines} & {*other}


@pytest.mark.long
def test_large_pictures_come_last(give: Callable[..., Any], pool: Path, tmp_path: Path) -> None:
    side = int(LARGE_PIXELS**0.5 * 1.5)
    Image.new("L", (side, side)).save(pool / "huge.png")
    code, printed = give("--count", "5")
    assert code == 0
    assert "huge.png): more than 34 megapixels" in printed
    assert set(given(tmp_path / "to label")) == set(NAMES)


def test_a_damaged_picture_is_named_and_the_rest_done(give: Callable[..., Any], pool: Path, tmp_path: Path) -> None:
    (pool / "a.jpg").write_bytes(b"no picture")
    code, printed = give()
    assert code == 3
    assert "a.jpg" in printed
    assert set(given(tmp_path / "to label")) == {*NAMES} - {"a"}
    assert f"0 left in {pool}" in printed
    code, printed = give()
    assert code == 3
    assert "nothing new" in printed
    assert "1 picture that cannot be read" in printed
    assert "left in" not in printed
    Image.fromarray(smooth_image(40, 56, 0)).save(pool / "a.jpg", quality=95)
    assert give()[0] == 0
    assert set(given(tmp_path / "to label")) == {*NAMES}


def test_accepted_ones_are_labels(give: Callable[..., Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "to label"
    give("--count", "3")
    files = sorted(str(output / f"{name}.json") for name in given(output))
    before = [json.loads(Path(file).read_text()) for file in files]
    assert main(["accept", *files[:2]]) == 0
    assert "2 files accepted" in capfd.readouterr().out
    after = [json.loads(Path(file).read_text()) for file in files]
    assert after == [one | {"flags": {"predicted": False}} for one in before[:2]] + before[2:]
    assert len(find_sources(DataConfig(root=str(output), val_fraction=0.5)).samples) == 2
    assert main(["accept", *files[:1]]) == 0
    assert "1 file left as it is" in capfd.readouterr().out
    assert main(["accept", files[0], str(output / "labels.txt")]) == 2
    assert main(["accept", str(output / "gone.json")]) == 2


def test_a_folder_is_accepted_with_all_its_files(
    give: Callable[..., Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "to label"
    give()
    for words in ([str(output)], sorted(map(str, output.glob("[!.]*")))):  # as the shell makes of `to label/*`
        before = json_files(output)
        assert main(["accept", *words]) == 0
        assert f"{len(NAMES)} files accepted" in capfd.readouterr().out
        for name, content in before.items():
            (output / f"{name}.json").write_bytes(content)  # waits again
    picture = next(output.glob("*.jpg"))
    for other in (picture, output / "labels.txt", output / "gone.txt"):
        assert main(["accept", str(other)]) == 2
        assert f"{other}: not a JSON file; give the JSON files" in capfd.readouterr().err
    assert json_files(output) == before


def wrong(what: str, pool: Path, output: Path) -> list[str]:
    """Prepare a fault; gives the words of a command."""
    words = ["next", str(pool), "--model", "MODEL", "--output", str(output)]
    if what == "empty pool":
        shutil.rmtree(pool)
        pool.mkdir()
    elif what == "no pool":
        words[1] = str(pool / "gone")
    elif what == "no model":
        words[3] = str(pool / "no model")
    elif what == "no version":
        words[3] = "models:/"
    elif what == "a file as folder":
        output.write_text("")
    elif what == "a damaged record":
        (output / ".label").mkdir(parents=True)
        (output / ".label" / "record.json").write_text('{"calls": 3}')
    elif what == "other classes":
        output.mkdir()
        (output / "labels.txt").write_text("_background_\ndog\n")
    elif what == "a closed folder":
        words[5] = "/proc/to_label"
    elif what in ("no labels", "labels of no known layout"):
        words += ["--labelled", str(pool)]
    elif what == "no labelled folder":
        words += ["--labelled", str(pool / "gone")]
    elif what == "an unknown layout":
        words += ["--layout", "nope"]
    elif what == "a count of nothing":
        words += ["--count", "0"]
    elif what == "an unknown option":
        words += ["--cuont", "3"]
    return words


FAULTS = {
    "empty pool": "no pictures there",
    "no pool": "no such file or folder",
    "no model": "no model",
    "no version": "models:/",
    "a file as folder": "not a folder; give another name",
    "a damaged record": "record.json: damaged",
    "other classes": "the model finds class 1, which is not there",
    "a closed folder": "cannot be written",
    "no labels": "pool",
    "labels of no known layout": "name the one that you meant: --layout pets or",
    "no labelled folder": "gone: no such folder; give --labelled the folder",
    "an unknown layout": "--layout: 'nope' is not possible",
    "a count of nothing": "--count: 0 is not possible",
    "an unknown option": "unrecognized arguments: --cuont 3",
}


@pytest.mark.parametrize("what", FAULTS)
def test_faults_are_named(
    what: str, pool: Path, model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [str(model) if word == "MODEL" else word for word in wrong(what, pool, tmp_path / "to label")]
    try:
        code = main(words)
    except SystemExit as error:
        code = error.code
    printed = capfd.readouterr().err
    assert code == 2
    assert FAULTS[what] in printed
    assert "Traceback" not in printed
    assert len(printed.strip().splitlines()) <= (8 if "usage" in printed else 1)
    if what not in ("a damaged record", "other classes", "a file as folder"):
        assert not os.path.lexists(tmp_path / "to label")


def test_one_call_at_a_time(give: Callable[..., Any], tmp_path: Path) -> None:
    with only_call(tmp_path / "to label"):
        code, printed = give()
    assert code == 2
    assert "another call is putting pictures there" in printed
    assert given(tmp_path / "to label") == {}


def project_fault(what: str, top: Path) -> list[str]:
    """Prepare a fault of a project; gives the words of a command."""
    folder = top / "project"
    begin = ["start", str(folder), "--labelled", str(top), "--pool", str(top), "--model", "cats"]
    if what == "no project":
        return ["round", str(folder)]
    if what == "an impossible setting":
        return [*begin, "--train.epochs", "0"]
    if what == "an unknown setting":
        return [*begin, "--train.epoks", "3"]
    if what == "no folder":
        return [*begin[:3], str(top / "gone"), *begin[4:]]
    if what == "a closed folder":
        return ["start", "/proc/project", *begin[2:]]
    assert main(begin) == 0
    if what == "twice":
        return begin
    if what == "no labels":
        return ["status", str(folder)]
    if what == "a file of it":
        return ["status", str(folder / "project.yaml")]
    file = folder / ("state.json" if what == "a damaged state" else "project.yaml")
    file.write_text("{")
    return ["round" if what == "a damaged project" else "status", str(folder)]


PROJECT_FAULTS = {
    "no project": "no project there",
    "an impossible setting": "train.epochs: 0 is not possible",
    "an unknown setting": "train.epoks: no such key; did you mean train.epochs?",
    "no folder": "gone: no such folder",
    "a closed folder": "/proc/project: cannot be written",
    "twice": "exists already",
    "no labels": "no layout",
    "a file of it": "project.yaml: not a folder; give the folder of the project, ",
    "a damaged state": "state.json: damaged",
    "a damaged project": "project.yaml: not valid YAML",
}


@pytest.mark.parametrize("what", PROJECT_FAULTS)
def test_faults_of_projects_are_named(what: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = project_fault(what, tmp_path)
    capfd.readouterr()
    try:
        code = main(words)
    except SystemExit as error:
        code = error.code
    printed = capfd.readouterr().err
    assert code == 2
    assert PROJECT_FAULTS[what] in printed
    assert "Traceback" not in printed
