"""Life of a run: begun or resumed, described, registered, ended. Real on the main process, null on the others.

Nothing else in the program asks which process is the main one.
"""

import json
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer import InputError, redact
from trainer.config import MLRUNS, Config, flatten, to_yaml
from trainer.engine.checkpoint.choice import WORDS
from trainer.engine.ending import STATES, Ending
from trainer.system import launcher
from trainer.system.atomic import why_not_written
from trainer.system.entry import is_main_process
from trainer.system.repair import known_settings
from trainer.system.run_folder import RunFolder, describe_run, new_run_folder, run_folder_of
from trainer.system.signals import StopSignals
from trainer.system.terminal import Display
from trainer.tracking import store
from trainer.tracking.names import run_name
from trainer.tracking.run import Run, log_settings, open_run, run_title

if TYPE_CHECKING:  # these load torch, which a mistyped setting must not wait for
    from trainer.data.dataset import Dataset
    from trainer.engine.callback import Callback
    from trainer.engine.checkpoint.resume import Start
    from trainer.engine.loop import Trainer

SILENT_SECONDS = 10.0
"""Time that a process waits for the main one to report the same error, in seconds."""


def moved_root(config: Config, folder: RunFolder) -> list[str]:
    """Option of the data's folder, where this start was given another name of it than the run's `folder` has stored.

    That name may be relative to where the run was begun, and mean nothing where it is resumed.
    """
    given, stored = config.data.root, known_settings(folder)
    if given is None or given == stored.get("data.root", given):
        return []
    return ["--data.root", given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)]


