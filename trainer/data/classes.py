"""The classes' names, and whether the masks agree with them."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from trainer import IGNORE, InputError
from trainer.data.files import read_lines
from trainer.data.sample import Sample
from trainer.data.suggest import suggest_values
from trainer.data.values import BACKGROUND, BACKGROUNDS, UNMAPPED, ValueMap


def named_classes(roots: Sequence[Path], configured: Sequence[str] | None) -> tuple[str, ...] | None:
    """Names of all K classes, the background's first, from data.classes or class_names.txt; None where neither is."""
    if configured is not None:
        names = [name for name in configured if name not in BACKGROUNDS]
        if not names or "ignore" in names:
            raise InputError(f"data.classes: {list(configured)} is not possible; name the foreground classes")
        return (BACKGROUND, *names)
    found: dict[tuple[str, ...], Path] = {}
    for root in roots:
        file = root / "class_names.txt"
        if file.is_file():
            names = [name for name in read_lines(file) if name not in (*BACKGROUNDS, "__ignore__")]
            if len(set(names)) < len(names) or not 0 < len(names) < UNMAPPED:
                raise InputError(f"{file}: needs different class names, one a line")
            found[(BACKGROUND, *names)] = file
    if len(found) > 1:
        raise InputError(f"{' and '.join(map(str, found.values()))}: different classes; make them the same")
    return next(iter(found), None)


def check_values(
    samples: Sequence[Sample], facts: np.ndarray, names: tuple[str, ...] | None, values: ValueMap
) -> tuple[tuple[str, ...], list[str]]:
    """The K class names that the masks agree with, and warnings.

    `facts` FACTS [N] of the samples. Raises InputError with the files, the values and the line to write where a value
    is no class.
    """
    counts = facts["counts"]
    total = counts.sum(axis=0, dtype=np.int64)
    found = [int(value) for value in np.flatnonzero(total) if value != IGNORE]
    if values.given and UNMAPPED in found:
        strange = _holders(samples, counts, [UNMAPPED])
        raise InputError(f"{strange}: values that data.value_map does not name; add them to it")
    if not values.given and facts["lossy"].any():
        first = samples[int(np.flatnonzero(facts["lossy"])[0])].mask
        raise InputError(
            f"{first} and {int(facts['lossy'].sum()) - 1} more: JPEG and WebP change the values of a mask. Save masks "
            f"as PNG; or, if this is what the values mean, add\n  {suggest_values(total, names, noisy=True)}"
        )
    if names is not None:
        return names, _check_named(samples, counts, total, found, names, values)
    return _made_names(samples, counts, total, found)


def _check_named(
    samples: Sequence[Sample],
    counts: np.ndarray,
    total: np.ndarray,
    found: list[int],
    names: tuple[str, ...],
    values: ValueMap,
) -> list[str]:
    """Warnings, where the values in the masks are the named classes' ids."""
    strange = [value for value in found if value >= len(names)]
    if strange or (_looks_scaled(total) and not values.given):
        strange = strange or [IGNORE]
        raise InputError(
            f"{_holders(samples, counts, strange)}: {_list(strange)} is no class; the classes are "
            f"{', '.join(f'{number} {name}' for number, name in enumerate(names))}. "
            f"If the masks mean something else, add\n  {suggest_values(total, names, _scattered(found))}"
        )
    missing = [name for number, name in enumerate(names) if number and number not in found]
    if len(missing) == len(names) - 1:
        raise InputError(f"data: no mask has a pixel of {', '.join(missing)}; label something in the pictures")
    return [f"no mask has a pixel of {', '.join(missing)}; nothing can be learnt of it"] if missing else []


def _made_names(
    samples: Sequence[Sample], counts: np.ndarray, total: np.ndarray, found: list[int]
) -> tuple[tuple[str, ...], list[str]]:
    """Names for ids without any, and the warning that says so."""
    if found == [0] or not found:
        if _looks_scaled(total):
            raise InputError(
                f"{_holders(samples, counts, [IGNORE])}: masks of 0 and 255 only. 255 means ignore here; if it is "
                f"your class, add\n  {suggest_values(total, None, noisy=False)}"
            )
        raise InputError("data: no mask has a labelled pixel; label something in the pictures")
    if found != list(range(len(found))):
        gap = [value for value in found if value >= len(found)]
        raise InputError(
            f"{_holders(samples, counts, gap)}: mask values {_list(found)} leave gaps, so they cannot be class ids as "
            f"they are. Repair the masks, or add\n  {suggest_values(total, None, _scattered(found))}"
        )
    made = (BACKGROUND, *(f"class_{value}" for value in found[1:]))
    return made, [
        f"the classes have no names; called {', '.join(made[1:])}. Name them with --data.classes or class_names.txt"
    ]


def _looks_scaled(total: np.ndarray) -> bool:
    """Whether the masks hold 0 and 255 and nothing else, as drawing programs and other tools write them."""
    return bool(total[IGNORE] and total[0] and total[1:IGNORE].sum() == 0)


def _scattered(found: list[int]) -> bool:
    """Whether there are so many values with neighbours that they are a few ones smeared by smooth edges."""
    return len(found) > 32


def _holders(samples: Sequence[Sample], counts: np.ndarray, values: Iterable[int]) -> str:
    """The masks that hold any of `values`: the first one by its path, the others counted."""
    pixels = counts[:, list(values)].sum(axis=1)
    holders = np.flatnonzero(pixels)
    first = samples[holders[0]].mask
    others = f" and {len(holders) - 1} more" if len(holders) > 1 else ""
    return f"{first} ({pixels[holders[0]]} pixels){others}"


def _list(values: Iterable[int]) -> str:
    known = list(values)
    return ", ".join(map(str, known[:12])) + (f" and {len(known) - 12} more" if len(known) > 12 else "")
