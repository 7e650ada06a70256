"""Run folder of a sweep: the files in it that other runs do not have, and the search for the sweep to go on with."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer import InputError, redact_all
from trainer.config import Config, flatten
from trainer.search.space import Space
from trainer.system.atomic import write_json
from trainer.system.run_folder import SWEEP, RunFolder, children_of, own_runs, read_object

UNCOMPARED = ("resume", "tracking.", "registry.", "train.threads", "data.workers", "data.root")
"""Beginnings of settings that may change when a sweep goes on. The data are compared by their digest."""

MOST_DIFFERENCES = 4
"""Number of differences that an error names."""


@dataclass(frozen=True)
class Part:
    """One training of a trial."""

    trial: int
    fold: int | None = None
    """Fold that validates; None where a trial is one training, as its settings say."""

    @property
    def name(self) -> str:
        """Beginning of the name of its run, which no other has in the sweep."""
        return f"trial-{self.trial}-" if self.fold is None else f"trial-{self.trial}-fold{self.fold}-"


@dataclass(frozen=True)
class SweepFolder:
    """Paths of one sweep, on one of the machines that take part in it."""

    run: RunFolder

    @property
    def path(self) -> Path:
        """The folder; its name is the uid of the sweep, the same on all machines."""
        return self.run.path

    @property
    def record(self) -> Path:
        """Name of the study, settings, space, and the key by which this machine knows its own trials."""
        return self.path / "sweep.json"

    @property
    def study(self) -> Path:
        """Optuna's database, where no other is named."""
        return self.path / "study.db"

    @property
    def space(self) -> Path:
        """The space, as it was read."""
        return self.path / "space.yaml"

    @property
    def best(self) -> Path:
        """Best settings, for --config."""
        return self.path / "best.yaml"

    @property
    def table(self) -> Path:
        """Table of the trials; beside it the same as JSON."""
        return self.path / "trials.csv"

    @property
    def history(self) -> Path:
        """Chart of the scores."""
        return self.path / "history.png"

    @property
    def importance(self) -> Path:
        """Chart of what each setting matters."""
        return self.path / "importance.png"

    @property
    def slices(self) -> Path:
        """Chart of the scores by the value of each setting."""
        return self.path / "settings.png"

    def settings(self, part: Part) -> Path:
        """Settings of a training that differ from those of the sweep."""
        return self._files(part) / "settings.yaml"

    def output(self, part: Part) -> Path:
        """What a training printed."""
        return self._files(part) / "output.txt"

    def process(self, part: Part) -> Path:
        """Process of a training, as the last start of it was."""
        return self._files(part) / "process.json"

    def _files(self, part: Part) -> Path:
        folder = self.path / "trials" / f"{part.trial}"
        return folder if part.fold is None else folder / f"fold-{part.fold}"

    def run_of(self, part: Part) -> RunFolder | None:
        """Run folder of a training; None where it has none yet."""
        begin = part.name
        found = (one for one in children_of(self.run) if read_object(one.run).get("run_name", "").startswith(begin))
        return next(found, None)

    def participant(self) -> str:
        """Key of this machine in the study."""
        return str(read_object(self.record).get("participant", ""))


def facts_of(config: Config, space: Space, folds: int = 1, pruner: str = "hyperband") -> dict[str, Any]:
    """What makes two sweeps the same: settings, space, and how a trial is scored and stopped."""
    settings = redact_all(flatten(config))
    compared = {key: value for key, value in settings.items() if not key.startswith(UNCOMPARED)}
    return {"settings": compared, "space": dict(space.content), "options": {"folds": folds, "pruner": pruner}}


def differences(now: Mapping[str, Any], then: Mapping[str, Any]) -> list[str]:
    """Differences between the `facts_of` two sweeps, one line each."""
    found = []
    for part in ("settings", "space", "options"):
        ours, theirs = now[part], then.get(part, {})
        keys = [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]
        found += [f"{part} {key}: {theirs.get(key)} then, {ours.get(key)} now" for key in keys]
    return found


def require_same(now: Mapping[str, Any], then: Mapping[str, Any], name: str) -> None:
    """Raise InputError where a sweep has other settings or another space."""
    if found := differences(now, then):
        more = f"; and {len(found) - MOST_DIFFERENCES} more" if len(found) > MOST_DIFFERENCES else ""
        shown = "; ".join(found[:MOST_DIFFERENCES]) + more
        raise InputError(f"{name}: a sweep of other settings ({shown}); give those, or begin another sweep")


def write_record(folder: SweepFolder, study: str, facts: Mapping[str, Any]) -> None:
    """Note what a later start needs to find the sweep."""
    write_json(folder.record, {"study": study, "participant": secrets.token_hex(8), **facts})


def find_sweep(work: Path, facts: Mapping[str, Any]) -> SweepFolder:
    """Find the newest sweep of these settings and this space, an unfinished one first. Raises InputError."""
    sweeps = [one for one in reversed(own_runs(work)) if one.kind == SWEEP]
    records = [(SweepFolder(one), read_object(SweepFolder(one).record)) for one in sweeps]
    same = [folder for folder, record in records if record and not differences(facts, record)]
    found = next((one for one in same if not one.run.finished), next(iter(same), None))
    if found:
        return found
    if not sweeps:
        raise InputError(f"--resume: there is no sweep in {work}; leave --resume out for a new one")
    newest, record = records[0]
    require_same(facts, record, f"--resume: {newest.path}")
    raise InputError(f"--resume: {newest.path}: cannot be read; leave --resume out for a new one")
