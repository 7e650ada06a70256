"""The Python interface: from an image to its mask, its confidence and its overlay."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.images import smooth_image
from trainer import InputError, load_model
from trainer.data.image_io import read_image
from trainer.inference.model import Model
from trainer.model.model_folder import save_segmenter
from trainer.model.segmenter import Segmenter

Maker = Callable[..., Segmenter]


@pytest.mark.parametrize("foreground", [1, 2])
def test_an_array_gives_what_the_network_says(make_segmenter: Maker, foreground: int) -> None:
    segmenter, image = make_segmenter(foreground), smooth_image(37, 53)
    result = Model(segmenter).predict(image)
    with torch.no_grad():
        probabilities = segmenter(torch.from_numpy(image)[None])
    assert np.array_equal(result.mask, segmenter.classes(probabilities)[0].numpy())
    two = torch.cat([1 - probabilities, probabilities], dim=1) if foreground == 1 else probabilities
    assert np.allclose(result.confidence, two.amax(dim=1)[0].numpy(), atol=1e-6)
    assert (result.mask.dtype, result.confidence.dtype) == (np.uint8, np.float32)
    assert result.class_names == segmenter.contract.class_names


def test_a_file_is_read_as_everywhere(make_segmenter: Maker, tmp_path: Path) -> None:
    file = tmp_path / "photo.png"
    exif = Image.Exif()
    exif[274] = 6  # lies on its side
    Image.fromarray(smooth_image(37, 53)).save(file, exif=exif)
    model = Model(make_segmenter())
    from_path, from_text, from_array = (model.predict(one) for one in (file, str(file), read_image(file)))
    assert from_path.mask.shape == (53, 37)
    assert np.array_equal(from_path.mask, from_text.mask)
    assert np.array_equal(from_path.mask, from_array.mask)
    with pytest.raises(InputError, match=r"gone\.png"):
        model.predict(tmp_path / "gone.png")


def test_the_overlay_shows_the_mask(make_segmenter: Maker) -> None:
    image = smooth_image(37, 53)
    result = Model(make_segmenter(threshold=0.0)).predict(image)  # every pixel is foreground
    assert result.mask.all()
    green = np.array(result.colours[1])
    assert np.abs(result.overlay() - (0.7 * image + 0.3 * green)).max() <= 0.5 + 1e-6
    assert np.array_equal(result.overlay(alpha=1.0), np.broadcast_to(green, image.shape))


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)]
)
def test_other_arrays_are_refused(make_segmenter: Maker, image: np.ndarray) -> None:
    with pytest.raises(InputError, match="give uint8 RGB"):
        Model(make_segmenter()).predict(image)


def test_a_folder_loads_as_a_model(make_segmenter: Maker, tmp_path: Path) -> None:
    segmenter = make_segmenter()
    save_segmenter(segmenter, tmp_path / "model")
    model, image = load_model(str(tmp_path / "model")), smooth_image(20, 30)
    assert np.array_equal(model.predict(image).mask, Model(segmenter).predict(image).mask)
    assert model.origin == {"uri": str(tmp_path / "model")}
    with pytest.raises(InputError, match="no such folder"):
        load_model(str(tmp_path / "gone"))


def test_importing_the_package_loads_nothing_else() -> None:
    command = "import sys, trainer; print([name for name in sys.modules if name.startswith(('trainer.', 'torch'))])"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
