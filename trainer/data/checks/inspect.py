"""The verdict on a dataset, for `prepare.py check` and before training alike: scan, then `inspect`, then the report."""

from dataclasses import dataclass, field

import numpy as np

from trainer import InputError
from trainer.data.checks.class_ids import check_values
from trainer.data.checks.finding import ERROR, WARNING, Finding, error_of, folder_error
from trainer.data.checks.scan import Faults
from trainer.data.checks.suggest import suggest_colours
from trainer.data.sample import LOSSY
from trainer.data.sources import Sources


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
    option = suggest_colours(faults.colours, names, lossy)
    advice = f", or say what the colours mean\n  {option}" if option else ""
    text = f"{faults.coloured[0]}{others}: colour pictures, not class ids. Save them as palette or grey PNGs{advice}"
    return Finding(ERROR, "value", text, tuple(faults.coloured))
