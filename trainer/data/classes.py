"""What the values in mask files mean: names, numbers, and whether the masks agree."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from trainer import IGNORE, InputError
from trainer.data.files import read_lines

BACKGROUND = "_background_"
UNMAPPED = 254
"""What a value becomes that data.value_map leaves out; no class has it, so the check reports it."""


def named_classes(roots: Sequence[Path], configured: Sequence[str] | None) -> tuple[str, ...] | None:
    """Names of all K classes, the background's first, from data.classes or class_names.txt; None where neither is."""
    if configured is not None:
        names = [name for name in configured if name not in (BACKGROUND, "background")]
        if not names or "ignore" in names:
            raise InputError(f"data.classes: {list(configured)} is not possible; name the foreground classes")
        return (BACKGROUND, *names)
    found: dict[tuple[str, ...], Path] = {}
    for root in roots:
        file = root / "class_names.txt"
        if file.is_file():
            names = [name for name in read_lines(file) if name not in (BACKGROUND, "background", "__ignore__")]
            if len(set(names)) < len(names) or not 0 < len(names) < UNMAPPED:
                raise InputError(f"{file}: needs different class names, one a line")
            found[(BACKGROUND, *names)] = file
    if len(found) > 1:
        raise InputError(f"{' and '.join(map(str, found.values()))}: different classes; make them the same")
    return next(iter(found), None)


def value_table(
    value_map: dict[int, str] | None, names: tuple[str, ...] | None
) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """What each mask value becomes, uint8 [256], and the class names, extended by those that the map brings.

    Values that the map leaves out become 254, which no class can have, so that the check reports them.
    """
    if not value_map:
        return np.arange(256, dtype=np.uint8), names
    foreground = [name for name in value_map.values() if name not in (BACKGROUND, "background", "ignore")]
    known = names or (BACKGROUND, *dict.fromkeys(foreground))
    if len(known) < 2:
        raise InputError("data.value_map: no value stands for a class; name at least one")
    strange = sorted(set(foreground) - set(known))
    if strange:
        raise InputError(f"data.value_map: {', '.join(strange)} is no class; the classes are {', '.join(known[1:])}")
    ids = {name: number for number, name in enumerate(known)} | {"background": 0, "ignore": IGNORE}
    table = np.full(256, UNMAPPED, dtype=np.uint8)
    for value, name in value_map.items():
        table[value] = ids[name]
    return table, known


def check_values(
    masks: Sequence[Path], counts: np.ndarray, names: tuple[str, ...] | None, mapped: bool
) -> tuple[tuple[str, ...], list[str]]:
    """The class names that the masks agree with, and warnings.

    `counts` int64 [masks, 256]: pixels of each mask value; `mapped`: whether data.value_map was applied. Raises
    InputError with the files, the values and the line to write where a value is no class.
    """
    found = [int(value) for value in np.flatnonzero(counts.sum(axis=0)) if value != IGNORE]
    if mapped and UNMAPPED in found:
        strange = _holders(masks, counts, [UNMAPPED])
        raise InputError(f"{strange}: values that data.value_map does not name; add them to it")
    if names is not None:
        strange_values = [value for value in found if value >= len(names)]
        if strange_values or (_looks_scaled(counts) and not mapped):
            values = strange_values or [IGNORE]
            raise InputError(
                f"{_holders(masks, counts, values)}: {_list(values)} is no class; the classes are "
                f"{', '.join(f'{number} {name}' for number, name in enumerate(names))}. "
                f"If the masks mean something else, add\n  {_suggest(counts, names)}"
            )
        missing = [name for number, name in enumerate(names) if number and number not in found]
        if len(missing) == len(names) - 1:
            raise InputError(f"data: no mask has a pixel of {', '.join(missing)}; label something in the pictures")
        return names, [f"no mask has a pixel of {', '.join(missing)}; nothing can be learnt of it"] if missing else []
    if found == [0] or not found:
        if _looks_scaled(counts):
            raise InputError(
                f"{_holders(masks, counts, [IGNORE])}: masks of 0 and 255 only. 255 means ignore here; if it is "
                f"your class, add\n  {_suggest(counts, None)}"
            )
        raise InputError("data: no mask has a labelled pixel; label something in the pictures")
    if found != list(range(len(found))):
        gap = [value for value in found if value >= len(found)]
        raise InputError(
            f"{_holders(masks, counts, gap)}: mask values {_list(found)} leave gaps, so they cannot be class ids as "
            f"they are. Repair the masks, or add\n  {_suggest(counts, None)}"
        )
    made = (BACKGROUND, *(f"class_{value}" for value in found[1:]))
    return made, [
        f"the classes have no names; called {', '.join(made[1:])}. Name them with --data.classes or class_names.txt"
    ]


def _looks_scaled(counts: np.ndarray) -> bool:
    """Whether the masks hold 0 and 255 and nothing else, as drawing programs and other tools write them."""
    total = counts.sum(axis=0)
    return bool(total[IGNORE] and total[0] and total[1:IGNORE].sum() == 0)


def _suggest(counts: np.ndarray, names: tuple[str, ...] | None) -> str:
    """The option to paste: each value found with a class, the unknown ones with a class left over or a placeholder."""
    found = [int(value) for value in np.flatnonzero(counts.sum(axis=0))]
    scaled = _looks_scaled(counts)
    free = [name for number, name in enumerate(names) if number and number not in found] if names else []
    made = (f"class_{number}" for number in range(1, 256))
    parts = []
    for value in found:
        if value == 0:
            parts.append("0: background")
        elif value == IGNORE and not scaled:
            parts.append("255: ignore")
        elif names and value < len(names):
            parts.append(f"{value}: {names[value]}")
        else:
            parts.append(f"{value}: {free.pop(0) if free else 'ignore' if names else next(made)}")
    return f'--data.value_map "{{{", ".join(parts)}}}"'


def _holders(masks: Sequence[Path], counts: np.ndarray, values: Iterable[int]) -> str:
    """The masks that hold any of `values`: the first one by its path, the others counted."""
    pixels = counts[:, list(values)].sum(axis=1)
    holders = np.flatnonzero(pixels)
    first = masks[holders[0]]
    others = f" and {len(holders) - 1} more" if len(holders) > 1 else ""
    return f"{first} ({pixels[holders[0]]} pixels){others}"


def _list(values: Iterable[int]) -> str:
    return ", ".join(map(str, values))
