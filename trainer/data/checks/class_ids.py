"""The classes' names, and whether the masks agree with them."""

from collections.abc import Iterable, Sequence

import numpy as np

from trainer import IGNORE, InputError
from trainer.data.checks.finding import WrongFiles
from trainer.data.checks.suggest import EXACT, suggest_values
from trainer.data.sample import Sample
from trainer.data.value_map import BACKGROUND, UNMAPPED, ValueMap


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
        raise _refusal(samples, counts, [UNMAPPED], "values that data.value_map does not name; add them to it")
    if not values.given and facts["lossy"].any():
        option = _or_add("; or, if this is what the values mean, add", suggest_values(total, names, noisy=True))
        text = f"JPEG and WebP change the values of a mask. Save masks as PNG{option}"
        raise _refusal(samples, counts, range(256), text, facts["lossy"])
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
        raise _refusal(
            samples, counts, strange, f"{_list(strange)} is no class; the classes are "
            f"{', '.join(f'{number} {name}' for number, name in enumerate(names))}. "
            f"Repair the masks{_or_add(', or add', suggest_values(total, names, _scattered(found)))}"
        )  # fmt: skip
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
            option = _or_add(", add", suggest_values(total, None, noisy=False))
            text = f"masks of 0 and 255 only. 255 means ignore here; if it is your class{option}"
            raise _refusal(samples, counts, [IGNORE], text)
        raise InputError("data: no mask has a labelled pixel; label something in the pictures")
    if found != list(range(len(found))):
        gap = [value for value in found if value >= len(found)]
        raise _refusal(
            samples, counts, gap, f"mask values {_list(found)} leave gaps, so they cannot be class ids as they are. "
            f"Repair the masks{_or_add(', or add', suggest_values(total, None, _scattered(found)))}"
        )  # fmt: skip
    made = (BACKGROUND, *(f"class_{value}" for value in found[1:]))
    return made, [
        f"the classes have no names; called {', '.join(made[1:])}. Name them with --data.classes or class_names.txt"
    ]


def _or_add(words: str, option: str | None) -> str:
    """The end of a message: an option to paste, where there is one."""
    return f"{words}\n  {option}" if option else ""


def _looks_scaled(total: np.ndarray) -> bool:
    """Whether the masks hold 0 and 255 and nothing else, as drawing programs and other tools write them."""
    return bool(total[IGNORE] and total[0] and total[1:IGNORE].sum() == 0)


def _scattered(found: list[int]) -> bool:
    """Whether there are so many values with neighbours that they are a few ones smeared by smooth edges."""
    return len(found) > EXACT


def _refusal(
    samples: Sequence[Sample], counts: np.ndarray, values: Iterable[int], text: str, among: np.ndarray | None = None
) -> WrongFiles:
    """The error of the masks that hold any of `values`: the first one by its path and pixels, the others counted.

    `among` bool [N]: only these.
    """
    pixels = counts[:, list(values)].sum(axis=1, dtype=np.int64)
    holders = np.flatnonzero(pixels if among is None else pixels * among).tolist()
    first = f"{samples[holders[0]].mask} ({pixels[holders[0]]} pixels)"
    others = f" and {len(holders) - 1} more" if len(holders) > 1 else ""
    return WrongFiles(f"{first}{others}: {text}", "value", [samples[holder].mask for holder in holders])


def _list(values: Iterable[int]) -> str:
    known = list(values)
    return ", ".join(map(str, known[:12])) + (f" and {len(known) - 12} more" if len(known) > 12 else "")
