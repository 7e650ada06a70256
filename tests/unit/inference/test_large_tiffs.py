"""Prediction of large TIFFs, which are read in parts: all results are those of the same picture read whole."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from tests.support.images import smooth_image
from trainer.data import image_io, tiff_parts
from trainer.inference.inputs import find_images
from trainer.inference.options import Options
from trainer.inference.outputs import ResultWriter
from trainer.inference.predictor import predict_files
from trainer.model.segmenter import Segmenter

IMAGE = smooth_image(137, 91, 3)
DEEP = IMAGE.astype(np.uint16) * 16
RGB = {"photometric": "rgb", "metadata": None}
PACKED = {"compression": "zlib", "predictor": True}
TURNED = [(274, 3, 1, 6, True)]
FILES: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
    "one-strip": (IMAGE, {}),
    "strips": (IMAGE, {"rowsperstrip": 7, **PACKED}),
    "turned": (IMAGE, {"rowsperstrip": 7, "extratags": TURNED}),
    "tiles": (IMAGE, {"tile": (32, 16), **PACKED}),
    "deep": (DEEP, {"rowsperstrip": 9, **PACKED}),
    "planes": (DEEP.transpose(2, 0, 1), {"tile": (16, 16), "planarconfig": "separate"}),
}


@pytest.mark.parametrize("view", ["whole", "tiles"])
def test_results_are_those_of_the_whole(
    view: str, make_segmenter: Callable[..., Segmenter], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also at the borders of the parts, which lie at other rows than those of the tiles that the network sees."""
    segmenter = make_segmenter(3, view=view, levels=(0.0, 4095.0))
    (tmp_path / "in").mkdir()
    for name, (stored, options) in FILES.items():
        tifffile.imwrite(tmp_path / "in" / f"{name}.tif", stored, **(RGB | options))
    decoded: list[str] = []
    read_whole = image_io._read_whole

    def read(path: Path, *rest: Any) -> Any:
        decoded.append(path.stem)
        return read_whole(path, *rest)

    monkeypatch.setattr(image_io, "_read_whole", read)

    def predict(output: Path) -> dict[str, tuple[np.ndarray, np.ndarray, float]]:
        decoded.clear()
        images, _ = find_images([tmp_path / "in"], output)
        writer = ResultWriter(segmenter.contract, output, Options(overlay="none", probabilities="npy"))
        results = {}
        for entry in predict_files(segmenter, images, writer, 2, maps=("probabilities",)):
            name = Path(entry.row["file"]).stem
            mask = image_io.read_mask(output / entry.row["mask"])
            results[name] = mask, np.load(output / entry.row["probabilities"]), entry.row["confidence"]
        return results

    whole = predict(tmp_path / "whole")
    assert sorted(decoded) == sorted(FILES)
    monkeypatch.setattr(tiff_parts, "LARGE_BYTES", 1)
    monkeypatch.setattr(tiff_parts, "CUT_BYTES", 1000)
    monkeypatch.setattr(image_io, "PART_BYTES", 4000)
    parts = predict(tmp_path / "parts")
    for name in FILES:
        assert decoded.count(name) >= 3, name
        assert len(np.unique(parts[name][0])) > 1
        for found, expected in zip(parts[name], whole[name], strict=True):
            assert np.array_equal(found, expected), name
    assert parts["turned"][0].shape == IMAGE.shape[1::-1]
    assert np.array_equal(parts["tiles"][0], parts["strips"][0])
    assert np.array_equal(parts["planes"][0], parts["deep"][0])
