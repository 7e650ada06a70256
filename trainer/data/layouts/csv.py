"""A CSV list: columns image, mask and perhaps split; paths as in the list, relative ones to its folder."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

from trainer import InputError
from trainer.data.files import read_text
from trainer.data.layouts.base import PARTS, Found
from trainer.data.sample import Sample


def fits(root: Path) -> bool:
    """Whether it is a CSV file, or a folder with exactly one."""
    return len(_lists(root)) == 1


def find(root: Path, classes: Sequence[str] | None) -> Found:
    """One sample for each line. It is called by the image's path as in the list, without suffix."""
    files = _lists(root)
    if len(files) != 1:
        raise InputError(f"{root}: {len(files)} CSV files there; name the file itself as data.root")
    found = Found()
    lines: dict[Path, int] = {}
    names: dict[str, int] = {}
    left_out = 0
    for number, row in _rows(files[0]):
        where = f"{files[0]}, line {number}"
        image, mask, split = (row.get(key, "") for key in ("image", "mask", "split"))
        faults = [f"{where}: no {key}; write its path there" for key in ("image", "mask") if not row.get(key)]
        paths = [files[0].parent / text.replace("\\", "/") for text in (image, mask)]
        faults += [
            f"{where}: no such file, {path}; mend the path" for path in paths if not faults and not path.is_file()
        ]
        if split and split.lower() not in PARTS:
            faults.append(f"{where}: split {split!r}; write train, val or test, or nothing")
        if not faults:
            earlier = lines.setdefault(paths[0].resolve(), number)
            if earlier != number:
                faults.append(f"{where}: {image} is in line {earlier} already; keep one")
            elif names.setdefault(_name(image), number) != number:
                faults.append(f"{where}: {image} and line {names[_name(image)]} differ by suffix alone; rename one")
        role = PARTS.get(split.lower(), "")
        if faults:
            found.problems += faults
        elif role is None:
            left_out += 1
        else:
            found.samples.append(Sample(_name(image), str(paths[0]), str(paths[1])))
            found.parts |= {_name(image): role} if role else {}
    if left_out:
        found.notes.append(f"{files[0]}: {left_out} pictures of split test neither train nor validate; left out")
    if len(set(found.parts.values())) < 2 and len(found.parts) == len(found.samples):
        found.parts = {}  # nobody is left for the other part, so the list does not split
    return found


def _lists(root: Path) -> list[Path]:
    if root.is_dir():
        return sorted(path for path in root.iterdir() if path.suffix.lower() == ".csv" and path.name[0] != ".")
    return [root] if root.suffix.lower() == ".csv" else []


def _name(image: str) -> str:
    """Unique and the same on every machine: the path without its root, the ways up, and the suffix."""
    path = PurePath(image.replace("\\", "/"))
    parts = [part for part in path.with_suffix("").parts if part not in (path.anchor, "..")]
    return "/".join(parts)


def _rows(file: Path) -> list[tuple[int, Mapping[str, str]]]:
    """Line number and cells by column name. Commas, semicolons or tabs; Excel writes either, and a mark in front."""
    text = read_text(file)
    header = text.strip().partition("\n")[0]
    mark = max(",;\t", key=header.count)
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=mark, skipinitialspace=True, strict=True)
        reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
        missing = [name for name in ("image", "mask") if name not in reader.fieldnames]
        if missing:
            raise InputError(f"{file}: no column {' and no column '.join(missing)}; the first line must name image and "
                             "mask, and may name split")  # fmt: skip
        return [
            (reader.line_num, {key: value.strip() for key, value in row.items() if key and isinstance(value, str)})
            for row in reader
        ]
    except csv.Error as error:
        raise InputError(f"{file}: no CSV ({error}); save it again") from error
