"""Choice of the number of bands that the network sees, from what the headers of the image files say."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from trainer import InputError
from trainer.config import MOST_CHANNELS, DataConfig
from trainer.data.image_header import bands_of_file
from trainer.data.sample import Sample

COLOURS = 3
"""Bands of a picture: red, green and blue."""


def choose_channels(config: DataConfig, samples: Sequence[Sample]) -> tuple[DataConfig, str]:
    """Resolve data.channels; return the settings and the reason, empty for pictures and where a setting names it.

    Files with another number of bands than most are reported where all are read.
    """
    if config.channels != "auto":
        return config, ""
    # Most data are pictures, which the first file tells. A million headers take minutes.
    if not samples or _bands(samples[0]) is None:
        return replace(config, channels=COLOURS), ""
    counted = Counter(bands for sample in samples if (bands := _bands(sample)) is not None)
    (channels, number), *_ = counted.most_common()
    channels = min(channels, MOST_CHANNELS)
    if channels == COLOURS or number < len(samples) / 2:
        return replace(config, channels=COLOURS), ""
    files = "all pictures are TIFFs" if number == len(samples) else f"{number} of {len(samples)} pictures are TIFFs"
    return replace(config, channels=channels), f"data.channels {channels}: {files} of so many bands"


def _bands(sample: Sample) -> int | None:
    with suppress(InputError, OSError):  # reported where it is read
        return bands_of_file(sample.image)
    return None
