"""Prediction with a model of bands: of files and arrays alike; files of other bands are named, the others are done."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.support.bands import band_folder
from trainer import InputError
from trainer.drawing.overlay import draw_overlay
from trainer.inference.inputs import find_images
from trainer.inference.model import Model
from trainer.inference.options import Options
from trainer.inference.outputs import ResultWriter
from trainer.inference.predictor import predict_files
from trainer.model.segmenter import Segmenter

Maker = Callable[..., Segmenter]
BANDS = 5


@pytest.fixture(params=["whole", "tiles"])
def segmenter(make_segmenter: Maker, request: pytest.FixtureRequest) -> Segmenter:
    measured = {"mean": (60.0,) * BANDS, "std": (30.0,) * BANDS, "band_levels": ((0.0, 4095.0),) * BANDS}
    return make_segmenter(2, input_channels=BANDS, view=request.param, **measured)


def test_files(segmenter: Segmenter, tmp_path: Path) -> None:
    root = band_folder(tmp_path / "bands", count=3, bands=BANDS)
    band_folder(tmp_path / "more", count=1, bands=8)
    given = tmp_path / "given"
    (root / "images").rename(given)
    (tmp_path / "more/images/s000.tif").rename(given / "eight.tif")
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(given / "rgb.png")
    (given / "cut.tif").write_bytes((given / "s000.tif").read_bytes()[:4000])
    images, _ = find_images([given], tmp_path / "out")
    writer = ResultWriter(segmenter.contract, tmp_path / "out", Options(overlay="blend"))
    entries = predict_files(segmenter, images, writer, 4)
    rows = {Path(entry.row["file"]).name: entry.row for entry in entries}
    assert "8 bands instead of 5" in rows["eight.tif"]["error"]
    assert "3 bands instead of 5" in rows["rgb.png"]["error"]
    assert "cut.tif: damaged image" in rows["cut.tif"]["error"]
    model = Model(segmenter)
    for name in ("s000", "s001", "s002"):
        assert "error" not in rows[f"{name}.tif"]
        result = model.predict(given / f"{name}.tif")
        assert np.array_equal(np.asarray(Image.open(tmp_path / f"out/masks/{name}.png")), result.mask)
        drawn = np.asarray(Image.open(tmp_path / f"out/overlays/{name}.jpg")).astype(int)
        assert np.abs(drawn - result.overlay()).mean() < 12  # but for JPEG


def test_an_array_is_what_the_file_holds(segmenter: Segmenter, tmp_path: Path) -> None:
    root = band_folder(tmp_path / "bands", count=1, bands=BANDS)
    stored = tifffile.imread(root / "images/s000.tif")
    model = Model(segmenter)
    from_file, from_array = model.predict(root / "images/s000.tif"), model.predict(stored)
    assert np.array_equal(from_file.mask, from_array.mask)
    assert np.array_equal(from_array.image, np.rint(stored * (255 / 4095)).astype(np.uint8))
    rgb = np.ascontiguousarray(from_array.image[..., :3])
    assert np.array_equal(from_array.overlay(), draw_overlay(rgb, from_array.mask, from_array.colours))
    assert np.array_equal(model.predict(stored.astype(np.float32)).mask, from_file.mask)
    for wrong in (stored[..., :3], stored[..., 0], stored > 5):
        with pytest.raises(InputError, match=r"^image: .*give numbers \[H, W, 5\]"):
            model.predict(wrong)


def test_a_model_of_rgb_names_both_numbers(make_segmenter: Maker, tmp_path: Path) -> None:
    root = band_folder(tmp_path / "bands", count=1, bands=BANDS)
    with pytest.raises(InputError, match=r"s000\.tif: 5 bands instead of 3 \(RGB\)"):
        Model(make_segmenter()).predict(root / "images/s000.tif")
