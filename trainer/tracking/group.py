"""Groups of trainings: a parent run, as that of folds or of a sweep, whose children are the trainings.

A parent is a run folder like any other, with a uid, a journal and a status of its own. A child names it by its uid
(`tracking.parent`), so that neither of them needs a server; MLflow is told which belong together by whichever of the
two gets there last (`server.connect_run`).
"""

import os
import socket
from collections.abc import Callable
from pathlib import Path

from trainer import redact
from trainer.config import TrackingConfig
from trainer.system.atomic import write_text
from trainer.system.run_folder import RunFolder, new_run_folder
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
