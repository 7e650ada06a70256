"""Way in which an image becomes what the network sees: resized to one square, or in its own pixels, by squares."""

from collections.abc import Sequence
from dataclasses import dataclass

from trainer.config import DataConfig

THOUSANDTHS = 1000
"""Parts of the whole that a scale is a number of."""


def scaled_length(length: int, scale: float) -> int:
    """Length in pixels at a scale, at least 1; in whole numbers alone, as a graph of any length needs it."""
    share = round(scale * THOUSANDTHS)
    return (length * share + THOUSANDTHS - 1) // THOUSANDTHS


@dataclass(frozen=True)
class View:
    """Way in which the network is shown images; part of a model's contract."""

    size: int
    """Side in pixels of the square that an image is resized to, or of the crops that train."""

    tiles: bool = False
    """Show parts of the image, at `scale`, instead of the whole."""

    scale: float = 1.0
    """Side of the image that tiles are cut from, as a share of its own; 1 where the whole is resized."""

    keep_aspect: bool = False
    """Fill the image up to a square, at the right or the bottom, before it is resized."""

    channels: int = 3
    """Bands of the images; 3 are red, green and blue."""

    def scaled(self, shape: Sequence[int]) -> tuple[int, int]:
        """Height and width, in pixels, of the image that tiles are cut from; `shape`: its own."""
        return scaled_length(int(shape[0]), self.scale), scaled_length(int(shape[1]), self.scale)

    @property
    def key(self) -> str:
        """Text that differs wherever the pixels do; that of a resized image is its side alone."""
        bands = "" if self.channels == 3 else f" bands {self.channels}"
        if self.tiles:
            return f"tiles {self.scale:g}{bands}"
        return f"{self.size} square{bands}" if self.keep_aspect else f"{self.size}{bands}"


def view_of(config: DataConfig) -> View:
    """View that resolved settings describe."""
    assert config.view != "auto"
    assert config.scale != "auto"
    assert config.channels != "auto"
    aspect, channels = config.keep_aspect is True, int(config.channels)
    return View(config.image_size, config.view == "tiles", float(config.scale), aspect, channels)
