"""The prediction command on a model folder: files in, files out."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.program import Program, make_voc
from trainer.model.segmenter import Contract, Segmenter, save_segmenter

COLOURS = ((0, 0, 0), (0, 128, 0))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    return Program(tmp_path_factory.mktemp("predict") / "program")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model: what it says does not matter here, but it says something about every pixel."""
    folder = tmp_path_factory.mktemp("model")
    save_segmenter(Segmenter(Contract(("_background_", "disc"), COLOURS, 32, width=8)), folder)
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    root = make_voc(tmp_path / "pictures", count=3) / "JPEGImages"
    (root / "below").mkdir()
    rotated = Image.new("RGB", (60, 30), "white")
    exif = Image.Exif()
    exif[0x0112] = 6  # stands on its side: shown, it is 30 wide and 60 high
    rotated.save(root / "below" / "PHONE.JPG", exif=exif)
    return root


def predict(program: Program, model: object, output: Path, *inputs: Path):
    return program.python("predict", "--model", str(model), "--input", *map(str, inputs), "--output", str(output))


def test_masks_overlays_and_report(program: Program, model: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = predict(program, model, out, pictures)
    assert result.returncode == 0, result.stderr
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


def test_a_broken_picture_fails_alone(program: Program, model: Path, pictures: Path, tmp_path: Path) -> None:
    (pictures / "broken.jpg").write_bytes((pictures / "disc_00.jpg").read_bytes()[:300])
    result = predict(program, model, tmp_path / "out", pictures)
    assert result.returncode == 3
    assert "broken.jpg" in result.stderr
    assert "Traceback" not in result.stderr
    assert len(list((tmp_path / "out" / "masks").rglob("*.png"))) == 4
    rows = json.loads((tmp_path / "out" / "report.json").read_text())["files"]
    assert [Path(row["file"]).name for row in rows if "error" in row] == ["broken.jpg"]


def test_predicting_twice_into_the_same_place_is_safe(program: Program, model: Path, pictures: Path) -> None:
    """The output lies inside the input folder; its overlays are no new input."""
    for _ in range(2):
        assert predict(program, model, pictures / "out", pictures).returncode == 0
        assert len(json.loads((pictures / "out" / "report.json").read_text())["files"]) == 4


def test_two_inputs_of_one_name_are_refused(program: Program, model: Path, pictures: Path, tmp_path: Path) -> None:
    Image.open(pictures / "disc_00.jpg").save(pictures / "disc_00.png")
    result = predict(program, model, tmp_path / "out", pictures)
    assert result.returncode == 2
    assert "disc_00.jpg" in result.stderr
    assert "disc_00.png" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("uri", "named"),
    [
        ("models:/nobody@champion", "models:/nobody@champion"),
        ("models:/nobody/7", "none yet"),
        ("models:/nobody", "none yet"),
        ("/no/such/folder", "no such folder"),
        ("runs:/0123456789abcdef0123456789abcdef/model", "runs:/"),
    ],
)
def test_a_model_that_is_not_there(program: Program, uri: str, named: str, pictures: Path, tmp_path: Path) -> None:
    result = predict(program, uri, tmp_path / "out", pictures)
    assert result.returncode == 2
    assert named in result.stderr
    assert "Traceback" not in result.stderr


def test_no_pictures(program: Program, model: Path, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    result = predict(program, model, tmp_path / "out", tmp_path / "nothing")
    assert result.returncode == 2
    assert "no pictures" in result.stderr


def test_an_output_that_cannot_be(program: Program, model: Path, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    result = predict(program, model, tmp_path / "taken", pictures)
    assert result.returncode == 2
    assert "taken" in result.stderr
    assert "Traceback" not in result.stderr
