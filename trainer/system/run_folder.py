"""Run folders mlruns/work/<uid>/: every file name in them, their lock and their status."""

import json
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from trainer import InputError
from trainer.config import MLRUNS, Config, to_yaml
from trainer.system.atomic import write_json
from trainer.system.provenance import source_tags


def run_folder(resume: str) -> Path:
    """The run folder that a PATH after --resume means. Raises InputError where it means none."""
    path = Path(resume)
    folder = path.resolve().parents[1] if path.name.startswith("step-") and path.is_dir() else path
    if not (folder / "config.yaml").is_file():
        raise InputError(f"resume: {resume}: no run folder, nor a step-N in one; give never, latest or such a folder")
    return folder


LOCK_SECONDS = 5.0
"""How long a trainer may still be busy with its end in the folder that another one is to go on with."""


_locks: dict[Path, FileLock] = {}  # held until the process ends, however it ends


def lock(folder: Path) -> None:
    """Keep other trainers out of a run folder. Raises InputError where one is in."""
    if folder in _locks:
        return
    held = FileLock(folder / "trainer.lock")
    try:
        held.acquire(timeout=LOCK_SECONDS)
    except Timeout:
        owner = _status(folder)
        who = f"process {owner.get('pid')} on {owner.get('host')}"
        raise InputError(f"{folder}: {who} is training this run; wait for its end, or stop it") from None
    _locks[folder] = held


def _finished(folder: Path) -> bool:
    return bool(_status(folder).get("state") == "finished")


def _status(folder: Path) -> dict[str, Any]:
    """What status.json says; nothing, where the run was killed before it had one."""
    try:
        content: dict[str, Any] = json.loads((folder / "status.json").read_text())
    except (OSError, ValueError):
        return {}
    return content


def new_run_folder(work: Path, experiment: str, run_name: str, tracked: bool) -> Path:
    """Make `mlruns/work/<uid>/`. The uid is ours, so that a run is the same one whether or not a server knows it."""
    uid = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
    folder = work / uid
    (folder / "checkpoints").mkdir(parents=True)
    info = {
        "uid": uid,
        "experiment": experiment,
        "run_name": run_name,
        "time": time.time_ns() // 1_000_000,
        "tracked": tracked,
    }
    write_json(folder / "run.json", info | {"tags": source_tags()})
    (folder / "journal.jsonl").touch()
    return folder


def new_folder(config: Config, name: str, data: Mapping[str, Any], report: str) -> Path:
    """A run folder that another start can go on with.

    `data` says what the run is trained and validated with, `report` (JSON) what was found in it.
    """
    folder = new_run_folder(MLRUNS / "work", config.tracking.experiment, name, config.tracking.enabled)
    (folder / "split.json").write_text(json.dumps(data, indent=1, ensure_ascii=False))
    (folder / "check.json").write_text(report, encoding="utf-8")
    (folder / "config.yaml").write_text(to_yaml(config))
    return folder
