"""Life of a group of folds and seeds: its parent run begun or resumed, its trainings placed in it, its result closed.

The parent's files are opened for moments only, under a lock, so that jobs on several machines may share them.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from trainer import InputError
from trainer.config import MLRUNS, Config, to_yaml
from trainer.engine.checkpoint.choice import lock_chosen
from trainer.engine.ending import FLUSH_SECONDS
from trainer.engine.folds import plan
from trainer.engine.folds.children import ChildLifecycle, FinalLifecycle
from trainer.engine.folds.find import find_group
from trainer.engine.folds.plan import Training
from trainer.engine.lifecycle import AnyLifecycle, Lifecycle, NullLifecycle
from trainer.system import launcher
from trainer.system.entry import is_main_process
from trainer.system.lock import file_lock
from trainer.system.provenance import versions
from trainer.system.repair import known_settings, repair
from trainer.system.run_folder import (
    FOLDS,
    RunFolder,
    children_of,
    describe_run,
)
from trainer.system.signals import EXIT_STOPPED, StopSignals
from trainer.system.text import show
from trainer.tracking.group import new_group
from trainer.tracking.names import model_name
from trainer.tracking.run import Run, chosen_params, model_text, open_run, run_title

if TYPE_CHECKING:  # these load torch, which a mistyped setting must not wait for
    from trainer.data.dataset import Dataset
    from trainer.model.segmenter import Contract

WORK = MLRUNS / "work"


class FoldGroup(Lifecycle):
    """Parent run of folds and seeds, of the main process."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.given = config
        self.folder: RunFolder | None = None
        self.dataset: Dataset | None = None
        """Data of the last training that was placed."""
        self.child_config = config
        """Resolved settings of that training."""
        self.title = ""
        """Beginning of the names of its trainings."""
        self.over = False
        """Whether the group was finished before this start."""

    # ---------------------------------------------------------------- its trainings

    def child(self, config: Config, training: Training) -> AnyLifecycle:
        """Lifecycle of one of its trainings."""
        return (FinalLifecycle if training.final else ChildLifecycle)(config, self, training)

    def place(self, config: Config, dataset: "Dataset", training: Training) -> tuple[Config, RunFolder | None]:
        """Find the place of a training in the group; the group is found or begun where this is its first one.

        `config`: resolved settings of the training. Returns them with the parent, and the run folder to go on in, if an
        earlier start has begun that training. Raises InputError where the group is of other data or settings.
        """
        self.dataset, self.child_config = dataset, config
        data = {"digest": dataset.whole_digest, "train": [one.name for one in dataset.sources.samples], "val": []}
        if self.folder is None:
            tracking, registry = self.given.tracking, self.given.registry
            name = model_name(dataset.title) if registry.name == "auto" else registry.name
            tracking = replace(tracking, experiment=config.tracking.experiment)
            self.config = replace(self.given, tracking=tracking, registry=replace(registry, name=name))
            view = self._view(config)
            self.title = run_title(dataset.title, replace(view, train=replace(view.train, folds=0, seeds=1)))
            self.folder = self._find_or_begin(config, dataset, data)
        elif self.folder.read_split().get("digest") != data["digest"]:
            raise InputError(f"data.root: the pictures or masks have changed since {self.folder} began")
        # Once the group has begun, a store that is away stops nothing: the records wait for it.
        tracking = replace(config.tracking, parent=self.folder.path.name, required=False)
        return replace(config, tracking=tracking), self._children().get(training)

    def _children(self) -> dict[Training, RunFolder]:
        """Trainings of the group that have begun, on any machine that shares the folder."""
        assert self.folder is not None
        wanted = [*plan.all_trainings(self.config), plan.final_training(self.config)]
        found: dict[Training, RunFolder] = {}
        for one in children_of(self.folder):
            settings = known_settings(one)
            found |= {training: one for training in wanted if training.is_of(settings)}
        return found

    def _find_or_begin(self, child: Config, dataset: "Dataset", data: dict[str, Any]) -> RunFolder:
        WORK.mkdir(parents=True, exist_ok=True)
        with file_lock(MLRUNS / ".folds.lock"):  # jobs that start at the same moment must not begin two groups
            found = find_group(self.config, WORK, data)
            if found is None and (elsewhere := self._elsewhere(child, data["digest"])):
                raise InputError(
                    f"train.only_fold: {self.config.train.only_fold}: run {show(elsewhere[0])} has begun these folds, "
                    f"and its folder is not in {WORK}. Jobs of one result must share the folder mlruns/, through a "
                    "network disk for instance; where they cannot, train all folds on one machine. If that run is "
                    "given up, delete it in MLflow"
                )
            folder = found or self._begin_group(child, dataset, data)
        if self.config.train.only_fold is None:
            lock_chosen(self.config, folder, WORK)
        self.over = folder.finished
        if found and not self.over:
            for warning in repair(folder):
                self.display.log(f"warning: {warning}", "yellow")
            self.display.log(f"group {folder.path.name} goes on", "bold")
            with self._session(folder) as run:
                if self.config.train.only_fold is None:
                    run.resumed()
                run.status("running")
        return folder

    def _begin_group(self, child: Config, dataset: "Dataset", data: dict[str, Any]) -> RunFolder:
        """Make the parent's run folder, and record what it is."""
        config, view = self.config, self._view(child)
        whole = to_yaml(replace(config, train=replace(config.train, only_fold=None)))
        folder = new_group(WORK, FOLDS, config.tracking, plan.title(self.title, config), whole)
        describe_run(folder, whole, data, dataset.report.to_json())
        with self._session(folder, new=True) as run:
            run.params(chosen_params(view))
            run.tags(versions() | {"data": dataset.title, "data.digest": data["digest"]})
            run.tags({"data.train_samples": len(data["train"]), "data.class_names": ", ".join(dataset.names[1:])})
            run.tags({"model": f"{model_text(view)}, width {view.model.width}"})
            run.dataset(dataset.title, data["digest"], "validation", {"samples": len(data["train"])})
            for file in (folder.config, folder.split, folder.check):
                run.artifact(file)
            run.status("running")
        self.display.log(f"{len(plan.all_trainings(config))} trainings are children of run {folder.path.name}", "bold")
        self.display.log(f"if it stops, continue with:  {self._resume_command(folder)}", "dim")
        if config.train.only_fold is not None:
            self.display.log(f"jobs of the other folds join it where they share the folder {MLRUNS}")
        return folder

    def _elsewhere(self, child: Config, digest: str) -> list[str]:
        """Unfinished groups of the same images and settings whose folders are not here, by name and host.

        Only jobs of single folds look for them: they are meant to meet.
        """
        if self.config.train.only_fold is None or not self.reachable:
            return []
        from trainer.tracking.group import groups_elsewhere  # mlflow

        return groups_elsewhere(FOLDS, self.config.tracking.experiment, digest, chosen_params(self._view(child)), WORK)

    def _view(self, child: Config) -> Config:
        """Settings of the group, with what a training has resolved; for names and params."""
        data, train = self.config.data, self.config.train
        train = replace(child.train, folds=train.folds, seeds=train.seeds, seed=train.seed)
        return replace(child, data=replace(child.data, fold=data.fold, val_fraction=data.val_fraction), train=train)

    @contextmanager
    def _session(self, folder: RunFolder, new: bool = False) -> Iterator[Run]:
        """Open the parent's run for a block, alone; afterwards its records are sent, or wait for the server."""
        with file_lock(folder.path / "group.lock"):
            run = self._open_run(folder, new)
            try:
                yield run
            finally:
                run.flush(FLUSH_SECONDS)
                with suppress(OSError):
                    run.close()

    def _open_run(self, folder: RunFolder, new: bool = False) -> Run:
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "launcher": launcher.identity()}
        fields = {"resume": self._resume_command(folder), **owner}
        # Once the trainings have begun, a store that is away stops nothing: the sender finds it when it is back.
        return open_run(folder, self.config.tracking, new, self.reachable and new, self.display.log, fields)

    # ---------------------------------------------------------------- its end

    def final_config(self) -> Config | None:
        """Settings of the training on all images, once the others are finished."""
        from trainer.data.sampler import Sampler
        from trainer.engine.folds.result import steps_of

        assert self.folder is not None
        children = self._children()
        folders = [children[one] for one in plan.all_trainings(self.config) if one in children]
        steps = [steps_of(one) for one in folders]
        images, train = len(self.folder.read_split()["train"]), self.config.train
        sampler = Sampler(images, train.batch_size, train.seed, self.config.data.drop_last)
        uid, resolved = self.folder.path.name, known_settings(folders[0])
        return plan.final_config(self.config, uid, resolved, steps, sampler.steps_per_epoch)

    def contracts(self) -> "list[Contract]":
        """Contracts of the models of all folds and seeds. Raises InputError where one cannot be read."""
        from trainer.model.contract import read_contract
        from trainer.model.model_folder import CONTRACT_FILE

        children = self._children()
        folders = [children[one] for one in plan.all_trainings(self.config)]
        return [read_contract(one.model / CONTRACT_FILE)[0] for one in folders]

    def close(self, stop: StopSignals) -> int:
        """Compute and record the result, register the model, end the run; return the exit code.

        With train.only_fold, only once all folds are there; until then the group waits for the other jobs.
        """
        assert self.folder is not None
        if self.over:
            return 0
        children = self._children()
        trainings = plan.all_trainings(self.config)
        done = [one for one in trainings if one in children and children[one].finished]
        if self.config.train.only_fold is not None:
            return self._wait_for_others(len(done), len(trainings))
        from trainer.engine.folds.result import GroupResult

        try:
            with file_lock(self.folder.path / "group.lock"):
                self.run = self._open_run(self.folder)
                stop.interrupt_again()
                result = GroupResult(self.run, self.config, children, self.display)
                summary = result.record()
                self.unregistered = result.register(summary, self.dataset, self.child_config)
                stop.defer()
                return self.end("finished", None, resume=None, best_miou=summary.score.value)
        except KeyboardInterrupt:
            stop.defer()
            return self.end("preempted", None, reason="stopped after the last training")
        except Exception:
            with suppress(OSError):
                self.run.close()
            raise

    def _wait_for_others(self, done: int, count: int) -> int:
        assert self.folder is not None
        with self._session(self.folder) as run:
            run.tags({"folds.finished": f"{done} of {count}"})
        self.display.log(f"{done} of {count} trainings of this group are finished, in {MLRUNS}", "bold")
        for other in self._elsewhere(self.child_config, self.folder.read_split().get("digest", "")):
            self.display.log(
                f"warning: run {show(other)} has begun these folds too, and its folder is not in {WORK}: jobs of one "
                "result must share the folder mlruns/. What each machine lacks is trained when it closes its own",
                "yellow",
            )
        self.display.log(f"when all are, close it with:  {self._resume_command(self.folder)}")
        return 0

    def stopped(self, code: int) -> int:
        """End the run because one of its trainings was stopped or has failed; return the exit code."""
        self._end_early("preempted" if code == EXIT_STOPPED else "failed", "one of its trainings has not ended")
        return code

    def failed(self, error: BaseException, stop: StopSignals) -> None:
        """End the run, where it has begun, because of an error."""
        stop.defer()
        state = "preempted" if isinstance(error, KeyboardInterrupt) else "failed"
        self._end_early(state, f"{type(error).__name__}: {error}")

    def _end_early(self, state: str, reason: str) -> None:
        # Where several jobs share the group, the others go on.
        if self.folder is None or self.over or self.config.train.only_fold is not None:
            return
        with suppress(OSError), file_lock(self.folder.path / "group.lock"):
            self.run = self._open_run(self.folder)
            self.end(state, None, reason=reason)


class NullGroup(NullLifecycle):
    """Stand-in on the processes that compute while the main one displays, tracks and writes."""

    def child(self, config: Config, _training: Training) -> AnyLifecycle:
        """Lifecycle of one training: null too."""
        return NullLifecycle(config)

    def final_config(self) -> Config | None:
        """Return None: the main process broadcasts it."""
        return None

    def close(self, _stop: StopSignals) -> int:
        """Leave it to the main process."""
        return 0

    def stopped(self, code: int) -> int:
        """Return the exit code."""
        return code

    def failed(self, _error: BaseException, _stop: StopSignals) -> None:
        """Leave it to the main process."""


AnyGroup = FoldGroup | NullGroup


def fold_group(config: Config) -> AnyGroup:
    """Group of this process: real on the main one."""
    return FoldGroup(config) if is_main_process() else NullGroup(config)
