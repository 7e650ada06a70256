"""Run folders, mlruns/work/<uid>/: every file name in them, their lock and their status."""

import json
import re
import secrets
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from trainer import InputError
from trainer.system.atomic import leftovers, why_not_written, write_json, write_text
from trainer.system.installation import command
from trainer.system.lock import alone, take_lock
from trainer.system.provenance import source_tags
from trainer.system.regular_file import open_regular

LOCK_SECONDS = 5.0
"""Longest wait, in seconds, for a trainer that is still ending in the folder that another one resumes."""

SENDING_SECONDS = 10.0
"""Seconds to wait for another process that is sending the same folder."""

CHECKPOINT_PREFIX = "step-"
"""Start of the name of a checkpoint's folder; its step follows."""

TRAINING, EVALUATION, FOLDS, SWEEP, LABELLING = "training", "evaluation", "folds", "sweep", "labelling"
"""Kinds of runs. Those of the last three are parents, whose children are trainings."""

FAMILY_TAGS = {"kind": "kind", "parent": "trainer.parent"}
"""Key of run.json -> tag of the run in MLflow. A training that is nobody's child has neither."""

MOST_REFUSED = 5
"""Number of refused records that a sentence names."""

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
    def lock_file(self) -> Path:
        """Lock of the process that trains in this folder."""
        return self.path / "trainer.lock"

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
    def refused(self) -> Path:
        """Records that the tracking server refused for good, by kind and name, with its reasons."""
        return self.path / "refused.json"

    @property
    def version(self) -> Path:
        """Model and registered version that the tracking server made of this run."""
        return self.path / "version.json"

    @property
    def promotion(self) -> Path:
        """Decision about the champion, with its numbers."""
        return self.path / "promotion.json"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints step-N."""
        return self.path / "checkpoints"

    @property
    def last_checkpoint(self) -> Path:
        """SHA-256 of the last checkpoint's files, and its position: of a finished run, which keeps no checkpoint."""
        return self.path / "last_checkpoint.json"

    @property
    def images(self) -> Path:
        """Folder of the images that the run logged."""
        return self.path / "pictures"

    @property
    def evaluation(self) -> Path:
        """Folder of the scores of the registered model on its validation images."""
        return self.path / "evaluation"

    @property
    def scores(self) -> Path:
        """Table of what the registered model counted on each of them."""
        return self.evaluation / "scores.json"

    @property
    def model(self) -> Path:
        """Folder of the best model."""
        return self.path / "model"

    def read_run(self) -> dict[str, Any]:
        """Contents of run.json. Raises InputError where it cannot be read."""
        content = read_object(self.run)
        if not {"uid", "experiment", "run_name", "time", "tracked"} <= content.keys():
            fix = f"{command('train')} --resume {self}, or {command('sync')} {self}, repairs it"
            raise InputError(f"{self.run}: damaged; {fix}")
        return content

    @property
    def kind(self) -> str:
        """Kind of the run, one of TRAINING to LABELLING."""
        return str(read_object(self.run).get("kind", TRAINING))

    @property
    def parent(self) -> str:
        """Uid of the run whose child this one is; empty where it is nobody's."""
        return str(read_object(self.run).get("parent", ""))

    def read_status(self) -> dict[str, Any]:
        """Contents of status.json; empty where the run was killed before it had one, or where it is damaged."""
        return read_object(self.status)

    def read_split(self) -> dict[str, Any]:
        """Contents of split.json; empty where it is missing or damaged."""
        return read_object(self.split)

    def read_version(self) -> dict[str, Any]:
        """Contents of version.json; empty where nothing is registered yet, or where it is damaged."""
        return read_object(self.version)

    def read_refused(self) -> dict[str, dict[str, str]]:
        """Contents of refused.json: kind -> name -> reason."""
        return {kind: names for kind, names in read_object(self.refused).items() if isinstance(names, dict)}

    def describe_refused(self) -> str:
        """One sentence on what the tracking server refused for good; empty where nothing was."""
        names = [f"{kind} {name}" for kind, named in self.read_refused().items() for name in named]
        if not names:
            return ""
        more = f" and {len(names) - MOST_REFUSED} more" if len(names) > MOST_REFUSED else ""
        shown = ", ".join(names[:MOST_REFUSED]) + more
        return (
            f"refused by the tracking server for good, and left out there: {shown}; the reasons are in {self.refused}"
        )

    def checkpoint(self, step: int) -> Path:
        """Folder of the checkpoint of a step."""
        return self.checkpoints / f"{CHECKPOINT_PREFIX}{step}"

    @property
    def finished(self) -> bool:
        """True where training reached its end; where the status is damaged, by the last one in the journal."""
        state = self.read_status().get("state")
        return state == "finished" if state is not None else self._recorded_status() == "FINISHED"

    def _recorded_status(self) -> str | None:
        """Last status in the journal."""
        try:
            lines = self.journal.read_bytes().splitlines()
        except OSError:
            return None
        last = next((line for line in reversed(lines) if b'"status": "' in line), b"")
        found = re.search(rb'"status": "([A-Z]+)"', last)
        return found[1].decode() if found else None

    @property
    def sent_bytes(self) -> int:
        """Bytes of the journal that the server has, with all files; 0 if unknown, since sending again is safe."""
        return self._sent("bytes")

    @property
    def sent_values_bytes(self) -> int:
        """Bytes of the journal of which the server has the metrics, params, tags and states; `sent_bytes` or more."""
        return max(self._sent("values"), self.sent_bytes)

    def _sent(self, key: str) -> int:
        """A number of bytes in sent.json; 0 where it is not that of whole records."""
        value = read_object(self.sent).get(key)
        if not isinstance(value, int) or value <= 0:
            return 0
        try:
            with self.journal.open("rb") as file:
                file.seek(value - 1)
                return value if file.read(1) == b"\n" else 0
        except OSError:
            return 0

    def unsent_records(self) -> int:
        """Number of journal records that the server does not have yet; 0 without a journal."""
        try:
            with self.journal.open("rb") as file:
                file.seek(self.sent_bytes)
                return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
        except OSError:
            return 0

    def lock(self) -> None:
        """Keep other trainers out until this process ends. Raises InputError where one holds the lock."""
        if self.path in _locks:
            return
        try:
            held = take_lock(self.lock_file, LOCK_SECONDS)
        except OSError as error:
            raise InputError(f"{why_not_written(self.path, error)}; allow it") from error
        if held is None:
            owner = self.read_status()
            pid, host = owner.get("pid"), owner.get("host")
            who, stop = (f"process {pid} on {host}", f"stop it there: kill {pid}") if pid else ("a process", "stop it")
            raise InputError(f"{self}: {who} is training this run; wait for its end, or {stop}")
        _locks[self.path] = held
        for leftover in leftovers(self.path / "*.json"):  # of a process that was killed while it wrote
            leftover.unlink(missing_ok=True)

    def sending(self) -> AbstractContextManager[None]:
        """Hold the lock of the one process that sends this folder: the training itself, or sync.py."""
        busy = f"{self}: another process is sending it; try again when that has ended"
        return alone(self.path / ".sending.lock", busy, SENDING_SECONDS)


