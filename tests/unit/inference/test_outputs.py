"""Files that predictions are written to, each against what another library reads or computes."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from tests.support.images import smooth_image
from trainer.data.image_io import read_image, read_mask
from trainer.inference import objects
from trainer.inference.inputs import find_images
from trainer.inference.journal import Entry
from trainer.inference.options import Options
from trainer.inference.outputs import ResultWriter
from trainer.inference.predictor import predict_files
from trainer.inference.report import Report, write_coco, write_objects
from trainer.model.segmenter import Segmenter

MakeSegmenter = Callable[..., Segmenter]
ORIGIN = {"Software": "segtrainer 0", "model": "katzen ü 猫", "version": "3", "threshold": "0.5"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "in"
    (root / "below").mkdir(parents=True)
    for number in range(3):
        Image.fromarray(smooth_image(61 + number, 83, number)).save(root / f"{number}.png")
    Image.fromarray(smooth_image(40, 50, 7)).save(root / "below" / "x.jpg")
    (root / "broken.png").write_bytes(b"no image")
    return root


def predict(segmenter: Segmenter, folder: Path, out: Path, **options: object) -> list[Entry]:
    chosen = Options(**options)  # type: ignore[arg-type]
    writer = ResultWriter(segmenter.contract, out, chosen, ORIGIN, ("digest", "cats version 3"))
    images = find_images([folder], out)[0]
    return list(predict_files(segmenter, images, writer, 2, maps=chosen.maps))


def probabilities_of(segmenter: Segmenter, path: Path) -> np.ndarray:
    """Probabilities, float32 [C, H, W], by the segmenter alone."""
    with torch.inference_mode():
        return segmenter(torch.from_numpy(read_image(path))[None])[0].numpy()


@pytest.mark.parametrize("foreground", [1, 3])
@pytest.mark.parametrize("form", ["png", "npy"])
def test_probabilities_and_confidence(
    foreground: int, form: str, make_segmenter: MakeSegmenter, folder: Path, tmp_path: Path
) -> None:
    segmenter, out = make_segmenter(foreground), tmp_path / "out"
    for entry in predict(segmenter, folder, out, probabilities=form, confidence_map=True, overlay="none"):
        if "error" in entry.row:
            continue
        expected = probabilities_of(segmenter, Path(entry.row["file"]))
        place = out / entry.row["probabilities"]
        if form == "npy":
            found = np.load(place)
            assert (found.dtype, found.shape) == (np.float16, expected.shape)
            np.testing.assert_allclose(found, expected, atol=1e-3)
        else:
            files = [place] if foreground == 1 else [place / f"{number}.png" for number in range(foreground + 1)]
            for file, plane in zip(files, expected, strict=True):
                picture = Image.open(file)
                assert picture.mode == "I;16"
                np.testing.assert_allclose(np.array(picture) / 65535, plane, atol=2e-5)
        picture = Image.open(out / entry.row["confidence_map"])
        assert picture.mode == "L"
        sure = np.maximum(expected, 1 - expected)[0] if foreground == 1 else expected.max(axis=0)
        np.testing.assert_allclose(np.array(picture) / 255, sure, atol=0.003)
    assert not (out / "overlays").exists()


def test_a_mask_alone_can_be_traced(make_segmenter: MakeSegmenter, folder: Path, tmp_path: Path) -> None:
    for entry in predict(make_segmenter(), folder, tmp_path / "out"):
        if "mask" in entry.row:
            picture = Image.open(tmp_path / "out" / entry.row["mask"])
            assert picture.text == ORIGIN
            assert picture.mode == "P"


def test_the_plain_blend_is_that_of_the_tutorial(make_segmenter: MakeSegmenter, folder: Path, tmp_path: Path) -> None:
    segmenter, out = make_segmenter(), tmp_path / "out"
    for entry in predict(segmenter, folder, out, overlay="blend"):
        if "error" in entry.row:
            continue
        image = read_image(Path(entry.row["file"]))
        mask = np.array(Image.open(out / entry.row["mask"]))
        blend = np.rint(0.7 * image + 0.3 * np.array(segmenter.contract.colours[1])).astype(np.uint8)
        Image.fromarray(np.where(mask[..., None] == 1, blend, image)).save(expected := io.BytesIO(), "JPEG", quality=90)
        assert (out / entry.row["overlay"]).read_bytes() == expected.getvalue()


@pytest.mark.parametrize("largest", [False, True])
def test_rows_count_what_the_masks_show(
    largest: bool, make_segmenter: MakeSegmenter, folder: Path, tmp_path: Path
) -> None:
    """Pixels and objects of rows, of objects.csv and coco.json, by scipy and pycocotools from the mask files."""
    coco_tools = pytest.importorskip("pycocotools.coco")
    segmenter, out = make_segmenter(3), tmp_path / "out"
    entries = predict(segmenter, folder, out, coco=True, objects=True, min_area=4, largest_only=largest)
    done = [entry for entry in entries if "error" not in entry.row]
    assert len(done) == 4
    names = segmenter.contract.class_names
    model = {"classes": list(names), "name": "cats", "version": "3"}
    write_objects(out / "objects.csv", done, model)
    write_coco(out / "coco.json", lambda: iter(done), model)
    coco = coco_tools.COCO(str(out / "coco.json"))
    with (out / "objects.csv").open() as file:
        table = list(csv.DictReader(file))
    total = 0
    for number, entry in enumerate(done, start=1):
        row = entry.row
        mask = np.array(Image.open(out / row["mask"]))
        sure = probabilities_of(segmenter, Path(row["file"])).max(axis=0)
        assert row["pixels"] == {name: int((mask == class_id).sum()) for class_id, name in enumerate(names)}
        expected = []
        for class_id, name in enumerate(names[1:], start=1):
            numbers, count = ndimage.label(mask == class_id, np.ones((3, 3)))
            assert row["objects"][name] == count
            assert count <= 1 or not largest
            expected += [(name, numbers == one) for one in range(1, count + 1)]
        lines = [line for line in table if line["file"] == row["file"]]
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=[number]))
        assert len(lines) == len(annotations) == len(expected)
        total += len(lines)
        for name, pixels in expected:
            rows, columns = np.nonzero(pixels)
            assert len(rows) >= 4
            box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
            (at,) = [
                at
                for at, one in enumerate(annotations)
                if names[one["category_id"]] == name and (coco.annToMask(one) == pixels).all()
            ]
            annotation, line = annotations[at], lines[at]
            assert annotation["bbox"] == box
            assert annotation["area"] == len(rows) == int(line["area"])
            assert annotation["score"] == pytest.approx(sure[pixels].mean(), abs=0.003)
            assert [int(line[key]) for key in ("x", "y", "width", "height")] == box
            assert line["class"] == name
            assert float(line["centre x"]) == pytest.approx(columns.mean(), abs=0.01)
            assert float(line["centre y"]) == pytest.approx(rows.mean(), abs=0.01)
            assert float(line["confidence"]) == annotation["score"]
    assert total > 4
    sizes = {image["file_name"]: (image["height"], image["width"]) for image in coco.dataset["images"]}
    assert sizes == {entry.row["file"]: (entry.row["height"], entry.row["width"]) for entry in done}


def test_noise_fails_alone_where_objects_are_needed(
    make_segmenter: MakeSegmenter, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "MOST_RUNS", 0)
    rows = [entry.row for entry in predict(make_segmenter(3), folder, tmp_path / "a")]
    assert sum("error" in row for row in rows) == 1
    assert all("objects" not in row for row in rows)
    rows = [entry.row for entry in predict(make_segmenter(3), folder, tmp_path / "b", largest_only=True)]
    assert all("cannot be told apart" in row["error"] for row in rows if "broken" not in row["file"])


def test_reports_add_up(make_segmenter: MakeSegmenter, folder: Path, tmp_path: Path) -> None:
    segmenter, out = make_segmenter(3), tmp_path / "out"
    entries = predict(segmenter, folder, out, min_area=300)
    names = list(segmenter.contract.class_names)
    model = {"classes": names, "name": "=cats", "version": "3", "program": "segtrainer 0", "threshold": None}
    report = Report(out, model, [entry.name for entry in reversed(entries)] + ["never done"], [])
    report.write(complete=False)
    assert json.loads((out / "report.json").read_text())["files"] == []
    for entry in entries:
        report.add(entry)
    report.write(complete=True)
    content = json.loads((out / "report.json").read_text())
    assert content["files"] == [entry.row for entry in reversed(entries)]
    totals = content["totals"]
    assert (totals["done"], totals["failed"], content["pictures"]) == (4, 1, 6)
    masks = [np.array(Image.open(path)) for path in (out / "masks").rglob("*.png")]
    assert 0 < min(len(np.unique(mask)) for mask in masks) < 4, "all classes are everywhere"
    for class_id, name in enumerate(names):
        assert totals["classes"][name]["pixels"] == sum(int((mask == class_id).sum()) for mask in masks)
        assert totals["classes"][name]["pictures"] == sum(bool((mask == class_id).any()) for mask in masks)
        found = sum(ndimage.label(mask == class_id, np.ones((3, 3)))[1] for mask in masks) if class_id else 0
        assert totals["classes"][name]["objects"] == found
    with (out / "report.csv").open() as file:
        table = list(csv.DictReader(file))
    assert len(table) == 5
    assert {line["model"] for line in table} == {"'=cats"}  # no formula
    for line, row in zip(table, content["files"], strict=True):
        for name in names[1:]:
            assert line[f"objects {name}"] == str(row.get("objects", {}).get(name, ""))
            assert line[f"pixels {name}"] == str(row.get("pixels", {}).get(name, ""))


@pytest.mark.parametrize("changes", [{}, {"view": "tiles"}])
def test_flips_are_the_mean_with_the_mirror_image(
    make_segmenter: MakeSegmenter, tmp_path: Path, changes: dict[str, str]
) -> None:
    """The mask of a mirrored picture, where both ways are looked at, is the mirrored mask."""
    segmenter = make_segmenter(image_size=64, **changes)
    image = smooth_image(64, 64, seed=4)
    for name, pixels in (("a", image), ("b", image[:, ::-1])):
        (tmp_path / name).mkdir()
        Image.fromarray(np.ascontiguousarray(pixels)).save(tmp_path / name / "x.png")
    found = {}
    for name in "ab":
        for flips in (False, True):
            images, _ = find_images([tmp_path / name], tmp_path / "out")
            writer = ResultWriter(segmenter.contract, tmp_path / f"out-{name}-{flips}")
            list(predict_files(segmenter, images, writer, 2, flips=flips))
            found[name, flips] = read_mask(tmp_path / f"out-{name}-{flips}" / "masks" / "x.png")
    assert (found["a", True] == found["b", True][:, ::-1]).mean() > 0.999
    assert (found["a", False] == found["b", False][:, ::-1]).mean() < 0.99
