"""Search for the group of folds and seeds that a start goes on with."""

from pathlib import Path
from typing import Any

from trainer import InputError
from trainer.config import Config
from trainer.engine.checkpoint.choice import LATEST_OR_NEW, WORDS, differences, none_of_these
from trainer.system import launcher
from trainer.system.run_folder import FOLDS, RunFolder, own_runs, run_folder_of


def find_group(config: Config, work: Path, data: dict[str, Any]) -> RunFolder | None:
    """Find the group in the folder `work` that `config.resume` stands for; None for a new one.

    `config`: settings of the group; `data`: digest of all its images, and their names. With train.only_fold, a job
    joins the newest unfinished group of the same settings and images. Raises InputError where the one that is named is
    another, or where there is none to go on with.
    """
    groups = [one for one in reversed(own_runs(work)) if one.kind == FOLDS]
    if launcher.restarted():
        identity = launcher.identity()
        if own := next((one for one in groups if one.read_status().get("launcher") == identity), None):
            return own
    if config.resume not in WORDS:
        return _named(config, data)
    if config.resume == "never" and config.train.only_fold is None:
        return None
    matching = [one for one in groups if not differences(config, one, data)]
    unfinished = next((one for one in matching if not one.finished), None)
    if config.resume == "never" or unfinished:
        return unfinished
    if not matching and config.resume != LATEST_OR_NEW:
        raise none_of_these(config, work, data)
    return matching[0] if matching else None


def _named(config: Config, data: dict[str, Any]) -> RunFolder:
    folder = RunFolder(run_folder_of(config.resume).path.resolve())
    if folder.kind != FOLDS:
        raise InputError(f"resume: {folder}: no run of folds or seeds; give the folder of one")
    if found := differences(config, folder, data):
        raise InputError(
            f"{folder}: is another training. Give its settings, or leave --resume out for a new run:\n  "
            + "\n  ".join(found)
        )
    return folder
