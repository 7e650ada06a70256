"""Predictions that a person takes for labels as they are."""

import json
from collections.abc import Sequence
from pathlib import Path

from trainer import InputError
from trainer.data.layouts.labelme_json import read_record
from trainer.data.layouts.labelme_predicted import FLAG, WAITING, state_of
from trainer.system.atomic import why_not_written, write_text


def accept(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Take the flag off predicted files; return those that were changed, and those that are not waiting predictions.

    Nothing else in a file changes. Raises InputError where one is not a file of Labelme, before any is changed, and
    where one cannot be written.
    """
    records = {file: read_record(file, file.parent) for file in dict.fromkeys(files)}
    waiting = [file for file, record in records.items() if state_of(record) == WAITING]
    for file in waiting:
        record = records[file]
        content = record | {"flags": {**record["flags"], FLAG: False}}
        try:
            write_text(file, json.dumps(content, indent=1))
        except OSError as error:
            raise InputError(f"{why_not_written(file, error)}; allow it") from error
    return waiting, [file for file in records if file not in waiting]
