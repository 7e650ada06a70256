"""Groups of trainings: a parent run, as that of folds or of a sweep, whose children are the trainings.

A parent is a run folder like any other, with a uid, a journal and a status of its own. A child names it by its uid
(`tracking.parent`), so that neither of them needs a server; MLflow is told which belong together by whichever of the
two gets there last (`server.connect_run`).
"""

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainer import InputError, printable, redact
from trainer.config import Config, TrackingConfig
from trainer.system.atomic import write_text
from trainer.system.run_folder import FOLDS, SWEEP, RunFolder, new_run_folder, own_runs
from trainer.tracking import store
from trainer.tracking.names import run_name
from trainer.tracking.run import Run, open_run


def new_group(work: Path, kind: str, tracking: TrackingConfig, title: str, config_yaml: str) -> RunFolder:
    """Make the run folder of a parent of `kind` FOLDS, SWEEP or LABELLING, with its settings.

    `tracking`: with the name of an experiment, not auto, since children must be in the same one; `title`: beginning of
    its name where tracking.run_name gives none.
    """
    name = tracking.run_name and run_name(tracking.run_name)
    began = store.store_id() if tracking.enabled else None
    folder = new_run_folder(
        work, redact(tracking.experiment), name, tracking.enabled, run_name(title), began, kind=kind
    )
    write_text(folder.config, config_yaml)
    return folder


def open_group(
    folder: RunFolder,
    tracking: TrackingConfig,
    new: bool,
    reachable: bool,
    log: Callable[[str, str], None],
    resume_command: str,
) -> Run:
    """Open the run of a parent, keep others out of its folder until this process ends, and call it running.

    `reachable`: whether the store answers (`store.reachable`); otherwise records wait in the folder, and are sent when
    it does. `new`: False where an earlier process has begun the group. Raises InputError as `open_run` does.
    """
    folder.lock()
    owner = {"resume": resume_command, "pid": os.getpid(), "host": socket.gethostname()}
    run = open_run(folder, tracking, new, reachable, log, owner)
    if not new:
        run.resumed()
    run.status("running")
    return run


def without_group(config: Config, work: Path, by_sweep: bool) -> tuple[Config, str]:
    """Settings of a new run without a parent that begins its trainings itself, and a sentence about it, if any.

    The stored settings of a fold or a trial name its parent. Who trains with them again gets a run beside the group,
    which must not count as one of its trainings. `by_sweep`: whether a sweep has started this process.

    Raises InputError for the settings of a group's final training, which nothing validates.
    """
    parent = RunFolder(work / Path(config.tracking.parent or "none").name)
    if config.tracking.parent is None or not (parent.kind == FOLDS or (parent.kind == SWEEP and not by_sweep)):
        return config, ""
    if config.without_validation:
        raise InputError(
            f"train.final: all: of run {parent}, which trains its final model itself; give its settings instead: "
            f"--config {parent.config}"
        )
    text = f"recorded beside run {parent.path.name}, not as one of its trainings: it begins these itself"
    return replace(config, tracking=replace(config.tracking, parent=None)), text


def groups_elsewhere(kind: str, experiment: str, digest: str, params: Mapping[str, Any], work: Path) -> list[str]:
    """Unfinished parents of `kind` in the store that have no run folder in `work`: name and host of each.

    `digest`: of the data that they are of; `params`: those of their runs. None where the store does not tell.
    """
    from mlflow.exceptions import MlflowException

    from trainer.tracking.server import UID_TAG, connect

    wanted = {key: printable(redact(str(value))) for key, value in params.items()}
    here = {folder.path.name for folder in own_runs(work)}
    query = f"tags.kind = '{kind}' and tags.`data.digest` = '{digest}' and attributes.status = 'RUNNING'"
    try:
        client = connect()
        known = client.get_experiment_by_name(redact(experiment))
        found = client.search_runs([known.experiment_id], query) if known else []
    except (InputError, MlflowException):
        return []
    return [
        f"{run.info.run_name} on {run.data.tags.get('host', 'another machine')}"
        for run in found
        if run.data.tags.get(UID_TAG) not in here and run.data.params == wanted
    ]
