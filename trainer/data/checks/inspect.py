"""The verdict on a dataset, for `prepare.py check` and before training alike: scan, then `inspect`, then the report."""

from dataclasses import dataclass, field

import numpy as np

from trainer import InputError
from trainer.data.checks.class_ids import check_values
from trainer.data.checks.finding import ERROR, MOST_FILES, WARNING, Finding, error_of, folder_error
from trainer.data.checks.scan import Faults
from trainer.data.checks.suggest import suggest_colours, suggest_values, suggest_wide
from trainer.data.sample import LOSSY
from trainer.data.sources import Sources

MOST_VALUES = 12
"""Values of masks that an error lists."""


@dataclass(frozen=True)
class Inspection:
    """Errors that keep a dataset from being used; without any, its class names."""

    names: tuple[str, ...] | None
    """K class names, the background's first; None where errors keep them from being known."""

    errors: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)
    """Warnings about folders and classes; those about single samples are in the report."""


def inspect(sources: Sources, facts: np.ndarray, faults: Faults | None = None) -> Inspection:
    """Judge what `scan` found: `facts` FACTS [N] and `faults`, None where every file could be read."""
    errors = [folder_error(problem) for problem in sources.problems]
    if faults is not None:
        errors += faults.problems
        if faults.coloured:
            errors.append(_colour_error(faults, sources.names))
        if faults.valued:
            errors.append(_values_error(faults, _total(facts), sources.names))
        disagreement = faults.palettes.disagreement()
        if disagreement:
            errors.append(_palette_error(*disagreement, faults, _total(facts), sources.names))
    names, notes = sources.names, list(sources.notes)
    sound = sound_rows(facts)
    # Without named classes, those missing here may be in the masks that could not be read.
    if not errors or (len(sound) and (sources.names is not None or sources.values.given)):
        samples = sources.samples if len(sound) == len(facts) else [sources.samples[row] for row in sound]
        try:
            checked = check_values(samples, facts if len(sound) == len(facts) else facts[sound], names, sources.values)
            if not errors:
                names, notes = checked[0], notes + checked[1]
        except InputError as error:
            errors += error_of(error, "value")
    return Inspection(names, errors, [Finding(WARNING, "note", note) for note in notes])


def sound_rows(facts: np.ndarray) -> np.ndarray:
    """Rows, int64, of the samples that could be read; `facts` FACTS [N]."""
    return np.flatnonzero(facts["size"][:, 0])


def _colour_error(faults: Faults, names: tuple[str, ...] | None) -> Finding:
    others = f" and {len(faults.coloured) - 1} more" if len(faults.coloured) > 1 else ""
    lossy = any(file.lower().endswith(LOSSY) for file in faults.coloured)
    option = suggest_colours(faults.colours + faults.palettes.colours, names, lossy)
    advice = f", or say what the colours mean\n  {option}" if option else ""
    text = f"{faults.coloured[0]}{others}: colour pictures, not class ids. Save them as palette or grey PNGs{advice}"
    return Finding(ERROR, "value", text, tuple(faults.coloured))


def _values_error(faults: Faults, total: np.ndarray, names: tuple[str, ...] | None) -> Finding:
    others = f" and {len(faults.valued) - 1} more" if len(faults.valued) > 1 else ""
    found = sorted((value for value in faults.values if value is not None), key=float)
    shown = [f"{value:g}" for value in found[:MOST_VALUES]] + (["NaN"] if None in faults.values else [])
    more = f" and {len(found) - MOST_VALUES} more" if len(found) > MOST_VALUES else ""
    values = faults.values.copy()
    values.update({value: int(total[value]) for value in np.flatnonzero(total).tolist()})
    option = suggest_wide(values, names)
    advice = f", or say what the values mean\n  {option}" if option else ""
    text = f"mask values {', '.join(shown)}{more}; class ids are whole, 0 to 255. Repair the masks{advice}"
    return Finding(ERROR, "value", f"{faults.valued[0]}{others}: {text}", tuple(faults.valued[:MOST_FILES]))


def _palette_error(
    text: str, files: list[str], faults: Faults, total: np.ndarray, names: tuple[str, ...] | None
) -> Finding:
    others = f" and {len(files) - 1} more" if len(files) > 1 else ""
    by_colour = suggest_colours(faults.palettes.colours, names)
    by_value = suggest_values(total, names, noisy=False)
    advice = f". Say what the colours mean\n  {by_colour}" if by_colour else ""
    advice += f"\nor, if the values are right whatever their colour\n  {by_value}" if by_colour and by_value else ""
    return Finding(ERROR, "value", f"{files[0]}{others}: {text}{advice}", tuple(files[:MOST_FILES]))


def _total(facts: np.ndarray) -> np.ndarray:
    """Pixels of each value over all masks, int64 [256]."""
    total: np.ndarray = facts["counts"].sum(axis=0, dtype=np.int64)
    return total