def read_object(file: Path) -> dict[str, Any]:
    """Read a JSON object; empty where the file is missing, or damaged in whatever way."""
    try:
        with open_regular(file) as stream:
            content = json.loads(stream.read().decode())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def run_folders(work: Path) -> list[RunFolder]:
    """All run folders in `work`, oldest first."""
    return sorted(RunFolder(file.parent) for file in work.glob("*/run.json"))


def own_runs(work: Path) -> list[RunFolder]:
    """Run folders in `work` that a person has started: all but the children of others, oldest first."""
    return [one for one in run_folders(work) if not one.parent]


def children_of(parent: RunFolder) -> list[RunFolder]:
    """Run folders beside that of a parent which are its children, oldest first."""
    uid = parent.path.resolve().name
    return [one for one in run_folders(parent.path.resolve().parent) if one.parent == uid]


def run_folder_of(resume: str) -> RunFolder:
    """Find the run folder that a PATH after --resume stands for: itself, or a step-N in it. Raises InputError."""
    path = Path(resume)
    folder = RunFolder(path.resolve().parents[1] if path.name.startswith(CHECKPOINT_PREFIX) else path)
    if not folder.config.is_file():
        raise InputError(
            f"resume: {resume}: no run folder, nor a step-N in one; give never, latest, latest-or-new or such a folder"
        )
    return folder


def new_run_folder(
    work: Path,
    experiment: str,
    run_name: str | None,
    tracked: bool,
    title: str = "run",
    store: str | None = None,
    kind: str = TRAINING,
    parent: str = "",
) -> RunFolder:
    """Make a run folder in `work`. The uid is made here, so that a run has an identity without a server.

    A run without `run_name` is named by `title` and its uid, as no other run is. `store`: name of the tracking store
    that the run begins in (`store_id`); None where it is not tracked. `parent`: uid of the run whose child it is.
    """
    uid = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
    folder = RunFolder(work / uid)
    folder.checkpoints.mkdir(parents=True)
    names = {"uid": uid, "experiment": experiment, "run_name": run_name or f"{title}-{uid[4:]}"}
    family = {"kind": "" if kind == TRAINING else kind, "parent": parent}
    tags = source_tags() | {tag: family[key] for key, tag in FAMILY_TAGS.items() if family[key]}
    facts = {"time": time.time_ns() // 1_000_000, "tracked": tracked, "tags": tags}
    facts |= {} if store is None else {"store": store}
    facts |= {key: value for key, value in family.items() if value}
    folder.journal.touch()
    write_json(folder.run, names | facts)  # the last one: a folder without it is not listed as a run
    return folder


def describe_run(folder: RunFolder, config_yaml: str, data: Mapping[str, Any], report: str) -> None:
    """Write the files that a later start compares itself with: settings, `data` (digest and split), report (JSON)."""
    write_text(folder.split, json.dumps(data, indent=1, ensure_ascii=False))
    write_text(folder.check, report)
    write_text(folder.config, config_yaml)
