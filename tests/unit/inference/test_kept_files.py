"""Results beside what is there already: whole or not at all, and never over what a person did."""

import json
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from tests.support.images import smooth_image
from trainer.inference.inputs import find_images
from trainer.inference.journal import Entry
from trainer.inference.options import Options
from trainer.inference.outputs import ResultWriter
from trainer.inference.predictor import predict_files
from trainer.model.segmenter import Segmenter

MakeSegmenter = Callable[..., Segmenter]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("changed", "accepted", "drawn", "foreign", "waiting"):
        Image.fromarray(smooth_image(40, 60, len(name))).save(folder / f"{name}.png")
    return folder


def predict(segmenter: Segmenter, images: Path, out: Path, model: str, **options: object) -> dict[str, Entry]:
    chosen = Options(**options)  # type: ignore[arg-type]
    writer = ResultWriter(segmenter.contract, out, chosen, {}, (model, model))
    entries = predict_files(segmenter, find_images([images], out)[0], writer, 2, maps=chosen.maps)
    return {entry.name: entry for entry in entries}


@contextmanager
def files_of_at_most(count: int) -> Iterator[None]:
    """Have the system refuse longer files, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_a_person_did_in_labelme_stays(make_segmenter: MakeSegmenter, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    folder = out / "labelme"
    predict(make_segmenter(1), images, out, "first", labelme="masks")
    records = {file.stem: json.loads(file.read_text()) for file in folder.glob("*.json")}
    assert set(records) == {"changed", "accepted", "drawn", "foreign", "waiting"}
    records["changed"]["shapes"] = records["changed"]["shapes"][:-1]
    records["accepted"]["flags"]["predicted"] = False
    for key in ("predictedShapes", "predictedBy"):
        del records["drawn"][key]
    records["foreign"] = {"not": "of Labelme"}
    for name, record in records.items():
        (folder / f"{name}.json").write_text(json.dumps(record))
    with (folder / "labels.txt").open("a") as file:
        file.write("dog\r\n")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}

    entries = predict(make_segmenter(1), images, out, "second", labelme="masks")

    after = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert {name for name in before if after[name] != before[name]} == {"waiting.json"}
    assert json.loads(after["waiting.json"])["predictedBy"] == "second"
    assert {name for name, entry in entries.items() if entry.row.get("labels_kept")} == set(records) - {"waiting"}
    assert all(entry.row["labelme"] == f"labelme/{name}.json" for name, entry in entries.items())


def test_a_picture_that_waits_for_its_labels_stays(make_segmenter: MakeSegmenter, images: Path, tmp_path: Path) -> None:
    out, segmenter = tmp_path / "out", make_segmenter(1)
    folder = out / "labelme"
    folder.mkdir(parents=True)
    for number, name in enumerate(("changed.png", "drawn.png", "waiting.png")):
        Image.fromarray(smooth_image(30, 50, 70 + number)).save(folder / name)
    Image.open(images / "drawn.png").save(images / "drawn.bmp")  # gets a PNG beside its JSON file
    (images / "drawn.png").unlink()
    (folder / "accepted.png").write_bytes((images / "accepted.png").read_bytes())  # a killed call's
    before = {file.name: file.read_bytes() for file in folder.glob("*.png")}
    rows = {name: entry.row for name, entry in predict(segmenter, images, out, "first", labelme="masks").items()}
    refused = ("changed", "drawn", "waiting")
    for name in refused:
        advice = "another picture, which would be replaced; move it away or give another --output"
        assert rows[name]["error"] == f"{folder / name}.png: {advice}"
        assert not (out / "masks" / f"{name}.png").exists()
    assert not [name for name, row in rows.items() if "error" in row and name not in refused]
    assert {name: (folder / name).read_bytes() for name in before} == before

    for name in refused:  # moved away, as the advice says; afterwards the predicted pictures may change
        (folder / f"{name}.png").unlink()
    for seed in (90, 91):
        rows = {name: entry.row for name, entry in predict(segmenter, images, out, "first", labelme="masks").items()}
        assert not [name for name, row in rows.items() if "error" in row]
        for name in ("changed.png", "drawn.bmp"):
            (images / name).unlink()
            Image.fromarray(smooth_image(40, 60, seed)).save(images / name)


def test_classes_are_added_to_the_labels_of_a_person(
    make_segmenter: MakeSegmenter, images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / "labelme").mkdir(parents=True)
    (out / "labelme" / "labels.txt").write_bytes("__ignore__\r\n_background_\r\nHündin".encode())
    segmenter = make_segmenter(2)
    predict(segmenter, images, out, "first", labelme="masks")
    labels = (out / "labelme" / "labels.txt").read_text().splitlines()
    assert labels == ["__ignore__", "_background_", "Hündin", *segmenter.contract.class_names[1:]]


@pytest.mark.parametrize("form", ["png", "npy"])
def test_a_full_disk_leaves_no_part_of_a_file(
    form: str, make_segmenter: MakeSegmenter, images: Path, tmp_path: Path
) -> None:
    out, segmenter = tmp_path / "out", make_segmenter(1)
    options = {"labelme": "polygons", "probabilities": form, "confidence_map": True}
    predict(segmenter, images, out, "first", **options)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    new = tmp_path / "new"
    ResultWriter(segmenter.contract, new, Options(labelme="polygons"))
    for folder in (out, new):
        with files_of_at_most(600):
            entries = predict(segmenter, images, folder, "second", **options)
        assert len(entries) == 5
        assert all("File too large" in entry.row["error"] for entry in entries.values())
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    left = {path.name: path.stat().st_size for path in new.rglob("*") if path.is_file()}
    assert not [name for name in left if name.startswith(".")]
    assert max(left.values()) < 600
