"""Choice of the way in which the network is shown images, from what a squeeze would take from the masks."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

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
        scale, reason = choose_scale(width_of_most(sources.samples, sources.values, progress, folder))
        config = replace(config, scale=scale)
        reasons.append(reason)
    if not tiles:
        reasons += [f"warning: {text}" for text in squeeze_warnings(found, config.image_size, sources.names)]
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


def squeeze_warnings(found: Squeeze, size: int, names: Sequence[str] | None) -> list[str]:
    """Warnings about the classes that a squeeze would take much of; `names` of all K, the background's first."""
    chosen = "data.view auto chooses tiles here" if found.ceiling < TILES_BELOW else "give --data.view tiles"
    return [
        f"{_name(number, names)}: {found.thin[number]:.0%} of its pixels are in things that become thinner than "
        f"{THIN:g} pixels where pictures are resized to {size}, and IoU {iou:.2f} is the most that can be reached; "
        f"{chosen}, or give a larger --data.image_size"
        for number, iou in found.iou.items()
        if iou < TILES_BELOW
    ]


def squeeze_summary(found: Squeeze, size: int, names: Sequence[str] | None) -> dict[str, Any]:
    """Measurements for the report on a dataset."""
    by_class = {
        key: {_name(number, names): round(value, 4) for number, value in getattr(found, key).items()}
        for key in ("iou", "thin")
    }
    view = "tiles" if found.ceiling < TILES_BELOW else "whole"
    return {"image_size": size, "pictures": found.measured, "miou": round(found.ceiling, 4), **by_class, "view": view}


def _name(number: int, names: Sequence[str] | None) -> str:
    return names[number] if names and number < len(names) else f"class_{number}"
