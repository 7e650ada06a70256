"""Rounds of a project: check, train from the champion, gate, next images. A killed one goes on with the step it was in.

Each step is one of the program's own commands, in a process of its own; state.json has what is done.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from trainer import InputError
from trainer.config import MLRUNS, Config, DataConfig, TrackingConfig
from trainer.data.checks.report import check_command
from trainer.data.sources import find_sources
from trainer.labelling.pool import find_pool
from trainer.labelling.project import PROJECT_FILE, STEPS, Project, Round, State
from trainer.system.atomic import why_not_written
from trainer.system.child import END_SECONDS
from trainer.system.installation import command
from trainer.system.lock import take_lock
from trainer.system.run_folder import LABELLING, RunFolder, children_of
from trainer.system.text import quote
from trainer.tracking import store
from trainer.tracking.group import new_group, open_group
from trainer.tracking.journal import Journal, read_records

FLUSH_SECONDS = 60.0
"""Longest wait for the tracking server after a round, in seconds."""

RUN_ENDS = (0, 3)
"""Exit codes of `label.py next` after which a round is complete: some images of the pool may be damaged."""

Run = Callable[[str, Sequence[str]], int]
"""Function that runs an entry point with arguments, and returns its exit code."""

Log = Callable[[str], None]


@dataclass(frozen=True)
class Labels:
    """Labelled images of now, and how they train."""

    images: int
    digest: str


class StepFailed(Exception):
    """A step has not come to its end; what was wrong is printed already."""

    def __init__(self, step: str, code: int, advice: str = "") -> None:
        super().__init__(step)
        self.step, self.code, self.advice = step, code, advice


def count_labels(project: Project, data: DataConfig) -> Labels:
    """Count the labelled images, and make a digest of their labels and of the settings that they train with.

    Raises InputError where they cannot be read.
    """
    sources = find_sources(data, project.roots)
    if sources.problems:
        raise InputError("\n".join(sources.problems))
    digest = hashlib.sha256(repr(sorted(project.training.items(), key=str)).encode(errors="surrogateescape"))
    for sample in sources.samples:
        content = hashlib.sha256(sample.mask_content()).hexdigest()
        digest.update(f"{sample.image.name}\0{content}\n".encode(errors="surrogateescape"))
    return Labels(len(sources.samples), digest.hexdigest()[:32])


def begin_round(project: Project, state: State, labels: Labels, champion: Callable[[], str], log: Log) -> Round:
    """Return the round that is under way, or begin one. Raises InputError where nothing was labelled since the last.

    `champion`: address of the version that is champion now, empty where there is none.
    """
    last = state.rounds[-1] if state.rounds else None
    if last is not None and not last.complete:
        if last.labels == labels.digest or "train" in last.steps:
            log(f"round {last.number} goes on; done already: {', '.join(last.steps) or 'nothing'}")
            return last
        log(f"round {last.number} begins again: labels or settings have changed since it was stopped")
        state.rounds.pop()
    elif last is not None and last.labels == labels.digest:
        raise InputError(
            f"{project.folder}: nothing has been labelled since round {last.number}; correct some of the pictures in "
            f"{project.to_label}, or take them as they are with {command('label')} accept"
        )
    number = (state.rounds[-1].number if state.rounds else 0) + 1
    attempt = hashlib.sha256(f"{state.uid} {number} {labels.digest}".encode()).hexdigest()[:6]
    one = Round(number, f"{project.model}-round-{number}-{attempt}", labels.images, labels.digest, champion())
    state.rounds.append(one)
    state.save()
    return one


class Steps:
    """The steps of one round."""

    def __init__(self, project: Project, state: State, one: Round, config: Config, run: Run, log: Log) -> None:
        """`config`: settings of the trainings."""
        self.project, self.state, self.round, self.run, self.log = project, state, one, run, log
        self.data, named = config.data, config.tracking.experiment
        self.experiment = project.model if named == "auto" else named
        self.roots = [str(root) for root in project.roots]

    def do_all(self) -> None:
        """Do what is left of the round. Raises StepFailed where one does not come to its end."""
        for step in STEPS:
            if step in self.round.steps:
                continue
            self.log(f"round {self.round.number}: {step}")
            facts: dict[str, Any] = getattr(self, step)()
            self.round.steps[step] = facts
            self.state.save()

    def check(self) -> dict[str, Any]:
        """Check the labels, as training does."""
        words = check_command(replace(self.data, root=self.roots))
        code = self.run("prepare", words[words.index("check") :])
        if code:
            raise StepFailed("check", code, "mend what it says")
        return {}

    # ---------------------------------------------------------------- train

    def train(self) -> dict[str, Any]:
        """Train from the champion; a training that was stopped is resumed."""
        parent = self._parent()
        folder = self._training(parent)
        if folder is None:
            code = self.run("train", self._training_words(parent))
            folder = self._training(parent)
        elif not folder.finished:
            _wait_for_end(folder)
            code = self.run("train", ["--resume", str(folder)])
        if folder is None or not folder.finished:
            status = folder.read_status() if folder else {}  # a launcher gives no exit code but 1
            raise StepFailed("train", int(status.get("exit_code") or code or 1))
        return {"run_folder": str(folder)}

    def _parent(self) -> RunFolder:
        """Run folder of the parent of all rounds; made where there is none."""
        folder = RunFolder(Path(self.state.parent))
        if self.state.parent and folder.run.is_file():
            return folder
        tracking = TrackingConfig(experiment=self.experiment)
        text = (self.project.folder / PROJECT_FILE).read_text(encoding="utf-8")
        try:
            folder = new_group(MLRUNS / "work", LABELLING, tracking, f"{self.project.name}-labelling", text)
        except OSError as error:
            raise InputError(f"{why_not_written(MLRUNS / 'work', error)}; allow it") from error
        self.state.parent = str(folder)
        self.state.save()
        return folder

    def _training(self, parent: RunFolder) -> RunFolder | None:
        """Run folder of this round's training; None where it has not begun."""
        found = [one for one in children_of(parent) if one.config.is_file() and _name_of(one) == self.round.name]
        return found[-1] if found else None

    def _training_words(self, parent: RunFolder) -> list[str]:
        own = {
            "data.root": json.dumps(self.roots, ensure_ascii=False),
            "registry.name": self.project.model,
            "tracking.experiment": self.experiment,
            "tracking.run_name": self.round.name,
            "tracking.parent": parent.path.name,
            "model.init": self.round.champion,
        }
        words = [word for key, value in own.items() if value for word in (f"--{key}", value)]
        return [*self.project.training_words(), *words]

    # ---------------------------------------------------------------- gate

    def gate(self) -> dict[str, Any]:
        """Note whether the new version is champion, and tell MLflow which round it was."""
        folder = RunFolder(Path(self.round.steps["train"]["run_folder"]))
        parent = RunFolder(Path(self.state.parent))
        self._tag(folder)
        score = _score(folder)
        self._record(parent, score)
        code = self.run("sync", [str(folder), str(parent)])
        made = folder.read_version()
        if "version" not in made or made.get("promoted") is None:
            raise StepFailed("gate", code or 1, "see that the tracking server answers")
        version = f"models:/{made['name']}/{made['version']}"
        self.log(
            f"{version} is {'the new champion' if made['promoted'] else 'not better than the champion, which stays'}"
        )
        return {"version": version, "promoted": made["promoted"], "miou": score}

    def _tag(self, folder: RunFolder) -> None:
        """Tag the training's run with its round."""
        tags = {"kind": "round", "round": str(self.round.number), "project": self.project.name}
        if any(record.get("tags", {}).get("kind") == "round" for _, record in read_records(folder.journal, 0)):
            return
        journal = Journal(folder.journal)
        journal.append(tags=tags)
        journal.close()

    def _record(self, parent: RunFolder, score: float | None) -> None:
        """Record the score over the number of labelled images, in the parent's run."""
        tracking = TrackingConfig(experiment=self.experiment, required=False)
        reachable = store.reachable(tracking, lambda text, _style: self.log(text))
        again = f"{command('label')} round {quote(self.project.folder)}"
        new = not parent.read_status()
        run = open_group(parent, tracking, new, reachable, lambda text, _style: self.log(text), again)
        metrics = {"labelling/round": float(self.round.number)} | ({} if score is None else {"labelling/miou": score})
        run.metrics(metrics, self.round.images)
        run.tags({"project": self.project.name, "model": self.project.model})
        run.end("FINISHED")
        run.status("finished", rounds=self.round.number)
        run.flush(FLUSH_SECONDS)
        run.close()

    # ---------------------------------------------------------------- next

    def next(self) -> dict[str, Any]:
        """Put the next images into the folder to label, predicted by the champion."""
        project = self.project
        try:
            find_pool(project.pool, project.to_label)
        except InputError as error:  # with an empty pool there is still a model to train
            self.log(f"{error}")
            return {}
        words = ["next", str(project.pool), "--model", self._best(), "--output", str(project.to_label)]
        words += ["--count", str(project.count), "--once", self.round.name, "--labelled", *map(str, project.labelled)]
        words += ["--layout", self.data.layout]
        code = self.run("label", words)
        if code not in RUN_ENDS:
            raise StepFailed("next", code)
        return {}

    def _best(self) -> str:
        """Address of the model that predicts: the champion, or this round's version where there is none."""
        gate = self.round.steps["gate"]
        return str(
            gate["version"] if gate["promoted"] or not self.round.champion else f"models:/{self.project.model}@champion"
        )


def gpus() -> int:
    """Number of GPUs that a training may use."""
    return torch.cuda.device_count()


def _name_of(folder: RunFolder) -> str:
    with suppress(InputError):
        return str(folder.read_run()["run_name"])
    return ""


def _score(folder: RunFolder) -> float | None:
    """Mean IoU of the model as it was registered, on the validation images of its training."""
    for _, record in read_records(folder.journal, 0):
        with suppress(ValueError):
            if "model_tags" in record:
                return float(record["model_tags"]["val/miou"])
    return None


def _wait_for_end(folder: RunFolder) -> None:
    """Wait until a training that is being stopped has ended."""
    with suppress(OSError):  # what trains says itself who holds it
        if lock := take_lock(folder.lock_file, END_SECONDS):
            lock.release()
