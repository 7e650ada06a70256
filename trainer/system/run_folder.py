"""Run folders, mlruns/work/<uid>/: every file name in them, their lock and their status."""

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from trainer import InputError
from trainer.system.atomic import leftovers, write_json, write_text
from trainer.system.provenance import source_tags

LOCK_SECONDS = 5.0
"""Longest wait, in seconds, for a trainer that is still ending in the folder that another one resumes."""

SENDING_SECONDS = 10.0
"""Seconds to wait for another process that is sending the same folder."""

CHECKPOINT_PREFIX = "step-"
"""Start of the name of a checkpoint's folder; its step follows."""

_locks: dict[Path, FileLock] = {}  # held until the process ends, however it ends


@dataclass(frozen=True, order=True)
class RunFolder:
    """Paths and small records of one run. Its name is the run's uid."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def config(self) -> Path:
        """Settings of the run, as a file for --config."""
        return self.path / "config.yaml"

    @property
    def split(self) -> Path:
        """Digest of the data, and the names of the samples that train and that validate."""
        return self.path / "split.json"

    @property
    def check(self) -> Path:
        """Report on the data."""
        return self.path / "check.json"

    @property
    def run(self) -> Path:
        """Uid, experiment, run name, start time and tags; the run id once a tracking server has given one."""
        return self.path / "run.json"

    @property
    def status(self) -> Path:
        """State of the run, its last step, and the command that resumes it."""
        return self.path / "status.json"

    @property
    def journal(self) -> Path:
        """Everything that the run recorded, one JSON object a line."""
        return self.path / "journal.jsonl"

    @property
    def sent(self) -> Path:
        """Number of bytes of the journal that the tracking server has."""
        return self.path / "sent.json"

    @property
    def version(self) -> Path:
        """Model and registered version that the tracking server made of this run."""
        return self.path / "version.json"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints step-N."""
        return self.path / "checkpoints"

    @property
    def images(self) -> Path:
        """Folder of the images that the run logged."""
        return self.path / "pictures"

    @property
    def model(self) -> Path:
        """Folder of the best model."""
        return self.path / "model"

    def read_run(self) -> dict[str, Any]:
        """Contents of run.json."""
        content: dict[str, Any] = json.loads(self.run.read_text())
        return content

    def read_status(self) -> dict[str, Any]:
        """Contents of status.json; empty where the run was killed before it had one."""
        return _read_or_empty(self.status)

    def read_split(self) -> dict[str, Any]:
        """Contents of split.json."""
        content: dict[str, Any] = json.loads(self.split.read_text(encoding="utf-8"))
        return content

    def read_version(self) -> dict[str, Any]:
        """Contents of version.json; empty where nothing is registered yet."""
        content: dict[str, Any] = json.loads(self.version.read_text()) if self.version.exists() else {}
        return content

    def checkpoint(self, step: int) -> Path:
        """Folder of the checkpoint of a step."""
        return self.checkpoints / f"{CHECKPOINT_PREFIX}{step}"

    @property
    def finished(self) -> bool:
        """True where training reached its end."""
        return bool(self.read_status().get("state") == "finished")

    @property
    def sent_bytes(self) -> int:
        """Bytes of the journal that the server has; 0 where that is unknown, since sending again is safe."""
        try:
            return int(_read_or_empty(self.sent)["bytes"])
        except (KeyError, TypeError, ValueError):
            return 0

    def unsent_records(self) -> int:
        """Number of journal records that the server does not have yet."""
        with self.journal.open("rb") as file:
            file.seek(self.sent_bytes)
            return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))

    def lock(self) -> None:
        """Keep other trainers out until this process ends. Raises InputError where one holds the lock."""
        if self.path in _locks:
            return
        held = FileLock(self.path / "trainer.lock")
        try:
            held.acquire(timeout=LOCK_SECONDS)
        except Timeout:
            owner = self.read_status()
            who = f"process {owner.get('pid')} on {owner.get('host')}"
            raise InputError(f"{self}: {who} is training this run; wait for its end, or stop it") from None
        _locks[self.path] = held
        for leftover in leftovers(self.path / "*.json"):  # of a process that was killed while it wrote
            leftover.unlink(missing_ok=True)

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Hold the lock of the one process that sends this folder: the training itself, or sync.py."""
        lock = FileLock(self.path / ".sending.lock")
        try:
            lock.acquire(timeout=SENDING_SECONDS)
        except Timeout:
            raise InputError(f"{self}: another process is sending it; try again when that has ended") from None
        try:
            yield
        finally:
            lock.release()


def _read_or_empty(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return content


def run_folders(work: Path) -> list[RunFolder]:
    """All run folders in `work`, oldest first."""
    return sorted(RunFolder(file.parent) for file in work.glob("*/run.json"))


def run_folder_of(resume: str) -> RunFolder:
    """Find the run folder that a PATH after --resume stands for: itself, or a step-N in it. Raises InputError."""
    path = Path(resume)
    folder = RunFolder(path.resolve().parents[1] if path.name.startswith(CHECKPOINT_PREFIX) and path.is_dir() else path)
    if not folder.config.is_file():
        raise InputError(f"resume: {resume}: no run folder, nor a step-N in one; give never, latest or such a folder")
    return folder


def new_run_folder(work: Path, experiment: str, run_name: str | None, tracked: bool, title: str = "run") -> RunFolder:
    """Make a run folder in `work`. The uid is made here, so that a run has an identity without a server.

    A run without `run_name` is named by `title` and its uid, as no other run is.
    """
    uid = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
    folder = RunFolder(work / uid)
    folder.checkpoints.mkdir(parents=True)
    names = {"uid": uid, "experiment": experiment, "run_name": run_name or f"{title}-{uid[4:]}"}
    facts = {"time": time.time_ns() // 1_000_000, "tracked": tracked, "tags": source_tags()}
    folder.journal.touch()
    write_json(folder.run, names | facts)  # the last one: a folder without it is not listed as a run
    return folder


def describe_run(folder: RunFolder, config_yaml: str, data: Mapping[str, Any], report: str) -> None:
    """Write the files that a later start compares itself with: settings, `data` (digest and split), report (JSON)."""
    write_text(folder.split, json.dumps(data, indent=1, ensure_ascii=False))
    write_text(folder.check, report)
    write_text(folder.config, config_yaml)
