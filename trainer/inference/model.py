"""A model for Python programs: from an image to its mask and overlay."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from trainer import InputError
from trainer.data.image_io import read_image
from trainer.drawing.overlay import draw_overlay
from trainer.model.segmenter import Segmenter


@dataclass(frozen=True)
class Prediction:
    """Result for one image."""

    image: np.ndarray
    """Uint8 RGB [H, W, 3]."""

    mask: np.ndarray
    """Class ids, uint8 [H, W]; 0 is background."""

    confidence: np.ndarray
    """Probability of the class of each pixel, float32 [H, W] in 0..1."""

    class_names: tuple[str, ...]
    """K names by class id, the background's first."""

    colours: tuple[tuple[int, int, int], ...]
    """RGB of each class."""

    def overlay(self, alpha: float = 0.3) -> np.ndarray:
        """Image with the mask blended over it, uint8 RGB [H, W, 3]; `alpha` is the mask's share, 0 to 1."""
        return draw_overlay(self.image, self.mask, self.colours, alpha)


@dataclass(frozen=True)
class Model:
    """Segmenter that is ready to predict, and where it came from."""

    segmenter: Segmenter
    origin: dict[str, str] = field(default_factory=dict)
    """URI, and for a registered model its name, version, alias and run id."""

    def predict(self, image: np.ndarray | str | Path) -> Prediction:
        """Segment an image, uint8 RGB [H, W, 3], or an image file.

        Raises InputError where the file cannot be read, or the array is of another kind.
        """
        if not isinstance(image, np.ndarray):
            image = read_image(Path(image), levels=self.segmenter.contract.range_of_levels)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise InputError(f"image: {image.dtype} {list(image.shape)}; give uint8 RGB [H, W, 3], or a file's path")
        mask, confidence = self.segmenter.predict(image)
        contract = self.segmenter.contract
        return Prediction(image, mask, confidence, contract.class_names, contract.colours)
