"""Search for the run and the checkpoint that `resume` stands for."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from trainer import InputError, redact_all
from trainer.config import Config, dotted, flatten
from trainer.engine.checkpoint.folder import CheckpointFolder
from trainer.engine.checkpoint.format import Checkpoint, load_checkpoint
from trainer.system.run_folder import RunFolder, run_folder_of, run_folders

CHANGEABLE = (
    *("resume", "data.root", "data.classes", "data.value_map", "data.val_fraction", "data.fold"),
    *("data.generated_images", "data.workers", "train.threads", "train.micro_batch_size", "train.compile"),
    "train.checkpoint_minutes",
)
"""Settings that may change when a run is resumed, beside tracking.* and registry.*; the data themselves may not."""

INEXACT = ("train.micro_batch_size", "train.compile")
"""Changeable settings that change the last bits of the results."""


@dataclass
class Start:
    """Start of a run, new or resumed: decided by the main process, and broadcast to the others."""

    folder: RunFolder | None = None
    """Run folder to resume; None for a new run."""

    checkpoint: Checkpoint | None = None
    """Checkpoint to continue from; None to begin with the first step."""

    finished: bool = False
    """True if the run to resume is finished already."""

    warnings: list[str] = field(default_factory=list)
    error: InputError | None = None
    """Error of the main process, for all processes to raise."""


def find_run(config: Config, work: Path, data: dict[str, Any], launched_by: str) -> Start:
    """Find the run in the folder `work` that `config.resume` stands for, lock its folder and load its checkpoint.

    `data`: digest and split of the dataset; `launched_by`: identifier of a launcher that has restarted its processes,
    whose run is resumed whatever `config.resume` is, or empty. Raises InputError where a named run cannot be resumed.
    """
    folders = run_folders(work)[::-1]
    own = next((one for one in folders if launched_by and one.read_status().get("launcher") == launched_by), None)
    named = None if own or config.resume in ("never", "latest") else Path(config.resume)
    if named:
        folder = run_folder_of(config.resume)
        _require_same_training(config, folder, data)
    elif own or config.resume == "latest":
        matching = [one for one in folders if one == own or not _differences(config, one, data)]
        unfinished = [one for one in matching if not one.finished]
        if not matching:
            return Start(warnings=["no run of these settings and this data to go on with: a new one"])
        folder = own or (unfinished or matching)[0]
    else:
        return Start()
    folder.lock()
    if folder.finished:
        return Start(folder, finished=True)
    checkpoint, warnings = _load_named(named, folder) if named else _load_newest(folder)
    return Start(folder, checkpoint, warnings=warnings)


def numeric_changes(checkpoint: Checkpoint, environment: dict[str, str], config: Config) -> list[str]:
    """Differences from the previous start of the run that change the last bits of the results, one line each."""
    now = environment | {key: flatten(config)[key] for key in INEXACT}
    before = checkpoint.environment | {key: checkpoint.config.get(key) for key in INEXACT}
    return [f"{key} {before.get(key)} -> {value}" for key, value in now.items() if before.get(key) != value]


def _load_named(path: Path, folder: RunFolder) -> tuple[Checkpoint | None, list[str]]:
    """Load the checkpoint at `path`, or the newest one where `path` is the run folder; no warnings.

    Raises InputError where it is damaged, naming another checkpoint to use instead.
    """
    steps = CheckpointFolder(folder.checkpoints).steps()
    if path.resolve() == folder.path.resolve():
        if not steps:
            return None, []
        path = folder.checkpoint(steps[-1])
    try:
        return load_checkpoint(path), []
    except InputError as error:
        others = [step for step in steps if folder.checkpoint(step).name != path.name]
        instead = f"give {folder.checkpoint(others[-1])} instead" if others else "there is no other"
        raise InputError(f"{error}; {instead}") from error


def _load_newest(folder: RunFolder) -> tuple[Checkpoint | None, list[str]]:
    """Load the newest undamaged checkpoint, with a warning for each damaged one; None where there is none."""
    warnings: list[str] = []
    for step in reversed(CheckpointFolder(folder.checkpoints).steps()):
        try:
            return load_checkpoint(folder.checkpoint(step)), warnings
        except InputError as error:
            warnings.append(f"{error}; an earlier one is taken")
    return None, warnings


def _require_same_training(config: Config, folder: RunFolder, data: dict[str, Any]) -> None:
    differences = _differences(config, folder, data)
    if differences:
        raise InputError(
            f"{folder}: was another training. Give what it had, or leave --resume out for a new run:\n  "
            + "\n  ".join(differences)
        )


def _differences(config: Config, folder: RunFolder, data: dict[str, Any]) -> list[str]:
    """Differences of settings and data that make a run another training, one line each."""
    try:
        theirs = flatten(Config()) | dotted(yaml.safe_load(folder.config.read_text()))
        their_data = folder.read_split()
    except (OSError, ValueError, yaml.YAMLError, AttributeError) as error:  # a start was killed while writing them
        return [f"its files cannot be read ({error})"]
    ours = redact_all(flatten(config))  # as the stored ones are
    keys = [key for key in ours if key not in CHANGEABLE and not key.startswith(("tracking.", "registry."))]
    found = [f"{key}: {theirs.get(key)} then, {ours[key]} now" for key in keys if theirs.get(key) != ours[key]]
    if their_data != data:
        same = their_data.get("digest") == data["digest"]
        change = "the names of the pictures changed" if same else "the pictures, masks, classes or their split changed"
        found.append(f"data.root: {change} (digest {their_data.get('digest')} then, {data['digest']} now)")
    return found
