"""Which run goes on, from which checkpoint, and the lock that keeps a run folder to one trainer."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from trainer import InputError
from trainer.config import Config, dotted, flatten
from trainer.engine.checkpoint.folder import CheckpointFolder
from trainer.engine.checkpoint.format import Checkpoint, load_checkpoint
from trainer.system.run_folder import RunFolder, run_folder_of, run_folders

FREE = (
    *("resume", "data.root", "data.classes", "data.value_map", "data.val_fraction", "data.fold"),
    *("data.generated_images", "data.workers", "train.threads", "train.micro_batch_size", "train.compile"),
    "train.checkpoint_minutes",
)
"""Settings that may change when a run goes on, beside tracking.* and registry.*; the contents of the data may not."""

INEXACT = ("train.micro_batch_size", "train.compile")
"""Of these, the ones that change the last bits of the numbers."""


@dataclass
class Start:
    """What the main process tells the others before the first step."""

    folder: RunFolder | None = None
    """The run that goes on; None for a new one."""

    checkpoint: Checkpoint | None = None
    finished: bool = False
    warnings: list[str] = field(default_factory=list)
    error: InputError | None = None


def find(config: Config, work: Path, data: dict[str, Any], launched_by: str) -> Start:
    """The run in `work` that `config.resume` means, with data whose content is `data`; its folder is locked.

    `launched_by` stands for a launcher that restarts its processes: the run it began goes on whatever `resume` says.
    Raises InputError where a folder that was named cannot go on.
    """
    folders = run_folders(work)[::-1]
    own = next((one for one in folders if launched_by and one.read_status().get("launcher") == launched_by), None)
    named = None if own or config.resume in ("never", "latest") else Path(config.resume)
    if named:
        folder = run_folder_of(config.resume)
        _refuse_others(config, folder, data)
    elif own or config.resume == "latest":
        fitting = [one for one in folders if one == own or not _differences(config, one, data)]
        unfinished = [one for one in fitting if not one.finished]
        if not fitting:
            return Start(warnings=["no run of these settings and this data to go on with: a new one"])
        folder = own or (unfinished or fitting)[0]
    else:
        return Start()
    folder.lock()
    if folder.finished:
        return Start(folder, finished=True)
    checkpoint, warnings = _named(named, folder) if named else _newest(folder)
    return Start(folder, checkpoint, warnings=warnings)


def no_longer_exact(checkpoint: Checkpoint, environment: dict[str, str], config: Config) -> list[str]:
    """What differs from the start before, and changes the last bits of the numbers."""
    now = environment | {key: flatten(config)[key] for key in INEXACT}
    before = checkpoint.environment | {key: checkpoint.config.get(key) for key in INEXACT}
    return [f"{key} {before.get(key)} -> {value}" for key, value in now.items() if before.get(key) != value]


def _named(path: Path, folder: RunFolder) -> tuple[Checkpoint | None, list[str]]:
    """The checkpoint that a path means: itself, or the newest of a run. Raises InputError where it is damaged."""
    steps = CheckpointFolder(folder.checkpoints).steps()
    if path.resolve() == folder.path.resolve():
        if not steps:
            return None, []
        path = folder.checkpoints / f"step-{steps[-1]}"
    try:
        return load_checkpoint(path), []
    except InputError as error:
        others = [step for step in steps if f"step-{step}" != path.name]
        instead = f"give {folder.checkpoints / f'step-{others[-1]}'} instead" if others else "there is no other"
        raise InputError(f"{error}; {instead}") from error


def _newest(folder: RunFolder) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that can be read, and a warning for each that cannot."""
    warnings: list[str] = []
    for step in reversed(CheckpointFolder(folder.checkpoints).steps()):
        try:
            return load_checkpoint(folder.checkpoints / f"step-{step}"), warnings
        except InputError as error:
            warnings.append(f"{error}; an earlier one is taken")
    return None, warnings


def _refuse_others(config: Config, folder: RunFolder, data: dict[str, Any]) -> None:
    differing = _differences(config, folder, data)
    if differing:
        raise InputError(
            f"{folder}: was another training. Give what it had, or leave --resume out for a new run:\n  "
            + "\n  ".join(differing)
        )


def _differences(config: Config, folder: RunFolder, data: dict[str, Any]) -> list[str]:
    """What makes a run another training: each setting, and the data."""
    try:
        theirs = flatten(Config()) | dotted(yaml.safe_load(folder.config.read_text()))
        their_data = json.loads(folder.split.read_text())
    except (OSError, ValueError, yaml.YAMLError, AttributeError) as error:  # of a start that was killed at once
        return [f"its files cannot be read ({error})"]
    ours = flatten(config)
    keys = [key for key in ours if key not in FREE and not key.startswith(("tracking.", "registry."))]
    found = [f"{key}: {theirs.get(key)} then, {ours[key]} now" for key in keys if theirs.get(key) != ours[key]]
    if their_data != data:
        same = their_data.get("digest") == data["digest"]
        what = "the names of the pictures changed" if same else "the pictures, masks, classes or their split changed"
        found.append(f"data.root: {what} (digest {their_data.get('digest')} then, {data['digest']} now)")
    return found