class Lifecycle:
    """Run of the main process, which displays, tracks and writes."""

    def __init__(self, config: Config, display: Display | None = None) -> None:
        """`display`: that of a program which has shown the settings already."""
        self.config, self.display = config, display or Display()
        if display is None:
            self.display.settings(flatten(config), flatten(Config()))
        self.reachable = False
        self.chosen: RunFolder | None = None
        """Run folder to go on in, whatever `resume` says."""
        self.unregistered = ""
        """Why the model is not registered, or not compared with the champion; empty where it is, or was not to be."""

    def check_store(self) -> None:
        """Find out whether the tracking store answers. Raises InputError where it does not and has to."""
        if self.config.tracking.enabled and self.config.resume not in WORDS:
            store.require_begun_here(run_folder_of(self.config.resume))
        self.reachable = store.reachable(self.config.tracking, self.display.log)

    def show_data(self, dataset: "Dataset") -> None:
        """Print the warnings about the data, and what trains."""
        from trainer.data.checks.report import check_command

        count, seconds = len(dataset.sources.samples), dataset.stored.reading_seconds
        if seconds:
            self.display.log(f"{count} pictures read in {seconds:.1f} s, {count / seconds:.0f} images/s")
        account = dataset.sources.account
        if account.count:
            self.display.log(f"left out, {account.summary()}")
        warnings = [finding.text for finding in dataset.report.of("warning")]
        self.display.warnings(warnings, check_command(self.config.data))
        unlabelled = dataset.sources.unlabelled
        more = f", {len(unlabelled)} more train without labels" if unlabelled else ""
        self.display.log(
            f"{len(dataset.split.train)} pictures train, {len(dataset.split.val)} validate{more}; "
            f"classes: {', '.join(dataset.names[1:])}; dataset {dataset.digest}"
        )

    def begin(
        self, config: Config, dataset: "Dataset", hardware: Mapping[str, str], environment: dict[str, str]
    ) -> "Start | None":
        """Open a new run, or the one that `resume` names, and lock its folder.

        `config` is resolved. Returns what the other processes must know; errors are in it, for all to raise.
        """
        from trainer.engine.checkpoint.resume import Start

        try:
            return self._begin(config, dataset, hardware, environment)
        except OSError as error:
            return Start(error=InputError(why_not_written(MLRUNS / "work", error)))

    def _begin(
        self, config: Config, dataset: "Dataset", hardware: Mapping[str, str], environment: dict[str, str]
    ) -> "Start":
        from trainer.engine.checkpoint.resume import Start, find_run, numeric_changes

        self.config = config
        data, log = dataset.content(), self.display.log
        log("  ".join(f"{key.removeprefix('hardware.')} {value}" for key, value in hardware.items() if value))
        try:
            launched_by = launcher.identity() if launcher.restarted() else ""
            start = find_run(config, MLRUNS / "work", data, launched_by, self.chosen)
            for warning in start.warnings:
                log(f"warning: {warning}", "yellow")
            if start.finished:
                log(f"{start.folder} is finished; nothing is left to do", "bold")
                return start
            self.run = self._open(start, dataset)
        except InputError as error:
            return Start(error=error)
        facts = {**hardware, "data.class_names": ", ".join(dataset.names[1:])}
        if dataset.unlabelled is not None:
            facts["data.unlabelled_samples"] = str(len(dataset.sources.unlabelled))
        log_settings(self.run, config, facts, dataset.title, data)
        step = start.checkpoint.state.step if start.checkpoint else 0
        if start.folder is not None:
            log(f"run {self.run.folder.path.name} goes on after step {step}", "bold")
            self.run.resumed(step)
            changes = numeric_changes(start.checkpoint, environment, config) if start.checkpoint else []
            if changes:
                log(f"warning: the last bits of the numbers differ from now on: {'; '.join(changes)}", "yellow")
        self.run.status("running", step=step)
        log(f"all settings are in {self.run.folder.config}", "dim")
        log(f"if it stops, continue with:  {self.run.status_fields['resume']}", "dim")
        return start

    def _open(self, start: "Start", dataset: "Dataset") -> Run:
        from trainer.engine.comparison_images import find_holdout
        from trainer.model.training_images import of_hashes, write_training_images
        from trainer.tracking.ancestor import with_ancestor

        config, folder = self.config, start.folder
        if config.registry.eval_root is not None:
            find_holdout(config, dataset.names)  # now, and not at the end, is the time to say that it cannot be used
        if folder is None:
            tracking, title = config.tracking, run_name(self._run_title(dataset.title))
            name, experiment = tracking.run_name and run_name(tracking.run_name), redact(tracking.experiment)
            began = store.store_id() if tracking.enabled else None
            images = with_ancestor(of_hashes(*dataset.training_hashes()), config.model.init, dataset.digest)
            parent = Path(tracking.parent or "").name
            folder = new_run_folder(MLRUNS / "work", experiment, name, tracking.enabled, title, began, parent=parent)
            describe_run(folder, to_yaml(config), dataset.content(), dataset.report.to_json())
            write_training_images(folder.path, images)
        folder.lock()
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "launcher": launcher.identity()}
        status_fields = {"resume": self._resume_command(folder), **owner}
        new = start.folder is None
        model = config.registry.name
        return open_run(folder, config.tracking, new, self.reachable, self.display.log, status_fields, model)

    def _run_title(self, title: str) -> str:
        """Beginning of the name of a run on the data `title`."""
        return run_title(title, self.config)

    def _resume_command(self, folder: RunFolder) -> str:
        """Shell command that goes on with the run of `folder`."""
        return launcher.resume_command(folder.path, moved_root(self.config, folder))

    def callback(self, start: "Start", dataset: "Dataset", memory_gib: Callable[[], float]) -> "Callback":
        """Receiver of the events of training; `memory_gib` measures this process."""
        from trainer.data.sampler import Sampler
        from trainer.engine.assembly import class_counts
        from trainer.engine.distributed.nodes import NodeUsage
        from trainer.engine.rare_classes import Advice
        from trainer.engine.reporter import Reporter

        data, train, tracking = self.config.data, self.config.train, self.config.tracking
        state = start.checkpoint.state if start.checkpoint else None
        return Reporter(
            self.run,
            self.display,
            dataset.validation,
            watch=tracking.watch,
            minutes=train.minutes,
            checkpoint_minutes=train.checkpoint_minutes,
            steps_per_epoch=Sampler(len(dataset.split.train), train.batch_size, 0, data.drop_last).steps_per_epoch,
            resumed_from=state.step if state else None,
            memory_gib=memory_gib,
            advice=Advice(class_counts(dataset), self.config, dataset.usual_side),
            evaluated_share=state.plan.share(state.evaluated_step or 0) if state else 0.0,
            usage=NodeUsage(self.run.folder.path).sample if tracking.usage else dict,
        )

    def describe(self, trainer: "Trainer", reasons: Sequence[str]) -> None:
        """Print how the network is trained on this machine, and log what it will see."""
        from trainer.engine.reporter import augmentation_sheet
        from trainer.engine.stopping import writing

        for reason in reasons:
            self.display.log(reason)
        size, compiled = trainer.size.micro_batch_size, trainer.train_step.compiled
        sheet = augmentation_sheet(trainer.loader, trainer.train_step.augment)
        with writing(self.run.folder.path):
            self.run.tags({"hardware.micro_batch_size": size, "hardware.compiled": compiled})
            if not self.run.has_image("augmented", 0):
                self.run.image("augmented", sheet, 0)

    def register(self, trainer: "Trainer", dataset: "Dataset", stop: StopSignals) -> None:
        """Calibrate the best weights, save them as the run's model, register it, and decide about the champion.

        Raises KeyboardInterrupt where a signal arrives; nothing of the training is lost then.
        """
        from trainer.engine.registration import Registration

        stop.interrupt_again()
        self.unregistered = Registration(self.run, self.config, self.display).register(trainer, dataset)
        stop.defer()

    def end(self, state: str, trainer: "Trainer | None", **details: Any) -> int:
        """Close the run truthfully, within a bounded time, and print where to look. Returns the exit code."""
        self.display.close()
        return Ending(self.run, self.config, self.display, self.unregistered).end(state, trainer, **details)

    def refuse(self, error: InputError, _stop: StopSignals) -> None:
        """Print an error that was found before any work."""
        self.display.close()
        print(f"train.py: {error}", file=sys.stderr)


