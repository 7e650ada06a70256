"""Check of the values in masks against the class names."""

from collections.abc import Iterable, Sequence

import numpy as np

from trainer import IGNORE, InputError
from trainer.data.checks.finding import WrongFiles
from trainer.data.checks.suggest import EXACT, suggest_values
from trainer.data.class_names import default_names
from trainer.data.sample import Sample
from trainer.data.value_map import UNMAPPED, ValueMap
from trainer.system.text import one_line


def check_values(
    samples: Sequence[Sample], facts: np.ndarray, names: tuple[str, ...] | None, values: ValueMap
) -> tuple[tuple[str, ...], list[str]]:
    """Check that all mask values are class ids; return the K class names, made up if there are none, and warnings.

    `facts`: FACTS [N] of the samples. Raises InputError with the files, the values and the option to add if a value is
    no class.
    """
    counts = facts["counts"]
    total = counts.sum(axis=0, dtype=np.int64)
    found = [int(value) for value in np.flatnonzero(total) if value != IGNORE]
    if values.given and UNMAPPED in found:
        raise _value_error(samples, counts, [UNMAPPED], "values that data.value_map does not name; add them to it")
    if not values.given and facts["lossy"].any():
        option = _or_add("; or, if this is what the values mean, add", suggest_values(total, names, noisy=True))
        text = f"JPEG and WebP change the values of a mask. Save masks as PNG{option}"
        raise _value_error(samples, counts, range(256), text, facts["lossy"])
    if samples and samples[0].drawn and found in ([], [0]):  # there are no stored values that could mean something else
        ignored = f"; {total[IGNORE]:,} pixels are marked to be ignored" if total[IGNORE] else ""
        raise InputError(f"data: no mask has a pixel of a class{ignored}. Label something in the pictures")
    if names is not None:
        return names, _check_named(samples, counts, total, found, names, values)
    return _make_names(samples, counts, total, found)


def _check_named(
    samples: Sequence[Sample],
    counts: np.ndarray,
    total: np.ndarray,
    found: list[int],
    names: tuple[str, ...],
    values: ValueMap,
) -> list[str]:
    """Check that the values are ids of the named classes; return warnings about classes without pixels."""
    invalid = [value for value in found if value >= len(names)]
    drawn = all(sample.drawn for sample in samples)  # no option gives the values in them another meaning
    if invalid or (_looks_scaled(total) and not values.given and not drawn):
        invalid = invalid or [IGNORE]
        classes = ", ".join(f"{class_id} {name}" for class_id, name in enumerate(names))
        option = _or_add(", or add", suggest_values(total, names, _scattered(found)))
        wrong = "is not a class" if len(invalid) == 1 else "are not classes"
        text = f"{_list(invalid)} {wrong}; the classes are {classes}. Repair the masks{option}"
        raise _value_error(samples, counts, invalid, text)
    missing = [name for class_id, name in enumerate(names) if class_id and class_id not in found]
    if len(missing) == len(names) - 1:
        raise InputError(f"data: no mask has a pixel of {', '.join(missing)}; label something in the pictures")
    return [f"no mask has a pixel of {', '.join(missing)}; nothing can be learnt about it"] if missing else []


def _make_names(
    samples: Sequence[Sample], counts: np.ndarray, total: np.ndarray, found: list[int]
) -> tuple[tuple[str, ...], list[str]]:
    """Make up names for class ids without any; return them and a warning."""
    if found == [0] or not found:
        if _looks_scaled(total) and not all(sample.drawn for sample in samples):
            option = _or_add(", add", suggest_values(total, None, noisy=False))
            text = f"masks of 0 and 255 only. 255 means ignore here; if it is your class{option}"
            raise _value_error(samples, counts, [IGNORE], text)
        ignored = "; all that is marked is ignored, as crowds and __ignore__ are" if total[IGNORE] else ""
        raise InputError(f"data: no mask has a labelled pixel{ignored}; label something in the pictures")
    if found != list(range(len(found))):
        beyond_gap = [value for value in found if value >= len(found)]
        option = _or_add(", or add", suggest_values(total, None, _scattered(found)))
        text = (
            f"mask values {_list(found)} leave gaps, so they cannot be class ids as they are. Repair the masks{option}"
        )
        raise _value_error(samples, counts, beyond_gap, text)
    names = default_names(found)
    warning = (
        f"the classes have no names; called {', '.join(names[1:])}. Name them with --data.classes or class_names.txt"
    )
    return names, [warning]


def _or_add(words: str, option: str | None) -> str:
    """End of a message: an option to paste, or nothing for None."""
    return f"{words}\n  {option}" if option else ""


def _looks_scaled(total: np.ndarray) -> bool:
    """Return True if the masks hold 0 and 255 and nothing else, as drawing programs and other tools write them."""
    return bool(total[IGNORE] and total[0] and total[1:IGNORE].sum() == 0)


def _scattered(found: list[int]) -> bool:
    """Return True for so many values that most must come from smooth edges."""
    return len(found) > EXACT


def _value_error(
    samples: Sequence[Sample], counts: np.ndarray, values: Iterable[int], text: str, among: np.ndarray | None = None
) -> WrongFiles:
    """Error about the masks that hold any of `values`: names the first one and its pixels, and counts the others.

    `among` bool [N]: masks that may be named, by default all.
    """
    pixels = counts[:, list(values)].sum(axis=1, dtype=np.int64)
    rows = np.flatnonzero(pixels if among is None else pixels * among).tolist()
    first = f"{one_line(samples[rows[0]].mask)} ({pixels[rows[0]]} pixels)"
    others = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
    return WrongFiles(f"{first}{others}: {text}", "value", [samples[row].mask for row in rows])


def _list(values: Sequence[int]) -> str:
    """Text of the first 12 values, and the number of the others."""
    return ", ".join(map(str, values[:12])) + (f" and {len(values) - 12} more" if len(values) > 12 else "")
