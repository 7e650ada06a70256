"""Predictions that a person takes for labels as they are."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from trainer import InputError
from trainer.data.files import is_image
from trainer.data.layouts.labelme import LABELS_FILE
from trainer.data.layouts.labelme_json import find_annotations, read_record
from trainer.data.layouts.labelme_predicted import FLAG, WAITING, state_of
from trainer.system.atomic import why_not_written, write_text


def accept(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Take the flag off predicted files; return those that were changed, and those that are not waiting predictions.

    `files`: JSON files, or folders that hold them. Nothing else in a file changes. Raises InputError where one is not a
    file of Labelme, before any is changed, and where one cannot be written.
    """
    records = {file: read_record(file, file.parent) for file in dict.fromkeys(_json_files(files))}
    waiting = [file for file, record in records.items() if state_of(record) == WAITING]
    for file in waiting:
        record = records[file]
        content = record | {"flags": {**record["flags"], FLAG: False}}
        try:
            write_text(file, json.dumps(content, indent=1))
        except OSError as error:
            raise InputError(f"{why_not_written(file, error)}; allow it") from error
    return waiting, [file for file in records if file not in waiting]


def _json_files(given: Sequence[Path]) -> Iterator[Path]:
    """JSON files among those given and in folders, without the pictures and the labels that `FOLDER/*` names too.

    Raises InputError where another file is given, or labels or pictures alone.
    """
    pictures = {path.parent for path in given if is_image(path.name)}
    passed_over = pictures & {path.parent for path in given if _is_json(path)}
    for path in given:
        if path.is_dir():
            yield from find_annotations(path, deep=True)
        elif _is_json(path):
            yield path
        elif path.parent not in passed_over or not (is_image(path.name) or path.name == LABELS_FILE):
            raise InputError(f"{path}: not a JSON file; give the JSON files that Labelme saves, or their folder")


def _is_json(path: Path) -> bool:
    return path.suffix.lower() == ".json" and not path.is_dir()
