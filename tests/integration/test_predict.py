"""The prediction command on a model folder: image files in, masks, overlays and a report out."""

import csv
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.discs import make_discs
from tests.support.images import smooth_image
from tests.support.program import Ended, Program
from trainer.data.image_io import read_image
from trainer.model.model_folder import load_segmenter, save_segmenter
from trainer.model.segmenter import Contract, Segmenter

COLOURS = ((0, 0, 0), (0, 128, 0))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    return Program(tmp_path_factory.mktemp("predict") / "program")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model: its masks are wrong, and not empty."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    save_segmenter(Segmenter(Contract(("_background_", "disc"), COLOURS, 32, width=8)), folder)
    return folder


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Folder of three images, and one that is turned by EXIF in a folder below."""
    root = make_discs(tmp_path / "data", count=3) / "JPEGImages"
    (root / "below").mkdir()
    rotated = Image.new("RGB", (60, 30), "white")
    exif = Image.Exif()
    exif[0x0112] = 6  # stands on its side: shown, it is 30 wide and 60 high
    rotated.save(root / "below" / "PHONE.JPG", exif=exif)
    return root


def predict(
    program: Program, model: object, output: Path, *inputs: Path, code: int = 0, batch_size: int = 8, more: str = ""
) -> Ended:
    """Run predict.py with `more` options; it must end with `code`, and never with a traceback."""
    paths = ["--input", *map(str, inputs), "--output", str(output)]
    ended = program.python(
        "predict", "--model", str(model), *paths, "--batch_size", str(batch_size), *more.split(), code=code
    )
    assert "Traceback" not in ended.output
    return ended


def test_masks_overlays_and_report(program: Program, model: Path, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict(program, model, out, images)
    names = ["below/PHONE", "disc_00", "disc_01", "disc_02"]
    assert (
        sorted(str(path.relative_to(out / "masks").with_suffix("")) for path in (out / "masks").rglob("*.png")) == names
    )
    assert (
        sorted(str(p.relative_to(out / "overlays").with_suffix("")) for p in (out / "overlays").rglob("*.jpg")) == names
    )
    mask = Image.open(out / "masks" / "below" / "PHONE.png")
    assert (mask.mode, mask.size) == ("P", (30, 60))
    assert mask.getpalette()[:9] == [0, 0, 0, 0, 128, 0, 128, 0, 0]
    assert Image.open(out / "overlays" / "below" / "PHONE.jpg").size == (30, 60)
    report = json.loads((out / "report.json").read_text())
    assert report["model"]["uri"] == str(model)
    row = next(row for row in report["files"] if row["file"].endswith("disc_01.jpg"))
    values = np.array(Image.open(out / "masks" / "disc_01.png"))
    assert (row["width"], row["height"]) == (56, 48)
    assert row["share"]["disc"] == pytest.approx((values == 1).mean(), abs=1e-6)
    assert 0.5 <= row["confidence"] <= 1
    with (out / "report.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 4


def test_what_is_left_out_is_said(program: Program, model: Path, images: Path, tmp_path: Path) -> None:
    for name in ("IMG_1.JP2", "notes.txt", ".hidden.jpg"):
        (images / name).touch()
    pages = [Image.new("L", (40, 30), level) for level in (10, 90)]
    pages[0].save(images / "stack.tif", save_all=True, append_images=pages[1:])
    ended = predict(program, model, tmp_path / "out", images)
    assert "6 pictures done, 0 failed" in ended.stdout
    assert "left out, 3 files: " in ended.stdout
    assert "IMG_1.JP2" in ended.stdout
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    left_out = {Path(file).name for row in report["left_out"] for file in row["files"]}
    assert left_out == {"IMG_1.JP2", "notes.txt", ".hidden.jpg"}
    assert sum(row["count"] for row in report["left_out"]) == 3
    assert {f"{images}/stack.tif#{page}" for page in (1, 2)} <= {row["file"] for row in report["files"]}
    assert (tmp_path / "out" / "masks" / "stack#2.png").is_file()


def test_a_broken_image_fails_alone(program: Program, model: Path, images: Path, tmp_path: Path) -> None:
    (images / "broken.jpg").write_bytes((images / "disc_00.jpg").read_bytes()[:300])
    ended = predict(program, model, tmp_path / "out", images, code=3)
    assert "broken.jpg" in ended.stderr
    assert len(list((tmp_path / "out" / "masks").rglob("*.png"))) == 4
    rows = json.loads((tmp_path / "out" / "report.json").read_text())["files"]
    assert [Path(row["file"]).name for row in rows if "error" in row] == ["broken.jpg"]


def test_predicting_twice_into_the_same_place_is_safe(program: Program, model: Path, images: Path) -> None:
    """The output lies inside the input folder; its overlays are no new input."""
    for _ in range(2):
        predict(program, model, images / "out", images)
        assert len(json.loads((images / "out" / "report.json").read_text())["files"]) == 4


def test_labels_of_a_data_set_are_not_written_over(program: Program, model: Path, images: Path, tmp_path: Path) -> None:
    data = tmp_path / "labelled"
    (data / "masks").mkdir(parents=True)
    Image.new("L", (56, 48), 1).save(data / "masks" / "disc_01.png")
    before = (data / "masks" / "disc_01.png").read_bytes()
    ended = predict(program, model, data, images, code=2)
    assert "masks/disc_01.png there is no prediction" in ended.stderr
    assert [path.read_bytes() for path in data.rglob("*") if path.is_file()] == [before]


def test_tables_of_a_data_set_are_not_written_over(program: Program, model: Path, images: Path, tmp_path: Path) -> None:
    data, labels = tmp_path / "labelled", '{"images": [], "annotations": [], "categories": []}'
    data.mkdir()
    (data / "coco.json").write_text(labels)
    ended = predict(program, model, data, images, code=2, more="--coco")
    assert "coco.json there is not of predict.py, and would be written over" in ended.stderr
    assert [path.read_text() for path in data.rglob("*") if path.is_file()] == [labels]
    predict(program, model, data, images)
    assert (data / "coco.json").read_text() == labels
    for _ in range(2):
        predict(program, model, tmp_path / "out", images, more="--coco --objects")


def test_two_inputs_of_one_name_are_refused(program: Program, model: Path, images: Path, tmp_path: Path) -> None:
    Image.open(images / "disc_00.jpg").save(images / "disc_00.png")
    ended = predict(program, model, tmp_path / "out", images, code=2)
    assert "disc_00.jpg" in ended.stderr
    assert "disc_00.png" in ended.stderr
    assert not (tmp_path / "out").exists()


MISSING = {
    "models:/nobody@champion": "models:/nobody@champion",
    "models:/nobody/7": "none yet",
    "models:/nobody": "none yet",
    "/no/such/folder": "no such folder",
    "runs:/0123456789abcdef0123456789abcdef/model": "runs:/",
}
"""Address of a model that does not exist -> part of the message."""


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory, program: Program) -> dict[str, Ended]:
    """Ends of predict.py with each model of MISSING."""
    top = tmp_path_factory.mktemp("missing")
    paths = ["--input", str(make_discs(top / "data", count=1) / "JPEGImages"), "--output", str(top / "out")]
    return program.in_one_process("predict", {uri: ["--model", uri, *paths] for uri in MISSING})


@pytest.mark.parametrize("uri", MISSING)
def test_a_missing_model_is_refused(uri: str, refusals: dict[str, Ended]) -> None:
    assert refusals[uri].returncode == 2
    assert MISSING[uri] in refusals[uri].stderr
    assert "Traceback" not in refusals[uri].stderr


def test_a_folder_without_images_is_refused(program: Program, model: Path, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    assert "no pictures" in predict(program, model, tmp_path / "out", tmp_path / "nothing", code=2).stderr


def test_a_file_in_place_of_the_output_is_refused(program: Program, model: Path, images: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    assert "taken" in predict(program, model, tmp_path / "taken", images, code=2).stderr


def test_each_result_belongs_to_its_image(program: Program, model: Path, tmp_path: Path) -> None:
    """Images of all sizes, in batches that do not come out even, with files among them that cannot be read."""
    folder, out = tmp_path / "data", tmp_path / "out"
    folder.mkdir()
    sizes = [(int(height), int(width)) for height, width in np.random.default_rng(2).integers(20, 90, (11, 2))]
    for index, size in enumerate(sizes):
        Image.fromarray(smooth_image(*size, seed=index)).save(folder / f"{index:02}.png")
    for index in (0, 4, 5):
        (folder / f"{index:02}.png").write_bytes(b"no image")
    predict(program, model, out, folder, code=3, batch_size=3, more="--overlay blend")
    rows = json.loads((out / "report.json").read_text())["files"]
    assert [Path(row["file"]).stem for row in rows] == [f"{index:02}" for index in range(11)]
    assert ["error" in row for row in rows] == [index in (0, 4, 5) for index in range(11)]
    segmenter, shares = load_segmenter(model), []
    for row in rows:
        if "error" in row:
            continue
        path = Path(row["file"])
        image = read_image(path)
        with torch.inference_mode():
            probabilities = segmenter(torch.from_numpy(image)[None])[0, 0].numpy()
        mask = np.array(Image.open(out / "masks" / path.name))
        assert mask.shape == image.shape[:2] == (row["height"], row["width"])
        assert ((probabilities > 0.5) == mask).mean() >= 0.999  # a batch of another size may differ in the last bits
        assert row["confidence"] == pytest.approx(np.maximum(probabilities, 1 - probabilities).mean(), abs=2e-4)
        blended = np.where(mask[..., None] == 1, np.rint(0.7 * image + 0.3 * np.array(COLOURS[1])), image)
        Image.fromarray(blended.astype(np.uint8)).save(expected := io.BytesIO(), "JPEG", quality=90)
        assert (out / "overlays" / f"{path.stem}.jpg").read_bytes() == expected.getvalue()
        shares.append(mask.mean())
    assert min(shares) < 0.9, "one class everywhere, so that the overlays prove little"
    assert max(shares) > 0.1


# Prints the peak of this process's memory, in KiB.
PEAK = """
import sys
from pathlib import Path
from trainer.predict import main
code = main(sys.argv[1:])
lines = Path("/proc/self/status").read_text().splitlines()
print("PEAK", next(line.split()[1] for line in lines if line.startswith("VmHWM")))
sys.exit(code)
"""


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from Linux's /proc")
def test_memory_does_not_grow_with_the_number_of_images(program: Program, model: Path, tmp_path: Path) -> None:
    height, width, few, many = 1000, 1000, 8, 40
    Image.fromarray(smooth_image(height, width)).save(tmp_path / "image.jpg")
    peaks = {}
    for count in (few, many):
        folder = tmp_path / f"{count}"
        folder.mkdir()
        for index in range(count):
            (folder / f"{index}.jpg").hardlink_to(tmp_path / "image.jpg")
        arguments = ["--model", str(model), "--input", str(folder), "--output", str(tmp_path / f"out {count}")]
        # Freed memory goes back to the system at once, or the peak depends on how the threads happened to run.
        at_once = {"MALLOC_MMAP_THRESHOLD_": "1000000"}
        ended = program.run(sys.executable, "-c", PEAK, *arguments, "--batch_size", "2", **at_once, code=0)
        assert len(list((tmp_path / f"out {count}" / "masks").iterdir())) == count
        peaks[count] = 1024 * int(ended.stdout.rpartition("PEAK ")[2])
    held = (many - few) * height * width  # bytes of the masks alone; images are three times as large
    assert peaks[many] - peaks[few] < held / 2, {count: f"{peak / 2**20:.0f} MiB" for count, peak in peaks.items()}
