"""Projects of label.py: what is in their folders, and a person who labels."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from tests.support.program import Command, Program


def correct(files: list[Path], truth: Path) -> None:
    """Label as a person does in Labelme: the true shapes, everything else as it was."""
    for file in files:
        content = json.loads(file.read_text())
        content["shapes"] = json.loads((truth / file.name).read_text())["shapes"]
        file.write_text(json.dumps(content, indent=2))


def contents(folder: Path) -> dict[Path, str]:
    files = [file for file in folder.rglob("*") if file.is_file() and ".label" not in file.parts]
    return {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def trainings(program: Program) -> list[Path]:
    return [folder for folder in program.run_folders() if (folder / "split.json").is_file()]


def predictions(project: Path) -> list[Path]:
    return sorted((project / "to_label").glob("*.json"))


def happened(moment: Callable[[str], bool], command: Command) -> bool:
    return moment(command.output())
