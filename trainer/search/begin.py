"""Begin of a sweep: a new one, one that goes on, or one that this machine joins."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer import InputError
from trainer.config import Config, flatten, to_yaml
from trainer.search.space import Space
from trainer.search.study import Study
from trainer.search.sweep_folder import SweepFolder, facts_of, find_sweep, require_same, write_record
from trainer.system.atomic import write_json, write_text
from trainer.system.run_folder import SWEEP, RunFolder, read_object
from trainer.tracking import store
from trainer.tracking.group import new_group


@dataclass(frozen=True)
class Order:
    """Options of sweep.py."""

    config: Config
    """Settings of all trials, with the name of an experiment."""

    space: Space
    space_file: Path
    title: str
    """Name of the data."""

    folds: int
    pruner: str
    seed: int
    resume: bool
    study: str | None = None
    """Name of a study that several machines share, and the address of its database."""

    storage: str | None = None

    def facts(self) -> dict[str, Any]:
        """Facts that make two sweeps the same."""
        return facts_of(self.config, self.space, self.folds, self.pruner)


def open_sweep(order: Order, work: Path) -> tuple[SweepFolder, Study, bool]:
    """Find or make the folder, in `work`, and the study of a sweep; return whether its run is a new one.

    Raises InputError where there is nothing to go on with, or what there is has other settings.
    """
    shared = Study(order.storage, order.study, order.seed) if order.storage and order.study else None
    known = shared.fact("sweep") if shared else None
    new = False
    if known:
        folder = _known_folder(order, work, known)
    elif order.resume and shared:
        raise InputError(f"--study {order.study}: there is none in this database; leave --resume out for a new one")
    elif order.resume:
        folder = find_sweep(work, order.facts())
    else:
        new = True
        title = f"{order.title}-sweep"
        folder = SweepFolder(new_group(work, SWEEP, order.config.tracking, title, to_yaml(order.config)))
        _write_files(folder, order)
    study = shared or Study(f"sqlite:///{folder.study}", folder.path.name, order.seed)
    own = read_object(folder.run.run)
    kept = study.same_for_all("sweep", {**order.facts(), "run": own})
    if kept["run"]["uid"] != own["uid"]:  # another machine was faster
        shutil.rmtree(folder.path)
        return open_sweep(order, work)
    study.use_pruner(order.pruner)
    study.begin_with(order.space.stored(flatten(order.config)))
    return folder, study, new


def _known_folder(order: Order, work: Path, known: dict[str, Any]) -> SweepFolder:
    """Folder of a sweep that several machines share, made where this one joins it."""
    require_same(order.facts(), known, f"--study {order.study}")
    folder = SweepFolder(RunFolder(work / known["run"]["uid"]))
    if folder.run.run.exists():
        if not order.resume:
            raise InputError(f"--study {order.study}: begun here, in {folder.path}; continue it with --resume")
        return folder
    folder.run.checkpoints.mkdir(parents=True, exist_ok=True)
    folder.run.journal.touch()
    write_text(folder.run.config, to_yaml(order.config))
    _write_files(folder, order)
    # The store is perhaps known by another address here; what is in it tells.
    here = {"store": store.store_id()} if known["run"]["tracked"] else {}
    write_json(folder.run.run, known["run"] | here)  # the last one: a folder without it is no run
    return folder


def _write_files(folder: SweepFolder, order: Order) -> None:
    write_text(folder.space, order.space_file.read_text(encoding="utf-8"))
    write_record(folder, order.study or folder.path.name, order.facts())
