"""Search for the run and the checkpoint that `resume` stands for."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer import InputError
from trainer.config import Config, flatten
from trainer.engine.checkpoint.choice import LATEST_OR_NEW, WORDS, differences, lock_chosen, none_of_these
from trainer.engine.checkpoint.folder import CheckpointFolder
from trainer.engine.checkpoint.format import Checkpoint, load_checkpoint
from trainer.engine.threads import THREADS, threads_at_resume
from trainer.system.atomic import write_json
from trainer.system.repair import repair
from trainer.system.run_folder import TRAINING, RunFolder, own_runs, run_folder_of
from trainer.tracking.journal import damaged_records

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


def find_run(
    config: Config, work: Path, data: dict[str, Any], launched_by: str, chosen: RunFolder | None = None
) -> Start:
    """Find the run in the folder `work` that `config.resume` stands for, lock its folder and load its checkpoint.

    `data`: digest and split of the dataset; `launched_by`: identifier of a launcher that has restarted its processes,
    whose run is resumed whatever `config.resume` is, or empty; `chosen`: the run, where it is known. Raises InputError
    where a named run cannot be resumed.
    """
    folders = [one for one in reversed(own_runs(work)) if one.kind == TRAINING]
    own = chosen or next(
        (one for one in folders if launched_by and one.read_status().get("launcher") == launched_by), None
    )
    named = None if own or config.resume in WORDS else Path(config.resume)
    if named:
        folder = run_folder_of(config.resume)
    elif own is None and config.resume == "never":
        return Start()
    else:
        matching = [one for one in folders if one != own and not differences(config, one, data)]
        matching += [own] if own else []
        if not matching and config.resume == LATEST_OR_NEW:
            return Start(warnings=["no run of these settings and this data to continue: a new one begins"])
        if not matching:
            raise none_of_these(config, work, data)
        folder = own or next((one for one in matching if not one.finished), matching[0])
    lock_chosen(config, folder, work)
    try:
        repaired = repair(folder)
    except OSError as error:
        raise InputError(f"{folder}: damaged, and cannot be repaired ({error})") from error
    if damaged := damaged_records(folder.journal) if folder.journal.exists() else 0:
        repaired.append(f"{folder.journal}: {damaged} records are damaged, and left out")
    if named or chosen:
        _require_same_training(config, folder, data)
    if not folder.read_split():
        write_json(folder.split, data)  # the checkpoint has its digest
    if folder.finished:
        return Start(folder, finished=True, warnings=repaired)
    checkpoint, warnings = _load_named(named, folder) if named else _load_newest(folder)
    return Start(folder, checkpoint, warnings=repaired + warnings)


def numeric_changes(checkpoint: Checkpoint, environment: dict[str, str], config: Config) -> list[str]:
    """Differences from the previous start of the run that change the last bits of the results, one line each."""
    own, stored = int(environment[THREADS]), checkpoint.environment.get(THREADS)
    now = environment | {THREADS: str(threads_at_resume(config.train.threads, own, stored))}
    now |= {key: flatten(config)[key] for key in INEXACT}
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
            warnings.append(f"{error}; an earlier one is used")
    if warnings:
        warnings.append(f"{folder}: no undamaged checkpoint is left; training begins again, at its first step")
    return None, warnings


def _require_same_training(config: Config, folder: RunFolder, data: dict[str, Any]) -> None:
    found = differences(config, folder, data)
    if found:
        raise InputError(
            f"{folder}: is another training. Give its settings, or leave --resume out for a new run:\n  "
            + "\n  ".join(found)
        )