class NullLifecycle:
    """Stand-in on the processes that compute while the main one displays, tracks and writes."""

    def __init__(self, config: Config) -> None:
        self.config, self.display = config, Display(quiet=True)

    def check_store(self) -> None:
        """Leave it to the main process."""

    def show_data(self, _dataset: "Dataset") -> None:
        """Print nothing."""

    def begin(self, *_given: object) -> "Start | None":
        """Return None: the main process broadcasts its Start."""
        return None

    def callback(self, *_given: object) -> "Callback":
        """Return a callback that does nothing, or sends what its machine uses."""
        from trainer.engine.distributed.nodes import other_callback

        return other_callback(MLRUNS, self.config.tracking.usage)

    def describe(self, _trainer: "Trainer", _reasons: Sequence[str]) -> None:
        """Print nothing."""

    def register(self, _trainer: "Trainer", _dataset: "Dataset", _stop: StopSignals) -> None:
        """Leave it to the main process."""

    def end(self, state: str, _trainer: "Trainer | None", **_details: Any) -> int:
        """Return the exit code."""
        return STATES[state][1]

    def refuse(self, error: InputError, stop: StopSignals) -> None:
        """Print an error that only this process has found: for others, the launcher ends it meanwhile."""
        if not stop.wait(SILENT_SECONDS):
            print(f"train.py: {error}", file=sys.stderr)


AnyLifecycle = Lifecycle | NullLifecycle


def lifecycle(config: Config) -> AnyLifecycle:
    """Lifecycle of this process: real on the main one."""
    return Lifecycle(config) if is_main_process() else NullLifecycle(config)
