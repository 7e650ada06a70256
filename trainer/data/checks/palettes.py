"""Palettes of mask files: whether a value has the same colour in all of them."""

import threading
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from trainer import IGNORE
from trainer.data.stored_palette import StoredPalette
from trainer.data.value_map import pack
from trainer.drawing.palette import palette as own_palette

BLACK = 0
"""Usual colour of the background, 0xRRGGBB."""

OWN = own_palette().tobytes()
"""Palette of the masks that this program writes."""

VOC = own_palette()[[0, 2, 1, *range(3, 256)]].tobytes()
"""Palette of Pascal VOC and of Labelme. The values of both are class ids, whatever the colour of 1 and 2."""


@dataclass
class PaletteUse:
    """Files with one palette."""

    colours: tuple[int, ...]
    """Colour of each value, 0xRRGGBB."""

    grey: bool
    """True where the values are greys, which other files may show in any colour."""

    pixels: Counter[int] = field(default_factory=Counter)
    """Pixels of each value that has a colour."""

    files: list[str] = field(default_factory=list)

    def colour(self, value: int) -> int | None:
        """Colour of a value, 0xRRGGBB; None for one that the palette does not reach."""
        return self.colours[value] if value < len(self.colours) else None


class Palettes:
    """Record of the palettes of all mask files; files may be added from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._uses: dict[tuple[bytes, bool], PaletteUse] = {}

    def add(self, file: str, palette: StoredPalette, counts: np.ndarray) -> None:
        """Add a mask file; `counts`: pixels of each value, [256]."""
        size = len(palette.colours)
        used = [value for value in np.flatnonzero(counts).tolist() if value < size]
        if palette.grey and not set(used) <= {0, size - 1}:
            return  # greys of this number are not colours, but class ids
        key = palette.colours.tobytes(), palette.grey
        with self._lock:
            use = self._uses.get(key)
            if use is None:
                use = self._uses[key] = PaletteUse(tuple(pack(palette.colours).tolist()), palette.grey)
            use.pixels.update({value: int(counts[value]) for value in used})
            use.files.append(file)

    @property
    def colours(self) -> Counter[int]:
        """Pixels of each colour, 0xRRGGBB."""
        total: Counter[int] = Counter()
        for use in self._uses.values():
            for value, pixels in use.pixels.items():
                total[use.colours[value]] += pixels
        return total

    def disagreement(self) -> tuple[str, list[str]] | None:
        """Reason why the values are not class ids, and its files, the first to be looked at first; None if they are."""
        uses = sorted(self._uses_apart(), key=lambda use: min(use.files))
        of_value: dict[int, PaletteUse] = {}
        of_colour: dict[int, tuple[int, PaletteUse]] = {}
        for use in uses:
            for value in sorted(use.pixels):
                colour = use.colours[value]
                other_value, other = of_colour.setdefault(colour, (value, use))
                if other_value != value and use.colour(other_value) != colour != other.colour(value):
                    text = f"{_hex(colour)} is {value} here and {other_value} in {min(other.files)}"
                    return f"the palettes are sorted differently: {text}", sorted(use.files)
                other = use if use.grey else of_value.setdefault(value, use)
                if other.colour(value) != colour:
                    text = f"{value} is {_hex(colour)} here and {_hex(other.colours[value])} in {min(other.files)}"
                    return f"the palettes differ: {text}", sorted(use.files)
        for use in uses:
            # Beyond the classes some palettes are filled up with black, so 255 may be black.
            value = of_colour.get(BLACK, (0, use))[0]
            if value not in (0, IGNORE) and use.colour(0) != BLACK and value in use.pixels:
                text = f"black is {value}, and 0, the background, is {_hex(use.colours[0])}"
                return f"the palette does not begin with the background: {text}", sorted(use.files)
        return None

    def _uses_apart(self) -> list[PaletteUse]:
        """Uses to compare: this program's palette and VOC's count as one where there are both."""
        own, voc = self._uses.get((OWN, False)), self._uses.get((VOC, False))
        return [use for use in self._uses.values() if voc is None or use is not own]


def _hex(colour: int) -> str:
    return f"#{colour:06x}"
