"""A CSV list with the columns image, mask and optionally split; relative paths start from the list's folder."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

from trainer import InputError
from trainer.data.files import read_text
from trainer.data.layouts.base import PARTS, UNPAIRED, Found, left_part
from trainer.data.sample import Sample
from trainer.data.witness import images_near
from trainer.system.text import count_of, existing_path

PARTS_BY = "the column split"


def fits(root: Path) -> bool:
    """Return True for a CSV file, and for a folder with exactly one whose first line has `image` and `mask`."""
    files = _csv_files(root)
    return len(files) == 1 and (files[0] == root or _names_columns(files[0]))


def _names_columns(file: Path) -> bool:
    """Return True for a list of pairs: other tools put lists with a column `image` beside their pictures."""
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        first = stream.readline(10_000).removeprefix(b"\xef\xbb\xbf").lower()
    return {b"image", b"mask"} <= set(re.split(rb"[,;\t\"\s]+", first))


def find(root: Path, classes: Sequence[str] | None) -> Found:
    """Make one sample of each line, named by the image's path as in the list, without suffix.

    Raises InputError where there is not exactly one list, or it has no columns image and mask.
    """
    files = _csv_files(root)
    if len(files) != 1:
        raise InputError(f"{root}: {len(files)} CSV files there; name the file itself as data.root")
    (file,) = files
    found = Found()
    lines: dict[Path, int] = {}  # image file -> line
    names: dict[str, int] = {}  # sample name -> line
    left_out = 0
    for line, row in _read_rows(file):
        image, mask, split = (row.get(column, "") for column in ("image", "mask", "split"))
        paths = [existing_path(file.parent / text.replace("\\", "/")) for text in (image, mask)]
        faults = _row_faults(row, paths)
        if not faults:
            name = _sample_name(image)
            earlier = lines.setdefault(paths[0].resolve(), line)
            if earlier != line:
                faults.append(f"{image} is in line {earlier} already; keep one")
            elif names.setdefault(name, line) != line:
                faults.append(f"{image} and line {names[name]} differ by suffix alone; rename one")
        role = PARTS.get(split.lower(), "")
        if faults:
            found.problems += [f"{file}, line {line}: {fault}" for fault in faults]
            found.leave_out(UNPAIRED, *(path for path in paths if path != file.parent))
        elif role is None:
            found.leave_out(left_part(split), *paths)
            left_out += 1
        else:
            found.samples.append(Sample(name, str(paths[0]), str(paths[1])))
            found.parts |= {name: role} if role else {}
    found.records.append(file)
    if left_out:
        found.notes.append(f"{file}: {count_of(left_out, 'picture')} of split test; left out")
    if len(set(found.parts.values())) < 2 and len(found.parts) == len(found.samples):
        found.parts = {}  # no sample remains for the other part, so the list does not split
    return found


def _csv_files(root: Path) -> list[Path]:
    if root.is_dir():
        return sorted(path for path in root.iterdir() if path.suffix.lower() == ".csv" and path.name[0] != ".")
    return [root] if root.suffix.lower() == ".csv" else []


def _row_faults(row: Mapping[str, str], paths: Sequence[Path]) -> list[str]:
    """Faults of one row by itself: missing cells, missing files, an unknown split."""
    faults = [f"no {column}; write its path there" for column in ("image", "mask") if not row.get(column)]
    faults = faults or [f"no such file, {path}; fix the path" for path in paths if not path.is_file()]
    split = row.get("split", "")
    if split and split.lower() not in PARTS:
        faults.append(f"split {split!r}; write train, val or test, or nothing")
    return faults


def _sample_name(image: str) -> str:
    """Path without its root, its `..` and its suffix: unique, and the same on every machine."""
    path = PurePath(image.replace("\\", "/"))
    parts = [part for part in path.with_suffix("").parts if part not in (path.anchor, "..")]
    return "/".join(parts)


def _read_rows(file: Path) -> list[tuple[int, Mapping[str, str]]]:
    """Line number and cells by column name, of each row. Commas, semicolons and tabs separate cells, as in Excel."""
    text = read_text(file, images_near(file))
    header = text.strip().partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
        reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
        missing = [name for name in ("image", "mask") if name not in reader.fieldnames]
        if missing:
            raise InputError(
                f"{file}: no column {' and no column '.join(missing)}; the first line must name image and "
                "mask, and may name split"
            )
        return [
            (reader.line_num, {key: value.strip() for key, value in row.items() if key and isinstance(value, str)})
            for row in reader
        ]
    except csv.Error as error:
        raise InputError(f"{file}: not valid CSV ({error}); save it again") from error
