"""A model for Python programs: from an image to its mask and overlay."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from trainer import InputError
from trainer.data.bands import BandLevels
from trainer.data.image_io import read_image
from trainer.data.levels import DeepImage
from trainer.drawing.bands import to_rgb
from trainer.drawing.overlay import draw_overlay
from trainer.model.segmenter import Segmenter


@dataclass(frozen=True)
class Prediction:
    """Result for one image."""

    image: np.ndarray
    """Uint8 [H, W, C] as the network was shown it, RGB where C is 3."""

    mask: np.ndarray
    """Class ids, uint8 [H, W]; 0 is background."""

    confidence: np.ndarray
    """Probability of the class of each pixel, float32 [H, W] in 0..1."""

    class_names: tuple[str, ...]
    """K names by class id, the background's first."""

    colours: tuple[tuple[int, int, int], ...]
    """RGB of each class."""

    def overlay(self, alpha: float = 0.3) -> np.ndarray:
        """Image with the mask blended over it, uint8 RGB [H, W, 3]; `alpha` is the mask's share, 0 to 1.

        Of other bands than RGB the first three are shown, or of fewer the first as grey.
        """
        return draw_overlay(to_rgb(self.image), self.mask, self.colours, alpha)


@dataclass(frozen=True)
class Model:
    """Segmenter that is ready to predict, and where it came from."""

    segmenter: Segmenter
    origin: dict[str, str] = field(default_factory=dict)
    """URI, and for a registered model its name, version, alias and run id."""

    def predict(self, image: np.ndarray | str | Path) -> Prediction:
        """Segment an image, uint8 RGB [H, W, 3], or an image file.

        For a model of other bands, [H, W, C] of the levels as files store them, of any real type: they are scaled as
        those of files are. Raises InputError where the file cannot be read, or the array is of another kind.
        """
        levels = self.segmenter.contract.range_of_levels
        if not isinstance(image, np.ndarray):
            image = read_image(Path(image), levels=levels)
        elif isinstance(levels, BandLevels):
            if image.dtype.kind not in "uif" or image.ndim != 3 or image.shape[2] != levels.channels:
                wanted = f"numbers [H, W, {levels.channels}]"
                raise InputError(f"image: {image.dtype} {list(image.shape)}; give {wanted}, or a file's path")
            image = levels.to_uint8(DeepImage(image))
        elif image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise InputError(f"image: {image.dtype} {list(image.shape)}; give uint8 RGB [H, W, 3], or a file's path")
        mask, confidence = self.segmenter.predict(image)
        contract = self.segmenter.contract
        return Prediction(image, mask, confidence, contract.class_names, contract.colours)
