"""Comparison of the best trial of a sweep with its first one, whose settings are those that a person began with."""

from trainer import InputError
from trainer.model.ranking import rank
from trainer.model.score_table import ScoreTable, read_table
from trainer.search.sweep_folder import Part, SweepFolder

FIRST = 0
"""Number of the trial that has the settings of the sweep, as far as the space has them."""


def compare_with_first(folder: SweepFolder, best: int, trials: int, folds: int) -> str:
    """Say whether the best of so many trials differs from the first by more than chance explains.

    Empty where it is the first, or where the counts of one of them are not on this machine.
    """
    if best == FIRST:
        return ""
    try:
        first, other = (_table(folder, number, folds) for number in (FIRST, best))
        (pair,) = rank({f"trial {FIRST} (the settings it began with)": first, f"trial {best}": other}).pairs
    except InputError:
        return ""
    luck = f"; chosen as the best of {trials} on these images, which flatters it" if trials > 2 else ""
    return pair.sentence() + luck


def _table(folder: SweepFolder, trial: int, folds: int) -> ScoreTable:
    """Counts of a trial on its validation images; of several folds, on those of all. Raises InputError without them."""
    tables = []
    for part in [Part(trial, fold) for fold in range(folds)] if folds > 1 else [Part(trial)]:
        run = folder.run_of(part)
        if run is None:
            raise InputError(f"{part.name} has no run folder")
        tables.append(read_table(run.scores))
    return ScoreTable(tables[0].class_names, tuple(image for one in tables for image in one.images), tables[0].model)
