"""Choice of the way in which the network is shown images, from what a squeeze would take from the masks."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from trainer.config import DataConfig
from trainer.data.checks.squeeze import THIN, Squeeze, measure, width_of_most
from trainer.data.sources import Sources
from trainer.data.view import THOUSANDTHS
from trainer.system.parallel import Progress

TILES_BELOW = 0.85
"""Mean IoU of masks resized there and back below which images are shown in tiles (.github/RESULTS.md)."""

LONG = 1.5
"""Longer side over the shorter one above which images are filled up instead of squeezed."""

LEAST_WIDTH = 3
"""Width in pixels that the thinnest labelled things keep."""


def choose_view(config: DataConfig, sources: Sources, folder: Path, progress: Progress) -> tuple[DataConfig, list[str]]:
    """Resolve data.view, data.scale and data.keep_aspect; return the settings and the reasons for people.

    Measurements are stored in `folder`. Files that cannot be read say nothing here.
    """
    if not sources.samples or sources.problems:  # the errors are raised where all is read
        return _resolved(config, tiles=config.view == "tiles"), []
    if config.view == "whole" and config.keep_aspect != "auto":
        return _resolved(config, tiles=False), []
    if config.view == "tiles" and config.scale != "auto":
        return _resolved(config, tiles=True), []
    reasons = list[str]()
    found = measure(sources.samples, sources.values, config.image_size, folder, progress)
    tiles = config.view == "tiles"
    if config.view == "auto":
        tiles = found.ceiling < TILES_BELOW
        reasons.append(f"data.view {'tiles' if tiles else 'whole'}: {ceiling_text(found, config.image_size)}")
    if tiles and config.scale == "auto":
        scale, reason = choose_scale(width_of_most(sources.samples, sources.values, progress))
        config = replace(config, scale=scale)
        reasons.append(reason)
    if not tiles and config.keep_aspect == "auto":
        config = replace(config, keep_aspect=found.ratio > LONG)
        if config.keep_aspect:
            reasons.append(f"data.keep_aspect true: pictures are {found.ratio:.1f} times as long as wide")
    return _resolved(config, tiles), reasons


def _resolved(config: DataConfig, tiles: bool) -> DataConfig:
    """Settings without auto: what the chosen view has no use for is as if it were not there."""
    if tiles:
        return replace(config, view="tiles", scale=1.0 if config.scale == "auto" else config.scale, keep_aspect=False)
    return replace(config, view="whole", scale=1.0, keep_aspect=config.keep_aspect is True)


def choose_scale(width: float) -> tuple[float, str]:
    """Scale at which things of this width, in pixels, keep LEAST_WIDTH; and the reason."""
    scale = min(1.0, max(10 / THOUSANDTHS, round(THOUSANDTHS * LEAST_WIDTH / width) / THOUSANDTHS if width else 1.0))
    # Halving is the least that is worth resampling for.
    scale = scale if scale <= 0.5 else 1.0
    return scale, f"data.scale {scale:g}: the thinnest things are about {width:g} pixels wide"


def ceiling_text(found: Squeeze, size: int) -> str:
    """Sentence on what a squeeze to `size` pixels leaves."""
    text = f"of masks resized to {size} pixels and back, IoU {found.ceiling:.3f} is left"
    thin = max(found.thin.values(), default=0.0)
    if thin >= 0.1:
        text += f", and {thin:.0%} of the labelled pixels are in things that become thinner than {THIN:g} pixels"
    return f"{text} ({found.measured} pictures measured)"


def squeeze_warnings(found: Squeeze, size: int, names: Sequence[str]) -> Mapping[str, str]:
    """Class name -> warning, for each class that a squeeze would take much of."""
    return {
        name: (
            f"{name}: {found.thin[number]:.0%} of its pixels are in things that become thinner than {THIN:g} pixels "
            f"where pictures are resized to {size}; IoU {found.iou[number]:.2f} is the most that can be reached. "
            "Give --data.view tiles, or a larger --data.image_size"
        )
        for number, name in enumerate(names)
        if found.iou.get(number, 1.0) < TILES_BELOW
    }
